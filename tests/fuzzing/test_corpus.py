"""What is kept of fuzzing is small, and nobody else's."""

from pathlib import Path

import pytest

from tests.fuzzing import corpus, seeds


def test_small_inputs_that_are_nobody_elses_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path / "kept")
    found = tmp_path / "found" / "parser"
    found.mkdir(parents=True)
    for name, data in (("1", b"small"), ("2", b"theirs"), ("3", bytes(2000)), ("4", b"")):
        (found / name).write_bytes(data)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "other.txt").write_text("dGhlaXJz\n")  # kept before: theirs
    corpus.keep(found.parent, lambda data: data == b"theirs")
    assert corpus.inputs("parser") == [b"small"]
    assert corpus.inputs("other") == []


@pytest.mark.shared
def test_nothing_kept_is_made_of_real_files(shared: Path) -> None:
    assert shared == seeds.DATA
    kept = [data for path in corpus.FOLDER.glob("*.txt") for data in corpus.inputs(path.stem)]
    assert len(kept) > 1000
    assert [data for data in kept if seeds.is_of_real_files(data)] == []
