"""What says that a program is packed."""

import re

_NAMES = re.compile(
    rb"(UPX[012!]|\.aspack|MEW\0|\.petite|\.WWP32|yC\0{6}|KERNEL32\.DLL\0\0PE\0\0|\.MPRESS1|Themida)"
)
"""What packers leave in the headers."""
_HEADERS_BYTES = 1024
_PESPIN = b"\xeb\x01\x68\x60\xe8\0\0\0\0\x8b\x1c\x24\x83\xc3\x12"


def name(data: bytes) -> str | None:
    """The packer's name, for people; None if nothing says that ``data`` is packed."""
    found = _NAMES.search(data, 0, _HEADERS_BYTES)
    if found is not None:
        if found[1].startswith(b"KERNEL32"):
            return "Upack"
        return found[1].strip(b"\0.!012").decode("ascii")
    return "PESpin" if _PESPIN in data else None
