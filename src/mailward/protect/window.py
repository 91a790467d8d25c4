"""How often something has happened within the last minute, hour or so."""

from collections import deque


class Window:
    """Pure bookkeeping; times in seconds, of any clock that only goes forward."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._times: deque[float] = deque()

    def is_full(self, now: float) -> bool:
        """Whether it has happened as often as it may."""
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        return len(self._times) >= self._most

    def is_empty(self, now: float) -> bool:
        """Whether it has not happened lately."""
        return not self._times or self._times[-1] <= now - self._seconds

    def add(self, now: float) -> None:
        """It happens."""
        self._times.append(now)
