"""How people hear of held messages and ask for them, built from the configuration."""

import socket
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from mailward.config import Config
from mailward.doors import releasing
from mailward.doors.told import Record
from mailward.errors import ConfigError
from mailward.protect.links import Links, link_key
from mailward.protect.notify.notifier import Notifier
from mailward.protect.quarantine import Quarantine
from mailward.protect.requests import RequestBook
from mailward.protect.stamp import Stamps
from mailward.rules import Audience

if TYPE_CHECKING:
    from starlette.routing import Route


def notifier(config: Config, record: Record) -> Notifier:
    """What tells people what became of messages. Raises ConfigError."""
    hostname = config.smtp.hostname or socket.getfqdn()
    from_address = config.notify.from_address or f"mailward@{hostname}"
    for rule in config.policy.rules:
        if Audience.ADMIN in rule.notify and not config.notify.admin:
            raise ConfigError(f"rule {rule.name!r} notifies admin, and notify.admin names nobody")
        if Audience.SENDER in rule.notify and not config.notify.domains:
            raise ConfigError(
                f"rule {rule.name!r} notifies the sender, and notify.domains does not say who is "
                "one of yours"
            )
    send = partial(releasing.send, config.smtp)
    folder, made = config.state_dir / "notices", links(config)
    if made is None:
        return Notifier(config.notify, from_address, send, record, folder)
    return Notifier(config.notify, from_address, send, record, folder, made.make)


def links(config: Config) -> Links | None:
    """By which recipients ask for what is held; None without a place that they reach.

    Raises ConfigError.
    """
    if not config.notify.public_url:
        return None
    try:
        key = link_key(config.state_dir / "links.key")
    except OSError as e:
        raise ConfigError(f"{config.state_dir}/links.key cannot be made: {e.strerror}") from e
    return Links(key, config.notify.public_url, config.notify.link_days)


def request_book(config: Config, quarantine: Quarantine) -> RequestBook:
    """Who asked for what is held."""
    return RequestBook(config.state_dir / "requests.json", quarantine)


def asking(
    config: Config, quarantine: Quarantine, stamps: Stamps | None, record: Record
) -> "list[Route]":
    """Where recipients ask for what is held, if they are given links. Raises ConfigError."""
    # Not for every command: it takes longer to import than most of them run.
    from mailward.console.asking import Asking

    made = links(config)
    if made is None:
        return []

    async def release(id_: str, recipient: str) -> Mapping[str, str]:
        return await releasing.let_out(quarantine, config.smtp, stamps, id_, only=recipient)

    book = request_book(config, quarantine)
    return Asking(made, quarantine, book, release, config.notify.on_request, record).routes
