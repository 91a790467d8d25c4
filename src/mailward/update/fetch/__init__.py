"""Getting bytes from where a repository is: one interface, one file per kind of address.

Nothing that comes through here is trusted; it is only bounded (S1).
``tests/contract/fetch_contract.py`` is the suite that every implementation passes.
"""

from urllib.parse import urlsplit

from mailward.config import UpdateSettings
from mailward.errors import ConfigError
from mailward.update.fetch.base import Fetcher, NotThereError
from mailward.update.fetch.file import FileFetcher
from mailward.update.fetch.http import HttpFetcher

__all__ = ["Fetcher", "NotThereError", "fetcher_for"]


def fetcher_for(address: str, settings: UpdateSettings) -> Fetcher:
    """The fetcher for a repository's address. Raises ConfigError for kinds that are not known."""
    scheme = urlsplit(address).scheme
    if scheme in ("http", "https"):
        return HttpFetcher(settings)
    if scheme == "file":
        return FileFetcher()
    raise ConfigError(
        f"update.repository {address!r}: expected an address that begins with https://, http:// or "
        "file://"
    )
