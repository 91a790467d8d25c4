"""Messages of our own, and held ones, to the next hops of their recipients."""

import socket
from collections.abc import Mapping

from mailward.definitions.model import Version
from mailward.doors import headers
from mailward.doors.relay import Relay
from mailward.doors.routes import Routes
from mailward.protect.held import Envelope
from mailward.protect.quarantine import Quarantine
from mailward.protect.stamp import Stamps, Vouched
from mailward.settings.doors import SmtpSettings

_NO_SET = Version(0, 0)
"""A person has released it, not a set."""


async def send(settings: SmtpSettings, envelope: Envelope, message: bytes) -> Mapping[str, str]:
    """On connections of its own; who was refused. Raises TemporaryError, ConfigError."""
    relay = Relay(Routes.of(settings), settings.hostname or socket.getfqdn())
    try:
        return await relay.deliver(envelope, message)
    finally:
        relay.close()


async def let_out(
    quarantine: Quarantine,
    settings: SmtpSettings,
    stamps: Stamps | None,
    id_: str,
    to: tuple[str, ...] = (),
    only: str = "",
) -> Mapping[str, str]:
    """Release one message; who was refused. Raises as ``Quarantine.release``.

    ``only``: to that one of its recipients; it stays held for the others.
    """

    async def hand_over(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        ours = headers.released(id_)
        if stamps is not None:  # or another Mailward on its way would catch it again
            ours += stamps.make(message, Vouched.RELEASED, _NO_SET)
        return await send(settings, envelope, ours + message)

    return await quarantine.release(id_, hand_over, to, only)
