"""Feeds hostile bytes to every parser of what others send, by atheris: an exception is a bug.

``uv run --with atheris scripts/fuzz.py TARGET SECONDS [FOLDER…]``: a name out of the modules of
``tests/fuzzing``, for how long, folders with files to begin with (the first is added to). Without
arguments the names are listed. What is found is written to ``crash-…`` in the working folder: turn
it into a test. libFuzzer's own options are passed on: ``-merge=1`` keeps what tells files apart.

``scripts/fuzz.py --rotate --hours H [--slice SECONDS] [--still SECONDS] [--corpus FOLDER]
[TARGET…]`` goes round all of them, one at a time, and gives most time to those that it helps.
FOLDER keeps the inputs, how far it got, and what was found (``FOLDER/found``). A parser of which
nothing new was reached for long gets no more, but for ``--still 0``. For many at once, give each a
folder and some of the targets.

``scripts/fuzz.py --unpack FOLDER`` writes the inputs that the project keeps to a folder for each
parser, to begin with; ``--keep FOLDER`` keeps what is there now, without what is large, and without
what is made of real files, which must be there for that.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fuzzing import corpus, rotation

Parser = Callable[[bytes], object]

MODULES = ("readers", "signatures", "strangers")
"""Of ``tests/fuzzing``; imported one by one, since instrumenting takes seconds."""

LIBRARIES = ("aiosmtpd.proxy_protocol", "tuf.api")
"""Whose code our parsers are: without seeing it, fuzzing is blind there."""


def load(target: str = "") -> dict[str, Parser]:
    """Parsers by name: all, or until there is the one asked for."""
    found: dict[str, Parser] = {}
    for module in MODULES:
        with atheris.instrument_imports(include=["mailward", *LIBRARIES]):
            found |= importlib.import_module(f"tests.fuzzing.{module}").PARSERS
        if module == "readers":  # the checksum takes a second when it is instrumented
            importlib.import_module("mailward.scan.containers.vhdx").crc32c = lambda _: 0
        if target in found:
            break
    return found


def fuzz(parse: Parser, seconds: float, *more: str) -> None:
    """Ends the process."""
    limits = [f"-max_total_time={seconds:.0f}", "-rss_limit_mb=2048", "-timeout=20"]
    atheris.Setup([sys.argv[0], *limits, "-max_len=65536", *more], parse)
    atheris.Fuzz()


def rotate(*arguments: str) -> None:
    """See the module."""
    reader = argparse.ArgumentParser(prog="fuzz.py --rotate")
    reader.add_argument("--hours", type=float, default=1.0, help="in all")
    reader.add_argument("--slice", type=float, default=60, help="seconds, each time")
    reader.add_argument("--still", type=float, default=600, help="seconds; 0: go on for ever")
    reader.add_argument("--corpus", type=Path, default=Path("fuzz-corpus"), help="the folder")
    reader.add_argument("targets", nargs="*", help="all if none is named")
    told = reader.parse_args(arguments)
    parsers = load()
    seeds = importlib.import_module("tests.fuzzing.seeds")  # not before: it imports the parsers
    round_ = rotation.Rotation(told.corpus.resolve(), told.still or float("inf"))

    def one(target: str) -> None:
        place = round_.folder / target
        words = round_.folder / f"{target}.words"
        if not place.exists():
            place.mkdir()
            inputs = list(seeds.of(target))
            words.write_text(seeds.dictionary(seeds.words(parsers[target], inputs)))
            for number, data in enumerate(inputs):
                (place / f"seed-{number}").write_bytes(data)
        finding = f"-artifact_prefix={round_.folder}/found/{target}-"
        parse = round_.keeping(target, parsers[target])
        fuzz(parse, told.slice, finding, f"-dict={words}", str(place))

    rotation.run(round_, told.targets or list(parsers), told.hours, told.slice, one)
    print(round_.table())


def main(target: str = "", seconds: str = "60", *more: str) -> None:
    """See the module."""
    if target == "--unpack":
        corpus.unpack(Path(seconds))
    elif target == "--keep":
        seeds = importlib.import_module("tests.fuzzing.seeds")  # not before: it imports the parsers
        corpus.keep(Path(seconds), seeds.is_of_real_files)
    elif target == "--rotate":
        rotate(*sys.argv[2:])
    else:
        found = load(target)
        if target not in found:
            sys.exit(f"targets: {' '.join(found)}")
        fuzz(found[target], float(seconds), *more)


if __name__ == "__main__":
    main(*sys.argv[1:])
