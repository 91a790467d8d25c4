"""ClamAV's databases as they come, in text files and containers: one shard a database, carried and
counted.

The formats: https://docs.clamav.net/manual/Signatures.html
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError, TrustError
from mailward.publish.feeds import clamav_container as containers
from mailward.publish.feeds.base import Draft, Omissions, Reading, safe_name
from mailward.publish.feeds.clamav_container import Container, read_container
from mailward.publish.feeds.clamav_signature import CLAMAV, Keys
from mailward.publish.feeds.files import files_below, leave_out, lines_of, readable, relative

_SORTED = frozenset(
    {".cdb", ".crb", ".db", ".fp", ".gdb", ".hdb", ".hdu", ".hsb", ".hsu", ".ign", ".ign2", ".ldb"}
    | {".ldu", ".mdb", ".mdu", ".msb", ".msu", ".ndb", ".ndu", ".pdb", ".sfp", ".wdb"}
)
"""Each line stands for itself, so sorting changes nothing but the size of patches."""

_IN_ORDER = frozenset({".cbc", ".cfg", ".ftm", ".idb", ".imp", ".info", ".pwdb"})
"""Where a line's place matters (first match wins, the header comes first) or might: so it is for
every kind in a container that is not known here."""

_ONE_PROGRAM = ".cbc"
"""Bytecode: the whole file is one signature."""

_COUNT_MAY_DIFFER = 0.1
"""Share by which a container's stated count may be off: ClamAV's own is by a few per cent, as it
counts neither every line nor every kind."""


@dataclass(frozen=True, slots=True)
class ClamavFeed:
    """One shard for each database file; the name's suffix says which format it has."""

    name: str
    place: Path
    keys: Keys = CLAMAV
    """Who signs containers."""

    def read(self) -> Reading:
        """See Feed.read."""
        omissions, found = Omissions(), _Found()
        paths = files_below(self.place, _SORTED | _IN_ORDER | containers.SUFFIXES, omissions)
        for path in paths:
            _require_known(path)
        for path, raw in readable(self.place, paths, omissions):
            try:
                self._take(path, raw, found, omissions)
            except (FormatError, TrustError) as e:
                leave_out(self.place, path, e, omissions)
        return Reading(
            tuple(found.drafts.values()),
            (),
            tuple(omissions.named),
            omissions.count,
            tuple(found.remarks),
            tuple(
                sorted((n or self.name, version) for n, (version, _) in found.containers.items())
            ),
        )

    def _take(self, path: Path, raw: bytes, found: "_Found", omissions: Omissions) -> None:
        if path.suffix.lower() in containers.SUFFIXES:
            self._take_container(path, raw, found, omissions)
            return
        name = f"{self.name}{path.suffix.lower()}"
        if path != self.place:
            name = f"{self.name}/{relative(self.place, path)}"
        draft = _draft(safe_name(f"clamav/{name}"), raw, str(path), omissions)
        if draft is not None and not found.add(draft):
            omissions.add(str(path), f"another file gives the shard {draft.name} already")

    def _take_container(
        self, path: Path, raw: bytes, found: "_Found", omissions: Omissions
    ) -> None:
        where = str(path)
        container = read_container(raw, path.suffix.lower(), where, self.keys)
        folder = ""
        if path != self.place:
            folder = str(PurePosixPath(relative(self.place, path)).with_suffix(""))
        drafts = list(self._databases(folder, container, where, omissions))
        remark = _remark(container, sum(draft.signatures for draft in drafts), where)
        # daily.cvd beside daily.cld: freshclam has just made the one of the other.
        version = container.header.version
        known = found.containers.get(folder)
        if known is not None:
            older = where if version <= known[0] else f"{self.place}/{folder}"
            omissions.add(older, f"the same in version {max(version, known[0])} lies beside it")
            if version <= known[0]:
                return
            found.drop(known[1])
        names = tuple(draft.name for draft in drafts if found.add(draft))
        if len(names) < len(drafts):
            omissions.add(where, "other files give some of its shards already")
        found.containers[folder] = version, names
        found.remarks.append(remark)

    def _databases(
        self, folder: str, container: Container, where: str, omissions: Omissions
    ) -> Iterator[Draft]:
        for member, content in container.databases.items():
            name = "/".join(piece for piece in ("clamav", self.name, folder, member) if piece)
            draft = _draft(safe_name(name), content, f"{where}: {member}", omissions)
            if draft is not None:
                yield draft


@dataclass(slots=True)
class _Found:
    """What the files gave so far."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    containers: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    """Version and shards of each, by its name without suffix; a lone one has the name ""."""

    def add(self, draft: Draft) -> bool:
        if draft.name in self.drafts:
            return False
        self.drafts[draft.name] = draft
        return True

    def drop(self, names: tuple[str, ...]) -> None:
        for name in names:
            del self.drafts[name]


def _require_known(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix not in _SORTED | _IN_ORDER | containers.SUFFIXES:
        raise FormatError(f"{path}: {suffix or 'no suffix'} is not one of ClamAV's databases")


def _remark(container: Container, signatures: int, where: str) -> str:
    """What a container came to. Raises FormatError if too few of its signatures are there."""
    header = container.header
    stated = header.signatures
    counts = f"{signatures} signatures"
    if abs(stated - signatures) > max(stated, 10) * _COUNT_MAY_DIFFER:
        counts += f" although its header says {stated}"
        if not container.whole:
            # Neither a digest nor a list says that this is all: then the count has to.
            raise FormatError(f"{where}: {counts}, and nothing says that it is whole: get it again")
    trust = "signed by ClamAV" if container.signed else "not signed"
    return f"{where}: version {header.version} of {header.built_at}, {trust}, {counts}"


def _draft(name: str, raw: bytes, where: str, omissions: Omissions) -> Draft | None:
    suffix = PurePosixPath(name).suffix.lower()
    lines = _lines(suffix, raw, where, omissions)
    count = sum(1 for line in lines if not line.startswith(b"#"))
    if suffix == _ONE_PROGRAM:
        count = min(count, 1)
    if not count:
        omissions.add(where, "no signature in it")
        return None
    return Draft(name, ShardKind.CLAMAV, b"\n".join(lines) + b"\n", count)


def _lines(suffix: str, raw: bytes, where: str, omissions: Omissions) -> list[bytes]:
    lines = [line for line in lines_of(raw, where, omissions) if line.strip()]
    with_nul = sum(1 for line in lines if b"\0" in line)
    if with_nul:
        omissions.add(where, f"{with_nul} lines with NUL bytes", with_nul)
        whole = suffix == _ONE_PROGRAM  # a program without some of its lines is none
        lines = [] if whole else [line for line in lines if b"\0" not in line]
    if suffix not in _SORTED:
        return lines
    return sorted({line for line in lines if not line.startswith(b"#")})
