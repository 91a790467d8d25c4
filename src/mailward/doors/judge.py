"""From a message to decisions: what every door with a policy does between taking and acting."""

from dataclasses import dataclass, replace

from mailward.definitions.model import Version
from mailward.doors.cutter import Cut, Cutter
from mailward.doors.origin import Origin
from mailward.doors.scanning import Scans
from mailward.errors import FormatError, ScannerDownError
from mailward.protect import outbreak
from mailward.protect.guard import Guard
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail
from mailward.protect.policy import (
    Decision,
    ForSome,
    by_verdict,
    decide_each,
    unscanned,
)
from mailward.protect.stamp import Stamps, Vouched
from mailward.rules import CUTTING, Action, WhenDown
from mailward.scan.verdict import Reason, Unopened, Verdict, VerdictKind
from mailward.settings.protect import PolicySettings


@dataclass(frozen=True, slots=True)
class Judged:
    """A message's verdict, and what is to be done with it for whom."""

    verdict: Verdict
    decisions: tuple[ForSome, ...]
    cut: Cut | None = None
    """There if a decision is ``strip`` or ``disarm``."""
    stamp: bytes = b""
    """The field that tells the next Mailward of this scan, to be put above the message."""

    @property
    def holds(self) -> bool:
        """Whether it is to be held for anybody."""
        holding = (Action.QUARANTINE, *CUTTING)
        return any(some.decision.action in holding for some in self.decisions)

    @property
    def notifies(self) -> bool:
        """Whether anybody is to be told of it."""
        return any(some.decision.notify for some in self.decisions)


@dataclass(frozen=True, slots=True)
class Judge:
    """Scan, then decide; any number of messages at once."""

    policy: PolicySettings
    scanner: Scans
    stamps: Stamps | None = None
    guard: Guard | None = None

    async def judge(
        self, message: bytes, envelope: Envelope, origin: Origin, carried: bytes = b""
    ) -> Judged:
        """``carried``: the message with the stamp that it may have come with.

        Raises ScannerDownError, unless the policy knows what to do without a scan.
        """
        sender, to = envelope.sender, envelope.recipients
        mail = Mail(sender, to, origin.address, message, origin.helo, origin.login)
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
        if any(some.decision.action in CUTTING for some in judged.decisions):
            return await self._cut(judged, message)
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

    async def _cut(self, judged: Judged, message: bytes) -> Judged:
        """With what is at fault cut out, if what is left is fit to be delivered; else held.

        Where some are to get it stripped and others disarmed, all of these get it stripped.
        """
        cutting = [some.decision for some in judged.decisions if some.decision.action in CUTTING]
        cutter = Cutter(self.scanner, self.policy, message, judged.verdict)
        if all(decision.action is Action.DISARM for decision in cutting):
            cut = await cutter.disarm()
        else:
            cut = await cutter.strip([decision.rule for decision in cutting])
        if cut is None:
            return replace(judged, decisions=tuple(_held_instead(s) for s in judged.decisions))
        if cut.content == message:
            decisions = tuple(_left_alone(s, cut.verdict, self.policy) for s in judged.decisions)
            return replace(judged, decisions=decisions)
        return replace(judged, cut=cut)


def _held_instead(some: ForSome) -> ForSome:
    if some.decision.action not in CUTTING:
        return some
    reason = f"{some.decision.reason}; what is at fault cannot be cut out of it"
    return replace(some, decision=replace(some.decision, action=Action.QUARANTINE, reason=reason))


def _left_alone(some: ForSome, verdict: Verdict, policy: PolicySettings) -> ForSome:
    if some.decision.action not in CUTTING:
        return some
    action = by_verdict(verdict, policy).action
    action = action if action is Action.TAG else Action.DELIVER
    reason = f"{some.decision.reason}; there is nothing to be disarmed in it"
    return replace(some, decision=replace(some.decision, action=action, reason=reason))


def _version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except FormatError:
        return None
