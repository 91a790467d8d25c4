"""Bytes that everything must hold that a regular expression matches.

Read off its source, with care: what is not surely needed is left away. So an expression whose
trigger is in every file can be looked for by what it holds itself: by a literal, or by several of
which one must be there, as ``x(?:U1|c3)[hi]`` has four.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

LITERAL_MIN = 3
"""Shorter ones are in every file, too."""
OPTIONS_MAX = 32
"""Literals of which one must be there: more are cut to what several of them begin with."""
_LONG, _LITERAL_LONG = 10, 256
"""Bytes, from which on alternatives, or a literal, get no longer: no more is looked for."""
_DEPTH_MAX = 40

_TOKEN = re.compile(
    r"(?P<word>[A-Za-z0-9 _:;/<>=\"'&%@!,-]+(?![*+?{]))"
    r"|\\x(?P<hex>[0-9a-fA-F]{2})"
    r"|\\(?P<plain>[^a-zA-Z0-9])"
    r"|(?P<other>\\(?:[0-9]+|x[0-9a-fA-F]?|.))"
    r"|(?P<class>\[\^?\]?(?:\\.|\[:[a-z^]+:\]|[^\]\\])*\])"
    r"|(?P<repeat>[*+?]|\{(?P<least>[0-9]*)(?:,[0-9]*)?\})"
    r"|(?P<break>[.^$])"
    r"|(?P<open>\((?P<special>\?:|[?*])?)|(?P<close>\))|(?P<or>\|)"
    r"|(?P<literal>.)",
    re.DOTALL,
)
_MEMBER = re.compile(r"\\x([0-9a-fA-F]{2})|\\([^a-zA-Z0-9])|([^\\\[\]^-])", re.DOTALL)
_CASELESS = re.compile(r"\(\?[a-zA-Z]*i")
_UNREADABLE = re.compile(r"\\[QEcgkNopPX]|\(\?[a-zA-Z^-]*x|\(\?#|\\x\{|\(\*")


@dataclass(frozen=True, slots=True)
class _Strings:
    """What something that matches begins with."""

    options: frozenset[str]
    whole: bool = True
    """Whether it is nothing more than that."""


_EMPTY = frozenset({""})
_ANYTHING = _Strings(_EMPTY, whole=False)


class _UnreadableError(Exception):
    """The source is not understood."""


def literals(source: str, flags: str) -> Iterator[tuple[tuple[bytes, ...], bool]]:
    """Each of which one must be there, with whether case does not matter. ``flags``: PCRE's."""
    if "x" in flags or _UNREADABLE.search(source):
        return
    caseless = "i" in flags or _CASELESS.search(source) is not None
    reader = _Reader(source)
    try:
        first, needed = reader.alternatives(0)
        if reader.peek() is not None:
            return
    except _UnreadableError:
        return
    for options in needed or [first.options]:
        several = {option.encode("latin-1") for option in options}
        if min(map(len, several)) >= LITERAL_MIN:
            yield tuple(sorted({s.lower() for s in several} if caseless else several)), caseless


class _Reader:
    def __init__(self, source: str) -> None:
        self._tokens = list(_TOKEN.finditer(source))
        self._at = 0

    def peek(self) -> "re.Match[str] | None":
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self) -> "re.Match[str] | None":
        token = self.peek()
        self._at += 1
        return token

    def alternatives(self, depth: int) -> tuple[_Strings, list[frozenset[str]]]:
        """What it begins with; then whatever is needed, that first."""
        if depth > _DEPTH_MAX:
            raise _UnreadableError
        found, needed = self._sequence(depth)
        while (token := self.peek()) is not None and token["or"]:
            self._take()
            other, needed_there = self._sequence(depth)
            options = _cut(found.options | other.options, OPTIONS_MAX)
            is_whole = found.whole and other.whole and options >= found.options | other.options
            either = _best(found, needed) | _best(other, needed_there)
            has_better = not is_whole and either != options and len(either) <= OPTIONS_MAX
            found, needed = _Strings(options, is_whole), [options, *[either] * has_better]
        return found, needed

    def _sequence(self, depth: int) -> tuple[_Strings, list[frozenset[str]]]:
        begin: _Strings | None = None
        needed: list[frozenset[str]] = []
        run = _EMPTY
        while (token := self.peek()) is not None and not (token["or"] or token["close"]):
            self._take()
            atom, within = self._atom(token, depth)
            often = self._often()
            if often in ("?", "*"):
                within = []
                whole = often == "?" and atom.whole
                atom = _Strings(atom.options | _EMPTY) if whole else _ANYTHING
                if len(atom.options) > OPTIONS_MAX:
                    atom = _ANYTHING
            elif often:
                atom = _Strings(atom.options, whole=False)
            joined = _joined(run, atom)
            if joined.whole:
                run = joined.options
                continue
            begin = begin or joined
            needed += joined.options, *within[1:]
            run = atom.options if atom.whole else _EMPTY
        if begin is None:
            return _Strings(run), needed
        needed.append(run)
        return begin, needed

    def _often(self) -> str:
        """``?`` and ``*``: it may be left away; ``+``: it is there, and more may be; else empty."""
        found = ""
        while (token := self.peek()) is not None and token["repeat"]:
            self._take()
            may_lack = token["repeat"] != "+" and not int(token["least"] or 0)
            if not found:
                found = "?" if token["repeat"] == "?" else "*" if may_lack else "+"
            elif token["repeat"] not in "?+":
                found = "*"
        return found

    def _atom(self, token: "re.Match[str]", depth: int) -> tuple[_Strings, list[frozenset[str]]]:
        if token["open"]:
            found, needed = self.alternatives(depth + 1)
            closing = self._take()
            if closing is None or not closing["close"]:
                raise _UnreadableError
            # What looks around, sets an option or has a condition holds nothing for sure.
            return (found, needed) if token["special"] in (None, "?:") else (_ANYTHING, [])
        if token["hex"]:
            return _Strings(frozenset({chr(int(token["hex"], 16))})), []
        given = token["word"] or token["plain"] or token["literal"]
        if given:
            return _Strings(frozenset({given})), []
        members = _members(token["class"]) if token["class"] else frozenset[str]()
        return (_Strings(members) if members else _ANYTHING), []


def _best(begin: _Strings, needed: list[frozenset[str]]) -> frozenset[str]:
    """What of it is best looked for: what is longest."""
    return max(
        needed or [begin.options], key=lambda options: (min(map(len, options)), -len(options))
    )


def _joined(run: frozenset[str], atom: _Strings) -> _Strings:
    """One after the other."""
    after = _cut(atom.options, max(1, OPTIONS_MAX // len(run)))
    options = frozenset(left + right for left in run for right in after)
    is_long = min(map(len, options)) >= (_LONG if len(options) > 1 else _LITERAL_LONG)
    return _Strings(options, atom.whole and after == atom.options and not is_long)


def _cut(options: frozenset[str], most: int) -> frozenset[str]:
    """So much of the beginnings that there are not too many."""
    length = max(map(len, options))
    while len(options) > most:
        length -= 1
        options = frozenset(option[:length] for option in options)
    return options


def _members(text: str) -> frozenset[str]:
    """The characters of a class; empty if they are many, or not simply listed."""
    inside, members, at = text[1:-1], set[str](), 0
    while at < len(inside):
        member = _MEMBER.match(inside, at)
        if member is None or len(members) == OPTIONS_MAX:
            return frozenset()
        members.add(chr(int(member[1], 16)) if member[1] else member[2] or member[3])
        at = member.end()
    return frozenset(members)
