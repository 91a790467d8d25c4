"""uvicorn as a part of a larger process: signals belong to whoever runs the loop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn


class WebServer(uvicorn.Server):
    """``up`` is set when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's hook: it would take SIGTERM and SIGINT for itself."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's hook."""
        await super().startup(sockets)
        self.up.set()
