"""One store and the real products on it: clamd, Rspamd, yara, and readers as another user."""

import contextlib
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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailward.cli.app import app
from mailward.config import StoreSettings
from mailward.definitions.clamd import Clamd
from mailward.definitions.exports import marker
from mailward.definitions.products import TAKES, Product, ProductKind, Standing
from mailward.definitions.sharing import Sharing
from mailward.definitions.store import Store
from mailward.errors import UsageError
from tests.definitions.kinds import activate, threat

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

_CLAMD = """
Foreground yes
LocalSocket {folder}/clamd.sock
LocalSocketMode 666
DatabaseDirectory {databases}
TemporaryDirectory {folder}
User root
SelfCheck 0
"""
_PATIENCE_S = 60.0


def _version(number: int) -> str:
    return f"20261124.{number:03}"


def _needs(*programs: str) -> None:
    missing = [p for p in programs if shutil.which(p, path="/usr/sbin:/usr/bin") is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}, which is not installed on this computer")


def _await(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"not within {_PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    tmp_path.chmod(0o755)
    return Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))


@pytest.fixture
def sharing(store: Store) -> Sharing:
    return Sharing(store, loading_s=60)


def _product(name: str, kind: ProductKind, **more: str) -> Product:
    return Product.model_validate(
        {"name": name, "kind": kind, "takes": TAKES[kind], "added_at": datetime.now(UTC)} | more
    )


@contextmanager
def _clamd(folder: Path, databases: Path) -> Iterator[Clamd]:
    _needs("clamd", "clamscan", "clamdscan")
    (folder / "clamd.conf").write_text(_CLAMD.format(folder=folder, databases=databases))
    address = folder / "clamd.sock"
    with (folder / "clamd.log").open("wb") as log:
        words = ["/usr/sbin/clamd", "-c", str(folder / "clamd.conf")]
        with subprocess.Popen(words, stdout=log, stderr=log) as process:
            try:
                _await(lambda: _answers(Clamd(str(address))), (folder / "clamd.log").read_text())
                yield Clamd(str(address))
            finally:
                process.kill()


def _answers(clamd: Clamd) -> bool:
    with contextlib.suppress(Exception):
        return clamd.version().startswith("ClamAV")
    return False


def _found_of(version: str, clamd: Clamd) -> list[str | None]:
    return [clamd.scan(threat(number, version)) for number in range(3)]


def _names_of(version: str) -> list[str]:
    name = version.replace(".", "_")
    return [
        f"Hash.md5.{name}.UNOFFICIAL",
        f"Body.{name}.UNOFFICIAL",
        f"YARA.Rule_{name}.UNOFFICIAL",
    ]


def test_clamd_uses_each_set_and_goes_back_with_the_store(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    activate(store, _version(1))
    socket = str(tmp_path / "clamd.sock")
    product = _product("clamd", ProductKind.CLAMD, socket=socket)
    sharing.products.add(product)
    assert sharing.bring_up(product).standing is Standing.UNTOLD  # it does not run yet
    with _clamd(tmp_path, sharing.products.link(product)) as clamd:
        assert sharing.bring_up(product).standing is Standing.CURRENT
        assert _found_of(_version(1), clamd) == _names_of(_version(1))
        activate(store, _version(2))
        assert sharing.bring_up(product).problem == ""
        assert _found_of(_version(2), clamd) == _names_of(_version(2))
        assert _found_of(_version(1), clamd) == [None, None, None]
        assert (sharing.used(product) or "").startswith(_version(2))
        file = tmp_path / "infected"
        file.write_bytes(threat(1, _version(2)))
        words = ["clamdscan", "-c", str(tmp_path / "clamd.conf"), "--no-summary", str(file)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert "Body.20261124_002.UNOFFICIAL FOUND" in done.stdout
        with store.writer("test") as writer:
            writer.rollback(None, "false alarms")
        assert str(sharing.bring_up(product).version) == _version(1)
        assert _found_of(_version(1), clamd) == _names_of(_version(1))
        with store.writer("test") as writer:
            writer.ignore("Rule_20261124_001", "false")
            writer.ignore("Body.20261124_001", "false")
        assert sharing.bring_up(product).problem == ""
        assert _found_of(_version(1), clamd) == [_names_of(_version(1))[0], None, None]


def test_what_clamscan_does_not_load_is_not_given_to_clamd(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    _needs("clamscan")
    activate(store, _version(1))
    product = _product("clamd", ProductKind.CLAMD)
    sharing.products.add(product)
    assert sharing.bring_up(product).standing is Standing.CURRENT
    before = os.readlink(sharing.products.link(product))
    kind = product.takes[2]
    activate(store, _version(2), **{"clamav/broken.ndb": (kind, b"Broken:this is no signature\n")})
    state = sharing.bring_up(product)
    assert state.standing is Standing.REFUSED
    assert "broken.ndb" in state.problem
    assert os.readlink(sharing.products.link(product)) == before
    activate(store, _version(3))
    assert sharing.bring_up(product).standing is Standing.CURRENT


def test_rules_that_clamd_cannot_read_are_named_and_the_rest_is_used(
    store: Store, sharing: Sharing
) -> None:
    _needs("clamscan")
    source = 'import "pe"\nrule Modern { condition: pe.is_pe }'
    line = json.dumps({"namespace": "modern", "source": source}).encode() + b"\n"
    product = _product("clamd", ProductKind.CLAMD)
    activate(store, _version(1), **{"yara/modern": (product.takes[1], line)})
    sharing.products.add(product)
    state = sharing.bring_up(product)
    assert state.standing is Standing.CURRENT
    assert any("mailward-yara-modern.yar" in said for said in state.left_out)


def test_yara_finds_by_the_files_it_is_given(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    _needs("yara", "yarac")
    broken = json.dumps({"namespace": "broken", "source": "rule Broken {"}).encode() + b"\n"
    product = _product("tools", ProductKind.YARA)
    activate(store, _version(1), **{"yara/broken": (product.takes[0], broken)})
    sharing.products.add(product)
    state = sharing.bring_up(product)
    assert state.standing is Standing.CURRENT
    assert any(said.startswith("broken.yar: ") for said in state.left_out)
    (tmp_path / "file").write_bytes(threat(2, _version(1)) + b"broad one")
    assert _yara(sharing.products.link(product), tmp_path / "file") == {
        "Broad", "Rule_20261124_001",
    }  # fmt: skip
    with store.writer("test") as writer:
        writer.ignore("Too.Broad", "false")
    sharing.bring_up(product)
    assert _yara(sharing.products.link(product), tmp_path / "file") == {"Rule_20261124_001"}


def _yara(link: Path, file: Path) -> set[str]:
    folder = link.resolve()  # one set, whatever happens to the link meanwhile
    rules = [f"n{n}:{path}" for n, path in enumerate(sorted(folder.glob("*.yar")))]
    words = ["yara", *rules, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


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


_UPDATER = """
import os, signal, sys
from pathlib import Path
from mailward.config import StoreSettings
from mailward.definitions.store import Store
from tests.definitions.kinds import activate
activate(Store(Path(sys.argv[1]), StoreSettings(min_free_bytes=1)), sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reader_of_another_user_sees_each_set_and_does_not_notice_the_updaters_death(
    store: Store, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user for a while")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    activate(store, _version(1))
    here, there = multiprocessing.Pipe()
    reader = multiprocessing.get_context("fork").Process(
        target=_read_as_nobody, args=(store.folder, there), daemon=True
    )
    reader.start()
    try:
        for number in range(1, 6):
            if number > 1:
                words = [sys.executable, "-c", _UPDATER, str(store.folder), _version(number)]
                done = subprocess.run(words, timeout=60, check=False, cwd=_project())
                assert done.returncode == -9
            assert here.poll(_PATIENCE_S), f"not seen: {_version(number)}"
            assert here.recv() == (_version(number), True)
    finally:
        reader.kill()
        reader.join()


def _project() -> Path:
    return Path(__file__).resolve().parents[2]


def test_every_answer_of_clamd_belongs_to_a_whole_set_while_sets_change(
    store: Store, sharing: Sharing, tmp_path: Path
) -> None:
    """Bounded: eight sets; ``benchmarks/products.py`` does fifty, with everybody at once."""
    activate(store, _version(1))
    product = _product("clamd", ProductKind.CLAMD, socket=str(tmp_path / "clamd.sock"))
    sharing.products.add(product)
    sharing.bring_up(product)
    answers: list[tuple[str, ...]] = []
    over = threading.Event()

    def ask(clamd: Clamd, versions: list[str]) -> None:
        """All threats of a version at once: clamd answers one request with one set."""
        while not over.is_set():
            for version in list(versions):
                content = b"\n".join(threat(n, version) for n in range(1, 3))
                answers.append((version, str(clamd.scan(content)), str(clamd.scan(marker("none")))))

    versions = [_version(1)]
    with _clamd(tmp_path, sharing.products.link(product)) as clamd:
        sharing.bring_up(product)
        asking = [threading.Thread(target=ask, args=(clamd, versions)) for _ in range(2)]
        for thread in asking:
            thread.start()
        try:
            for number in range(2, 9):
                activate(store, _version(number))
                versions.append(_version(number))
                assert sharing.bring_up(product).problem == ""
                assert _found_of(_version(number), clamd) == _names_of(_version(number))
        finally:
            over.set()
            for thread in asking:
                thread.join()
    assert len(answers) > 50
    for version, found, nothing in answers:
        assert found in ("None", *_names_of(version)), (version, found)
        assert nothing == "None"


# --- Rspamd ---------------------------------------------------------------------------------------

_MULTIMAP = """
MAILWARD_SHA256 {{
  type = "selector";
  selector = "attachments('hex', 'sha256').lower";
  map = "{map}";
  score = 15.0;
}}
"""


def test_the_documented_map_is_the_tested_one() -> None:
    text = (_project() / "docs/products.md").read_text()
    documented = re.search(r"```\n(MAILWARD_SHA256 \{.*?\n\})", text, re.DOTALL)
    assert documented
    tested = _MULTIMAP.format(map="").strip()
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
    activate(store, _version(1))
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
    assert (listed["state"], listed["version"]) == ("current", _version(1))
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
    activate(store, _version(1), _version(2))
    monkeypatch.setenv("MAILWARD_UPDATE__ROLE", "reader")
    for words in (
        ("update",), ("definitions", "rollback"), ("definitions", "activate", _version(1)),
        ("definitions", "ignore", "X"), ("definitions", "prune"),
        ("products", "add", "x", "--kind", "files"),
    ):  # fmt: skip
        error = _run(store, *words)[2]
        assert isinstance(error, UsageError), words
        assert "only reads" in str(error)
    active = store.active()
    assert active is not None
    assert str(active.version) == _version(2)


def test_a_digest_that_is_ignored(store: Store, tmp_path: Path) -> None:
    activate(store, _version(1))
    digest = hashlib.md5(b"any size").hexdigest()
    _run(store, "products", "add", "lists", "--kind", "files")
    _run(store, "definitions", "ignore", f"hashes:{digest}")
    assert digest not in (store.folder / "exports/lists/current/md5.txt").read_text()
