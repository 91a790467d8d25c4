"""A detector made of lines of text, as a worker has it."""

from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Preparation, Source
from mailward.scan.engines.signatures import SignaturesDetector, SignaturesEngine
from mailward.scan.part import Part, Role

TIMEOUT_S = 20.0


def prepare(folder: Path, **files: str | bytes) -> tuple[SignaturesDetector, Preparation]:
    """Each file by its suffix; several of one suffix with a number behind it: ``ndb_2``."""
    into = folder / f"prepared-{len(list(folder.iterdir()))}"
    into.mkdir()
    sources = []
    for key, content in files.items():
        name = f"{key}.{key.split('_')[0]}"
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
        sources.append(Source(name, ShardKind.CLAMAV, path))
    engine = SignaturesEngine()
    preparation = engine.prepare(sources, into)
    return engine.load(into), preparation


def found(detector: SignaturesDetector, data: bytes, **about: object) -> set[str]:
    part = Part("file", data, Role.FILE, **about)  # type: ignore[arg-type]
    return {hit.name for hit in detector.scan(part, TIMEOUT_S)}
