"""Bytes that everything must hold that a regular expression matches.

Read off its source, with care: what is not surely needed is left away. So an expression whose
trigger is in every file can be looked for by what it holds itself.
"""

import re
from collections.abc import Iterator

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


def literals(source: str, flags: str) -> Iterator[tuple[bytes, bool]]:
    """Each with whether its case does not matter. ``flags``: PCRE's letters."""
    if "x" in flags or _UNREADABLE.search(source):
        return
    runs = _runs(source)
    caseless = "i" in flags or _CASELESS.search(source) is not None
    for run in runs or ():
        if len(run) >= LITERAL_MIN:
            yield run.encode("latin-1"), caseless


def _runs(source: str) -> list[str] | None:
    """Characters in a row outside of all groups; None if there are alternatives."""
    runs, run, depth, at = [], "", 0, 0
    while at < len(source):
        token = _TOKEN.match(source, at)
        if token is None:
            return None
        at = token.end()
        if token["open"]:
            runs.append(run)
            run, depth = "", depth + 1
        elif token["close"]:
            depth -= 1
            if depth < 0:
                return None
        elif depth:
            continue  # what a group holds may be one of several, or be left away
        elif token["or"]:
            return None
        elif token["hex"]:
            run += chr(int(token["hex"], 16))
        elif token["plain"] or token["literal"]:
            run += token["plain"] or token["literal"]
        else:
            if token["repeat"] and token["repeat"] != "+" and not int(token["least"] or 0):
                run = run[:-1]  # its last character may not be there
            runs.append(run)
            run = ""
    return [*runs, run] if not depth else None
