"""What a scan says: the values that leave ``mailward.scan``."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from mailward.rules import Content, Disguise


class VerdictKind(StrEnum):
    """What was found out about a message, the gravest first."""

    INFECTED = "infected"
    SUSPICIOUS = "suspicious"
    UNSCANNABLE = "unscannable"
    CLEAN = "clean"


class Reason(StrEnum):
    """Why something could not be looked into (S11)."""

    ENCRYPTED = "encrypted"
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"
    """A container whose format this release recognises but cannot open."""
    LIMIT = "limit"
    TIME = "time"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Risk:
    """One thing that was found."""

    name: str
    """The signature's, e.g. ``Mailward.Test.EICAR``."""
    engine: str
    part: str
    """Path of the part it was found in, e.g. ``message/2:a.zip/b.exe``."""
    set: str
    """The version of the set that found it."""
    suspicious: bool = False
    """True for what merely looks like trouble; the signature says so itself."""
    severity: str = ""
    """As the signature gives it: low, medium, high or critical; empty if it gives none."""
    description: str = ""
    signatures: tuple[str, ...] = field(default=(), compare=False)
    """What found it, as ``ENGINE:SIGNATURE``: what to write down to exclude it."""


@dataclass(frozen=True, slots=True)
class Unopened:
    """A part, or the rest of one, that could not be scanned, and why (S11)."""

    part: str
    reason: Reason
    detail: str = ""
    format: str = ""
    """Of what is encrypted: the container's type by its magic, as ClamAV calls it (``ZIP``, ``7Z``,
    ``MSOLE2``); empty for other reasons."""


@dataclass(frozen=True, slots=True)
class OwnPassword:
    """Something encrypted that a password in the message itself opened; what is in it was scanned.

    No risk by itself. It is how malware gets past scanners: people are told what to type.
    """

    part: str


class Doubt(StrEnum):
    """About what those who open a message or document disagree."""

    HEADER = "header"
    """What its header fields say, or where they end."""
    STRUCTURE = "structure"
    """Which parts it has."""
    ENCODING = "encoding"
    """What a part's bytes are once decoded."""
    NAME = "name"
    """What a part is called."""
    MACRO = "macro"
    """What a macro does: its source says something else than what is run."""


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """A part with more than one reading; every one was scanned. No risk by itself."""

    part: str
    doubt: Doubt
    detail: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """An attachment or a member of one, as the sender describes it and as it is: what policies can
    ask for.
    """

    part: str
    name: str
    content_type: str
    size_bytes: int
    content: tuple[Content, ...] = ()
    """What it is by its content (``scan.kinds``)."""
    disguise: tuple[Disguise, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one message or file."""

    risks: tuple[Risk, ...] = ()
    unopened: tuple[Unopened, ...] = ()
    parts: int = 0
    """How many parts the engines looked at, the message itself included."""
    files: tuple[File, ...] = ()
    """The first of its attachments and of what is in them."""
    set: str = ""
    ms: float = 0.0
    """Time in the scanner, milliseconds."""
    ambiguities: tuple[Ambiguity, ...] = ()
    """What can be read in more than one way; changes nothing about ``kinds``."""
    own_passwords: tuple[OwnPassword, ...] = ()
    """What was encrypted and opened; changes nothing about ``kinds``."""

    @property
    def kinds(self) -> tuple[VerdictKind, ...]:
        """Everything that is true of it, the gravest first; never empty."""
        kinds = []
        if any(not risk.suspicious for risk in self.risks):
            kinds.append(VerdictKind.INFECTED)
        if any(risk.suspicious for risk in self.risks):
            kinds.append(VerdictKind.SUSPICIOUS)
        if self.unopened:
            kinds.append(VerdictKind.UNSCANNABLE)
        return tuple(kinds) or (VerdictKind.CLEAN,)

    @property
    def kind(self) -> VerdictKind:
        """The gravest thing that is true of it."""
        return self.kinds[0]

    def without(self, unwanted: Callable[[Risk], bool]) -> "Verdict":
        """The same without some of the risks."""
        return replace(self, risks=tuple(risk for risk in self.risks if not unwanted(risk)))

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_plain`` is its inverse.

        Field by field: ``asdict`` copies everything that these values hold.
        """
        return {
            "verdict": self.kind.value,
            "risks": [_plain(risk) for risk in self.risks],
            "unopened": [_plain(unopened) for unopened in self.unopened],
            "parts": self.parts,
            "files": [_plain(file) for file in self.files],
            "set": self.set,
            "ms": self.ms,
            "ambiguities": [_plain(ambiguity) for ambiguity in self.ambiguities],
            "own_passwords": [_plain(own) for own in self.own_passwords],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Verdict":
        """The inverse of ``to_plain``; trusts its input (it comes from a worker of ours)."""
        return cls(
            risks=tuple(
                Risk(**{**risk, "signatures": tuple(risk.get("signatures", ()))})
                for risk in plain["risks"]
            ),
            unopened=tuple(
                Unopened(u["part"], Reason(u["reason"]), u["detail"], u.get("format", ""))
                for u in plain["unopened"]
            ),
            parts=plain["parts"],
            files=tuple(_file(file) for file in plain.get("files", ())),
            set=plain["set"],
            ms=plain["ms"],
            ambiguities=tuple(
                Ambiguity(a["part"], Doubt(a["doubt"]), a["detail"])
                for a in plain.get("ambiguities", ())  # kept by a release before there were any
            ),
            own_passwords=tuple(OwnPassword(**o) for o in plain.get("own_passwords", ())),
        )


def _plain(value: Risk | Unopened | File | Ambiguity | OwnPassword) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _file(plain: dict[str, Any]) -> File:
    content = tuple(Content(kind) for kind in plain.get("content", ()))
    disguise = tuple(Disguise(how) for how in plain.get("disguise", ()))
    part, name, content_type = plain["part"], plain["name"], plain["content_type"]
    return File(part, name, content_type, plain["size_bytes"], content, disguise)
