"""When new definitions suddenly hit much of the mail, what only they find is held (S14).

A bad signature that got past every gate shows itself by hitting what everybody sends. So risks are
counted by name; one that hits a large share of recent messages is doubted, unless an older set
finds it as well (then it is a wave of something known). As long as it is doubted, a message that
only doubted risks speak against is quarantined where the policy names something harsher. The doubt
ends with the administrator's word, or after ``DOUBT_FOR``.

Decisions only; ``protect.guard`` does the counting and asking.
"""

from collections import Counter, deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mailward.protect.policy import Decision, ForSome
from mailward.rules import Action
from mailward.scan.verdict import Verdict

WINDOW = 500
"""Messages that a share is taken of: minutes on a busy server, a day on a quiet one."""
HITS_MIN = 10
"""Fewer are no sign of anything, whatever their share."""
SHARE_MIN = 0.02
"""Of the window. All malware together is below that on most servers, in one name never."""
FRESH_FOR = timedelta(hours=24)
"""After the activation of a set: what it has not hit by then, it hits because mail has changed."""
DOUBT_FOR = timedelta(hours=24)
"""Publishers withdraw a bad set within hours: what nobody objects to for a day is good."""

_HARSHER = (Action.REJECT, Action.DISCARD)
"""Than quarantine: what cannot be taken back."""


class Rates:
    """Which risks the last messages were hit by. Pure bookkeeping."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._messages: deque[frozenset[str]] = deque()
        self._hits: Counter[str] = Counter()

    def note(self, names: frozenset[str]) -> frozenset[str]:
        """One more message and the risks found in it: those of them that hit much of the mail."""
        self._messages.append(names)
        self._hits.update(names)
        if len(self._messages) > self._window:
            for name in self._messages.popleft():
                self._hits[name] -= 1
                if not self._hits[name]:
                    del self._hits[name]
        return frozenset(name for name in names if self._is_much(name)) if names else names

    def share(self, name: str) -> tuple[int, int]:
        """How many of how many messages it has hit."""
        return self._hits[name], len(self._messages)

    def _is_much(self, name: str) -> bool:
        hits = self._hits[name]
        return hits >= HITS_MIN and hits >= SHARE_MIN * len(self._messages)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A risk whose detections are held until somebody has judged."""

    name: str
    set: str
    """The one that was in use when it began."""
    since: datetime
    hits: int
    of: int
    """Messages that it had hit when it began, of how many."""

    def over(self, now: datetime) -> bool:
        """Whether nobody has objected for long enough."""
        return now - self.since >= DOUBT_FOR


def without(verdict: Verdict, doubted: Set[str]) -> Verdict:
    """The verdict as if the doubted risks had not been found."""
    return replace(verdict, risks=tuple(r for r in verdict.risks if r.name not in doubted))


def held_instead(
    decided: Sequence[ForSome], without_doubted: Sequence[ForSome], doubted: Set[str]
) -> tuple[ForSome, ...]:
    """Decisions that are harsher than quarantine for no other reason than doubted risks, softened.

    ``without_doubted``: what the policy says to the same message ``without`` them.
    """
    otherwise = {r: some.decision for some in without_doubted for r in some.recipients}
    groups: dict[Decision, tuple[str, ...]] = {}
    for some in decided:
        for recipient in some.recipients:
            decision = _settled(some.decision, otherwise[recipient], doubted)
            groups[decision] = (*groups.get(decision, ()), recipient)
    return tuple(ForSome(decision, recipients) for decision, recipients in groups.items())


def _settled(decided: Decision, otherwise: Decision, doubted: Set[str]) -> Decision:
    if decided.action not in _HARSHER:
        return decided
    if otherwise.action in _HARSHER:
        return otherwise  # there is reason enough without the doubted ones
    names = ", ".join(sorted(doubted)[:3])
    reason = f"{decided.reason}; held, because only new definitions find {names}"
    return replace(decided, action=Action.QUARANTINE, reason=reason[:400])
