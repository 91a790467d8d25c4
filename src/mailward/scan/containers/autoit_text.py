"""AutoIt's tokens back to text: a script as it was written, but for comments and blanks."""

import struct
from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.containers.autoit_names import FUNCTIONS, KEYWORDS

_LINE_END = 0x7F
_NUMBERS = {0x05: struct.Struct("<l"), 0x10: struct.Struct("<q"), 0x20: struct.Struct("<d")}
_QUOTED = 0x36
_WORDS: dict[int, Callable[[str], str]] = {
    0x30: str,
    0x31: str,
    0x32: "@{}".format,
    0x33: "${}".format,
    0x34: str,
    0x35: ".{}".format,
    _QUOTED: lambda text: '"' + text.replace('"', '""') + '"',
    0x37: str,
}
"""Keyword, function, macro, variable, function of the script, property, text, directive."""
_SIGN_NAMES = ", = > < <> >= <= ( ) + - / * & [ ] == ^ += -= /= *= &= ? :"
_SIGNS = dict(enumerate(_SIGN_NAMES.split(), 0x40))
_LOOK_EVERY_LINES = 1024


def script(tokens: bytes, budget: Budget) -> tuple[bytes, bool]:
    """The text (UTF-8), and whether all of it could be read. Raises Spent."""
    out: list[str] = []
    line: list[str] = []
    whole = False
    try:
        left = struct.unpack_from("<L", tokens)[0]
        at = 4
        while left:
            kind = tokens[at]
            at += 1
            if kind == _LINE_END:
                left -= 1
                if not left % _LOOK_EVERY_LINES:
                    budget.check_time()
                out += (" ".join(line), "\r\n")
                line.clear()
                continue
            word, at = _word(tokens, kind, at)
            line.append(word)
        whole = True
    except (struct.error, IndexError, ValueError):
        out.append(" ".join(line))
    return "".join(out).encode("utf-8", "replace"), whole


def _word(tokens: bytes, kind: int, at: int) -> tuple[str, int]:
    """Raises struct.error, IndexError, ValueError."""
    if kind in _SIGNS:
        return _SIGNS[kind], at
    if kind in _WORDS:
        size = struct.unpack_from("<L", tokens, at)[0]
        at += 4
        hidden = tokens[at : at + 2 * size]
        if len(hidden) < 2 * size:
            raise ValueError("truncated")
        key = (size & 0xFFFF).to_bytes(2, "little") * size
        plain = int.from_bytes(hidden, "little") ^ int.from_bytes(key, "little")
        text = plain.to_bytes(2 * size, "little").decode("utf-16-le", "replace")
        return _WORDS[kind](text), at + 2 * size
    if kind in _NUMBERS:
        number = _NUMBERS[kind]
        return str(number.unpack_from(tokens, at)[0]), at + number.size
    if kind > 1:
        raise ValueError("no such token")
    number = struct.unpack_from("<L", tokens, at)[0]
    names = FUNCTIONS if kind else KEYWORDS
    return names[number], at + 4
