"""``http(s)://`` on urllib3, bounded in size, time, lowest speed and redirects (S1)."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from mailward import __version__
from mailward.errors import FetchError

CHUNK_BYTES = 64 * 1024
"""Read at a time: large enough for full speed, small enough to notice a stall."""

_REDIRECTS_MAX = 3
"""A mirror may send us on; more is a loop."""

_SPEED_WINDOW_S = 30.0
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_NOT_MODIFIED = 304


class NotThereError(FetchError):
    """The server answered, and said that it does not have it (HTTP 404 or 403, no such file)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


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
    """One connection pool; proxies as ``http_proxy``/``https_proxy`` in the environment say."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=limits.timeout_s, read=limits.timeout_s),
            retries=urllib3.Retry(connect=2, read=0, redirect=0, status=0, other=0, total=2),
            headers={"User-Agent": f"mailward/{__version__}", "Accept-Encoding": "identity"},
        )
        self.bytes_received = 0
        self.requests = 0

    @contextmanager
    def get(
        self, url: str, max_bytes: int, conditions: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """The answer to a GET, its content at most ``max_bytes`` long.

        ``conditions``: ``If-None-Match`` and ``If-Modified-Since`` (RFC 9110 section 13). Raises
        NotThereError, or FetchError for anything else that goes wrong: unreachable, too slow, too
        long, redirected where it must not go.
        """
        began = time.monotonic()
        response = self._open(url, began, conditions or {})
        try:
            yield Answer(
                response.status == _NOT_MODIFIED,
                response.headers,
                self._read(url, response, max_bytes, began),
            )
        finally:
            # An unfinished body cannot be followed by another request on the same connection.
            response.close()
            response.release_conn()

    def close(self) -> None:
        """End connections. May be repeated."""
        self._pool.clear()

    def _open(
        self, url: str, began: float, conditions: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        here = url
        good = {200, _NOT_MODIFIED} if conditions else {200}
        for _ in range(_REDIRECTS_MAX + 1):
            self._require_time(url, began)
            self.requests += 1
            try:
                response = self._pool.request(
                    "GET",
                    here,
                    headers={**self._pool.headers, **conditions},
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                )
            except HTTPError as e:
                raise FetchError(f"{url}: {_say(e)}") from e
            if response.status in good:
                return response
            response.close()
            if response.status not in _REDIRECT_STATUSES:
                raise _refusal(url, response.status)
            here = _redirected(here, response.headers.get("Location", ""))
        raise FetchError(f"{url}: redirected more than {_REDIRECTS_MAX} times")

    def _read(
        self, url: str, response: urllib3.BaseHTTPResponse, max_bytes: int, began: float
    ) -> Iterator[bytes]:
        try:
            yield from self._read_bounded(url, response, max_bytes, began)
        except HTTPError as e:
            raise FetchError(f"{url}: {_say(e)}") from e

    def _read_bounded(
        self, url: str, response: urllib3.BaseHTTPResponse, max_bytes: int, began: float
    ) -> Iterator[bytes]:
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > max_bytes:
            raise FetchError(f"{url}: {announced} bytes announced, {max_bytes} allowed")
        received = 0
        window_began, window_received = time.monotonic(), 0
        while chunk := response.read1(CHUNK_BYTES):
            received += len(chunk)
            self.bytes_received += len(chunk)
            if received > max_bytes:
                raise FetchError(f"{url}: longer than the {max_bytes} bytes allowed")
            self._require_time(url, began)
            window_s = time.monotonic() - window_began
            if window_s > _SPEED_WINDOW_S:
                if received - window_received < self._limits.min_bytes_per_s * window_s:
                    raise FetchError(
                        f"{url}: slower than {self._limits.min_bytes_per_s} bytes/s "
                        f"({self._limits.section}.min_bytes_per_s)"
                    )
                window_began, window_received = time.monotonic(), received
            yield chunk
        if announced.isdecimal() and received != int(announced):
            raise FetchError(f"{url}: cut off after {received} of {announced} bytes")

    def _require_time(self, url: str, began: float) -> None:
        if time.monotonic() - began > self._limits.total_timeout_s:
            raise FetchError(
                f"{url}: not done after {self._limits.total_timeout_s:g} s "
                f"({self._limits.section}.total_timeout_s)"
            )


def _redirected(here: str, location: str) -> str:
    there = urljoin(here, location)
    allowed = ("https",) if urlsplit(here).scheme == "https" else ("http", "https")
    if not location or urlsplit(there).scheme not in allowed:
        raise FetchError(f"{here}: redirected to {there[:200]!r}, which is not allowed")
    return there


def _refusal(url: str, status: int) -> FetchError:
    if status in (403, 404):
        return NotThereError(f"{url}: the server answered {status}", status)
    return FetchError(f"{url}: the server answered {status}")


def _say(error: HTTPError) -> str:
    """urllib3 nests its errors; the innermost says what happened."""
    reason = getattr(error, "reason", None)
    return str(reason if isinstance(reason, Exception) else error)[:300]
