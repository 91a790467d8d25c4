"""`mailward status`: is this server protected?"""

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_json, settings, when
from mailward.config import Config
from mailward.definitions.history import Event
from mailward.definitions.model import Channel
from mailward.definitions.store import Store, StoredSet
from mailward.update.agent import enabled_channels

_STALE_AFTER = {Channel.CERTIFIED: timedelta(days=3), Channel.RAPID: timedelta(hours=6)}
"""How long an enabled channel may go without a successful check before that is an alert."""

_EVENTS_LOOKED_AT = 1000


def status(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Is this server protected: set, channel, age, last update, license, engines, doors.

    Exit code 0: protected; 1: not, and the alerts say why.

    Example: `mailward status --json`
    """
    found = gather(settings(ctx), datetime.now(UTC))
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found["alerts"]:
        raise typer.Exit(1)


def gather(config: Config, now: datetime) -> dict[str, Any]:
    """Everything that `status --json` prints, as plain values; times are aware datetimes."""
    store = main.store(config)
    active = store.active()
    events = store.history(_EVENTS_LOOKED_AT)
    channels = {channel.value: _channel(config, channel, events) for channel in Channel}
    stale = [c for c in enabled_channels(config.update) if _is_stale(channels[c.value], c, now)]
    found: dict[str, Any] = {
        "active": _active(store, active),
        "downloaded": [str(s.version) for s in store.sets() if active is None or s != active],
        "channels": channels,
        "stale": bool(stale),
        "license": {"state": "not needed", "expires_at": None, "channels": []},
        "engines": _engines(active),
        "doors": {"smtp": _smtp(config)},
    }
    return found | {"alerts": _alerts(found, stale)}


def _active(store: Store, active: StoredSet | None) -> dict[str, Any] | None:
    pointer = store.pointer()
    if active is None or pointer is None:
        return None
    return {
        "version": str(active.version),
        "channel": active.manifest.channel.value,
        "activated_at": pointer.activated_at,
        "built_at": active.manifest.built_at,
        "signatures": sum(e.signatures for e in active.trial.engines) if active.trial else 0,
        "unused_signatures": active.trial.unused_signatures if active.trial else 0,
    }


def _channel(config: Config, channel: Channel, events: list[Event]) -> dict[str, Any]:
    mine = [e for e in events if e.details.get("channel") == channel.value]
    checks = [e for e in mine if e.event in ("checked", "failed")]
    good = [e for e in checks if e.event == "checked"]
    last = checks[-1] if checks else None
    return {
        "enabled": channel in set(enabled_channels(config.update)),
        "schedule": None,
        "last_check": last.at if last else None,
        "last_result": _result(last) if last else None,
        "last_success": good[-1].at if good else None,
        "next_check": None,
        "latest": good[-1].details.get("offered") if good else None,
    }


def _result(event: Event) -> str:
    if event.event == "failed":
        return f"failed: {event.reason}"
    return f"{event.details.get('result')}: {event.reason}"


def _is_stale(channel: dict[str, Any], name: Channel, now: datetime) -> bool:
    last = channel["last_success"]
    return last is None or now - last > _STALE_AFTER[name]


def _engines(active: StoredSet | None) -> dict[str, Any]:
    if active is None or active.trial is None:
        return {}
    return {
        e.engine: {"signatures": e.signatures, "refused": e.refused_count}
        for e in active.trial.engines
    }


def _smtp(config: Config) -> dict[str, Any]:
    host, _, port = config.smtp.listen.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            answers = True
    except OSError:
        answers = False
    return {
        "enabled": config.smtp.enabled,
        "listen": config.smtp.listen,
        "next_hop": config.smtp.next_hop,
        "answers": answers,
    }


def _alerts(found: dict[str, Any], stale: list[Channel]) -> list[str]:
    alerts = []
    if found["active"] is None:
        alerts.append("no definitions are active: run `mailward update`")
    alerts += [
        f"{channel}: no successful check for more than {_hours(_STALE_AFTER[channel])} "
        f"(last: {found['channels'][channel.value]['last_result'] or 'never checked'})"
        for channel in stale
    ]
    return alerts


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:g} hours"


def _print(found: dict[str, Any]) -> None:
    active = found["active"]
    if active:
        out.print(
            f"Active set    {active['version']} ({active['channel']}), "
            f"{active['signatures']} signatures in use, {active['unused_signatures']} without an "
            f"engine; built {when(active['built_at'])}, activated {when(active['activated_at'])}"
        )
    else:
        out.print("Active set    none")
    for name, channel in found["channels"].items():
        enabled = "on" if channel["enabled"] else "off"
        out.print(
            f"{name:<13} {enabled}; last check {when(channel['last_check'])}"
            + (f": {channel['last_result']}" if channel["last_result"] else ""),
            markup=False,
        )
    engines = ", ".join(f"{n} {e['signatures']}" for n, e in found["engines"].items()) or "-"
    out.print(f"Engines       {engines}")
    smtp = found["doors"]["smtp"]
    state = "answers" if smtp["answers"] else "does not answer"
    out.print(f"SMTP gateway  {smtp['listen']} {state}; next hop {smtp['next_hop']}", markup=False)
    for alert in found["alerts"]:
        out.print(f"ALERT         {alert}", markup=False)
    if not found["alerts"]:
        out.print("Protected.")
