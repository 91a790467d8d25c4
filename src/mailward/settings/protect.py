"""What becomes of messages, where they are held, what is written down."""

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator

from mailward.rules import CUTTING, Action, Networks, Rule, WhenDown, networks
from mailward.settings.base import MIB, Positive, Section


def _needs_no_more(action: Action) -> Action:
    if action is Action.REDIRECT:
        raise ValueError("redirect needs an address: write a rule")
    return action


VerdictAction = Annotated[Action, AfterValidator(_needs_no_more)]


class PolicySettings(Section):
    """Verdict to action. A message with several verdicts gets the harshest of their actions."""

    infected: VerdictAction = Field(
        Action.REJECT, description="a signature says that it is malware"
    )
    suspicious: VerdictAction = Field(
        Action.QUARANTINE, description="a signature says that it looks like an attack"
    )
    unscannable: VerdictAction = Field(
        Action.TAG, description="something could not be looked into: encrypted, malformed, a limit"
    )
    clean: VerdictAction = Field(Action.DELIVER, description="nothing was found")
    scanner_down: WhenDown = Field(
        WhenDown.TEMPFAIL,
        description="no worker can scan: tempfail (451), deliver (tagged), or quarantine",
    )
    rules: tuple[Rule, ...] = Field(
        (), description="asked before the table above, from top to bottom; the first that fits wins"
    )
    internal: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="networks whose mail is outbound, for `direction`"
    )
    authserv_id: str = Field(
        "", description="whose Authentication-Results fields are believed, for `authentication`"
    )

    @field_validator("internal")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        networks(texts)
        return texts

    @property
    def changes_mail(self) -> bool:
        """Whether it may touch more than header fields: recipients, or the body."""
        table = (self.infected, self.suspicious, self.unscannable, self.clean)
        return bool(self.rules) or not set(CUTTING).isdisjoint(table)

    @cached_property
    def internal_networks(self) -> Networks:
        """``internal``, parsed."""
        return networks(self.internal)


class QuarantineSettings(Section):
    """Where held messages rest."""

    max_bytes: Positive = Field(10 * 1024 * MIB, description="of all held messages")
    max_messages: Positive = Field(100_000, description="held at once")
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        30.0, description="after that a held message is removed"
    )
    keep_at_least_h: Annotated[float, Field(ge=0, le=8_760)] = Field(
        24.0,
        description="when it is full the oldest make room, but none younger than that: then what "
        "is to be held is answered with 451",
    )
    key_file: Path | None = Field(
        None,
        description="32 random bytes, for their owner only: messages are encrypted at rest with it",
    )


class StampSettings(Section):
    """Between Mailwards that mail passes one after the other: what one has scanned, the next need
    not.
    """

    key_file: Path | None = Field(
        None,
        description="32 random bytes, the same on all of them, for their owner only; not set: no "
        "stamp is made or believed",
    )


class DatabaseSettings(Section):
    """Where events and the quarantine's index are searched."""

    url: SecretStr = Field(
        SecretStr(""),
        description="postgresql://user:password@host/name where servers share one; empty: SQLite "
        "in state_dir. Give it in the environment (MAILWARD_DATABASE__URL) if it has a password",
    )


class EventSettings(Section):
    """What happened to messages, as JSON lines in `state_dir`/events and in the database."""

    database: bool = Field(True, description="in the database too, for `mailward events`")
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(90.0, description="in the database")
    max_bytes: Positive = Field(
        256 * MIB, description="of the file of JSON lines; then it becomes the older of two"
    )
