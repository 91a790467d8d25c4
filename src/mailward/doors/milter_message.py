"""A message as a milter hears of it, put together again; and what is changed in it."""

import re
from collections import Counter
from dataclasses import dataclass, field

from mailward.doors import headers, milter_replies
from mailward.doors.judge import Judged
from mailward.protect.held import Envelope
from mailward.protect.policy import Decision
from mailward.rules import CUTTING

_LINE_END = re.compile(rb"\r\n|\r|\n")
_OURS = b"x-mailward-"
_FIELD = re.compile(rb"([!-9;-~]+): ((?:[^\r\n]|\r\n[ \t])*)\r\n")


@dataclass(slots=True)
class Message:
    """What the server has told of one message so far. Beyond ``max_bytes`` nothing is kept."""

    sender: bytes
    """With its angle brackets, as it came."""
    smtputf8: bool
    spaced: bool
    """Whether field values begin with what stands after the colon (SMFIP_HDR_LEADSPC)."""
    max_bytes: int
    recipients: list[bytes] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def too_large(self) -> bool:
        """Whether it is not whole here."""
        return self.size_bytes > self.max_bytes

    def add_recipient(self, path: bytes) -> None:
        """One of SMFIC_RCPT."""
        if self._counted(len(path)):
            self.recipients.append(path)

    def add_field(self, name: bytes, value: bytes) -> None:
        """One of SMFIC_HEADER."""
        if self._counted(len(name) + len(value) + 4):
            self.fields.append((name, value))

    def add_body(self, piece: bytes) -> None:
        """One of SMFIC_BODY."""
        if self._counted(len(piece)):
            self.body.append(piece)

    def content(self) -> bytes:
        """As it will be delivered, without the fields that the server puts on top."""
        colon = b":" if self.spaced else b": "
        lines = [
            name + colon + _LINE_END.sub(b"\r\n", value) + b"\r\n" for name, value in self.fields
        ]
        return b"".join((*lines, b"\r\n", *self.body))

    def envelope(self) -> Envelope:
        """Sender and recipients as the rest of Mailward has them."""
        return Envelope(path(self.sender), tuple(map(path, self.recipients)), self.smtputf8)

    def changes(self, judged: Judged, decision: Decision) -> list[bytes]:
        """What the server is asked to do: ours out, verdict in, subject marked, parts cut out."""
        space = b" " if self.spaced else b""
        asked = [
            milter_replies.change_header(index, name, b"") for name, index in self._of_our_name()
        ]
        if decision.subject:
            asked.append(self._subject(decision.subject.encode("ascii"), space))
        cut = judged.cut if decision.action in CUTTING else None
        if cut is not None:
            fields = headers.verdict_fields(cut.verdict, decision) + headers.cut(
                cut.how, cut.held_as
            )
            asked += self._cut(cut.content, space)
        else:
            stamp = b"" if decision.subject else judged.stamp
            fields = headers.verdict_fields(judged.verdict, decision) + stamp
        ours = _FIELD.findall(fields)
        asked += [
            milter_replies.insert_header(0, name, space + value.replace(b"\r\n", b"\n"))
            for name, value in reversed(ours)
        ]
        return asked

    def _cut(self, content: bytes, space: bytes) -> list[bytes]:
        """The body that is left; what described the body goes where that was all of the message."""
        head, body = headers.split(content)
        asked = [milter_replies.replace_body(body.removeprefix(b"\r\n"))]
        left = {name.lower(): value for name, value in _FIELD.findall(head)}
        described = [name for name, _ in self.fields if name.lower().startswith(b"content-")]
        types = [value for name, value in self.fields if name.lower() == b"content-type"]
        if [type_.split() for type_ in types] == [left.get(b"content-type", b"").split()]:
            return asked
        for name, count in Counter(name.lower() for name in described).items():
            new = left.get(name, b"")
            asked += [
                milter_replies.change_header(index, name, b"") for index in range(count, 1, -1)
            ]
            asked.append(milter_replies.change_header(1, name, space + new if new else b""))
        if b"content-type" not in (name.lower() for name in described):
            asked.append(milter_replies.add_header(b"Content-Type", space + left[b"content-type"]))
        return asked

    def _of_our_name(self) -> list[tuple[bytes, int]]:
        """Fields to remove, the last ones first: removing one must not renumber the others."""
        seen: Counter[bytes] = Counter()
        found = []
        for name, _ in self.fields:
            lower = name.lower()
            if lower.startswith(_OURS):
                seen[lower] += 1
                found.append((name, seen[lower]))
        return found[::-1]

    def _subject(self, prefix: bytes, space: bytes) -> bytes:
        for name, value in self.fields:
            if name.lower() == b"subject":
                old = value if self.spaced else b" " + value
                return milter_replies.change_header(1, name, space + prefix + old)
        return milter_replies.add_header(b"Subject", space + prefix)

    def _counted(self, size: int) -> bool:
        self.size_bytes += size
        if self.too_large:
            self.recipients, self.fields, self.body = [], [], []
        return not self.too_large


def path(raw: bytes) -> str:
    """``<a@example.org>`` without the angle brackets."""
    return raw.decode("utf-8", "surrogateescape").strip().removeprefix("<").removesuffix(">")
