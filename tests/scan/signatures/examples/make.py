"""A file that a signature must match, and files that it just does not.

Made from the signature: each pattern's bytes where its offset says, in a file of the kind that it
is for; alternatives are chosen and gaps filled at random. What cannot be made (other containers
than ``wrapping`` knows, macros, the sizes of whole discs) raises ImpossibleError.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from mailward.scan.signatures import expression as logic
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
from mailward.scan.signatures.signature import Body, Compare, Range, Regex, Signature, Subsignature
from tests.scan.signatures.examples import programs, regex_example
from tests.scan.signatures.examples.wrapping import WRAPPERS

FILE_MAX_BYTES = 1 << 20
_ENTRY = 0x1800
"""Where programs made here begin to run: 0x1000 bytes into their first section, at 0x400."""
_ENTRY_OFFSET = 0xC00
_SECTION_BYTES = 0x2000
_SECTIONS_MIN = 2
_BEGINNINGS = {
    Target.ANY: b"\x80\x81\0\x01\0\x02\0\x03",
    Target.OLE2: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64),
    Target.HTML: b"<html>",
    Target.MAIL: b"From: a@example.com\nTo: b@example.com\nSubject: x\n\n",
    Target.GRAPHICS: b"GIF89a" + bytes(16),
    Target.TEXT: b"qq\n",
    Target.PDF: b"%PDF-1.4\n",
    Target.FLASH: b"FWS\x08" + bytes(16),
    Target.JAVA: b"\xca\xfe\xba\xbe\0\0\0\x32",
    Target.INTERNAL: b'{\n  "Magic":"CLAMJSONv0"',
}
_TEXTUAL = frozenset({Target.HTML, Target.MAIL, Target.TEXT})
_REPEATS_MAX = 1500
"""Of one subsignature in a file: public ones count to a thousand."""
_ANY = "CL_TYPE_ANY"


class ImpossibleError(ValueError):
    """No file is made for this signature, and why."""


@dataclass(frozen=True, slots=True)
class Example:
    """A file made for a signature."""

    data: bytes
    kind: str
    """``match``, or what is wrong with it: ``byte``, ``gap``, ``offset``, ``missing``, ``more``
    (than are counted), ``size``, ``number`` (compared), ``text`` (of a regular expression),
    ``sections``, ``container``. Some of these match all the same."""


@dataclass
class _Plan:
    """What goes into a file: pieces at places, and pieces anywhere."""

    floating: list[bytes] = field(default_factory=list)
    placed: list[tuple[Offset, bytes]] = field(default_factory=list)


def examples(signature: Signature, random_: random.Random) -> Iterator[Example]:
    """A file that ``signature`` must match, then near misses of it. Raises ImpossibleError."""
    layers = _layers(signature)
    wanted = _satisfied(signature.expression, random_)
    for index, subsignature in enumerate(signature.subsignatures):
        if isinstance(subsignature, Regex) and wanted[index]:
            for trigger, count in _satisfied(subsignature.trigger, random_).items():
                wanted[trigger] = max(wanted[trigger], count)
        if isinstance(subsignature, Compare) and wanted[index]:
            wanted[subsignature.trigger] = max(wanted[subsignature.trigger], 1)
    plain = _file(signature, wanted, random_)
    yield Example(_wrapped(plain, layers), "match")
    if layers:
        yield Example(
            _wrapped(plain, [random_.choice(sorted(WRAPPERS)), *layers[:-1]]), "container"
        )
    for example in _others(signature, wanted, random_):
        yield replace(example, data=_wrapped(example.data, layers))


def _others(
    signature: Signature, wanted: Counter[int], random_: random.Random
) -> Iterator[Example]:
    """Near misses, not yet in their container."""
    yield from _of_attributes(signature, wanted, random_)
    for index, subsignature in enumerate(signature.subsignatures):
        if isinstance(subsignature, Compare) and wanted[index]:
            yield Example(_with(signature, index, _off(subsignature), wanted, random_), "number")
        if isinstance(subsignature, Regex) and wanted[index]:
            text = regex_example.example(subsignature.source, subsignature.flags, random_)
            altered = Pattern((Segment((Literal(_other_byte(text, random_)),)),))
            other = Body((altered,), subsignature.offset)
            yield Example(_with(signature, index, other, wanted, random_), "text")
    bodies = [i for i in sorted(wanted) if wanted[i] and _body(signature, i) is not None]
    if not bodies:
        return
    spoiled = random_.choice(bodies)
    body = _body(signature, spoiled)
    for kind, changed in _near_misses(body, random_) if body else ():
        yield Example(_with(signature, spoiled, changed, wanted, random_), kind)
    fewer, more = Counter(wanted), Counter(wanted)
    fewer[spoiled] -= 1
    yield Example(_file(signature, fewer, random_), "missing")
    counted = [i for i in bodies if _is_counted(signature.expression, i)]
    if counted:
        more[random_.choice(counted)] += 1
        yield Example(_file(signature, more, random_), "more")


def _of_attributes(
    signature: Signature, wanted: Counter[int], random_: random.Random
) -> Iterator[Example]:
    """Of another size, or with another number of sections, than is asked for."""
    size, sections = signature.file_size, signature.sections
    for other in (size.least - 1, size.most + 1) if size is not None else ():
        if 0 < other < FILE_MAX_BYTES:
            near = replace(signature, file_size=Range(other, other))
            with contextlib.suppress(ImpossibleError):
                yield Example(_file(near, wanted, random_), "size")
    for other in (sections.least - 1, sections.most + 1) if sections is not None else ():
        near = replace(signature, sections=Range(other, other))
        with contextlib.suppress(ImpossibleError):
            yield Example(_file(near, wanted, random_), "sections")


def _with(
    signature: Signature,
    index: int,
    other: Subsignature,
    wanted: Counter[int],
    random_: random.Random,
) -> bytes:
    """A file for the signature with another subsignature in one's place."""
    subsignatures = list(signature.subsignatures)
    subsignatures[index] = other
    return _file(replace(signature, subsignatures=tuple(subsignatures)), wanted, random_)


def _off(compare: Compare) -> Compare:
    """The next number that is wrong."""
    sign, bound = compare.comparisons[0]
    wrong = {"=": bound + 1, ">": bound, "<": bound}[sign]
    return replace(compare, comparisons=(("=", wrong),))


def _is_counted(expression: logic.Expression, index: int) -> bool:
    match expression:
        case logic.Counted(inner):
            return index in logic.indices(inner)
        case logic.Both(left, right) | logic.Either(left, right):
            return _is_counted(left, index) or _is_counted(right, index)
    return False


def _body(signature: Signature, index: int) -> Body | None:
    subsignature = signature.subsignatures[index]
    return subsignature if isinstance(subsignature, Body) else None


def _near_misses(body: Body, random_: random.Random) -> Iterator[tuple[str, Body]]:
    pattern = body.patterns[0]
    literals = [
        (i, j, element.value)
        for i, segment in enumerate(pattern.segments)
        for j, element in enumerate(segment.elements)
        if isinstance(element, Literal)
    ]
    i, j, value = random_.choice(literals)
    segments = list(pattern.segments)
    elements = list(segments[i].elements)
    elements[j] = Literal(_other_byte(value, random_))
    segments[i] = replace(segments[i], elements=tuple(elements))
    yield "byte", replace(body, patterns=(replace(pattern, segments=tuple(segments)),))
    bounded = [i for i, gap in enumerate(pattern.gaps) if gap.most is not None]
    if bounded:
        i = random_.choice(bounded)
        gaps = list(pattern.gaps)
        most = gaps[i].most or 0
        gaps[i] = Skip(most + 1, most + 1)
        yield "gap", replace(body, patterns=(replace(pattern, gaps=tuple(gaps)),))
    if body.offset.base not in (Base.ANYWHERE, Base.WITHIN_SECTION):
        by = 1 if body.offset.base is not Base.END or body.offset.number < -1 else -1
        offset = replace(body.offset, number=body.offset.number + body.offset.shift + by, shift=0)
        yield "offset", replace(body, offset=offset)


def _other_byte(value: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(len(value))
    changed = bytearray(value)
    changed[at] = (value[at] + 2) & 0xFF
    return bytes(changed)


# --- which subsignatures, how often ---------------------------------------------------------------


def _satisfied(expression: logic.Expression, random_: random.Random) -> Counter[int]:
    """How often each subsignature is to match so that ``expression`` holds."""
    match expression:
        case logic.Leaf(index):
            return Counter({index: 1})
        case logic.Both(left, right):
            return _satisfied(left, random_) | _satisfied(right, random_)
        case logic.Either(left, right):
            return _satisfied(random_.choice((left, right)), random_)
        case logic.Counted(inner, sign, number, distinct):
            needed = {"=": number, ">": number + 1, "<": max(number - 1, 0)}[sign]
            leaves = sorted(logic.indices(inner))
            random_.shuffle(leaves)
            if not needed:
                return Counter()
            several = leaves[: max(distinct, 1)]
            wanted = Counter(dict.fromkeys(several, 1))
            wanted[several[0]] += max(0, needed - len(several))
            return wanted


# --- bytes ----------------------------------------------------------------------------------------


def render(pattern: Pattern, random_: random.Random, *, textual: bool = False) -> bytes:
    """Bytes that ``pattern`` matches. ``textual``: what it leaves open is small letters."""
    made = bytearray()
    for number, segment in enumerate(pattern.segments):
        if number:
            gap = pattern.gaps[number - 1]
            most = gap.least + 3 if gap.most is None else min(gap.most, gap.least + 3)
            made += _filling(random_.randint(gap.least, most), random_, textual=textual)
        made += b"".join(_beside(edge) for edge in segment.edges if edge.left)
        for element in segment.elements:
            made += _element(element, random_, textual=textual)
        made += b"".join(_beside(edge) for edge in segment.edges if not edge.left)
        if len(made) > FILE_MAX_BYTES:
            raise ImpossibleError("a file of more than a megabyte")
    return bytes(made)


def _beside(edge: Edge) -> bytes:
    return b"\n" if (edge.kind is Class.LINE) != edge.negated else b" "


def _element(element: Element, random_: random.Random, *, textual: bool) -> bytes:
    match element:
        case Literal(value):
            return value
        case Masked(value, mask):
            filling = _filling(1, random_, textual=textual)[0]
            return bytes(((filling & ~mask & 0xFF) | value,))
        case Skip(least):
            return _filling(least, random_, textual=textual)
        case Choice(options, negated):
            option = random_.choice(options)
            made = b"".join(_element(e, random_, textual=textual) for e in option)
            if negated:
                first = {o[0].value[0] for o in options if o and isinstance(o[0], Literal)}
                free = [b for b in range(0x61, 0x7B) if b not in first]
                return bytes((random_.choice(free),)) + made[1:] if free else made
            return made


def _filling(count: int, random_: random.Random, *, textual: bool) -> bytes:
    if count > FILE_MAX_BYTES:
        raise ImpossibleError("a file of more than a megabyte")
    return bytes(random_.choices(range(0x61, 0x7B) if textual else range(0x81, 0xFF), k=count))


def _pieces(
    signature: Signature, wanted: Counter[int], random_: random.Random, *, textual: bool
) -> _Plan:
    plan = _Plan()
    for index, subsignature in enumerate(signature.subsignatures):
        for _ in range(min(wanted[index], _REPEATS_MAX)):
            match subsignature:
                case Body(patterns, offset):
                    piece = render(random_.choice(patterns), random_, textual=textual)
                case Regex(source=source, flags=flags, offset=offset):
                    piece = regex_example.example(source, flags, random_)
                case Compare():
                    continue
                case _:
                    raise ImpossibleError("it has a macro")
            if offset.base is Base.ANYWHERE:
                plan.floating.append(_with_numbers(signature, index, wanted, piece))
            else:
                plan.placed.append((offset, _with_numbers(signature, index, wanted, piece)))
    return plan


def _with_numbers(signature: Signature, index: int, wanted: Counter[int], piece: bytes) -> bytes:
    """``piece`` with the numbers that comparisons look for at a distance from it."""
    for other, compare in enumerate(signature.subsignatures):
        if isinstance(compare, Compare) and compare.trigger == index and wanted[other]:
            at = compare.distance
            if at < 0 or at > 4096:
                raise ImpossibleError("a comparison before its trigger")
            piece = piece.ljust(at + compare.width, b"\0")
            piece = piece[:at] + _number(compare) + piece[at + compare.width :]
    return piece


def _number(compare: Compare) -> bytes:
    sign, bound = compare.comparisons[0]
    value = {"=": bound, ">": bound + 1, "<": max(bound - 1, 0)}[sign]
    if compare.base == "i":
        try:
            return value.to_bytes(compare.width, "little" if compare.little_endian else "big")
        except OverflowError:
            raise ImpossibleError("no number is right") from None
    digits = (f"{value:x}" if compare.base == "h" else str(value)).zfill(compare.width).encode()
    return digits[::-1] if compare.little_endian else digits


# --- files ----------------------------------------------------------------------------------------


def _file(signature: Signature, wanted: Counter[int], random_: random.Random) -> bytes:
    target = Target(signature.target)
    plan = _pieces(signature, wanted, random_, textual=target in _TEXTUAL)
    base, entry, sections = _base(target, signature, plan, random_)
    made = bytearray(base)
    separator = b"\n" if target in _TEXTUAL else b"\0\n\0"
    random_.shuffle(plan.floating)
    ends = [(o, piece) for o, piece in plan.placed if o.base is Base.END]
    for offset, piece in plan.placed:
        if offset.base is not Base.END:
            at = _place(offset, entry, sections)
            if at < 0 or at > FILE_MAX_BYTES:
                raise ImpossibleError("a place outside of the file")
            made.extend(bytes(max(0, at + len(piece) - len(made))))
            made[at : at + len(piece)] = piece
    if target is Target.OLE2 and not made.startswith(_BEGINNINGS[target][:8]):
        raise ImpossibleError("it is for macros, which documents hold compressed")
    for piece in plan.floating:
        made += separator + piece
    made += separator
    size = signature.file_size or Range(0, FILE_MAX_BYTES)
    tail = max((-o.number for o, _ in ends), default=0)
    length = max(len(made) + tail, size.least)
    if length > min(size.most, FILE_MAX_BYTES):
        raise ImpossibleError("a file of another size than can be made")
    made = made.ljust(length, b"\n" if target in _TEXTUAL else b"\0")
    for offset, piece in ends:
        at = length + offset.number
        made[at : at + len(piece)] = piece
    if len(made) not in size:
        raise ImpossibleError("a file of another size than can be made")
    return bytes(made)


def _base(
    target: Target, signature: Signature, plan: _Plan, random_: random.Random
) -> tuple[bytes, int, list[int]]:
    """A file of the right kind, its entry point and where its sections are."""
    if target not in (Target.PE, Target.ELF, Target.MACHO):
        return _BEGINNINGS.get(target, b""), 0, []
    filling = bytes(random_.choices(range(1, 256), k=_SECTION_BYTES))
    if target is Target.ELF:
        return programs.elf(filling, entry=0x8000000 + _ENTRY_OFFSET), _ENTRY_OFFSET, [0, 0x100]
    if target is Target.MACHO:
        entry = 0x2000 + _ENTRY_OFFSET - 0x200
        return programs.macho(filling, entry=entry), _ENTRY_OFFSET, [0x200]
    highest = max((o.section for o, _ in plan.placed), default=0)
    count = max(_SECTIONS_MIN, highest + 1)
    if signature.sections is not None:
        count = max(signature.sections.least, min(count, signature.sections.most), 1)
    if count > 90:
        raise ImpossibleError("a program of more than 90 sections")
    entry = _ENTRY
    made = programs.pe([filling] * count, entry=entry, spacing=_SECTION_BYTES)
    at = programs.PE_HEADERS
    offsets = [at + _SECTION_BYTES * i for i in range(count)]
    return made, at + entry - 0x1000, offsets


def _place(offset: Offset, entry: int, sections: list[int]) -> int:
    match offset.base:
        case Base.START:
            return offset.number
        case Base.ENTRY:
            return entry + offset.number
        case Base.LAST_SECTION if sections:
            return sections[-1] + offset.number
        case Base.SECTION | Base.WITHIN_SECTION if offset.section < len(sections):
            return sections[offset.section] + offset.number
    raise ImpossibleError("a place that such a file has not")


# --- containers -----------------------------------------------------------------------------------


def _layers(signature: Signature) -> list[str]:
    """What the file must lie in, the nearest last. Raises ImpossibleError."""
    layers = [one for one in signature.intermediates if one != _ANY]
    # Any other container is as good as what is not named, and further out.
    layers = ["CL_TYPE_GZ"] * (len(signature.intermediates) - len(layers)) + layers
    if signature.container and (signature.container != _ANY or layers):
        if not layers:
            layers = [signature.container]
        elif layers[-1] != signature.container:
            raise ImpossibleError("it must lie in two containers at once")
    if not set(layers) <= set(WRAPPERS):
        raise ImpossibleError("it must lie in a container that is not made here")
    return layers


def _wrapped(data: bytes, layers: Sequence[str]) -> bytes:
    for layer in reversed(layers):
        data = WRAPPERS[layer](data)
    return data
