"""What may arrive at a mail door: lines that end in CRLF, and data that ends in CRLF.CRLF alone.

Mail servers that take other line endings for the end of data can be made to see two messages where
their neighbour sees one (SMTP smuggling, SEC Consult 2023). Here only ``<CR><LF>.<CR><LF>`` ends
data, and a message with a bare CR or LF anywhere is refused, as Postfix does with
``smtpd_forbid_bare_newline = reject``: so there is nothing left for a later server to misread. NUL
passes, except before a lone dot, where a server that drops it would see the end of data.
"""

import asyncio
import re
from dataclasses import dataclass

from mailward.doors.reply import Reply

CHUNK = 64 * 1024
"""Bytes read at once; the transport is paused when twice as many wait."""

BARE_LF = Reply.of("550 5.5.2 Error: bare <LF> received")
BARE_CR = Reply.of("550 5.5.2 Error: bare <CR> received")
NUL_DOT = Reply.of("550 5.5.2 Error: line of NUL and a dot received")
BAD_CHARACTER = Reply.of("500 5.5.2 Error: control character in command")

_HIDDEN_END = re.compile(rb"^\0+\.\0*\r$", re.MULTILINE)
_END = b"\r\n.\r\n"


class BadLineError(Exception):
    """A command line that is none. The session ends: what follows cannot be trusted either."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Data:
    """A message as it came, without dot-stuffing and the ending dot, or the pieces of BDAT."""

    content: bytes
    """Empty when ``too_large``."""
    size_bytes: int
    too_large: bool = False

    @classmethod
    def of(cls, content: bytearray) -> "Data":
        """What came in pieces (RFC 3030), its last line ended as it will be for the next hop."""
        if content and not content.endswith(b"\r\n"):
            content += b"\r\n"
        return cls(bytes(content), len(content))


def smuggling_fault(content: bytes) -> Reply | None:
    """The refusal for a message that servers may disagree about; None for any other."""
    pairs = content.count(b"\r\n")
    if content.count(b"\n") != pairs:
        return BARE_LF
    if content.count(b"\r") != pairs:
        return BARE_CR
    if b"\0" in content and _HIDDEN_END.search(content):
        return NUL_DOT
    return None


class StrictReader(asyncio.StreamReader):
    """aiosmtpd's command loop reads lines by ``readuntil()``; the session reads data itself."""

    _too_long = False

    async def readuntil(self, separator: bytes = b"\n") -> bytes:  # type: ignore[override]  # 3.13 takes tuples too
        """A command line when called as the command loop does. Raises BadLineError."""
        try:
            line = await super().readuntil(separator)
        except asyncio.LimitOverrunError:
            self._too_long = True  # the loop skips to its end and then says so
            raise
        if not (self._too_long and line == b"\n"):  # its CR may have gone with what was skipped
            _check_command(line)
        self._too_long = False
        return line

    def ends_with_quit(self) -> bool:
        """Whether the last of what has arrived, and was not read yet, may be the command QUIT."""
        return bytes(self._buffer[-6:]).upper() == b"QUIT\r\n"  # type: ignore[attr-defined]  # it has no other way

    async def read_data(self, max_bytes: int) -> Data:
        """Everything up to the end of data, which is consumed; memory is bounded by ``max_bytes``.

        A larger message is read to its end all the same, so that the client hears why it is refused
        (RFC 5321 section 4.2.5), but not kept.
        """
        # The CRLF of the DATA command counts as that before the dot when a message is empty.
        self._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]  # as aiosmtpd does for STARTTLS
        kept = bytearray()
        size = -len(_END)
        while True:
            try:
                chunk, ended = await super().readuntil(_END), True
            except asyncio.LimitOverrunError as overrun:
                chunk, ended = await self.read(overrun.consumed), False
            size += len(chunk)
            if size <= max_bytes:
                kept += chunk
            else:
                kept.clear()
            if ended:
                return _finish(kept, size, max_bytes)

    async def read_piece(self, size_bytes: int, into: bytearray | None) -> None:
        """Exactly that many bytes, whatever they are; None: of no use to anybody."""
        while size_bytes:
            read = await self.read(min(size_bytes, CHUNK))
            if not read:
                raise EOFError("it left in the middle of BDAT")
            size_bytes -= len(read)
            if into is not None:
                into += read


def _finish(kept: bytearray, size: int, max_bytes: int) -> Data:
    if size > max_bytes:
        return Data(b"", size, too_large=True)
    del kept[-3:]
    # Every line that begins with a dot loses it (RFC 5321 section 4.5.2).
    unstuffed = kept.replace(b"\r\n.", b"\r\n")
    return Data(bytes(memoryview(unstuffed)[2:]), size)


def _check_command(line: bytes) -> None:
    if not line.endswith(b"\r\n"):
        raise BadLineError(BARE_LF)
    content = line[:-2]
    if b"\r" in content:
        raise BadLineError(BARE_CR)
    if any(byte < 32 and byte != 9 for byte in content):
        raise BadLineError(BAD_CHARACTER)
