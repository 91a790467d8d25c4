"""The engine ``hashes`` with ten million hashes: preparing, loading, looking up, memory.

``python benchmarks/hashes.py [MILLIONS]``; needs 250 MB of temporary disk space a million.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Source
from mailward.scan.engines.hash_table import ALGORITHMS, NAMES_FILE, Names, Table, table_file
from mailward.scan.engines.hashes import HashesEngine
from mailward.scan.part import Part, Role

SHARDS = 3
LOOKUPS = 10_000
LOADS = 21
MIB = 1024 * 1024


def make_shards(folder: Path, count: int) -> None:
    """Shards with each algorithm in equal parts; fields of fixed width, so that numpy can write."""
    import numpy as np

    chance = np.random.default_rng(20261123)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)

    def text(digests: "np.ndarray", first: int) -> bytes:
        rows = len(digests)
        numbers = first + np.arange(rows)
        sizes = chance.integers(100_000, 1_000_000, rows)
        columns = [
            digits[np.stack([digests >> 4, digests & 15], axis=2).reshape(rows, -1)],
            np.tile(np.frombuffer(b":", np.uint8), (rows, 1)),
            decimal(sizes, 6),
            np.tile(np.frombuffer(b":Win.Trojan.Agent-", np.uint8), (rows, 1)),
            decimal(numbers, 9),
            np.tile(np.frombuffer(b"\n", np.uint8), (rows, 1)),
        ]
        return np.hstack(columns).tobytes()

    def decimal(numbers: "np.ndarray", width: int) -> "np.ndarray":
        powers = 10 ** np.arange(width - 1, -1, -1)
        return digits[numbers[:, None] // powers % 10]

    each = count // (SHARDS * len(ALGORITHMS))
    first = 0
    for shard in range(SHARDS):
        with (folder / f"shard-{shard}").open("wb") as file:
            for width in ALGORITHMS:
                raw = np.frombuffer(chance.bytes(each * width), f"S{width}")
                digests = np.sort(raw).view(np.uint8).reshape(-1, width)
                for start in range(0, each, 100_000):
                    piece = digests[start : start + 100_000]
                    file.write(text(piece, first))
                    first += len(piece)


def prepare(folder: Path) -> dict[str, float]:
    into = folder / "prepared"
    into.mkdir()
    sources = [Source(p.name, ShardKind.HASHES, p) for p in folder.glob("shard-*")]
    began = time.perf_counter()
    preparation = HashesEngine().prepare(sources, into)
    return {
        "prepare_s": time.perf_counter() - began,
        "signatures": preparation.signatures,
        "refused": preparation.refused_count,
        "peak_mib": peak_kib() / 1024,
    }


def load(folder: Path) -> dict[str, float]:
    times = []
    for _ in range(LOADS):
        began = time.perf_counter()
        detector = HashesEngine().load(folder / "prepared")
        times.append(time.perf_counter() - began)
        detector.close()
    return {"load_ms": statistics.median(times) * 1000, "load_max_ms": max(times) * 1000}


def look_up(folder: Path) -> dict[str, float]:
    wanted = sample(folder)
    tables = open_tables(folder)
    figures: dict[str, float] = {}
    for name in ("hit_first", "hit", "miss"):
        if name == "miss":
            wanted = [(os.urandom(len(digest)), size) for digest, size in wanted]
        began = time.perf_counter()
        found = find_all(tables, wanted)
        figures[f"{name}_us"] = (time.perf_counter() - began) / len(wanted) * 1e6
        if found != (0 if name == "miss" else len(wanted)):
            raise SystemExit(f"{name}: {found} of {len(wanted)} were found")
    # This process stays while a further one looks up the same: as workers share what they map.
    return figures | in_a_process_of_its_own("measure_memory", folder) | measure_scans(folder)


def measure_memory(folder: Path) -> dict[str, float]:
    wanted = sample(folder)
    before = private_kib()
    tables = open_tables(folder)
    find_all(tables, wanted)
    return {"private_kib": private_kib() - before}


def measure_scans(folder: Path) -> dict[str, float]:
    detector = HashesEngine().load(folder / "prepared")
    figures = {}
    for name, size in (("skipped", 20_000), ("hashed", sample(folder)[0][1])):
        part = Part("x", bytes(size), Role.FILE)
        began = time.perf_counter()
        for _ in range(100):
            detector.scan(part, 20.0)
        figures[f"{name}_us"] = (time.perf_counter() - began) / 100 * 1e6
        figures[f"{name}_bytes"] = size
    return figures


def open_tables(folder: Path) -> dict[int, Table]:
    names = Names(folder / "prepared" / NAMES_FILE)
    return {w: Table(folder / "prepared" / table_file(w), w, names) for w in ALGORITHMS}


def find_all(tables: dict[int, Table], wanted: list[tuple[bytes, int]]) -> int:
    return sum(bool(tables[len(digest)].find(digest, size)) for digest, size in wanted)


def sample(folder: Path) -> list[tuple[bytes, int]]:
    """Hashes from all over the shards."""
    found = []
    for path in folder.glob("shard-*"):
        step = path.stat().st_size // (LOOKUPS // SHARDS + 1)
        with path.open("rb") as file:
            for at in range(0, step * (LOOKUPS // SHARDS), step):
                file.seek(at)
                file.readline()
                digest, size, _ = file.readline().split(b":", 2)
                found.append((bytes.fromhex(digest.decode()), int(size)))
    return found


def peak_kib() -> int:
    # Not getrusage: its number also counts the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def private_kib() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def in_a_process_of_its_own(step: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, step, str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def main(millions: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_shards(folder, int(millions * 1e6))
        made = in_a_process_of_its_own("prepare", folder)
        loaded = in_a_process_of_its_own("load", folder)
        found = in_a_process_of_its_own("look_up", folder)
        size = sum(path.stat().st_size for path in (folder / "prepared").iterdir())
        text = sum(path.stat().st_size for path in folder.glob("shard-*"))
    print(f"hashes             {made['signatures']:,.0f} in {SHARDS} shards, {text / MIB:,.0f} MiB")
    print(
        f"prepare            {made['prepare_s']:.1f} s, "
        f"{made['signatures'] / made['prepare_s'] / 1e6:.2f} million/s, "
        f"peak memory {made['peak_mib']:.0f} MiB ({text / MIB / made['peak_mib']:.1f} times less "
        f"than the text), files {size / MIB:,.0f} MiB ({size / text:.2f} of the text)"
    )
    print(f"load               {loaded['load_ms']:.2f} ms, at most {loaded['load_max_ms']:.2f}")
    print(
        f"look up            hit {found['hit_us']:.1f} µs ({found['hit_first_us']:.1f} at first), "
        f"miss {found['miss_us']:.1f} µs"
    )
    print(
        f"scan               {found['skipped_bytes']:,.0f} bytes, a size that no hash has: "
        f"{found['skipped_us']:.1f} µs; {found['hashed_bytes']:,.0f} bytes, a size that some have: "
        f"{found['hashed_us']:.0f} µs"
    )
    print(
        f"private memory     {found['private_kib']:,.0f} KiB for a further process that loads and "
        f"looks up {LOOKUPS:,}: 1/{size / 1024 / max(1, found['private_kib']):,.0f} of the files"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
