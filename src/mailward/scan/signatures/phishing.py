"""Links that show one address and lead to another: ClamAV's ``.pdb``, ``.wdb`` and ``.gdb`` files.

docs.clamav.net, manual/Signatures/PhishSigs, says what the lines mean; what counts as the same
host, and which text counts as an address, was found by giving clamscan 1.4 a hundred links.

- ``.pdb``: hosts worth imitating, by name (``H``) or pattern (``R``): only what shows one of these
  is looked at, since many honest mails show addresses that they do not lead to.
- ``.wdb``: who may show whom, by hosts (``M``) or patterns (``X``, ``Y``).
- ``.gdb``: addresses known to be bad, by SHA-256 (``S``, ``S1``, ``S2``).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from mailward.errors import FormatError
from mailward.scan.signatures.cautious_regex import compile_cautiously
from mailward.scan.signatures.file_magic import LEVEL

SPOOFED = "Heuristics.Phishing.Email.SpoofedDomain"
SPOOFED_TLS = "Heuristics.Phishing.Email.SSL-Spoof"
_LISTED = {
    "S": "Heuristics.Safebrowsing.Suspected-malware_safebrowsing.clamav.net",
    "S1": "Heuristics.Phishing.URL.Blocked",
    "S2": "Heuristics.Safebrowsing.Suspected-phishing_safebrowsing.clamav.net",
}
FINDINGS = (SPOOFED, SPOOFED_TLS, *_LISTED.values())
"""Every name that ``check`` can give."""

LINKS_MAX = 2000
"""Links of one page that are looked at; ClamAV stops at a similar number."""
_ADDRESS_MAX = 500
"""Characters of an address, and of the text shown for it, that are looked at: patterns must not
be given more, since some take time with the square of it."""
_SUFFIXES_MAX = 5

_OPENING = re.compile(rb"<[aA]\s[^>]{0,4000}+>")
_VALUE = rb"\s{0,20}+=\s{0,20}+(?:\"([^\"]{0,2000})|'([^']{0,2000})|([^\s>]{1,2000}))"
_HREF = re.compile(rb"\shref" + _VALUE, re.IGNORECASE)
_TITLE = re.compile(rb"\stitle" + _VALUE, re.IGNORECASE)
_SRC = re.compile(rb"\ssrc" + _VALUE, re.IGNORECASE)
_PICTURE = re.compile(rb"<img\s[^>]{0,4000}+>", re.IGNORECASE)
_END_OF_LINK = re.compile(rb"</?[aA][\s>]")
_SHOWN_MAX_BYTES = 4000
"""Of HTML between a link's tags: what shows an address has hundreds."""
_TAG = re.compile(rb"<[^>]*>?")
_SCHEME = re.compile(r"(?:(https?|ftp):/{0,2}|mailto:)", re.IGNORECASE)
_HOST = re.compile(r"[^/?:\s]*")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as a mail client shows it."""

    real: str
    """Where it leads."""
    shown: str
    """What is shown for it: text without white space, a picture's address or a title."""
    is_picture: bool = False


@dataclass
class Phishing:
    """What the lines of a set's phishing files say. Filled line by line, then asked."""

    checked: bool = False
    """Whether its lines are known to be sound: then patterns that few pages need are compiled when
    one does, for a hundred of them take 20 ms."""
    _imitated: set[str] = field(default_factory=set)
    _imitated_patterns: list[re.Pattern[str]] = field(default_factory=list)
    _allowed: set[tuple[str, str]] = field(default_factory=set)
    _allowed_texts: list[str] = field(default_factory=list)
    _listed: dict[bytes, str] = field(default_factory=dict)
    _unlisted: set[bytes] = field(default_factory=set)

    def add(self, line: str) -> bool:
        """Take a line of a ``.pdb``, ``.wdb`` or ``.gdb`` file; False if it is for other releases
        alone. Raises FormatError."""
        fields = _fields(line)
        kind = fields[0].rstrip("0123456789,") if fields[0][:1] in "RHXYM" else fields[0]
        level = {"H": 2, "R": 2, "M": 3, "X": 3, "Y": 3, "S": 3, "S1": 3, "S2": 3}.get(kind)
        if level is None:
            raise FormatError(f"unknown kind of line {fields[0][:20]!r}: R H X Y M S S1 S2 exist")
        if kind == "R" and len(fields) >= 3 and not _is_level(fields[2]):
            fields = [kind, ":".join(fields[1:3]), *fields[3:]]
        if not level <= len(fields) <= level + 1:
            raise FormatError(f"a line of kind {kind} has {level} or {level + 1} fields")
        if len(fields) > level and not _in_level(fields[level]):
            return False
        self._take(kind, fields)
        return True

    def _take(self, kind: str, fields: list[str]) -> None:
        if kind == "H":
            self._imitated.add(_host_name(fields[1]))
        elif kind == "R":
            self._imitated_patterns.append(compile_cautiously(fields[1], ignore_case=True))
        elif kind == "M":
            self._allowed.add((_host_name(fields[1]), _host_name(fields[2])))
        elif kind in "XY":
            both = f"{fields[1]}:{fields[2]}"
            if not self.checked:
                compile_cautiously(both, ignore_case=True)
            self._allowed_texts.append(both)
        else:
            self._take_hash(kind, fields[1], fields[2])

    def _take_hash(self, kind: str, what: str, digits: str) -> None:
        if what not in ("P", "F", "W") or (kind != "S" and what == "W"):
            raise FormatError(f"unknown hash {what[:20]!r}: P (beginning), F (whole) and W exist")
        if not re.fullmatch(r"[0-9a-fA-F]{8}" if what == "P" else r"[0-9a-fA-F]{64}", digits):
            raise FormatError(f"a hash of kind {what} has {8 if what == 'P' else 64} digits")
        if what == "W":
            self._unlisted.add(bytes.fromhex(digits))
        elif what == "F":  # P only saves ClamAV looking for F
            self._listed[bytes.fromhex(digits)] = _LISTED[kind]

    def check(self, page: bytes) -> str | None:
        """The name of what is wrong with the links of ``page``, HTML out of a mail; None if nothing
        is. Never raises."""
        if not (self._imitated or self._imitated_patterns or self._listed):
            return None
        found = links(page, addresses=not self._listed)
        return next((name for link in found if (name := self._judge(link))), None)

    @cached_property
    def _allowed_patterns(self) -> list[re.Pattern[str]]:
        return [compile_cautiously(both, ignore_case=True) for both in self._allowed_texts]

    def _judge(self, link: Link) -> str | None:
        real = _SCHEME.match(link.real)
        if self._listed and real is not None and real[1]:
            name = self._listed_as(link.real[real.end() :])
            if name:
                return name
        if "." not in link.shown or (real is None and "/" in link.real):
            return None
        if real is not None and not real[1]:
            return None  # mail addresses lead nowhere
        if "@" in link.shown and not link.shown.lower().startswith("mailto:"):
            return None  # the text is a mail address
        shown_host, real_host = _host(link.shown), _host(link.real)
        imitated = next((h for h in _suffixes(shown_host) if h in self._imitated), None)
        if imitated is None and not any(
            p.fullmatch(_whole(link.shown)) for p in self._imitated_patterns
        ):
            return None
        if not real_host or self._is_allowed(link, real_host, shown_host):
            return None
        tls = link.shown.lower().startswith("https://") and link.real.lower().startswith("http://")
        if tls and not link.is_picture:
            return SPOOFED_TLS  # of the same host, too
        if _related(real_host, shown_host, imitated):
            return None
        if real is None and "." not in real_host:
            return None
        return SPOOFED

    def _is_allowed(self, link: Link, real_host: str, shown_host: str) -> bool:
        if self._allowed:
            shown = [*_suffixes(shown_host)]
            if any((r, s) in self._allowed for r in _suffixes(real_host) for s in shown):
                return True
        both = f"{_whole(link.real)}:{_whole(link.shown)}"
        return any(p.fullmatch(both) or p.fullmatch(both + "/") for p in self._allowed_patterns)

    def _listed_as(self, address: str) -> str | None:
        """Whether an address, or a shorter one that contains it, is listed."""
        name = None
        for candidate in _containing(address):
            digest = hashlib.sha256(candidate.encode("utf-8", "replace")).digest()
            if digest in self._unlisted:
                return None
            name = name or self._listed.get(digest)
        return name


def links(page: bytes, *, addresses: bool = False) -> Iterator[Link]:
    """What the links of a page show: each text, picture and title. ``addresses``: only what may be
    one, which has a dot."""
    for number, opening in enumerate(_OPENING.finditer(page)):
        if number >= LINKS_MAX:
            return
        start = opening.end()
        end = _END_OF_LINK.search(page, start, start + _SHOWN_MAX_BYTES)
        if end is None:
            continue
        tag, inner = opening[0], page[start : end.start()]
        titled = b"title" in tag.lower()
        if addresses and not titled and b"." not in inner:
            continue
        real = _attribute(_HREF, tag)
        if not real:
            continue
        has_tags = b"<" in inner
        words = (_TAG.sub(b"", inner) if has_tags else inner).split()
        shows = [_text(b"".join(words))]
        if titled:
            shows.append(_attribute(_TITLE, tag))
        if len(words) > 1:
            shows.append(_text(words[-1]))  # "visit example.com"
        yield from (Link(real, _stripped(shown)) for shown in shows if shown)
        if has_tags:
            pictures = [_attribute(_SRC, picture) for picture in _PICTURE.findall(inner)]
            yield from (Link(real, _stripped(one), is_picture=True) for one in pictures if one)


def _stripped(shown: str) -> str:
    return shown.strip("()[]<>\"'.,;!")


def _attribute(which: re.Pattern[bytes], tag: bytes) -> str:
    found = which.search(tag)
    return _text(found[1] or found[2] or found[3] or b"") if found else ""


def _text(bytes_: bytes) -> str:
    return bytes_.strip()[:_ADDRESS_MAX].decode("latin-1")


def _fields(line: str) -> list[str]:
    """Split at colons that a pattern does not have to itself."""
    return re.split(r"(?<!\\):", line.rstrip("\r\n"))


def _is_level(text: str) -> bool:
    return re.fullmatch(r"[0-9]*-?[0-9]*", text) is not None


def _in_level(text: str) -> bool:
    if not text or not _is_level(text):
        raise FormatError(f"unknown functionality level {text[:20]!r}: MIN or MIN-MAX")
    low, dash, high = text.partition("-")
    return int(low or 0) <= LEVEL and (not dash or not high or int(high) > LEVEL)


def _host_name(text: str) -> str:
    if not text or len(text) > 255 or re.search(r"[\s/]", text):
        raise FormatError(f"{text[:40]!r} is no host name")
    return text.lower().strip(".")


def _host(address: str) -> str:
    scheme = _SCHEME.match(address)
    rest = address[scheme.end() :] if scheme else address
    found = _HOST.match(rest.rpartition("@")[2] if "@" in rest.partition("/")[0] else rest)
    return found[0].lower().strip(".[]()") if found else ""


def _whole(address: str) -> str:
    """Scheme and host of an address: what patterns are written for."""
    scheme = _SCHEME.match(address)
    return f"{scheme[0].lower() if scheme else ''}{_host(address)}"


def _suffixes(host: str) -> Iterator[str]:
    """The host, and every domain that it is in."""
    yield host
    at = host.find(".")
    while at >= 0:
        yield host[at + 1 :]
        at = host.find(".", at + 1)


def _related(real: str, shown: str, imitated: str | None) -> bool:
    """Whether both are of one domain: the imitated one, or the last two names."""
    if imitated is not None:
        return real == imitated or real.endswith("." + imitated)
    return real.split(".")[-2:] == shown.split(".")[-2:]


def _containing(address: str) -> Iterable[str]:
    """The address as hashed, with the hosts and folders that it is in."""
    host, _, path = address.partition("#")[0].partition("/")
    host = host.partition("@")[2] or host
    host = host.partition(":")[0].lower().strip(".")
    path = f"/{path}"
    plain = path.partition("?")[0]
    paths = [path, plain]
    at = plain.find("/")
    while at >= 0 and len(paths) < _SUFFIXES_MAX + 1:
        paths.append(plain[: at + 1])
        at = plain.find("/", at + 1)
    hosts = [h for h in _suffixes(host) if "." in h]
    wanted = [*dict.fromkeys([host, *hosts[-_SUFFIXES_MAX:]])]
    return dict.fromkeys(h + p for h in wanted for p in paths)
