"""CRC-32 by Castagnoli's polynomial (RFC 3720 appendix B.4), which the standard library has not."""


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """A few milliseconds for 64 KiB."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _crc_of(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    return number


_CRC = tuple(_crc_of(number) for number in range(256))
