"""Test helpers that ship: an engine without dependencies, and mail to try a scanner with.

Nothing here is harmful. The EICAR test string is kept in pieces so that this file is not flagged.
"""

import io
import mmap
import os
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan.engine import Hit, Preparation, ScanTimeoutError, Source
from mailward.scan.part import Part
from mailward.scan.verdict import VerdictKind

EICAR = b"".join(
    (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}", b"$EICAR-STANDARD-", b"ANTIVIRUS-TEST-FILE!$H+H*")
)
"""The 68 bytes that every scanner reports (https://www.eicar.org)."""


# --- an engine ------------------------------------------------------------------------------------

CRASH = b"fake-engine: crash"
HANG = b"fake-engine: hang"
SLOW = b"fake-engine: time out"
LEAK = b"fake-engine: leak"
LOAD_FAILS = b"fake-engine: load fails"
LOAD_CRASHES = b"fake-engine: load crashes"
CRASH_ON = b"fake-engine: crash on "
HANG_ON = b"fake-engine: hang on "
BURN_ON = b"fake-engine: burn on "
_BURN_S = 0.015

_PATTERNS = "patterns"


class FakeEngine:
    """Finds byte strings, one a line in its shards; a risk is named after its line.

    A part that holds one of the markers CRASH, HANG, SLOW or LEAK makes the process that scans it
    end at once, sleep for ever, report a time-out, or take memory until it gets no more. A shard
    that holds LOAD_FAILS or LOAD_CRASHES does that to whoever loads it. A line that begins with
    CRASH_ON, HANG_ON or BURN_ON does that, or takes processor time, for parts that hold its rest:
    a set that misbehaves.
    """

    name = "fake"
    kinds = frozenset({ShardKind.HASHES})

    def __init__(self, fingerprint: str = "1") -> None:
        self._fingerprint = fingerprint

    def fingerprint(self) -> str:
        """What it was made with."""
        return self._fingerprint

    def prepare(
        self, sources: Sequence[Source], into: Path, earlier: Path | None = None
    ) -> Preparation:
        """Copy the lines."""
        lines = {line for source in sources for line in source.path.read_bytes().split(b"\n")}
        lines.discard(b"")
        (into / _PATTERNS).write_bytes(b"\n".join(sorted(lines)))
        return Preparation(signatures=len(lines))

    def load(self, prepared: Path) -> "FakeDetector":
        """Read the lines."""
        try:
            lines = (prepared / _PATTERNS).read_bytes().split(b"\n")
        except OSError as e:
            raise FormatError(f"prepared files of the fake engine cannot be read: {e}") from e
        if LOAD_FAILS in lines:
            raise FormatError("prepared files of the fake engine are damaged, as asked")
        if LOAD_CRASHES in lines:
            os._exit(86)
        return FakeDetector([line for line in lines if line])


class FakeDetector:
    """What a FakeEngine loads."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        self._on = {
            prefix: [p.removeprefix(prefix) for p in patterns if p.startswith(prefix)]
            for prefix in (CRASH_ON, HANG_ON, BURN_ON)
        }
        self._patterns = [p for p in patterns if not p.startswith(tuple(self._on))]

    def scan(self, part: Part, timeout_s: float) -> list[Hit]:
        """Find the patterns and obey the markers."""
        if CRASH in part.data or self._is_on(CRASH_ON, part):
            os._exit(86)
        if self._is_on(BURN_ON, part):
            until = time.process_time() + _BURN_S
            while time.process_time() < until:
                pass
        if HANG in part.data or self._is_on(HANG_ON, part):
            while True:
                time.sleep(60)
        if SLOW in part.data:
            raise ScanTimeoutError(f"{timeout_s:g} s are over, as asked")
        if LEAK in part.data:
            hoard = []
            while True:  # reserved, not touched: it counts, and costs nobody anything
                hoard.append(mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        return [Hit(p.decode(errors="replace")) for p in self._patterns if p in part.data]

    def _is_on(self, prefix: bytes, part: Part) -> bool:
        return any(rest in part.data for rest in self._on[prefix])

    def close(self) -> None:
        """Nothing to let go of."""


def fake_engines() -> tuple[FakeEngine, ...]:
    """For worker processes: ``ScanPool(…, engines="mailward.testing:fake_engines")``."""
    return (FakeEngine(),)


# --- pieces of mail -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to attach."""

    name: str
    data: bytes
    content_type: str = "application/octet-stream"


def message(
    *attachments: Attachment,
    subject: str = "Minutes and figures",
    text: str = "Please find the documents attached.\n\nKind regards\n",
) -> bytes:
    """A message (RFC 5322, CRLF) with base64 attachments."""
    return _message(subject, text, attachments).as_bytes()


def forwarded(inner: bytes, subject: str = "Fwd: Minutes and figures") -> bytes:
    """A message with ``inner`` attached as message/rfc822, byte for byte."""
    boundary = b"=_forwarded_by_mailward_tests"
    head = (
        b"From: Ann Example <ann@example.org>\r\nTo: Bob Example <bob@example.org>\r\n"
        b"Subject: " + subject.encode("ascii") + b"\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n'
    )
    body = b"Content-Type: text/plain; charset=utf-8\r\n\r\nSee below.\r\n"
    attached = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + inner
    delimiter = b"\r\n--" + boundary
    return head + delimiter.join((b"", b"\r\n" + body, b"\r\n" + attached, b"--\r\n"))[2:]


def zipped(*members: Attachment) -> bytes:
    """A zip archive, deflated."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(zipfile.ZipInfo(member.name), member.data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def encrypted_zip(member: Attachment, password: bytes = b"secret") -> bytes:
    """A zip archive whose one stored member is encrypted (APPNOTE.TXT section 6.1, ZipCrypto)."""
    crc = zlib.crc32(member.data)
    plain = bytes(11) + bytes([crc >> 24]) + member.data
    packed = _zip_crypto(plain, password)
    name = member.name.encode()
    common = b"".join(
        (
            b"\x14\x00\x01\x00\x00\x00\x00\x00\x21\x00",  # 2.0, encrypted, stored, 1980-01-01
            crc.to_bytes(4, "little"),
            len(packed).to_bytes(4, "little"),
            len(member.data).to_bytes(4, "little"),
            len(name).to_bytes(2, "little"),
            bytes(2),
        )
    )
    local = b"PK\x03\x04" + common + name + packed
    central = b"PK\x01\x02\x14\x00" + common + bytes(14) + name
    end = b"PK\x05\x06" + bytes(4) + b"\x01\x00\x01\x00"
    return b"".join(
        (
            local,
            central,
            end,
            len(central).to_bytes(4, "little"),
            len(local).to_bytes(4, "little"),
            bytes(2),
        )
    )


def inert_executable() -> bytes:
    """Headers of a Windows program without sections and without code: it cannot run."""
    dos = b"MZ" + bytes(58) + (0x80).to_bytes(4, "little")
    stub = b"This program cannot be run in DOS mode.\r\r\n$".ljust(0x40, b"\0")
    coff = b"PE\0\0\x4c\x01" + bytes(14) + b"\xe0\x00\x02\x01"
    optional = b"\x0b\x01".ljust(0xE0, b"\0")
    return (dos + stub + coff + optional).ljust(1024, b"\0")


# --- sample mail ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """A message, and what the starter definitions make of it."""

    name: str
    message: bytes
    expected: VerdictKind


def samples() -> list[Sample]:
    """One of each kind of trouble that the starter definitions know, and one clean."""
    eicar = Attachment("eicar.com", EICAR)
    archive = Attachment("documents.zip", zipped(eicar), "application/zip")
    nested = Attachment("all.zip", zipped(archive), "application/zip")
    disguised = Attachment("invoice.pdf", inert_executable(), "application/pdf")
    program = Attachment("setup.exe", inert_executable(), "application/octet-stream")
    locked = encrypted_zip(Attachment("figures.csv", b"quarter;revenue\r\n3;104711\r\n"))
    infected = VerdictKind.INFECTED
    return [
        Sample("clean", message(), VerdictKind.CLEAN),
        Sample("EICAR attached", message(eicar), infected),
        Sample("EICAR in a zip", message(archive), infected),
        Sample("EICAR in a zip in a zip", message(nested), infected),
        Sample("EICAR in a forwarded message", forwarded(message(eicar)), infected),
        Sample("program disguised as a PDF", message(disguised), infected),
        Sample("program, called one", message(program), VerdictKind.SUSPICIOUS),
        Sample(
            "encrypted archive",
            message(Attachment("figures.zip", locked, "application/zip")),
            VerdictKind.UNSCANNABLE,
        ),
    ]


def _message(subject: str, text: str, attachments: Sequence[Attachment]) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"] = "Ann Example <ann@example.org>"
    mail["To"] = "Bob Example <bob@example.org>"
    mail["Subject"] = subject
    mail["Date"] = "Mon, 23 Nov 2026 10:00:00 +0100"
    mail["Message-ID"] = f"<{zlib.crc32(subject.encode()):08x}@example.org>"
    mail.set_content(text)
    for attachment in attachments:
        maintype, _, subtype = attachment.content_type.partition("/")
        mail.add_attachment(attachment.data, maintype, subtype, filename=attachment.name)
    return mail


def _zip_crypto(plain: bytes, password: bytes) -> bytes:
    keys = [0x12345678, 0x23456789, 0x34567890]

    def crc(old: int, byte: int) -> int:
        # zlib inverts before and after; ZipCrypto does neither.
        return zlib.crc32(bytes([byte]), old ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    def update(byte: int) -> None:
        keys[0] = crc(keys[0], byte)
        keys[1] = (keys[1] + (keys[0] & 0xFF)) & 0xFFFFFFFF
        keys[1] = (keys[1] * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    out = bytearray()
    for byte in plain:
        k = (keys[2] | 2) & 0xFFFF
        out.append(byte ^ ((k * (k ^ 1)) >> 8 & 0xFF))
        update(byte)
    return bytes(out)
