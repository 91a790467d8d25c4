"""A static HTTP server for the public folder: what nginx would do, for those without one.

Reading only: GET and HEAD, ranges, ETag, no listings, nothing outside the folder. Signatures
protect the content, so plain HTTP is safe to use; who fetches what is visible to the network.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailward.errors import TemporaryError, UsageError

log = structlog.get_logger(__name__)

_CONNECTIONS_MAX = 1000
"""At once; further ones get 503 and come again."""

_KEEP_ALIVE_S = 15
_HEADERS_MAX_BYTES = 16 * 1024
_STOP_WITHIN_S = 2
"""For downloads under way when the server stops; they are resumable."""

_IMMUTABLE = "public, max-age=86400, immutable"
"""Every name but the timestamp's holds a number or a hash, and is never given other content."""


def application(folder: Path) -> Starlette:
    """The ASGI application that serves ``folder``. Raises UsageError if there is none."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder to serve")
    files = _Files(directory=folder)
    return Starlette(routes=[Mount("/", files)], middleware=[Middleware(_AccessLog)])


@contextlib.asynccontextmanager
async def serving(folder: Path, host: str, port: int) -> AsyncIterator[int]:
    """Serve ``folder`` meanwhile; the port, which ``port`` 0 leaves to the system.

    Raises UsageError if there is no such folder, TemporaryError if the address cannot be used.
    """
    app, listening = application(folder), _listen(host, port)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
        h11_max_incomplete_event_size=_HEADERS_MAX_BYTES,
        http="h11",
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await server.up.wait()
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await running
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
    except OSError as e:
        raise TemporaryError(f"cannot listen on {host}:{port}: {e.strerror}") from e
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as e:
        listening.close()
        raise TemporaryError(f"cannot listen on {host}:{port}: {e.strerror}") from e
    return listening


class _Server(uvicorn.Server):
    """uvicorn as a part of a larger process: signals belong to whoever runs the loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class _Files(StaticFiles):
    """Starlette's static files; names that begin with a dot are files still being written."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        if any(piece.startswith(".") for piece in path.split("/")):
            return "", None
        return super().lookup_path(path)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """See StaticFiles; tells caches what may change."""
        response = await super().get_response(path, scope)
        changes = path == "metadata/timestamp.json"
        response.headers["Cache-Control"] = "no-cache" if changes else _IMMUTABLE
        return response


class _AccessLog:
    """One event for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, sent = 0, 0

        async def counting(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            client = scope.get("client")
            log.info(
                "request",
                client=client[0] if client else "",
                method=scope["method"],
                path=scope["path"],
                status=status,
                bytes=sent,
                ms=round((time.perf_counter() - began) * 1000, 1),
            )
