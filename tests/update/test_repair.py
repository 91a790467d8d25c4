"""Stores that a disk or a hand has damaged, mended from a repository; and odd state folders."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.app import app
from mailward.definitions.model import Version
from mailward.definitions.store import StoredSet
from mailward.publish.repository import Publisher
from mailward.scan.pool import ScanPool
from mailward.scan.verdict import VerdictKind
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, message
from mailward.update import agent as agents
from tests.update.test_agent import Site

THREAT = message(text="a threat")


class Damaged(Site):
    """A computer with two sets, the command line, and workers to see that it scans."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher(folder / "publisher")
        public = self.publisher.home.folder / "public"
        self.root = public / "metadata/1.root.json"
        self.rules = folder / "rules"
        self.steps = []
        self.second, self.first = self.store.versions()
        self.config_file = folder / "mailward.toml"
        self.config_file.write_text(
            f'state_dir = "{folder}/state"\n[update]\nrepository = "{public.as_uri()}"\n'
            f'root = "{self.root}"\nrapid = {{enabled = true}}\ncertified = {{enabled = false}}\n'
            "[store]\nmin_free_bytes = 1\n",
            encoding="utf-8",
        )

    def verify(self, *options: str) -> Result:
        command = ["--config", str(self.config_file), "definitions", "verify", *options]
        return CliRunner().invoke(app, command)

    def stored(self, version: Version) -> StoredSet:
        return self.store.get(version)

    async def scans_with(self) -> str:
        async with ScanPool(self.store, ScanSettings(workers=1)) as pool:
            verdict = await pool.scan(THREAT)
            assert verdict.kind is VerdictKind.INFECTED
            return verdict.set


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A publisher and a computer with two of its sets; made once, copied for each test."""
    folder = tmp_path_factory.mktemp("whole")
    site = Site(folder)
    site.publish("First")
    site.refresh()
    site.publish("Second")
    site.refresh()
    return folder


@pytest.fixture
def site(whole: Path, tmp_path: Path) -> Damaged:
    return Damaged(Path(shutil.copytree(whole, tmp_path / "site")))


def _shard(site: Damaged, version: Version) -> Path:
    """One that only this set has."""
    others = {s.sha256 for v in site.store.versions() if v != version
              for s in site.stored(v).manifest.shards}  # fmt: skip
    return next(p for s, p in site.stored(version).shard_paths() if s.sha256 not in others)


def _break_shard(site: Damaged) -> None:
    path = _shard(site, site.second)
    path.write_bytes(b"\0" * path.stat().st_size)


def _lose_shard(site: Damaged) -> None:
    _shard(site, site.second).unlink()


def _break_manifest(site: Damaged) -> None:
    (site.stored(site.second).folder / "manifest.json").write_bytes(b"{")


def _edit_manifest(site: Damaged) -> None:
    """Well-formed, but no longer what was signed: it names the first set's rules."""
    path = site.stored(site.second).folder / "manifest.json"
    edited = site.stored(site.first).manifest.model_copy(update={"version": site.second})
    path.write_bytes(edited.to_json())


def _break_trial(site: Damaged) -> None:
    (site.stored(site.second).folder / "trial.json").write_bytes(b"edited")


def _break_prepared(site: Damaged) -> None:
    for path in site.stored(site.second).prepared.rglob("*"):
        if path.is_file() and path.name != "preparation.json":
            path.write_bytes(b"edited")


def _break_pointer(site: Damaged) -> None:
    (site.store.folder / "active").write_bytes(b"20261123.002\n")


def _break_pointer_and_history(site: Damaged) -> None:
    _break_pointer(site)
    (site.store.folder / "history.jsonl").write_bytes(b"\0\0\0")


@pytest.mark.parametrize(
    "damage",
    [_break_shard, _lose_shard, _break_manifest, _edit_manifest, _break_trial, _break_prepared,
     _break_pointer, _break_pointer_and_history],
)  # fmt: skip
def test_what_was_damaged_is_mended_and_the_active_set_scans_again(
    site: Damaged, damage: object
) -> None:
    assert callable(damage)
    damage(site)
    done = site.verify("--repair")
    assert done.exit_code == 0, done.output
    assert "Repaired:" in done.output
    assert site.active() == site.second
    active = site.store.active()
    assert active is not None
    assert (active.version, active.defect(), active.damage()) == (site.second, None, None)
    assert site.store.history(1)[0].event == "repaired"


async def test_meanwhile_the_newest_whole_set_scans(site: Damaged) -> None:  # S5
    _break_manifest(site)
    assert await site.scans_with() == str(site.first)
    site.verify("--repair")
    assert await site.scans_with() == str(site.second)


def test_damage_is_named_without_being_touched_when_nobody_asked_for_repair(
    site: Damaged,
) -> None:
    _lose_shard(site)
    _break_pointer(site)
    before = sorted(path for path in site.store.folder.rglob("*"))
    done = site.verify()
    assert done.exit_code == 1
    assert "is missing" in done.output
    assert "pointer" in done.output
    assert "--repair" in done.output
    assert sorted(path for path in site.store.folder.rglob("*")) == before


def test_what_the_repository_cannot_give_stays_and_is_named(site: Damaged) -> None:
    _lose_shard(site)
    _break_prepared(site)
    shutil.rmtree(site.publisher.home.folder / "public")
    done = site.verify("--repair", "--json")
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert any("nothing can be fetched" in why for why in told["hindered"])
    assert any("is missing" in problem["detail"] for problem in told["left"])
    assert site.active() == site.first  # the newest whole one


def test_a_swapped_shard_in_the_repository_repairs_nothing(site: Damaged) -> None:  # S1
    _lose_shard(site)
    for path in (site.publisher.home.folder / "public/objects").rglob("*.zst"):
        path.write_bytes(b"\0" * path.stat().st_size)
    shutil.rmtree(site.publisher.home.folder / "public/patches", ignore_errors=True)
    assert site.verify("--repair").exit_code == 1
    assert not _shard(site, site.second).exists()


def test_nothing_damaged_is_nothing_repaired(site: Damaged) -> None:
    before = len(site.store.history())
    done = site.verify("--repair")
    assert done.exit_code == 0
    assert "nothing is damaged" in done.output
    assert len(site.store.history()) == before


# --- state folders as they may be found -----------------------------------------------------------


async def test_a_state_folder_from_an_older_release_goes_on(site: Damaged) -> None:
    """Without what later releases added, with prepared files of engines as they were then, and with
    fields that this release does not know."""
    for version in site.store.versions():
        stored = site.stored(version)
        trial = json.loads((stored.folder / "trial.json").read_bytes())
        for late in ("measured", "measured_before", "confinement", "unused_signatures"):
            trial.pop(late, None)
        (stored.folder / "trial.json").write_text(json.dumps(trial | {"retired": 1}))
        for made in list(stored.prepared.iterdir()):
            made.rename(made.with_name(made.name.partition("-")[0] + "-0.1"))
    pointer = json.loads((site.store.folder / "active").read_bytes())
    (site.store.folder / "active").write_text(json.dumps(pointer | {"retired": 1}))
    lines = (site.store.folder / "history.jsonl").read_text().splitlines()
    kept = ("at", "event", "version", "reason", "channel", "result")
    older = [{k: v for k, v in json.loads(line).items() if k in kept} for line in lines]
    (site.store.folder / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in older))

    assert await site.scans_with() == str(site.second)
    third = site.publish("Third")
    assert site.refresh().result is agents.Result.ACTIVATED
    assert await site.scans_with() == str(third)
    assert CliRunner().invoke(app, ["--config", str(site.config_file), "status"]).exit_code == 0


def test_a_store_on_another_file_system_than_the_temporary_folder(
    site: Damaged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", None)
    third = site.publish("Third")
    assert site.refresh().result is agents.Result.ACTIVATED
    assert site.active() == third
    _shard(site, third).unlink()
    assert site.verify("--repair").exit_code == 0


async def test_what_is_mended_takes_effect_in_a_running_pool(site: Damaged) -> None:
    _break_manifest(site)
    async with ScanPool(site.store, ScanSettings(workers=1)) as pool:
        assert (await pool.scan(message(text=EICAR.decode()))).set == str(site.first)
        assert site.verify("--repair").exit_code == 0
        for _ in range(500):
            if (await pool.scan(THREAT)).set == str(site.second):
                return
        pytest.fail("the pool did not look again")
