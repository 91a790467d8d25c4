"""The clamd protocol without sockets: bytes to commands, verdicts to reply lines.

Source: clamd(8), and what clamd 1.4.6 answers (``tests/doors/clamd_dialogs.py`` is compared with a
real one). A command is framed in one of three ways, and its replies end as it does:

======== ============== ============ ===================================================
form     begins with    ends with    for
======== ============== ============ ===================================================
NUL      ``z``          NUL          every command; the only one for paths with newlines
newline  ``n``          newline      every command
plain    the command    newline/EOF  the old ones: see ``plain`` below
======== ============== ============ ===================================================

One command a connection, unless IDSESSION opens a session: there each has a number, which begins
its replies, and END closes.
"""

from dataclasses import dataclass

from mailward.protect.policy import printable_ascii
from mailward.scan.verdict import Reason, Unopened, Verdict
from mailward.settings.doors import ClamdUnscannable

MAX_COMMAND = 4096 + 16
"""Bytes of a command: the longest path that Linux takes (PATH_MAX), and its verb."""

UNKNOWN = "UNKNOWN COMMAND"
INVALID_IN_SESSION = "Command invalid inside IDSESSION. ERROR"
TIMED_OUT = b"COMMAND READ TIMED OUT\n"
TOO_LARGE = "INSTREAM size limit exceeded. ERROR"
NO_DESCRIPTOR = "No file descriptor received. ERROR"
UNAVAILABLE = "COMMAND UNAVAILABLE"

OK = "OK"
ERROR = "ERROR"
_MAX_NAME = 200

_LOCKED = {
    "ZIP": "Zip",
    "RAR": "RAR",
    "7Z": "7Zip",
    "EGG": "EGG",
    "PDF": "PDF",
    "MSOLE2": "Doc",
}
"""What stands for ``*`` in the name of what is encrypted, by its type. The first five are clamd's
(``Heuristics.Encrypted.…`` in libclamav 1.4), which names no others."""
_LOCKED_OTHER = "Container"


@dataclass(frozen=True, slots=True)
class Kind:
    """What may be done with a command."""

    path: bool = False
    """It is followed by a blank and a path."""
    plain: bool = False
    """It is known without ``n`` or ``z`` too."""
    session: bool = False
    """It may be used in a session."""
    alone: bool = True
    """It may be used outside of one."""


COMMANDS = {
    "PING": Kind(plain=True, session=True),
    "VERSION": Kind(plain=True, session=True),
    "VERSIONCOMMANDS": Kind(session=True),
    "RELOAD": Kind(plain=True),
    "SHUTDOWN": Kind(plain=True),
    "QUIT": Kind(plain=True),
    "SCAN": Kind(path=True, plain=True, session=True),
    "CONTSCAN": Kind(path=True, plain=True),
    "MULTISCAN": Kind(path=True, plain=True),
    "ALLMATCHSCAN": Kind(path=True),
    "INSTREAM": Kind(session=True),
    "FILDES": Kind(plain=True, session=True),
    "STATS": Kind(session=True),
    "IDSESSION": Kind(),
    "END": Kind(session=True, alone=False),
}
"""Everything that is understood; QUIT is another word for SHUTDOWN."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a client."""

    verb: str
    """Empty for one that is not known, or not in this form."""
    path: bytes
    end: bytes
    """What its replies end with."""


def next_command(buffer: bytearray, *, eof: bool) -> Command | None:
    """Take the next command out of ``buffer``; None when more must come, or nothing will.

    One that is longer than MAX_COMMAND is unknown, and is not taken: the connection is at its end.
    """
    form = bytes(buffer[:1])
    end = b"\0" if form == b"z" else b"\n"
    at = buffer.find(end, 0, MAX_COMMAND)
    if at < 0:
        if len(buffer) >= MAX_COMMAND:
            return Command("", b"", end)
        if not eof or not buffer or form in b"nz":
            return None
        at = len(buffer)
    raw = bytes(buffer[:at])
    del buffer[: at + 1]
    if end == b"\n":
        raw = raw.removesuffix(b"\r")
    return _parsed(raw if form not in b"nz" else raw[1:], end, framed=form in b"nz")


def _parsed(raw: bytes, end: bytes, *, framed: bool) -> Command:
    unknown = Command("", b"", end)
    verb, blank, path = raw.replace(b"\t", b" ", 1).partition(b" ")
    try:
        name = verb.decode("ascii")
    except UnicodeDecodeError:
        return unknown
    kind = COMMANDS.get(name)
    if kind is None or kind.path != bool(blank) or not (framed or kind.plain):
        return unknown
    return Command(name, raw[len(verb) + 1 :] if kind.path else path, end)


def version(product: str, definitions: tuple[str, str] | None) -> str:
    """``PRODUCT/SET/DATE``: the three fields that monitoring expects, with our own name in them.

    ``definitions``: the set that scans, and when it was built.
    """
    return "/".join((product, *definitions)) if definitions is not None else product


def version_commands(product: str, definitions: tuple[str, str] | None) -> str:
    """VERSION, and the commands that are known."""
    return f"{version(product, definitions)}| COMMANDS: {' '.join(COMMANDS)}"


def stats(*, workers: int, sessions: int, queued: int, idle_timeout_s: float) -> str:
    """STATS, in the lines that clamdtop and monitoring read; memory is not told."""
    na = "N/A"
    return (
        f"POOLS: 1\n\nSTATE: VALID PRIMARY\n"
        f"THREADS: live {sessions}  idle 0 max {workers} idle-timeout {idle_timeout_s:.0f}\n"
        f"QUEUE: {queued} items\n\n"
        f"MEMSTATS: heap {na} mmap {na} used {na} free {na} releasable {na} "
        f"pools 1 pools_used {na} pools_total {na}\nEND"
    )


@dataclass(frozen=True, slots=True)
class Findings:
    """A verdict in clamd's words."""

    names: tuple[str, ...] = ()
    """Each is FOUND, the gravest first."""
    failure: str = ""
    """Why it is an ERROR; empty if it is none. A name goes before a failure."""

    def lines(self, what: str, *, all_of_them: bool) -> list[str]:
        """Reply lines about ``what``."""
        if self.names:
            names = self.names if all_of_them else self.names[:1]
            return [f"{what}: {name} FOUND" for name in names]
        return [f"{what}: {self.failure} ERROR" if self.failure else f"{what}: OK"]


def findings(verdict: Verdict, unscannable: ClamdUnscannable) -> Findings:
    """What a client is told of a verdict (S11: unscannable is clean only if configured so)."""
    names = [_token(r.name) for r in verdict.risks if not r.suspicious]
    names += [_token(r.name) for r in verdict.risks if r.suspicious]
    failure = ""
    for unopened in verdict.unopened:
        told: str = getattr(unscannable, unopened.reason.value)
        if told == ERROR:
            failure = failure or f"Cannot be scanned ({unopened.reason.value})."
        elif told != OK:
            names.append(_named(told, unopened))
    return Findings(tuple(dict.fromkeys(names)), failure)


def _named(told: str, unopened: Unopened) -> str:
    if unopened.reason is not Reason.ENCRYPTED:
        return told
    locked = unopened.format
    if locked.startswith("OOXML_"):  # Office's own way to encrypt makes no zip of it
        locked = "ZIP"
    return told.replace("*", _LOCKED.get(locked, _LOCKED_OTHER))


def _token(name: str) -> str:
    """One word: clients cut replies at blanks and colons."""
    return printable_ascii(name, _MAX_NAME).replace(" ", "_").replace(":", "_") or "Unnamed"
