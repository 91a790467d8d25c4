"""What bombs cost: seconds of computing, and memory, each in a process of its own.

``python benchmarks/bombs.py``. Tests count bytes and parts; this shows what they come to. Needs
``7z`` for some; those are left out, and said, without it.
"""

import bz2
import gzip
import io
import lzma
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from backports import zstd

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.settings.base import MIB
from mailward.settings.scan import ScanSettings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.scan.programs import stubs

ZEROS_MIB = 256


def gzip_zeros(mebibytes: int = ZEROS_MIB) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mebibytes)) + packer.flush()


def zipped(*members: bytes, name: str = "a") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, member in enumerate(members):
            archive.writestr(f"{name}{number}", member)
    return file.getvalue()


def nested_zip() -> bytes:
    """As 42.zip: sixteen in each of five levels."""
    data = zipped(bytes(64 * MIB))
    for _ in range(5):
        data = zipped(*[data] * 16, name="lib ")
    return data


def nested_gzip() -> bytes:
    data = gzip_zeros()
    while len(data) > 400:
        data = gzip.compress(data)
    return data


def seven_zip(*switches: str) -> Callable[[], bytes]:
    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "zeros").write_bytes(bytes(ZEROS_MIB * MIB))
            command = ["7z", "a", "-bd", *switches, "bomb", "zeros"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            return next(Path(folder).glob("bomb*")).read_bytes()

    return make


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": gzip_zeros,
    "bzip2": lambda: bz2.compress(bytes(ZEROS_MIB * MIB)),
    "xz": lambda: lzma.compress(bytes(ZEROS_MIB * MIB), preset=1),
    "zstd": lambda: zstd.compress(bytes(ZEROS_MIB * MIB)),
    "zip": lambda: zipped(bytes(ZEROS_MIB * MIB)),
    "200 bombs in a zip": lambda: zipped(*[gzip_zeros(32)] * 200),
    "nested zip (42.zip)": nested_zip,
    "nested gzip": nested_gzip,
    "7z": seven_zip("-t7z"),
    "7z, PPMd": seven_zip("-t7z", "-m0=PPMd"),
    "7z, bzip2": seven_zip("-t7z", "-m0=BZip2"),
    "program without end": lambda: stubs.program(b"\xeb\xfe"),
    "… that changes itself": lambda: stubs.program(
        b"\xc6\x05" + stubs.u32(stubs.STUB) + b"\xc6\xeb\xf7"
    ),
    "zip, deflate64": seven_zip("-tzip", "-mm=Deflate64"),
}


def cost(data: bytes, answer: "multiprocessing.Queue[tuple[float, float, int]]") -> None:
    libarchive.version()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    budget = Budget(ScanSettings())
    count = sum(
        isinstance(part, Part) for part in parts(data, role=Role.FILE, name="bomb", budget=budget)
    )
    seconds = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    answer.put((seconds, grown, count))


def main() -> None:
    context = multiprocessing.get_context("spawn")
    print(f"{'':22} {'bytes':>10} {'seconds':>8} {'MiB':>6} {'parts':>6}")
    for name, make in BOMBS.items():
        if shutil.which("7z") is None and name.startswith(("7z", "zip, ")):
            print(f"{name:22} needs 7z, which is not installed")
            continue
        data = make()
        answer = context.Queue()
        process = context.Process(target=cost, args=(data, answer))
        process.start()
        seconds, grown, count = answer.get(timeout=120)
        process.join()
        print(f"{name:22} {len(data):10} {seconds:8.2f} {grown:6.0f} {count:6}")


if __name__ == "__main__":
    main()
