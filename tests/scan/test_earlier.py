"""What did not change is taken from an earlier set's prepared files, and only what is sound."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan import earlier
from mailward.scan.engine import Detector, Preparation, Refused, Source
from mailward.scan.prepared import folder_name, prepare, read_preparation


class Counting:
    """Notes what it was asked to prepare, and with the help of what."""

    name = "counting"
    kinds = frozenset({ShardKind.HASHES})

    def __init__(self, version: str = "1") -> None:
        self._version = version
        self.asked: list[Path | None] = []

    def fingerprint(self) -> str:
        return self._version

    def prepare(
        self, sources: Sequence[Source], into: Path, earlier: Path | None = None
    ) -> Preparation:
        assert not list(into.iterdir())
        self.asked.append(earlier)
        content = b"".join(source.path.read_bytes() for source in sources)
        (into / "content").write_bytes(content)
        (into / "backwards").write_bytes(content[::-1])
        return Preparation(len(content), (Refused("bad", sources[0].name, 3, "why"),))

    def load(self, prepared: Path) -> Detector:
        raise FormatError("not asked for here")


@pytest.fixture
def before(tmp_path: Path) -> Path:
    prepare(shards(tmp_path), [Counting()], tmp_path / "before")
    return tmp_path / "before"


def shards(folder: Path, content: bytes = b"one\n", name: str = "a") -> list[Source]:
    """A shard that counts, and one of a kind that the engine does not read."""
    path, other = folder / f"shard-{name}", folder / "other"
    path.write_bytes(content)
    other.write_bytes(b"anything")
    return [Source(name, ShardKind.HASHES, path), Source("other", ShardKind.YARA, other)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_engine_that_is_given_the_same_is_not_asked_again(tmp_path: Path, before: Path) -> None:
    engine = Counting()
    sources = shards(tmp_path)
    sources[1].path.write_bytes(b"what it does not read may change")
    (done,) = prepare(sources, [engine], tmp_path / "new", before)
    assert engine.asked == []
    assert done.preparation == read_preparation(before, engine)
    where = folder_name(engine)
    assert files(tmp_path / "new" / where) == files(before / where)
    (again,) = prepare(sources, [engine], tmp_path / "newer", tmp_path / "new")
    assert engine.asked == []
    assert again.preparation == done.preparation


def test_what_is_taken_over_does_not_change_with_the_earlier_files(
    tmp_path: Path, before: Path
) -> None:
    prepare(shards(tmp_path), [Counting()], tmp_path / "new", before)
    expected = files(tmp_path / "new" / "counting-1")
    for path in (before / "counting-1").iterdir():
        with path.open("r+b") as file:
            file.write(b"rot")
    shutil.rmtree(before)
    assert files(tmp_path / "new" / "counting-1") == expected


@pytest.mark.parametrize(("content", "name"), [(b"one\ntwo\n", "a"), (b"", "a"), (b"one\n", "b")])
def test_an_engine_that_is_given_something_else_may_look_into_its_earlier_folder(
    tmp_path: Path, before: Path, content: bytes, name: str
) -> None:
    engine = Counting()
    (done,) = prepare(shards(tmp_path, content, name), [engine], tmp_path / "new", before)
    assert engine.asked == [before / "counting-1"]
    assert done.preparation.signatures == len(content)
    assert done.preparation.refused[0].shard == name


def test_what_engines_of_other_fingerprints_made_is_not_looked_at(
    tmp_path: Path, before: Path
) -> None:
    engine = Counting("2")
    prepare(shards(tmp_path), [engine], tmp_path / "new", before)
    assert engine.asked == [None]


def test_what_other_code_made_is_not_looked_at(
    tmp_path: Path, before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "code", lambda: "of a newer release")
    engine = Counting()
    prepare(shards(tmp_path), [engine], tmp_path / "new", before)
    prepare(shards(tmp_path, b"two"), [engine], tmp_path / "newer", before)
    assert engine.asked == [None, None]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["content", "backwards", "made.json", "preparation.json"])
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        _flip,
        _as_folder,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b'{"code": 1, "inputs": null, "files": []}'),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"\xff"),
    ],
)
def test_a_damaged_earlier_folder_costs_time_and_nothing_else(
    tmp_path: Path, before: Path, name: str, damage: Callable[[Path], object]
) -> None:
    expected = files(before / "counting-1")
    damage(before / "counting-1" / name)
    engine = Counting()
    prepare(shards(tmp_path), [engine], tmp_path / "new", before)
    assert files(tmp_path / "new" / "counting-1") == expected


def test_names_that_lead_elsewhere_are_not_followed(tmp_path: Path, before: Path) -> None:
    made = before / "counting-1" / "made.json"
    made.write_text(made.read_text().replace('"content"', '"../content"'))
    engine = Counting()
    prepare(shards(tmp_path), [engine], tmp_path / "new", before)
    assert engine.asked == [None]
    assert not (tmp_path / "new" / "content").exists()


def test_an_earlier_set_that_is_gone_is_no_error(tmp_path: Path, before: Path) -> None:
    shutil.rmtree(before)
    engine = Counting()
    prepare(shards(tmp_path), [engine], tmp_path / "new", before)
    assert engine.asked == [None]
