"""One store and the real products on it: clamd, Rspamd, yara, and readers as another user."""

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailward.cli import products as product_commands
from mailward.cli.app import app
from mailward.definitions.model import Version
from mailward.definitions.products import ProductKind, Standing
from mailward.definitions.sharing import Sharing
from mailward.definitions.store import Store
from mailward.errors import UsageError
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher
from mailward.settings.update import StoreSettings
from mailward.update import alarms
from tests.definitions.kinds import activate, threat
from tests.e2e.products import (
    MULTIMAP,
    PATIENCE_S,
    UPDATER,
    active_version,
    all_found,
    found_of,
    has_logged,
    names_of,
    needs,
    product_of,
    project_folder,
    running_clamd,
    running_instance,
    running_rspamd,
    version_of,
    wait_for,
    yara_finds,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))


@pytest.fixture
def sharing(store: Store) -> Sharing:
    return Sharing(store, loading_s=60)


def test_clamd_uses_each_set_and_goes_back_with_the_store(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    activate(store, version_of(1))
    address = str(tmp_path / "clamd.sock")
    product = product_of("clamd", ProductKind.CLAMD, socket=address)
    sharing.products.add(product)
    assert sharing.bring_up(product).standing is Standing.UNTOLD  # it does not run yet
    with running_clamd(tmp_path, sharing.products.link(product)) as clamd:
        assert sharing.bring_up(product).standing is Standing.CURRENT
        assert found_of(version_of(1), clamd) == names_of(version_of(1))
        activate(store, version_of(2))
        assert sharing.bring_up(product).problem == ""
        assert found_of(version_of(2), clamd) == names_of(version_of(2))
        assert found_of(version_of(1), clamd) == [None, None, None]
        assert (sharing.used(product) or "").startswith(version_of(2))
        file = tmp_path / "infected"
        file.write_bytes(threat(1, version_of(2)))
        words = ["clamdscan", "-c", str(tmp_path / "clamd.conf"), "--no-summary", str(file)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert "Body.20261124_002.UNOFFICIAL FOUND" in done.stdout
        with store.writer("test") as writer:
            writer.rollback(None, "false alarms")
        assert str(sharing.bring_up(product).version) == version_of(1)
        assert found_of(version_of(1), clamd) == names_of(version_of(1))
        with store.writer("test") as writer:
            writer.ignore("Rule_20261124_001", "false")
            writer.ignore("Body.20261124_001", "false")
        assert sharing.bring_up(product).problem == ""
        assert found_of(version_of(1), clamd) == [names_of(version_of(1))[0], None, None]


def test_what_clamscan_does_not_load_is_not_given_to_clamd(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    needs("clamscan")
    activate(store, version_of(1))
    product = product_of("clamd", ProductKind.CLAMD)
    sharing.products.add(product)
    assert sharing.bring_up(product).standing is Standing.CURRENT
    before = os.readlink(sharing.products.link(product))
    kind = product.takes[2]
    activate(
        store, version_of(2), **{"clamav/broken.ndb": (kind, b"Broken:this is no signature\n")}
    )
    state = sharing.bring_up(product)
    assert state.standing is Standing.REFUSED
    assert "broken.ndb" in state.problem
    (alert,) = alarms.of_products(store).values()
    assert "broken.ndb" in alert
    assert f"It uses {version_of(1)}" in alert
    assert os.readlink(sharing.products.link(product)) == before
    activate(store, version_of(3))
    assert sharing.bring_up(product).standing is Standing.CURRENT
    assert alarms.of_products(store) == {}


def test_sizes_that_clamav_does_not_take_do_not_keep_it_from_the_rest(
    store: Store, sharing: Sharing
) -> None:
    needs("clamscan")
    product = product_of("clamd", ProductKind.CLAMD)
    sizes = (0, 1, 2**32 - 2, 2**32 - 1, 2**32, 2**40)
    lines = b"".join(b"%032x:%d:Odd.%d\n" % (n, size, n) for n, size in enumerate(sizes))
    activate(store, version_of(1), **{"hashes/odd": (product.takes[0], lines)})
    sharing.products.add(product)
    state = sharing.bring_up(product)
    assert (state.standing, state.problem) == (Standing.CURRENT, "")
    written = (sharing.products.link(product) / "mailward.hdb").read_text()
    assert written.count("Odd.") == 2


def test_rules_that_clamd_cannot_read_are_named_and_the_rest_is_used(
    store: Store, sharing: Sharing
) -> None:
    needs("clamscan")
    source = 'import "pe"\nrule Modern { condition: pe.is_pe }'
    line = json.dumps({"namespace": "modern", "source": source}).encode() + b"\n"
    product = product_of("clamd", ProductKind.CLAMD)
    activate(store, version_of(1), **{"yara/modern": (product.takes[1], line)})
    sharing.products.add(product)
    state = sharing.bring_up(product)
    assert state.standing is Standing.CURRENT
    assert any("mailward-yara-modern.yar" in said for said in state.left_out)


def test_yara_finds_by_the_files_it_is_given(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    needs("yara", "yarac")
    broken = json.dumps({"namespace": "broken", "source": "rule Broken {"}).encode() + b"\n"
    product = product_of("tools", ProductKind.YARA)
    activate(store, version_of(1), **{"yara/broken": (product.takes[0], broken)})
    sharing.products.add(product)
    state = sharing.bring_up(product)
    assert state.standing is Standing.CURRENT
    assert any(said.startswith("broken.yar: ") for said in state.left_out)
    (tmp_path / "file").write_bytes(threat(2, version_of(1)) + b"broad one")
    assert yara_finds(sharing.products.link(product), tmp_path / "file") == {
        "Broad", "Rule_20261124_001",
    }  # fmt: skip
    with store.writer("test") as writer:
        writer.ignore("Too.Broad", "false")
    sharing.bring_up(product)
    assert yara_finds(sharing.products.link(product), tmp_path / "file") == {"Rule_20261124_001"}


def _read_as_nobody(folder: Path, told: "multiprocessing.connection.Connection") -> None:
    """What a reader does: follow the pointer, read everything that the active set names."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    store, last = Store(folder), None
    while True:
        stamp = store.pointer_stamp()
        if stamp == last:
            time.sleep(0.002)
            continue
        last = stamp
        active = store.active()
        assert active is not None
        contents = [(s.sha256, hashlib.sha256(p.read_bytes())) for s, p in active.shard_paths()]
        whole = active.defect() is None and all(d.hexdigest() == sha for sha, d in contents)
        told.send((str(active.version), whole))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Outside of pytest's folder, which is for its owner alone."""
    folder = Path(tempfile.mkdtemp(prefix="mailward-shared-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_reader_of_another_user_sees_each_set_and_does_not_notice_the_updaters_death(
    open_folder: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user for a while")
    store = Store(open_folder / "definitions", StoreSettings(min_free_bytes=1))
    activate(store, version_of(1))
    here, there = multiprocessing.Pipe()
    reader = multiprocessing.get_context("fork").Process(
        target=_read_as_nobody, args=(store.folder, there), daemon=True
    )
    reader.start()
    try:
        for number in range(1, 6):
            if number > 1:
                words = [sys.executable, "-c", UPDATER, str(store.folder), version_of(number)]
                done = subprocess.run(words, timeout=60, check=False, cwd=project_folder())
                assert done.returncode == -9
            assert here.poll(PATIENCE_S), f"not seen: {version_of(number)}"
            assert here.recv() == (version_of(number), True)
    finally:
        reader.kill()
        reader.join()


def test_every_answer_of_clamd_belongs_to_a_whole_set_while_sets_change(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    """Bounded: eight sets; ``benchmarks/products.py`` does fifty, with everybody at once."""
    activate(store, version_of(1))
    product = product_of("clamd", ProductKind.CLAMD, socket=str(tmp_path / "clamd.sock"))
    sharing.products.add(product)
    sharing.bring_up(product)
    answers: list[tuple[str, set[str]]] = []
    over = threading.Event()
    versions = [version_of(1)]

    def ask() -> None:
        while not over.is_set():
            answers.extend((version, all_found(tmp_path, version)) for version in versions[-2:])

    with running_clamd(tmp_path, sharing.products.link(product)) as clamd:
        sharing.bring_up(product)
        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        try:
            for number in range(2, 9):
                activate(store, version_of(number))
                versions.append(version_of(number))
                assert sharing.bring_up(product).problem == ""
                assert found_of(version_of(number), clamd) == names_of(version_of(number))
        finally:
            over.set()
            for thread in asking:
                thread.join()
    assert len(answers) > 20
    for version, found in answers:
        assert found in (set(), set(names_of(version)[1:])), version
    assert any(found for _, found in answers)


# --- Rspamd ---------------------------------------------------------------------------------------


def test_rspamd_knows_attachments_by_the_maps_of_each_set(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    activate(store, version_of(1))
    product = product_of("rspamd", ProductKind.RSPAMD, pid_file=str(tmp_path / "rspamd.pid"))
    sharing.products.add(product)
    sharing.bring_up(product)  # it does not run yet
    with running_rspamd(tmp_path, sharing.products.link(product) / "sha256.map") as knows:
        old, new = threat(0, version_of(1)), threat(0, version_of(2))
        assert (knows(old), knows(new)) == (True, False)
        activate(store, version_of(2))
        assert sharing.bring_up(product).problem == ""
        wait_for(lambda: knows(new), "the new set")
        assert not knows(old)
        with store.writer("test") as writer:
            writer.rollback(None, "false alarms")
        sharing.bring_up(product)
        wait_for(lambda: knows(old), "the old set")
        assert not knows(new)


# --- several instances ----------------------------------------------------------------------------


def test_of_two_instances_one_updates_and_the_other_follows(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "publisher")
    root = publisher.init()
    feed = tmp_path / "list.txt"

    def publish(number: int) -> Version:
        feed.write_text(f"{number:064x}\n")
        version = build(publisher.home, parse_specs([f"hashes={feed}"])).version
        publisher.publish(version, forced="a test")
        return version

    first = publish(1)
    store = Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))
    updating = {
        "UPDATE__REPOSITORY": publisher.home.public.as_uri(), "UPDATE__ROOT": str(root),
        "UPDATE__CERTIFIED__ENABLED": "false", "UPDATE__RAPID__ENABLED": "true",
    }  # fmt: skip
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    alone = ("--only", "update")
    with running_instance(two, store, UPDATE__ROLE="reader") as reader:
        with running_instance(one, store, *alone, **updating) as updater:
            wait_for(lambda: active_version(store) == str(first), "the first set")
            with running_instance(three, store, *alone, **updating) as second:
                assert second.wait(PATIENCE_S) == 2
            assert has_logged(three, f"process {updater.pid} of ")
            assert has_logged(three, 'set update.role to "reader"')
            wait_for(lambda: has_logged(two, f'"set": "{first}"'), "the reader uses the first set")
            updater.kill()
        assert reader.poll() is None
        latest = publish(2)
        told = {"STATE_DIR": str(one), "STORE__FOLDER": str(store.folder), **updating}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "mailward", "update", "rapid"],
            env=os.environ | {f"MAILWARD_{key}": value for key, value in told.items()},
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0
        assert active_version(store) == str(latest)
        wait_for(lambda: has_logged(two, f'"set": "{latest}"'), "the reader uses the second set")
    assert not list((two).glob("definitions"))


def test_the_documented_map_is_the_tested_one() -> None:
    text = (project_folder() / "docs/products.md").read_text()
    documented = re.search(r"```\n(MAILWARD_SHA256 \{.*?\n\})", text, re.DOTALL)
    assert documented
    tested = MULTIMAP.format(map="").strip()
    for line in tested.splitlines():
        if "map =" not in line:
            assert line in documented[1], line


# --- the command line -----------------------------------------------------------------------------


def _run(store: Store, *words: str) -> tuple[int, str, BaseException | None]:
    environment = {
        "MAILWARD_STATE_DIR": str(store.folder.parent / "state"),
        "MAILWARD_STORE__FOLDER": str(store.folder),
        "MAILWARD_STORE__MIN_FREE_BYTES": "1",
    }
    result = CliRunner().invoke(app, words, env=environment)
    return result.exit_code, result.output, result.exception


def test_products_as_typed(store: Store, tmp_path: Path) -> None:
    activate(store, version_of(1))
    code, output, _ = _run(store, "products", "list")
    assert (code, "Nobody else shares the store" in output) == (0, True)
    code, output, error = _run(
        store, "products", "add", "lists", "--kind", "files", "--folder", str(tmp_path / "lists")
    )
    assert code == 0, (output, error)
    assert "lists: current" in output
    assert len((tmp_path / "lists/md5.txt").read_text().splitlines()) == 2
    code, output, _ = _run(store, "definitions", "ignore", "Hash.Any", "--reason", "false")
    assert code == 0
    assert "Hash.Any" not in (tmp_path / "lists/md5.txt").read_text()
    (listed,) = json.loads(_run(store, "products", "list", "--json")[1])
    assert (listed["state"], listed["version"]) == ("current", version_of(1))
    assert json.loads(_run(store, "definitions", "ignore", "--json")[1]) == {"Hash.Any": "false"}
    assert _run(store, "definitions", "ignore", "Hash.Any", "--remove")[0] == 0
    assert _run(store, "products", "remove", "lists")[0] == 0
    assert not (tmp_path / "lists").exists()


def test_what_freshclam_keeps_is_recognised_and_left_alone(store: Store, tmp_path: Path) -> None:
    theirs = tmp_path / "clamav"
    theirs.mkdir()
    for name in ("main.cvd", "daily.cld", "freshclam.dat"):
        (theirs / name).write_bytes(b"theirs")
    before = {p.name: p.read_bytes() for p in theirs.iterdir()}
    code, _, error = _run(
        store, "products", "add", "clamd", "--kind", "clamd", "--folder", str(theirs)
    )
    assert code != 0
    assert isinstance(error, UsageError)
    assert "freshclam keeps (daily.cld, freshclam.dat, main.cvd)" in str(error)
    assert "DatabaseDirectory" in str(error)
    assert {p.name: p.read_bytes() for p in theirs.iterdir()} == before


def test_a_reader_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(store, version_of(1), version_of(2))
    monkeypatch.setenv("MAILWARD_UPDATE__ROLE", "reader")
    for words in (
        ("update",), ("definitions", "rollback"), ("definitions", "activate", version_of(1)),
        ("definitions", "ignore", "X"), ("definitions", "prune"),
        ("products", "add", "x", "--kind", "files"),
    ):  # fmt: skip
        error = _run(store, *words)[2]
        assert isinstance(error, UsageError), words
        assert "only reads" in str(error)
    active = store.active()
    assert active is not None
    assert str(active.version) == version_of(2)


def test_a_digest_that_is_ignored(store: Store, tmp_path: Path) -> None:
    activate(store, version_of(1))
    digest = hashlib.md5(b"any size").hexdigest()
    _run(store, "products", "add", "lists", "--kind", "files")
    _run(store, "definitions", "ignore", f"hashes:{digest}")
    assert digest not in (store.folder / "exports/lists/current/md5.txt").read_text()


def test_what_it_says_of_a_clamd_that_is_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "clamav"
    theirs.mkdir()
    (theirs / "main.cvd").write_bytes(b"theirs")
    settings = tmp_path / "clamd.conf"
    settings.write_text(
        f"# a comment\nTCPSocket 3310\nTCPAddr 127.0.0.9\nDatabaseDirectory {theirs}\n"
    )
    monkeypatch.setattr(product_commands, "_CLAMD_CONFIGURATIONS", (tmp_path / "no", settings))
    activate(store, version_of(1))
    code, output, error = _run(store, "products", "add", "clamd", "--kind", "clamd")
    assert code == 0, error
    assert f"in {settings}, DatabaseDirectory {store.folder}/exports/clamd/current" in output
    assert f"freshclam keeps {theirs}, which stays as it is" in output
    code, listed, _ = _run(store, "products", "list", "--json")
    assert code == 1  # nobody answers at its address
    (product,) = json.loads(listed)
    assert "clamd at 127.0.0.9:3310" in product["problem"]
    settings.write_text("LocalSocket /run/clamav/clamd.ctl\n")
    assert _run(store, "products", "remove", "clamd")[0] == 0
    _run(store, "products", "add", "clamd", "--kind", "clamd")
    (product,) = json.loads(_run(store, "products", "list", "--json")[1])
    assert "clamd at /run/clamav/clamd.ctl" in product["problem"]
