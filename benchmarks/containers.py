"""What 7-Zip opens and we do not: every file of the collection, compared by the files inside.

``python benchmarks/containers.py [FOLDER]``. A file is *missed* when 7-Zip gets a file out of it
that is in none of our parts, and our verdict does not say that something stayed shut (S11). Needs
``7z``; the collection of real archives beside the project, or a folder of your own. Also the times.
"""

import binascii
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Unopened
from mailward.settings.scan import ScanSettings

COLLECTION = Path(__file__).resolve().parent.parent.parent / "shared/data/containers"
SEVEN_ZIP_TIMEOUT_S = 20
UNPACKED_MAX_BYTES = 64 * 1024 * 1024
NOT_ARCHIVES = frozenset((".c", ".txt", ".py", ".exp", ".md", ".h"))
NO_CONTENT = ("[Content]", ".rsrc", ".text", ".data", ".rdata", "CERTIFICATE")
"""What 7-Zip shows of programs: sections, which are no files."""


class Ours(NamedTuple):
    hashes: frozenset[str]
    shut: tuple[str, ...]
    seconds: float


def decoded(path: Path) -> tuple[str, bytes]:
    data = path.read_bytes()
    if path.suffix != ".uu":
        return path.name, data
    lines = data.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.startswith(b"begin ")), None)
    out = bytearray()
    for line in lines[begin + 1 :] if begin is not None else []:
        if line.strip() in (b"end", b"`", b""):
            break
        try:
            out += binascii.a2b_uu(line)
        except binascii.Error:
            size = ((line[0] - 32 & 63) * 4 + 5) // 3
            out += binascii.a2b_uu(line[:size].ljust(size))
    return path.stem, bytes(out)


def ours(name: str, data: bytes) -> Ours:
    began = time.perf_counter()
    hashes, shut = set(), []
    for found in parts(data, role=Role.FILE, name=name, budget=Budget(ScanSettings())):
        if isinstance(found, Part):
            hashes.add(hashlib.sha256(found.data).hexdigest())
        elif isinstance(found, Unopened):
            shut.append(f"{found.reason}: {found.detail}")
    return Ours(frozenset(hashes), tuple(shut), time.perf_counter() - began)


def theirs(name: str, data: bytes) -> dict[str, str]:
    """What 7-Zip gets out, name to hash; one level."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "in" / Path(name).name
        file.parent.mkdir()
        file.write_bytes(data)
        into = Path(folder) / "out"
        command = ["7z", "x", "-y", "-bd", "-pnone", "-snl-", f"-o{into}", str(file)]
        try:
            subprocess.run(command, capture_output=True, timeout=SEVEN_ZIP_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return {}
        files = [p for p in into.rglob("*") if p.is_file() and not p.is_symlink()]
        return {
            str(p.relative_to(into)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
            if 0 < p.stat().st_size < UNPACKED_MAX_BYTES and not p.name.startswith(NO_CONTENT)
        }


def samples(folder: Path) -> Iterator[tuple[Path, str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.suffix not in NOT_ARCHIVES:
            name, data = decoded(path)
            if data:
                yield path, name, data


def main(folder: Path) -> None:
    if shutil.which("7z") is None:
        sys.exit("needs 7z, which is not installed")
    if not folder.is_dir():
        sys.exit(f"needs the collection of real archives at {folder}, which is not here")
    tally: Counter[str] = Counter()
    slowest: list[tuple[float, str]] = []
    for path, name, data in samples(folder):
        mine, other = ours(name, data), theirs(name, data)
        missing = [name for name, digest in other.items() if digest not in mine.hashes]
        slowest = sorted([*slowest, (mine.seconds, path.name)])[-5:]
        if not other:
            tally["opened by us alone" if len(mine.hashes) > 1 else "opened by neither"] += 1
        elif not missing:
            tally["the same files"] += 1
        elif mine.shut:
            tally["said to be unscannable"] += 1
            print(f"unscannable  {path.relative_to(folder)}: {mine.shut[0][:90]}")
        else:
            tally["missed"] += 1
            print(f"MISSED       {path.relative_to(folder)}: {missing[:3]}")
    for what, count in tally.most_common():
        print(f"{count:5} {what}")
    for seconds, what in reversed(slowest):
        print(f"{seconds:8.2f} s  {what}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else COLLECTION)
