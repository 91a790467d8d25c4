"""What comes out of real mail and documents, what stays shut and why, and what it costs.

``python benchmarks/unpacking.py``: a table of each folder of the collection beside the project.
``--against SRC``: time a message beside another version of this package (its ``src`` folder),
alternately in one run, in processes of their own. ``--clamscan``: pieces that ``clamscan`` takes
out of a few files of each kind and that are in none of our parts; its own reports, rejoined
pictures and base64 of what is none are among them, so that list is for people to read.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Unopened
from mailward.settings.scan import ScanSettings

DATA = Path(__file__).resolve().parent.parent.parent / "shared/data"
MAIL = {
    "SpamAssassin": "mail/spamassassin/*/*.txt",
    "phishing": "mail/phishing/**/*.eml",
    "odd": "mail/m*/**/*",
}
FOLDERS = ("mail/mimekit", "mail/mikel", "mail/mime4j", "mail/stalwart", "mail/phishing",
           "containers/tnef", "containers/msoffcrypto", "clean")  # fmt: skip
LARGE_BYTES = 5_000_000
SETTINGS = ScanSettings(message_timeout_s=20)
ROUNDS = 3
CLAMSCAN_EACH = 20
_OF_CLAMSCAN_ALONE = ("nocomment", "notags", "javascript", ".html", "vba_project", "xlm_macros")
_NOT_SHOWN = re.compile(rb"[^!-~]")


def files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size <= LARGE_BYTES:
            yield path


def table(folder: Path) -> None:
    reasons: Counter[str] = Counter()
    count = made = 0
    slowest = (0.0, "")
    began = time.perf_counter()
    for path in files(folder):
        count += 1
        start = time.perf_counter()
        seen = set()
        budget = Budget(SETTINGS)
        for found in parts(path.read_bytes(), role=Role.FILE, name=path.name, budget=budget):
            if isinstance(found, Part):
                made += 1
            elif isinstance(found, Unopened):
                seen.add(f"{found.reason}")
            else:
                seen.add(type(found).__name__.lower())
        reasons.update(seen)
        slowest = max(slowest, (time.perf_counter() - start, path.name))
    seconds = time.perf_counter() - began
    told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    print(
        f"{folder.relative_to(DATA)}: {count} files, {made} parts, {seconds:.1f} s "
        f"(slowest {slowest[1]} {slowest[0]:.2f} s); files with: {told or 'nothing shut'}"
    )


def seconds_each(pattern: str) -> float:
    """Processor time a message."""
    messages = [path.read_bytes() for path in sorted(DATA.glob(pattern))[::2] if path.is_file()]
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for data in messages:
            for _part in parts(data, role=Role.MESSAGE, name="", budget=Budget(SETTINGS)):
                pass
        best = min(best, time.process_time() - began)
    return best / len(messages)


def against(other: Path) -> None:
    """Each in a process of its own, in turns."""
    here = Path(__file__).resolve().parent.parent / "src"
    for name, pattern in MAIL.items():
        best = {here: float("inf"), other: float("inf")}
        for _ in range(2):
            for source in best:
                command = [sys.executable, __file__, "--time", pattern]
                environment = {**os.environ, "PYTHONPATH": str(source)}
                done = subprocess.run(command, env=environment, capture_output=True, check=True)
                best[source] = min(best[source], float(done.stdout))
        ours, theirs = best[here] * 1000, best[other] * 1000
        print(f"{name}: {ours:.3f} ms a message here, {theirs:.3f} ms there, {ours / theirs:.2f}")


def essence(data: bytes) -> bytes:
    """clamscan changes case and blanks of texts."""
    return _NOT_SHOWN.sub(b"", data.lower())


def clamscan(folder: Path) -> None:
    for path in list(files(folder))[:: max(1, len(list(files(folder))) // CLAMSCAN_EACH)]:
        found = parts(path.read_bytes(), role=Role.FILE, name=path.name, budget=Budget(SETTINGS))
        ours = essence(b"\n".join(part.data for part in found if isinstance(part, Part)))
        with tempfile.TemporaryDirectory() as work:
            database = Path(work) / "one.hdb"
            database.write_text(f"{'0' * 32}:1:None\n")
            pieces = Path(work) / "pieces"
            pieces.mkdir()
            command = ["clamscan", "-d", str(database), "--leave-temps", f"--tempdir={pieces}"]
            subprocess.run([*command, str(path)], capture_output=True, timeout=60, check=False)
            for piece in pieces.rglob("*"):
                if piece.is_file() and not any(n in str(piece) for n in _OF_CLAMSCAN_ALONE):
                    content = piece.read_bytes()
                    if essence(content)[:4000] not in ours:
                        print(f"  {path.name}: {len(content)} bytes {content[:40]!r}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", type=Path)
    parser.add_argument("--clamscan", action="store_true")
    parser.add_argument("--time", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.time:
        print(seconds_each(chosen.time))
    elif not DATA.is_dir():
        print(f"(needs the data collection at {DATA})")
    elif chosen.against:
        against(chosen.against.resolve())
    else:
        for folder in FOLDERS:
            table(DATA / folder)
            if chosen.clamscan:
                clamscan(DATA / folder)


if __name__ == "__main__":
    main()
