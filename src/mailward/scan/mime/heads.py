"""The header of an entity: what its Content- fields mean, and where its body begins.

A header in which every line is a field and no Content- field comes twice has one reading. Anything
else is read as each of these clients would: one that ends the header at the first line that is no
field, one that skips such lines, one for which a line of blanks ends it, one for which a bare CR
ends no line; one that takes the first of two fields, and one that takes the last.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product, zip_longest

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.mime import fields
from mailward.scan.mime.fields import ContentType, Parsed

_LENIENT_MAX_BYTES = 256 * 1024
"""Of a header in which some line is no field, that are read in other ways; honest: 50 KiB."""
_HEADS_MAX = 12
"""Readings of one header. Two Content-Types times two encodings, with room for odd values."""

_CLEAN = re.compile(rb"(?:[!-9;-~]++:[^\r\n\0]*+\r?\n(?:[ \t]++[^\r\n\0]++\r?\n)*+)*+(\r?\n)")
"""All lines are fields or go on with one, and a blank line follows."""
_CONTENT_FIELD = re.compile(
    rb"\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-((?i:type|transfer-encoding|disposition)):"
    rb"([^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+)"
)
"""A literal byte in front and no letters in either case behind it: several times faster so."""
_FIELD = re.compile(
    rb"([!-9;-~]+)[ \t]*:([^\r\n]*(?:(?:\r\n|\n|\r)[ \t][^\r\n]*)*)(?:\r\n|\n|\r|\Z)"
)
_FIELD_NO_CR = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")
_FIELD_STOP_AT_BLANKS = re.compile(
    rb"([!-9;-~]+)[ \t]*:([^\r\n]*(?:(?:\r\n|\n|\r)[ \t]+[^\r\n\t ][^\r\n]*)*)(?:\r\n|\n|\r|\Z)"
)
_LINE_END = re.compile(rb"[ \t]*(?:\r\n|\n|\r)")
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BLANK_IN_FRONT = re.compile(
    rb"(?:[ \t]*+(?:\r\n|\n|\r))++(?=(?:[!-9;-~]++[ \t]*+:[^\r\n]*+(?:\r\n|\n|\r)"
    rb"(?:[ \t][^\r\n]*+(?:\r\n|\n|\r))*+)*?content-[a-z-]{4,17}[ \t]*+:)",
    re.IGNORECASE,
)
"""Of a header with a Content- field, whose lines up to that are fields."""
_BLANKS = re.compile(rb"(?:\r\n|\n|\r)[ \t]+(?:\r\n|\n|\r)")
_BARE_CR = re.compile(rb"\r(?!\n)")
_ANY_FIELD = re.compile(
    rb"^[^\r\n:a-z]*content[^\r\n:a-z]*-(type|transfer-encoding|disposition)[^\r\n:a-z]*:"
    rb"([^\r\n]*(?:(?:\r\n|\n|\r)[ \t][^\r\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_IN_HEADERS = bytes({*range(9), 11, 12, *range(14, 32), *range(127, 256)})
_ODD_NAME = re.compile(r"\*|=\?|[^ -~]|\.\Z")
_NOTHING = Parsed("", {})
_NEWLINE = 10
_CARRIAGE_RETURN = re.compile(rb"\r\n?")

_TYPE, _ENCODING, _DISPOSITION = b"type", b"transfer-encoding", b"disposition"
_KNOWN = (_TYPE, _ENCODING, _DISPOSITION)


@dataclass(frozen=True, slots=True)
class Head:
    """One reading of a header."""

    type: ContentType
    encoding: str
    """Lower case; empty if there is none."""
    names: tuple[str, ...]
    attached: bool
    body: int
    """Where the body begins."""
    why: str = ""
    """What sets this reading apart; empty for the usual one."""


_Fields = list[tuple[bytes, str]]
"""Content- fields in their order: the rest of the name in lower case, the value with its folds."""


def read(data: bytes, start: int, end: int, default_type: str, budget: Budget) -> list[Head]:
    """Every reading of the header at ``start``, at least one, the usual one first. Raises Spent."""
    if data[start - 1] == _NEWLINE if start else data[:8].lower() != b"content-":
        clean = _CLEAN.match(data, start, end)
        if clean is not None and _BLANK_IN_FRONT.match(data, start, end) is None:
            found = _CONTENT_FIELD.findall(data, max(0, start - 1), clean.end())
            listed = [(name.lower(), value.decode("latin-1")) for name, value in found]
            return _simple(listed, default_type, clean.end()) or _limited(
                _meanings(listed, default_type, clean.end(), "")
            )
    return _limited(
        head
        for listed, body, why in _blocks(data, start, end, budget)
        for head in _meanings(listed, default_type, body, why)
    )


def _simple(listed: _Fields, default_type: str, body: int) -> list[Head]:
    """The reading of fields in the strict grammar; none if they are not."""
    if not listed:
        return [Head(ContentType(default_type), "", (), attached=False, body=body)]
    found = dict(listed)
    if len(found) < len(listed):
        return []
    encoding = found.get(_ENCODING, "").strip().lower()
    if encoding and not encodings.is_known(encoding):
        return []
    content_type = fields.strict(found[_TYPE]) if _TYPE in found else _NOTHING
    disposition = fields.strict(found[_DISPOSITION]) if _DISPOSITION in found else _NOTHING
    if content_type is None or disposition is None:
        return []
    if _TYPE in found and "/" not in content_type.value:
        return []
    parameters = content_type.parameters
    plain = [disposition.parameters.get("filename", ""), parameters.get("name", "")]
    if any(map(_ODD_NAME.search, (*plain, *disposition.parameters, *parameters))):
        names = tuple(fields.names(found.get(_DISPOSITION, ""), found.get(_TYPE, "")))
    else:
        names = tuple(fields.by_extension(plain))
    boundary = parameters.get("boundary", "").rstrip().encode("latin-1")
    read_type = ContentType(
        content_type.value or default_type,
        (boundary,) if boundary else (),
        parameters.get("charset", "").strip().lower(),
    )
    return [Head(read_type, encoding, names, disposition.value == "attachment", body)]


def _limited(heads: Iterable[Head]) -> list[Head]:
    """Each meaning once; two that differ in nothing but their reason are one."""
    kept: dict[object, Head] = {}
    for head in heads:
        kept.setdefault((head.type[:2], head.encoding, head.body), head)
        if len(kept) == _HEADS_MAX:
            break
    return list(kept.values())


def _meanings(listed: _Fields, default_type: str, body: int, why: str) -> Iterator[Head]:
    values = {kind: [value for name, value in listed if name == kind] for kind in _KNOWN}
    types = [
        (each, _why(values[_TYPE], number, "Content-Type"))
        for number, value in enumerate(_first_and_last(values[_TYPE]))
        for each in _types(value)
    ] or [(ContentType(default_type), "")]
    read_encodings = [
        (each, _why(values[_ENCODING], number, "Content-Transfer-Encoding"))
        for number, value in enumerate(_first_and_last(values[_ENCODING]))
        for each in fields.transfer_encodings(value)
    ] or [("", "")]
    names = fields.by_extension(
        name
        for disposition, content_type in zip_longest(
            _first_and_last(values[_DISPOSITION]), _first_and_last(values[_TYPE]), fillvalue=""
        )
        for name in fields.names(disposition, content_type)
    )
    attached = any(v.strip().lower().startswith("attachment") for v in values[_DISPOSITION])
    usual = True
    for (content_type, type_why), (encoding, encoding_why) in product(types, read_encodings):
        told = why or "; ".join(dict.fromkeys(w for w in (type_why, encoding_why) if w))
        told = told or ("" if usual else "a Content- field is not as the standard has it")
        yield Head(content_type, encoding, tuple(names), attached, body, told)
        usual = False


def _types(value: str) -> list[ContentType]:
    parsed = fields.strict(value)
    if parsed is None or "/" not in parsed.value:
        return fields.content_types(value)
    boundary = parsed.parameters.get("boundary", "").rstrip().encode("latin-1")
    charset = parsed.parameters.get("charset", "").strip().lower()
    return [ContentType(parsed.value, (boundary,) if boundary else (), charset)]


def _first_and_last(values: list[str]) -> list[str]:
    return list(dict.fromkeys((*values[:1], *values[-1:])))


def _why(values: list[str], number: int, name: str) -> str:
    return f"{len(values)} {name} fields: clients take the first or the last" if number else ""


def _blocks(
    data: bytes, start: int, end: int, budget: Budget
) -> Iterator[tuple[_Fields, int, str]]:
    """Fields, where the body begins, and what is odd about taking it so."""
    usual, body = _fields(_FIELD, data, start, end, budget)
    yield usual, body, ""
    in_front = _BLANK_IN_FRONT.match(data, start, end)
    if in_front is not None:
        found, at = _fields(_FIELD, data, in_front.end(), end, budget)
        yield found, at, "blank lines in front of a header: clients skip them or end it there"
    if _BARE_CR.search(data, start, body) is not None:
        found, at = _fields(_FIELD_NO_CR, data, start, end, budget)
        yield found, at, "a bare CR in the header: it ends a line or does not"
    if _BLANKS.search(data, start, body) is not None:
        found, at = _fields(_FIELD_STOP_AT_BLANKS, data, start, end, budget)
        yield found, at, "a line of blanks in the header: it ends the header or does not"
    blank = _BLANK_LINE.search(data, start, min(end, start + _LENIENT_MAX_BYTES))
    at = blank.end() if blank is not None else min(end, start + _LENIENT_MAX_BYTES)
    block = _CARRIAGE_RETURN.sub(b"\n", data[start:at].translate(None, _NOT_IN_HEADERS))
    found = [(n.lower(), v.decode("latin-1")) for n, v in _ANY_FIELD.findall(block)]
    if found and (at != body or found != usual):
        yield found, at, "a line in the header is no field: clients stop there or skip it"


def _fields(
    pattern: re.Pattern[bytes], data: bytes, start: int, end: int, budget: Budget
) -> tuple[_Fields, int]:
    found: _Fields = []
    at = start
    while (field := pattern.match(data, at, end)) is not None:
        budget.check_time()
        if field[1][:8].lower() == b"content-" and (kind := field[1][8:].lower()) in _KNOWN:
            found.append((kind, field[2].decode("latin-1")))
        at = field.end()
    blank = _LINE_END.match(data, at, end)
    return found, blank.end() if blank is not None else at
