"""Bytes that everything must hold that a regular expression matches.

Read off its source, with care: what is not surely needed is left away. So an expression whose
trigger is in every file can be looked for by what it holds itself.
"""

import re

LITERAL_MIN = 3
"""Shorter ones are in every file, too."""

_TOKEN = re.compile(
    r"\\x(?P<hex>[0-9a-fA-F]{2})"
    r"|\\(?P<plain>[^a-zA-Z0-9])"
    r"|(?P<other>\\.)"
    r"|(?P<class>\[\^?\]?(?:\\.|\[:[a-z^]+:\]|[^\]\\])*\])"
    r"|(?P<repeat>[*+?]|\{(?P<least>[0-9]*)(?:,[0-9]*)?\})"
    r"|(?P<break>[.^$])"
    r"|(?P<open>\()|(?P<close>\))|(?P<or>\|)"
    r"|(?P<literal>.)",
    re.DOTALL,
)
_CASELESS = re.compile(r"\(\?[a-zA-Z]*i")
_UNREADABLE = re.compile(r"\\[QEcgkNopPX]|\(\?[a-zA-Z^-]*x|\\x\{|\(\*")


Needed = tuple[tuple[bytes, bool], ...]
"""Literals, each with whether its case does not matter."""


def literals(source: str, flags: str) -> Needed:
    """What every match has. ``flags``: PCRE's letters."""
    found = alternatives(source, flags)
    return found[0] if len(found) == 1 else ()


def alternatives(source: str, flags: str) -> tuple[Needed, ...]:
    """What a match of each of its alternatives has; none of them if it cannot be told."""
    if "x" in flags or _UNREADABLE.search(source):
        return ()
    caseless = "i" in flags or _CASELESS.search(source) is not None
    return tuple(
        tuple((run.encode("latin-1"), caseless) for run in runs if len(run) >= LITERAL_MIN)
        for runs in _runs(source)
    )


def _runs(source: str) -> list[list[str]]:
    """Characters in a row outside of all groups, for each alternative; none if it is no regular
    expression."""
    found: list[list[str]] = []
    runs: list[str] = []
    run, depth, at = "", 0, 0
    while at < len(source):
        token = _TOKEN.match(source, at)
        if token is None:
            return []
        at = token.end()
        if token["open"]:
            runs.append(run)
            run, depth = "", depth + 1
        elif token["close"]:
            depth -= 1
            if depth < 0:
                return []
        elif depth:
            continue  # what a group holds may be one of several, or be left away
        elif token["or"]:
            found.append([*runs, run])
            runs, run = [], ""
        elif token["hex"]:
            run += chr(int(token["hex"], 16))
        elif token["plain"] or token["literal"]:
            run += token["plain"] or token["literal"]
        else:
            if token["repeat"] and token["repeat"] != "+" and not int(token["least"] or 0):
                run = run[:-1]  # its last character may not be there
            runs.append(run)
            run = ""
    return [*found, [*runs, run]] if not depth else []
