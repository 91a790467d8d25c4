"""Products that share a store: what they get, when, and what happens to one that cannot have it."""

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions import checkers, exports, updater
from mailward.definitions.checkers import Checked
from mailward.definitions.following import ProductService
from mailward.definitions.ignored import IgnoreList, entry_of, is_ignored
from mailward.definitions.model import ShardKind
from mailward.definitions.products import TAKES, Product, ProductKind, Products, Standing
from mailward.definitions.sharing import KEPT_EXPORTS, Sharing, drop_exports_of
from mailward.definitions.store import Store
from mailward.errors import ConfigError, StoreError, UsageError
from tests.definitions.kinds import activate, every_kind, threat

V1, V2, V3 = "20261124.001", "20261124.002", "20261124.003"


def _product(name: str, kind: ProductKind, **more: Any) -> Product:
    more.setdefault("takes", TAKES[kind])
    return Product(name=name, kind=kind, added_at=datetime.now(UTC), **more)


@pytest.fixture
def sharing(store: Store) -> Sharing:
    return Sharing(store, loading_s=2)


@pytest.fixture
def no_checkers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a computer where none is installed."""
    monkeypatch.setattr(shutil, "which", lambda name: None)


def _add(sharing: Sharing, kind: ProductKind, name: str = "", **more: Any) -> Path:
    product = _product(name or kind.value, kind, **more)
    sharing.products.add(product)
    assert sharing.bring_up(product).problem == ""
    return sharing.products.link(product)


def _read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


@pytest.mark.usefixtures("no_checkers")
def test_what_clamd_gets(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.CLAMD)
    found = _read(link)
    assert sorted(found) == [
        "clamav.feed.daily.ndb", "mailward-marker.hsb", "mailward-yara-a.broad.yar",
        "mailward-yara-b.yar", "mailward.hdb", "mailward.hsb", "mailward.ign2",
    ]  # fmt: skip
    text = threat(0, V1)
    assert f"{hashlib.md5(text).hexdigest()}:{len(text)}:Hash.md5." in found["mailward.hdb"]
    assert f"{hashlib.md5(b'any size').hexdigest()}:*:Hash.Any:73\n" in found["mailward.hdb"]
    assert len(found["mailward.hsb"].splitlines()) == 2
    assert found["mailward.ign2"] == "Body.Wrong\n"
    export = os.readlink(link).rpartition("/")[2]
    assert export.startswith(f"{V1}-")
    digest = hashlib.sha256(exports.marker(export)).hexdigest()
    assert found["mailward-marker.hsb"].startswith(f"{digest}:")


@pytest.mark.usefixtures("no_checkers")
def test_what_the_others_get(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    maps = _read(_add(sharing, ProductKind.RSPAMD))
    lists = _read(_add(sharing, ProductKind.FILES))
    rules = _read(_add(sharing, ProductKind.YARA))
    sha1 = hashlib.sha1(threat(0, V1)).hexdigest()
    assert maps["sha1.map"] == f"{sha1}\n"
    assert lists["sha1.txt"] == f"{sha1}:{len(threat(0, V1))}:Hash.sha1.20261124_001\n"
    assert sorted(lists) == ["md5.txt", "sha1.txt", "sha256.txt"]
    assert sorted(rules) == ["a.broad.yar", "b.yar"]


@pytest.mark.usefixtures("no_checkers")
def test_databases_cost_no_room(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.CLAMD)
    content = every_kind(V1)["clamav/feed/daily.ndb"][1]
    shard = store.object_path(hashlib.sha256(content).hexdigest())
    assert (link / "clamav.feed.daily.ndb").stat().st_ino == shard.stat().st_ino


@pytest.mark.usefixtures("no_checkers")
def test_what_is_as_before_costs_no_room_either(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.YARA)
    before = {p.name: p.stat().st_ino for p in link.iterdir()}
    activate(store, V2)
    sharing.bring_all_up()
    after = {p.name: p.stat().st_ino for p in link.iterdir()}
    assert before["a.broad.yar"] == after["a.broad.yar"]
    assert before["b.yar"] != after["b.yar"]


@pytest.mark.usefixtures("no_checkers")
def test_a_shard_that_was_damaged_and_mended_is_linked_anew(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.CLAMD)
    content = every_kind(V1)["clamav/feed/daily.ndb"][1]
    sha = hashlib.sha256(content).hexdigest()
    store.object_path(sha).write_bytes(b"X" * len(content))  # and so is what is linked to it
    assert (link / "clamav.feed.daily.ndb").read_bytes() != content
    with store.writer("test") as writer:
        writer.add_object(sha, len(content), [content])
    sharing.bring_all_up()
    assert (link / "clamav.feed.daily.ndb").read_bytes() == content


@pytest.mark.usefixtures("no_checkers")
def test_names_are_the_same_from_set_to_set(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    links = [_add(sharing, kind) for kind in ProductKind if kind is not ProductKind.MAILWARD]
    before = [sorted(_read(link)) for link in links]
    activate(store, V2)
    sharing.bring_all_up()
    assert [sorted(_read(link)) for link in links] == before


@pytest.mark.usefixtures("no_checkers")
def test_only_what_a_product_takes(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    found = _read(_add(sharing, ProductKind.CLAMD, takes=(ShardKind.YARA,)))
    assert "clamav.feed.daily.ndb" not in found
    assert found["mailward.hdb"] == ""


@pytest.mark.usefixtures("no_checkers")
def test_rolling_back_rolls_everybody_back(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    links = [_add(sharing, kind) for kind in ProductKind if kind is not ProductKind.MAILWARD]
    first = [os.readlink(link) for link in links]
    activate(store, V2)
    assert {s.standing for s in sharing.bring_all_up().values()} == {Standing.CURRENT}
    assert not set(first) & {os.readlink(link) for link in links}
    with store.writer("test") as writer:
        writer.rollback(None, "false alarms")
    assert {str(s.version) for s in sharing.bring_all_up().values()} == {V1}
    assert [os.readlink(link) for link in links] == first


@pytest.mark.usefixtures("no_checkers")
def test_old_exports_go(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.FILES)
    for number in range(2, 9):
        activate(store, f"20261124.{number:03}")
        sharing.bring_all_up()
    left = [p for p in link.parent.iterdir() if not p.is_symlink()]
    assert len(left) == KEPT_EXPORTS
    assert link.resolve() in left


def test_a_product_that_refuses_keeps_the_old_set_and_holds_nobody_up(
    store: Store, sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    activate(store, V1)
    clamd, files = _add(sharing, ProductKind.CLAMD), _add(sharing, ProductKind.FILES)
    before = os.readlink(clamd)
    refusing = lambda *_: Checked("clamscan does not load it: line 3")  # noqa: E731
    monkeypatch.setattr(checkers, "_clamscan", refusing)
    activate(store, V2)
    states = sharing.bring_all_up()
    assert (states["clamd"].standing, str(states["clamd"].version)) == (Standing.REFUSED, V1)
    assert states["clamd"].problem == f"{V2}: clamscan does not load it: line 3"
    assert (states["files"].standing, str(states["files"].version)) == (Standing.CURRENT, V2)
    assert os.readlink(clamd) == before
    assert os.readlink(files).rpartition("/")[2].startswith(V2)
    assert not sharing.is_due(sharing.products.get("clamd"))  # it is not asked again and again
    monkeypatch.setattr(checkers, "_clamscan", lambda *_: Checked())
    activate(store, V3)
    assert sharing.bring_all_up()["clamd"].standing is Standing.CURRENT


def test_a_shard_that_cannot_be_exported_is_a_failure_of_that_product(
    store: Store, sharing: Sharing
) -> None:
    activate(store, V1, **{"hashes/broken": (ShardKind.HASHES, b"not a hash\n")})
    sharing.products.add(_product("files", ProductKind.FILES))
    sharing.products.add(_product("yara", ProductKind.YARA))
    states = sharing.bring_all_up()
    assert states["files"].standing is Standing.FAILED
    assert "no digest:size:name" in states["files"].problem
    assert states["yara"].standing is Standing.CURRENT
    assert sharing.is_due(sharing.products.get("files"))


@pytest.mark.usefixtures("no_checkers")
def test_who_cannot_be_told_is_told_later(store: Store, sharing: Sharing, tmp_path: Path) -> None:
    activate(store, V1)
    product = _product("clamd", ProductKind.CLAMD, socket=str(tmp_path / "no.sock"))
    sharing.products.add(product)
    state = sharing.bring_up(product)
    assert state.standing is Standing.UNTOLD
    assert "clamd at" in state.problem
    assert sharing.products.link(product).is_dir()
    assert sharing.is_due(product)


@pytest.mark.usefixtures("no_checkers")
def test_products_are_told_by_a_command_and_by_a_signal(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    activate(store, V1)
    waiting = "import signal,sys\ngot = []\nsignal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))\n"
    waiting += "print('ready', flush=True)\nsignal.pause()"
    with subprocess.Popen([sys.executable, "-c", waiting], stdout=subprocess.PIPE) as told:
        assert told.stdout is not None
        told.stdout.readline()
        (tmp_path / "pid").write_text(f"{told.pid}\n")
        command = ("sh", "-c", f"echo $MAILWARD_EXPORT > {tmp_path}/said")
        _add(
            sharing,
            ProductKind.FILES,
            pid_file=str(tmp_path / "pid"),
            signal="USR1",
            command=command,
        )
        assert told.wait(10) == 7
    assert (tmp_path / "said").read_text().startswith(V1)
    failing = _product("failing", ProductKind.FILES, command=("false",))
    sharing.products.add(failing)
    assert sharing.bring_up(failing).standing is Standing.UNTOLD


@pytest.mark.usefixtures("no_checkers")
def test_killed_at_any_instant_the_link_leads_to_a_whole_export(
    store: Store, sharing: Sharing
) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.CLAMD)
    names = sorted(_read(link))
    for number in range(2, 12):
        activate(store, f"20261124.{number:03}")
        child = multiprocessing.get_context("fork").Process(target=sharing.bring_all_up)
        child.start()
        child.join(0.004 * number)
        if child.pid is not None and child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert sorted(_read(link)) == names
    assert sharing.bring_all_up()["clamd"].standing is Standing.CURRENT
    assert not [p for p in link.parent.iterdir() if p.name.startswith(".tmp-")]


@pytest.mark.usefixtures("no_checkers")
def test_what_a_killed_process_left_beside_the_exports_is_gone_after_the_next_look(
    store: Store, sharing: Sharing
) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.CLAMD)
    export = link.resolve()
    (link.parent / ".tmp-link").symlink_to(export)
    (link.parent / ".tmp-folder").mkdir()
    (link.parent / ".tmp-folder" / "half").touch()
    assert sharing.bring_all_up()["clamd"].standing is Standing.CURRENT
    assert sorted(p.name for p in link.parent.iterdir()) == sorted([link.name, export.name])
    assert _read(link)


@pytest.mark.usefixtures("no_checkers")
def test_what_a_killed_process_left_is_gone_before_there_is_no_room_for_the_next(
    store: Store, sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.CLAMD)
    (link.parent / ".tmp-folder").mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(exports, "write", full)
    activate(store, "20261124.002")
    assert sharing.bring_all_up()["clamd"].standing is Standing.FAILED
    assert not [p for p in link.parent.iterdir() if p.name.startswith(".tmp-")]
    assert _read(link)


# --- what is ignored ------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_checkers")
def test_an_ignored_signature_is_ignored_by_every_product(store: Store, sharing: Sharing) -> None:
    activate(store, V1)
    clamd, files = _add(sharing, ProductKind.CLAMD), _add(sharing, ProductKind.FILES)
    rspamd, yara = _add(sharing, ProductKind.RSPAMD), _add(sharing, ProductKind.YARA)
    with store.writer("test") as writer:
        for name in ("Too.Broad", "Hash.md5.20261124_001", "yara:b:Rule_20261124_001"):
            writer.ignore(name, "false")
    sharing.bring_all_up()
    ignored = _read(clamd)["mailward.ign2"].splitlines()
    assert {"YARA.Broad", "YARA.Rule_20261124_001", "Body.Wrong"} <= set(ignored)
    assert "Hash.md5" not in _read(files)["md5.txt"]
    assert hashlib.md5(threat(0, V1)).hexdigest() not in _read(rspamd)["md5.map"]
    assert "Hash.Any" in _read(files)["md5.txt"]
    assert "private rule Broad" in _read(yara)["a.broad.yar"]
    assert "private rule Rule_" in _read(yara)["b.yar"]
    with store.writer("test") as writer:
        writer.heed("Too.Broad")
    sharing.bring_all_up()
    assert "private rule Broad" not in _read(yara)["a.broad.yar"]


def test_names_as_they_are_reported() -> None:
    assert entry_of(" YARA.Broad.UNOFFICIAL ") == "Broad"
    assert entry_of("Html.Phishing-1.UNOFFICIAL") == "Html.Phishing-1"
    for wrong in ("", " ", "a\nb", "x" * 2000, "\x1b[2J"):
        with pytest.raises(UsageError):
            entry_of(wrong)
    assert is_ignored("A", (), {"A"})
    assert is_ignored("A", ("yara:n:A",), {"yara:n:A"})
    assert not is_ignored("A", ("yara:n:A", "yara:m:A"), {"yara:n:A"})
    assert not is_ignored("A", (), {"B"})


def test_an_ignore_list_that_is_damaged_is_said_and_not_overlooked(store: Store) -> None:
    activate(store, V1)
    for damage in (b"", b"{", b"[]", b'{"entries": {"a": 1}}', b"\xff" * 100):
        (store.folder / "ignored.json").write_bytes(damage)
        with pytest.raises(StoreError, match=r"ignored\.json"):
            IgnoreList(store.folder).read()


# --- who is in charge -----------------------------------------------------------------------------


def test_a_second_updater_is_refused_and_the_first_is_named(store: Store) -> None:
    assert updater.owner(store.folder) == updater.NOBODY
    with updater.hold(store.folder):
        with (
            pytest.raises(ConfigError, match=rf"process {os.getpid()} of .*reader"),
            updater.hold(store.folder),
        ):
            pass
        assert updater.owner(store.folder).startswith(f"process {os.getpid()} of ")
    assert updater.owner(store.folder) == updater.NOBODY
    with updater.hold(store.folder):
        pass


def test_an_updater_that_was_killed_leaves_its_place(store: Store) -> None:
    code = (
        "import sys,time; from pathlib import Path; from mailward.definitions import updater\n"
        "with updater.hold(Path(sys.argv[1])):\n print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.folder)], stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with (
            pytest.raises(ConfigError, match=f"process {first.pid}"),
            updater.hold(store.folder),
        ):
            pass
        first.kill()
    with updater.hold(store.folder):
        pass


@pytest.mark.usefixtures("no_checkers")
async def test_the_service_follows_the_store_the_ignore_list_and_new_products(
    store: Store, sharing: Sharing
) -> None:
    service = ProductService(store)

    async def settled() -> None:
        await service.look()
        while service._busy:
            await next(iter(service._busy.values()))

    await settled()
    activate(store, V1)
    product = _product("files", ProductKind.FILES)
    sharing.products.add(product)
    await settled()
    assert str(sharing.products.state(product).version) == V1
    activate(store, V2)
    await settled()
    assert str(sharing.products.state(product).version) == V2
    with store.writer("test") as writer:
        writer.ignore("Hash.Any", "false")
    await settled()
    assert "Hash.Any" not in (sharing.products.link(product) / "md5.txt").read_text()


# --- the list of products -------------------------------------------------------------------------


def test_places_of_others_are_not_taken(store: Store, tmp_path: Path) -> None:
    products = Products(store.folder)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with pytest.raises(UsageError, match="not ours to replace"):
        products.add(_product("one", ProductKind.FILES, folder=str(theirs)))
    products.add(_product("one", ProductKind.FILES, folder=str(tmp_path / "ours")))
    with pytest.raises(UsageError, match="there is a product one already"):
        products.add(_product("one", ProductKind.FILES))
    with pytest.raises(UsageError, match="is where the product one looks"):
        products.add(_product("two", ProductKind.FILES, folder=str(tmp_path / "ours")))


@pytest.mark.usefixtures("no_checkers")
def test_a_removed_product_leaves_nothing(store: Store, sharing: Sharing, tmp_path: Path) -> None:
    activate(store, V1)
    link = _add(sharing, ProductKind.FILES, folder=str(tmp_path / "link"))
    sharing.products.remove(sharing.products.get("files"))
    drop_exports_of(store, "files")
    assert not link.is_symlink()
    assert not list((store.folder / "exports").iterdir())
    assert sharing.products.all() == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\x00" * 50, b'{"name": "x"}', json.dumps({"a": 1}).encode()]
)
def test_a_damaged_file_of_a_product_hides_no_other(
    store: Store, sharing: Sharing, content: bytes
) -> None:
    products = Products(store.folder)
    products.add(_product("good", ProductKind.FILES))
    (store.folder / "products/bad.json").write_bytes(content)
    (store.folder / "products/good.state").write_bytes(content)
    assert [product.name for product in products.all()] == ["good"]
    assert products.state(products.get("good")).standing is Standing.WAITING


def test_products_that_make_no_sense() -> None:
    for wrong in (
        {"takes": ()}, {"takes": (ShardKind.CLAMAV,)}, {"name": "../x"}, {"name": ""},
        {"folder": "relative"}, {"signal": "KILL"}, {"folder": "/x\n"},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            Product.model_validate(
                {"name": "x", "kind": ProductKind.FILES, "takes": (ShardKind.HASHES,)}
                | {"added_at": datetime.now(UTC)}
                | wrong
            )
