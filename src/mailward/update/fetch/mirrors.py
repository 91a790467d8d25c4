"""One repository at several addresses: what one cannot give, the next one does.

None of them is trusted more or less than another: the signatures decide (S1).
"""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import structlog

from mailward.errors import ConfigError, FetchError
from mailward.update.fetch.base import Bearer, Fetcher, NotThereError

log = structlog.get_logger(__name__)


class Mirrors:
    """See Fetcher: an address below any of ``addresses`` is looked for at all of them.

    ``make`` gives an address its fetcher. Threads may share it.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        make: Callable[[str], Fetcher],
        *,
        license_in_clear: bool = False,
    ) -> None:
        self.addresses = tuple(addresses)
        """In order of preference, none with a slash at its end."""
        self._fetchers = {address: make(address) for address in self.addresses}
        self._failed: frozenset[str] = frozenset()
        self._license_in_clear = license_in_clear

    @property
    def bytes_received(self) -> int:
        """See Fetcher."""
        return sum(fetcher.bytes_received for fetcher in self._fetchers.values())

    @property
    def requests(self) -> int:
        """See Fetcher."""
        return sum(fetcher.requests for fetcher in self._fetchers.values())

    def only(self, address: str) -> Fetcher:
        """The fetcher of one of the addresses, which asks no other."""
        return self._fetchers[address]

    def fetch(self, url: str, max_bytes: int, start: int = 0) -> Iterator[bytes]:
        """See Fetcher.fetch. Goes on elsewhere where one address broke off."""
        errors: list[FetchError] = []
        for address, here in self._places(url):
            try:
                for chunk in self._fetchers[address].fetch(here, max_bytes, start):
                    start += len(chunk)
                    yield chunk
                return
            except FetchError as e:
                errors.append(e)
                self._remember(address, e)
        raise together(errors)

    def present(self, bearer: Bearer) -> None:
        """See Fetcher.present. Servers that it would reach unencrypted do not get to see it, unless
        that is allowed (S15). Raises ConfigError if there are no others."""
        allowed = self._license_in_clear
        open_ones = [a for a in self.addresses if not allowed and _travels_in_clear(a)]
        if len(open_ones) == len(self.addresses):
            raise ConfigError(
                f"{open_ones[0]}: the license would travel unencrypted: use an address that begins "
                "with https:// or ftps://, or set update.license_in_clear = true"
            )
        for address, fetcher in self._fetchers.items():
            if address in open_ones:
                log.warning("the license is not shown to a mirror without TLS", mirror=address)
            else:
                fetcher.present(bearer)

    def close(self) -> None:
        """See Fetcher.close."""
        for fetcher in self._fetchers.values():
            fetcher.close()

    def _places(self, url: str) -> list[tuple[str, str]]:
        """Each address with what ``url`` is there; those that failed before come last."""
        base = next(a for a in self.addresses if url.startswith(f"{a}/"))
        order = [base, *(a for a in self.addresses if a != base)]
        order.sort(key=lambda address: address in self._failed)
        return [(address, address + url.removeprefix(base)) for address in order]

    def _remember(self, address: str, error: FetchError) -> None:
        if len(self.addresses) == 1:
            return
        if not isinstance(error, NotThereError):  # it may just not have this one yet
            self._failed |= {address}
        log.warning("mirror failed, trying the others", why=str(error))


def _travels_in_clear(address: str) -> bool:
    """Whether others on the network could read a secret that is sent there."""
    pieces = urlsplit(address)
    if pieces.scheme not in ("http", "ftp"):
        return False
    host = pieces.hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def together(errors: Sequence[FetchError]) -> FetchError:
    """One error that says what all addresses said."""
    if len(errors) == 1 or all(isinstance(error, NotThereError) for error in errors):
        return errors[0]
    return FetchError("; ".join(str(error) for error in errors))
