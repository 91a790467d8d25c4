"""Mail domains in the configuration, and which entry of a list an address belongs to."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

Domain = Annotated[str, Field(pattern=r"^(\*\.)?[^\s@*]{1,255}$")]
"""``example.org``, or ``*.example.org`` for all below it."""


def domain_key(domain: str) -> str:
    """A domain as it is compared: lower case, as DNS has it (RFC 5890), no dot at its end."""
    name = domain.rstrip(".").lower()
    if not name.isascii():
        with contextlib.suppress(UnicodeError):
            return name.encode("idna").decode("ascii")
    return name


def entries_for(address: str) -> Iterator[str]:
    """What an address may be listed under, the most special first; keys as of ``domain_key``.

    ``example.org`` before ``*.org``; nothing if it has no domain.
    """
    name = domain_key(address.rpartition("@")[2]) if "@" in address else ""
    if name:
        yield name
    while name:
        name = name.partition(".")[2]
        yield f"*.{name}"
