"""LZFSE and LZVN as Apple's own library packs them: whole, damaged, larger than they say."""

import random
import struct
from pathlib import Path

import lzfse
import pytest

from mailward.scan.containers import apple_lzfse

PROGRAM = Path("/usr/bin/env").read_bytes() * 12
BAD = (ValueError, IndexError, struct.error)


@pytest.mark.parametrize("size", [0, 1, 10, 100, 1000, 5000, 100_000, len(PROGRAM)])
def test_what_was_packed_comes_back(size: int) -> None:
    """Stored, LZVN, one block of LZFSE, many that refer to those before them."""
    plain = PROGRAM[:size]
    assert apple_lzfse.unpack(lzfse.compress(plain), size + 1) == plain


def test_only_so_much_is_unpacked() -> None:
    with pytest.raises(ValueError, match="more than there should be"):
        apple_lzfse.unpack(lzfse.compress(PROGRAM), len(PROGRAM) - 1)
    stream = lzfse.compress(PROGRAM[:1000])[12:]
    assert apple_lzfse.unpack_lzvn(stream, 100) == PROGRAM[:100]


def test_a_bomb_that_lies_about_its_size_is_stopped() -> None:
    bomb = bytearray(lzfse.compress(bytes(1 << 20)))
    assert bomb.startswith(b"bvx2")
    bomb[4:8] = struct.pack("<L", 1000)
    with pytest.raises(ValueError, match="more than there should be"):
        apple_lzfse.unpack(bytes(bomb), 1 << 20)


@pytest.mark.parametrize("size", [100, 1000, 20_000])
def test_any_damage_is_survived(size: int) -> None:
    whole = lzfse.compress(PROGRAM[:size])
    numbers = random.Random(0)
    for number in range(400):
        damaged = bytearray(whole)
        for _ in range(2):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        data = bytes(damaged[: numbers.randrange(len(damaged))] if number % 2 else damaged)
        for unpack in (apple_lzfse.unpack, apple_lzfse.unpack_lzvn):
            try:
                assert len(unpack(data, size)) <= size
            except BAD:
                continue


@pytest.mark.parametrize("data", [b"", b"bvx", b"bvx2", b"bvx-\xff\xff\xff\xff", b"\xff" * 999])
def test_nonsense_is_damaged(data: bytes) -> None:
    with pytest.raises(BAD):
        apple_lzfse.unpack(data, 1 << 20)
