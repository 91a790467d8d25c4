"""The Fetcher interface."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from mailward.fetch import CHUNK_BYTES, NotResumableError, NotThereError

__all__ = ["CHUNK_BYTES", "Bearer", "Fetcher", "NotResumableError", "NotThereError"]


@dataclass(frozen=True, slots=True)
class Bearer:
    """What is shown to a server that gives a channel's sets to license holders only."""

    token: str = field(repr=False)  # S15
    installation: str = ""
    """By which the server counts this computer; says nothing about it."""


class Fetcher(Protocol):
    """Gets files; threads may share it. Repeats freely; keeps only connections between calls."""

    @property
    def bytes_received(self) -> int:
        """Content bytes since it was made, for reports."""
        ...

    @property
    def requests(self) -> int:
        """Files asked for since it was made."""
        ...

    def fetch(self, url: str, max_bytes: int, start: int = 0) -> Iterator[bytes]:
        """The content of ``url`` in chunks from byte ``start`` on; all of it at most ``max_bytes``.

        Raises NotThereError, NotResumableError if it cannot begin at ``start``, or FetchError for
        anything else that goes wrong: unreachable, too slow, too long, redirected where it must
        not go. Errors come while iterating, too.
        """
        ...

    def present(self, bearer: Bearer) -> None:
        """Show a license from now on to servers that are asked for files, and to no other."""
        ...

    def close(self) -> None:
        """End connections. May be repeated."""
        ...
