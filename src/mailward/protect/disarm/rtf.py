r"""RTF without embedded objects, templates, and fields that fetch or run something.

Whole groups are left out: the object's, of which its picture (``\result``) stays, and the field's
instruction, of which its result stays. What a reader might still take for an object afterwards
makes it unsound.
"""

import re
from dataclasses import dataclass, field

from mailward.protect.disarm.fields import is_harmless
from mailward.protect.disarm.result import Disarmed, UnsoundError

_TOKEN = re.compile(
    rb"[^\\{}]++|[{}]|\\bin ?(-?\d+) ?|\\'..|\\([a-zA-Z]+)(?:-?\d+)? ?|\\.|\\\Z",
    re.DOTALL,
)
_TOKENS_MAX = 5_000_000
_DROPPED = {
    b"object": "embedded objects",
    b"objdata": "embedded objects",
    b"objemb": "embedded objects",
    b"objlink": "embedded objects",
    b"objautlink": "embedded objects",
    b"objsub": "embedded objects",
    b"objocx": "embedded objects",
    b"objhtml": "embedded objects",
    b"objclass": "embedded objects",
    b"objname": "embedded objects",
    b"objupdate": "embedded objects",
    b"datastore": "embedded data",
    b"template": "a template from elsewhere",
    b"subdocument": "documents from elsewhere",
    b"mailmerge": "data from elsewhere",
}
"""Control words whose group is left out."""
_LEFT = re.compile(rb"obj\s*(?:data|ocx|autlink|link|emb|update)|d0cf11e0a1b1", re.IGNORECASE)
_NESTING_MAX = 1000
_DIGITS_MAX = 9
_UNREADABLE = b"?"
"""Letters by their number, in an instruction: honest writers have no need of them there, and what
stands behind may be skipped for them. No harmless field begins so.
"""


@dataclass(slots=True)
class _Group:
    out: list[bytes] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    r"""``\result`` groups below, which stay when this one goes."""
    dropped: str = ""
    is_result: bool = False
    is_instruction: bool = False
    text: bytearray = field(default_factory=bytearray)


def disarm(data: bytes) -> Disarmed | None:
    """Raises UnsoundError."""
    start = data.find(b"{\\rt")
    if start < 0:
        raise UnsoundError("an RTF document that does not begin as one")
    removed: dict[str, None] = {}
    out, end = _rewritten(data, start, removed)
    if data[end:].strip(b"\0\r\n\t ") and _LEFT.search(data, end):
        removed["data behind its end"] = None
    if not removed:
        return None
    if _LEFT.search(out):
        raise UnsoundError("an RTF document with hidden objects")
    return Disarmed(out, tuple(removed))


def _rewritten(data: bytes, at: int, removed: dict[str, None]) -> tuple[bytes, int]:
    stack: list[_Group] = []
    for _ in range(_TOKENS_MAX):
        token = _TOKEN.match(data, at)
        if token is None:
            raise UnsoundError("an RTF document that ends too early")
        at, text = token.end(), token[0]
        if text == b"{":
            stack.append(_Group())
            if len(stack) > _NESTING_MAX:
                raise UnsoundError("an RTF document with groups very deep inside each other")
        elif text == b"}":
            group = stack.pop()
            if group.dropped and not stack:
                raise UnsoundError(f"an RTF document that is itself {group.dropped}")
            written = _written(group, removed)
            if not stack:
                return written, at
            above = stack[-1]
            above.out.append(written)
            above.results += [written] if group.is_result else group.results
            above.text += group.text
        elif token[1] is not None:
            size = int(token[1]) if len(token[1]) <= _DIGITS_MAX else -1
            if size < 0 or size > len(data) - at:
                raise UnsoundError("an RTF document with binary data of an impossible size")
            stack[-1].out.append(text + data[at : at + size])
            stack[-1].text += _UNREADABLE
            at += size
        else:
            _word(stack[-1], token[2].lower() if token[2] else b"", text)
    raise UnsoundError("an RTF document of very many pieces")


def _word(group: _Group, word: bytes, text: bytes) -> None:
    group.out.append(text)
    if word in _DROPPED:
        group.dropped = group.dropped or _DROPPED[word]
    elif word == b"result":
        group.is_result = True
    elif word == b"fldinst":
        group.is_instruction = True
    elif not word and text[:1] != b"\\":
        group.text += text
    elif text[:2] == b"\\'" or word == b"u":
        group.text += _UNREADABLE


def _written(group: _Group, removed: dict[str, None]) -> bytes:
    if group.dropped:
        removed[group.dropped] = None
        return b"{" + b"".join(group.results) + b"}"
    if group.is_instruction and not is_harmless(group.text.decode("latin-1")):
        removed["fields that fetch or run something"] = None
        return b"{}"
    return b"{" + b"".join(group.out) + b"}"
