"""Feeds hostile bytes to every parser of what others send, by atheris: an exception is a bug.

``uv run --with atheris scripts/fuzz.py TARGET SECONDS [FOLDER…]``: a name out of the modules of
``tests/fuzzing``, for how long, folders with files to begin with (the first is added to). Without
arguments the names are listed. What is found is written to ``crash-…`` in the working folder: turn
it into a test. libFuzzer's own options are passed on: ``-merge=1`` keeps what tells files apart.

``scripts/fuzz.py --unpack FOLDER`` writes the inputs that the project keeps to a folder for each
parser, to begin with; ``--keep FOLDER`` keeps what is there now, without what is large.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fuzzing import corpus

MODULES = ("readers", "signatures", "strangers")
"""Of ``tests/fuzzing``; imported one by one, since instrumenting takes seconds."""


def find(target: str) -> Callable[[bytes], object]:
    """The parser of that name."""
    names = []
    for module in MODULES:
        with atheris.instrument_imports(include=["mailward"]):
            parsers = importlib.import_module(f"tests.fuzzing.{module}").PARSERS
        if "vhdx" in parsers:  # the checksum takes a second when it is instrumented
            importlib.import_module("mailward.scan.containers.vhdx").crc32c = lambda _: 0
        if target in parsers:
            return parsers[target]  # type: ignore[no-any-return]
        names += parsers
    sys.exit(f"targets: {' '.join(names)}")


def main(target: str = "", seconds: str = "60", *more: str) -> None:
    """See the module."""
    if target == "--unpack":
        corpus.unpack(Path(seconds))
    elif target == "--keep":
        corpus.keep(Path(seconds))
    else:
        arguments = [sys.argv[0], f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=10"]
        parser = find(target)
        atheris.Setup([*arguments, "-max_len=65536", *more], parser)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
