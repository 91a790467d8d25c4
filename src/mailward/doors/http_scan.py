"""`POST /v1/scan`: a message or a file in, its verdict out, as JSON. No mail passes here.

The body is what is to be scanned, as it is. ``Content-Type: message/rfc822`` makes it a message;
anything else is a file, whose name may be given as ``?name=``. The answer is what `mailward scan
--json` prints. Who asks shows a token (``Authorization: Bearer …``).

====== ===========================================================================
200    the verdict; whatever it is, the scan was done
401    no token, or another one than ``http.tokens`` has
411    no Content-Length and no chunked body
413    larger than ``http.max_bytes``
503    no worker can scan, or too many scans at once, or only a doubted signature finds something
       (S14); ``Retry-After`` says when to come again
====== ===========================================================================
"""

import asyncio
import hashlib
import hmac
import stat
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mailward.doors.scanning import Scans
from mailward.doors.told import Record, tell, unrecorded
from mailward.errors import ConfigError, ScannerDownError
from mailward.protect import outbreak
from mailward.protect.events import Event
from mailward.protect.guard import Guard
from mailward.scan.part import Role
from mailward.scan.verdict import Verdict
from mailward.settings.doors import HttpSettings

_BODY_WITHIN_S = 120.0
"""For the whole body to arrive: a slow client must not keep a place for ever."""
_RETRY_AFTER_S = 5
_DOUBTED_AFTER_S = 300
"""People judge, not computers."""
_NAME_MAX = 255
_TOKEN_MIN = 16
"""Characters: what is shorter can be guessed."""


class HttpScan:
    """The handler; ``routes`` are put into the console's listener."""

    def __init__(
        self,
        settings: HttpSettings,
        scanner: Scans,
        record: Record = unrecorded,
        guard: Guard | None = None,
    ) -> None:
        """Raises ConfigError when the tokens cannot be used."""
        self._settings = settings
        self._scanner = scanner
        self._record = record
        self._guard = guard
        self._tokens = _tokens(settings.tokens)
        self._places = asyncio.Semaphore(settings.max_concurrent)

    @property
    def routes(self) -> list[Route]:
        """For Starlette."""
        return [Route("/v1/scan", self._scan, methods=["POST"])]

    async def _scan(self, request: Request) -> Response:
        if not self._knows(request.headers.get("authorization", "")):
            return _refusal(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._settings.max_bytes:
            return self._too_large()
        if self._places.locked():
            return _refusal(503, "too many scans at once", {"Retry-After": str(_RETRY_AFTER_S)})
        async with self._places:
            try:
                async with asyncio.timeout(_BODY_WITHIN_S):
                    body = await self._body(request)
            except TimeoutError:
                return _refusal(408, f"the body did not arrive within {_BODY_WITHIN_S:g} s")
            except ClientDisconnect:
                return Response(status_code=400)
            return self._too_large() if body is None else await self._verdict(request, body)

    async def _body(self, request: Request) -> bytearray | None:
        body = bytearray()
        async for piece in request.stream():
            if len(body) + len(piece) > self._settings.max_bytes:
                return None
            body += piece
        return body

    async def _verdict(self, request: Request, body: bytearray) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        role = Role.MESSAGE if kind == "message/rfc822" else Role.FILE
        name = request.query_params.get("name", "")[:_NAME_MAX]
        try:
            verdict = await self._scanner.scan(body, role=role, name=name)
        except ScannerDownError:
            why = "no worker can scan at the moment"
            return _refusal(503, why, {"Retry-After": str(_RETRY_AFTER_S)})
        doubted = self._guard.note(verdict, body) if self._guard is not None else frozenset()
        if doubted and self._settings.doubted == "ERROR":
            verdict = outbreak.without(verdict, doubted)
            if not verdict.risks:  # S14
                tell(_event(request, body, verdict, 503), self._record)
                why = "what was found is held in doubt until it is judged"
                again = {"Retry-After": str(_DOUBTED_AFTER_S)}
                return _refusal(503, why, again, doubted=sorted(doubted))
        tell(_event(request, body, verdict, 200), self._record)
        return JSONResponse(verdict.to_plain())

    def _too_large(self) -> Response:
        return _refusal(413, f"more than {self._settings.max_bytes} bytes")

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip())
        known = [
            hmac.compare_digest(digest, each) for each in self._tokens
        ]  # all of them: no timing
        return scheme.lower() == "bearer" and any(known)


def _event(request: Request, body: bytearray, verdict: Verdict, status: int) -> Event:
    return Event(
        event="message",
        door="http",
        client=request.client.host if request.client is not None else "",
        size_bytes=len(body),
        verdict=verdict.kind.value,
        risks=tuple(dict.fromkeys(risk.name for risk in verdict.risks)),
        set_version=verdict.set,
        answer=str(status),
        ms=round(verdict.ms, 1),
    )


def _refusal(
    status: int, why: str, headers: dict[str, str] | None = None, **more: list[str]
) -> Response:
    return JSONResponse({"error": why, **more}, status_code=status, headers=headers)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _tokens(path: Path | None) -> list[bytes]:
    """Digests of the tokens in the file: nothing that is kept in memory could be used (S15)."""
    if path is None:
        raise ConfigError("http.enabled needs http.tokens: a file with one token a line")
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not text"
        raise ConfigError(f"http.tokens: {path}: {why}") from e
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"http.tokens: others can read {path}: chmod 600 it")
    if not lines or any(len(line) < _TOKEN_MIN for line in lines):
        raise ConfigError(
            f"http.tokens: {path} needs one token a line, of {_TOKEN_MIN} characters or more"
        )
    return [_digest(line) for line in lines]
