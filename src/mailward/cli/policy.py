"""`mailward policy`: what would become of a message, and why."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_table, settings
from mailward.config import Config
from mailward.errors import UsageError
from mailward.protect.mail import Mail
from mailward.protect.policy import decide_each, unmet
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
    mail = Mail(
        sender, tuple(recipient or ("recipient@example.org",)), client, content, helo, login
    )
    verdict = asyncio.run(_scan(config, content))
    if as_json:
        sys.stdout.write(json.dumps(_plain(verdict, config.policy, mail)) + "\n")
        return
    out.print(f"Verdict: {verdict.kind}", markup=False)
    print_table(
        ("rule", "fits"),
        [(r.name, _why_not(r, verdict, config.policy, mail)) for r in config.policy.rules],
    )
    rows = [
        (
            ", ".join(some.recipients),
            some.decision.action,
            some.decision.rule or "-",
            some.decision.reason,
        )
        for some in decide_each(verdict, config.policy, mail)
    ]
    print_table(("recipients", "action", "rule", "reason"), rows)


def _read(path: Path, limit: int) -> bytes:
    try:
        content = sys.stdin.buffer.read(limit + 1) if str(path) == "-" else path.read_bytes()
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    if len(content) > limit:
        raise UsageError(f"{path}: larger than {limit} bytes (scan.max_message_bytes)")
    return content


async def _scan(config: Config, content: bytes) -> Verdict:
    one = config.model_copy(update={"scan": config.scan.model_copy(update={"workers": 1})})
    async with main.pool(one) as pool:
        return await pool.scan(content)


def _why_not(rule: Rule, verdict: Verdict, policy: PolicySettings, mail: Mail) -> str:
    failed = unmet(rule.when, verdict, policy, mail) if rule.when is not None else None
    return "yes" if failed is None else f"no: {failed}"


def _plain(verdict: Verdict, policy: PolicySettings, mail: Mail) -> dict[str, Any]:
    return {
        "verdict": verdict.kind.value,
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
            for some in decide_each(verdict, policy, mail)
        ],
    }
