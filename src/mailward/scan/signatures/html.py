"""HTML as signatures of target 3 see it: ClamAV's two normalised forms of a page.

``nocomment``: the page without comments, in lower case, with white space folded, entities decoded,
quotes of one kind. ``notags``: its text and the addresses of its links and pictures.
What these forms look like in detail was found by giving clamscan 1.4 some hundred small pages and
comparing its temporary files; tests keep them. Where ClamAV's form depends on an accident of its
buffers (the last characters of a file, the 8 KB it reads at a time) ours follows the rule instead.

Everything works on many tags at once: a Python loop over the tags of a page would cost more than
all of the matching.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html.entities import name2codepoint

from mailward.scan.signatures.search import Search

_VALUE = (
    rb"(?: ?+\"[^\" >]*+(?:\"|[ >] ?+[^ >]*+)?+"
    rb"| ?+'[^' >]*+(?:'|[ >] ?+[^ >]*+)?+"
    rb"| ?+[^ >]*+)"
)
"""An attribute's value, as ClamAV sees it: a quote matters only right behind ``=``, and until the
first space or ``>``; the second one ends the value."""
_REST_OF_TAG = rb"(?:[^>=]++|=" + _VALUE + rb")*+>?+"
_TAG = re.compile(rb"(<![^>]*+>?|< ?+[^ >]*+" + _REST_OF_TAG + rb")")
"""A tag, or a comment, which ends at the first ``>``. White space is single spaces already."""
_NAME_WITH_VALUE = re.compile(rb"\0< ?[^ =\0]*+=")
"""In a tag's name, which goes to the first space, an equals sign means nothing to ClamAV."""
_NAME = re.compile(rb"< ?([^ =>]*+=[^ >]*+)")
_PLAIN_TAG = re.compile(rb"(<[^>]*+>?)")
_QUOTED_END = Search(rb"= ?(?:\"[^\" >]*+|'[^' >]*+)>")
"""Where this is nowhere no value holds a ``>``: every tag is a plain one, found twice as fast."""
_OPENING = Search(rb"< ?(script|style)(?=[ >])")
_TAG_END = re.compile(_REST_OF_TAG)
_CLOSING = {
    b"script": re.compile(rb"< ?/script"),
    b"style": re.compile(rb"< ?/(?:style|script)"),
}

_ENTITY = re.compile(rb"(&(?:#(?:[xX][0-9a-fA-F]*|[0-9]*);?|[A-Za-z0-9]{1,33};))")
_ENTITY_AS_TEXT = re.compile(rb"&(?:#[xX]?[0-9a-fA-F]*|[A-Za-z0-9-]*);?")
_NAMED = {name.encode(): code for name, code in name2codepoint.items()} | {b"apos": 0x27}

_ATTRIBUTE = re.compile(rb" ?=(" + _VALUE + rb")")
_CUT = re.compile(rb"[ >]")
_NOTHING_MORE = (b"", b" ", b">", b"=")
"""Behind a value that needs no space there."""
_UNUSUAL = Search(
    rb"['&]|= | =|"
    rb"\"(?<=[^= ]\")[^ >\0]|"  # something right behind a value
    rb"=\"[^\" \0]*=\"(?=[^ >\0])|"  # and within one
    rb"=\"\"[^ >\0]|"
    rb"=\"[^\" >\0]*(?: >|> )|"  # a value that nothing closes
    rb"=[\"']?data:"
)
"""Makes a tag worth a look at its attributes; few have any of it."""
_ODD = Search(rb"(?:\0|^)(?:<!|< |<[^ =\0]*+=)|" + _UNUSUAL.source)
"""Makes tags worth a look at all: those of most pages have nothing of it."""
_QUOTED = re.compile(rb"=\"[^\" >\0]*+(?:\"|[ >] ?+[^ >\0]*+)?+ ?")
_HIGH_IN_VALUE = re.compile(rb"([\x80-\xff]+)([\" ])")
_PARAMETER = re.compile(rb"&[A-Za-z0-9]++(?!;)")
_HIGH = re.compile(rb"([\x80-\xff]+)")
_LINKS = {b"a ": b" href", b"A ": b" href"} | dict.fromkeys((b"im", b"IM", b"Im"), b" src")
"""Whose address is part of ``notags``: links and pictures, by the tag's first two letters."""
_VALUE_OF = re.compile(rb" ?=(" + _VALUE + rb")")
_CONTROLS_TO_SPACES = b"\0" + b" " * 31 + bytes(range(32, 256))
_SPACED = re.compile(rb" [\x80-\xff\x01][\x80-\xff\x01 ]*")
_PIECE_MAX_BYTES = 64
_PIECES_MAX = 4096
"""Of a memory: less than a megabyte. Other alphabets have some thousand letters and words."""
_FULL_STOPS = (b"\xe3\x80\x82", b"\xef\xbc\x8e", b"\xef\xb9\x92", b"\xef\xbd\xa1")


@dataclass(frozen=True, slots=True)
class Page:
    """A page's normalised forms."""

    nocomment: bytes
    notags: bytes
    scripts: tuple[bytes, ...]
    """What stood between ``<script>`` and its end, with white space folded."""


def normalise(data: bytes) -> Page:
    """Both forms of a page, in any encoding that ASCII is part of or UTF-16. Never raises."""
    folded = b" ".join(data.replace(b"\r", b"").replace(b"\0", b"").split())
    if not folded.isascii():
        for full_stop in _FULL_STOPS:  # several times faster than one regular expression
            if full_stop[:1] in folded:  # one byte is found faster still
                folded = folded.replace(full_stop, b".")
    nocomment: list[bytes] = []
    notags: list[bytes] = []
    scripts: list[bytes] = []
    lower = folded.lower()
    at = 0
    for opening in _OPENING.all(lower):
        if opening.start() < at:
            continue  # within a script already
        end = _TAG_END.match(lower, opening.end())
        if end is None or lower[end.end() - 2 : end.end()] == b"/>":
            continue
        closing = _CLOSING[opening[1]].search(lower, end.end())
        stop = closing.start() if closing else len(lower)
        _section(folded[at : end.end()], nocomment, notags)
        body = folded[end.end() : stop]
        if opening[1] == b"script":
            scripts.append(body)
        nocomment.append(_decode(b"".join(body.split())).lower().replace(b"'", b'"'))
        at = stop
    _section(folded[at:], nocomment, notags)
    text = b" ".join(notags)
    lead = b" " if text[:1].isspace() else b""
    trail = b" " if text[-1:].isspace() or data[-1:].isspace() else b""
    words = text.split()
    text = lead + b" ".join(words) + (trail if words else b"")
    if not folded.isascii():
        text = _SPACED.sub(_joined, text)
    return Page(
        b"".join(nocomment), text.replace(b"\x01", b"\0").replace(b"\x02", b""), tuple(scripts)
    )


def _section(folded: bytes, nocomment: list[bytes], notags: list[bytes]) -> None:
    """What is between two scripts."""
    parts = (_TAG if _QUOTED_END.search(folded) else _PLAIN_TAG).split(folded)
    # NUL is in no text any more, so it can keep the pieces apart while all are changed at once.
    texts = b"\0".join(parts[0::2])
    tags = parts[1::2]
    kinds = list(dict.fromkeys(tags))  # most tags of a page occur again and again
    plain = _decode(texts).lower().replace(b"\0 ", b"\0").split(b"\0")
    if tags:
        both = [b""] * len(parts)
        both[0::2] = plain
        both[1::2] = map(dict(zip(kinds, _tags(kinds), strict=True)).__getitem__, tags)
        nocomment.append(b"".join(both))
    else:
        nocomment.append(plain[0])
    notags.append(_without_tags(texts, tags, kinds))


def _tags(tags: list[bytes]) -> list[bytes]:
    joined = b"\0".join(tags) + b"\0"
    if _ODD.search(joined) is None:
        joined = joined.lower().replace(b" >\0", b">\0")
    else:
        if b"<!" in joined:
            joined = re.sub(rb"(?:(?<=\0)|^)<![^\0]*", b"", joined)
        if _NAME_WITH_VALUE.search(b"\0" + joined):
            return _tags_with_names(joined.split(b"\0")[:-1])
        joined = _attributes(joined).lower().replace(b" >\0", b">\0")
        if b"< " in joined:
            joined = re.sub(rb"(?:(?<=\0)|^)< ", b"<", joined)
    plain = joined.split(b"\0")[:-1]
    if joined.isascii():
        return plain
    return [tag if tag.isascii() else _QUOTED.sub(_high_in_value, tag) for tag in plain]


def _attributes(joined: bytes) -> bytes:
    """Tags with NULs behind them, the attributes of the unusual ones as they should be."""
    pieces, at = [], 0
    while (found := _UNUSUAL.search(joined, at)) is not None:
        start, end = joined.rfind(b"\0", at, found.start()) + 1, joined.find(b"\0", found.start())
        start = max(start, at)
        pieces += [joined[at:start], _ATTRIBUTE.sub(_attribute, joined[start:end])]
        at = end
    return b"".join([*pieces, joined[at:]])


def _tags_with_names(tags: list[bytes]) -> list[bytes]:
    """As ``_tags``, of which some have a name that is to stay."""
    names = [_NAME.match(tag) for tag in tags]
    short = [
        b"<x" + tag[name.end() :] if name else tag for tag, name in zip(tags, names, strict=True)
    ]
    return [
        b"<" + name[1].lower() + tag[2:] if name else tag
        for tag, name in zip(_tags(short), names, strict=True)
    ]


def _attribute(found: re.Match[bytes]) -> bytes:
    value = _trimmed(found[1])
    after = found.string[found.end() : found.end() + 1]
    quote = value[:1] if value[:1] in (b'"', b"'") else b""
    closed = len(value) > 1 and quote == value[-1:] and not _CUT.search(value)
    if value.startswith(b"data:", len(quote)):  # a file within an address (RFC 2397)
        value = quote + b"data" + quote
    # Of two spaces before the end of a tag one stays: it is part of the value.
    more = (quote and value[-1:] == b" ") or (closed and after not in _NOTHING_MORE)
    return b"=" + _decode(value.replace(b"'", b'"')) + (b" " if more else b"")


def _trimmed(value: bytes) -> bytes:
    """An attribute's value without the space in front of it, and that behind a ``>`` in it."""
    return value.lstrip(b" ").replace(b"> ", b">")


def _high_in_value(found: re.Match[bytes]) -> bytes:
    value = found.group()
    return value if value.isascii() else _HIGH_IN_VALUE.sub(_last_group, value)


def _last_group(found: re.Match[bytes]) -> bytes:
    """ClamAV gathers three bytes of other alphabets at a time; what it has when a quote comes is
    lost, and comes behind a space."""
    run, end = found.groups()
    whole = (len(run) - 1) // 3 * 3
    return run[:whole] + end + (run[whole:] if end == b" " else b"")


def _without_tags(texts: bytes, tags: list[bytes], kinds: list[bytes]) -> bytes:
    plain = texts.translate(_CONTROLS_TO_SPACES)
    if b"&" in plain:
        plain = _ENTITY_AS_TEXT.sub(b" ", plain)
    if not plain.isascii():
        plain = _changed(_HIGH, plain, _DOUBLED)
    pieces = plain.lower().split(b"\0")
    links = [tag for tag in kinds if tag[1:3] in _LINKS and tag.endswith(b">")]
    addresses = {tag: address for tag in links if (address := _address(tag))}
    if addresses:
        for i, tag in enumerate(tags, 1):
            if tag in addresses:
                pieces[i] = addresses[tag] + pieces[i]
    return b" ".join(pieces)


def _address(tag: bytes) -> bytes:
    """What of a link or a picture is part of ``notags``, with a space behind it."""
    name, lower = _LINKS.get(tag[1:3]), tag.lower()
    at = lower.find(name) if name is not None else -1
    while name is not None and at > 0:
        link = _VALUE_OF.match(tag, at + len(name))
        value = _shown_of(link[1]) if link is not None else b""
        if value:
            return value
        at = lower.find(name, at + len(name))
    return b""


def _shown_of(value: bytes) -> bytes:
    value = _trimmed(value)
    if b"&" in value:
        value = _decode(_PARAMETER.sub(lambda name: name.group().lower(), value))
    value = (value[1:-1] if value[:1] in b"\"'" else value).replace(b"'", b'"')
    if value[:5].lower() == b"data:":
        return b""
    # Spaces at its ends stay: 2 keeps them from being folded.
    begins = b"\x02" if value[:1] == b" " else b""
    return begins + value + (b"\x02 " if value[-1:] == b" " else b" ")


class _Memory(dict[bytes, bytes]):
    """What short pieces of pages become, bounded: the same few come again and again."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        self._change = change

    def __missing__(self, piece: bytes) -> bytes:
        changed = self._change(piece)
        if len(piece) <= _PIECE_MAX_BYTES:
            if len(self) >= _PIECES_MAX:
                self.clear()
            self[piece] = changed
        return changed


def _changed(pattern: re.Pattern[bytes], text: bytes, memory: _Memory) -> bytes:
    """``text`` with what ``pattern`` finds (its one group is all of it) changed: faster than
    giving ``sub`` a function."""
    pieces = pattern.split(text)
    pieces[1::2] = map(memory.__getitem__, pieces[1::2])
    return b"".join(pieces)


def _doubled(run: bytes) -> bytes:
    """Other alphabets come out of ClamAV's text form so: of three bytes the second twice, of two
    left the first twice, instead of one left a NUL (here 1, until the end)."""
    if len(run) == 3:
        return run[:2] + run[1:2]
    if len(run) == 2:
        return run[:1] * 2
    out = bytearray()
    for i in range(0, len(run) - 2, 3):
        out += run[i : i + 2] + run[i + 1 : i + 2]
    rest = run[len(run) // 3 * 3 :]
    out += b"" if not rest else b"\x01" if len(rest) == 1 else rest[:1] * 2
    return bytes(out)


def _joined(found: re.Match[bytes]) -> bytes:
    """They do not count as text either: the space behind them folds with the one before."""
    return b" " + found.group().replace(b" ", b"")


def _decode(text: bytes) -> bytes:
    return _changed(_ENTITY, text, _CHARACTERS) if b"&" in text else text


def _entity(entity: bytes) -> bytes:
    inner = entity[1:].removesuffix(b";")
    if inner[:1] != b"#":
        code = _NAMED.get(inner)
        if code is None:
            return entity
    elif inner[1:2] in (b"x", b"X"):
        # The last digits alone count for the last 16 bits.
        code = int(inner[2:][-4:] or b"0", 16)
    else:
        code = int(inner[1:][-16:] or b"0")
    code &= 0xFFFF
    if not code:
        return b""
    return bytes((code,)) if code < 0xFF else b"&#x%04x;" % code


_DOUBLED = _Memory(_doubled)
_CHARACTERS = _Memory(_entity)
