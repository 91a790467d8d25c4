"""Hash lists in every shape that they come in: one digest a line, ``digest:size:name``, the output
of ``sha256sum``, CSV with named columns, and reports whose tables hold digests among other things.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.publish.feeds.base import Draft, Omissions, Reading
from mailward.publish.feeds.files import files_below, leave_out, lines_of, readable, relative

_SUFFIXES = frozenset(
    {".adoc", ".csv", ".hash", ".hashes", ".hdb", ".hsb", ".list", ".lst", ".md", ".md5", ".sha1"}
    | {".sha256", ".tsv", ".txt"}
)

_PROSE = frozenset({".adoc", ".md"})
"""Reports: that a line holds no digest is nothing worth telling."""

_DIGEST = re.compile(
    rb"(?<![0-9A-Za-z])(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{32})(?![0-9A-Za-z])"
)
"""SHA-256, SHA-1 or MD5 standing alone: no piece of a longer word, such as a SHA-512."""

_ENTRY = re.compile(
    rb"([0-9A-Fa-f]{64}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{32}):([0-9]{1,12}|\*)"
    rb"(?::(.*?)(?::[0-9]*){0,2})?"
)
"""ClamAV's .hdb and .hsb, the last two fields being engine levels; the name may be missing."""

_OF_NOTHING = frozenset(
    {
        b"d41d8cd98f00b204e9800998ecf8427e",
        b"da39a3ee5e6b4b0d3255bfef95601890afd80709",
        b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
)
"""Digests of the empty file turn up in real lists, and would hit every empty attachment."""

_DIGEST_COLUMNS = frozenset(
    {"digest", "hash", "filehash", "md5", "md5hash", "sha1", "sha1hash", "sha256", "sha256hash"}
)
_SIZE_COLUMNS = frozenset({"size", "filesize", "sizebytes", "bytes"})
_NAME_COLUMNS = frozenset(
    {"name", "signature", "detection", "malware", "family", "malwarefamily", "threat"}
)
"""Headers in small letters and digits, everything else taken out."""

_HEADER_WITHIN_LINES = 20
_NO_NAMES = frozenset({b"", b"-", b"?", b"n/a", b"na", b"none", b"null", b"unknown"})
_NOT_IN_NAMES = re.compile(rb"[^!-9;-~]+")
"""All but printable ASCII without space and colon: names go into mail headers and log lines."""
_NAME_MAX = 200

Entry = tuple[bytes, bytes, bytes]
"""Digest in lower case, size or ``*``, name (empty: the feed's own)."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of CSV files are called, where it is not evident from their headers."""

    digest: str
    size: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class HashFeed:
    """One shard. What a list does not name is named after the feed and its folder.

    A digest with several sizes is kept with each of them: only the right one can ever hit.
    """

    name: str
    place: Path
    columns: Columns | None = None
    """Makes every file a CSV file, whatever its suffix."""

    def read(self) -> Reading:
        """See Feed.read."""
        omissions = Omissions()
        found = _Found()
        paths = files_below(self.place, _SUFFIXES, omissions)
        for path, content in readable(self.place, paths, omissions):
            default = self._default_name(path)
            try:
                for digest, size, name in _entries(path, content, self.columns, omissions):
                    found.add(digest, size, name or default)
            except FormatError as e:
                leave_out(self.place, path, e, omissions)
        _leave_out_nothing(found.names, omissions)
        return Reading(
            (self._draft(found.names),),
            (),
            tuple(omissions.named),
            omissions.count,
            found.remarks(),
        )

    def _draft(self, names: dict[tuple[bytes, bytes], bytes]) -> Draft:
        lines = sorted(b"%b:%b:%b\n" % (*key, name) for key, name in names.items())
        return Draft(f"hashes/{self.name}.txt", ShardKind.HASHES, b"".join(lines), len(lines))

    def _default_name(self, path: Path) -> bytes:
        folders = relative(self.place, path).split("/")[:-1]
        return _clean_name(".".join([self.name, *folders]).encode("utf-8", "replace")) or b"hash"


@dataclass(slots=True)
class _Found:
    """Digests with their sizes, each with one name."""

    names: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    named_twice: int = 0

    def add(self, digest: bytes, size: bytes, name: bytes) -> None:
        known = self.names.get((digest, size))
        self.named_twice += known is not None and known != name
        # Two lists, two names: the first in alphabetical order, whatever was read first.
        if known is None or name < known:
            self.names[digest, size] = name

    def remarks(self) -> tuple[str, ...]:
        several = len(self.names) - len({digest for digest, _ in self.names})
        said = []
        if several:
            said.append(f"{several} digests come again with another size: all are kept")
        if self.named_twice:
            said.append(
                f"{self.named_twice} digests come again with another name: the first in the"
                " alphabet is kept"
            )
        return tuple(said)


def _entries(
    path: Path, content: bytes, columns: Columns | None, omissions: Omissions
) -> Iterator[Entry]:
    lines = lines_of(content, str(path), omissions)
    if columns is not None or path.suffix.lower() in (".csv", ".tsv"):
        kept = list(lines)
        header = _Header.of(kept) if columns is None else _Header.named(kept, columns, path)
        if header is not None:
            yield from _rows(kept[header.line + 1 :], header, path, omissions)
            return
        lines = iter(kept)
    yield from _text(lines, path, omissions)


def _text(lines: Iterable[bytes], path: Path, omissions: Omissions) -> Iterator[Entry]:
    found, without = 0, 0
    for raw in lines:
        line = raw.strip()
        if not line or line.startswith((b"#", b";", b"//")):
            continue
        entry = _ENTRY.fullmatch(line)
        if entry is not None:
            found += 1
            yield entry[1].lower(), entry[2], _clean_name(entry[3] or b"")
            continue
        digests = _DIGEST.findall(line)
        found += len(digests)
        without += not digests
        for digest in digests:
            yield digest.lower(), b"*", b""
    if not found:
        omissions.add(str(path), "no digest in it")
    elif without and path.suffix.lower() not in _PROSE:
        omissions.add(str(path), f"{without} lines hold no digest", without)


@dataclass(frozen=True, slots=True)
class _Header:
    """Which columns of a CSV file mean what."""

    line: int
    delimiter: str
    digests: tuple[int, ...]
    size: int | None
    name: int | None

    @classmethod
    def named(cls, lines: Sequence[bytes], wanted: Columns, path: Path) -> "_Header":
        """Where the ``wanted`` columns are. Raises FormatError if one is not there."""
        digest = _simple(wanted.digest)
        for number, delimiter, columns in _possible_headers(lines):
            if digest in columns:
                others = {}
                for key, name in (("size", wanted.size), ("name", wanted.name)):
                    others[key] = _column(columns, frozenset({_simple(name)} if name else ()))
                    if name and others[key] is None:
                        raise FormatError(f"{path}: no column {name!r} beside {wanted.digest!r}")
                return cls(number, delimiter, (columns.index(digest),), **others)
        raise FormatError(
            f"{path}: no column {wanted.digest!r} in its first {_HEADER_WITHIN_LINES} lines"
        )

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> "_Header | None":
        for number, delimiter, columns in _possible_headers(lines):
            digests = tuple(i for i, cell in enumerate(columns) if cell in _DIGEST_COLUMNS)
            if digests:
                return cls(
                    number,
                    delimiter,
                    digests,
                    _column(columns, _SIZE_COLUMNS),
                    _column(columns, _NAME_COLUMNS),
                )
        return None


def _possible_headers(lines: Sequence[bytes]) -> Iterator[tuple[int, str, list[str]]]:
    for number, raw in enumerate(lines[:_HEADER_WITHIN_LINES]):
        text = raw.decode("utf-8", "replace")
        delimiter = max(",;\t|", key=text.count)
        yield number, delimiter, [_simple(cell) for cell in text.split(delimiter)]


def _simple(header: str) -> str:
    return re.sub("[^a-z0-9]", "", header.lower())


def _column(columns: Sequence[str], wanted: frozenset[str]) -> int | None:
    return next((i for i, cell in enumerate(columns) if cell in wanted), None)


def _rows(
    lines: Sequence[bytes], header: _Header, path: Path, omissions: Omissions
) -> Iterator[Entry]:
    without = 0
    for raw in lines:
        if not raw.strip() or raw.lstrip().startswith(b"#"):
            continue
        cells = _cells(raw, header.delimiter)
        digests = [
            found
            for i in header.digests
            if i < len(cells) and (found := _DIGEST.search(cells[i].encode()))
        ]
        without += not digests
        size = _cell(cells, header.size)
        for digest in digests:
            yield (
                digest[0].lower(),
                size.encode() if re.fullmatch("[0-9]{1,12}", size) else b"*",
                _clean_name(_cell(cells, header.name).encode()),
            )
    if without:
        omissions.add(str(path), f"{without} rows hold no digest", without)


def _cells(raw: bytes, delimiter: str) -> list[str]:
    # Row by row: a stray quote costs its own row, not the rest of the file.
    try:
        text = raw.decode("utf-8", "replace")
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _cell(cells: Sequence[str], column: int | None) -> str:
    return cells[column].strip() if column is not None and column < len(cells) else ""


def _clean_name(name: bytes) -> bytes:
    name = name.strip()
    return b"" if name.lower() in _NO_NAMES else _NOT_IN_NAMES.sub(b"_", name)[:_NAME_MAX]


def _leave_out_nothing(names: dict[tuple[bytes, bytes], bytes], omissions: Omissions) -> None:
    for key in [key for key in names if key[0] in _OF_NOTHING]:
        omissions.add(key[0].decode(), "the digest of the empty file, which is no risk")
        del names[key]
