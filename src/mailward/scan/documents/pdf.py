"""PDF (ISO 32000): every stream decoded, scripts and addresses as text, files under their names.

Cross-reference tables are not believed: whatever looks like a stream is one. So a damaged or lying
file shows what any reader may find in it (``docs/decisions/documents.md``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut, Unlocked
from mailward.scan.documents import pdf_filters, pdf_syntax
from mailward.scan.documents.pdf_crypt import Key, UnknownError, find_key
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_HEADER_SEARCH_BYTES = 1024
"""Readers accept junk in front of ``%PDF``; ISO 32000 annex H gives this number."""
_STREAM = re.compile(rb"(?<!end)stream[ \t]*(?:\r\n|\n|\r)")
_OBJECT = re.compile(rb"(\d{1,10})[\s\0]+(\d{1,5})[\s\0]+obj\b")
_DICTIONARY_MAX_BYTES = 64 * 1024
_LENGTH = re.compile(rb"/Length[\s\0]+(\d{1,12})(?![\s\0]+\d+[\s\0]+R|\d)")
_FILTER = re.compile(rb"/(?:Filter|F)[\s\0]*(\[[^\]]{0,500}\]|/[A-Za-z0-9]+)")
_NAME = re.compile(rb"/([A-Za-z0-9]+)")
_FILTERS_MAX = 8
_AFTER_STREAM = re.compile(rb"[\s\0]{0,4}endstream")
_IS_PICTURE = re.compile(rb"/Subtype[\s\0]*/Image\b")
_PLAIN = re.compile(rb"/XRef\b|/Crypt\b")
_FILTER_ELSEWHERE = re.compile(rb"/Filter[\s\0]+\d")
_PREDICTOR = re.compile(rb"/Predictor[\s\0]+1[0-5]\b")
_COLUMNS, _COLORS = re.compile(rb"/Columns[\s\0]+(\d{1,6})"), re.compile(rb"/Colors[\s\0]+(\d)")
_FILE_REFERENCE = re.compile(
    rb"/EF[\s\0]*<<[^>]{0,500}?/U?F[\s\0]+(\d{1,10})[\s\0]+\d{1,5}[\s\0]+R"
)
_FILE_ELSEWHERE = re.compile(rb"/EF[\s\0]+\d")
_FILE_NAME = re.compile(rb"/U?F[\s\0]*(?=[(<](?!<))")
_SCRIPT_REFERENCE = re.compile(rb"/JS[\s\0]+(\d{1,10})[\s\0]+\d{1,5}[\s\0]+R")
_NAME_SEARCH_BYTES = 2000
_TELLING = re.compile(rb"/(?:JS|URI|F|UF|P|D|Win|Unix|Mac|DOS|Contents)[\s\0]*(?=[(<](?!<))")
"""Texts that say what is run, opened or fetched."""
_TEXTS_MAX = 50_000
_FILES_MAX = 10_000
"""Attached files that are looked up; more than parts that a message may have."""
_PICTURE_BYTES = 1024 * 1024
"""Of a picture's pixels that are scanned: nothing runs them, and a white page is a bomb."""
_ALONE_MIN_BYTES = 64 * 1024
_TOGETHER_BYTES = 1024 * 1024
"""Smaller streams go together: a long document has ten thousand of them."""
_MAGIC = re.compile(
    rb"MZ|PK\x03\x04|%PDF|\xd0\xcf\x11\xe0|Rar!|7z\xbc\xaf|\{\\rt|[FCZ]WS|\x7fELF|\x1f\x8b|MSCF|"
    rb"\s{0,20}<(?:[?!]|htm|svg|scr|xdp|tem)|\x78\x9f\x3e\x22|BZh|\xfd7z|#!|Xar!|"
    rb"\xff\xd8\xff|\x89PNG|GIF8",
    re.IGNORECASE,
)


def looks_so(data: bytes) -> bool:
    """Whether it is one."""
    return data.find(b"%PDF-", 0, _HEADER_SEARCH_BYTES) >= 0


@dataclass(frozen=True, slots=True)
class _Stream:
    number: int
    generation: int
    dictionary: bytes
    start: int
    end: int


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    try:
        key = find_key(data, budget)
    except UnknownError as e:
        yield Shut(Reason.ENCRYPTED, f"PDF {e}")
        return
    if key is not None and key.by_password_of_mail:
        yield Unlocked()
    yield from _Document(data, key, budget).read()


class _Document:
    def __init__(self, data: bytes, key: Key | None, budget: Budget) -> None:
        self._data = data
        self._key = key
        self._budget = budget
        self._names = dict(islice(_attached(data), _FILES_MAX))
        self._scripts = {int(found[1]) for found in _SCRIPT_REFERENCE.finditer(data)}
        self._texts: list[bytes] = []
        self._names_elsewhere = (
            _FILE_ELSEWHERE.search(data) is not None or len(self._names) == _FILES_MAX
        )
        """Whether an object of its own says which streams are files: then any may be one."""

    def read(self) -> Contents:
        together: list[bytes] = []
        size = 0
        outside = 0
        streams = list(_streams(self._data, self._budget))
        for stream in streams:
            if b"/ObjStm" in stream.dictionary:
                self._objects(self._decode(stream)[0])
        for stream in streams:
            self._budget.check_time()
            self._collect(self._data, outside, stream.start, is_plain=self._key is None)
            outside = stream.end
            content, shut = self._decode(stream)
            label = f"object {stream.number}"
            if shut is not None:
                yield Shut(shut.reason, shut.detail, label=label)
            if not content:
                continue
            name = self._names.get(stream.number, "")
            if (
                self._is_file(stream)
                or stream.number in self._scripts
                or len(content) >= _ALONE_MIN_BYTES
                or _MAGIC.match(content)
            ):
                yield Piece(content, Role.MEMBER, name, label=label)
                continue
            together.append(content)
            size += len(content)
            if size > _TOGETHER_BYTES:
                yield Piece(b"\n".join(together), Role.MEMBER, label="streams", is_sealed=True)
                together, size = [], 0
        self._collect(self._data, outside, len(self._data), is_plain=self._key is None)
        if together:
            yield Piece(b"\n".join(together), Role.MEMBER, label="streams", is_sealed=True)
        if self._texts:
            yield Piece(b"\n".join(self._texts), Role.MEMBER, label="texts")
        if len(self._texts) >= _TEXTS_MAX:
            yield Shut(Reason.LIMIT, f"more than {_TEXTS_MAX} texts: not all were read")

    def _is_file(self, stream: _Stream) -> bool:
        return (
            stream.number in self._names
            or b"/EmbeddedFile" in stream.dictionary
            or self._names_elsewhere
        )

    def _objects(self, content: bytes) -> None:
        """What an object stream says about other streams, and its texts."""
        content = pdf_syntax.plain_names(content)
        self._names.update(_attached(content))
        self._scripts.update(int(found[1]) for found in _SCRIPT_REFERENCE.finditer(content))
        self._names_elsewhere |= _FILE_ELSEWHERE.search(content) is not None
        self._collect(content, 0, len(content), is_plain=True)

    def _collect(self, data: bytes, start: int, end: int, *, is_plain: bool) -> None:
        if b"#" in data[start:end]:
            data = pdf_syntax.plain_names(data[start:end])
            start, end = 0, len(data)
        while (found := _TELLING.search(data, start, end)) is not None:
            self._budget.check_time()
            if len(self._texts) >= _TEXTS_MAX:
                return
            value, start = pdf_syntax.text(data, found.end())
            if self._key is not None and not is_plain:
                owner = _owner(data, found.start(), 0)
                value = self._key.decrypt(value, *owner)
            if value:
                self._texts.append(pdf_syntax.as_utf8(value))

    def _decode(self, stream: _Stream) -> tuple[bytes, Shut | None]:
        content = self._data[stream.start : stream.end]
        if self._key is not None and not _PLAIN.search(stream.dictionary):
            content = self._key.decrypt(content, stream.number, stream.generation)
        is_picture = not self._is_file(stream) and _IS_PICTURE.search(stream.dictionary)
        found = _FILTER.search(stream.dictionary)
        names = _NAME.findall(found[1])[:_FILTERS_MAX] if found is not None else []
        if is_picture:
            if any(name in pdf_filters.PICTURES for name in names):
                return b"", None
            content = content[:_PICTURE_BYTES]
        if not names and _FILTER_ELSEWHERE.search(stream.dictionary):
            names = [b"FlateDecode"]  # named in another object: nearly always this one
        for name in names:
            if name in pdf_filters.PICTURES or name == b"Crypt":
                break
            decode = pdf_filters.BY_NAME.get(name)
            if decode is None:
                why = f"a PDF stream packed with {name[:40].decode('latin-1')}"
                return content, Shut(Reason.UNSUPPORTED, why)
            content, shut = decode(content, self._budget)
            if is_picture:
                return content[:_PICTURE_BYTES], None
            if shut is not None:
                return content, shut
        if _PREDICTOR.search(stream.dictionary) is not None:
            columns = _COLUMNS.search(stream.dictionary)
            colors = _COLORS.search(stream.dictionary)
            pixel = int(colors[1]) if colors is not None else 1
            width = int(columns[1]) if columns is not None else 1
            content = pdf_filters.unpredict(content, width * pixel, pixel, self._budget)
        return content, None


def _streams(data: bytes, budget: Budget) -> Iterator[_Stream]:
    at = 0
    while (found := _STREAM.search(data, at)) is not None:
        budget.check_time()
        start = found.end()
        head = data.rfind(b"obj", max(at - 3, found.start() - _DICTIONARY_MAX_BYTES, 0), start)
        dictionary = pdf_syntax.plain_names(data[head + 3 if head >= 0 else at : found.start()])
        number, generation = _owner(data, found.start(), max(0, head - 20)) if head >= 0 else (0, 0)
        end = _end(data, start, dictionary)
        yield _Stream(number, generation, dictionary, start, end)
        at = max(end, start)


def _end(data: bytes, start: int, dictionary: bytes) -> int:
    """Where its length says, if that is true; else at the next ``endstream``, or ``endobj``."""
    length = _LENGTH.search(dictionary)
    if length is not None:
        end = start + int(length[1])
        if end <= len(data) and _AFTER_STREAM.match(data, end):
            return end
    for mark in (b"endstream", b"endobj"):
        end = data.find(mark, start)
        if end >= 0:
            return end - 2 if data[end - 2 : end] == b"\r\n" else end - (data[end - 1] in b"\r\n")
    return len(data)


def _owner(data: bytes, at: int, since: int) -> tuple[int, int]:
    """Number and generation of the object around ``at``."""
    since = max(since, at - _DICTIONARY_MAX_BYTES)
    *_, last = None, *_OBJECT.finditer(data, since, at)
    return (int(last[1]), int(last[2])) if last is not None else (0, 0)


def _attached(data: bytes) -> Iterator[tuple[int, str]]:
    """Numbers of streams that are attached files, and their names."""
    for found in _FILE_REFERENCE.finditer(data):
        since = max(data.rfind(b"obj", max(0, found.start() - _NAME_SEARCH_BYTES), found.start()),
                    found.start() - _NAME_SEARCH_BYTES, 0)  # fmt: skip
        named = _FILE_NAME.search(data, since, found.end() + _NAME_SEARCH_BYTES)
        name = b""
        if named is not None:
            name = pdf_syntax.as_utf8(pdf_syntax.text(data, named.end())[0])
        yield int(found[1]), encodings.text(name)[:1000]
