"""How many notifications an address, and all together, have had within the last hour."""

from mailward.protect.window import Window

_HOUR_S = 3600.0
_ADDRESSES_MAX = 10_000
"""That are remembered; who has had none for an hour is forgotten first."""


class HourlyLimits:
    """Pure bookkeeping; ``now`` in seconds, of any clock that only goes forward."""

    def __init__(self, per_address: int, together: int) -> None:
        self._per_address = per_address
        self._all = Window(together, _HOUR_S)
        self._by_address: dict[str, Window] = {}

    def take(self, address: str, now: float) -> bool:
        """Whether one more may go there; then it is counted."""
        if len(self._by_address) >= _ADDRESSES_MAX:
            known = self._by_address.items()
            self._by_address = {key: sent for key, sent in known if not sent.is_empty(now)}
        key = address.lower()
        sent = self._by_address.get(key) or Window(self._per_address, _HOUR_S)
        if self._all.is_full(now) or sent.is_full(now):
            return False
        self._by_address[key] = sent
        self._all.add(now)
        sent.add(now)
        return True
