"""The HTTP listener. It can fail without anything else failing: mail comes first."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mailward.console.health import Health
from mailward.console.metrics import CONTENT_TYPE
from mailward.settings.service import ConsoleSettings
from mailward.webserver import WebServer

_ValueT = TypeVar("_ValueT")

log = structlog.get_logger(__name__)

_CONNECTIONS_MAX = 50
"""At once; each answer reads a little of the disk."""
_HEADERS_MAX_BYTES = 16 * 1024
_KEEP_ALIVE_S = 5
_RECENT_S = 1.0
_STOP_WITHIN_S = 2


class Listener:
    """Answers ``/healthz``, ``/metrics`` and ``more`` until it is stopped.

    ``health`` and ``metrics`` may block; they are asked in threads.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        health: Callable[[], Health],
        metrics: Callable[[], bytes],
        more: Sequence[Route] = (),
    ) -> None:
        self._settings = settings
        self._health = _Recent(health)
        self._metrics = _Recent(metrics)
        self._more = more
        self._server: WebServer | None = None
        self._running: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Open it. An address that cannot be used is logged: scanning and updates go on."""
        host, _, port = self._settings.listen.rpartition(":")
        host = host.strip("[]")
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.create_server((host, int(port)), family=family)
        except OSError as e:
            log.error(
                "the console cannot listen (console.listen); everything else goes on",
                listen=self._settings.listen,
                why=e.strerror or str(e),
            )
            return
        self.port = listening.getsockname()[1]
        routes = [Route("/healthz", self._tell_health), Route("/metrics", self._tell_metrics)]
        routes += self._more
        self._server = WebServer(
            uvicorn.Config(
                Starlette(routes=routes),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS_MAX,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_STOP_WITHIN_S,
                h11_max_incomplete_event_size=_HEADERS_MAX_BYTES,
            )
        )
        self._running = asyncio.create_task(self._server.serve(sockets=[listening]))
        await self._server.up.wait()

    async def stop(self) -> None:
        """Close it."""
        if self._server is not None and self._running is not None:
            self._server.should_exit = True
            await self._running

    async def _tell_health(self, _: Request) -> Response:
        health = await self._health.get()
        return JSONResponse(health.body, status_code=200 if health.protected else 503)

    async def _tell_metrics(self, _: Request) -> Response:
        return Response(await self._metrics.get(), media_type=CONTENT_TYPE)


class _Recent(Generic[_ValueT]):
    """An answer that is good for a second: many that ask at once cost no more than one."""

    def __init__(self, ask: Callable[[], _ValueT]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._answer: tuple[float, _ValueT] | None = None

    async def get(self) -> _ValueT:
        """The recent answer, or a new one."""
        async with self._asking:
            now = time.monotonic()
            if self._answer is None or now - self._answer[0] >= _RECENT_S:
                self._answer = now, await asyncio.to_thread(self._ask)
            return self._answer[1]
