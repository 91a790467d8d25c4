"""A real Dask cluster on this computer scans what it is sent."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailward.errors import TemporaryError
from mailward.publish.gates.base import Subject
from mailward.publish.gates.collection import scan_all
from mailward.publish.gates.dask_workers import DaskWorkers
from mailward.publish.gates.files import identify
from tests.publish.gates.sets import no_progress, rule

distributed = pytest.importorskip("distributed", reason="needs the extra mailward[dask]")

MakeSubject = Callable[..., Subject]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0"
    ) as running:
        yield running


def test_a_cluster_finds_what_is_there(cluster: Any, subject: MakeSubject, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    for number in range(300):
        (clean / f"{number}.txt").write_text(f"harmless, number {number}.")
    it = subject(a=rule("Broad", "number 123."))
    workers = DaskWorkers(it, cluster.scheduler_address)
    found = scan_all(it, "test", [clean], workers, no_progress)
    assert len(found) == 300
    assert not any(each.trouble for each in found)
    assert [(Path(f.path).name, f.signatures) for f in found if f.risks] == [
        ("123.txt", ("yara:a:Broad",))
    ]


def test_two_sets_one_after_the_other_do_not_meet(
    cluster: Any, subject: MakeSubject, tmp_path: Path
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("one two")
    names = []
    for text in ("one", "two", "three"):
        it = subject(a=rule(text, text))
        workers = DaskWorkers(it, cluster.scheduler_address)
        names += [f.risks for f in scan_all(it, "test", [path], workers, no_progress)]
    assert names == [("one",), ("two",), ()]


def test_a_file_that_goes_away_is_trouble(
    cluster: Any, subject: MakeSubject, tmp_path: Path
) -> None:
    path = tmp_path / "gone.txt"
    path.write_text("x")
    file = identify(path)
    path.unlink()
    found: list[Any] = []
    DaskWorkers(subject(a=rule("A", "x1")), cluster.scheduler_address).run(
        iter([file]), found.extend
    )
    assert found[0].trouble == "cannot be read"


def test_a_set_that_the_cluster_cannot_prepare_is_trouble(
    cluster: Any, subject: MakeSubject, tmp_path: Path
) -> None:
    it = subject(a=rule("A", "x1"))
    for source in it.sources:
        source.path.write_bytes(b"\0 no shard")
    path = tmp_path / "file.txt"
    path.write_text("x")
    workers = DaskWorkers(it, cluster.scheduler_address)
    (found,) = scan_all(it, "test", [path], workers, no_progress)
    assert "failed on a worker: FormatError" in found.trouble


def test_a_cluster_without_workers_is_said(subject: MakeSubject, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("x")
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty:
        workers = DaskWorkers(subject(a=rule("A", "x1")), empty.scheduler_address)
        with pytest.raises(TemporaryError, match="no worker"):
            workers.run(iter([identify(path)]), lambda found: None)
