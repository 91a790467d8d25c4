"""Programs that unpack themselves, written as machine code by hand."""

import struct

from tests.scan.signatures.examples.programs import pe

BASE, TARGET, STUB = 0x400000, 0x401000, 0x402000
"""Where the program is, what it unpacks, and what unpacks it."""
KEY = 0x5A
PROGRAM = b"\x90\x90\xcc" + b"the program that was packed, and says so " * 20
"""Two instructions that do nothing, and one that stops."""


def u32(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


def jump(at: int, to: int) -> bytes:
    return b"\xe9" + u32(to - at - 5)


def program(stub: bytes, *, sections: int = 2, name: bytes = b"", imports: bytes = b"") -> bytes:
    """A program of an empty section, and one that ``stub`` runs in."""
    contents = [b"", stub + imports, b""][:sections]
    data = bytearray(pe(contents, entry=STUB - BASE))
    at = data.index(b".s0\0")
    struct.pack_into("<8sI", data, at, name or b".s0", 0x1000)
    struct.pack_into("<I", data, at + 40 + 8, 0x1000)
    if imports:
        struct.pack_into("<II", data, 0x80 + 24 + 96 + 8, STUB - BASE + len(stub), 40)
    return bytes(data)


def decrypting(content: bytes, at: int = STUB, to: int = TARGET, then: int = TARGET) -> bytes:
    """Writes ``content`` to ``to`` byte by byte, and goes to ``then``."""
    size = 24
    code = b"\xbe" + u32(at + size) + b"\xbf" + u32(to) + b"\xb9" + u32(len(content))
    code += b"\xac\x34" + bytes([KEY]) + b"\xaa\xe2\xfa"
    code = code.ljust(size - 5, b"\x90")
    code += jump(at + len(code), then)
    assert len(code) <= size + 2
    code = b"\xbe" + u32(at + len(code)) + code[5:]
    return code + bytes(c ^ KEY for c in content)


def raw(data: bytes, address: int) -> bytes:
    """What is at an address of a file that is laid out as in memory."""
    return data[address - BASE :]
