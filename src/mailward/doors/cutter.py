"""What is at fault in a message, cut out or disarmed, and what is left scanned again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mailward.doors.scanning import Scans
from mailward.protect import strip
from mailward.protect.disarm.documents import ACTIVE
from mailward.protect.disarm.note import DisarmNote, with_note
from mailward.protect.disarm.process import disarm_apart
from mailward.protect.policy import by_verdict, fitting_files
from mailward.protect.quarantine import new_id
from mailward.protect.strip_note import StripNote
from mailward.rules import Action
from mailward.scan.verdict import Verdict
from mailward.settings.protect import PolicySettings

_ROUNDS = 2
"""Of stripping what is left once the rest was disarmed."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A message without the parts, or what they would run, that were at fault."""

    content: bytes
    """The message itself if there was nothing to be disarmed."""
    held_as: str
    """What the note in it calls the whole message: it is to be held under that name."""
    verdict: Verdict
    """Of what is left."""
    how: Action
    stripped: frozenset[str] = frozenset()
    """Labels of the parts that went as a whole."""
    removed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Label of a part that stays to what was taken out of it."""


class Cutter:
    """For one message. None: it cannot be done, or what is left is not fit to be delivered.

    Both raise ScannerDownError.
    """

    def __init__(
        self, scanner: Scans, policy: PolicySettings, message: bytes, verdict: Verdict
    ) -> None:
        self._scanner = scanner
        self._policy = policy
        self._message = message
        self._verdict = verdict
        self._held_as = new_id(datetime.now(UTC))

    async def strip(self, rules: Sequence[str]) -> Cut | None:
        """Without the parts at fault, and those that ``rules`` ask for."""
        more = [p for rule in rules for p in fitting_files(self._verdict, self._policy, rule)]
        labels = strip.at_fault(self._verdict, more)
        content = self._without(self._message, labels)
        if content is None:
            return None
        left = await self._scanner.scan(content)
        if not self._is_fit(left):
            return None
        return Cut(content, self._held_as, left, Action.STRIP, labels)

    async def disarm(self) -> Cut | None:
        """Without what documents and pages would run, and the parts where that cannot be done."""
        apart = await disarm_apart(self._message)
        if apart is None:
            return None
        wanted = {*apart.unsound, *(_faulty(self._verdict) - apart.removed.keys())}
        if not wanted and not apart.removed:
            return Cut(self._message, self._held_as, self._verdict, Action.DISARM)
        for _ in range(_ROUNDS):
            content = self._without(apart.content, wanted) if wanted else apart.content
            if content is None:
                return None
            removed = {label: what for label, what in apart.removed.items() if label not in wanted}
            above = ""
            if removed:
                note = DisarmNote(self._verdict, self._held_as, removed, apart.signed)
                content, above = with_note(content, note.text())
            left = await self._scanner.scan(content)
            again = {label.removeprefix(above) for label in _faulty(left)} - wanted
            if not again and not self._is_fit(left):
                return None
            if not again:
                stripped = frozenset(wanted)
                return Cut(content, self._held_as, left, Action.DISARM, stripped, removed)
            wanted |= again
        return None

    def _without(self, content: bytes, labels: Collection[str]) -> bytes | None:
        return strip.without(content, labels, StripNote(self._verdict, self._held_as).text)

    def _is_fit(self, left: Verdict) -> bool:
        return by_verdict(left, self._policy).action in (Action.DELIVER, Action.TAG)


def _faulty(verdict: Verdict) -> frozenset[str]:
    """Labels of parts that something was found in, that stay shut, or that run something."""
    active = [file.part for file in verdict.files if not ACTIVE.isdisjoint(file.content)]
    return strip.at_fault(verdict, active)
