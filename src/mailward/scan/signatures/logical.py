"""Lines of .ldb files: ``name;attributes;expression;subsignature 0;subsignature 1;…``.

https://docs.clamav.net/manual/Signatures/LogicalSignatures.html
"""

import re
from collections.abc import Iterator, Sequence
from typing import overload

from mailward.scan.signatures import expression, offsets, pattern
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.extended import read_target, require_level
from mailward.scan.signatures.filetype import target_of
from mailward.scan.signatures.signature import (
    ANY_TARGET,
    Body,
    Macro,
    Range,
    Regex,
    Signature,
    Subsignature,
    problem_with_name,
)
from mailward.scan.signatures.subsignatures import read_compare, read_regex

SUBSIGNATURES_MAX = 64
INTERMEDIATES_MAX = 16

_RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_TYPE = re.compile("CL_TYPE_[A-Z0-9_]{1,40}")
_MACRO = re.compile(r"\$\{([0-9]{1,9})-([0-9]{1,9})\}([0-9]{1,3})\$")
_COMPARE = re.compile(r"[0-9]{1,2}\(")
_MODIFIERS = re.compile(r"(.*)::([a-zA-Z]*)", re.DOTALL)
_FIELD = re.compile(r"(?:[^;/\\]++|\\[^;]?|/(?:[^/\\]++|\\.)*+\\?/?)*+", re.DOTALL)


def read(line: str) -> Signature:
    """The signature in a line. Raises MalformedError, UnsupportedError."""
    found = list(fields(line))
    if len(found) < 4 or not found[3]:
        raise MalformedError("not name;attributes;expression;subsignatures")
    name, block, logic, *bodies = found
    if len(bodies) > 1 and not bodies[-1]:
        bodies.pop()  # a semicolon at the end, as ClamAV takes it
    wrong = problem_with_name(name)
    if wrong:
        raise MalformedError(wrong)
    if len(bodies) > SUBSIGNATURES_MAX:
        raise MalformedError(f"more than {SUBSIGNATURES_MAX} subsignatures")
    attributes = _attributes(block)
    try:
        whole = expression.parse(logic)
        named = expression.indices(whole)
        if max(named) >= len(bodies):
            raise MalformedError(f"there is no subsignature {max(named)}")
        subsignatures = tuple(_subsignature(text, at) for at, text in enumerate(bodies))
    except MalformedError:
        raise
    except ValueError as e:
        raise MalformedError(str(e)) from e
    return _signature(name, attributes, whole, subsignatures)


def read_again(line: str) -> Signature:
    """As ``read``, of a line that it took: each subsignature is read when it is asked for."""
    name, block, logic, *bodies = fields(line)
    if len(bodies) > 1 and not bodies[-1]:
        bodies.pop()
    return _signature(name, _attributes(block), expression.parse(logic), Unread(tuple(bodies)))


def fields(line: str) -> Iterator[str]:
    """Cut at semicolons, but not within ``/…/``."""
    if "/" not in line:
        yield from line.split(";")
        return
    at = 0
    while found := _FIELD.match(line, at):
        yield found[0]
        if found.end() == len(line):
            return
        at = found.end() + 1


# --- attributes -----------------------------------------------------------------------------------


def _attributes(block: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in block.split(","):
        key, colon, value = entry.partition(":")
        if not colon or not value:
            raise MalformedError(f"not an attribute: {entry[:40]!r}")
        if key not in _KNOWN:
            raise MalformedError(f"there is no attribute {key[:40]!r}")
        found.setdefault(key, value)
    if "Target" not in found:
        raise MalformedError("the attribute Target is missing")
    return found


_KNOWN = frozenset(
    {"Target", "Engine", "FileSize", "EntryPoint", "NumberOfSections", "Container"}
    | {"Intermediates", "HandlerType", "IconGroup1", "IconGroup2"}
)


def _signature(
    name: str,
    attributes: dict[str, str],
    whole: expression.Expression,
    subsignatures: Sequence[Subsignature],
) -> Signature:
    target = read_target(attributes["Target"])
    if "Engine" in attributes:
        levels = _range(attributes["Engine"], "Engine")
        require_level(str(levels.least), str(levels.most))
    if "IconGroup1" in attributes or "IconGroup2" in attributes:
        raise UnsupportedError("it looks at an icon")
    # ClamAV opens the file once more, as this type, and reports the signature if it matches there,
    # too. What else it may find then is in a file that is infected already.
    handler = _type(attributes["HandlerType"]) if "HandlerType" in attributes else ""
    if handler and target not in (ANY_TARGET, target_of(handler)):
        raise UnsupportedError("it has files of one target opened as another (HandlerType)")
    return Signature(
        name,
        target,
        whole,
        subsignatures,
        file_size=_optional_range(attributes, "FileSize"),
        entry_point=_optional_range(attributes, "EntryPoint"),
        sections=_optional_range(attributes, "NumberOfSections"),
        container=_type(attributes["Container"]) if "Container" in attributes else "",
        intermediates=_types(attributes.get("Intermediates", "")),
    )


def _optional_range(attributes: dict[str, str], key: str) -> Range | None:
    return _range(attributes[key], key) if key in attributes else None


def _range(text: str, what: str) -> Range:
    read = _RANGE.fullmatch(text)
    if read is None:
        raise MalformedError(f"{what} is not a range: {text[:40]!r}")
    return Range(int(read[1]), int(read[2]))


def _type(text: str) -> str:
    if not _TYPE.fullmatch(text):
        raise MalformedError(f"not a file type: {text[:40]!r}")
    return text


def _types(text: str) -> tuple[str, ...]:
    types = tuple(_type(one) for one in text.split(">")) if text else ()
    if len(types) > INTERMEDIATES_MAX:
        raise MalformedError(f"more than {INTERMEDIATES_MAX} intermediates")
    return types


# --- subsignatures --------------------------------------------------------------------------------


class Unread(Sequence[Subsignature]):
    """Subsignatures as they are written, each read when it is asked for."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> Subsignature: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Subsignature]: ...
    def __getitem__(self, index: int | slice) -> Subsignature | Sequence[Subsignature]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return _subsignature(self._texts[index], index)

    def ranks(self) -> tuple[int, ...]:
        """How long it takes to see that each does not match, roughly."""
        return tuple(map(_rank, self._texts))


def _rank(text: str) -> int:
    if "/" in text or "#" in text or "$" in text:
        return 1000
    offset, colon, rest = text.partition(":")
    if colon and not rest.startswith(":") and offset != "*":
        return 1
    # A literal is quickly not found; several segments are often there one by one.
    gaps = text.count("*", 2) + text.count("-")
    modifiers = text.rpartition("::")[2] if "::" in text else ""
    return (1 + ("w" in modifiers and "a" in modifiers)) * (30 * (gaps + 1) if gaps else 4)


def _subsignature(text: str, at: int) -> Subsignature:
    if not text:
        raise MalformedError(f"subsignature {at} is empty")
    if text.startswith("fuzzy_img#"):
        raise UnsupportedError("it compares images (fuzzy_img)")
    macro = _MACRO.fullmatch(text)
    if macro is not None:
        if not at:
            raise MalformedError("a macro cannot be the first subsignature")
        return Macro(int(macro[3]), int(macro[1]), int(macro[2]))
    if "/" in text:
        regex = read_regex(text)
        _require_before(regex, at)
        return regex
    if _COMPARE.match(text) and "#" in text:
        compare = read_compare(text)
        if compare.trigger == at:
            raise MalformedError("a comparison with itself")
        return compare
    return _body(text)


def _require_before(regex: Regex, at: int) -> None:
    if max(expression.indices(regex.trigger)) >= at:
        raise MalformedError("a regular expression triggered by a subsignature not before it")


def _body(text: str) -> Body:
    offset, colon, rest = text.partition(":")
    if not colon or rest.startswith(":"):
        place, rest = offsets.ANYWHERE, text
    else:
        place = offsets.parse(offset)
    modified = _MODIFIERS.fullmatch(rest)
    hexadecimal, modifiers = (modified[1], modified[2]) if modified else (rest, "")
    return Body(_modified(pattern.parse(hexadecimal), modifiers), place)


def _modified(plain: pattern.Pattern, modifiers: str) -> tuple[pattern.Pattern, ...]:
    unknown = modifiers.strip("iwfa")
    if unknown:
        raise MalformedError(f"there is no modifier {unknown[:20]!r}")
    patterns = [(plain, False)] if "w" not in modifiers or "a" in modifiers else []
    if "w" in modifiers:
        patterns.append((pattern.wide(plain), True))
    caseless = "i" in modifiers
    return tuple(
        pattern.with_case(
            pattern.fullword(one, wide=wide) if "f" in modifiers else one, caseless=caseless
        )
        for one, wide in patterns
    )
