"""A static HTTP server for the public folder: what nginx would do, for those without one.

Reading only: GET and HEAD, ranges, ETag, gzip for JSON, no listings, nothing outside the folder;
limits for each client. Signatures protect the content, so plain HTTP is safe to use; who fetches
what is visible to the network.
"""

import asyncio
import contextlib
import gzip
import math
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from pathlib import Path

import anyio
import h11
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mailward.errors import TemporaryError, UsageError
from mailward.publish.gate import Gate, Refusal, Visitor
from mailward.publish.limits import Gatekeeper, Limits
from mailward.webserver import WebServer

log = structlog.get_logger(__name__)

_CONNECTIONS_MAX = 1000
"""Of all clients at once; further ones get 503 and come again."""

_REQUEST_WITHIN_S = 10.0
"""From connecting, or from a request's first byte, to its last; then the connection is closed."""

_KEEP_ALIVE_S = 15
_HEADERS_MAX_BYTES = 16 * 1024
_STOP_WITHIN_S = 2
"""For downloads under way when the server stops; they are resumable."""

_IMMUTABLE = "public, max-age=86400, immutable"
"""Every name but the timestamp's holds a number or a hash, and is never given other content."""

_IMMUTABLE_FOR_ONE = "private, max-age=86400, immutable"
"""What a license was shown for: a shared cache would give it to others."""


_COMPRESSED_MAX_BYTES = 1024 * 1024
"""Larger JSON is not compressed: it would cost more time than it saves, for anybody who asks."""

_COMPRESSED_FILES = 64
"""Kept compressed: what agents fetch at the moment is a handful of files."""


LICENSE_CHECK = "/license-check"
"""Answers other servers: 204 if the file that ``X-Original-URI`` names may be given (nginx's
``auth_request``)."""


def _application(folder: Path, gatekeeper: Gatekeeper, gate: Gate | None) -> Starlette:
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder to serve")
    routes: list[BaseRoute] = [Mount("/", _Files(folder, gate))]
    if gate is not None:
        routes.insert(0, Route(LICENSE_CHECK, _license_check(gate)))
    middleware = [Middleware(_AccessLog), Middleware(_RateLimit, gatekeeper=gatekeeper)]
    return Starlette(routes=routes, middleware=middleware)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, host: str, port: int, limits: Limits | None = None, gate: Gate | None = None
) -> AsyncIterator[int]:
    """Serve ``folder`` meanwhile; the port, which ``port`` 0 leaves to the system.

    ``gate``: who may have what; None: everybody everything, whatever the channels ask for.
    Raises UsageError if there is no such folder, TemporaryError if the address cannot be used.
    """
    gatekeeper = Gatekeeper(limits or Limits())
    app, listening = _application(folder, gatekeeper, gate), _listen(host, port)
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
        http=_protocol(gatekeeper),
    )
    server = WebServer(config)
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


def _protocol(gatekeeper: Gatekeeper) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 with what it does not bound: connections of one client, and the time that
    a request takes to arrive."""

    class Protocol(H11Protocol):
        _address = ""
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            if not gatekeeper.connect(self._address):
                log.info("client has too many connections", client=self._address)
                transport.write(_TOO_MANY_CONNECTIONS)
                transport.close()
                return
            self._await_request()

        def connection_lost(self, exc: Exception | None) -> None:
            gatekeeper.disconnect(self._address)
            self._arrived()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:  # only a part of a request is here
                self._await_request()
            else:
                self._arrived()

        def _await_request(self) -> None:
            if self._waiting is None:
                self._waiting = self.loop.call_later(_REQUEST_WITHIN_S, self.transport.close)

        def _arrived(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

    return Protocol


_TOO_MANY_CONNECTIONS = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class _Files(StaticFiles):
    """Starlette's static files; names that begin with a dot are files still being written."""

    def __init__(self, folder: Path, gate: Gate | None) -> None:
        super().__init__(directory=folder)
        self._gate = gate

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        if any(piece.startswith(".") for piece in path.split("/")):
            return "", None
        return super().lookup_path(path)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """See StaticFiles; compresses, and tells caches what may change."""
        free = await self._require_license(path, scope)
        response = await super().get_response(path, scope)
        if path.endswith(".json"):
            response.headers["Vary"] = "Accept-Encoding"
            if isinstance(response, FileResponse):
                response = await _compressed(response, Headers(scope=scope))
        changes = path == "metadata/timestamp.json"
        response.headers["Cache-Control"] = (
            "no-cache" if changes else _IMMUTABLE if free else _IMMUTABLE_FOR_ONE
        )
        return response

    async def _require_license(self, path: str, scope: Scope) -> bool:
        """Whether it is for everybody. Raises HTTPException if it is not for this visitor."""
        if self._gate is None or path.startswith("metadata/"):
            return True
        visitor = _visitor(Headers(scope=scope), scope)
        refusal = await anyio.to_thread.run_sync(self._gate.refusal, path, visitor)
        if refusal is not None:
            raise HTTPException(refusal.status, refusal.text, headers=_asking(refusal))
        return visitor.token is None

    def is_not_modified(self, response_headers: Headers, request_headers: Headers) -> bool:
        """See StaticFiles; the compressed form has an ETag of its own."""
        if super().is_not_modified(response_headers, request_headers):
            return True
        if not _wants_gzip(request_headers):
            return False
        known = [tag.strip() for tag in request_headers.get("if-none-match", "").split(",")]
        return _compressed_etag(response_headers["etag"]) in known


def _license_check(gate: Gate) -> Callable[[Request], Awaitable[Response]]:
    """What ``_Files`` would decide, for another server that gives the files."""

    async def answer(request: Request) -> Response:
        asked = request.headers.get("x-original-uri", "").partition("?")[0].removeprefix("/")
        visitor = _visitor(request.headers, request.scope)
        refusal = await anyio.to_thread.run_sync(gate.refusal, asked, visitor)
        if refusal is None:
            return Response(status_code=204)
        # To nginx anything but 401 and 403 is a failure of ours.
        status = 403 if refusal.status == 404 else refusal.status
        return PlainTextResponse(refusal.text, status, _asking(refusal))

    return answer


def _visitor(headers: Headers, scope: Scope) -> Visitor:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    client = scope.get("client")
    return Visitor(
        token.strip() if scheme.lower() == "bearer" else None,
        headers.get("mailward-installation", ""),
        client[0] if client else "",
    )


def _asking(refusal: Refusal) -> dict[str, str]:
    """RFC 6750, section 3."""
    return {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}


def _wants_gzip(headers: Headers) -> bool:
    """RFC 9110, section 12.5.3. A range is one of the plain content."""
    for coding in headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";")
        if name == "gzip":
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000") and "range" not in headers
    return False


def _compressed_etag(etag: str) -> str:
    return f'{etag[:-1]}-gzip"'


async def _compressed(response: FileResponse, wanted: Headers) -> Response:
    status = response.stat_result
    if status is None or status.st_size > _COMPRESSED_MAX_BYTES or not _wants_gzip(wanted):
        return response
    path = str(response.path)
    content = await anyio.to_thread.run_sync(_gzip, path, status.st_mtime_ns, status.st_size)
    if content is None:
        return response
    headers = {
        "Content-Encoding": "gzip",
        "ETag": _compressed_etag(response.headers["etag"]),
        "Last-Modified": response.headers["last-modified"],
        "Vary": "Accept-Encoding",
    }
    return Response(content, media_type="application/json", headers=headers)


@lru_cache(maxsize=_COMPRESSED_FILES)
def _gzip(path: str, mtime_ns: int, size: int) -> bytes | None:
    """A file compressed; None if it is not that file any more: it is then sent as it is."""
    content = Path(path).read_bytes()
    status = os.stat(path)
    if (status.st_mtime_ns, status.st_size, len(content)) != (mtime_ns, size, size):
        return None
    return gzip.compress(content, mtime=0)


class _RateLimit:
    """Requests of one client over time."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper) -> None:
        self._app = app
        self._gatekeeper = gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        wait_s = self._gatekeeper.wait_s(client[0] if client else "")
        if scope["type"] != "http" or not wait_s:
            await self._app(scope, receive, send)
            return
        refusal = Response(status_code=429, headers={"Retry-After": str(math.ceil(wait_s))})
        await refusal(scope, receive, send)


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
