"""Archives that the system's libarchive opens (Debian: libarchive13), through ``ctypes``.

It reads from memory, one format at a time and never one that it guesses; filters that start other
programs are never switched on. Everything that comes out is counted on the budget. Where the
library is not installed these formats stay shut as unsupported (docs/decisions/archives.md).

Functions and constants: ``archive.h``, ``archive_entry.h``, archive_read(3).
"""

import contextlib
import ctypes
import functools
import io
import locale
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import stream
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_LIBRARY = "libarchive.so.13"

_EOF, _RETRY, _WARN, _FAILED = 1, -10, -20, -25
_TYPE_MASK, _REGULAR, _FOLDER, _LINK = 0o170000, 0o100000, 0o040000, 0o120000

_DRAIN_BYTES = 4 * 1024 * 1024
"""Unpacked and thrown away to reach what lies behind a member that was cut, in one archive."""
_RETRIES_MAX = 10
_DETAIL_MAX = 160
"""Characters of the library's own words."""
_UNSUPPORTED = re.compile("not supported|unsupported|unavailable|Unknown codec", re.IGNORECASE)
"""In its words: what is whole, but not for it."""

_INT, _POINTER, _SIZE = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[type, tuple[type, ...]]] = {
    "archive_version_details": (ctypes.c_char_p, ()),
    "archive_read_new": (_POINTER, ()),
    "archive_read_free": (_INT, (_POINTER,)),
    "archive_read_open_memory": (_INT, (_POINTER, _POINTER, _SIZE)),
    "archive_read_add_passphrase": (_INT, (_POINTER, ctypes.c_char_p)),
    "archive_read_next_header": (_INT, (_POINTER, ctypes.POINTER(_POINTER))),
    "archive_read_data_block": (
        _INT,
        (_POINTER, ctypes.POINTER(_POINTER), ctypes.POINTER(_SIZE), ctypes.POINTER(ctypes.c_int64)),
    ),
    "archive_read_has_encrypted_entries": (_INT, (_POINTER,)),
    "archive_error_string": (ctypes.c_char_p, (_POINTER,)),
    "archive_entry_pathname_utf8": (ctypes.c_char_p, (_POINTER,)),
    "archive_entry_pathname": (ctypes.c_char_p, (_POINTER,)),
    "archive_entry_symlink": (ctypes.c_char_p, (_POINTER,)),
    "archive_entry_filetype": (ctypes.c_uint, (_POINTER,)),
    "archive_entry_is_encrypted": (_INT, (_POINTER,)),
}
_FORMATS = ("7zip", "rar", "rar5", "cab", "lha", "cpio", "xar", "ar", "raw", "zip")
_FILTERS = ("lz4", "lzma", "gzip", "bzip2", "xz", "zstd", "rpm")
_SUPPORT = {
    **{name: f"archive_read_support_format_{name}" for name in _FORMATS},
    **{name: f"archive_read_support_filter_{name}" for name in _FILTERS},
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What to tell the library: formats and filters by its own names."""

    what: str
    """For people."""
    formats: tuple[str, ...]
    filters: tuple[str, ...] = ()
    """One or more of these, as often as they are found inside each other."""
    empty_bytes: int = 0
    """How large it may be with nothing in it."""


SEVEN_ZIP = Kind("7-Zip archive", ("7zip",), empty_bytes=32)
RAR = Kind("RAR archive", ("rar", "rar5"))
CAB = Kind("Windows cabinet", ("cab",))
LHA = Kind("LHA archive", ("lha",))
CPIO = Kind("cpio archive", ("cpio",), empty_bytes=1024)
XAR = Kind("xar archive", ("xar",))
AR = Kind("ar archive or Debian package", ("ar",), empty_bytes=8)
RPM = Kind("RPM package", ("cpio",), ("rpm", "gzip", "bzip2", "xz", "lzma", "zstd"))
LZ4 = Kind("LZ4 file", ("raw",), ("lz4",))
ZIP_PPMD = Kind("zip archive with PPMd", ("zip",))
NEEDED_FOR = tuple(k.what for k in (SEVEN_ZIP, RAR, CAB, LHA, CPIO, XAR, AR, RPM, LZ4, ZIP_PPMD))
"""What stays shut on a computer without the library; for ``status``."""


def version() -> str:
    """As the library says it, e.g. ``libarchive 3.6.2 zlib/1.2.13 …``; empty if there is none."""
    library = _library()
    return library.archive_version_details().decode() if library is not None else ""


def read(
    kind: Kind, data: bytes, name: str, budget: Budget, passwords: Sequence[str] = ()
) -> Contents:
    """The files of an archive. Raises only Spent.

    Links are pieces with their target as content, devices and pipes are empty ones. ``name``: of
    the archive.
    """
    library = _library()
    if library is None:
        why = f"{kind.what}: cannot be opened on this computer (libarchive is not installed)"
        yield Shut(Reason.UNSUPPORTED, why)
        return
    with _new(library, kind, passwords) as archive:
        if library.archive_read_open_memory(archive, data, len(data)) < _WARN:
            # Nothing more may be asked of it: it has no format, and some functions follow that.
            yield Shut(Reason.MALFORMED, f"{kind.what}: {_said(library, archive)}")
        else:
            inner = stream.inner_name(name)
            yield from _Reader(library, archive, kind, len(data), budget).read(inner)


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
        for function, (result, arguments) in _FUNCTIONS.items():
            getattr(library, function).restype = result
            getattr(library, function).argtypes = arguments
        for function in _SUPPORT.values():
            getattr(library, function).argtypes = (_POINTER,)
    except (OSError, AttributeError):
        return None
    if locale.nl_langinfo(locale.CODESET) != "UTF-8":
        # In other locales it cannot say most names; the file names of the system are ours to read.
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    return library


@contextlib.contextmanager
def _new(library: ctypes.CDLL, kind: Kind, passwords: Sequence[str]) -> Iterator[int]:
    archive = library.archive_read_new()
    if not archive:
        raise MemoryError
    try:
        for name in (*kind.formats, *kind.filters):
            getattr(library, _SUPPORT[name])(archive)
        for password in passwords:
            library.archive_read_add_passphrase(archive, password.encode())
        yield archive
    finally:
        library.archive_read_free(archive)


class _Reader:
    """One walk through one archive."""

    def __init__(
        self, library: ctypes.CDLL, archive: int, kind: Kind, size: int, budget: Budget
    ) -> None:
        self._library = library
        self._archive = archive
        self._kind = kind
        self._packed = size
        self._budget = budget
        self._unpacked = 0
        """Of all members: in a solid archive they share what they are packed in."""
        self._drained = 0
        self._is_over = False
        """After what it calls fatal nothing more may be asked of it: it may crash."""

    def read(self, only_name: str) -> Contents:
        entry = ctypes.c_void_p()
        entries = retries = 0
        while True:
            self._budget.check_time()
            status = self._library.archive_read_next_header(self._archive, ctypes.byref(entry))
            if status == _EOF:
                break
            if status == _RETRY and retries < _RETRIES_MAX:
                retries += 1
                continue
            if status < _WARN:
                yield self._damaged()
                return
            entries += 1
            goes_on = yield from self._member(entry, only_name)
            if not goes_on:
                return
        if not entries and self._packed > self._kind.empty_bytes:
            yield Shut(Reason.MALFORMED, f"{self._kind.what}: nothing in it can be read")

    def _member(
        self, entry: ctypes.c_void_p, only_name: str
    ) -> Generator[Piece | Shut, None, bool]:
        """What became of it; returns whether what is behind it can be read."""
        name = only_name if "raw" in self._kind.formats else self._name(entry)
        kind = self._library.archive_entry_filetype(entry) & _TYPE_MASK
        if kind == _FOLDER:
            self._budget.count_part(0)  # or millions of folders would cost nothing but time
            return True
        if kind == _LINK:
            target = self._text(self._library.archive_entry_symlink, entry)
            yield Piece(target or b"", Role.MEMBER, name)
            return True
        out = io.BytesIO()
        shut = self._unpack(out)
        encrypted = self._library.archive_entry_is_encrypted(entry) > 0
        if shut is not None and encrypted and not out.tell():
            yield Shut(Reason.ENCRYPTED, "encrypted archive member", name)
            return not self._is_over
        yield Piece(out.getvalue(), Role.MEMBER, name)
        if shut is None:
            return True
        yield Shut(shut.reason, shut.detail, name)
        if shut.reason is Reason.LIMIT and not self._drain():
            yield Shut(Reason.LIMIT, f"{self._kind.what}: nothing behind {name or 'it'} was read")
            return False
        return not self._is_over

    def _name(self, entry: ctypes.c_void_p) -> str:
        raw = self._text(self._library.archive_entry_pathname_utf8, entry)
        raw = raw or self._text(self._library.archive_entry_pathname, entry)
        try:
            return (raw or b"").decode()
        except UnicodeDecodeError as e:
            return e.object.decode("cp437")

    def _text(
        self, ask: Callable[[ctypes.c_void_p], bytes | None], entry: ctypes.c_void_p
    ) -> bytes | None:
        """None if it cannot be said."""
        # libarchive ends the process where it sees ENOMEM then, even of a call long ago (S13).
        ctypes.set_errno(0)
        return ask(entry)

    def _unpack(self, out: io.BytesIO) -> Shut | None:
        """Into ``out``; why it is not all, None if it is."""
        room = self._budget.room()
        for block in self._blocks():
            if isinstance(block, Shut):
                return block
            content, hole = block
            self._unpacked += len(content)
            out.write(bytes(min(max(0, hole - out.tell()), room - out.tell())))
            out.write(content[: room - out.tell()])
            if out.tell() >= room:
                return self._budget.over_room(room)
            if self._budget.is_bomb(self._unpacked, self._packed):
                return self._budget.bomb()
        return None

    def _drain(self) -> bool:
        """Whether the rest of a cut member could be passed over: in solid archives that costs."""
        for block in self._blocks():
            if isinstance(block, Shut):
                return True
            self._drained += len(block[0])
            if self._drained > _DRAIN_BYTES:
                return False
        return True

    def _blocks(self) -> Iterator[tuple[memoryview, int] | Shut]:
        """What the member is made of, each block with its offset; valid until the next."""
        at, size, offset = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_int64()
        retries = 0
        while True:
            self._budget.check_time()
            status = self._library.archive_read_data_block(
                self._archive, ctypes.byref(at), ctypes.byref(size), ctypes.byref(offset)
            )
            if status == _EOF:
                return
            if status == _RETRY and retries < _RETRIES_MAX:
                retries += 1
                continue
            if status < _WARN:
                self._is_over = status < _FAILED
                yield self._damaged()
                return
            if at.value and size.value:
                block = (ctypes.c_char * size.value).from_address(at.value)
                yield memoryview(block).cast("B"), offset.value
                retries = 0
            else:
                retries += 1  # an empty block is no end, and only such blocks are no file
                if retries > _RETRIES_MAX:
                    yield self._damaged()
                    return

    def _damaged(self) -> Shut:
        said = _said(self._library, self._archive)
        if self._library.archive_read_has_encrypted_entries(self._archive) > 0:
            return Shut(Reason.ENCRYPTED, f"encrypted {self._kind.what}: {said}")
        reason = Reason.UNSUPPORTED if _UNSUPPORTED.search(said) else Reason.MALFORMED
        return Shut(reason, f"{self._kind.what}: {said}")


def _said(library: ctypes.CDLL, archive: int) -> str:
    raw = library.archive_error_string(archive) or b"it cannot be read"
    said = "".join(c if c.isprintable() else "?" for c in raw.decode("utf-8", "replace"))
    return said[:_DETAIL_MAX]
