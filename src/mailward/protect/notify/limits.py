"""How many notifications an address, and all together, have had within the last hour."""

from collections import deque

_HOUR_S = 3600.0
_ADDRESSES_MAX = 10_000
"""That are remembered; who has had none for an hour is forgotten first."""


class HourlyLimits:
    """Pure bookkeeping; ``now`` in seconds, of any clock that only goes forward."""

    def __init__(self, per_address: int, together: int) -> None:
        self._per_address = per_address
        self._together = together
        self._all: deque[float] = deque()
        self._by_address: dict[str, deque[float]] = {}

    def take(self, address: str, now: float) -> bool:
        """Whether one more may go there; then it is counted."""
        _forget(self._all, now)
        if len(self._by_address) >= _ADDRESSES_MAX:
            for key in [k for k, sent in self._by_address.items() if sent[-1] <= now - _HOUR_S]:
                del self._by_address[key]
        sent = self._by_address.setdefault(address.lower(), deque())
        _forget(sent, now)
        if len(self._all) >= self._together or len(sent) >= self._per_address:
            if not sent:
                del self._by_address[address.lower()]
            return False
        self._all.append(now)
        sent.append(now)
        return True


def _forget(sent: deque[float], now: float) -> None:
    while sent and sent[0] <= now - _HOUR_S:
        sent.popleft()
