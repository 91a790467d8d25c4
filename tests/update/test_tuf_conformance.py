"""``scripts/tuf-conformance-client`` as the TUF conformance suite drives it.

What counts is what that suite sees: exit codes, requests, the metadata that the client keeps and
the files that it stores.

Each test begins with a repository of python-tuf's own making, served over HTTP, that has nothing of
a Mailward repository but the roles.
"""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

import pytest
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

_CLIENT = Path(__file__).resolve().parents[2] / "scripts/tuf-conformance-client"
_TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")


def _script() -> ModuleType:
    loader = SourceFileLoader("tuf_conformance_client", str(_CLIENT))
    module = ModuleType(loader.name)
    loader.exec_module(module)
    return module


_SCRIPT = _script()
Signed = Root | Timestamp | Snapshot | Targets


class Repository:
    """The files of a repository, changed by hand and signed again by ``publish``."""

    def __init__(self, folder: Path, consistent: bool = True) -> None:
        self.folder = folder
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        self.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        self.root = Root(expires=self.expires, consistent_snapshot=consistent)
        self.timestamp = Timestamp(expires=self.expires)
        self.snapshot = Snapshot(expires=self.expires)
        self.targets = Targets(expires=self.expires)
        self.delegated: dict[str, Targets] = {}
        self.signers: dict[str, CryptoSigner] = {}
        for role in _TOP_LEVEL:
            self.new_key(role)

    def new_key(self, role: str) -> None:
        signer = CryptoSigner.generate_ed25519()
        if role in self.signers:
            self.root.revoke_key(self.signers[role].public_key.keyid, role)
        self.root.add_key(signer.public_key, role)
        self.signers[role] = signer

    def rotate_root(self) -> None:
        """A new root key; the new root is signed with the old one and itself."""
        old = self.signers["root"]
        self.new_key("root")
        self.root.version += 1
        self._write("root", self.root, [old, self.signers["root"]])

    def add_target(self, name: str, content: bytes) -> Path:
        """Where the target's file is."""
        sha = hashlib.sha256(content).hexdigest()
        self.targets.targets[name] = TargetFile(len(content), {"sha256": sha}, name)
        folder, separator, last = name.rpartition("/")
        path = self.folder / "targets" / f"{folder}{separator}{sha}.{last}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def delegate(self, name: str) -> Targets:
        signer = CryptoSigner.generate_ecdsa()
        role = DelegatedRole(name, [signer.public_key.keyid], 1, False, ["*"])
        if self.targets.delegations is None:
            self.targets.delegations = Delegations({}, {})
        keys: dict[str, Key] = self.targets.delegations.keys
        keys[signer.public_key.keyid] = signer.public_key
        assert self.targets.delegations.roles is not None
        self.targets.delegations.roles[name] = role
        self.signers[name] = signer
        self.delegated[name] = Targets(expires=self.expires)
        return self.delegated[name]

    def publish(self) -> None:
        """Sign everything, as the next version."""
        if not (self.folder / f"metadata/{self.root.version}.root.json").exists():
            self._write("root", self.root, [self.signers["root"]])
        self.snapshot.meta = {}
        for name, targets in {"targets": self.targets, **self.delegated}.items():
            targets.version += 1
            self._write(name, targets, [self.signers[name]])
            self.snapshot.meta[f"{name}.json"] = MetaFile(targets.version)
        self.snapshot.version += 1
        self._write("snapshot", self.snapshot, [self.signers["snapshot"]])
        self.publish_timestamp()

    def publish_timestamp(self) -> None:
        self.timestamp.version += 1
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self._write("timestamp", self.timestamp, [self.signers["timestamp"]])

    def _write(self, name: str, signed: Signed, signers: list[CryptoSigner]) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        versioned = name == "root" or (self.root.consistent_snapshot and name != "timestamp")
        prefix = f"{signed.version}." if versioned else ""
        metadata.to_file(str(self.folder / f"metadata/{prefix}{quote(name, safe='')}.json"))


class _Quiet(SimpleHTTPRequestHandler):
    requests: list[str]

    def __init__(self, *args: object, folder: Path, requests: list[str]) -> None:
        self.requests = requests
        super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        super().do_GET()

    def translate_path(self, path: str) -> str:
        """Names of metadata stay encoded on disk: the name of a role is no path."""
        name = unquote(path) if path.startswith("/targets/") else path
        return str(Path(self.directory) / name.lstrip("/"))

    def log_message(self, *args: object) -> None:
        pass


class Client:
    """The script, with folders of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        self.metadata_dir = folder / "client"
        self.target_dir = folder / "downloads"
        self.metadata_dir.mkdir()
        self.target_dir.mkdir()
        self._address = address

    def init(self, root: Path) -> int:
        return self._run("init", str(root))

    def refresh(self) -> int:
        return self._run("--metadata-url", f"{self._address}/metadata/", "refresh")

    def download(self, name: str) -> int:
        return self._run(
            *("--metadata-url", f"{self._address}/metadata/"),
            *("--target-name", name),
            *("--target-base-url", f"{self._address}/targets/"),
            *("--target-dir", str(self.target_dir)),
            "download",
        )

    def downloaded(self) -> list[bytes]:
        return [path.read_bytes() for path in self.target_dir.rglob("*") if path.is_file()]

    def versions(self) -> dict[str, int]:
        """Of the metadata that the client trusts, by the name of the file."""
        return {
            path.stem: Metadata.from_file(str(path)).signed.version
            for path in self.metadata_dir.glob("*.json")
        }

    def _run(self, *arguments: str) -> int:
        code: int = _SCRIPT.main(["--metadata-dir", str(self.metadata_dir), *arguments])
        return code


class World:
    """A repository, its web server, and a client that was given version 1 of root."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        self.repository = Repository(folder / "repository")
        self.repository.publish()
        handler = partial(_Quiet, folder=self.repository.folder, requests=self.requests)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.client = Client(folder, f"http://127.0.0.1:{self.server.server_port}")
        self.initial_root = self.repository.folder / "metadata/1.root.json"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    assert world.client.init(world.initial_root) == 0
    yield world
    world.server.shutdown()
    world.server.server_close()


def test_init_asks_the_repository_nothing_and_keeps_the_root(world: World) -> None:
    assert world.requests == []
    assert world.client.versions() == {"root": 1}


def test_the_script_runs_by_itself_from_anywhere(world: World, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{world.server.server_port}/metadata/"
    arguments = ["--metadata-dir", str(world.client.metadata_dir), "--metadata-url", address]
    command = [sys.executable, str(_CLIENT), *arguments, "refresh"]
    assert subprocess.run(command, cwd=tmp_path, timeout=60, check=False).returncode == 0
    world.repository.timestamp.expires = datetime.now(UTC) - timedelta(days=1)
    world.repository.publish()
    done = subprocess.run(command, cwd=tmp_path, timeout=60, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"has expired" in done.stderr
    assert b"Traceback" not in done.stderr


def test_init_with_something_else_than_a_root_fails(world: World) -> None:
    assert world.client.init(world.repository.folder / "metadata/timestamp.json") == 1


def test_refresh_takes_the_top_level_metadata_and_no_more(world: World) -> None:
    assert world.client.refresh() == 0
    assert world.client.versions() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    names = ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]
    assert world.requests == [f"/metadata/{name}" for name in names]


def test_a_second_refresh_asks_for_root_and_timestamp_only(world: World) -> None:
    assert world.client.refresh() == 0
    world.requests.clear()
    assert world.client.refresh() == 0
    assert world.requests == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_an_expired_timestamp_is_refused(world: World) -> None:
    world.repository.timestamp.expires = datetime.now(UTC) - timedelta(days=1)
    world.repository.publish()
    assert world.client.refresh() == 1
    assert "snapshot" not in world.client.versions()


def test_an_expired_snapshot_is_refused(world: World) -> None:
    world.repository.snapshot.expires = datetime.now(UTC) - timedelta(days=1)
    world.repository.publish()
    assert world.client.refresh() == 1
    assert "targets" not in world.client.versions()


def test_a_timestamp_that_was_rolled_back_is_refused(world: World) -> None:
    world.repository.publish()
    assert world.client.refresh() == 0
    world.repository.timestamp.version -= 2
    world.repository.publish_timestamp()
    assert world.client.refresh() == 1
    assert world.client.versions()["timestamp"] == 3


def test_a_snapshot_that_was_rolled_back_is_refused(world: World) -> None:
    world.repository.publish()
    assert world.client.refresh() == 0
    world.repository.snapshot.version -= 1
    world.repository.publish_timestamp()
    assert world.client.refresh() == 1
    assert world.client.versions()["snapshot"] == 3


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_signature_of_somebody_else_is_refused(world: World, role: str) -> None:
    world.repository.signers[role] = CryptoSigner.generate_ed25519()
    world.repository.publish()
    assert world.client.refresh() == 1
    assert role not in world.client.versions()


def test_a_root_that_was_rotated_five_times_is_followed_one_by_one(world: World) -> None:
    for _ in range(5):
        world.repository.rotate_root()
    assert world.client.refresh() == 0
    assert world.client.versions()["root"] == 6
    asked = [f"/metadata/{version}.root.json" for version in range(2, 8)]
    assert world.requests[:6] == asked


def test_a_root_that_the_one_before_did_not_sign_is_refused(world: World) -> None:
    world.repository.new_key("root")
    world.repository.root.version += 1
    world.repository.publish()
    assert world.client.refresh() == 1
    assert world.client.versions() == {"root": 1}


def test_a_timestamp_key_that_root_revoked_signs_no_more(world: World) -> None:
    assert world.client.refresh() == 0
    old = world.repository.signers["timestamp"]
    world.repository.new_key("timestamp")
    world.repository.rotate_root()
    world.repository.signers["timestamp"] = old
    world.repository.publish()
    assert world.client.refresh() == 1


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_keys_of_every_kind_are_understood(world: World, kind: str) -> None:
    old = world.repository.signers["timestamp"]
    world.repository.root.revoke_key(old.public_key.keyid, "timestamp")
    signer = {
        "rsa": CryptoSigner.generate_rsa,
        "ecdsa": CryptoSigner.generate_ecdsa,
        "ed25519": CryptoSigner.generate_ed25519,
    }[kind]()
    assert isinstance(signer.public_key, SSlibKey)
    world.repository.root.add_key(signer.public_key, "timestamp")
    world.repository.signers["timestamp"] = signer
    world.repository.rotate_root()
    world.repository.publish()
    assert world.client.refresh() == 0


@pytest.mark.parametrize("name", ["file.txt", "in a folder/with äöü"])
def test_a_target_is_downloaded_once(world: World, name: str) -> None:
    world.repository.add_target(name, b"content")
    world.repository.publish()
    assert world.client.download(name) == 0
    assert world.client.downloaded() == [b"content"]
    before = [request for request in world.requests if request.startswith("/targets/")]
    assert world.client.download(name) == 0
    assert [r for r in world.requests if r.startswith("/targets/")] == before


def test_a_target_that_changed_takes_the_place_of_the_old_one(world: World) -> None:
    for content in (b"first", b"second"):
        world.repository.add_target("file", content)
        world.repository.publish()
        assert world.client.download("file") == 0
    assert world.client.downloaded() == [b"second"]


def test_a_target_with_another_hash_is_refused(world: World) -> None:
    path = world.repository.add_target("file", b"content")
    world.repository.publish()
    path.write_bytes(b"CONTENT")
    assert world.client.download("file") == 1
    assert world.client.downloaded() == []


@pytest.mark.parametrize("change", [b"content and more", b"cont"])
def test_a_target_of_another_length_is_refused(world: World, change: bytes) -> None:
    path = world.repository.add_target("file", b"content")
    world.repository.publish()
    path.write_bytes(change)
    assert world.client.download("file") == 1
    assert world.client.downloaded() == []


def test_a_target_that_nothing_names_is_not_there(world: World) -> None:
    (world.repository.folder / "targets/file").write_bytes(b"content")
    assert world.client.download("file") == 1
    assert not [request for request in world.requests if request.startswith("/targets/")]


@pytest.mark.parametrize("role", ["?", "#", "/delegated", "../delegated"])
def test_names_of_roles_lead_nowhere_else(world: World, role: str) -> None:
    world.repository.delegate(role)
    world.repository.publish()
    assert world.client.download("nothing of this name") == 1
    assert f"/metadata/2.{quote(role, safe='')}.json" in world.requests
    assert len(world.client.versions()) == 5  # root, timestamp, snapshot, targets, and this one


def test_without_consistent_snapshots_names_have_no_versions(tmp_path: Path) -> None:
    world = World(tmp_path / "other")
    plain = Repository(tmp_path / "plain", consistent=False)
    plain.publish()
    world.server.RequestHandlerClass = partial(_Quiet, folder=plain.folder, requests=world.requests)
    assert world.client.init(plain.folder / "metadata/1.root.json") == 0
    assert world.client.refresh() == 0
    world.server.shutdown()
    world.server.server_close()
    assert world.requests[-3:] == [f"/metadata/{name}.json" for name in _TOP_LEVEL[1:]]
