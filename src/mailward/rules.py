"""The policy's rules as the administrator writes them: what is asked of a message, what is done.

Values only; ``protect.policy`` decides with them. Patterns are shell patterns (``*``, ``?``,
``[abc]``) that compare without regard to case.
"""

import fnmatch
import re
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

PATTERN_MAX = 1000
"""Characters of a pattern; an address has at most 320 (RFC 5321 section 4.5.3.1)."""


class Action(StrEnum):
    """What happens to a message, from mild to harsh: the harshest wins."""

    DELIVER = "deliver"
    TAG = "tag"
    DISARM = "disarm"
    """Delivered without what its documents and pages would run; the whole message is held."""
    STRIP = "strip"
    """Delivered without the parts that are at fault; the whole message is held."""
    REDIRECT = "redirect"
    """To the rule's ``to`` instead of its recipients."""
    QUARANTINE = "quarantine"
    REJECT = "reject"
    DISCARD = "discard"
    """The sender hears 250 and nobody gets it: for what must leave no trace, not even a bounce."""


CUTTING = (Action.DISARM, Action.STRIP)
"""Something else is delivered than came, and what came is held."""


class Content(StrEnum):
    """What a file is by its content, whatever its name and declared type say."""

    EXECUTABLE = "executable"
    """Programs: Windows, DOS, Linux, macOS, Java, Android, WebAssembly."""
    SCRIPT = "script"
    """A text that a computer runs, as far as its wording tells; settings for the registry too."""
    OFFICE_MACRO = "office-macro"
    """An Office document with macros, or what holds them."""
    SHORTCUT = "shortcut"
    INSTALLER = "installer"
    ARCHIVE = "archive"
    DISK_IMAGE = "disk-image"
    OFFICE = "office"
    PDF = "pdf"
    RTF = "rtf"
    HTML = "html"
    SVG = "svg"
    ONENOTE = "onenote"
    HELP = "help"
    FLASH = "flash"
    MESSAGE = "message"
    IMAGE = "image"
    MEDIA = "media"
    TEXT = "text"
    UNKNOWN = "unknown"


class Disguise(StrEnum):
    """How something that runs is made to look like something else."""

    EXTENSION = "extension"
    """Its name ends like that of a document, picture, text, sound or film."""
    TYPE = "type"
    """It is declared as one."""
    DOUBLE_EXTENSION = "double-extension"
    """``invoice.pdf.exe``; also with many blanks in between."""
    REVERSED_NAME = "reversed-name"
    """Characters in the name make it read in another order than it is."""


class Audience(StrEnum):
    """Who is told what became of a message."""

    RECIPIENTS = "recipients"
    """Whom it was for: those in ``notify.domains``, or, if that is empty, of mail from outside."""
    ADMIN = "admin"
    """``notify.admin``."""
    SENDER = "sender"
    """Only of mail from inside (``policy.internal``), in ``notify.domains``: others are anybody."""


class WhenDown(StrEnum):
    """What happens to a message that nobody can scan at the moment."""

    TEMPFAIL = "tempfail"
    """The sender tries again."""
    DELIVER = "deliver"
    """Unscanned, and tagged so."""
    QUARANTINE = "quarantine"


def _address(text: str) -> str:
    if not re.fullmatch(r'[^\s<>"@\x00-\x1f]+@[^\s<>"@\x00-\x1f]+', text) or not text.isascii():
        raise ValueError("write a whole address, e.g. postmaster@example.org")
    return text


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=PATTERN_MAX)]
RecipientAddress = Annotated[str, StringConstraints(max_length=320), AfterValidator(_address)]


class Patterns:
    """Shell patterns, compiled: whether any of them fits."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._any = re.compile(
            "|".join(fnmatch.translate(p) for p in patterns), re.IGNORECASE | re.DOTALL
        )

    def fit(self, text: str) -> bool:
        """Whether one of them describes the whole of ``text``."""
        return self._any.match(text) is not None


class When(BaseModel):
    """Conditions: all that are given must hold; of a list, one is enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: tuple[Literal["infected", "suspicious", "unscannable", "clean"], ...] = ()
    """Anything that is true of the message, not the gravest alone."""
    risk: tuple[Pattern, ...] = ()
    """Names of what was found."""
    severity: tuple[Literal["low", "medium", "high", "critical"], ...] = ()
    engine: tuple[Pattern, ...] = ()
    unscannable: tuple[
        Literal["encrypted", "malformed", "unsupported", "limit", "time", "crash"], ...
    ] = ()
    """Why something could not be looked into."""
    ambiguous: bool | None = None
    """Whether mail clients read its structure in more than one way."""
    own_password: bool | None = None
    """Whether something encrypted in it was opened with a password that it gives itself."""
    file_name: tuple[Pattern, ...] = ()
    """Of attachments and of what is in them, as the sender calls them: ``*.exe``."""
    content_type: tuple[Pattern, ...] = ()
    """Of the same, as declared: ``application/x-ms*``."""
    extension: tuple[Annotated[str, StringConstraints(pattern=r"^[^.\s]{1,50}$")], ...] = ()
    """Of the same, as Windows takes it: the last one, blanks and dots behind it left out."""
    content: tuple[Content, ...] = ()
    """What they are by their content."""
    disguise: tuple[Disguise, ...] = ()
    """How they pretend to be harmless."""
    larger_than_bytes: Annotated[int, Field(ge=0)] | None = None
    """The whole message."""
    sender: tuple[Pattern, ...] = ()
    """Envelope sender; the empty pattern of bounces is ``<>``."""
    recipient: tuple[Pattern, ...] = ()
    """Decided for each recipient by itself."""
    client: tuple[str, ...] = ()
    """Networks: ``192.0.2.0/24``, ``2001:db8::/32``."""
    helo: tuple[Pattern, ...] = ()
    """What the client called itself."""
    login: tuple[Pattern, ...] = ()
    """Who authenticated at the mail server in front; ``?*`` is anybody who did."""
    direction: Literal["inbound", "outbound"] | None = None
    """Outbound comes from ``policy.internal``."""
    header: dict[Annotated[str, StringConstraints(pattern=r"^[!-9;-~]{1,100}$")], Pattern] = {}
    """Field name to a pattern for its decoded content; each must fit one field of that name."""
    authentication: dict[
        Literal["spf", "dkim", "dmarc", "arc"],
        Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")],
    ] = {}
    """Method to result, of the Authentication-Results that ``policy.authserv_id`` has added."""

    @field_validator("client")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        networks(texts)
        return texts

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_dump(exclude_defaults=True):
            raise ValueError("asks for nothing, so every message would match: leave `when` out")
        return self

    @property
    def asks_for_a_scan(self) -> bool:
        """Whether it asks what a scan alone tells of a message, also of one in which it finds
        nothing.
        """
        asked = (self.ambiguous, self.own_password)
        return self.asks_for_files or any(value is not None for value in asked)

    @property
    def asks_for_files(self) -> bool:
        """Whether it asks for attachments or what is in them."""
        return any(getattr(self, name) for name in OF_A_FILE)

    @cached_property
    def extensions(self) -> frozenset[str]:
        """``extension``, in lower case."""
        return frozenset(extension.lower() for extension in self.extension)

    @cached_property
    def risks(self) -> Patterns:
        """``risk``, compiled."""
        return Patterns(self.risk)

    @cached_property
    def engines(self) -> Patterns:
        """``engine``, compiled."""
        return Patterns(self.engine)

    @cached_property
    def file_names(self) -> Patterns:
        """``file_name``, compiled."""
        return Patterns(self.file_name)

    @cached_property
    def content_types(self) -> Patterns:
        """``content_type``, compiled."""
        return Patterns(self.content_type)

    @cached_property
    def senders(self) -> Patterns:
        """``sender``, compiled."""
        return Patterns(self.sender)

    @cached_property
    def recipients(self) -> Patterns:
        """``recipient``, compiled."""
        return Patterns(self.recipient)

    @cached_property
    def helos(self) -> Patterns:
        """``helo``, compiled."""
        return Patterns(self.helo)

    @cached_property
    def logins(self) -> Patterns:
        """``login``, compiled."""
        return Patterns(self.login)

    @cached_property
    def clients(self) -> "Networks":
        """``client``, parsed."""
        return networks(self.client)

    @cached_property
    def headers(self) -> dict[str, Patterns]:
        """``header``, names in lower case, compiled."""
        return {name.lower(): Patterns((pattern,)) for name, pattern in self.header.items()}


OF_A_FILE = ("file_name", "content_type", "extension", "content", "disguise")
"""Conditions that one and the same file must meet."""

_DELIVERING = (Action.DELIVER, Action.TAG, *CUTTING, Action.REDIRECT)


class Rule(BaseModel):
    """One rule: which messages, and what is done with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,100}$")]
    """For logs, the quarantine and `mailward policy test`."""
    when: When | None = None
    """None: every message that gets this far."""
    action: Action
    subject: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,100}$")] = ""
    """Put in front of the subject of what is delivered."""
    to: tuple[RecipientAddress, ...] = ()
    """Where ``redirect`` sends it."""
    notify: tuple[Audience, ...] = ()
    """Who is told."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.action is Action.REDIRECT) != bool(self.to):
            raise ValueError("`to` goes with action redirect, and redirect needs it")
        if self.subject and self.action not in _DELIVERING:
            raise ValueError("`subject` is for what is delivered, in whatever way")
        return self


Networks = tuple[IPv4Network | IPv6Network, ...]


def networks(texts: tuple[str, ...]) -> Networks:
    """Parse networks. Raises ValueError, naming the one that is none."""
    return tuple(ip_network(text) for text in texts)


def in_networks(address: str, among: Networks) -> bool:
    """Whether an IP address is in one of them; what is no address is in none."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in among)
