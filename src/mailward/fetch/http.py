"""``http(s)://`` on urllib3, bounded in size, time, lowest speed and redirects (S1)."""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, MaxRetryError, ProxyError, SSLError
from urllib3.response import HTTPResponse

from mailward import __version__
from mailward.errors import FetchError
from mailward.fetch import backoff
from mailward.fetch.bounds import (
    CHUNK_BYTES,
    Limits,
    NotResumableError,
    NotThereError,
    Watchdog,
    bounded,
)
from mailward.fetch.route import Login, Route

_CONNECTIONS_MAX = 4
"""Kept open to one server: as many as the agent downloads at once."""

_REDIRECTS_MAX = 3
"""A mirror may send us on; more is a loop."""

_REASON_MAX_BYTES = 500
"""Of a refusal's text: a sentence or two."""

_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_NOT_MODIFIED = 304
_PARTIAL_CONTENT = 206
_PROXY_LOGIN = 407
_RANGE_NOT_SATISFIABLE = 416

_watchdog: ContextVar[Watchdog | None] = ContextVar("_watchdog", default=None)
"""Of the request that is being made: urllib3 opens connections out of our sight."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    not_modified: bool
    """Only after a conditional request: what the caller has is still right; there is no content."""
    headers: Mapping[str, str]
    """By name; case makes no difference."""
    chunks: Iterator[bytes]
    """The content. Raises FetchError while iterating, too."""


class BoundedHttp:
    """Connection pools, directly or through proxies. Threads may share it."""

    def __init__(self, limits: Limits, route: Route = Route()) -> None:  # noqa: B008 (frozen)
        self._limits = limits
        self._route = route
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self.bytes_received = 0
        self.requests = 0

    @contextmanager
    def get(
        self,
        url: str,
        max_bytes: int,
        conditions: Mapping[str, str] | None = None,
        start: int = 0,
        secret: Mapping[str, str] | None = None,
    ) -> Iterator[Answer]:
        """The answer to a GET, its content at most ``max_bytes`` long.

        ``conditions``: ``If-None-Match`` and ``If-Modified-Since`` (RFC 9110 section 13).
        ``start``: the content from that byte on; the bound is for the whole all the same.
        ``secret``: headers for this server alone, none that it redirects to (S15). Raises
        NotThereError, NotResumableError, or FetchError for anything else that goes wrong:
        unreachable, busy, too slow, too long, redirected where it must not go.
        """
        headers = dict(conditions or {}) | ({"Range": f"bytes={start}-"} if start else {})
        good = {200} | ({_NOT_MODIFIED} if conditions else set())
        good |= {_PARTIAL_CONTENT} if start else set()
        with Watchdog(url, self._limits) as watchdog:
            response = self._open(url, watchdog, headers, dict(secret or {}), good)
            try:
                yield Answer(
                    response.status == _NOT_MODIFIED,
                    response.headers,
                    self._content(url, response, max_bytes, start, watchdog),
                )
            finally:
                # An unfinished body cannot be followed by another request on the same connection.
                response.close()
                response.release_conn()

    def close(self) -> None:
        """End connections. May be repeated."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    def _open(
        self,
        url: str,
        watchdog: Watchdog,
        headers: dict[str, str],
        secret: dict[str, str],
        good: set[int],
    ) -> urllib3.BaseHTTPResponse:
        """The first answer that is neither a redirect nor a busy server's."""
        here, redirects, tries = url, 0, 0
        while True:
            shown = secret if _origin(here) == _origin(url) else {}  # S15
            response = self._request(url, here, watchdog, {**headers, **shown})
            if response.status in good:
                return response
            said = self._said(response)
            response.close()
            if response.status in _REDIRECT_STATUSES:
                redirects += 1
                if redirects > _REDIRECTS_MAX:
                    raise FetchError(f"{url}: redirected more than {_REDIRECTS_MAX} times")
                here = _redirected(here, response.headers.get("Location", ""))
                continue
            asked_for_s = backoff.retry_after_s(
                response.headers.get("Retry-After", ""), datetime.now(UTC)
            )
            if not backoff.is_busy(response.status, asked_for_s):
                raise self._refusal(url, response.status, said)
            tries += 1
            pause_s = backoff.wait_s(asked_for_s, tries)
            if pause_s is None:
                raise _busy(url, response.status, asked_for_s)
            watchdog.wait(pause_s)

    def _request(
        self, url: str, here: str, watchdog: Watchdog, headers: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        watchdog.require_time()
        pool = self._pool(here)
        with self._lock:
            self.requests += 1
        guarded = _watchdog.set(watchdog)
        try:
            return pool.request(
                "GET",
                here,
                headers={**pool.headers, **headers},
                preload_content=False,
                decode_content=False,
                redirect=False,
            )
        except HTTPError as e:
            watchdog.require_time()
            raise FetchError(f"{url}: {self._say(e)}") from e
        finally:
            _watchdog.reset(guarded)

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy, login = self._route.proxy_for(url)
        with self._lock:
            if proxy not in self._pools:
                self._tls = self._tls or self._route.tls()
                self._pools[proxy] = _pool(self._limits, self._tls, proxy, login)
            return self._pools[proxy]

    def _content(
        self,
        url: str,
        response: urllib3.BaseHTTPResponse,
        max_bytes: int,
        start: int,
        watchdog: Watchdog,
    ) -> Iterator[bytes]:
        if response.status == _PARTIAL_CONTENT:
            _require_start(url, response.headers.get("Content-Range", ""), start)
            skipped = 0
        else:
            start, skipped = 0, start
        length = response.headers.get("Content-Length", "")
        announced = int(length) if length.isdecimal() else None
        chunks = bounded(
            self._read(response),
            url,
            self._limits,
            max_bytes - start,
            watchdog,
            announced=announced,
        )
        try:
            yield from _from(chunks, skipped, url)
        except HTTPError as e:
            watchdog.require_time()
            raise FetchError(f"{url}: {self._say(e)}") from e

    def _read(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        while chunk := response.read1(CHUNK_BYTES):
            with self._lock:
                self.bytes_received += len(chunk)
            yield chunk

    def _said(self, response: urllib3.BaseHTTPResponse) -> str:
        """What a server gives as the reason for a refusal, in plain words; else nothing."""
        kind = response.headers.get("Content-Type", "")
        if response.status not in (401, 403) or not kind.startswith("text/plain"):
            return ""
        try:
            raw = response.read1(_REASON_MAX_BYTES)
        except HTTPError:
            return ""
        text = raw[:_REASON_MAX_BYTES].decode(errors="replace").strip()
        return ": " + "".join(c if c.isprintable() else " " for c in text) if text else ""

    def _refusal(self, url: str, status: int, said: str) -> FetchError:
        if status in (403, 404):
            return NotThereError(f"{url}: the server answered {status}{said}", status)
        if status == _PROXY_LOGIN:
            return FetchError(f"{url}: {self._proxy_asks()}")
        if status == _RANGE_NOT_SATISFIABLE:
            return NotResumableError(f"{url}: the server has no more than we have ({status})")
        return FetchError(f"{url}: the server answered {status}{said}")

    def _proxy_asks(self) -> str:
        where = f"{self._route.section}.proxy_login" if self._route.proxy else "its address"
        return f"the proxy asks for a user and password, or for others: see {where} (407)"

    def _say(self, error: HTTPError) -> str:
        """urllib3 nests its errors; the innermost says what happened."""
        reason: BaseException = error
        if isinstance(error, MaxRetryError) and error.reason is not None:
            reason = error.reason
        if isinstance(reason, ProxyError):
            inner = _words(reason.original_error)
            return self._proxy_asks() if "407" in inner else f"the proxy fails: {inner}"
        if isinstance(reason, SSLError):
            own = f" (own authority: {self._route.section}.ca_file)" if self._route.section else ""
            return f"no trust in the connection: {_words(reason)}{own}"
        return _words(reason)


def _words(error: BaseException) -> str:
    """What an error says, without the names of connections and pools that urllib3 puts before it:
    whoever reads it knows the address, and not our classes."""
    said = [
        str(arg)
        for arg in error.args
        if not isinstance(arg, HTTPConnection | urllib3.HTTPConnectionPool)
    ]
    text = (": ".join(said) or str(error))[:300]
    return text.partition("): ")[2] if text.startswith("_") and "): " in text else text


class _GuardedHttp(HTTPConnection):
    """Tells the watchdog of its sockets: when they are opened, and when they are used again."""

    def _new_conn(self) -> socket.socket:
        return _guarded(super()._new_conn())

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        _guarded(self.sock)
        return super().getresponse()


class _GuardedHttps(HTTPSConnection):
    """See _GuardedHttp."""

    def _new_conn(self) -> socket.socket:
        return _guarded(super()._new_conn())

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        _guarded(self.sock)
        return super().getresponse()


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _GuardedHttp


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedHttps


def _guarded(connection: socket.socket) -> socket.socket:
    watchdog = _watchdog.get()
    if watchdog is not None:
        watchdog.guard(connection)
    return connection


def _pool(
    limits: Limits, tls: ssl.SSLContext, proxy: str, login: Login | None
) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=limits.timeout_s, read=limits.timeout_s)
    retries = urllib3.Retry(
        connect=1,
        read=0,
        redirect=0,
        status=0,
        other=0,
        total=1,
        respect_retry_after_header=False,  # we do it, within limits
    )
    headers = {"User-Agent": f"mailward/{__version__}", "Accept-Encoding": "identity"}
    if not proxy:
        pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS_MAX,
            timeout=timeout,
            retries=retries,
            headers=headers,
            ssl_context=tls,
        )
    else:
        shown = f"{login.user}:{login.password}" if login else None
        pool = urllib3.ProxyManager(
            proxy,
            maxsize=_CONNECTIONS_MAX,
            timeout=timeout,
            retries=retries,
            headers=headers,
            ssl_context=tls,
            proxy_ssl_context=tls,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=shown),
        )
    pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return pool


def _from(chunks: Iterator[bytes], start: int, url: str) -> Iterator[bytes]:
    """Without the first ``start`` bytes, which a server sent though it was not asked for them."""
    for chunk in chunks:
        if start < len(chunk):
            yield chunk[start:]
        start = max(0, start - len(chunk))
    if start:
        raise NotResumableError(f"{url}: {start} bytes fewer are there than we have")


def _require_start(url: str, content_range: str, start: int) -> None:
    if not content_range.replace(" ", "").startswith((f"bytes{start}-", f"bytes={start}-")):
        raise NotResumableError(
            f"{url}: asked for bytes from {start} on, it sent {content_range[:80]!r}"
        )


def _origin(url: str) -> tuple[str, str]:
    pieces = urlsplit(url)
    return pieces.scheme, pieces.netloc.lower()


def _redirected(here: str, location: str) -> str:
    there = urljoin(here, location)
    allowed = ("https",) if urlsplit(here).scheme == "https" else ("http", "https")
    if not location or urlsplit(there).scheme not in allowed:
        raise FetchError(f"{here}: redirected to {there[:200]!r}, which is not allowed")
    return there


def _busy(url: str, status: int, asked_for_s: float | None) -> FetchError:
    if asked_for_s is None:
        return FetchError(f"{url}: the server answered {status}, and again when asked again")
    # A hostile header must not overflow the date.
    at = datetime.now(UTC) + timedelta(seconds=min(asked_for_s, 86_400 * 366))
    return FetchError(
        f"{url}: the server answered {status} and asks to try again in {asked_for_s:.0f} s "
        f"({at:%Y-%m-%d %H:%M} UTC)"
    )
