"""Getting bytes from where a repository is: one interface, one file per kind of address.

Nothing that comes through here is trusted; it is only bounded (S1).
``tests/contract/test_fetchers.py`` is the suite that every implementation passes.
"""

from urllib.parse import urlsplit

from mailward.errors import ConfigError
from mailward.settings.update import UpdateSettings
from mailward.update.fetch.base import Bearer, Fetcher, NotResumableError, NotThereError
from mailward.update.fetch.file import FileFetcher
from mailward.update.fetch.ftp import FtpFetcher
from mailward.update.fetch.http import HttpFetcher
from mailward.update.fetch.mirrors import Mirrors

__all__ = [
    "Bearer",
    "Fetcher",
    "Mirrors",
    "NotResumableError",
    "NotThereError",
    "fetcher_for",
    "mirrors_of",
]


def fetcher_for(address: str, settings: UpdateSettings) -> Fetcher:
    """The fetcher for a repository's address. Raises ConfigError for kinds that are not known."""
    try:
        pieces = urlsplit(address)
        host, user = pieces.hostname, pieces.username
        _ = pieces.port
    except ValueError as e:
        raise ConfigError(f"update.repository: not an address: {e}") from e
    if user is not None:  # S15: addresses are shown in messages
        raise ConfigError(
            "update.repository and update.mirrors: addresses hold no user and password; "
            "put them into a file (update.ftp_login)"
        )
    if pieces.scheme in ("http", "https") and host:
        return HttpFetcher(settings)
    if pieces.scheme in ("ftp", "ftps") and host:
        return FtpFetcher(settings)
    if pieces.scheme == "file":
        return FileFetcher()
    raise ConfigError(
        f"update.repository or update.mirrors {address!r}: expected an address that begins with "
        "https://, http://, ftps://, ftp:// or file://"
    )


def mirrors_of(settings: UpdateSettings) -> Mirrors:
    """The repository at all its addresses. Raises ConfigError."""
    addresses = dict.fromkeys(a.rstrip("/") for a in (settings.repository, *settings.mirrors))
    return Mirrors(
        list(addresses),
        lambda address: fetcher_for(address, settings),
        license_in_clear=settings.license_in_clear,
    )
