"""Scripts as signatures see them: ClamAV's normalised JavaScript.

White space and comments go, strings that are put together become one, what is declared is called
``n000``, ``n001``… in the order of its declaration, everything is in lower case, and what is given
to ``eval`` as text stands in its place. Found by giving clamscan 1.4 some dozens of scripts. It
reads tokens, not the language: a script that is none comes out as well as it can.
"""

import re
from collections.abc import Iterator
from itertools import count
from urllib.parse import unquote_to_bytes

SCRIPT_MAX_BYTES = 1 << 20
"""Longer scripts are left as they are but for white space: tokens cost 300 ns each."""

_SCOPES_DEPTH_MAX = 50
"""Functions in each other that have names of their own: each is gone through for each word."""

_TOKEN = re.compile(
    rb"(?P<space>\s+|/\*.*?(?:\*/|\Z)|<!\[CDATA\[|\]\]>)"
    rb"|(?P<string>\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?)"
    rb"|(?P<word>[A-Za-z_$][A-Za-z0-9_$]*)"
    rb"|(?P<number>[0-9]+(?:\.[0-9]+)?)"
    rb"|(?P<comment>//)"
    rb"|(?P<other>[\x21-\x7e])",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_WHITE_SPACE_ESCAPES = b"nrtvfb"
_KEYWORDS = frozenset(
    b"break case catch class const continue default delete do else enum export extends false "
    b"finally for function if import in instanceof new null return super switch this throw true "
    b"try typeof var void while with".split()
)

Token = tuple[str, bytes]


def normalise(script: bytes) -> bytes:
    """``script`` as it is matched. Never raises."""
    if len(script) > SCRIPT_MAX_BYTES:
        return b" ".join(script.lower().split())
    return b"".join(_spaced(_renamed([*_evaluated(_folded([*_tokens(script)]))]))).lower()


def _tokens(script: bytes) -> Iterator[Token]:
    for found in _TOKEN.finditer(script):
        kind = found.lastgroup or "other"
        if kind == "string":
            yield kind, _unescaped(found[0][1:-1] if len(found[0]) > 1 else b"")
        elif kind not in ("space", "comment"):
            yield kind, found[0]


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(_character, text)


def _character(found: re.Match[bytes]) -> bytes:
    two, four, one = found.groups()
    if two is not None:
        return bytes((int(two, 16),))
    if four is not None:
        return bytes((int(four, 16) & 0xFF,))
    return b" " if one in _WHITE_SPACE_ESCAPES else one


def _folded(tokens: list[Token]) -> list[Token]:
    """With strings put together, and ``unescape("…")`` undone."""
    folded: list[Token] = []
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        if kind == "string" and _ends_with_string_and_plus(folded):
            folded.pop()
            folded[-1] = "string", folded[-1][1] + text
            at += 1
        elif text == b"unescape" and _is_call_with_string(tokens, at):
            folded.append(("string", unquote_to_bytes(tokens[at + 2][1])))
            at += 4
        else:
            folded.append((kind, text))
            at += 1
    return folded


def _evaluated(tokens: list[Token]) -> Iterator[Token]:
    at = 0
    while at < len(tokens):
        if tokens[at] == ("word", b"eval") and _is_call_with_string(tokens, at):
            yield from _tokens(tokens[at + 2][1])
            at += 4
        else:
            yield tokens[at]
            at += 1


def _ends_with_string_and_plus(tokens: list[Token]) -> bool:
    return len(tokens) > 1 and tokens[-1] == ("other", b"+") and tokens[-2][0] == "string"


def _is_call_with_string(tokens: list[Token], at: int) -> bool:
    return [text for _, text in tokens[at + 1 : at + 2]] == [b"("] and (
        tokens[at + 2 : at + 3] != []
        and tokens[at + 2][0] == "string"
        and tokens[at + 3 : at + 4] == [("other", b")")]
    )


def _renamed(tokens: list[Token]) -> Iterator[Token]:
    """With names that are declared replaced, from their declaration on."""
    numbers = count()
    scopes, around = _scopes(tokens)
    names: list[dict[bytes, bytes]] = [{} for _ in around]
    declared: dict[int, bytes] = {}
    for at in _declarations(tokens):
        name = b"n%03d" % next(numbers)
        names[scopes[at]][tokens[at][1]] = name
        declared[at] = name
    functions = {tokens[at][1] for at in declared if at and tokens[at - 1] == ("word", b"function")}
    before: Token = ("", b"")
    for at, (kind, text) in enumerate(tokens):
        token = kind, text
        if kind == "word" and before != ("other", b".") and text not in _KEYWORDS:
            if at in declared and text in functions:
                token = kind, declared[at]
            elif text not in functions:
                scope = scopes[at]
                while scope and text not in names[scope]:
                    scope = around[scope]
                token = kind, names[scope].get(text, text)
        yield token
        before = token


def _scopes(tokens: list[Token]) -> tuple[list[int], list[int]]:
    """The number of each token's scope, and that of the scope around each; 0 is the script.

    A function's begins with its parameters.
    """
    scopes, around = [], [0]
    scope, depth, is_next = 0, 0, False
    ends: list[int] = []
    for token in tokens:
        if token == ("other", b"(") and is_next and len(ends) < _SCOPES_DEPTH_MAX:
            around.append(scope)
            ends.append(depth)
            scope = len(around) - 1
        is_next = token == ("word", b"function") or (is_next and token[0] == "word")
        scopes.append(scope)
        if token == ("other", b"{"):
            depth += 1
        elif token == ("other", b"}"):
            depth -= 1
            if ends and depth <= ends[-1]:
                ends.pop()
                scope = around[scope]
    return scopes, around


def _declarations(tokens: list[Token]) -> Iterator[int]:
    """Where names are declared: after ``var``, after ``function``, and its parameters."""
    at = 0
    while at < len(tokens):
        if tokens[at] == ("word", b"var"):
            depth = brackets = 0
            at += 1
            expected = True
            while at < len(tokens) and not (depth <= 0 and tokens[at][1] in (b";", b"in", b"of")):
                kind, text = tokens[at]
                if text == b"function" and kind == "word":
                    at -= 1
                    break
                if expected and kind == "word" and text not in _KEYWORDS:
                    yield at
                elif kind == "other":
                    depth += (text in b"([{") - (text in b")]}")
                    brackets += (text in b"[{") - (text in b"]}")
                    if depth < 0:
                        break
                expected = kind == "other" and text == b"," and brackets == 0
                at += 1
        elif tokens[at] == ("word", b"function"):
            at += 1
            if at < len(tokens) and tokens[at][0] == "word":
                yield at
                at += 1
            if at < len(tokens) and tokens[at] == ("other", b"("):
                at += 1
                while at < len(tokens) and tokens[at] != ("other", b")"):
                    if tokens[at][0] == "word":
                        yield at
                    at += 1
            continue
        at += 1


def _spaced(tokens: Iterator[Token]) -> Iterator[bytes]:
    """As text: a space stays between words and numbers alone."""
    before = ""
    for kind, text in tokens:
        if kind in ("word", "number"):
            if before in ("word", "number"):
                yield b" "
            yield text if kind == "word" or b"." in text else text.lstrip(b"0") or b"0"
        elif kind == "string":
            if before == "word":
                yield b" "
            yield b'"' + text + b'"'
        else:
            yield text
        before = kind
