"""Feeds hostile bytes to the parsers of containers, by atheris: any exception but Spent is a bug.

``uv run --with atheris scripts/fuzz.py TARGET SECONDS [FOLDER…]``: a name below or ``all``, for how
long, and folders with files to begin with (a corpus; the first is added to). What is found is
written to ``crash-…`` in the working folder: turn it into a test.
"""

import struct
import sys
import uuid
import zlib
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["mailward.scan"]):
    from mailward.scan.budget import Budget, Spent
    from mailward.scan.containers import (
        arj,
        autoit,
        autoit_text,
        chm,
        disk,
        dmg,
        embedded,
        installshield_cabinet,
        iso,
        lz_expand,
        lzw,
        nsis,
        onenote,
        rar,
        sevenzip,
        shortcut,
        stream,
        tar,
        udf,
        vhdx,
        wim,
    )
    from mailward.scan.containers import zip as zip_archive
    from mailward.scan.contents import Contents
    from mailward.scan.part import Role
    from mailward.scan.passwords import Passwords, plain_text
    from mailward.scan.programs import read as read_program
    from mailward.scan.unpack import parts
    from mailward.settings.scan import ScanSettings

SETTINGS = ScanSettings(max_part_bytes=1 << 20, max_total_bytes=1 << 22, max_parts=200)


def _seven_zip(data: bytes, name: str, budget: Budget) -> Contents:
    """With a header whose checksum is right: else none would be looked into."""
    packed, header = data[:64], data[64:]
    start = struct.pack("<QQL", len(packed), len(header), zlib.crc32(header))
    return sevenzip.read(
        b"7z\xbc\xaf\x27\x1c\0\4" + bytes(4) + start + packed + header, name, budget
    )


def _vhdx(data: bytes, name: str, budget: Budget) -> Contents:
    """With regions whose checksum is right."""
    return disk.read(_VHDX_FRONT + data, name, budget)


def _wim(flags: int, chunk_bytes: int) -> Callable[[bytes, str, Budget], Contents]:
    """One content, packed in one way, that the bytes are."""

    def read(data: bytes, name: str, budget: Budget) -> Contents:
        table = struct.pack("<QQQHL", 4 << 56 | len(data), 258, 3 * chunk_bytes // 2, 1, 1) + bytes(
            20
        )
        head = struct.pack("<8sLLLL16sHHL", b"MSWIM", 208, 0xD00, flags, chunk_bytes, b"", 1, 1, 1)
        head += struct.pack("<QQQ", len(table), 208, len(table))
        return wim.read(head.ljust(208, b"\0") + table + data, name, budget)

    return read


def _vhdx_front() -> bytes:
    places = (
        ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 0),
        ("2dc27766-f623-4200-9d64-115e9bfd4a08", 512),
    )
    table = struct.pack("<4sLLL", b"regi", 0, 2, 0)
    for name, at in places:
        table += uuid.UUID(name).bytes_le + struct.pack("<QLL", 0x40000 + at, 1 << 20, 1)
    table = table.ljust(0x10000, b"\0")
    return b"vhdxfile".ljust(0x30000, b"\0") + table


_VHDX_FRONT = _vhdx_front()
vhdx.crc32c = lambda _: 0  # instrumented it takes a second
_VDI_FRONT = bytes(64) + b"\x7f\x10\xda\xbe"

_PROGRAM = b"MZ".ljust(60, b"\0") + struct.pack("<L4sHHLLLHH", 64, b"PE", 332, 1, 0, 0, 0, 0, 258)
_PROGRAM += struct.pack("<8sLLLL16x", b"", 16, 4096, 16, 512)


def _installer(data: bytes, name: str, budget: Budget) -> Contents:
    """Behind a program."""
    return embedded.read(_PROGRAM.ljust(528, b"\0") + data, name, budget)


def _tokens(data: bytes, _: str, budget: Budget) -> Contents:
    autoit_text.script(data, budget)
    return iter(())


READERS = {
    "7z-header": (b"", _seven_zip),
    "7z": (b"7z\xbc\xaf\x27\x1c", sevenzip.read),
    "arj": (b"\x60\xea", arj.read),
    "autoit": (autoit.MAGIC + b"AU3!EA06", lambda data, _, budget: autoit.read(data, budget)),
    "autoit-text": (b"", _tokens),
    "chm": (b"ITSF\x03", chm.read),
    "disk": (b"", disk.read),
    "dmg": (b"", lambda data, name, budget: dmg.read(data.ljust(512, b"\0"), name, budget)),
    "embedded": (b"MZ", embedded.read),
    "installer": (b"", _installer),
    "installshield": (b"ISc(", installshield_cabinet.read),
    "iso": (b"", iso.read),
    "lnk": (b"", shortcut.read),
    "nsis": (b"", lambda data, _, budget: nsis.read(data.ljust(28, b"\0"), 0, budget)),
    "onenote": (b"", onenote.read),
    "program": (b"MZ", lambda data, _, budget: read_program(data, budget)),
    "rar": (b"Rar!\x1a\x07\x01\0", rar.read),
    "stream": (b"", stream.read),
    "szdd": (b"SZDD\x88\xf0\x27\x33", lz_expand.read),
    "kwaj": (b"KWAJ\x88\xf0\x27\xd1", lz_expand.read),
    "tar": (b"", tar.read),
    "udf": (b"", udf.read),
    "qcow": (b"QFI\xfb\0\0\0\3", disk.read),
    "vdi": (b"", lambda data, _, budget: disk.read(_VDI_FRONT + data, "a", budget)),
    "vhdx": (b"metadata", _vhdx),
    "vmdk": (b"KDMV", disk.read),
    "wim": (b"MSWIM\0\0\0", wim.read),
    "wim-lzx": (b"", _wim(1 << 18, 1 << 15)),
    "wim-xpress": (b"", _wim(1 << 17, 1 << 15)),
    "Z": (b"\x1f\x9d\x90", lzw.read),
    "zip": (b"", zip_archive.read),
}
"""What each expects to be there already, since it is only called then, and the reader."""


def one(target: str, data: bytes) -> None:
    """Feed ``data`` to a target."""
    budget = Budget(SETTINGS)
    if target == "all":
        for _ in parts(data, role=Role.FILE, name="a", budget=budget):
            pass
        return
    if target == "passwords":
        text = data.decode("utf-8", "replace")
        list(Passwords(lambda: [plain_text(text)]).candidates())
        return
    magic, read = READERS[target]
    try:
        for _ in read(magic + data.removeprefix(magic), "a", budget):
            pass
    except Spent:
        return


def main(target: str, seconds: str, *folders: str) -> None:
    """See the module."""
    if target not in (*READERS, "all", "passwords"):
        sys.exit(f"no such target: {target}; there are all, passwords, {', '.join(READERS)}")
    arguments = [sys.argv[0], f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=20"]
    atheris.Setup([*arguments, "-max_len=65536", *folders], lambda data: one(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
