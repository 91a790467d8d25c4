"""The Fetcher interface."""

from collections.abc import Iterator
from typing import Protocol

from mailward.fetch import CHUNK_BYTES, NotThereError

__all__ = ["CHUNK_BYTES", "Fetcher", "NotThereError"]


class Fetcher(Protocol):
    """Gets one file at a time. May be repeated freely; keeps only connections between calls."""

    bytes_received: int
    """Content bytes since it was made, for reports."""
    requests: int

    def fetch(self, url: str, max_bytes: int) -> Iterator[bytes]:
        """The content of ``url`` in chunks, at most ``max_bytes`` of it.

        Raises NotThereError, or FetchError for anything else that goes wrong: unreachable, too
        slow, too long, redirected where it must not go. Errors come while iterating, too.
        """
        ...

    def close(self) -> None:
        """End connections. May be repeated."""
        ...
