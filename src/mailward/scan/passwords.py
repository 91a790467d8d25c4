"""Passwords that a message itself gives: tried on what is encrypted in it.

Malware is sent in encrypted archives with the password in the text, so that people can open it and
scanners cannot. The text is looked at only when something encrypted is met; how many are tried is
bounded by what trying costs.
"""

import html
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

CHEAP, DEAR = 1, 25
"""What a try costs: some 1000 rounds of a hash (zip), or some 100,000 (7z, rar)."""
_TRIES_MAX = 3000
"""Of a message, in cheap ones: about two seconds."""
_CANDIDATES_MAX = 300
_TEXT_MAX = 64 * 1024
"""Characters of each text that are read."""
_TEXTS_MAX = 20

_USUAL = ("infected", "virus", "malware", "password", "1234", "12345", "123456")
"""Tried last, whatever the text says; ``infected`` is what researchers use."""

_KEYWORD = re.compile(
    r"(?:pass(?:wor[dt]|wd|code|phrase)?|pwd?|pin|code|key|kennwort|wachtwoord|lösenord|"
    r"contrase[ñn]a|clave|mot de passe|senha|parola|hasło|heslo|şifre|"
    "\u043f\u0430\u0440\u043e\u043b\u044c|"  # Russian
    "\u5bc6\u7801|\u5bc6\u78bc|\u30d1\u30b9\u30ef\u30fc\u30c9)",  # Chinese, Japanese
    re.IGNORECASE,
)
_BEHIND_KEYWORD = 120
"""Characters in which the password follows."""
_QUOTES = "\"'`\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u300c\u300d"
_QUOTED = re.compile(f"[{_QUOTES}]([^{_QUOTES}\r\n]{{1,64}})[{_QUOTES}]")
_TOKEN = re.compile(r"\S{1,64}")
_SHORT = range(3, 33)
_TELLING = re.compile(r"\d|[^\w\s]|[a-z][A-Z]")
"""In a token that is more likely a password than a word."""
_AROUND = ".,;:!?()[]{}<>*_|=-" + _QUOTES
_TAG = re.compile(r"<[^<>]{0,2000}>")


class Passwords:
    """Of one message. ``texts``: its subject and bodies, asked for once and only when needed."""

    def __init__(self, texts: Callable[[], Iterable[str]] = tuple) -> None:
        self._texts = texts
        self._worked: list[str] = []
        self._left = _TRIES_MAX

    def candidates(self, cost: int = CHEAP, *first: str) -> Iterator[str]:
        """What to try, ``first`` and then the likeliest; ends early when too many were tried."""
        for candidate in self._in_turn(first):
            if self._left < cost:
                return
            self._left -= cost
            yield candidate

    def _in_turn(self, first: tuple[str, ...]) -> Iterator[str]:
        yield from first
        yield from tuple(self._worked)
        yield from self._found  # only now is the text looked at

    def worked(self, password: str) -> None:
        """Remember it: what else is encrypted is likely opened by the same."""
        if password not in self._worked:
            self._worked.insert(0, password)

    @cached_property
    def _found(self) -> tuple[str, ...]:
        texts = [
            text[:_TEXT_MAX] for _, text in zip(range(_TEXTS_MAX), self._texts(), strict=False)
        ]
        found: dict[str, None] = {}
        for look in (_behind_keywords, _quoted, _likely_tokens, _tokens):
            for text in texts:
                for candidate in look(text):
                    found[candidate] = None
                    if len(found) >= _CANDIDATES_MAX:
                        return (*found, *_USUAL)
        return (*found, *_USUAL)


def plain_text(text: str) -> str:
    """HTML without its tags; other text stays as it is, but for what looks like a tag."""
    return html.unescape(_TAG.sub(" ", text[: 4 * _TEXT_MAX])) if "<" in text else text


def _variants(token: str) -> Iterator[str]:
    bare = token.strip(_AROUND)
    if bare:
        yield bare
    yield token
    if token[-1] in ".,;:!?":
        yield token[:-1]


def _behind_keywords(text: str) -> Iterator[str]:
    for keyword in _KEYWORD.finditer(text):
        behind = text[keyword.end() : keyword.end() + _BEHIND_KEYWORD]
        quoted = _QUOTED.search(behind)
        if quoted is not None:
            yield quoted[1]
        for token in _TOKEN.findall(behind.lstrip(":= \t"))[:6]:
            yield from _variants(token)


def _quoted(text: str) -> Iterator[str]:
    for quoted in _QUOTED.finditer(text):
        yield quoted[1]


def _likely_tokens(text: str) -> Iterator[str]:
    for token in _TOKEN.findall(text):
        if len(token) in _SHORT and _TELLING.search(token):
            yield from _variants(token)


def _tokens(text: str) -> Iterator[str]:
    for token in _TOKEN.findall(text):
        if len(token) in _SHORT:
            yield from _variants(token)
