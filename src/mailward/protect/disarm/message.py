"""A message whose parts are disarmed where they stand; everything else stays byte for byte."""

import base64
import re
from dataclasses import dataclass, field

from mailward.protect import strip
from mailward.protect.disarm.documents import disarm
from mailward.protect.disarm.inside import require_nothing_active_inside
from mailward.protect.disarm.result import Disarmed, UnsoundError
from mailward.protect.strip import Leaf
from mailward.scan import encodings

_ENCODING_FIELDS = re.compile(
    rb"^content-(?:transfer-encoding|md5|length)[ \t]*:[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*",
    re.IGNORECASE | re.MULTILINE,
)
_OUR_ENCODING = b"Content-Transfer-Encoding: base64\r\n"
_LEFT_ALONE = ("text/plain", "text/calendar")


@dataclass(frozen=True, slots=True)
class DisarmedMessage:
    """What became of a message."""

    content: bytes
    removed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Label of a part to what was taken out of it."""
    unsound: dict[str, str] = field(default_factory=dict)
    """Label of a part to why it cannot be disarmed."""
    signed: bool = False
    """Whether a signature over one of them breaks."""


def disarm_message(message: bytes) -> DisarmedMessage | None:
    """None: mail clients read it in more than one way, so nothing can be taken out."""
    leaves = strip.leaves(message)
    if leaves is None:
        return None
    removed: dict[str, tuple[str, ...]] = {}
    unsound: dict[str, str] = {}
    signed, pieces, at = False, [], 0
    for leaf in leaves:
        try:
            disarmed = _disarmed(leaf)
        except UnsoundError as e:
            unsound[leaf.label] = str(e)
            continue
        if disarmed is None:
            continue
        removed[leaf.label] = disarmed.removed
        signed = signed or leaf.signed
        pieces += [message[at : leaf.span.start], _entity(leaf, disarmed.data)]
        at = leaf.span.end
    return DisarmedMessage(b"".join((*pieces, message[at:])), removed, unsound, signed)


def _disarmed(leaf: Leaf) -> Disarmed | None:
    """Raises UnsoundError."""
    head = leaf.head
    name = head.names[0] if head.names else ""
    if head.type.value.startswith(_LEFT_ALONE) and not name:
        return None
    body = leaf.span.data[head.body : leaf.span.end]
    readings = encodings.decode_transfer(body, head.encoding)
    for data in readings:
        require_nothing_active_inside(data, name, head.type.value)
    results = [disarm(data, name, head.type.value, head.type.charset) for data in readings]
    if len(results) == 1:
        return results[0]
    if any(result is not None for result in results) or not results:
        raise UnsoundError("mail clients decode it differently")
    return None


def _entity(leaf: Leaf, data: bytes) -> bytes:
    fields = leaf.span.data[leaf.span.start : leaf.head.body]
    fields = fields.removesuffix(b"\r\n")  # the line that ends it
    ours = _ENCODING_FIELDS.sub(b"", fields) + _OUR_ENCODING
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    end = b"" if leaf.span.start else b"\r\n"
    return ours + b"\r\n" + encoded.removesuffix(b"\r\n") + end
