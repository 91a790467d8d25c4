"""From a message to decisions: what every door with a policy does between taking and acting."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from mailward.definitions.model import Version
from mailward.errors import FormatError, ScannerDownError
from mailward.protect import outbreak, strip
from mailward.protect.guard import Guard
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail
from mailward.protect.policy import (
    Decision,
    ForSome,
    by_verdict,
    decide_each,
    fitting_files,
    unscanned,
)
from mailward.protect.quarantine import new_id
from mailward.protect.stamp import Stamps, Vouched
from mailward.protect.strip_note import StripNote
from mailward.rules import Action, WhenDown
from mailward.scan.part import Role
from mailward.scan.verdict import Reason, Unopened, Verdict, VerdictKind
from mailward.settings.protect import PolicySettings


class Scans(Protocol):
    """What a door needs of the scanner."""

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        """Scan one message. Raises ScannerDownError when no worker can."""
        ...

    def sets(self) -> Mapping[str, int]:
        """The version of each set that scans now, and how many workers scan with it."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """A message without the parts that were at fault."""

    content: bytes
    held_as: str
    """What the note in it calls the whole message: it is to be held under that name."""
    verdict: Verdict
    """Of what is left."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A message's verdict, and what is to be done with it for whom."""

    verdict: Verdict
    decisions: tuple[ForSome, ...]
    cut: Cut | None = None
    """There if a decision is ``strip``."""
    stamp: bytes = b""
    """The field that tells the next Mailward of this scan, to be put above the message."""

    @property
    def holds(self) -> bool:
        """Whether it is to be held for anybody."""
        holding = (Action.QUARANTINE, Action.STRIP)
        return any(some.decision.action in holding for some in self.decisions)


@dataclass(frozen=True, slots=True)
class Judge:
    """Scan, then decide; any number of messages at once."""

    policy: PolicySettings
    scanner: Scans
    stamps: Stamps | None = None
    guard: Guard | None = None

    async def judge(
        self, message: bytes, envelope: Envelope, client: str, carried: bytes = b""
    ) -> Judged:
        """``client``: its IP address, empty if unknown. ``carried``: the message with the stamp
        that it may have come with.

        Raises ScannerDownError, unless the policy knows what to do without a scan.
        """
        mail = Mail(envelope.sender, envelope.recipients, client, message)
        vouched = self._vouched(carried, mail)
        if vouched is not None:
            return vouched
        try:
            verdict = await self.scanner.scan(message)
        except ScannerDownError as e:
            if self.policy.scanner_down is WhenDown.TEMPFAIL:
                raise
            decision = unscanned(self.policy.scanner_down)
            unopened = Unopened("message", Reason.CRASH, str(e))
            return Judged(Verdict(unopened=(unopened,)), (ForSome(decision, mail.recipients),))
        judged = Judged(verdict, self._decided(verdict, mail))
        if any(some.decision.action is Action.STRIP for some in judged.decisions):
            return await self._stripped(judged, message)
        return replace(judged, stamp=self._stamp(message, verdict))

    def _decided(self, verdict: Verdict, mail: Mail) -> tuple[ForSome, ...]:
        decided = decide_each(verdict, self.policy, mail)
        doubted = self.guard.note(verdict, mail.content) if self.guard is not None else None
        if not doubted:
            return decided
        otherwise = decide_each(outbreak.without(verdict, doubted), self.policy, mail)
        return outbreak.held_instead(decided, otherwise, doubted)  # S14

    def _vouched(self, carried: bytes, mail: Mail) -> Judged | None:
        """What another Mailward has scanned with a set as new as ours, or somebody has released."""
        stamp = self.stamps.read(carried) if self.stamps is not None and carried else None
        if stamp is None:
            return None
        if stamp.verdict is Vouched.RELEASED:
            decision = Decision(
                Action.DELIVER, VerdictKind.CLEAN, "it was released from quarantine", "stamp"
            )
            return Judged(Verdict(), (ForSome(decision, mail.recipients),))
        needs_a_scan = any(
            rule.when is not None and rule.when.asks_for_a_scan for rule in self.policy.rules
        )
        ours = [version for text in self.scanner.sets() if (version := _version(text)) is not None]
        if needs_a_scan or not ours or stamp.set < max(ours):
            return None
        verdict = Verdict(set=str(stamp.set))
        kept = self._stamp(mail.content, verdict)
        return Judged(verdict, decide_each(verdict, self.policy, mail), stamp=kept)

    def _stamp(self, message: bytes, verdict: Verdict) -> bytes:
        version = _version(verdict.set)
        if self.stamps is None or version is None or verdict.kind is not VerdictKind.CLEAN:
            return b""
        return self.stamps.make(message, Vouched.CLEAN, version)

    async def _stripped(self, judged: Judged, message: bytes) -> Judged:
        """With the parts at fault cut out, if what is left is fit to be delivered; else held."""
        rules = [s.decision.rule for s in judged.decisions if s.decision.action is Action.STRIP]
        more = [path for rule in rules for path in fitting_files(judged.verdict, self.policy, rule)]
        labels = strip.at_fault(judged.verdict, more)
        held_as = new_id(datetime.now(UTC))
        content = strip.without(message, labels, StripNote(judged.verdict, held_as).text)
        if content is not None:
            left = await self.scanner.scan(content)
            if by_verdict(left, self.policy).action in (Action.DELIVER, Action.TAG):
                return replace(judged, cut=Cut(content, held_as, left))
        held = tuple(_held_instead(some) for some in judged.decisions)
        return replace(judged, decisions=held)


def _held_instead(some: ForSome) -> ForSome:
    if some.decision.action is not Action.STRIP:
        return some
    reason = f"{some.decision.reason}; what is at fault cannot be cut out of it"
    return replace(some, decision=replace(some.decision, action=Action.QUARANTINE, reason=reason))


def _version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except FormatError:
        return None
