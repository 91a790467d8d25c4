"""Values of Content-Type, Content-Transfer-Encoding and Content-Disposition, and their readings.

The strict grammar (RFC 2045 section 5.1) has one reading and is parsed by one expression. For
anything else every way in which a value is known to be read is given, the usual one first.
"""

import contextlib
import re
from collections.abc import Iterable
from email.message import Message
from typing import NamedTuple

from mailward.scan import encodings

_PARAMETER_MAX = 10_000
"""Characters of a parameter that are read."""
_VALUE_MAX = 16_000
"""Characters that the standard library gets: it counts quotes anew for each semicolon."""
_BOUNDARIES_MAX = 8
_NAMES_MAX = 3
"""Of one part, that are read."""

_SPACE = r"[ \t\r\n]*+"
_QUOTED = r"[^\"\\\r\n]*+"
_PLAIN = r"[^\x00-\x20\"(),/:;<=>?@\[\\\]\x7f-\xff]++"
_ATOM = r"[a-z0-9!#$&^_.+-]++"
_NAME = r"[a-z0-9_-]++"
_PARAMETER = re.compile(
    rf";{_SPACE}({_NAME}){_SPACE}={_SPACE}(?:\"({_QUOTED})\"|({_PLAIN})){_SPACE}", re.IGNORECASE
)
_STRICT = re.compile(
    rf"{_SPACE}({_ATOM}(?:/{_ATOM})?+){_SPACE}"
    rf"((?:;{_SPACE}{_NAME}{_SPACE}={_SPACE}(?:\"{_QUOTED}\"|{_PLAIN}){_SPACE})*+);?+{_SPACE}",
    re.IGNORECASE,
)
_TYPE = re.compile(r"([a-z0-9!#$&^_+-]+)/([a-z0-9!#$&^_.+-]+)", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*\)")
_COMMENTS_DEEP = 10
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\xff]+")
_FOLD = re.compile(r"[\r\n]+")
_BOUNDARY = re.compile(
    r"boundary(?:\*(?:0\*?)?)?\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"?|([^;\r\n]*))", re.IGNORECASE
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ENCODING_NAME = re.compile(
    r"base64|quoted-?printable|(?:x-)?uu(?:encode)?\b|x-uue|7bit|8bit|binary", re.IGNORECASE
)


class ContentType(NamedTuple):
    """One reading of a Content-Type: the type in lower case, and what may be its boundary."""

    value: str
    boundaries: tuple[bytes, ...] = ()
    """The usual one first."""
    charset: str = ""


class Parsed(NamedTuple):
    """A value in the strict grammar."""

    value: str
    """A type or a word, in lower case."""
    parameters: dict[str, str]


def strict(value: str) -> Parsed | None:
    """A value that everybody reads alike; None if it is not certain to be one."""
    found = _STRICT.fullmatch(value)
    if found is None:
        return None
    if not found[2]:
        return Parsed(found[1].lower(), {})
    listed = [(name.lower(), a or b) for name, a, b in _PARAMETER.findall(found[2])]
    parameters = dict(listed)
    if len(parameters) < len(listed) or not parameters.get("boundary", "").isascii():
        return None
    return Parsed(found[1].lower(), parameters)


def content_types(value: str) -> list[ContentType]:
    """Every reading of a Content-Type that is not in the strict grammar."""
    message = Message()
    message["content-type"] = _FOLD.sub("", value[:_VALUE_MAX]).strip()
    charset = parameter(message, "content-type", "charset").strip().lower()
    boundaries = _boundaries(value, message)
    bare = uncommented(_CONTROLS.sub("", value))
    seen = _TYPE.search(bare)
    lenient = f"{seen[1]}/{seen[2]}".lower() if seen is not None else ""
    if not lenient and bare.strip().lower().startswith("multipart"):
        lenient = "multipart/mixed"
    types = dict.fromkeys((message.get_content_type(), lenient or message.get_content_type()))
    return [ContentType(each, boundaries, charset) for each in types]


def _boundaries(value: str, message: Message) -> tuple[bytes, ...]:
    usual = parameter(message, "content-type", "boundary")
    read = [usual]
    for source in (value, uncommented(value)):
        for found in _BOUNDARY.finditer(source):
            quoted, plain = found[1], (found[2] or "")
            text = quoted if quoted is not None else plain
            read += [text, _FOLD.sub("", text), re.sub(r"\s*[\r\n]+\s*", "", text)]
            read.append(_ESCAPE.sub(r"\1", _FOLD.sub("", text)))
            if quoted is None:
                read += [re.split(r"[\s(]", plain)[0], plain.strip().strip("\"'")]
    read += [encodings.decode_words(text) for text in read if "=?" in text]
    read += [text.split("\0")[0] for text in read if "\0" in text]
    as_bytes = (text.rstrip().encode("latin-1", "replace") for text in read)
    return tuple(dict.fromkeys(b for b in as_bytes if b))[:_BOUNDARIES_MAX]


def transfer_encodings(value: str) -> list[str]:
    """Every reading of a Content-Transfer-Encoding; an unknown one means as it is."""
    plain = value.strip().lower()
    if not plain or encodings.is_known(plain):
        return [plain]
    usual = encodings.token(plain)
    named = [found[0].lower() for found in _ENCODING_NAME.finditer(plain)]
    named = [name for name in named if encodings.is_known(name)]
    if not named:
        return [plain]
    if uncommented(plain).strip() == usual:
        return [usual]
    return list(dict.fromkeys((usual, *named, "")))


def names(disposition: str, content_type: str) -> list[str]:
    """What a part may be called, in every form of RFC 2231 and RFC 2047, the usual name first.

    Names that end alike are one.
    """
    message = Message()
    found = []
    for field, text, key in (
        ("content-disposition", disposition, "filename"),
        ("content-type", content_type, "name"),
    ):
        if key not in text.lower():
            continue
        message[field] = _FOLD.sub("", text[:_VALUE_MAX]).strip()
        found.append(parameter(message, field, key))
        found += _plain_parameters(text, key) if text.lower().count(key) > 1 else []
    read = [_decoded(name) for name in found]
    read += [name.split("\0")[0] for name in read if "\0" in name]
    read += [name.rstrip(" .") for name in read if name.endswith(".")]
    return by_extension(read)


def by_extension(read: Iterable[str]) -> list[str]:
    """The first of those names that end alike: programs go by the extension."""
    kept: dict[str, str] = {}
    for name in read:
        if name:
            kept.setdefault(name.rpartition(".")[2].lower(), name)
    return list(kept.values())[:_NAMES_MAX]


def _plain_parameters(value: str, name: str) -> list[str]:
    """Each occurrence on its own, as clients read that know nothing of continuations."""
    pattern = rf"(?<![\w]){name}\s*(\*?)\s*=\s*(?:\"([^\"]*)\"|([^;\s]*))"
    found = []
    for star, quoted, plain in re.findall(pattern, value, re.IGNORECASE):
        text = quoted or plain
        if star and text.count("'") >= 2:
            charset, _, octets = text.split("'", 2)
            text = encodings.decode(encodings.percent(octets), charset or "utf-8")
        found.append(text[:_PARAMETER_MAX])
    return found


def _decoded(name: str) -> str:
    with contextlib.suppress(UnicodeEncodeError):  # then it is decoded already (RFC 2231)
        name = encodings.text(name.encode("latin-1"))
    return encodings.decode_words(name).strip()


def uncommented(value: str) -> str:
    """Without comments (RFC 5322 section 3.2.2), also where they are not allowed."""
    for _ in range(_COMMENTS_DEEP):
        value, changed = _COMMENT.subn(" ", value)
        if not changed:
            break
    return value


def parameter(headers: Message, field: str, name: str) -> str:
    """A parameter in any of the forms of RFC 2231, a character for each byte unless it is encoded.

    Empty if there is none.
    """
    try:
        value = headers.get_param(name, "", field)
    except (ValueError, TypeError, LookupError):
        # The standard library stumbles over some malformed continuations: take what can be seen.
        seen = re.compile(rf"{name}[*0-9]*\s*=\s*\"?([^\";]*)", re.IGNORECASE)
        found = seen.search(str(headers.get(field)))
        value = found[1] if found is not None else ""
    if isinstance(value, tuple):
        charset, _, octets = value
        return encodings.decode(octets.encode("latin-1", "replace"), charset or "utf-8")
    return str(value)[:_PARAMETER_MAX]
