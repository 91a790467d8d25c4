"""The milter protocol without sockets, the filter's half: what it answers, as bytes.

Modifications (``add_header`` to ``progress``) may be sent after SMFIC_BODYEOB only, before the
answer that ends it. Strings must not contain NUL, which would end them early: that is refused here.
"""

import struct
from enum import Enum

from mailward.doors.milter_wire import Action, Step
from mailward.doors.reply import Reply

_MAX_BODY = 65535
"""MILTER_CHUNK_SIZE: a new body goes in pieces of at most this."""


class Answer(Enum):
    """What the filter sends."""

    SMFIR_ADDRCPT = b"+"
    SMFIR_DELRCPT = b"-"
    SMFIR_ADDRCPT_PAR = b"2"
    SMFIR_SHUTDOWN = b"4"
    SMFIR_ACCEPT = b"a"
    SMFIR_REPLBODY = b"b"
    SMFIR_CONTINUE = b"c"
    SMFIR_DISCARD = b"d"
    SMFIR_CHGFROM = b"e"
    SMFIR_CONN_FAIL = b"f"
    SMFIR_ADDHEADER = b"h"
    SMFIR_INSHEADER = b"i"
    SMFIR_SETSYMLIST = b"l"
    SMFIR_CHGHEADER = b"m"
    SMFIR_PROGRESS = b"p"
    SMFIR_QUARANTINE = b"q"
    SMFIR_REJECT = b"r"
    SMFIR_SKIP = b"s"
    SMFIR_TEMPFAIL = b"t"
    SMFIR_REPLYCODE = b"y"


def _packet(answer: Answer, *strings: bytes, before: bytes = b"") -> bytes:
    if any(b"\0" in string for string in strings):
        raise ValueError(f"{answer.name}: a string with NUL in it")
    content = answer.value + before + b"".join(string + b"\0" for string in strings)
    return struct.pack(">I", len(content)) + content


CONTINUE = _packet(Answer.SMFIR_CONTINUE)
ACCEPT = _packet(Answer.SMFIR_ACCEPT)
DISCARD = _packet(Answer.SMFIR_DISCARD)
REJECT = _packet(Answer.SMFIR_REJECT)
TEMPFAIL = _packet(Answer.SMFIR_TEMPFAIL)
PROGRESS = _packet(Answer.SMFIR_PROGRESS)
"""Still at it: the server's patience begins anew."""
SKIP = _packet(Answer.SMFIR_SKIP)


def negotiate(version: int, actions: Action, steps: Step) -> bytes:
    """The answer to SMFIC_OPTNEG, whose packet has the same letter."""
    content = b"O" + struct.pack(">III", version, actions, steps)
    return struct.pack(">I", len(content)) + content


def reply(text: Reply) -> bytes:
    """SMFIR_REPLYCODE: the client hears this instead of the server's own words; 4xx or 5xx.

    ``%`` is doubled, as Sendmail takes it for a format.
    """
    if text.code // 100 not in (4, 5):
        raise ValueError(f"SMFIR_REPLYCODE takes 4xx and 5xx only, not {text.code}")
    said = text.wire().removesuffix(b"\r\n").replace(b"%", b"%%")
    return _packet(Answer.SMFIR_REPLYCODE, said)


def add_header(name: bytes, value: bytes) -> bytes:
    """SMFIR_ADDHEADER: at the end of the header."""
    return _packet(Answer.SMFIR_ADDHEADER, name, value)


def insert_header(index: int, name: bytes, value: bytes) -> bytes:
    """SMFIR_INSHEADER: in front of the field that ``index`` counts to; 0 is the first place."""
    return _packet(Answer.SMFIR_INSHEADER, name, value, before=struct.pack(">I", index))


def change_header(index: int, name: bytes, value: bytes) -> bytes:
    """SMFIR_CHGHEADER: the ``index``th field of that name, from 1; an empty value removes it."""
    return _packet(Answer.SMFIR_CHGHEADER, name, value, before=struct.pack(">I", index))


def replace_body(body: bytes) -> bytes:
    """SMFIR_REPLBODY, as often as it takes; an empty body is one empty packet."""
    pieces = [body[at : at + _MAX_BODY] for at in range(0, len(body), _MAX_BODY)] or [b""]
    return b"".join(_packet(Answer.SMFIR_REPLBODY, before=piece) for piece in pieces)


def add_recipient(path: bytes) -> bytes:
    """SMFIR_ADDRCPT: the path with its angle brackets."""
    return _packet(Answer.SMFIR_ADDRCPT, path)


def delete_recipient(path: bytes) -> bytes:
    """SMFIR_DELRCPT: the path as the server gave it."""
    return _packet(Answer.SMFIR_DELRCPT, path)


def change_sender(path: bytes) -> bytes:
    """SMFIR_CHGFROM: the path with its angle brackets."""
    return _packet(Answer.SMFIR_CHGFROM, path)


def quarantine(reason: bytes) -> bytes:
    """SMFIR_QUARANTINE: into the server's own (Postfix: the hold queue)."""
    return _packet(Answer.SMFIR_QUARANTINE, reason)
