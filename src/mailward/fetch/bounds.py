"""What a transfer may take, whatever the protocol: size, time, lowest speed (S1)."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from mailward.errors import FetchError

CHUNK_BYTES = 64 * 1024
"""Read at a time: large enough for full speed, small enough to notice a stall."""

_SPEED_WINDOW_S = 30.0


class NotThereError(FetchError):
    """The server answered, and said that it does not have it (HTTP 404 or 403, no such file)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotResumableError(FetchError):
    """The server does not go on where it was asked to: begin anew."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an answer may take."""

    timeout_s: float
    """For a connection and for each read from it."""
    total_timeout_s: float
    """For one file, start to end."""
    min_bytes_per_s: int
    """Over 30 s; below it the download is given up (slow retrieval)."""
    section: str
    """Of the settings that these come from, for messages."""


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Watchdog:
    """Ends one transfer's connections at its deadline, whatever they are waiting for.

    Timeouts of sockets begin anew with each byte; somebody who drips them is stopped only here.
    """

    def __init__(self, url: str, limits: Limits) -> None:
        self._message = (
            f"{url}: not done after {limits.total_timeout_s:g} s ({limits.section}.total_timeout_s)"
        )
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._bitten = threading.Event()
        self._timer = threading.Timer(limits.total_timeout_s, self._bite)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()

    def guard(self, connection: _HasFileno) -> None:
        """Watch over a connection, too. It stays the caller's."""
        # A duplicate still works when TLS takes the descriptor over or somebody closes it.
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(connection.fileno())))
        if self._bitten.is_set():
            self._bite()

    def wait(self, seconds: float) -> None:
        """Pause, at most until the deadline. Raises FetchError then."""
        self._bitten.wait(seconds)
        self.require_time()

    def require_time(self) -> None:
        """Raises FetchError when the deadline has passed."""
        if self._bitten.is_set():
            raise FetchError(self._message)

    def _bite(self) -> None:
        self._bitten.set()
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):  # it has ended by itself
                    connection.shutdown(socket.SHUT_RDWR)


def bounded(
    chunks: Iterable[bytes],
    url: str,
    limits: Limits,
    max_bytes: int,
    watchdog: Watchdog,
    *,
    announced: int | None,
) -> Iterator[bytes]:
    """Hands ``chunks`` on within limits; ``announced`` is how many bytes they should be.

    Raises FetchError when they are more than ``max_bytes``, fewer or more than announced, too slow
    or not done in time.
    """
    if announced is not None and announced > max_bytes:
        raise FetchError(f"{url}: {announced} bytes announced, {max_bytes} allowed")
    received = 0
    window_began, window_received = time.monotonic(), 0
    for chunk in chunks:
        received += len(chunk)
        if received > max_bytes:
            raise FetchError(f"{url}: longer than the {max_bytes} bytes allowed")
        watchdog.require_time()
        window_s = time.monotonic() - window_began
        if window_s > _SPEED_WINDOW_S:
            if received - window_received < limits.min_bytes_per_s * window_s:
                raise FetchError(
                    f"{url}: slower than {limits.min_bytes_per_s} bytes/s "
                    f"({limits.section}.min_bytes_per_s)"
                )
            window_began, window_received = time.monotonic(), received
        yield chunk
    watchdog.require_time()
    if announced is not None and received != announced:
        raise FetchError(f"{url}: cut off after {received} of {announced} bytes")
