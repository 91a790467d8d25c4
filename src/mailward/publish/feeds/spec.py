"""What a feed is, in words: on the command line, or in publisher.toml."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from mailward.errors import UsageError
from mailward.publish.feeds.address import AddressFeed, Fetching
from mailward.publish.feeds.base import Feed
from mailward.publish.feeds.clamav import ClamavFeed
from mailward.publish.feeds.hashes import Columns, HashFeed
from mailward.publish.feeds.starter import StarterFeed
from mailward.publish.feeds.yara import YaraFeed

STARTER = "starter"
KINDS = ("clamav", "hashes", STARTER, "yara")

MAX_SHRINK = 0.5
"""Share of its signatures that a feed may lose from one build to the next."""

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,59}"
"""Of feeds: a name of shards and of a folder of the publisher's."""

_SPEC = re.compile(
    rf"(?P<kind>clamav|hashes|yara)(?::(?P<name>{NAME_PATTERN}))?=(?P<place>.+)", re.DOTALL
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SUFFIX_OF_KIND = {"hashes": ".txt", "yara": ".yar"}
_SUFFIX = re.compile(r"\.[a-z0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """One feed: what it is, where it is, and how far to trust what it becomes."""

    kind: str
    name: str
    place: str
    """A path or an address; empty for ``starter``."""
    columns: Columns | None = None
    """Of CSV files (``hashes``)."""
    suffix: str = ""
    """What an address's file would be called: ``.csv``; empty: the address says it."""
    max_shrink: float = MAX_SHRINK

    @property
    def is_address(self) -> bool:
        """Whether it has to be downloaded."""
        return _SCHEME.match(self.place) is not None

    def open(self, fetching: Fetching | None = None) -> Feed:
        """The feed. Raises UsageError if it cannot be one."""
        if self.kind == STARTER:
            return StarterFeed(self.name)
        if not self.is_address:
            return self._reader(Path(self.place))
        _require_good(self.place)
        suffix = self.suffix or PurePosixPath(urlsplit(self.place).path).suffix.lower()
        if not _SUFFIX.fullmatch(suffix):
            suffix = _SUFFIX_OF_KIND.get(self.kind, "")
        if not suffix:
            raise UsageError(
                f"feed {self.name}: the address {self.place} does not end in a suffix such as .cvd"
                " or .ndb, which says what it is: give one as `suffix` in publisher.toml"
            )
        return AddressFeed(self.name, self.place, suffix, self._reader, fetching or Fetching())

    def _reader(self, path: Path) -> Feed:
        if self.kind == "hashes":
            return HashFeed(self.name, path, self.columns)
        return YaraFeed(self.name, path) if self.kind == "yara" else ClamavFeed(self.name, path)


def read_spec(text: str) -> FeedSpec:
    """A feed from ``starter``, ``KIND=PLACE`` or ``KIND:NAME=PLACE``. Raises UsageError.

    Without a name the feed is called like its file or folder.
    """
    if text == STARTER:
        return FeedSpec(STARTER, STARTER, "")
    found = _SPEC.fullmatch(text)
    if found is None or "\0" in text:
        raise UsageError(
            f"feed {text!r}: write starter, or KIND=PLACE with one of the kinds"
            " clamav, hashes, yara"
        )
    place = found["place"]
    return FeedSpec(found["kind"], found["name"] or _name_of(place), place)


def _name_of(place: str) -> str:
    if _SCHEME.match(place):
        _require_good(place)
        parts = urlsplit(place)
        stem = PurePosixPath(parts.path).stem or parts.hostname or ""
    else:
        stem = Path(place).resolve().stem
    return re.sub(r"[^A-Za-z0-9._+@-]", "_", stem).lstrip("._+@-")[:60] or "feed"


def _require_good(address: str) -> None:
    try:
        parts = urlsplit(address)
        good = parts.scheme.lower() in ("https", "http") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"feed {address!r}: expected a path, or an https:// or http:// address")
    if parts.username is not None or parts.password is not None:
        # S15: addresses are printed and logged.
        raise UsageError(
            f"feed at {parts.hostname}: a password in an address would be printed and logged:"
            " download that feed by other means, and name the file"
        )
