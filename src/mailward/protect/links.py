"""Links by which the recipient of a held message asks for it: keyed, for one entry, one recipient.

::

    <public_url>/q/<entry>.<expires>.<recipient>.<mac>

``expires`` is in hexadecimal seconds since 1970; ``recipient`` a keyed digest, so that the address
stands in nobody's log; ``mac`` HMAC-SHA256 over what is in front of it, 16 bytes. The key is made
when it is first needed (``<state>/links.key``); whoever deletes it ends all links.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mailward import durable
from mailward.protect.room import ENTRY_ID
from mailward.protect.sealed import KEY_BYTES, read_key

PATH = "/q/"
_TOKEN = re.compile(
    rf"(?P<id>{ENTRY_ID.pattern})\.(?P<expires>[0-9a-f]{{1,12}})\."
    r"(?P<to>[A-Za-z0-9_-]{16})\.(?P<mac>[A-Za-z0-9_-]{22})"
)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Asked:
    """What a link that holds is about."""

    id: str
    to: str
    """The recipient's digest; see ``Links.names``."""


class Links:
    """Makes and reads them. ``clock``: seconds since 1970, for tests."""

    def __init__(
        self, key: bytes, public_url: str, days: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._url = public_url.rstrip("/")
        self._seconds = days * _DAY_S
        self._clock = clock

    def make(self, id_: str, recipient: str) -> str:
        """Where ``recipient`` asks for the entry ``id_``."""
        expires = int(self._clock() + self._seconds)
        signed = f"{id_}.{expires:x}.{self._digest('to', recipient, 12)}"
        return f"{self._url}{PATH}{signed}.{self._digest('link', signed, 16)}"

    def read(self, token: str) -> Asked | None:
        """What follows ``/q/``; None if it is not ours, changed, or over."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        signed = token[: found.start("mac") - 1]
        if not hmac.compare_digest(self._digest("link", signed, 16), found["mac"]):
            return None
        if int(found["expires"], 16) < self._clock():
            return None
        return Asked(found["id"], found["to"])

    def names(self, asked: Asked, recipient: str) -> bool:
        """Whether that recipient is the one who was given the link."""
        return hmac.compare_digest(asked.to, self._digest("to", recipient, 12))

    def _digest(self, what: str, text: str, size: int) -> str:
        raw = f"{what}\n{text}".encode("utf-8", "surrogateescape")
        digest = hmac.new(self._key, raw, hashlib.sha256).digest()[:size]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def link_key(path: Path) -> bytes:
    """The key in ``path``, made if it is not there. Raises ConfigError, also where others can read
    it (S15), OSError.
    """
    with contextlib.suppress(FileExistsError):
        durable.make_folder(path.parent)
        fresh = durable.temporary_beside(path)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            os.link(fresh, path)  # of two that make one, the first wins
        finally:
            fresh.unlink()
    return read_key(path, "the key of notify.public_url's links,")
