"""What a scan saw: every part with its type, size and hashes, for `mailward scan --explain`."""

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

from mailward.scan import containers
from mailward.scan.part import Part, Role
from mailward.scan.scanner import Scanner
from mailward.scan.verdict import Verdict

_KINDS = (
    (rb"MZ", "Windows program"),
    (rb"\x7fELF", "ELF program"),
    (rb"[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe", "Mach-O program or Java class"),
    (rb"%PDF-", "PDF document"),
    (rb"\{\\rtf", "RTF document"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE compound file"),
    (rb"\xff\xd8\xff", "JPEG picture"),
    (rb"\x89PNG\r\n", "PNG picture"),
    (rb"GIF8[79]a", "GIF picture"),
    (rb"RIFF.{4}WEBP", "WebP picture"),
    (rb"BM.{4}\0{4}", "bitmap picture"),
    (rb"[FCZ]WS", "Flash film"),
    (rb"L\0\0\0\x01\x14\x02\0", "Windows shortcut"),
    (rb"\s*<(?i:!doctype html|html|head|body|script)", "HTML"),
    (rb"\s*<\?xml|\s*<svg", "XML"),
    (rb"#!", "script"),
)
_KIND = re.compile(b"|".join(b"(%b)" % magic for magic, _ in _KINDS), re.DOTALL)
_TEXT_LOOKED_AT = 1024
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True, slots=True)
class Seen:
    """A part, without its content."""

    path: str
    """How it was reached."""
    depth: int
    """How many messages and containers it is inside of."""
    kind: str
    """What it is, by its content."""
    role: Role
    content_type: str
    """As declared; empty if it was not."""
    size: int
    md5: str
    sha1: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The parts of one file, each before those inside it, and the verdict."""

    parts: tuple[Seen, ...]
    verdict: Verdict

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_plain`` is its inverse."""
        return {"parts": [asdict(part) for part in self.parts], "verdict": self.verdict.to_plain()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Explanation":
        """The inverse of ``to_plain``; trusts its input (it comes from a worker of ours)."""
        parts = tuple(Seen(**{**part, "role": Role(part["role"])}) for part in plain["parts"])
        return cls(parts, Verdict.from_plain(plain["verdict"]))


def explain(scanner: Scanner, data: bytes, role: Role, name: str) -> Explanation:
    """Scan ``data`` and keep what was seen on the way."""
    seen: list[Seen] = []
    verdict = scanner.scan(data, role=role, name=name, watch=lambda part: seen.append(_see(part)))
    return Explanation(tuple(seen), verdict)


def _see(part: Part) -> Seen:
    return Seen(
        path=part.path,
        depth=part.depth,
        kind=_kind(part),
        role=part.role,
        content_type=part.content_type,
        size=len(part.data),
        md5=hashlib.md5(part.data, usedforsecurity=False).hexdigest(),
        sha1=hashlib.sha1(part.data, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(part.data).hexdigest(),
    )


def _kind(part: Part) -> str:
    if part.role is Role.MESSAGE:
        return "message"
    found = _KIND.match(part.data)
    known = _KINDS[found.lastindex - 1][1] if found is not None and found.lastindex else ""
    opened = containers.kind(part.data)
    if known or opened:
        return known or opened
    if not part.data:
        return "empty"
    return "data" if _NO_TEXT.search(part.data, 0, _TEXT_LOOKED_AT) else "text"
