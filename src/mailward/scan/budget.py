"""What one scan may use up: parts, bytes, depth, ratio, time. One of these per scan.

The limits are settings (``mailward.config.ScanSettings`` gives units and reasons). A local limit
shuts one part, one of the whole scan raises Spent; either means unscannable, never clean (S11).
"""

import time
from collections.abc import Callable

from mailward.scan.contents import Shut
from mailward.scan.passwords import Passwords
from mailward.scan.verdict import Reason
from mailward.settings.base import MIB
from mailward.settings.scan import ScanSettings

RATIO_FREE_BYTES = 10 * MIB
"""Up to here any ratio goes: a page of blanks is no bomb."""
_TOTAL_FREE_BYTES = 32 * MIB
"""The same for all parts together, which the ratio bounds as well: bombs can be nested."""

_BOMBS_MAX = 3
"""Parts over the ratio in one message; after that many nothing more of it is unpacked."""

_TIME_SHARE = 0.8
"""Of the message's time: the rest lets a worker answer with what it found before it is ended."""


_EMULATION_SHARE = 0.1
"""Of the message's time, for all packed programs that have to be run to be unpacked."""


class Spent(Exception):  # noqa: N818 (it is an outcome, not an error)
    """A limit of the whole scan was reached; ``shut`` says which."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.shut = Shut(reason, detail)


class Budget:
    """Counts what a scan uses. ``clock``: seconds, for tests."""

    def __init__(self, settings: ScanSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.passwords = Passwords()
        """To try on what is encrypted."""
        self.parts = 0
        self.unpacked_bytes = 0
        """Of all parts but the outermost."""
        self.bombs = 0
        self.emulated: set[bytes] = set()
        """SHA-256 of the programs that came out of running packed ones: once is enough."""
        self.emulation_left_s = settings.message_timeout_s * _EMULATION_SHARE
        """Of computing, to run packed programs."""
        self._total_max = settings.max_total_bytes
        self._clock = clock
        self._end = clock() + settings.message_timeout_s * _TIME_SHARE

    def begin(self, outermost_bytes: int) -> None:
        """Say how large the message is: what all of it may unpack to depends on that."""
        in_ratio = max(_TOTAL_FREE_BYTES, outermost_bytes * self.settings.max_ratio)
        self._total_max = min(self.settings.max_total_bytes, in_ratio)

    @property
    def time_left_s(self) -> float:
        """Until ``check_time`` raises; negative after that."""
        return self._end - self._clock()

    def check_time(self) -> None:
        """Raises Spent when the time is over."""
        if self.time_left_s <= 0:
            raise Spent(
                Reason.TIME,
                f"not finished within {_TIME_SHARE:.0%} of {self.settings.message_timeout_s:g} s "
                "(scan.message_timeout_s)",
            )

    def count_part(self, unpacked: int) -> None:
        """Before each part. Raises Spent when there are too many, or the time is over."""
        if self.parts >= self.settings.max_parts:
            raise Spent(Reason.LIMIT, f"more than {self.settings.max_parts} parts (scan.max_parts)")
        self.parts += 1
        self.unpacked_bytes += unpacked
        self.check_time()

    def room(self) -> int:
        """How many bytes the next part may have. Raises Spent when there is none left."""
        left = self._total_max - self.unpacked_bytes
        if left <= 0:
            raise Spent(
                Reason.LIMIT, f"more than {_size(self._total_max)} unpacked ({self._total_key})"
            )
        return min(self.settings.max_part_bytes, left)

    def over_room(self, room: int) -> Shut:
        """Why a part is cut at ``room`` bytes; what is in front of the cut is scanned."""
        if room < self.settings.max_part_bytes:
            limit, key = self._total_max, self._total_key
        else:
            limit, key = self.settings.max_part_bytes, "scan.max_part_bytes"
        return Shut(
            Reason.LIMIT, f"larger than {_size(limit)} ({key}): only its beginning was scanned"
        )

    @property
    def _total_key(self) -> str:
        whole = self._total_max == self.settings.max_total_bytes
        return "scan.max_total_bytes" if whole else "scan.max_ratio, all parts together"

    def over_depth(self, depth: int) -> Shut | None:
        """Why something at ``depth`` is not opened; None if it may be."""
        if depth < self.settings.max_depth:
            return None
        return Shut(
            Reason.LIMIT,
            f"messages and containers inside each other more than {self.settings.max_depth} deep "
            "(scan.max_depth)",
        )

    def is_bomb(self, unpacked: int, packed: int) -> bool:
        """Whether what was unpacked so far is out of proportion."""
        return unpacked > RATIO_FREE_BYTES and unpacked > packed * self.settings.max_ratio

    def bomb(self) -> Shut:
        """Note one. Raises Spent when there were several: more of them would only cost time."""
        self.bombs += 1
        if self.bombs >= _BOMBS_MAX:
            raise Spent(
                Reason.LIMIT,
                f"{self.bombs} parts unpack to over {self.settings.max_ratio} times their size "
                "(scan.max_ratio): nothing more of this message was unpacked",
            )
        return Shut(
            Reason.LIMIT,
            f"unpacks to over {self.settings.max_ratio} times its size (scan.max_ratio): only its "
            "beginning was scanned",
        )


def _size(count: int) -> str:
    return f"{count / MIB:g} MiB" if count >= MIB else f"{count} bytes"
