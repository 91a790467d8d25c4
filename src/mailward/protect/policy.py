"""The only place that decides what happens to a message: verdict and settings in, decision out.

A message can be several things at once (a virus beside an encrypted archive). Each kind has its
action in the configuration; the harshest of them is taken, so that a mild rule for one kind never
softens another's.
"""

from dataclasses import dataclass

from mailward.config import Action, PolicySettings
from mailward.scan.verdict import Verdict, VerdictKind

_HARSHNESS = {action: rank for rank, action in enumerate(Action)}
"""``Action`` lists its members from mild to harsh."""

_MAX_NAMED = 3
_MAX_NAME = 80
"""What a reply line of 512 octets (RFC 5321 section 4.5.3.1.5) has room for."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a message, and why."""

    action: Action
    because: VerdictKind
    """The kind whose action it is; the gravest of them when several ask for the same."""
    reason: str
    """For people outside as well: printable ASCII, at most about 300 characters."""


def decide(verdict: Verdict, settings: PolicySettings) -> Decision:
    """The harshest action among those of everything that is true of the message."""
    actions: dict[VerdictKind, Action] = {
        VerdictKind.INFECTED: settings.infected,
        VerdictKind.SUSPICIOUS: settings.suspicious,
        VerdictKind.UNSCANNABLE: settings.unscannable,
        VerdictKind.CLEAN: settings.clean,
    }
    because = max(verdict.kinds, key=lambda kind: _HARSHNESS[actions[kind]])
    return Decision(actions[because], because, _reason(verdict, because))


def _reason(verdict: Verdict, kind: VerdictKind) -> str:
    match kind:
        case VerdictKind.INFECTED:
            return f"it contains malware ({_names(verdict, suspicious=False)})"
        case VerdictKind.SUSPICIOUS:
            return f"it looks like an attack ({_names(verdict, suspicious=True)})"
        case VerdictKind.UNSCANNABLE:
            reasons = dict.fromkeys(unopened.reason.value for unopened in verdict.unopened)
            return f"it cannot be scanned ({', '.join(reasons)})"
        case VerdictKind.CLEAN:
            return "nothing was found in it"


def _names(verdict: Verdict, *, suspicious: bool) -> str:
    names = [
        printable_ascii(name, _MAX_NAME)
        for name in dict.fromkeys(r.name for r in verdict.risks if r.suspicious == suspicious)
    ]
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def printable_ascii(text: str, limit: int) -> str:
    """``text`` as header fields and replies may carry it: one line, printable ASCII, bounded."""
    safe = "".join(c if " " <= c <= "~" else "?" for c in text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."
