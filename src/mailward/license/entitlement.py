"""What the installed licenses allow on a channel at a moment: values in, a value out.

Of several licenses the union counts: a renewal takes effect at once, and one that begins when the
old one ends makes that end no end at all. ``docs/license.md`` has the table of states.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from mailward.definitions.model import Channel
from mailward.license.published import Licensing
from mailward.license.token import License

CLOCK_TOLERANCE = timedelta(hours=1)
"""Clocks of publishers and agents differ; more than that is worth a sentence."""


class State(StrEnum):
    """How a channel stands."""

    VALID = "valid"
    EXPIRING = "expiring"
    GRACE = "grace"
    """It has ended, and updates still come for some days."""
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    REVOKED = "revoked"
    MISSING = "missing"
    INVALID = "invalid"
    NOT_NEEDED = "not needed"


ALLOWING = frozenset({State.VALID, State.EXPIRING, State.GRACE, State.NOT_NEEDED})
"""States in which updates come."""


@dataclass(frozen=True, slots=True)
class Held:
    """An installed license, or what is wrong with it."""

    license: License | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """Two clocks. The later one judges, so that turning the system's back renews nothing."""

    system: datetime
    signed: datetime | None = None
    """The newest that the publisher has signed and this computer has seen."""

    @property
    def judging(self) -> datetime:
        """What licenses are judged by."""
        return max(self.system, self.signed) if self.signed else self.system

    def remark(self) -> str:
        """What to say of the clock where dates decide; empty if there is nothing to say."""
        if self.signed is None:
            return ""
        if self.signed - self.system > CLOCK_TOLERANCE:
            return (
                f". This computer's clock says {_day(self.system)}, the publisher signed "
                f"something on {_day(self.signed)}, which counts: set the clock right"
            )
        if self.system - self.signed > timedelta(days=1):
            return (
                f". This is by this computer's clock, {_day(self.system)}; the newest signed time "
                f"seen is {_day(self.signed)}: is the clock right?"
            )
        return ""


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What is allowed on a channel, until when, and the sentence that says what to do."""

    channel: Channel
    state: State
    sentence: str
    until: datetime | None = None
    """End of what is valid now without a gap; in grace and after, when it ended."""
    license: License | None = field(default=None, repr=False)
    """The one to show to the publisher's server."""

    @property
    def allows(self) -> bool:
        """Whether sets of the channel may be fetched."""
        return self.state in ALLOWING


def judge(
    channel: Channel,
    *,
    needed: bool,
    held: Sequence[Held],
    licensing: Licensing | None,
    times: Times,
) -> Entitlement:
    """The union of what is ``held``, at ``times``. ``licensing``: as the repository signed it."""
    if not needed:
        return Entitlement(channel, State.NOT_NEEDED, f"{channel} needs no license")
    if licensing is None:
        return Entitlement(
            channel,
            State.INVALID,
            f"{channel} needs a license, and the repository names no key to check one with: tell "
            "its publisher",
        )
    covering = [h.license for h in held if h.license is not None and h.license.covers(channel)]
    honoured = [each for each in covering if each.id not in licensing.revoked]
    return (
        _running(channel, honoured, times)
        or _in_grace(channel, honoured, times)
        or _not_begun(channel, honoured, times)
        or _over(channel, covering, licensing, times)
        or _none(channel, held)
    )


def _running(channel: Channel, honoured: Sequence[License], times: Times) -> Entitlement | None:
    now = times.judging
    running = [each for each in honoured if each.valid_from <= now < each.valid_until]
    if not running:
        return None
    shown = last = max(running, key=lambda each: each.valid_until)
    for each in sorted(honoured, key=lambda each: each.valid_from):
        if each.valid_from <= last.valid_until < each.valid_until:
            last = each  # a renewal goes on without a gap
    until = last.valid_until
    who = f"{channel} is licensed to {last.terms.sub} until {_day(until)} (license {last.id})"
    if until - now > timedelta(days=last.terms.warn_days):
        return Entitlement(channel, State.VALID, who, until, shown)
    return Entitlement(
        channel,
        State.EXPIRING,
        f"{who}, in {_days_left(until, now)}: renew it now; after that updates go on for "
        f"{last.terms.grace_days} days, then they stop{times.remark()}",
        until,
        shown,
    )


def _in_grace(channel: Channel, honoured: Sequence[License], times: Times) -> Entitlement | None:
    now = times.judging
    ended = [each for each in honoured if each.valid_until <= now < _end_of_grace(each)]
    if not ended:
        return None
    last = max(ended, key=_end_of_grace)
    return Entitlement(
        channel,
        State.GRACE,
        f"the license {last.id} for {channel} ended on {_day(last.valid_until)}: updates still "
        f"come until {_day(_end_of_grace(last))}, then they stop: renew it now{times.remark()}",
        last.valid_until,
        last,
    )


def _not_begun(channel: Channel, honoured: Sequence[License], times: Times) -> Entitlement | None:
    coming = [each for each in honoured if each.valid_from > times.judging]
    if not coming:
        return None
    first = min(coming, key=lambda each: each.valid_from)
    return Entitlement(
        channel,
        State.NOT_YET_VALID,
        f"the license {first.id} for {channel} begins on {_day(first.valid_from)}: no updates "
        f"until then; scanning goes on with the active set{times.remark()}",
        first.valid_until,
    )


def _over(
    channel: Channel, covering: Sequence[License], licensing: Licensing, times: Times
) -> Entitlement | None:
    if not covering:
        return None
    last = max(covering, key=_end_of_grace)
    reason = licensing.revoked.get(last.id)
    if reason is not None:
        return Entitlement(
            channel,
            State.REVOKED,
            f"{licensing.publisher} has revoked the license {last.id} for {channel}: {reason}. No "
            "updates come; scanning goes on with the active set. Ask for a new license",
        )
    return Entitlement(
        channel,
        State.EXPIRED,
        f"the license {last.id} for {channel} ended on {_day(last.valid_until)}, its "
        f"{last.terms.grace_days} days of grace are over: no updates come; scanning goes on with "
        f"the active set. Renew it, then: mailward license install FILE{times.remark()}",
        last.valid_until,
    )


def _none(channel: Channel, held: Sequence[Held]) -> Entitlement:
    problems = [each.problem for each in held if each.license is None]
    if problems:
        return Entitlement(
            channel,
            State.INVALID,
            f"the installed license cannot be used: {problems[0]}. No updates of {channel} come; "
            "scanning goes on with the active set",
        )
    others = sorted({name for h in held if h.license for name in h.license.terms.channels})
    only = f"the installed ones are for {', '.join(others)}" if others else "none is installed"
    return Entitlement(
        channel,
        State.MISSING,
        f"{channel} needs a license and {only}: no updates come; scanning goes on with the active "
        "set. Get one from the publisher, then: mailward license install FILE",
    )


def _end_of_grace(each: License) -> datetime:
    return each.valid_until + timedelta(days=each.terms.grace_days)


def _days_left(until: datetime, now: datetime) -> str:
    days = days_left(until, now)
    return "1 day" if days == 1 else f"{days} days"


def days_left(until: datetime, now: datetime) -> int:
    """Days that have begun count: 36 hours are 2 days."""
    return -((now - until) // timedelta(days=1))


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
