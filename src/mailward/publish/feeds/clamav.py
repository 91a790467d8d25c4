"""ClamAV's text databases as they come: one shard a file, carried and counted.

The formats: https://docs.clamav.net/manual/Signatures.html
"""

from dataclasses import dataclass
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.publish.feeds.base import Draft, Omissions, Reading, safe_name
from mailward.publish.feeds.files import files_below, lines_of, readable, relative

_SORTED = frozenset(
    {".cdb", ".crb", ".db", ".fp", ".gdb", ".hdb", ".hdu", ".hsb", ".hsu", ".ign", ".ign2", ".ldb"}
    | {".ldu", ".mdb", ".mdu", ".msb", ".msu", ".ndb", ".ndu", ".pdb", ".sfp", ".wdb"}
)
"""Each line stands for itself, so sorting changes nothing but the size of patches."""

_IN_ORDER = frozenset({".cbc", ".cfg", ".ftm", ".idb", ".imp", ".info", ".pwdb"})
"""Where a line's place matters (first match wins, the header comes first) or might."""

_CONTAINERS = frozenset({".cvd", ".cld", ".cud"})


@dataclass(frozen=True, slots=True)
class ClamavFeed:
    """One shard for each database file; the name's suffix says which format it has."""

    name: str
    place: Path

    def read(self) -> Reading:
        """See Feed.read."""
        omissions = Omissions()
        drafts = []
        paths = files_below(self.place, _SORTED | _IN_ORDER, omissions)
        for path in paths:
            _require_text(path)
        for path, raw in readable(self.place, paths, omissions):
            lines = _lines(path, raw, omissions)
            count = sum(1 for line in lines if not line.startswith(b"#"))
            if count:
                content = b"\n".join(lines) + b"\n"
                drafts.append(Draft(self._shard_name(path), ShardKind.CLAMAV, content, count))
            else:
                omissions.add(str(path), "no signature in it")
        return Reading(tuple(drafts), (), tuple(omissions.named), omissions.count)

    def _shard_name(self, path: Path) -> str:
        if path == self.place:
            return safe_name(f"clamav/{self.name}{path.suffix.lower()}")
        return safe_name(f"clamav/{self.name}/{relative(self.place, path)}")


def _require_text(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in _CONTAINERS:
        raise FormatError(
            f"{path}: ClamAV's containers cannot be read yet: unpack it with `sigtool --unpack` and"
            " name the folder"
        )
    if suffix not in _SORTED | _IN_ORDER:
        raise FormatError(f"{path}: {suffix or 'no suffix'} is not one of ClamAV's text databases")


def _lines(path: Path, raw: bytes, omissions: Omissions) -> list[bytes]:
    lines = [line for line in lines_of(raw, str(path), omissions) if line.strip()]
    with_nul = sum(1 for line in lines if b"\0" in line)
    if with_nul:
        omissions.add(str(path), f"{with_nul} lines with NUL bytes", with_nul)
        lines = [line for line in lines if b"\0" not in line]
    if path.suffix.lower() in _IN_ORDER:
        return lines
    return sorted({line for line in lines if not line.startswith(b"#")})
