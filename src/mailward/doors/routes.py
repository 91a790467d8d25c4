"""Which servers a recipient's mail goes to: by the domain, otherwise to the next hop of all others.

The most special entry wins, whatever their order: ``example.org`` before ``*.example.org``, that
before ``*.org``.
"""

from collections.abc import Mapping

from mailward.doors.next_hops import NextHops
from mailward.doors.tls import HopSecurity
from mailward.settings.domains import domain_key, entries_for
from mailward.settings.doors import SmtpSettings


class Routes:
    """Shared by all sessions of a gateway."""

    def __init__(self, default: NextHops, by_domain: Mapping[str, NextHops] | None = None) -> None:
        """``by_domain``: keys as ``domain_key`` makes them."""
        self.default = default
        self._by_domain = by_domain or {}
        self._all = tuple(dict.fromkeys((default, *self._by_domain.values())))

    @classmethod
    def of(cls, settings: SmtpSettings, security: HopSecurity | None = None) -> "Routes":
        """As configured. Raises ConfigError."""
        asked = security or HopSecurity.of(settings)

        def servers(*addresses: str) -> NextHops:
            return NextHops(addresses, settings.next_hop_timeout_s, asked)

        by_domain: dict[str, NextHops] = {}
        for route in settings.routes:
            by_domain |= dict.fromkeys(map(domain_key, route.domains), servers(*route.next_hops))
        return cls(servers(settings.next_hop, *settings.next_hop_fallback), by_domain)

    @property
    def several(self) -> bool:
        """Whether it depends on the recipient."""
        return len(self._all) > 1

    def to(self, path: str) -> NextHops:
        """For a recipient, as RCPT has it; one without a domain is as any other."""
        if not self._by_domain:
            return self.default
        found = (self._by_domain[entry] for entry in entries_for(path) if entry in self._by_domain)
        return next(found, self.default)

    def offered(self) -> Mapping[str, str]:
        """What all of them offer, as far as is known; of ``SIZE`` the smallest."""
        known = [hops.offered for hops in self._all if hops.offered is not None]
        common = {"8BITMIME": "", "SMTPUTF8": ""}
        common = {name: "" for name in common if all(name in offered for offered in known)}
        sizes = [offered.get("SIZE", "").lstrip("0") for offered in known]
        limits = [int(size[:20]) for size in sizes if size.isdecimal()]
        return common | ({"SIZE": str(min(limits))} if limits else {})
