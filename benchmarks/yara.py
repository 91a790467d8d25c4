"""The engine ``yara`` with public rules on real mail: preparing, loading, scanning.

Needs the collection of real mail and definitions beside the project.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Detector, Source
from mailward.scan.engines.yara import YaraEngine
from mailward.scan.part import Part, Role

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
LOADS = 5
EVERY = 5
"""Of the messages: one in five."""

SIMPLE = 'rule simple { strings: $a = "xyzzy-plugh" condition: $a }'


def shard(folder: Path, sources: list[str]) -> Path:
    path = folder / f"shard-{len(sources)}"
    lines = (json.dumps({"namespace": str(n), "source": s}) for n, s in enumerate(sources))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def measure(name: str, path: Path, folder: Path, mail: list[bytes]) -> float:
    into = folder / f"prepared-{name}"
    into.mkdir()
    began = time.perf_counter()
    preparation = YaraEngine().prepare([Source(name, ShardKind.YARA, path)], into)
    prepare_s = time.perf_counter() - began
    loads = []
    for _ in range(LOADS):
        began = time.perf_counter()
        detector = YaraEngine().load(into)
        loads.append(time.perf_counter() - began)
    mail_ms, hits = scan(detector, mail)
    size = sum(file.stat().st_size for file in into.iterdir())
    print(
        f"{name:9} {preparation.signatures:6,} rules, {preparation.refused_count} refused, "
        f"{size / 1e6:.1f} MB; prepare {prepare_s * 1000:,.0f} ms, load "
        f"{statistics.median(loads) * 1000:,.1f} ms, {mail_ms:.3f} ms a message, {hits} hits"
    )
    return mail_ms


def scan(detector: Detector, mail: list[bytes]) -> tuple[float, int]:
    hits = 0
    began = time.perf_counter()
    for data in mail:
        hits += len(detector.scan(Part("message", data, Role.MESSAGE), 20.0))
    return (time.perf_counter() - began) / len(mail) * 1000, hits


def main() -> None:
    if not DATA.is_dir():
        print(f"yara: skipped, {DATA} is not on this computer")
        return
    files = sorted((DATA / "definitions/yara").rglob("*.yar*"))
    sources = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    messages = [p for p in sorted((DATA / "mail").rglob("*")) if p.is_file()][::EVERY]
    mail = [path.read_bytes() for path in messages]
    print(f"{len(mail):,} messages of {sum(map(len, mail)) / len(mail) / 1000:.1f} KB on average")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simple = measure("one rule", shard(folder, [SIMPLE]), folder, mail)
        public = measure("public", shard(folder, sources), folder, mail)
    print(f"public rules take {public / simple:.0f} times as long as one rule")


if __name__ == "__main__":
    main()
