"""Bits of compressed data, the highest of each byte first."""


class DamagedError(Exception):
    """What cannot be in compressed data; the message says what, for people."""


class Bits:
    """Reads them. Those who look ahead by themselves take them from ``held``, of which the lowest
    ``count`` are not read yet.
    """

    def __init__(self, packed: bytes | memoryview) -> None:
        self._packed = packed
        self.at = 0
        """What is held of the data ends here."""
        self.held = 0
        self.count = 0

    def fill(self) -> None:
        """Hold 64 more; zeros behind the end, but not for long. Raises DamagedError."""
        if self.at > len(self._packed) + 8:
            raise DamagedError("it ends too early")
        more = bytes(self._packed[self.at : self.at + 8]).ljust(8, b"\0")
        self.at += 8
        self.held = (self.held & (1 << self.count) - 1) << 64 | int.from_bytes(more, "big")
        self.count += 64

    def peek(self, count: int) -> int:
        """The next ones, which are not read by that. Raises DamagedError."""
        if self.count < count:
            self.fill()
        return self.held >> self.count - count & (1 << count) - 1

    def take(self, count: int) -> int:
        """The next ones. Raises DamagedError."""
        if self.count < count:
            self.fill()
        self.count -= count
        return self.held >> self.count & (1 << count) - 1
