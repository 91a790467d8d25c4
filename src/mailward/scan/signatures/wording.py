"""A signature in words, for people: what `mailward definitions explain` shows."""

from collections.abc import Iterator

from mailward.scan.signatures.expression import Both, Counted, Either, Expression, Leaf
from mailward.scan.signatures.filetype import Target
from mailward.scan.signatures.offsets import Base, Offset
from mailward.scan.signatures.pattern import (
    Choice,
    Class,
    Edge,
    Element,
    Literal,
    Masked,
    Pattern,
    Segment,
    Skip,
)
from mailward.scan.signatures.signature import (
    Body,
    Compare,
    Macro,
    Range,
    Regex,
    Signature,
    Subsignature,
)

_FILES = {
    Target.ANY: "any file",
    Target.PE: "Windows programs (PE)",
    Target.OLE2: "OLE2 documents",
    Target.HTML: "HTML, normalised",
    Target.MAIL: "mail",
    Target.GRAPHICS: "pictures",
    Target.ELF: "programs for Linux and Unix (ELF)",
    Target.TEXT: "texts, normalised",
    Target.MACHO: "programs for macOS (Mach-O)",
    Target.PDF: "PDF documents",
    Target.FLASH: "Flash",
    Target.JAVA: "Java classes",
}
_CLASSES = {
    Class.BOUNDARY: "a word boundary",
    Class.LINE: "the end of a line",
    Class.NOT_ALPHANUMERIC: "no letter or digit",
}
_FLAGS = {
    "g": "all matches count",
    "r": "from the offset on",
    "e": "within offset and shift",
    "i": "in any case",
    "s": ". is any byte",
    "m": "^ and $ at lines",
    "x": "spaced",
    "A": "at once",
    "U": "ungreedy",
}


def describe(signature: Signature) -> Iterator[str]:
    """Lines, the first of which is about the whole."""
    yield f"in {_FILES.get(Target(signature.target), f'target {signature.target}')}"
    for what, limits in (
        ("of {} bytes", signature.file_size),
        ("whose entry point is at {}", signature.entry_point),
        ("with {} sections", signature.sections),
    ):
        if limits is not None:
            yield what.format(_range(limits))
    if signature.container == "CL_TYPE_ANY":
        yield "that lie in no container"
    elif signature.container:
        yield f"that lie in a container of type {signature.container}"
    if signature.intermediates:
        yield f"that lie in {' in '.join(reversed(signature.intermediates))}"
    if signature.group is not None:
        yield f"(a member of macro group {signature.group}: reports nothing by itself)"
    yield f"where {_expression(signature.expression)}:"
    for number, subsignature in enumerate(signature.subsignatures):
        yield f"  {number}: {_subsignature(subsignature, number)}"


def _range(limits: Range) -> str:
    return f"{limits.least:,} to {limits.most:,}"


def _expression(expression: Expression) -> str:
    match expression:
        case Leaf(index):
            return f"{index}"
        case Both(left, right):
            return f"{_grouped(left)} and {_grouped(right)}"
        case Either(left, right):
            return f"{_grouped(left)} or {_grouped(right)}"
        case Counted(inner, "=", 0):
            return f"not {_grouped(inner)}"
        case Counted(inner, sign, number, distinct):
            how = {"=": "exactly", ">": "more than", "<": "less than"}[sign]
            several = f" from at least {distinct} of them" if distinct else ""
            return f"{_grouped(inner)} {how} {number} times{several}"


def _grouped(expression: Expression) -> str:
    plain = _expression(expression)
    return plain if isinstance(expression, Leaf | Counted) else f"({plain})"


def _subsignature(subsignature: Subsignature, number: int) -> str:
    match subsignature:
        case Body(patterns, offset):
            return " or ".join(pattern_in_words(p) for p in patterns) + _offset(offset)
        case Regex(trigger, source, flags, offset):
            said = [_FLAGS[flag] for flag in flags if flag in _FLAGS]
            how = f" ({', '.join(said)})" if said else ""
            shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in source)
            return f"if {_expression(trigger)}: the expression /{shown}/{how}{_offset(offset)}"
        case Compare() as compare:
            kind = {"h": "hexadecimal", "d": "decimal", "a": "", "i": "binary"}[compare.base]
            order = " (little-endian)" if compare.little_endian else ""
            asked = " and ".join(f"{sign} {value}" for sign, value in compare.comparisons)
            return (
                f"the {kind} number{order} of {compare.width} bytes, {compare.distance:+d} from"
                f" where {compare.trigger} is, {asked}"
            )
        case Macro(group, least, most):
            where = f"{least} to {most} bytes after the begin of {number - 1}"
            return f"a signature of macro group {group}, {where}"


def _offset(offset: Offset) -> str:
    if offset.base is Base.ANYWHERE:
        return ""
    within = f", or up to {offset.shift} bytes after" if offset.shift else ""
    match offset.base:
        case Base.START:
            return f", at byte {offset.number}{within}"
        case Base.END:
            return f", {-offset.number} bytes before the end{within}"
        case Base.WITHIN_SECTION:
            return f", anywhere in section {offset.section}"
        case Base.VERSION:
            return f", at {offset.base.value}"
    of = f" {offset.section}" if offset.base is Base.SECTION else ""
    return f", at the {offset.base.value}{of} {offset.number:+d}{within}"


def pattern_in_words(pattern: Pattern) -> str:
    """Readable pieces in quotes, the rest in braces."""
    pieces = [_segment(pattern.segments[0])]
    for gap, segment in zip(pattern.gaps, pattern.segments[1:], strict=True):
        pieces += [_gap(gap), _segment(segment)]
    return " ".join(pieces) + (" in any case" if pattern.caseless else "")


def _segment(segment: Segment) -> str:
    before = [_edge(edge) for edge in segment.edges if edge.left]
    after = [_edge(edge) for edge in segment.edges if not edge.left]
    return " ".join([*before, *map(_element, segment.elements), *after])


def _edge(edge: Edge) -> str:
    side = "before" if edge.left else "after"
    return f"{{{'not ' * edge.negated}{_CLASSES[edge.kind]} {side} it}}"


def _element(element: Element) -> str:
    match element:
        case Literal(value):
            return _literal(value)
        case Masked(_, 0):
            return "{any byte}"
        case Masked(value, mask):
            digits = f"{value:02x}"
            high = digits[0] if mask & 0xF0 else "?"
            low = digits[1] if mask & 0x0F else "?"
            return f"{{byte {high}{low}}}"
        case Skip() as gap:
            return _gap(gap)
        case Choice(options, negated):
            shown = [" ".join(map(_element, option)) or "nothing" for option in options]
            return f"{{{'anything but ' * negated}{' or '.join(shown)}}}"


def _gap(gap: Skip) -> str:
    if gap.most is None:
        return f"{{{gap.least} bytes or more}}" if gap.least else "{any bytes}"
    if gap.least == gap.most:
        return f"{{{gap.least} bytes}}"
    return f"{{{gap.least} to {gap.most} bytes}}"


def _literal(value: bytes) -> str:
    """In quotes, what cannot be printed as in Python."""
    shown = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in value
    )
    return f'"{shown}"'
