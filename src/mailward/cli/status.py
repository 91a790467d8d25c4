"""`mailward status`: is this server protected?"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from mailward import main
from mailward.cli import license as license_group
from mailward.cli import products as product_group
from mailward.cli import running
from mailward.cli.common import JsonOption, out, print_json, settings, when
from mailward.config import Config
from mailward.definitions import updater
from mailward.definitions.history import Event
from mailward.definitions.model import Channel
from mailward.definitions.sharing import Sharing
from mailward.definitions.store import Store, StoredSet
from mailward.doors import listening, milter_replies
from mailward.doors.milter_wire import VERSION, Action, Step
from mailward.scan import sandbox
from mailward.scan.containers import libarchive
from mailward.settings.doors import ClamdSettings, MilterSettings
from mailward.update import alarms, freshness
from mailward.update.agent import enabled_channels
from mailward.update.alarms import Alarm

_DOOR_TIMEOUT_S = 5.0
_MILTER_HELLO = milter_replies.negotiate(VERSION, ~Action(0), ~Step(0))
"""What a mail server that allows everything says first."""


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
    events = store.history(freshness.EVENTS_LOOKED_AT)
    channels = {channel.value: _channel(config, channel, events, now) for channel in Channel}
    alerts = alarms.found(config.update, store, config.trust_dir, now) | main.doubted(config)
    found: dict[str, Any] = {
        "active": _active(store, active, now),
        "downloaded": [str(s.version) for s in store.sets() if active is None or s != active],
        "channels": channels,
        "stale": any(name.startswith(f"{Alarm.STALE} ") for name in alerts),
        "license": license_group.gather(config, now),
        "engines": _engines(active),
        "updater": updater.owner(store.folder),
        "products": {
            each["name"]: {"state": each["state"], "version": each["version"]}
            for each in product_group.gather(Sharing(store), asking=False)
        },
        "doors": {
            "smtp": _smtp(config),
            "milter": _door(config.milter, _MILTER_HELLO, b"O"),
            "clamd": _door(config.clamd, b"zPING\0", b"PONG"),
        },
        "containers": _containers(),
        "confinement": asdict(sandbox.supported()),
    }
    service = found["service"] = _service(config)
    alerts |= alarms.of_products(store)
    if service["no_workers"]:
        alerts[Alarm.NO_WORKERS.value] = service["no_workers"]
    told = [f"{name}: {why}" for name, why in alerts.items()]
    return found | {"alerts": [*told, *_license_alerts(found)]}


def _service(config: Config) -> dict[str, Any]:
    """What the running service says, if there is one."""
    told = running.ask(config)
    return {
        "answers": told is not None,
        "console": config.console.listen,
        "workers": told.get("workers") if told else None,
        "no_workers": told.get("alerts", {}).get(Alarm.NO_WORKERS) if told else None,
    }


def _active(store: Store, active: StoredSet | None, now: datetime) -> dict[str, Any] | None:
    pointer = store.pointer()
    if active is None or pointer is None:
        return None
    return {
        "version": str(active.version),
        "channel": active.manifest.channel.value,
        "activated_at": pointer.activated_at,
        "built_at": active.manifest.built_at,
        "age_s": round((now - active.manifest.built_at).total_seconds()),
        "signatures": sum(e.signatures for e in active.trial.engines) if active.trial else 0,
        "unused_signatures": active.trial.unused_signatures if active.trial else 0,
    }


def _channel(
    config: Config, channel: Channel, events: list[Event], now: datetime
) -> dict[str, Any]:
    update = config.update
    chosen = update.certified if channel is Channel.CERTIFIED else update.rapid
    enabled = channel in set(enabled_channels(update))
    knowledge = freshness.known(channel, events)
    share = freshness.share(config.trust_dir)
    return {
        "enabled": enabled,
        "schedule": chosen.schedule,
        "last_check": knowledge.last_check,
        "last_result": knowledge.last_result,
        "last_success": knowledge.last_success,
        "unknown_since": knowledge.failing_since,
        "next_check": freshness.next_check(knowledge, chosen, update, share, now)
        if enabled
        else None,
        "latest": knowledge.latest,
    }


def _engines(active: StoredSet | None) -> dict[str, Any]:
    if active is None or active.trial is None:
        return {}
    return {
        e.engine: {"signatures": e.signatures, "refused": e.refused_count}
        for e in active.trial.engines
    }


def _containers() -> dict[str, Any]:
    library = libarchive.version()
    return {"libarchive": library, "cannot_open": [] if library else list(libarchive.NEEDED_FOR)}


def _smtp(config: Config) -> dict[str, Any]:
    try:
        listening.connect(config.smtp.listen, _DOOR_TIMEOUT_S).close()
        answers = True
    except OSError:
        answers = False
    return {
        "enabled": config.smtp.enabled,
        "listen": config.smtp.listen,
        "next_hop": config.smtp.next_hop,
        "next_hop_fallback": list(config.smtp.next_hop_fallback),
        "routes": [route.model_dump(mode="json") for route in config.smtp.routes],
        "answers": answers,
    }


def _door(settings: ClamdSettings | MilterSettings, said: bytes, expected: bytes) -> dict[str, Any]:
    listen = settings.listen if settings.enabled else ()
    answers = [_says(address, said, expected) for address in listen]
    return {
        "enabled": settings.enabled,
        "listen": list(settings.listen),
        "answers": bool(answers) and all(answers),
    }


def _says(address: str, said: bytes, expected: bytes) -> bool:
    """Whether ``expected`` is in what is answered to ``said``."""
    try:
        with listening.connect(address, _DOOR_TIMEOUT_S) as door:
            door.sendall(said)
            return expected in door.recv(100)
    except OSError:
        return False


def _license_alerts(found: dict[str, Any]) -> list[str]:
    """What ends soon, has ended or is missing, and how far behind this computer is by it."""
    alerts = []
    active = found["active"]["version"] if found["active"] else "no set"
    for channel, each in found["license"]["by_channel"].items():
        if each["state"] in ("valid", "not needed"):
            continue
        latest = found["channels"][channel]["latest"]
        behind = f"; {channel} offers {latest}, active is {active}" if latest != active else ""
        alerts.append(f"{Alarm.LICENSE} {channel}: {each['sentence']}{behind if latest else ''}")
    return alerts


def _print(found: dict[str, Any]) -> None:
    active = found["active"]
    if active:
        out.print(
            f"Active set    {active['version']} ({active['channel']}), "
            f"{active['signatures']} signatures in use, {active['unused_signatures']} without an "
            f"engine; built {when(active['built_at'])} ({_ago(active['age_s'])}), "
            f"activated {when(active['activated_at'])}"
        )
    else:
        out.print("Active set    none")
    for name, channel in found["channels"].items():
        enabled = "on" if channel["enabled"] else "off"
        out.print(
            f"{name:<13} {enabled}; last check {when(channel['last_check'])}"
            + (f": {channel['last_result']}" if channel["last_result"] else "")
            + (f"; newest {channel['latest']}" if channel["latest"] else "")
            + (f"; next check {when(channel['next_check'])}" if channel["enabled"] else ""),
            markup=False,
        )
    service = found["service"]
    scanning = running.workers_in_words(service["workers"] or {})
    state = f"answers; {scanning or 'no workers'}" if service["answers"] else "does not answer"
    out.print(f"Service       {service['console']} {state}", markup=False)
    engines = ", ".join(f"{n} {e['signatures']}" for n, e in found["engines"].items()) or "-"
    out.print(f"Engines       {engines}")
    containers = found["containers"]
    shut = ", ".join(containers["cannot_open"])
    out.print(
        f"Containers    {containers['libarchive']}"
        if containers["libarchive"]
        else f"Containers    without libarchive (Debian: libarchive13) these stay shut: {shut}",
        markup=False,
    )
    for name, each in found["products"].items():
        out.print(
            f"Product       {name}: {each['state']}; set {each['version'] or '-'}", markup=False
        )
    confined = ", ".join(f"{what} {means}" for what, means in found["confinement"].items())
    out.print(f"Confinement   {confined}")
    smtp = found["doors"]["smtp"]
    if smtp["enabled"]:
        state = "answers" if smtp["answers"] else "does not answer"
        out.print(
            f"SMTP gateway  {smtp['listen']} {state}; next hop {smtp['next_hop']}"
            + (f", {len(smtp['routes'])} routes" if smtp["routes"] else ""),
            markup=False,
        )
    for name in ("milter", "clamd"):
        door = found["doors"][name]
        if door["enabled"]:
            state = "answers" if door["answers"] else "does not answer"
            out.print(f"{name + ' door':<13} {', '.join(door['listen'])} {state}", markup=False)
    for name, each in found["license"]["by_channel"].items():
        out.print(f"License       {name}: {each['state']}; {each['sentence']}", markup=False)
    for alert in found["alerts"]:
        out.print(f"ALERT         {alert}", markup=False)
    if not found["alerts"]:
        out.print("Protected.")


def _ago(seconds: int) -> str:
    hours = max(seconds, 0) / 3600
    return f"{hours:.1f} hours ago" if hours < 48 else f"{hours / 24:.0f} days ago"
