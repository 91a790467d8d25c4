"""Whether Mailward's verdicts are clamscan's: the same definitions, the same files, one run each.

    python benchmarks/parity.py generated [SIGNATURES] [SEED]
    python benchmarks/parity.py digests [FILES]
    python benchmarks/parity.py real

``generated`` makes, for a sample of the signatures in ../shared/data/definitions/clamav, files that
each must match and near misses of them (one byte, gap, offset or subsignature wrong), and compares
what both find in them. ``digests`` makes files, and digests of them and of their sections. ``real``
compares what both find in the mail, documents and containers there and in Debian's
clamav-testfiles. Every difference is printed, and counted by what kind of file it is.
"""

import hashlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mailward.definitions.model import ShardKind
from mailward.scan.budget import Budget
from mailward.scan.engine import ScanTimeoutError, Source
from mailward.scan.engines.signatures import SignaturesEngine
from mailward.scan.part import Part, Role
from mailward.scan.signatures import executable, extended, logical
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.signature import Signature
from mailward.scan.unpack import parts
from mailward.scan.verdict import Unopened
from mailward.settings.scan import ScanSettings
from tests.scan.signatures.examples import programs
from tests.scan.signatures.examples.make import ImpossibleError, examples
from tests.scan.signatures.examples.regex_example import NoExampleError

SHARED = Path(__file__).resolve().parent.parent.parent / "shared/data"
TEST_FILES = Path("/usr/share/clamav-testfiles")
BATCH = 2000
"""Signatures compiled together: clamscan is quick with so few."""
READERS = {".ndb": extended.read, ".ldb": logical.read}
OPTIONS = (
    *("--allmatch", "--no-summary", "--disable-cache", "--heuristic-alerts=no"),
    *("--phishing-scan-urls=no", "--bytecode=no", "--max-filesize=200M", "--max-scansize=400M"),
    *("--max-recursion=20", "--max-files=10000", "--pcre-match-limit=1000000"),
    "--pcre-recmatch-limit=1000000",
)
_FOUND = re.compile(r"(.*): (\S+?)(?:\.UNOFFICIAL)? FOUND")


def clamscan(folder: Path, files: Sequence[Path]) -> dict[Path, set[str]]:
    """What clamscan finds in each file, with the signatures of ``folder``."""
    with tempfile.NamedTemporaryFile("w", suffix=".list") as listed:
        listed.write("\n".join(map(str, files)) + "\n")
        listed.flush()
        command = ["clamscan", *OPTIONS, "-d", str(folder), "-f", listed.name]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
    found: dict[Path, set[str]] = defaultdict(set)
    for line in done.stdout.decode("latin-1").splitlines():
        hit = _FOUND.fullmatch(line)
        if hit:
            found[Path(hit[1])].add(hit[2])
    return found


class Ours:
    """The engine ``signatures`` with the files of a folder."""

    def __init__(self, folder: Path, work: Path) -> None:
        engine = SignaturesEngine()
        sources = [Source(p.name, ShardKind.CLAMAV, p) for p in sorted(folder.iterdir())]
        work.mkdir()
        self.preparation = engine.prepare(sources, work)
        self._detector = engine.load(work)

    def scan(self, data: bytes, name: str = "") -> tuple[set[str], list[str]]:
        """What is found in ``data`` and all that is in it, and what could not be opened."""
        found: set[str] = set()
        shut: list[str] = []
        settings = ScanSettings(max_message_bytes=1 << 30)
        for part in parts(data, role=Role.FILE, name=name, budget=Budget(settings)):
            if isinstance(part, Part):
                try:
                    found |= {hit.name for hit in self._detector.scan(part, 30)}
                except ScanTimeoutError as error:
                    shut.append(str(error))
            elif isinstance(part, Unopened):
                shut.append(f"{part.reason.value}: {part.detail}")
        return found, shut


@dataclass(frozen=True)
class Made:
    """A file made for a signature."""

    path: Path
    kind: str
    own: str
    """The signature's name in this run."""
    label: str
    """Suffix and target, for counting."""
    line: str


# --- generated files ------------------------------------------------------------------------------


def sample(count: int, random_: random.Random) -> list[tuple[str, str]]:
    """Lines and their suffixes: of each file in turn, at random, until there are enough."""
    files = [
        (path.suffix, [line for line in path.read_text("latin-1").splitlines() if is_line(line)])
        for path in sorted((SHARED / "definitions/clamav").iterdir())
        if path.suffix in READERS
    ]
    for _, lines in files:
        random_.shuffle(lines)
    taken: list[tuple[str, str]] = []
    while len(taken) < count and any(lines for _, lines in files):
        for suffix, lines in files:
            share = max(1, min(len(lines), (count - len(taken)) // len(files)))
            taken += [(suffix, line) for line in lines[:share]]
            del lines[:share]
    random_.shuffle(taken)
    return taken[:count]


def is_line(line: str) -> bool:
    """Whether it is a signature, not a remark."""
    return ":" in line and not line.startswith("#")


def renamed(suffix: str, line: str, number: int) -> str:
    """The line with a name that is unique in this run."""
    separator = ":" if suffix == ".ndb" else ";"
    return f"P{number}{line[line.index(separator) :]}"


def batches(
    lines: Sequence[tuple[str, str]], skipped: Counter[str]
) -> Iterator[list[tuple[str, str, Signature]]]:
    """Signatures that can be read, so many at a time."""
    batch = []
    for number, (suffix, line) in enumerate(lines):
        try:
            text = renamed(suffix, line, number)
            signature = READERS[suffix](text)
        except (MalformedError, UnsupportedError, ValueError) as error:
            skipped[f"not active: {error}"[:90]] += 1
            continue
        batch.append((suffix, text, signature))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def make_files(
    batch: Sequence[tuple[str, str, Signature]],
    folder: Path,
    random_: random.Random,
    skipped: Counter[str],
) -> list[Made]:
    made: list[Made] = []
    for suffix, text, signature in batch:
        label = f"{suffix} target {signature.target}"
        try:
            for number, example in enumerate(examples(signature, random_)):
                path = folder / f"{signature.name}.{number}"
                path.write_bytes(example.data)
                made.append(Made(path, example.kind, signature.name, label, text))
        except (ImpossibleError, NoExampleError) as error:
            skipped[f"no file made: {error}"[:90]] += 1
    return made


@dataclass
class Result:
    """What came of comparing."""

    signatures: int = 0
    found: int = 0
    """Files in which both found the signature that they were made for."""
    tally: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


def compare_made(lines: Sequence[tuple[str, str]], random_: random.Random, result: Result) -> None:
    """Make files for ``lines``, have both look at them, and add up what came of it."""
    for batch in batches(lines, result.skipped):
        with tempfile.TemporaryDirectory(prefix="parity") as name:
            _compare_batch(batch, Path(name), random_, result)
        print(
            f"{result.signatures} signatures, {sum(result.tally.values())} files, "
            f"{len(result.differences)} differ",
            flush=True,
        )


def _compare_batch(
    batch: Sequence[tuple[str, str, Signature]], work: Path, random_: random.Random, result: Result
) -> None:
    definitions, files = work / "definitions", work / "files"
    definitions.mkdir()
    files.mkdir()
    for suffix in READERS:
        lines = [f"{text}\n" for kind, text, _ in batch if kind == suffix]
        if lines:
            (definitions / f"sample{suffix}").write_text("".join(lines), "latin-1")
    made = make_files(batch, files, random_, result.skipped)
    result.signatures += len({one.own for one in made})
    theirs = clamscan(definitions, [one.path for one in made])
    ours = Ours(definitions, work / "prepared")
    for one in made:
        mine, shut = ours.scan(one.path.read_bytes(), one.path.name)
        other = theirs.get(one.path, set())
        if mine != other:
            answer = "differs"
            result.differences.append(explained(one, mine, other, shut))
            print(result.differences[-1])
        elif one.own in mine:
            answer = "both"
            result.found += 1
        else:
            answer = "neither"
            if one.kind == "match":
                print(f"neither finds what was made to match: {one.line[:200]}")
        result.tally[one.label, one.kind, answer] += 1


def generated(count: int, seed: int) -> None:
    random_ = random.Random(seed)
    result = Result()
    compare_made(sample(count, random_), random_, result)
    table(result.tally)
    for reason, times in result.skipped.most_common():
        print(f"{times:7} {reason}")


def explained(one: Made, mine: set[str], other: set[str], shut: list[str]) -> str:
    where = f"{one.path.name} ({one.label}, {one.kind})"
    return f"{where}: {said(mine, other, shut)}\n    {one.line[:300]}"


def said(mine: set[str], other: set[str], shut: list[str]) -> str:
    alone = f"ours alone {sorted(mine - other)}, theirs alone {sorted(other - mine)}"
    return f"{alone}, not looked into: {shut[:3]}" if shut else alone


def table(tally: Counter[tuple[str, str, str]]) -> None:
    kinds = sorted({(label, kind) for label, kind, _ in tally})
    print(f"\n{'':28}{'both find it':>14}{'neither':>10}{'differ':>10}")
    for label, kind in kinds:
        row = [tally[label, kind, answer] for answer in ("both", "neither", "differs")]
        print(f"{label + ', ' + kind:28}{row[0]:14}{row[1]:10}{row[2]:10}")


# --- digests --------------------------------------------------------------------------------------


def hashed(count: int, random_: random.Random, folder: Path) -> tuple[Path, list[Path]]:
    """Files, and definitions with digests of them: right, of another size, of any size, of other
    algorithms, of sections, and of files in which nothing is to be found."""
    definitions, files = folder / "definitions", folder / "files"
    definitions.mkdir()
    files.mkdir()
    lines: dict[str, list[str]] = defaultdict(list)
    for number in range(count):
        data = random_.randbytes(random_.randrange(20, 3000))
        program = random_.random() < 0.4
        if program:
            data = programs.pe([data, random_.randbytes(random_.randrange(20, 900))])
        (files / f"{number}").write_bytes(data)
        algorithm = random_.choice(("md5", "sha1", "sha256"))
        suffix = random_.choice((".hdb", ".hsb") if algorithm == "md5" else (".hsb",))
        digest, size = hashlib.new(algorithm, data).hexdigest(), len(data)
        kind = random_.choice(("right", "right", "size", "any", "byte", "upper", "cleared"))
        if kind == "byte":
            digest = f"{(int(digest[0], 16) + 1) % 16:x}{digest[1:]}"
        if kind == "upper":
            digest = digest.upper()
        if kind == "cleared":
            lines[".fp" if algorithm == "md5" else ".sfp"].append(f"{digest}:{size}:C{number}")
        shown = {"size": str(size + 1), "any": "*"}.get(kind, str(size))
        if shown == "*" and suffix == ".hdb":
            suffix = ".hsb"  # the only one that knows files of any size
        lines[suffix].append(f"{digest}:{shown}:H{number}" + (":73" if shown == "*" else ""))
        layout = executable.parse(data)
        if program and layout is not None:
            for section, (length, inner) in enumerate(
                executable.section_hashes(data, layout, algorithm)
            ):
                wrong = random_.random() < 0.3
                lines[".mdb" if algorithm == "md5" else ".msb"].append(
                    f"{length + wrong}:{inner.hex()}:S{number}.{section}"
                )
    for suffix, several in lines.items():
        (definitions / f"a{suffix}").write_text("\n".join(several) + "\n")
    ignored = [f"H{n}" for n in range(0, count, 17)]
    (definitions / "a.ign2").write_text("\n".join(ignored) + "\n")
    return definitions, sorted(files.iterdir())


def digests(count: int, seed: int) -> list[str]:
    """Compare what both find by digests; the differences."""
    with tempfile.TemporaryDirectory(prefix="parity") as name:
        work = Path(name)
        definitions, files = hashed(count, random.Random(seed), work)
        theirs = clamscan(definitions, files)
        ours = Ours(definitions, work / "prepared")
        differences, found = [], 0
        for path in files:
            mine, shut = ours.scan(path.read_bytes(), path.name)
            other = theirs.get(path, set())
            found += bool(mine)
            if mine != other:
                differences.append(f"{path.name}: {said(mine, other, shut)}")
        kinds = ", ".join(f"{k} {n}" for k, n in ours.preparation.kinds.items())
        print(f"{count} files, {kinds}: found in {found}, {len(differences)} differ")
        return differences


# --- real files -----------------------------------------------------------------------------------


def real() -> None:
    folders = [SHARED / "mail", SHARED / "clean", SHARED / "containers", TEST_FILES]
    files = [p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()]
    with tempfile.TemporaryDirectory(prefix="parity") as name:
        work = Path(name)
        definitions = work / "definitions"
        definitions.mkdir()
        for path in (SHARED / "definitions/clamav").iterdir():
            if path.suffix in (".ndb", ".ldb", ".hdb"):
                (definitions / path.name).write_bytes(path.read_bytes())
        began = time.perf_counter()
        theirs = clamscan(definitions, files)
        print(f"clamscan: {time.perf_counter() - began:.0f} s for {len(files)} files")
        ours = Ours(definitions, work / "prepared")
        print(f"{ours.preparation.signatures} signatures active here", flush=True)
        tally: Counter[str] = Counter()
        for path in files:
            mine, shut = ours.scan(path.read_bytes(), path.name)
            other = theirs.get(path, set())
            if mine == other:
                tally["the same, something found" if mine else "the same, nothing found"] += 1
                continue
            tally["differ, a container stays shut" if shut else "differ"] += 1
            print(f"{path}: {said(mine, other, shut)}")
    for answer, times in sorted(tally.items()):
        print(f"{times:7} {answer}")


def main() -> None:
    if not SHARED.is_dir():
        raise SystemExit(f"needs the data collection at {SHARED}")
    if sys.argv[1:2] == ["real"]:
        real()
    elif sys.argv[1:2] == ["digests"]:
        print("\n".join(digests(int(sys.argv[2]) if sys.argv[2:] else 2000, 1)))
    else:
        numbers = [int(n) for n in sys.argv[2:]]
        generated(*(numbers + [20_000, 1][len(numbers) :]))


if __name__ == "__main__":
    main()
