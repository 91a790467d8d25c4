"""The only place that decides what happens to a message: verdict and settings in, decision out.

Rules of the configuration are asked from top to bottom; the first that fits wins. Where none fits,
each kind of verdict has its action, and a message can be several things at once (a virus beside an
encrypted archive): the harshest action is taken, so that a mild one for one kind never softens
another's.

A rule may ask for the recipient, so a message can have several decisions, each for some of its
recipients (``decide_each``).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mailward.protect.mail import Mail
from mailward.rules import OF_A_FILE, Action, Audience, Rule, When, WhenDown
from mailward.scan.kinds import extension
from mailward.scan.verdict import File, Verdict, VerdictKind
from mailward.settings.protect import PolicySettings

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
    rule: str = ""
    """The rule that fitted; empty: the table of verdicts decided."""
    subject: str = ""
    """To be put in front of the subject."""
    to: tuple[str, ...] = ()
    """Where ``redirect`` sends it."""
    notify: tuple[Audience, ...] = ()
    """Who is told of it."""


@dataclass(frozen=True, slots=True)
class ForSome:
    """A decision and the recipients that it is for, in their order."""

    decision: Decision
    recipients: tuple[str, ...]


def decide_each(verdict: Verdict, settings: PolicySettings, mail: Mail) -> tuple[ForSome, ...]:
    """What is to be done with a message for each of its recipients, equal decisions together."""
    if not any(rule.when and rule.when.recipient for rule in settings.rules):
        return (ForSome(decide(verdict, settings, mail), mail.recipients),)
    groups: dict[Decision, tuple[str, ...]] = {}
    for recipient in mail.recipients:
        decision = decide(verdict, settings, replace(mail, recipients=(recipient,)))
        groups[decision] = (*groups.get(decision, ()), recipient)
    return tuple(ForSome(decision, recipients) for decision, recipients in groups.items())


def decide(verdict: Verdict, settings: PolicySettings, mail: Mail) -> Decision:
    """What the first rule that fits says, otherwise the table of verdicts.

    A rule that asks for the recipient fits if it fits any of ``mail.recipients``.
    """
    for rule in settings.rules:
        if rule.when is None or unmet(rule.when, verdict, settings, mail) is None:
            return _by_rule(rule, verdict)
    return by_verdict(verdict, settings)


def by_verdict(verdict: Verdict, settings: PolicySettings) -> Decision:
    """What the table of verdicts says, whatever the rules are."""
    actions: dict[VerdictKind, Action] = {
        VerdictKind.INFECTED: settings.infected,
        VerdictKind.SUSPICIOUS: settings.suspicious,
        VerdictKind.UNSCANNABLE: settings.unscannable,
        VerdictKind.CLEAN: settings.clean,
    }
    because = max(verdict.kinds, key=lambda kind: _HARSHNESS[actions[kind]])
    return Decision(actions[because], because, _reason(verdict, because))


def fitting_files(verdict: Verdict, settings: PolicySettings, rule: str) -> list[str]:
    """Paths of the attachments that the rule of that name asks for."""
    when = next((r.when for r in settings.rules if r.name == rule), None)
    if when is None or not when.asks_for_files:
        return []
    return [file.part for file in verdict.files if _fits(when, file, OF_A_FILE)]


def unscanned(chosen: WhenDown) -> Decision:
    """What is done with a message that nobody could scan; ``tempfail`` is the door's to say."""
    action = Action.QUARANTINE if chosen is WhenDown.QUARANTINE else Action.TAG
    reason = "it could not be scanned at the time"
    return Decision(action, VerdictKind.UNSCANNABLE, reason, rule="policy.scanner_down")


def unmet(when: When, verdict: Verdict, settings: PolicySettings, mail: Mail) -> str | None:
    """The first condition that does not hold, by its name; None if all do."""
    for name, holds in _CONDITIONS.items():
        if getattr(when, name) != _NOT_ASKED[name] and not holds(when, verdict, settings, mail):
            return name
    return None


def _by_rule(rule: Rule, verdict: Verdict) -> Decision:
    because = verdict.kind
    what = "it is" if because is VerdictKind.CLEAN else f"{_reason(verdict, because)},"
    reason = f"{what} subject to the rule {rule.name!r}"
    return Decision(rule.action, because, reason, rule.name, rule.subject, rule.to, rule.notify)


_Holds = Callable[[When, Verdict, PolicySettings, Mail], bool]


def _verdict(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
    return any(kind.value in when.verdict for kind in verdict.kinds)


def _risk(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
    return any(when.risks.fit(risk.name) for risk in verdict.risks)


def _severity(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
    return any(risk.severity in when.severity for risk in verdict.risks)


def _engine(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
    return any(when.engines.fit(risk.engine) for risk in verdict.risks)


def _unscannable(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
    return any(unopened.reason.value in when.unscannable for unopened in verdict.unopened)


def _ambiguous(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
    return bool(verdict.ambiguities) == when.ambiguous


def _own_password(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
    return bool(verdict.own_passwords) == when.own_password


def _of_a_file(name: str) -> _Holds:
    """Whether a file meets this condition and those before it: all of them are about one file."""
    asked = OF_A_FILE[: OF_A_FILE.index(name) + 1]

    def holds(when: When, verdict: Verdict, _settings: PolicySettings, _mail: Mail) -> bool:
        return any(_fits(when, file, asked) for file in verdict.files)

    return holds


def _fits(when: When, file: File, asked: Iterable[str]) -> bool:
    return all(not getattr(when, name) or _FILE_TESTS[name](when, file) for name in asked)


_FILE_TESTS: dict[str, Callable[[When, File], bool]] = {
    "file_name": lambda when, file: bool(file.name) and when.file_names.fit(file.name),
    "content_type": lambda when, file: when.content_types.fit(file.content_type),
    "extension": lambda when, file: extension(file.name) in when.extensions,
    "content": lambda when, file: not set(when.content).isdisjoint(file.content),
    "disguise": lambda when, file: not set(when.disguise).isdisjoint(file.disguise),
}


def _larger(when: When, _verdict: Verdict, _settings: PolicySettings, mail: Mail) -> bool:
    return len(mail.content) > (when.larger_than_bytes or 0)


def _sender(when: When, _verdict: Verdict, _settings: PolicySettings, mail: Mail) -> bool:
    return when.senders.fit(mail.sender or "<>")


def _recipient(when: When, _verdict: Verdict, _settings: PolicySettings, mail: Mail) -> bool:
    return any(when.recipients.fit(recipient) for recipient in mail.recipients)


def _client(when: When, _verdict: Verdict, _settings: PolicySettings, mail: Mail) -> bool:
    return mail.comes_from(when.clients)


def _helo(when: When, _verdict: Verdict, _settings: PolicySettings, mail: Mail) -> bool:
    return when.helos.fit(mail.helo)


def _login(when: When, _verdict: Verdict, _settings: PolicySettings, mail: Mail) -> bool:
    return when.logins.fit(mail.login)


def _direction(when: When, _verdict: Verdict, settings: PolicySettings, mail: Mail) -> bool:
    outbound = mail.comes_from(settings.internal_networks)
    return outbound == (when.direction == "outbound")


def _header(when: When, _verdict: Verdict, _settings: PolicySettings, mail: Mail) -> bool:
    return all(
        any(patterns.fit(content) for content in mail.fields.get(name, ()))
        for name, patterns in when.headers.items()
    )


def _authentication(when: When, _verdict: Verdict, settings: PolicySettings, mail: Mail) -> bool:
    results = mail.authentication(settings.authserv_id)
    return all(wanted in results.get(method, ()) for method, wanted in when.authentication.items())


_CONDITIONS: dict[str, _Holds] = {
    "verdict": _verdict,
    "risk": _risk,
    "severity": _severity,
    "engine": _engine,
    "unscannable": _unscannable,
    "ambiguous": _ambiguous,
    "own_password": _own_password,
    **{name: _of_a_file(name) for name in OF_A_FILE},
    "larger_than_bytes": _larger,
    "sender": _sender,
    "recipient": _recipient,
    "client": _client,
    "helo": _helo,
    "login": _login,
    "direction": _direction,
    "header": _header,
    "authentication": _authentication,
}
"""One for each field of ``When``, the cheap ones first."""

_NOT_ASKED = {name: field.default for name, field in When.model_fields.items()}


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
