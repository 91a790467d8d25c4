"""Symbian packages: ``SIS`` of EPOC and Symbian OS up to 8, ``SISX`` of Symbian OS 9.

The old kind is a list of records (A. Thoukydides, "SIS File Format" 1.18), the new one fields
inside each other ("Symbian OS v9.X SIS File Format Specification" 1.1). Both pack by zlib.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import Inflated, deflate, inflate
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb".{4}(?:\x6d\0\0\x10|\x12\x3a\0\x10)\x19\x04\0\x10|\x7a\x1a\x20\x10"

_NEW = b"\x7a\x1a\x20\x10"
_ZLIB_HEADER_BYTES = 2
_TRUNCATED = "truncated: the Symbian package ends too early"

_HEADER = struct.Struct("<18xHH14xH14xL")
"""Of the old kind: languages, files, options, where the records begin."""
_UNICODE, _NOT_PACKED = 1, 8
_FILE, _FILE_EACH_LANGUAGE, _OPTIONS, _IF, _ELSE_IF, _ELSE, _END_IF = range(7)
_LANGUAGES_MAX = 256
_NAME_MAX_BYTES = 1024
_SELECTED_BYTES = 16

_STRING, _ARRAY, _COMPRESSED, _CONTENTS, _CONTROLLER = 1, 2, 3, 12, 13
_FILE_DESCRIPTION, _INSTALL_BLOCK, _IF_FIELD, _ELSE_IF_FIELD = 24, 28, 26, 27
_DATA, _DATA_UNIT, _FILE_DATA = 30, 31, 32
_DEEP = frozenset((_ARRAY, _INSTALL_BLOCK, _IF_FIELD, _ELSE_IF_FIELD))
"""Fields in which descriptions of files can be."""
_TOP = _DEEP | {_CONTROLLER}
_DEPTH_MAX = 16
_FIELDS_MAX = 100_000
_LONG_LENGTH = 1 << 31
_NEW_HEADER_BYTES = 16
_INDEX_BYTES = 28
"""At the end of a description: what to do, sizes, and the number of the file."""


class _CutError(Exception):
    pass


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        yield from (_new if data.startswith(_NEW) else _old)(data, budget)
    except (struct.error, _CutError):
        yield Shut(Reason.MALFORMED, _TRUNCATED)


def _old(data: bytes, budget: Budget) -> Contents:
    """Raises struct.error, _CutError, Spent."""
    languages, files, options, at = _HEADER.unpack_from(data)
    if languages > _LANGUAGES_MAX:
        raise _CutError
    for _ in range(files):
        budget.check_time()
        kind = struct.unpack_from("<L", data, at)[0]
        at += 4
        if kind in (_FILE, _FILE_EACH_LANGUAGE):
            count = languages if kind == _FILE_EACH_LANGUAGE else 1
            _, _, _, _, name_bytes, name_at = struct.unpack_from("<6L", data, at)
            at += 24
            fields = struct.unpack_from(f"<{3 * count}L", data, at)
            at += 12 * count + 8
            name = _old_name(data[name_at : name_at + min(name_bytes, _NAME_MAX_BYTES)], options)
            if not options & _UNICODE:  # then there is no size before packing, and no type
                at -= 4 * count + 8
                fields = (*fields[: 2 * count], *fields[:count])
            triples = zip(*(fields[n * count : (n + 1) * count] for n in range(3)), strict=True)
            for size, start, plain in triples:
                packed = bool(options & _UNICODE) and not options & _NOT_PACKED
                yield from _old_file(data, name, start, size, plain if packed else None, budget)
        elif kind == _OPTIONS:
            count = struct.unpack_from("<L", data, at)[0]
            at += 4 + 8 * count * languages + _SELECTED_BYTES
        elif kind in (_IF, _ELSE_IF):
            at += 4 + struct.unpack_from("<L", data, at)[0]
        elif kind not in (_ELSE, _END_IF):
            yield Shut(
                Reason.UNSUPPORTED, f"Symbian package: a record of a kind not known ({kind})"
            )
            return
        if at > len(data):
            raise _CutError


def _old_name(raw: bytes, options: int) -> str:
    path = raw.decode("utf-16-le" if options & _UNICODE else "cp1252", "replace")
    return path.replace("/", "\\").rpartition("\\")[2]


def _old_file(
    data: bytes, name: str, start: int, size: int, plain: int | None, budget: Budget
) -> Contents:
    if not size:
        budget.count_part(0)  # or hundreds of languages of nothing would cost only time
        return
    stored = memoryview(data)[start : start + size]
    if plain is None:
        yield Piece(bytes(stored[: budget.room() + 1]), Role.MEMBER, name)
        short = len(stored) < size
        shut = Shut(Reason.MALFORMED, _TRUNCATED, name) if short else None
    else:
        done = _zlib(stored, budget)
        yield Piece(done.data, Role.MEMBER, name)
        shut = done.shut
    if shut is not None:
        yield Shut(shut.reason, shut.detail, name)


def _zlib(packed: memoryview, budget: Budget) -> Inflated:
    return inflate(deflate, packed[_ZLIB_HEADER_BYTES:], budget)


@dataclass(frozen=True, slots=True)
class _Field:
    kind: int
    body: memoryview


class _Fields:
    """Fields of the new kind; all of one package together are counted."""

    def __init__(self) -> None:
        self._left = _FIELDS_MAX
        self.are_cut = False

    def of(self, body: memoryview, budget: Budget) -> Iterator[_Field]:
        """The fields that lie behind each other. Raises _CutError, Spent."""
        at = 0
        while at + 8 <= len(body):
            kind = int.from_bytes(body[at : at + 4], "little")
            field, at = self._next(kind, body, at + 4, budget)
            yield field

    def array(self, body: memoryview, budget: Budget) -> Iterator[_Field]:
        """Those of an array, which say once what they are. Raises _CutError, Spent."""
        kind = int.from_bytes(body[:4], "little")
        at = 4
        while at + 4 <= len(body):
            field, at = self._next(kind, body, at, budget)
            yield field

    def _next(self, kind: int, body: memoryview, at: int, budget: Budget) -> tuple[_Field, int]:
        self._left -= 1
        if self._left < 0:
            raise _CutError
        budget.check_time()
        size = int.from_bytes(body[at : at + 4], "little")
        at += 4
        if size & _LONG_LENGTH:
            size = size & ~_LONG_LENGTH | int.from_bytes(body[at : at + 4], "little") << 31
            at += 4
        end = at + size
        self.are_cut |= end > len(body)
        return _Field(kind, body[at:end]), end + -end % 4


def _new(data: bytes, budget: Budget) -> Contents:
    """Raises _CutError, Spent."""
    fields = _Fields()
    names: dict[int, str] = {}
    whole = memoryview(data)
    contents = next(fields.of(whole[_NEW_HEADER_BYTES:], budget), None)
    if contents is None or contents.kind != _CONTENTS:
        raise _CutError
    found = False
    for field in fields.of(contents.body, budget):
        if field.kind == _COMPRESSED:
            done = _unpacked(field.body, budget)
            yield Piece(done.data, Role.MEMBER, label="controller", is_sealed=True)
            if done.shut is not None:
                yield Shut(done.shut.reason, done.shut.detail, label="controller")
            _find_names(fields, memoryview(done.data), names, budget, 0)
        elif field.kind == _DATA:
            found = True
            yield from _units(fields, field.body, names, budget)
    if not found or fields.are_cut:
        raise _CutError


def _unpacked(body: memoryview, budget: Budget) -> Inflated:
    """Of a field that may be packed."""
    if len(body) < 12:
        raise _CutError
    way, packed = int.from_bytes(body[:4], "little"), body[12:]
    if way == 0:
        return Inflated(bytes(packed[: budget.room() + 1]), len(packed))
    if way == 1:
        return _zlib(packed, budget)
    why = f"Symbian package: packed in a way that is not known ({way})"
    return Inflated(b"", len(packed), Shut(Reason.UNSUPPORTED, why))


def _find_names(
    fields: _Fields, body: memoryview, names: dict[int, str], budget: Budget, depth: int
) -> None:
    """Of files, by their number. Those of packages inside have numbers of their own."""
    for field in fields.of(body, budget):
        inner = fields.array(field.body, budget) if field.kind == _ARRAY else (field,)
        for each in inner:
            if each.kind == _FILE_DESCRIPTION and len(each.body) >= _INDEX_BYTES:
                number = int.from_bytes(each.body[-4:], "little")
                target = next(fields.of(each.body, budget), None)
                if target is not None and target.kind == _STRING:
                    path = bytes(target.body[:_NAME_MAX_BYTES]).decode("utf-16-le", "replace")
                    names.setdefault(number, path.replace("/", "\\").rpartition("\\")[2])
            elif each.kind in (_DEEP if depth else _TOP) and depth < _DEPTH_MAX:
                _find_names(fields, each.body, names, budget, depth + 1)


def _units(fields: _Fields, body: memoryview, names: dict[int, str], budget: Budget) -> Contents:
    for array in fields.of(body, budget):
        if array.kind != _ARRAY:
            continue
        for unit_number, unit in enumerate(fields.array(array.body, budget)):
            for files in fields.of(unit.body, budget):
                for number, file in enumerate(fields.array(files.body, budget)):
                    name = names.get(number, "") if not unit_number else ""
                    yield from _new_file(fields, file, name, f"{unit_number}.{number}", budget)


def _new_file(fields: _Fields, file: _Field, name: str, label: str, budget: Budget) -> Contents:
    inner = next(fields.of(file.body, budget), None)
    if file.kind != _FILE_DATA or inner is None or inner.kind != _COMPRESSED:
        raise _CutError
    done = _unpacked(inner.body, budget)
    yield Piece(done.data, Role.MEMBER, name, label=label)
    if done.shut is not None:
        yield Shut(done.shut.reason, done.shut.detail, name, label)
