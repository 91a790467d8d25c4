"""A scan stamp: one Mailward vouches to the next that a message was scanned, and with which set.

::

    X-Mailward-Scan: v=1; verdict=clean; set=20261123.007; mac=<HMAC-SHA256, base64url>

The MAC is over verdict, set, the fields that make a message what it is, and the body, under a key
that both have (``stamp.key_file``). A stamp that is forged, or of a message that was changed since,
says nothing. One that is sent again with the same message says what is still true of it.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mailward.definitions.model import Version
from mailward.errors import FormatError
from mailward.protect.sealed import read_key

FIELD = "X-Mailward-Scan"
_FIELD = re.compile(rb"^x-mailward-scan:([^\r\n]{0,300})\r\n", re.IGNORECASE | re.MULTILINE)
_VALUE = re.compile(
    r"\s*v=1; verdict=(?P<verdict>clean|released); set=(?P<set>[0-9.]{1,140}); "
    r"mac=(?P<mac>[A-Za-z0-9_-]{43})\s*"
)
_COVERED = re.compile(
    rb"^(from|to|cc|reply-to|sender|subject|date|message-id|in-reply-to|references|mime-version|"
    rb"content-[!-9;-~]*)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
"""Servers in between add and fold other fields; these are left alone, and are what clients read."""
_BLANKS = re.compile(rb"[ \t\r\n]+")


class Vouched(StrEnum):
    """What a stamp says."""

    CLEAN = "clean"
    RELEASED = "released"
    """Somebody has let it out of quarantine."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A stamp that holds."""

    verdict: Vouched
    set: Version


class Stamps:
    """Makes and checks stamps under one key. Raises ConfigError if the file holds none."""

    def __init__(self, key_file: Path) -> None:
        self._key = read_key(key_file, "stamp.key_file")

    def make(self, message: bytes, verdict: Vouched, set_: Version) -> bytes:
        """The header field, with its line end, to be put above ``message``."""
        value = f"v=1; verdict={verdict}; set={set_}; mac={self._mac(message, verdict, set_)}"
        return f"{FIELD}: {value}\r\n".encode("ascii")

    def read(self, message: bytes) -> Stamp | None:
        """The stamp that a message carries, if it holds; of several, none is believed."""
        end = message.find(b"\r\n\r\n")
        found = _FIELD.findall(message, 0, len(message) if end < 0 else end + 2)
        value = _VALUE.fullmatch(found[0].decode("latin-1")) if len(found) == 1 else None
        if value is None:
            return None
        try:
            stamp = Stamp(Vouched(value["verdict"]), Version.parse(value["set"]))
        except FormatError:
            return None
        mac = self._mac(message, stamp.verdict, stamp.set)
        return stamp if hmac.compare_digest(mac, value["mac"]) else None

    def _mac(self, message: bytes, verdict: Vouched, set_: Version) -> str:
        digest = hmac.new(self._key, f"{verdict} {set_}\n".encode(), hashlib.sha256)
        end = message.find(b"\r\n\r\n")
        head = message if end < 0 else message[: end + 2]
        for name, content in _COVERED.findall(head):
            digest.update(name.lower() + b":" + _BLANKS.sub(b" ", content).strip() + b"\n")
        digest.update(b"\n")
        if end >= 0:
            body = memoryview(message)[end + 4 :]
            digest.update(body[: len(body) - _trailing(message, end + 4)])
        return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _trailing(message: bytes, start: int) -> int:
    """Bytes of empty lines at the end, which servers add and take away."""
    at = len(message)
    while message.endswith(b"\r\n", start, at):
        at -= 2
    return len(message) - at
