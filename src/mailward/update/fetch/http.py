"""``http(s)://``: the bounded client of ``mailward.fetch`` with the agent's limits and route."""

from collections.abc import Iterator

from mailward.errors import ConfigError
from mailward.fetch import BoundedHttp, Limits, Route
from mailward.settings.update import UpdateSettings
from mailward.update.fetch.base import Bearer


class HttpFetcher(BoundedHttp):
    """See Fetcher."""

    def __init__(self, settings: UpdateSettings) -> None:
        super().__init__(limits(settings), route(settings))

        self._shown: dict[str, str] = {}

    def fetch(self, url: str, max_bytes: int, start: int = 0) -> Iterator[bytes]:
        """See Fetcher.fetch."""
        with self.get(url, max_bytes, start=start, secret=self._shown) as answer:
            yield from answer.chunks

    def present(self, bearer: Bearer) -> None:
        """See Fetcher.present; ``Authorization`` as in RFC 6750."""
        self._shown = {
            "Authorization": f"Bearer {bearer.token}",
            "Mailward-Installation": bearer.installation,
        }


def limits(settings: UpdateSettings) -> Limits:
    """What a transfer may take."""
    return Limits(settings.timeout_s, settings.total_timeout_s, settings.min_bytes_per_s, "update")


def route(settings: UpdateSettings) -> Route:
    """The way there. Raises ConfigError for a proxy address that holds a password."""
    if "@" in settings.proxy:  # S15: the configuration is shown and printed
        raise ConfigError("update.proxy: put user:password into a file (update.proxy_login)")
    return Route(
        settings.proxy,
        settings.proxy_login,
        settings.ca_file,
        settings.client_cert,
        settings.client_key,
        "update",
    )
