"""Passwords that a message itself gives: tried on what is encrypted in it, the likeliest first.

Malware is sent in encrypted archives with the password in the text, so that people can open it and
scanners cannot. The text is looked at only when something encrypted is met. What trying costs is
counted, not timed, so that a message has the same verdict on every computer; what is left shut when
it is used up says so.
"""

import html
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

CHEAP = 1
"""What a try costs, in milliseconds of computing: less than 1,500 rounds of a hash."""
_COST_MAX = 1200
"""Of all tries of a message: some 23 on Office documents, 35 on 7z, 1,200 on zip."""
_GUESSES_COST_MAX = 400
"""Of those, for words that nothing in the message calls a password."""
_CANDIDATES_MAX = 300
_TEXT_MAX = 64 * 1024
"""Characters of each text that are read."""
_TEXTS_MAX = 40

_USUAL = ("infected", "1234", "123456", "password", "12345", "virus", "malware")
"""Tried whatever the message says; ``infected`` is what researchers use."""
_USUAL_FIRST = 3
"""So many of them before what names of files give."""

_KEYWORD = re.compile(
    r"(?:pass(?:wor[dt]|wd|code|phrase|ord)|kennwort|wachtwoord|lösenord|adgangskode|salasana|"
    r"jelszó|contrase[ñn]a|clave|mot de passe|senha|parol[ae]|parool|has[łl]o|heslo|[şs]ifre|"
    r"lozinka|zaporka|geslo|slaptažodis|mật khẩu|kata sandi|"
    r"(?<![^\W_])(?:pass|pwd?|pin|code|key|mdp)(?![^\W\d_])|"
    "\u043f\u0430\u0440\u043e\u043b[\u044c\u0430]|"  # Russian, Bulgarian
    "\u043b\u043e\u0437\u0438\u043d\u043a\u0430|"  # Serbian
    "\u03ba\u03c9\u03b4\u03b9\u03ba\u03cc\u03c2|"  # Greek
    "\u5bc6\u7801|\u5bc6\u78bc|\u53e3\u4ee4|\u30d1\u30b9\u30ef\u30fc\u30c9|"  # Chinese, Japanese
    "\ube44\ubc00\ubc88\ud638|\uc554\ud638|"  # Korean
    "\u0643\u0644\u0645\u0629 \u0627\u0644(?:\u0645\u0631\u0648\u0631|\u0633\u0631)|"  # Arabic
    "\u05e1\u05d9\u05e1\u05de[\u05d4\u05d0]|"  # Hebrew
    "\u0e23\u0e2b\u0e31\u0e2a\u0e1c\u0e48\u0e32\u0e19|"  # Thai
    "\u092a\u093e\u0938\u0935\u0930\u094d\u0921)",  # Hindi
    re.IGNORECASE,
)
_BEHIND_KEYWORD = 120
"""Characters in which the password follows."""
_SAYS = re.compile("[^\\n:=\uff1a]{0,30}[:=\uff1a]\\s*")
"""Between the keyword and what it names."""
_QUOTES = "\"'`\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u300c\u300d\u300e\u300f\u3010\u3011"
_QUOTED = re.compile(f"[{_QUOTES}]([^{_QUOTES}\r\n]{{1,64}})[{_QUOTES}]")
_TOKEN = re.compile(r"\S{1,64}")
_TOKENS_BEHIND = 6
_ASCII_RUN = re.compile(r"[!-~]{3,64}")
"""Of languages that put no space between words."""
_LINE_MAX = 64
_SHORT = range(3, 33)
_TELLING = re.compile(r"\d|[^\w\s]|[a-z][A-Z]")
"""In a token that is more likely a password than a word."""
_AROUND = ".,;:!?()[]{}<>*_|=-" + _QUOTES
_DIGITS = re.compile(r"\d{3,20}")
_TAG = re.compile(r"<[^<>]{0,2000}>")
_UNSEEN = re.compile(r"<(style|script)\b", re.IGNORECASE)


class Said(NamedTuple):
    """A text of a message that may give a password."""

    text: str
    is_name: bool = False
    """Of an attachment."""


class Passwords:
    """Of one message. ``texts``: its subject, bodies, names; asked for once, and when needed."""

    def __init__(self, texts: Callable[[], Iterable[Said]] = tuple) -> None:
        self._texts = texts
        self._worked: list[str] = []
        self._failed: dict[bytes, set[str]] = {}
        self._left = _COST_MAX
        self._left_for_guesses = _GUESSES_COST_MAX
        self.ran_out = False
        """Whether some were not tried."""

    def candidates(self, cost: int = CHEAP, *first: str, of: bytes = b"") -> Iterator[str]:
        """What to try, ``first`` and then the likeliest; ends early when too much was spent.

        ``of``: what the passwords are tried on (its salt), where that is worth remembering: what
        did not open the same thing before is not tried again.
        """
        failed = self._failed.setdefault(of, set()) if of else set()
        tried = failed.difference(self._worked)
        for candidate, is_guess in self._in_turn(first):
            if candidate in tried:
                continue
            if self._left < cost or (is_guess and self._left_for_guesses < cost):
                self.ran_out = True
                return
            self._left -= cost
            self._left_for_guesses -= cost if is_guess else 0
            tried.add(candidate)
            failed.add(candidate)
            yield candidate
        self.ran_out |= sum(map(len, self._found)) >= _CANDIDATES_MAX

    def _in_turn(self, first: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
        yield from ((candidate, False) for candidate in (*first, *self._worked))
        told, guesses = self._found  # only now is the text looked at
        yield from ((candidate, False) for candidate in told)
        yield from ((candidate, True) for candidate in guesses)

    def worked(self, password: str) -> None:
        """Remember it: what else is encrypted is likely opened by the same."""
        if password not in self._worked:
            self._worked.insert(0, password)

    @cached_property
    def _found(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        said = list(zip(range(_TEXTS_MAX), self._texts(), strict=False))
        texts = [one.text[:_TEXT_MAX] for _, one in said if not one.is_name]
        names = [one.text[:_LINE_MAX] for _, one in said if one.is_name]
        told = _first(texts, (_named_by_keywords, _behind_keywords))
        if told:
            told |= _first(texts, (_quoted,))
        usual = dict.fromkeys(_USUAL[:_USUAL_FIRST])
        guesses = usual | _first(names, (_of_name,)) | dict.fromkeys(_USUAL)
        guesses |= _first(texts, (_quoted, _likely_tokens, _tokens))
        told = dict.fromkeys(list(told)[:_CANDIDATES_MAX])
        left = (one for one in guesses if one not in told)
        return tuple(told), tuple(left)[: max(len(_USUAL), _CANDIDATES_MAX - len(told))]


def plain_text(text: str) -> str:
    """HTML without its tags and styles; other text stays, but for what looks like a tag."""
    text = text[: 4 * _TEXT_MAX]
    return html.unescape(_TAG.sub(" ", _without_unseen(text))) if "<" in text else text


def _without_unseen(text: str) -> str:
    seen, at = [], 0
    while (found := _UNSEEN.search(text, at)) is not None:
        end = text.find(f"</{found[1]}", found.end())
        if end < 0:
            break
        seen.append(text[at : found.start()])
        at = end
    return "".join((*seen, text[at:]))


def _first(
    texts: Iterable[str], looks: Iterable[Callable[[str], Iterator[str]]]
) -> dict[str, None]:
    found: dict[str, None] = {}
    for look in looks:
        for text in texts:
            for candidate in look(text):
                found[candidate] = None
                if len(found) >= _CANDIDATES_MAX:
                    return found
    return found


def _variants(token: str) -> Iterator[str]:
    bare = token.strip(_AROUND)
    if bare:
        yield bare
    if not token.isascii():
        yield from (run.strip(_AROUND) or run for run in _ASCII_RUN.findall(token))
    yield token
    if token[-1] in ".,;:!?":
        yield token[:-1]


def _named_by_keywords(text: str) -> Iterator[str]:
    """What stands right behind ``password:``."""
    for keyword in _KEYWORD.finditer(text):
        says = _SAYS.match(text, keyword.end())
        if says is None:
            continue
        behind = text[says.end() : says.end() + _BEHIND_KEYWORD]
        quoted = _QUOTED.match(behind)
        if quoted is not None:
            yield quoted[1]
        token = _TOKEN.match(behind)
        if token is not None:
            yield from _variants(token[0])
        line = behind.partition("\n")[0].strip()
        if " " in line and len(line) <= _LINE_MAX:
            yield line


def _behind_keywords(text: str) -> Iterator[str]:
    for keyword in _KEYWORD.finditer(text):
        behind = text[keyword.end() : keyword.end() + _BEHIND_KEYWORD]
        quoted = _QUOTED.search(behind)
        if quoted is not None:
            yield quoted[1]
        tokens = _TOKEN.findall(behind.lstrip(":= \t"))[:_TOKENS_BEHIND]
        for token in sorted(tokens, key=lambda one: not _TELLING.search(one.strip(_AROUND))):
            yield from _variants(token)


def _quoted(text: str) -> Iterator[str]:
    for quoted in _QUOTED.finditer(text):
        yield quoted[1]


def _of_name(name: str) -> Iterator[str]:
    """The numbers in a file's name, and it without its extension."""
    yield from _DIGITS.findall(name)
    stem = name.rpartition(".")[0] or name
    if len(stem) in _SHORT:
        yield stem


def _likely_tokens(text: str) -> Iterator[str]:
    for token in _TOKEN.findall(text):
        if len(token) in _SHORT and _TELLING.search(token.strip(_AROUND)):
            yield from _variants(token)


def _tokens(text: str) -> Iterator[str]:
    for token in _TOKEN.findall(text):
        if len(token) in _SHORT:
            yield from _variants(token)
