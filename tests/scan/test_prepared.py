"""From a set's shards to prepared files, and from those to a set that scans."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan.engine import Detector, Engine, Hit, Preparation, Refused, Source
from mailward.scan.part import Part, Role
from mailward.scan.prepared import LoadedSet, folder_name, missing, prepare, read_preparation
from mailward.scan.verdict import Risk


class Engine1:
    """Finds the names of its shards in parts; refuses what it is told to."""

    kinds = frozenset({ShardKind.HASHES})

    def __init__(self, name: str, version: str = "1", refused: int = 0, breaks: bool = False):
        self.name = name
        self._version = version
        self._refused = refused
        self.breaks = breaks
        self.open = 0

    def fingerprint(self) -> str:
        return self._version

    def prepare(
        self, sources: Sequence[Source], into: Path, earlier: Path | None = None
    ) -> Preparation:
        (into / "names").write_text("\n".join(source.name for source in sources))
        refused = tuple(Refused(f"bad-{n}", "s", n or None, "why") for n in range(self._refused))
        return Preparation(len(sources), refused, unnamed=self._refused * 1000)

    def load(self, prepared: Path) -> Detector:
        if self.breaks:
            raise FormatError("as asked")
        self.open += 1
        return Detector1(self, (prepared / "names").read_text().split("\n"))


class Detector1:
    def __init__(self, engine: Engine1, names: Sequence[str]):
        self._engine = engine
        self._names = names
        self._closed = False

    def scan(self, part: Part, timeout_s: float) -> list[Hit]:
        return [
            Hit(name, True, "low", f"{timeout_s:g} s")
            for name in self._names
            if name.encode() in part.data
        ]

    def close(self) -> None:
        self._engine.open -= not self._closed
        self._closed = True


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    path = tmp_path / "shard"
    path.touch()
    kinds = [ShardKind.HASHES, ShardKind.YARA, ShardKind.HASHES]
    return [Source(f"shard{n}", kind, path) for n, kind in enumerate(kinds)]


PART = Part("message/1", b"shard0 shard1 shard2", Role.BODY)


def test_a_loaded_set_scans_with_every_engine(sources: list[Source], tmp_path: Path) -> None:
    engines = [Engine1("one"), Engine1("two")]
    done = prepare(sources, engines, tmp_path / "prepared")
    assert [(p.engine, p.fingerprint, p.preparation) for p in done] == [
        ("one", "1", Preparation(2)),
        ("two", "1", Preparation(2)),
    ]
    assert all(p.prepare_ms > 0 for p in done)
    loaded = LoadedSet.load("20261123.007", tmp_path / "prepared", engines)
    assert list(loaded.scan(PART, 5.0)) == [
        Risk(name, engine, "message/1", "20261123.007", True, "low", "5 s")
        for engine in ("one", "two")
        for name in ("shard0", "shard2")
    ]
    assert not list(loaded.scan(Part("x", b"", Role.BODY), 5.0))
    loaded.close()
    loaded.close()
    assert [engine.open for engine in engines] == [0, 0]


def test_what_was_refused_is_remembered(sources: list[Source], tmp_path: Path) -> None:
    engine = Engine1("one", refused=3)
    (done,) = prepare(sources, [engine], tmp_path)
    assert done.preparation.refused_count == 3003
    assert read_preparation(tmp_path, engine) == done.preparation


def test_preparing_again_is_asked_for_when_the_fingerprint_changes(
    sources: list[Source], tmp_path: Path
) -> None:
    old, new, other = Engine1("one"), Engine1("one", "2"), Engine1("other")
    prepare(sources, [old], tmp_path)
    assert missing(tmp_path, [old, new, other]) == [new, other]
    with pytest.raises(FormatError, match="one are missing"):
        LoadedSet.load("20261123.007", tmp_path, [new])


def test_an_engine_that_was_interrupted_is_missing(sources: list[Source], tmp_path: Path) -> None:
    class Interrupted(Engine1):
        def prepare(
            self, sources: Sequence[Source], into: Path, earlier: Path | None = None
        ) -> Preparation:
            super().prepare(sources, into)
            raise OSError("no space left on device")

    engine = Interrupted("one")
    with pytest.raises(OSError, match="no space"):
        prepare(sources, [engine], tmp_path)
    assert missing(tmp_path, [engine]) == [engine]
    with pytest.raises(FormatError):
        LoadedSet.load("20261123.007", tmp_path, [engine])


def test_when_one_engine_cannot_load_the_others_are_closed(
    sources: list[Source], tmp_path: Path
) -> None:
    first, broken = Engine1("one"), Engine1("two", breaks=True)
    prepare(sources, [first, broken], tmp_path)
    with pytest.raises(FormatError, match="as asked"):
        LoadedSet.load("20261123.007", tmp_path, [first, broken])
    assert first.open == 0


_WHOLE = {"signatures": 1, "refused": [], "unnamed": 0}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps(_WHOLE | {"refused": None}).encode(),
        json.dumps(_WHOLE | {"refused": [1]}).encode(),
        json.dumps(_WHOLE | {"refused": [{"signature": "x"}]}).encode(),
        json.dumps(_WHOLE | {"refused": [{"signature": "x", "odd": 1}]}).encode(),
        json.dumps(_WHOLE | {"refused": "bad"}).encode(),
        json.dumps(_WHOLE | {"signatures": "many"}).encode(),
    ],
)
def test_a_damaged_summary_is_noticed(
    sources: list[Source], tmp_path: Path, content: bytes
) -> None:
    engine: Engine = Engine1("one")
    prepare(sources, [engine], tmp_path)
    (tmp_path / folder_name(engine) / "preparation.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"preparation\.json"):
        LoadedSet.load("20261123.007", tmp_path, [engine])
