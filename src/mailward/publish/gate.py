"""Who may have which published file: the license gate of the HTTP and FTP servers.

Metadata, what channels offer and ``licensing.json`` are for everybody, so that every agent knows
how far behind it is. A manifest, and objects and patches that no free channel names, are for the
bearers of a license for a channel that names them. A path that is none of these is for nobody
without a license: what is not known to be free is not.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial

import structlog

from mailward.definitions.model import Channel
from mailward.errors import FormatError, LicenseError, MailwardError
from mailward.license import Entitlement, Held, License, Licensing, Times, judge, verify
from mailward.publish import history, licensing
from mailward.publish.home import Home
from mailward.publish.metadata import Signed
from mailward.publish.usage import Usage

log = structlog.get_logger(__name__)

_PLAIN = re.compile(r"[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*")
"""What published names are made of; other servers and we cannot disagree about such a path."""

_VERIFIED_MAX = 2000
"""Licenses whose signature is not verified again at each request."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not given, for whoever asked."""

    status: int
    """401: show a license. 403: this one does not do. 404, 503 as in RFC 9110."""
    text: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks."""

    token: str | None = None
    installation: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class _Index:
    """What is published, by who may have it."""

    stamp: tuple[int, int, int]
    licensing: Licensing | None
    verified: Callable[[str], License]
    """What ``verify`` says by ``licensing``, remembered. Raises as it does."""
    gated: frozenset[Channel]
    manifests: Mapping[str, Channel]
    contents: Mapping[str, frozenset[Channel]]
    """By the SHA-256 of a shard: the channels that name it."""


class Gate:
    """Threads may share it. Reads what is published again whenever the timestamp changes."""

    def __init__(
        self, home: Home, usage: Usage, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._home = home
        self._usage = usage
        self._now = now
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def refusal(self, path: str, visitor: Visitor) -> Refusal | None:
        """Why ``path`` (below the public folder) is not given; None if it is, which counts."""
        if path.startswith("metadata/") and _PLAIN.fullmatch(path) and ".." not in path:
            return None
        try:
            index = self._current()
        except MailwardError as e:
            log.error("licenses cannot be checked", why=str(e))
            return Refusal(503, "licenses cannot be checked at the moment; try again later")
        channels = _channels(index, path)
        if not channels:
            return None
        if not _PLAIN.fullmatch(path) or ".." in path.split("/"):
            return Refusal(404, "there is no such file")
        names = " or ".join(sorted(channels))
        if visitor.token is None:
            return Refusal(401, f"this needs a license for {names}")
        if index.licensing is None:
            return Refusal(503, "licenses cannot be checked: the publisher has set up no key")
        try:
            license_ = index.verified(visitor.token)
        except (FormatError, LicenseError) as e:
            return Refusal(401, f"the license shown cannot be used: {e}")
        entitlement = self._best(license_, channels, index.licensing)
        if not entitlement.allows:
            return Refusal(403, entitlement.sentence)
        self._usage.count(license_, visitor.installation, visitor.address, self._now())
        return None

    def login(self, visitor: Visitor) -> Refusal | None:
        """Why somebody cannot log in with a license; None if it is of use for some channel."""
        try:
            index = self._current()
            if index.licensing is None:
                return Refusal(503, "licenses cannot be checked: the publisher has set up no key")
            license_ = index.verified(visitor.token or "")
        except (FormatError, LicenseError) as e:
            return Refusal(401, f"the license shown cannot be used: {e}")
        except MailwardError as e:
            log.error("licenses cannot be checked", why=str(e))
            return Refusal(503, "licenses cannot be checked at the moment; try again later")
        entitlement = self._best(license_, frozenset(Channel), index.licensing)
        return None if entitlement.allows else Refusal(403, entitlement.sentence)

    def is_free(self, path: str) -> bool:
        """Whether everybody gets it, so that shared caches may keep it."""
        return self.refusal(path, Visitor()) is None

    def _best(
        self, license_: License, channels: frozenset[Channel], known: Licensing
    ) -> Entitlement:
        """What the license is worth where it is worth most."""
        found = [
            judge(
                channel,
                needed=True,
                held=[Held(license_)],
                licensing=known,
                times=Times(self._now()),
            )
            for channel in sorted(channels, key=lambda each: not license_.covers(each))
        ]
        return next((each for each in found if each.allows), found[0])

    def _current(self) -> _Index:
        with self._lock:
            stamp = self._stamp()
            if self._index is None or self._index.stamp != stamp:
                self._index = _read(self._home, stamp)
            return self._index

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = (self._home.metadata / "timestamp.json").stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def _read(home: Home, stamp: tuple[int, int, int]) -> _Index:
    signed = Signed.load(home)
    gated = frozenset(c for c in Channel if history.current(home, signed, c).license_required)
    manifests: dict[str, Channel] = {}
    contents: dict[str, set[Channel]] = {}
    for channel in Channel if gated else ():
        for version in history.named_versions(signed, channel):
            path = history.manifest_path(channel, version)
            target = signed.channels[channel].signed.targets[path]
            manifests[f"targets/{target.get_prefixed_paths()[0]}"] = channel
            for shard in history.manifest(home, signed, channel, version).shards:
                contents.setdefault(shard.sha256, set()).add(channel)
    known = licensing.read_signed(home, signed)
    return _Index(
        stamp,
        known,
        lru_cache(maxsize=_VERIFIED_MAX)(partial(_verified, known)),
        gated,
        manifests,
        {sha: frozenset(channels) for sha, channels in contents.items()},
    )


def _channels(index: _Index, path: str) -> frozenset[Channel]:
    """Of which channels one must be licensed to have it; none: it is free."""
    if not index.gated:
        return frozenset()
    folder, _, rest = path.partition("/")
    if folder == "targets":
        if rest.endswith((".current.json", ".licensing.json")):
            return frozenset()
        named = index.manifests.get(path)
        return index.gated if named is None else frozenset({named}) & index.gated
    sha = rest.partition("/")[2].partition(".")[0].partition("/")[0]
    named_by = index.contents.get(sha, index.gated)
    return named_by if named_by <= index.gated else frozenset()


def _verified(known: Licensing | None, token: str) -> License:
    if known is None:
        raise LicenseError("the publisher has set up no key to check it with")
    return verify(token, known)
