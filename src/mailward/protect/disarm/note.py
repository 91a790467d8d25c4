"""What a recipient reads beside what was disarmed."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailward.protect.policy import printable_ascii
from mailward.protect.strip import OWN_FIELD, PLAIN
from mailward.scan.budget import Budget
from mailward.scan.mime import heads, sections
from mailward.scan.mime.sections import Rule, Seen, Span
from mailward.scan.verdict import Verdict
from mailward.settings.scan import ScanSettings

_LINE_MAX = 300
_PARTS_MAX = 50


@dataclass(frozen=True, slots=True)
class DisarmNote:
    """The note for one message."""

    verdict: Verdict
    held_as: str
    removed: Mapping[str, Sequence[str]]
    """Label of a part to what was taken out of it."""
    signed: bool
    """Whether a signature over it breaks."""

    def text(self) -> str:
        """ASCII, lines ended by LF."""
        lines = ["Mailward removed from this message what would run by itself.", ""]
        for label, what in list(self.removed.items())[:_PARTS_MAX]:
            lines += [f"{self._name(label)}: without {', '.join(what)}"]
        lines += [
            *(["The signature of this message does not hold any more."] if self.signed else []),
            "",
            f"The whole message is held as {self.held_as}.",
            "To get it, ask your administrator and give this name.",
        ]
        return "\n".join(printable_ascii(line, _LINE_MAX) for line in lines)

    def _name(self, label: str) -> str:
        part = f"message/{label}"
        named = (f.name for f in self.verdict.files if f.name and f.part.startswith(f"{part}:"))
        return next(named, f"Part {label}")


def with_note(message: bytes, text: str) -> tuple[bytes, str]:
    """The message with a note behind it, and what stands in front of its parts' labels now.

    A multipart/mixed gets one more part; anything else becomes the first part of one.
    """
    (head, *_) = heads.read(message, 0, len(message), "text/plain", Budget(ScanSettings()))
    note = PLAIN + b"Content-Disposition: inline\r\n\r\n"
    note += text.encode("ascii", "replace").replace(b"\n", b"\r\n")
    if head.type.value == "multipart/mixed":
        body = Span(message, head.body, len(message))
        boundary = head.type.boundaries[0]
        parts = list(sections.split(body, boundary, Rule.WHOLE, Seen(), []))
        at = parts[-1].end
        return message[:at] + b"\r\n--" + boundary + b"\r\n" + note + message[at:], ""
    fields = message[: head.body].removesuffix(b"\r\n")
    own = b"".join(f for f in _own(fields) if not f.lower().startswith(b"mime-version"))
    boundary = f"=_mailward_{secrets.token_hex(16)}".encode()
    whole = b"".join(
        (
            OWN_FIELD.sub(b"", fields),
            b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="',
            boundary,
            b'"\r\n\r\n--',
            boundary,
            b"\r\n",
            own,
            b"\r\n",
            message[head.body :].removesuffix(b"\r\n"),
            b"\r\n--",
            boundary,
            b"\r\n",
            note,
            b"\r\n--",
            boundary,
            b"--\r\n",
        )
    )
    return whole, "1." if head.type.value.startswith("multipart/") else ""


def _own(fields: bytes) -> list[bytes]:
    return [found[0] for found in OWN_FIELD.finditer(fields)]
