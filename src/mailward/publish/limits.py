"""How much one client may take of the HTTP server: connections at once, and requests over time."""

import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

_CLIENTS_MAX = 100_000
"""Remembered at once; the one not seen for longest is forgotten, and begins with a full bucket."""


@dataclass(frozen=True, slots=True)
class Limits:
    """For each client: an IPv4 address, or an IPv6 network of 64 bits."""

    connections: int = 50
    """At once; further ones get 503. Many agents may share an address (NAT)."""
    requests_per_s: float = 50.0
    """In the long run; more get 429. A check takes an agent 2 to 5 requests, a new set one for each
    shard that changed."""
    burst: int = 500
    """At once, after a quiet while."""


class Gatekeeper:
    """Counts; the bucket of tokens is that of nginx's ``limit_req`` and many others."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: Counter[str] = Counter()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def connect(self, address: str) -> bool:
        """Whether a client may have one more connection. Whatever the answer, ``disconnect``."""
        client = client_of(address)
        self._open[client] += 1
        return self._open[client] <= self.limits.connections

    def disconnect(self, address: str) -> None:
        """A connection has ended."""
        client = client_of(address)
        self._open[client] -= 1
        if self._open[client] <= 0:
            del self._open[client]

    def wait_s(self, address: str, now: float | None = None) -> float:
        """0 if a client may send a request now, which counts; otherwise when to come again.

        ``now``: in the seconds of a monotonic clock.
        """
        now = time.monotonic() if now is None else now
        client = client_of(address)
        tokens, at = self._buckets.pop(client, (float(self.limits.burst), now))
        tokens = min(self.limits.burst, tokens + (now - at) * self.limits.requests_per_s)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _CLIENTS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self.limits.requests_per_s


def client_of(address: str) -> str:
    """What counts as one client: who has an IPv6 address mostly has 2^64 of them."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return str(ip)
