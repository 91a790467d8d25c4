"""What taking active content out of a document gives."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disarmed:
    """A document that something was taken out of."""

    data: bytes
    removed: tuple[str, ...]
    """For people, each once, e.g. ``macros``."""


class UnsoundError(Exception):
    """It cannot be disarmed so that the rest is harmless for sure; the message says why."""
