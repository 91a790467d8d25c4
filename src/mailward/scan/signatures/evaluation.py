"""Whether a signature matches a buffer: its attributes, then its expression, subsignature by
subsignature as far as it asks for them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

import pcre2

from mailward.scan.engine import Hit, ScanTimeoutError
from mailward.scan.signatures import expression as logic
from mailward.scan.signatures.errors import UnsupportedError
from mailward.scan.signatures.filetype import ANY_TYPE, OFFICE_ZIP, ZIP
from mailward.scan.signatures.logical import Unread
from mailward.scan.signatures.matcher import PLACES_MAX, Matcher
from mailward.scan.signatures.offsets import ANYWHERE, Base
from mailward.scan.signatures.regex_literals import literals
from mailward.scan.signatures.signature import (
    Body,
    Compare,
    Macro,
    Regex,
    Signature,
)
from mailward.scan.signatures.subject import Subject

REGEX_STEPS_MAX = 1_000_000
"""PCRE2's match limit, ten times clamd's PCREMatchLimit: some 20 ms. A part for which an expression
needs more is unscannable."""

_FLAGS = {
    "i": pcre2.IGNORECASE,
    "m": pcre2.MULTILINE,
    "s": pcre2.DOTALL,
    "x": pcre2.VERBOSE,
}
_FEW = 4
"""Literals of which a regular expression needs one: more take as long as it does."""
_NEAR = 1024
"""Bytes in which a literal may begin: so many are copied rather than all put in lower case."""
_SHORT = 1000
"""Characters of a regular expression that is read once more for what it needs."""
_SLOW = re.compile(r"(?:\(\??[a-zA-Z]*[:)]?|\^)*(?:\.|\[\^|\\[sSwWdDnrb])")
"""How one begins that begins at every other byte: others say no faster than anything here."""

Members = Callable[[int], Sequence[Signature]]
"""The signatures of a macro group."""


def compile_regex(regex: Regex, *, jit: bool = True) -> "pcre2.Pattern[bytes]":
    """Raises UnsupportedError if PCRE2 does not take it."""
    if "E" in regex.flags:
        raise UnsupportedError("a regular expression with flag E")
    if "(*" in regex.source[:2] or "(?C" in regex.source:
        raise UnsupportedError("a regular expression that sets options of PCRE")
    source = regex.source
    if "A" in regex.flags:  # the line ends what may be a remark
        source = rf"\G(?:{source}{chr(10) if 'x' in regex.flags else ''})"
    ungreedy = "(?U)" if "U" in regex.flags else ""
    source = f"(*LIMIT_MATCH={REGEX_STEPS_MAX}){ungreedy}{source}"
    flags = 0
    for flag, value in _FLAGS.items():
        flags |= value if flag in regex.flags else 0
    try:
        return pcre2.compile(source.encode("latin-1"), flags, jit=jit)
    except (pcre2.PatternError, pcre2.LibraryError) as e:
        raise UnsupportedError("a regular expression that PCRE2 does not take") from e


class BodyMatcher:
    """Finds a body subsignature. What it found in a buffer is kept with the buffer."""

    def __init__(self, body: Body) -> None:
        self._offset = body.offset
        self._matchers = [Matcher(pattern) for pattern in body.patterns]
        first = [one.segments[0] for one in self._matchers]
        plain = all(s.plain for s in first) and all(len(m.segments) == 1 for m in self._matchers)
        self._needles = tuple((segment.probe, segment.caseless) for segment in first)
        self._is_anywhere = plain and body.offset == ANYWHERE
        is_near = body.offset.base is Base.START and body.offset.shift <= _NEAR
        self._is_near = plain and is_near

    def places(self, subject: Subject, limit: int) -> list[int]:
        """The first ``limit`` places or more (``Matcher.places``)."""
        up_to, places = subject.found.get(self, (0, _NOWHERE))
        if len(places) >= up_to < limit:
            subject.check_time()
            places = self._find(subject, limit)
            subject.found[self] = limit, places
        return places

    def _find(self, subject: Subject, limit: int) -> list[int]:
        # Nearly all are asked whether some bytes are there at all: the shortest way to say so.
        if limit == 1 and self._is_anywhere:
            for needle, caseless in self._needles:
                at = (subject.lower if caseless else subject.data).find(needle)
                if at >= 0:
                    return [at]
            return _NOWHERE
        if self._is_near and (limit == 1 or not self._offset.shift):
            low, shift = self._offset.number, self._offset.shift
            for needle, caseless in self._needles:
                there = subject.data[low : low + shift + len(needle)]
                at = (there.lower() if caseless else there).find(needle)
                if at >= 0:
                    return [low + at]
            return _NOWHERE
        if self._offset.base is Base.VERSION:
            return self._find_in_version(subject)
        window = subject.window(self._offset)
        if window is None:
            return _NOWHERE
        if len(self._matchers) == 1:
            return self._matchers[0].places(subject, window, limit)
        return sorted({p for one in self._matchers for p in one.places(subject, window, limit)})

    def _find_in_version(self, subject: Subject) -> list[int]:
        if subject.layout is None or not subject.layout.version_info:
            return _NOWHERE
        keys = sorted(subject.layout.version_info)
        return sorted({p for one in self._matchers for p in one.places_among(subject, keys)})


_NOWHERE: list[int] = []


class Evaluator:
    """One signature, ready to be evaluated; what it needs is compiled when it is first used."""

    def __init__(
        self,
        signature: Signature,
        hit: Hit,
        members: Members = lambda _: (),
        matcher_of: "Callable[[Body], BodyMatcher]" = lambda body: BodyMatcher(body),
        again: Callable[[], Signature] | None = None,
    ) -> None:
        """``matcher_of`` may give several signatures the same matcher for the same subsignature.

        ``again`` reads the signature once more. Most of its subsignatures are never looked for, so
        those that were not are not kept: that was the most of a worker's memory.
        """
        self._about = replace(signature, expression=logic.Leaf(0), subsignatures=())
        self._signature: Signature | None = signature
        self._again = again or (lambda: signature)
        self._matcher_of = matcher_of
        self.hit = hit
        self._members = members
        unread = signature.subsignatures
        ranks = unread.ranks() if isinstance(unread, Unread) else ()
        self._holds = _holding(signature.expression, ranks)
        self._bodies: dict[int, BodyMatcher] = {}
        self._others: dict[int, Regex | Compare | Macro] = {}
        """Subsignatures that were asked for, by what they are."""
        self._regexes: dict[int, _Regex] = {}

    def matches(self, subject: Subject) -> bool:
        """Whether it matches. Raises ScanTimeoutError."""
        try:
            return self._matches(subject)
        finally:
            self._signature = None

    def _matches(self, subject: Subject) -> bool:
        signature = self._about
        if signature.file_size is not None and subject.file_size not in signature.file_size:
            return False
        if signature.intermediates and not _lies_in(signature.intermediates, subject.containers):
            return False
        if not self._fits_layout(subject):
            return False
        counts: dict[int, tuple[int, int]] = {}

        def count(index: int, limit: int) -> int:
            body = self._bodies.get(index)
            if body is not None:
                return len(body.places(subject, limit))  # which remembers
            known, up_to = counts.get(index, (0, 0))
            if known >= up_to < limit:
                known = self._count(index, subject, count, limit)  # noqa: F821 (it is there as long as it runs)
                counts[index] = known, limit
            return known

        try:
            return self._holds(count)
        finally:
            del count  # it knows itself: only the collector would find it

    def _fits_layout(self, subject: Subject) -> bool:
        entry, sections = self._about.entry_point, self._about.sections
        if entry is None and sections is None:
            return True
        layout = subject.layout
        if layout is None:
            return False
        if entry is not None and (layout.entry_point is None or layout.entry_point not in entry):
            return False
        return sections is None or len(layout.sections) in sections

    def _count(self, index: int, subject: Subject, count: logic.Count, limit: int) -> int:
        subject.check_time()
        if self._is_body(index):
            return len(self._places(index, subject, limit))
        match self._others[index]:
            case Regex() as regex:
                return self._count_regex(index, regex, subject, count)
            case Compare() as compare:
                return self._compare(compare, subject)
            case Macro() as macro:
                return self._count_macro(index, macro, subject)

    def _places(self, index: int, subject: Subject, limit: int = PLACES_MAX) -> list[int]:
        """Of a body subsignature."""
        return self._bodies[index].places(subject, limit)

    def _is_body(self, index: int) -> bool:
        """Reads the subsignature if it was not asked for before."""
        if index not in self._bodies and index not in self._others:
            if self._signature is None:
                self._signature = self._again()
            subsignature = self._signature.subsignatures[index]
            if isinstance(subsignature, Body):
                self._bodies[index] = self._matcher_of(subsignature)
            else:
                self._others[index] = subsignature
        return index in self._bodies

    # --- regular expressions ---

    def _count_regex(self, index: int, regex: Regex, subject: Subject, count: logic.Count) -> int:
        ready = self._regexes.get(index)
        if ready is None:
            ready = self._regexes[index] = _Regex(regex)
        if not ready.triggered(count) or not ready.may_match(subject):
            return 0
        window = subject.window(regex.offset)
        if window is None or window[0] > len(subject.data):
            return 0
        try:
            return _search_again(ready.compiled, regex, subject, window)
        except pcre2.LibraryError as e:
            raise ScanTimeoutError(
                f"the regular expression of {self._about.name} needs too many steps"
            ) from e

    # --- comparisons and macros ---

    def _compare(self, compare: Compare, subject: Subject) -> int:
        if not self._is_body(compare.trigger):
            return 0
        starts = (p + compare.distance for p in self._places(compare.trigger, subject))
        return sum(start >= 0 and _holds_at(subject.data, start, compare) for start in starts)

    def _count_macro(self, index: int, macro: Macro, subject: Subject) -> int:
        if not self._is_body(index - 1):
            return 0
        starts = self._places(index - 1, subject)
        bodies = [
            Matcher(pattern)
            for member in self._members(macro.group)
            for body in member.subsignatures
            if isinstance(body, Body)
            for pattern in body.patterns
        ]
        return sum(
            bool(matcher.places(subject, (start + macro.least, start + macro.most), 1))
            for start in starts
            for matcher in bodies
        )


@lru_cache(maxsize=1024)
def _holding(expression: logic.Expression, ranks: tuple[int, ...]) -> Callable[[logic.Count], bool]:
    """What takes long is asked last. Families of hundreds have one expression."""
    if ranks:
        expression = logic.ordered(expression, ranks.__getitem__)
    return logic.compiled(expression)


class _Regex:
    """A regular expression; compiled, which takes longer than most searches, when it may match."""

    def __init__(self, regex: Regex) -> None:
        self._regex = regex
        self.triggered = logic.compiled(regex.trigger)

    @cached_property
    def compiled(self) -> "pcre2.Pattern[bytes]":
        return compile_regex(self._regex)

    @cached_property
    def _needed(self) -> list[tuple[tuple[bytes, ...], bool]]:
        if len(self._regex.source) > _SHORT or not _SLOW.match(self._regex.source):
            return []
        found = literals(self._regex.source, self._regex.flags)
        return [(options, caseless) for options, caseless in found if len(options) <= _FEW]

    def may_match(self, subject: Subject) -> bool:
        """Whether what it needs is there, wherever, if it begins with anything: then it takes a
        hundred times longer to say no."""
        return all(
            any(option in (subject.lower if caseless else subject.data) for option in options)
            for options, caseless in self._needed
        )


def _search_again(
    compiled: "pcre2.Pattern[bytes]", regex: Regex, subject: Subject, window: tuple[int, int]
) -> int:
    """As ``_search``; once more without machine code if its stack, 32 KB, is not enough: a thousand
    repetitions use it up. Raises pcre2.LibraryError."""
    try:
        return _search(compiled, regex, subject, window)
    except pcre2.LibraryError as e:
        if "JIT stack" not in str(e):
            raise
        return _search(compile_regex(regex, jit=False), regex, subject, window)


def _search(
    compiled: "pcre2.Pattern[bytes]", regex: Regex, subject: Subject, window: tuple[int, int]
) -> int:
    data, (low, high) = subject.data, window
    if "e" in regex.flags and regex.offset.shift:
        data = data[:high]
    if low:
        # For ClamAV the file begins there: nothing looks behind, and ^ is there.
        data, high = data[low:], high - low
    if "r" in regex.flags and not regex.offset.shift:
        high = len(data)
    if not high:
        return _search_at_start(compiled, data, every="g" in regex.flags)
    if "g" in regex.flags:
        return sum(1 for found in compiled.finditer(data) if found.start() <= high)
    found = compiled.search(data)
    return int(found is not None and found.start() <= high)


def _search_at_start(compiled: "pcre2.Pattern[bytes]", data: bytes, *, every: bool) -> int:
    """How often it matches where the data begins, and again where that ends."""
    count, at = 0, 0
    while (found := compiled.match(data, at)) is not None:
        count += 1
        if not every or found.end() == at:
            break
        at = found.end()
    return count


def number_at(digits: bytes, compare: Compare) -> int | None:
    """The number that is written there; None if it is none, or too short. As for clamscan, what
    begins with no digit is 0 unless all must be digits."""
    if len(digits) < compare.width:
        return None
    if compare.base == "i":
        return int.from_bytes(digits, "little" if compare.little_endian else "big")
    if compare.little_endian:
        digits = digits[::-1]
    text = digits.decode("latin-1")
    text = text if compare.exact else text.lstrip()
    base = {"h": 16, "d": 10, "a": 16 if text[:2].lower() == "0x" else 10}[compare.base]
    allowed = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    prefix = text[2:] if base == 16 and text[:2].lower() == "0x" else text
    taken = prefix[: len(prefix) - len(prefix.lstrip(allowed))]
    if (compare.exact and len(taken) < len(prefix)) or (
        not taken and (compare.exact or compare.base == "a")
    ):
        return None
    return int(taken or "0", base)


def _lies_in(types: Sequence[str], containers: Sequence[str]) -> bool:
    """Whether the nearest containers are of these types, the nearest last.

    As clamscan 1.4.6 has it, ``CL_TYPE_ANY`` stands for none of them and only asks for one more,
    and what lies in an Office document may lie in a zip in it, too.
    """
    layers = len(containers) + sum(there.startswith(OFFICE_ZIP) for there in containers)
    if len(types) > layers:
        return False
    wanted = [one for one in types if one != ANY_TYPE]
    for there in reversed(containers):
        if wanted and wanted[-1] == ZIP and there.startswith(OFFICE_ZIP):
            wanted.pop()
        if not wanted:
            break
        if wanted.pop() != there:
            return False
    return not wanted


def _holds_at(data: bytes, start: int, compare: Compare) -> bool:
    value = number_at(data[start : start + compare.width], compare)
    return value is not None and all(_compared(value, *asked) for asked in compare.comparisons)


def _compared(value: int, sign: str, other: int) -> bool:
    match sign:
        case "=":
            return value == other
        case ">":
            return value > other
    return value < other
