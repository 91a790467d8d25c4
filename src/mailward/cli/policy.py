"""`mailward policy`: what would become of a message, and why."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_table, settings
from mailward.config import Config
from mailward.doors.cutter import Cut
from mailward.doors.judge import Judge
from mailward.doors.origin import Origin
from mailward.errors import UsageError
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail
from mailward.protect.notify.notice import Notice, notices
from mailward.protect.policy import ForSome, unmet
from mailward.rules import Rule
from mailward.scan.verdict import Verdict
from mailward.settings.protect import PolicySettings

app = typer.Typer(
    no_args_is_help=True,
    help="What happens to messages. Example: `mailward policy test message.eml`",
)


@app.command("test")
def try_out(
    ctx: typer.Context,
    message: Annotated[Path, typer.Argument(help="A message as a file, or - for input.")],
    sender: Annotated[str, typer.Option(help="Envelope sender; empty for a bounce.")] = "",
    recipient: Annotated[
        list[str] | None, typer.Option(help="Envelope recipient; may be repeated.")
    ] = None,
    client: Annotated[str, typer.Option(help="Address that it comes from.")] = "",
    helo: Annotated[str, typer.Option(help="What the client calls itself.")] = "",
    login: Annotated[str, typer.Option(help="Who has authenticated.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Scan a message and tell what the policy would do with it. Nothing is sent or kept.

    Example: `mailward policy test message.eml --sender a@example.org --recipient b@example.net`
    """
    config = settings(ctx)
    content = _read(message, config.scan.max_message_bytes)
    mail = Mail(sender, tuple(recipient or ("recipient@example.org",)), client, content)
    tried = asyncio.run(_try(config, mail))
    if as_json:
        sys.stdout.write(json.dumps(_plain(tried, config.policy, mail)) + "\n")
        return
    out.print(f"Verdict: {tried.verdict.kind}", markup=False)
    _show_files(tried.verdict)
    print_table(
        ("rule", "fits"),
        [(r.name, _why_not(r, tried.verdict, config.policy, mail)) for r in config.policy.rules],
    )
    rows = [
        (
            ", ".join(some.recipients),
            some.decision.action,
            some.decision.rule or "-",
            some.decision.reason,
        )
        for some in tried.decisions
    ]
    print_table(("recipients", "action", "rule", "reason"), rows)
    if tried.cut is not None:
        print_table(("part", "what happens to it"), _cut_rows(tried.verdict, tried.cut))
    if tried.notices:
        print_table(("told", "address"), [(n.audience.value, n.to) for n in tried.notices])


@dataclass(frozen=True, slots=True)
class _Tried:
    """What would become of a message."""

    verdict: Verdict
    decisions: Sequence[ForSome]
    cut: Cut | None
    notices: Sequence[Notice]


async def _try(config: Config, mail: Mail) -> _Tried:
    """As a door would judge it, without what other doors or Mailwards know."""
    one = config.model_copy(update={"scan": config.scan.model_copy(update={"workers": 1})})
    async with main.pool(one) as pool:
        envelope = Envelope(mail.sender, mail.recipients)
        judged = await Judge(config.policy, pool).judge(mail.content, envelope, Origin(mail.client))
    now = datetime.now(UTC)
    told = notices(judged.decisions, (), mail, config.policy, config.notify, now)
    return _Tried(judged.verdict, judged.decisions, judged.cut, told)


def _show_files(verdict: Verdict) -> None:
    if verdict.files:
        print_table(
            ("file", "declared as", "is", "disguise"),
            [
                (
                    file.part,
                    file.content_type or "-",
                    ", ".join(file.content) or "-",
                    ", ".join(file.disguise) or "-",
                )
                for file in verdict.files
            ],
        )


def _cut_rows(verdict: Verdict, cut: Cut) -> list[tuple[str, str]]:
    def named(label: str) -> str:
        part = f"message/{label}"
        full = (f.part for f in verdict.files if f.part == part or f.part.startswith(f"{part}:"))
        return min(full, key=len, default=part)

    return [
        *((named(label), f"without {', '.join(what)}") for label, what in cut.removed.items()),
        *((named(label), "stripped") for label in sorted(cut.stripped)),
    ]


def _read(path: Path, limit: int) -> bytes:
    try:
        content = sys.stdin.buffer.read(limit + 1) if str(path) == "-" else path.read_bytes()
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    if len(content) > limit:
        raise UsageError(f"{path}: larger than {limit} bytes (scan.max_message_bytes)")
    return content


def _why_not(rule: Rule, verdict: Verdict, policy: PolicySettings, mail: Mail) -> str:
    failed = unmet(rule.when, verdict, policy, mail) if rule.when is not None else None
    return "yes" if failed is None else f"no: {failed}"


def _plain(tried: _Tried, policy: PolicySettings, mail: Mail) -> dict[str, Any]:
    verdict, cut = tried.verdict, tried.cut
    return {
        "verdict": verdict.kind.value,
        "files": [asdict(file) for file in verdict.files],
        "rules": [
            {"name": r.name, "fits": _why_not(r, verdict, policy, mail)} for r in policy.rules
        ],
        "decisions": [
            {
                "recipients": list(some.recipients),
                "action": some.decision.action.value,
                "rule": some.decision.rule or None,
                "reason": some.decision.reason,
            }
            for some in tried.decisions
        ],
        "disarmed": {label: list(what) for label, what in cut.removed.items()} if cut else {},
        "stripped": sorted(cut.stripped) if cut else [],
        "notified": [{"audience": n.audience.value, "to": n.to} for n in tried.notices],
    }
