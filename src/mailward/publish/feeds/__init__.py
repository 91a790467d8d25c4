"""Upstream feeds: one reader per format behind one interface."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from mailward.errors import UsageError
from mailward.publish.feeds.base import Draft, Feed, LeftOut, Probe, Reading
from mailward.publish.feeds.clamav import ClamavFeed
from mailward.publish.feeds.hashes import HashFeed
from mailward.publish.feeds.starter import StarterFeed
from mailward.publish.feeds.yara import YaraFeed

__all__ = ["Draft", "Feed", "LeftOut", "Probe", "Reading", "parse_spec", "parse_specs"]

_KINDS: dict[str, Callable[[str, Path], Feed]] = {
    "clamav": ClamavFeed,
    "hashes": HashFeed,
    "yara": YaraFeed,
}

_SPEC = re.compile(
    r"(?P<kind>[a-z]+)(?::(?P<name>[A-Za-z0-9._+@-]{1,60}))?=(?P<place>.+)", re.DOTALL
)


def parse_spec(spec: str) -> Feed:
    """A feed from ``starter``, ``KIND=PLACE`` or ``KIND:NAME=PLACE``. Raises UsageError.

    Without a name the feed is called like its file or folder.
    """
    if spec == "starter":
        return StarterFeed()
    found = _SPEC.fullmatch(spec)
    if found is None or found["kind"] not in _KINDS:
        raise UsageError(
            f"feed {spec!r}: write starter, or KIND=PLACE with one of the kinds "
            + ", ".join(sorted(_KINDS))
        )
    place = found["place"]
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place):
        raise UsageError(
            f"feed {spec!r}: addresses cannot be read yet: download it and name the file or folder"
        )
    path = Path(place)
    name = found["name"] or re.sub(r"[^A-Za-z0-9._+@-]", "_", path.resolve().stem)[:60] or "feed"
    return _KINDS[found["kind"]](name, path)


def parse_specs(specs: Iterable[str]) -> list[Feed]:
    """Several feeds. Raises UsageError."""
    return [parse_spec(spec) for spec in specs]
