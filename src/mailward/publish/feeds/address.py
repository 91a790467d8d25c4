"""A feed at an ``https://`` or ``http://`` address: one file, downloaded within limits, then read
like one on disk.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mailward.errors import FetchError, FormatError, PermanentError, TrustError
from mailward.fetch import BoundedHttp, Limits
from mailward.publish.feeds.base import FILE_MAX_BYTES, Feed, LeftOut, Reading

_VALIDATOR_MAX = 1000
"""Characters of an ETag that is worth remembering; real ones have below 100."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """What a download may take (``[fetch]`` in publisher.toml)."""

    timeout_s: float = 30.0
    total_timeout_s: float = 1800.0
    min_bytes_per_s: int = 1024
    max_bytes: int = FILE_MAX_BYTES

    @property
    def limits(self) -> Limits:
        """For the client."""
        return Limits(self.timeout_s, self.total_timeout_s, self.min_bytes_per_s, "fetch")


@dataclass(frozen=True, slots=True)
class Validators:
    """What lets a server say that nothing changed (RFC 9110 section 8.8). Empty: it gave none."""

    etag: str = ""
    last_modified: str = ""

    @property
    def conditions(self) -> dict[str, str]:
        """The headers of a conditional request."""
        found = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class AddressFeed:
    """``open_file`` makes the reader of the downloaded file, whose name ends in ``suffix``."""

    name: str
    address: str
    suffix: str
    open_file: Callable[[Path], Feed]
    fetching: Fetching = Fetching()

    def read(self) -> Reading:
        """See Feed.read."""
        found = self.read_unless(Validators())
        if found is None:
            raise FetchError(f"{self.address}: not modified, it says, without being asked")
        return found[0]

    def read_unless(self, same: Validators) -> tuple[Reading, Validators] | None:
        """What is there now; None if it is the ``same`` as before. Raises like Feed.read."""
        with tempfile.TemporaryDirectory(prefix="mailward-feed-") as folder:
            path = Path(folder, f"{self.name}{self.suffix}")
            validators = self._download(path, same)
            return None if validators is None else (self._read(path), validators)

    def _download(self, path: Path, same: Validators) -> Validators | None:
        http = BoundedHttp(self.fetching.limits)
        try:
            with (
                http.get(self.address, self.fetching.max_bytes, same.conditions) as answer,
                path.open("wb") as file,
            ):
                if answer.not_modified:
                    return None
                file.writelines(answer.chunks)
                return Validators(
                    _validator(answer.headers.get("ETag", "")),
                    _validator(answer.headers.get("Last-Modified", "")),
                )
        finally:
            http.close()

    def _read(self, path: Path) -> Reading:
        """What is in the file, which is called by its address: the path is gone in a moment."""

        def named(text: str) -> str:
            return text.replace(str(path), self.address)

        try:
            reading = self.open_file(path).read()
        except PermanentError as e:
            kind = TrustError if isinstance(e, TrustError) else FormatError
            raise kind(named(str(e))) from e
        return replace(
            reading,
            left_out=tuple(LeftOut(named(p.where), named(p.reason)) for p in reading.left_out),
            remarks=tuple(named(remark) for remark in reading.remarks),
        )


def _validator(text: str) -> str:
    return text if text.isprintable() and text.isascii() and len(text) <= _VALIDATOR_MAX else ""
