"""The milter protocol without sockets, the mail server's half: bytes in, events out.

Source: Sendmail's ``libmilter/mfdef.h`` and ``docs/`` (protocol version 6), and what Postfix's
``milter8.c`` does. Every constant is called as there. A packet is its length (4 bytes, big-endian,
of what follows), one byte for the command, and its data. What may come when is a table.

What a server sends before it knows better (a first packet that is no negotiation, a packet out of
order, one too long) is a ProtocolError: the connection is of no use any more.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntFlag, auto

VERSION = 6
"""SMFI_PROT_VERSION of Sendmail 8.14 and later, and of Postfix since 2.6."""
_VERSION_MIN = 2
MAX_PACKET = 1024 * 1024
"""Bytes. Servers send bodies in pieces of 65,535; headers are longer in the worst case."""
_MAX_MACROS = 200
"""In one packet; servers send a dozen."""


class Command(Enum):
    """What the server sends."""

    SMFIC_OPTNEG = b"O"
    SMFIC_MACRO = b"D"
    SMFIC_CONNECT = b"C"
    SMFIC_HELO = b"H"
    SMFIC_MAIL = b"M"
    SMFIC_RCPT = b"R"
    SMFIC_DATA = b"T"
    SMFIC_HEADER = b"L"
    SMFIC_EOH = b"N"
    SMFIC_BODY = b"B"
    SMFIC_BODYEOB = b"E"
    SMFIC_ABORT = b"A"
    SMFIC_UNKNOWN = b"U"
    SMFIC_QUIT = b"Q"
    SMFIC_QUIT_NC = b"K"


class Action(IntFlag):
    """What the filter may do to a message, if the server allows it."""

    SMFIF_ADDHDRS = 0x001
    SMFIF_CHGBODY = 0x002
    SMFIF_ADDRCPT = 0x004
    SMFIF_DELRCPT = 0x008
    SMFIF_CHGHDRS = 0x010
    SMFIF_QUARANTINE = 0x020
    SMFIF_CHGFROM = 0x040
    SMFIF_ADDRCPT_PAR = 0x080
    SMFIF_SETSYMLIST = 0x100


class Step(IntFlag):
    """What the server need not send, and what the filter will not answer."""

    SMFIP_NOCONNECT = 0x000001
    SMFIP_NOHELO = 0x000002
    SMFIP_NOMAIL = 0x000004
    SMFIP_NORCPT = 0x000008
    SMFIP_NOBODY = 0x000010
    SMFIP_NOHDRS = 0x000020
    SMFIP_NOEOH = 0x000040
    SMFIP_NR_HDR = 0x000080
    SMFIP_NOUNKNOWN = 0x000100
    SMFIP_NODATA = 0x000200
    SMFIP_SKIP = 0x000400
    SMFIP_RCPT_REJ = 0x000800
    SMFIP_NR_CONN = 0x001000
    SMFIP_NR_HELO = 0x002000
    SMFIP_NR_MAIL = 0x004000
    SMFIP_NR_RCPT = 0x008000
    SMFIP_NR_DATA = 0x010000
    SMFIP_NR_UNKN = 0x020000
    SMFIP_NR_EOH = 0x040000
    SMFIP_NR_BODY = 0x080000
    SMFIP_HDR_LEADSPC = 0x100000


class State(Enum):
    """Where a connection stands."""

    NEW = auto()
    NEGOTIATED = auto()
    CONNECTED = auto()
    """Between two messages."""
    ENVELOPE = auto()
    HEADER = auto()
    BODY = auto()
    CLOSED = auto()


C, S = Command, State

_ANY_TIME = {
    C.SMFIC_MACRO: None,
    C.SMFIC_QUIT: S.CLOSED,
    C.SMFIC_QUIT_NC: S.NEGOTIATED,
}
_IN_MESSAGE = _ANY_TIME | {C.SMFIC_ABORT: S.CONNECTED, C.SMFIC_BODYEOB: S.CONNECTED}

TRANSITIONS: dict[State, dict[Command, State | None]] = {
    S.NEW: {C.SMFIC_OPTNEG: S.NEGOTIATED, C.SMFIC_QUIT: S.CLOSED},
    S.NEGOTIATED: _ANY_TIME
    | {C.SMFIC_CONNECT: S.CONNECTED, C.SMFIC_ABORT: None, C.SMFIC_OPTNEG: None},
    S.CONNECTED: _ANY_TIME
    | {
        C.SMFIC_HELO: None,
        C.SMFIC_UNKNOWN: None,
        C.SMFIC_ABORT: None,
        C.SMFIC_MAIL: S.ENVELOPE,
    },
    S.ENVELOPE: _IN_MESSAGE
    | {
        C.SMFIC_RCPT: None,
        C.SMFIC_DATA: None,
        C.SMFIC_UNKNOWN: None,
        C.SMFIC_HEADER: S.HEADER,
        C.SMFIC_EOH: S.BODY,
        C.SMFIC_BODY: S.BODY,
    },
    S.HEADER: _IN_MESSAGE | {C.SMFIC_HEADER: None, C.SMFIC_EOH: S.BODY, C.SMFIC_BODY: S.BODY},
    S.BODY: _IN_MESSAGE | {C.SMFIC_BODY: None},
    S.CLOSED: {},
}
"""State and command to the next state; None: it stays as it is. What is not here is an error."""

NO_REPLY: dict[Command, Step | None] = {
    C.SMFIC_CONNECT: Step.SMFIP_NR_CONN,
    C.SMFIC_HELO: Step.SMFIP_NR_HELO,
    C.SMFIC_MAIL: Step.SMFIP_NR_MAIL,
    C.SMFIC_RCPT: Step.SMFIP_NR_RCPT,
    C.SMFIC_DATA: Step.SMFIP_NR_DATA,
    C.SMFIC_UNKNOWN: Step.SMFIP_NR_UNKN,
    C.SMFIC_HEADER: Step.SMFIP_NR_HDR,
    C.SMFIC_EOH: Step.SMFIP_NR_EOH,
    C.SMFIC_BODY: Step.SMFIP_NR_BODY,
    C.SMFIC_OPTNEG: None,
    C.SMFIC_BODYEOB: None,
}
"""Commands that are answered, and the step that says that they are not."""


class ProtocolError(Exception):
    """The server does not speak the protocol; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Event:
    """One command of the server, taken apart."""

    command: Command
    args: tuple[bytes, ...] = ()
    """Strings: host name; HELO name; path and parameters; field name and value; a piece of body."""
    numbers: tuple[int, ...] = ()
    """Of SMFIC_OPTNEG: version, actions, steps. Of SMFIC_CONNECT: the port."""


class Decoder:
    """One connection. Feed it with ``receive``."""

    def __init__(self) -> None:
        self.state = State.NEW
        self._macros: dict[bytes, dict[bytes, bytes]] = {}
        """By the command that they came with, those sent last at the end."""
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[Event]:
        """The events that are whole, macros excepted. Raises ProtocolError."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= 4:
                (length,) = _U32.unpack_from(self._buffer, start)
                if not 1 <= length <= MAX_PACKET:
                    raise ProtocolError(f"a packet of {length} bytes (at most {MAX_PACKET})")
                if len(self._buffer) - start < 4 + length:
                    break
                code = bytes(self._buffer[start + 4 : start + 5])
                content = bytes(self._buffer[start + 5 : start + 4 + length])
                start += 4 + length
                event = self._event(code, content)
                if event is not None:
                    yield event
        finally:
            del self._buffer[:start]

    def macro(self, name: bytes) -> bytes:
        """As the server writes it (``i``, ``{client_addr}``); empty if it was not sent."""
        for macros in reversed(self._macros.values()):
            if name in macros:
                return macros[name]
        return b""

    @property
    def in_message(self) -> bool:
        """Whether a message has begun."""
        return self.state in (State.ENVELOPE, State.HEADER, State.BODY)

    def _event(self, code: bytes, content: bytes) -> Event | None:
        try:
            command = Command(code)
        except ValueError:
            raise ProtocolError(f"an unknown command {code!r}") from None
        allowed = TRANSITIONS[self.state]
        if command not in allowed:
            raise ProtocolError(f"{command.name} when {self.state.name.lower()}")
        self.state = allowed[command] or self.state
        if command is Command.SMFIC_MACRO:
            self._remember(content)
            return None
        return _PARSERS[command](command, content)

    def _remember(self, content: bytes) -> None:
        strings = _strings(content[1:])
        if len(strings) % 2 or len(strings) > 2 * _MAX_MACROS:
            raise ProtocolError(f"{len(strings)} names and values of macros")
        self._macros.pop(content[:1], None)
        self._macros[content[:1]] = dict(zip(strings[::2], strings[1::2], strict=True))


_U32 = struct.Struct(">I")
_OPTNEG = struct.Struct(">III")


def _nothing(command: Command, _content: bytes) -> Event:
    return Event(command)


def _piece(command: Command, content: bytes) -> Event:
    return Event(command, (content,))


def _texts(command: Command, content: bytes) -> Event:
    return Event(command, _strings(content))


def _at_least_one(command: Command, content: bytes) -> Event:
    strings = _strings(content)
    if not strings:
        raise ProtocolError(f"{command.name} without an argument")
    return Event(command, strings)


def _name_and_value(command: Command, content: bytes) -> Event:
    strings = _strings(content)
    if len(strings) != 2:
        raise ProtocolError(f"{command.name} with {len(strings)} strings instead of 2")
    return Event(command, strings)


def _negotiation(command: Command, content: bytes) -> Event:
    if len(content) < _OPTNEG.size:
        raise ProtocolError(f"{command.name} of {len(content)} bytes")
    numbers = _OPTNEG.unpack_from(content)
    if numbers[0] < _VERSION_MIN:
        raise ProtocolError(f"protocol version {numbers[0]}: at least {_VERSION_MIN} is needed")
    return Event(command, (), numbers)


def _connection(command: Command, content: bytes) -> Event:
    """Host name, family (``U``, ``L``, ``4``, ``6``), and but for ``U`` port and address."""
    hostname, nul, rest = content.partition(b"\0")
    family = rest[:1]
    if not nul or family not in (b"U", b"L", b"4", b"6"):
        raise ProtocolError(f"{command.name} from an unknown family {family!r}")
    if family == b"U":
        return Event(command, (hostname, b""), (0,))
    if len(rest) < 3:
        raise ProtocolError(f"{command.name} is cut off")
    (address, *_) = _strings(rest[3:]) or (b"",)
    if family == b"L":
        address = b""
    return Event(command, (hostname, address.removeprefix(b"IPv6:")), (rest[1] << 8 | rest[2],))


def _strings(content: bytes) -> tuple[bytes, ...]:
    """Each ends with NUL, the last one too."""
    if not content:
        return ()
    if content[-1] != 0:
        raise ProtocolError("a string without an end")
    return tuple(content[:-1].split(b"\0"))


_PARSERS = {
    C.SMFIC_OPTNEG: _negotiation,
    C.SMFIC_CONNECT: _connection,
    C.SMFIC_HELO: _at_least_one,
    C.SMFIC_MAIL: _at_least_one,
    C.SMFIC_RCPT: _at_least_one,
    C.SMFIC_DATA: _nothing,
    C.SMFIC_HEADER: _name_and_value,
    C.SMFIC_EOH: _nothing,
    C.SMFIC_BODY: _piece,
    C.SMFIC_BODYEOB: _piece,
    C.SMFIC_ABORT: _nothing,
    C.SMFIC_UNKNOWN: _texts,
    C.SMFIC_QUIT: _nothing,
    C.SMFIC_QUIT_NC: _nothing,
}
