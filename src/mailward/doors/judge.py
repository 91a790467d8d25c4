"""From a message to decisions: what every door with a policy does between taking and acting."""

from dataclasses import dataclass
from typing import Protocol

from mailward.config import PolicySettings
from mailward.errors import ScannerDownError
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail
from mailward.protect.policy import ForSome, decide_each, unscanned
from mailward.rules import Action, WhenDown
from mailward.scan.part import Role
from mailward.scan.verdict import Reason, Unopened, Verdict


class Scans(Protocol):
    """What a door needs of the scanner."""

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        """Scan one message. Raises ScannerDownError when no worker can."""
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """A message's verdict, and what is to be done with it for whom."""

    verdict: Verdict
    decisions: tuple[ForSome, ...]

    @property
    def holds(self) -> bool:
        """Whether it is to be held for anybody."""
        return any(some.decision.action is Action.QUARANTINE for some in self.decisions)


@dataclass(frozen=True, slots=True)
class Judge:
    """Scan, then decide; any number of messages at once."""

    policy: PolicySettings
    scanner: Scans

    async def judge(self, message: bytes, envelope: Envelope, client: str) -> Judged:
        """``client``: its IP address, empty if unknown.

        Raises ScannerDownError, unless the policy knows what to do without a scan.
        """
        recipients = envelope.recipients
        try:
            verdict = await self.scanner.scan(message)
        except ScannerDownError as e:
            if self.policy.scanner_down is WhenDown.TEMPFAIL:
                raise
            decision = unscanned(self.policy.scanner_down)
            unopened = Unopened("message", Reason.CRASH, str(e))
            return Judged(Verdict(unopened=(unopened,)), (ForSome(decision, recipients),))
        mail = Mail(envelope.sender, recipients, client, message)
        return Judged(verdict, decide_each(verdict, self.policy, mail))
