"""``http(s)://`` on urllib3, bounded in size, time, lowest speed and redirects (S1)."""

import time
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from mailward import __version__
from mailward.config import UpdateSettings
from mailward.errors import FetchError
from mailward.update.fetch.base import CHUNK_BYTES, NotThereError

_REDIRECTS_MAX = 3
"""A mirror may send us on; more is a loop."""

_SPEED_WINDOW_S = 30.0
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


class HttpFetcher:
    """One connection pool; proxies as ``http_proxy``/``https_proxy`` in the environment say."""

    def __init__(self, settings: UpdateSettings) -> None:
        self._settings = settings
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            retries=urllib3.Retry(connect=2, read=0, redirect=0, status=0, other=0, total=2),
            headers={"User-Agent": f"mailward/{__version__}", "Accept-Encoding": "identity"},
        )
        self.bytes_received = 0
        self.requests = 0

    def fetch(self, url: str, max_bytes: int) -> Iterator[bytes]:
        """See Fetcher.fetch."""
        began = time.monotonic()
        response = self._open(url, began)
        try:
            yield from self._read(url, response, max_bytes, began)
        except HTTPError as e:
            raise FetchError(f"{url}: {_say(e)}") from e
        finally:
            # An unfinished body cannot be followed by another request on the same connection.
            response.close()
            response.release_conn()

    def close(self) -> None:
        """See Fetcher.close."""
        self._pool.clear()

    def _open(self, url: str, began: float) -> urllib3.BaseHTTPResponse:
        here = url
        for _ in range(_REDIRECTS_MAX + 1):
            self._require_time(url, began)
            self.requests += 1
            try:
                response = self._pool.request(
                    "GET", here, preload_content=False, decode_content=False, redirect=False
                )
            except HTTPError as e:
                raise FetchError(f"{url}: {_say(e)}") from e
            if response.status == 200:
                return response
            response.close()
            if response.status not in _REDIRECT_STATUSES:
                raise _refusal(url, response.status)
            here = _redirected(here, response.headers.get("Location", ""))
        raise FetchError(f"{url}: redirected more than {_REDIRECTS_MAX} times")

    def _read(
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
                if received - window_received < self._settings.min_bytes_per_s * window_s:
                    raise FetchError(
                        f"{url}: slower than {self._settings.min_bytes_per_s} bytes/s "
                        "(update.min_bytes_per_s)"
                    )
                window_began, window_received = time.monotonic(), received
            yield chunk
        if announced.isdecimal() and received != int(announced):
            raise FetchError(f"{url}: cut off after {received} of {announced} bytes")

    def _require_time(self, url: str, began: float) -> None:
        if time.monotonic() - began > self._settings.total_timeout_s:
            raise FetchError(
                f"{url}: not done after {self._settings.total_timeout_s:g} s "
                "(update.total_timeout_s)"
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
