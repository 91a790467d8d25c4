"""``http(s)://``: the bounded client of ``mailward.fetch`` with the agent's limits."""

from collections.abc import Iterator

from mailward.config import UpdateSettings
from mailward.fetch import BoundedHttp, Limits


class HttpFetcher(BoundedHttp):
    """See Fetcher."""

    def __init__(self, settings: UpdateSettings) -> None:
        super().__init__(
            Limits(settings.timeout_s, settings.total_timeout_s, settings.min_bytes_per_s, "update")
        )

    def fetch(self, url: str, max_bytes: int) -> Iterator[bytes]:
        """See Fetcher.fetch."""
        with self.get(url, max_bytes) as answer:
            yield from answer.chunks
