"""Private keys stay private; other keys take over without agents noticing."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Targets
from typer.testing import CliRunner, Result

from mailward.cli.repo import app
from mailward.definitions.model import Channel, Version
from mailward.errors import PublishError, UsageError
from mailward.publish import home as home_module
from mailward.publish import metadata, rotation
from mailward.publish.home import Home
from mailward.publish.keys import ROLES
from mailward.publish.metadata import Signed
from mailward.publish.passphrases import Secrets
from mailward.publish.repository import Publisher
from mailward.publish.rotation import revoke, rotate

RAPID = Channel.RAPID
Built = Callable[[], Version]
Clients = Callable[[], Any]

_PASSPHRASE = "a horse, a battery and a staple"


def _key_file(home: Home, role: str) -> Path:
    (path,) = home.keys.glob(f"{role}-*")
    return path


def _keyids(home: Home, role: str) -> list[str]:
    return [key.keyid for key in Signed.load(home).trusted(role).keys]


def _secrets(passphrase: str = _PASSPHRASE) -> Secrets:
    return Secrets(environment={"MAILWARD_KEY_PASSPHRASE": passphrase})


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


# --- files ----------------------------------------------------------------------------------------


def test_keys_are_for_their_owner_alone_and_outside_of_what_is_served(home: Home) -> None:
    assert home.keys.stat().st_mode & 0o777 == 0o700
    for role in ROLES:
        path = _key_file(home, role)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    served = b"".join(path.read_bytes() for path in home.public.rglob("*") if path.is_file())
    assert b"PRIVATE" not in served
    assert home.public not in home.keys.parents


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused_and_nothing_is_published(
    publisher: Publisher, home: Home, mode: int
) -> None:
    path = _key_file(home, "timestamp")
    path.chmod(mode)
    before = {p: p.read_bytes() for p in home.public.rglob("*") if p.is_file()}
    with pytest.raises(PublishError, match=f"others can read this private file: `chmod 600 {path}"):
        publisher.refresh_timestamp()
    assert {p: p.read_bytes() for p in home.public.rglob("*") if p.is_file()} == before


def test_the_key_of_another_role_is_refused(publisher: Publisher, home: Home) -> None:
    _key_file(home, "timestamp").write_bytes(_key_file(home, "rapid").read_bytes())
    with pytest.raises(PublishError, match="not the key that the repository's metadata names"):
        publisher.refresh_timestamp()


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_refused(publisher: Publisher, home: Home, content: bytes) -> None:
    _key_file(home, "timestamp").write_bytes(content)
    with pytest.raises(PublishError, match="not a private key in PEM"):
        publisher.refresh_timestamp()


def test_no_message_holds_key_material(publisher: Publisher, home: Home) -> None:
    path = _key_file(home, "timestamp")
    secret = path.read_text().splitlines()[1]
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{secret[:-4]}\n-----END PRIVATE KEY-----\n")
    with pytest.raises(PublishError) as caught:
        publisher.refresh_timestamp()
    assert secret[:16] not in str(caught.value)


# --- passphrases ----------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path, clock: Any) -> Publisher:
    made = Publisher(tmp_path / "sealed", now=clock, secrets=_secrets())
    made.init(encrypted=True)
    return made


def test_keys_with_a_passphrase_sign_with_it_alone(sealed: Publisher, clock: Any) -> None:
    for path in sealed.home.keys.iterdir():
        assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    sealed.refresh_timestamp()
    without = Publisher(sealed.home.folder, now=clock, secrets=Secrets(environment={}))
    with pytest.raises(PublishError, match="set MAILWARD_KEY_PASSPHRASE"):
        without.refresh_timestamp()
    wrong = Publisher(sealed.home.folder, now=clock, secrets=_secrets("wrong"))
    with pytest.raises(PublishError, match="passphrase is not the right one") as caught:
        wrong.refresh_timestamp()
    assert "wrong" not in str(caught.value)


def test_a_key_that_replaces_one_with_a_passphrase_has_it_too(sealed: Publisher) -> None:
    rotate(sealed, "timestamp")
    content = _key_file(sealed.home, "timestamp").read_bytes()
    assert content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    sealed.refresh_timestamp()


def test_a_passphrase_comes_from_a_private_file(sealed: Publisher, tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_text(_PASSPHRASE + "\n")
    secrets = Secrets(environment={"MAILWARD_KEY_PASSPHRASE_FILE": str(path)})
    path.chmod(0o644)
    with pytest.raises(PublishError, match="others can read") as caught:
        Publisher(sealed.home.folder, secrets=secrets).refresh_timestamp()
    assert _PASSPHRASE not in str(caught.value)
    path.chmod(0o600)
    Publisher(sealed.home.folder, secrets=secrets).refresh_timestamp()


def test_somebody_at_a_terminal_is_asked_once(sealed: Publisher) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return _PASSPHRASE

    asking = Publisher(sealed.home.folder, secrets=Secrets(ask, environment={}))
    asking.refresh_timestamp()
    rotate(asking, "rapid")
    assert asked == ["passphrase for signing: "]


def test_the_command_makes_keys_with_a_passphrase_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILWARD_KEY_PASSPHRASE", _PASSPHRASE)
    result = _run("init", "--repo", tmp_path / "new", "--encrypt")
    assert result.exit_code == 0
    assert _PASSPHRASE not in result.output
    assert b"ENCRYPTED" in _key_file(Home(tmp_path / "new"), "root").read_bytes()


# --- thresholds -----------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path, clock: Any) -> Publisher:
    """Two of three keys sign root, two of two targets."""
    made = Publisher(tmp_path / "many", now=clock)
    made.init(key_counts={"root": 3, "targets": 2}, thresholds={"root": 2, "targets": 2})
    return made


def test_a_threshold_needs_that_many_keys_and_no_more(many: Publisher) -> None:
    first, second, third = sorted(many.home.keys.glob("root-*.pem"))
    first.rename(many.home.folder / first.name)
    rotate(many, "timestamp")
    second.rename(many.home.folder / second.name)
    with pytest.raises(PublishError, match=f"2 of 3 must sign, missing .*{second.stem[5:]}"):
        rotate(many, "timestamp")
    assert third.exists()


def test_keys_may_come_from_elsewhere_for_the_occasion(many: Publisher, tmp_path: Path) -> None:
    sticks = [tmp_path / f"stick-{n}" for n in range(2)]
    for stick, path in zip(sticks, sorted(many.home.keys.glob("root-*.pem"))[:2], strict=True):
        stick.mkdir()
        shutil.move(path, stick)
    next(many.home.keys.glob("root-*.pem")).unlink()
    with pytest.raises(PublishError, match="not here"):
        rotate(many, "snapshot")
    folder = many.home.folder
    words = ["keys", "rotate", "snapshot", "--repo", folder, "--keys", sticks[0], "--keys"]
    assert _run(*words, sticks[1]).exit_code == 0
    # The third key was lost: the two others replace it.
    lost = [i for i in _keyids(many.home, "root") if not list(tmp_path.glob(f"*/root-{i[:16]}*"))]
    revoke(Publisher(folder, more_keys=sticks), "root", lost[0])
    assert len(_keyids(many.home, "root")) == 2


@pytest.mark.parametrize(("keys", "threshold"), [(0, 0), (1, 2), (3, 0), (21, 1)])
def test_a_threshold_that_cannot_be_met_is_refused(
    tmp_path: Path, keys: int, threshold: int
) -> None:
    with pytest.raises(UsageError, match="cannot sign"):
        Publisher(tmp_path / "x").init(key_counts={"root": keys}, thresholds={"root": threshold})
    assert not (tmp_path / "x").exists()


# --- rotation -------------------------------------------------------------------------------------


def test_an_agent_that_was_away_for_many_rotations_catches_up(
    many: Publisher, client: Clients, tmp_path: Path, built: Built, clock: Any
) -> None:
    kind = type(client())
    assert kind(many.home, tmp_path / "away").current(RAPID).version is None
    for _ in range(5):
        rotate(many, "root")
        clock.advance(days=3)
    for role in ("targets", "snapshot", "timestamp", "rapid", "certified", "timestamp", "root"):
        rotate(many, role)
    revoke(many, "root", _keyids(many.home, "root")[0])
    rotate(many, "root", _keyids(many.home, "root")[1])
    many.refresh_timestamp()
    seen = kind(many.home, tmp_path / "away")  # root 1 in its memory
    assert seen.current(RAPID).version is None
    assert seen.current(Channel.CERTIFIED).version is None
    assert len(list((tmp_path / "away/root_history").glob("*.root.json"))) >= 12
    assert kind(many.home, tmp_path / "new").current(RAPID).version is None


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("lost", [False, True], ids=["rotated", "lost"])
def test_each_role_signs_with_its_new_key_alone(
    publisher: Publisher, home: Home, client: Clients, built: Built, role: str, lost: bool
) -> None:
    publisher.publish(built())
    (old,) = _keyids(home, role)
    if lost:
        _key_file(home, role).unlink()
        if role == "root":
            with pytest.raises(PublishError, match="not here"):
                rotate(publisher, "root")
            return
        if role == "targets":
            (new,) = rotate(publisher, role).new  # root names another; it signs them anew
        else:
            (new,) = revoke(publisher, role, old).new
    else:
        (new,) = rotate(publisher, role).new
    assert _keyids(home, role) == [new.keyid] != [old]
    assert [path.stem for path in home.keys.glob(f"{role}-*")] == [f"{role}-{new.keyid[:16]}"]
    version = built()
    publisher.publish(version)
    publisher.promote(version)
    assert client().current(RAPID).version == version


def test_a_revoked_key_signs_nothing_that_is_believed(
    publisher: Publisher, home: Home, client: Clients, built: Built, tmp_path: Path
) -> None:
    version = built()
    publisher.publish(version)
    stolen = publisher.keyring.signers(Signed.load(home).trusted("rapid"))[0]
    kind = type(client())
    kind(home, tmp_path / "knows the old key")
    revoke(publisher, "rapid", stolen.public_key.keyid[:16])
    # The thief signs what rapid offers; snapshot and timestamp follow, as if stolen along with it.
    signed = Signed.load(home)
    role = signed.channels[RAPID]
    role.signed.version += 1
    role.sign(stolen)
    raw = role.to_bytes()
    (home.metadata / f"{role.signed.version}.rapid.json").write_bytes(raw)
    signed.snapshot.signed.meta["rapid.json"] = MetaFile.from_data(
        role.signed.version, raw, ["sha256"]
    )
    home_module.write_in_order(metadata.prepare(publisher.signing(), signed, renew={"snapshot"}))
    for memory in ("knows the old key", "new"):
        with pytest.raises(UnsignedMetadataError):
            kind(home, tmp_path / memory).current(RAPID)
    with pytest.raises(PublishError, match="damaged"):
        publisher.publish(built())


def test_a_stolen_timestamp_key_cannot_hold_agents_ahead(
    publisher: Publisher, home: Home, client: Clients, tmp_path: Path
) -> None:
    """Fast-forward: the thief publishes number 1000000; after the rotation agents come back."""
    kind = type(client())
    shutil.copytree(home.folder, tmp_path / "stolen")
    stolen = Publisher(tmp_path / "stolen")
    signed = Signed.load(stolen.home)
    signed.timestamp.signed.version = signed.snapshot.signed.version = 1_000_000
    home_module.write_in_order(metadata.prepare(stolen.signing(), signed, renew={"snapshot"}))
    kind(stolen.home, tmp_path / "victim")
    rotate(publisher, "snapshot")
    rotate(publisher, "timestamp")
    publisher.refresh_timestamp()
    assert kind(home, tmp_path / "victim").current(RAPID).version is None


@pytest.mark.parametrize("lost", [False, True], ids=["rotated", "lost"])
@pytest.mark.parametrize("role", ROLES[1:])
def test_a_crash_while_keys_change_is_finished_by_the_next_command(
    publisher: Publisher, home: Home, client: Clients, tmp_path: Path, power: Any,
    role: str, lost: bool,
) -> None:  # fmt: skip
    if lost and role not in ("certified", "rapid"):
        # Whatever order these are published in, agents fail for a moment.
        readable = False
    else:
        readable = True
    if lost:
        _key_file(home, role).unlink()
    shutil.copytree(home.folder, tmp_path / "saved")
    steps = 0
    while True:
        shutil.rmtree(home.folder)
        shutil.copytree(tmp_path / "saved", home.folder)
        (old,) = _keyids(home, role)
        power.cut_at(steps + 1)
        try:
            rotate(publisher, role)
        except PublishError:
            power.cut_at(0)
        else:
            break
        steps += 1
        if readable:
            assert client().current(RAPID).version is None
        if (home.folder / "pending.json").exists():
            publisher.refresh_timestamp()
            assert _keyids(home, role) != [old]
        elif not lost:
            publisher.refresh_timestamp()
        if _keyids(home, role) != [old]:
            assert client().current(RAPID).version is None
    assert steps >= 4  # the key, the list, and at least two files
    power.cut_at(0)
    assert client().current(RAPID).version is None


def test_rotation_needs_the_keys_of_who_names_them(publisher: Publisher, home: Home) -> None:
    for role in ("root", "targets"):
        _key_file(home, role).unlink()
    before = sorted(path.name for path in home.public.rglob("*"))
    with pytest.raises(PublishError, match="private key of root is not here"):
        rotate(publisher, "timestamp")
    with pytest.raises(PublishError, match="private key of targets is not here"):
        rotate(publisher, "rapid")
    assert sorted(path.name for path in home.public.rglob("*")) == before
    assert len(_keyids(home, "rapid")) == 1


def test_a_role_or_key_that_is_none_is_said(publisher: Publisher, home: Home) -> None:
    with pytest.raises(UsageError, match="there is no role rapids"):
        rotate(publisher, "rapids")
    for keyid in ("ffffffffffff", "", _keyids(home, "rapid")[0][:3]):
        with pytest.raises(UsageError, match="name one of"):
            revoke(publisher, "rapid", keyid)


def test_root_and_targets_are_renewed_once_their_keys_are_there(
    publisher: Publisher, home: Home, clock: Any, client: Clients, tmp_path: Path
) -> None:
    offline = tmp_path / "offline"
    offline.mkdir()
    for role in ("root", "targets"):
        shutil.move(_key_file(home, role), offline)
    clock.advance(days=200)
    publisher.refresh_timestamp()
    assert Signed.load(home).root.signed.version == 1
    result = _run("status", "--repo", home.folder)
    assert result.exit_code == 0  # by this computer's clock nothing is due
    Publisher(home.folder, now=clock, more_keys=[offline]).refresh_timestamp()
    signed = Signed.load(home)
    assert (signed.root.signed.version, signed.targets.signed.version) == (2, 2)
    assert (signed.root.signed.expires - clock()).days >= 364
    client()


def test_keys_show_names_keys_and_no_secret(publisher: Publisher, home: Home) -> None:
    secrets = [
        line for path in home.keys.glob("*.pem") for line in path.read_text().splitlines()[1:-1]
    ]
    for words in (["--json"], []):
        result = _run("keys", "show", "--repo", home.folder, *words)
        assert result.exit_code == 0
        assert not any(secret in result.output for secret in secrets)
        for role in ROLES:
            assert _keyids(home, role)[0][:16] in result.output
    plain = {row["role"]: row for row in json.loads(
        _run("keys", "show", "--repo", home.folder, "--json").stdout
    )}  # fmt: skip
    assert plain["root"]["threshold"] == 1
    assert plain["rapid"]["keys"][0]["place"] == _key_file(home, "rapid").name


def test_commands_rotate_and_revoke(publisher: Publisher, home: Home) -> None:
    before = _keyids(home, "rapid")
    assert _run("keys", "rotate", "rapid", "--repo", home.folder).exit_code == 0
    after = _keyids(home, "rapid")
    assert after != before
    result = _run("keys", "revoke", "rapid", after[0][:16], "--repo", home.folder)
    assert result.exit_code == 0
    assert f"{after[0][:16]} is trusted no more" in result.output
    result = _run("keys", "rotate", "rapid", "--repo", home.folder, "--uri", "hsm:2")
    assert isinstance(result.exception, UsageError)


# --- tokens ---------------------------------------------------------------------------------------

_SOFTHSM = [
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm2.so"),
]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SSlibKey:
    """A SoftHSM token called ``mailward`` with a P-256 key 2; the public half as PEM in a file."""
    library = next((path for path in _SOFTHSM if path.exists()), None)
    util = shutil.which("softhsm2-util")
    if library is None or util is None:
        pytest.skip("needs SoftHSM (Debian: softhsm2), which is not on this computer")
    pkcs11 = pytest.importorskip("pkcs11", reason="needs the package python-pkcs11")
    ec = pytest.importorskip("pkcs11.util.ec", reason="needs the package python-pkcs11")
    folder = tmp_path / "tokens"
    folder.mkdir()
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    monkeypatch.setenv("PYKCS11LIB", str(library))
    words = [util, "--init-token", "--free", "--label", "mailward", "--pin", "123456"]
    subprocess.run([*words, "--so-pin", "654321"], check=True, capture_output=True, timeout=60)
    loaded = pkcs11.lib(str(library))
    loaded.reinitialize()  # an earlier test's token is gone
    found = loaded.get_token(token_label="mailward")
    with found.open(rw=True, user_pin="123456") as session:
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: ec.encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, _ = parameters.generate_keypair(store=True, id=b"\2", label="rapid")
        der = ec.encode_ec_public_key(public)
    key = serialization.load_der_public_key(der)
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "rapid.pub.pem").write_bytes(pem)
    return SSlibKey.from_crypto(key)


@pytest.mark.real
def test_a_key_in_a_token_signs_what_rapid_offers(
    token: SSlibKey,
    publisher: Publisher,
    home: Home,
    built: Built,
    client: Clients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["keys", "rotate", "rapid", "--repo", home.folder, "--uri", "hsm:2?label=mailward"]
    result = _run(*words, "--public-key", tmp_path / "rapid.pub.pem")
    assert isinstance(result.exception, PublishError)
    assert "MAILWARD_KEY_PIN" in str(result.exception)
    monkeypatch.setenv("MAILWARD_KEY_PIN", "123456")
    result = _run(*words, "--public-key", tmp_path / "rapid.pub.pem")
    assert result.exit_code == 0, result.exception
    assert "123456" not in result.output
    assert _keyids(home, "rapid") == [token.keyid]
    path = _key_file(home, "rapid")
    assert path.read_text() == "hsm:2?label=mailward\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    version = built()
    publisher.publish(version)
    assert client().current(RAPID).version == version
    role = Metadata[Targets].from_file(
        str(max(home.metadata.glob("*.rapid.json"), key=os.path.getmtime))
    )
    assert list(role.signatures) == [token.keyid]


@pytest.mark.real
def test_a_token_that_refuses_changes_nothing_that_is_published(
    token: SSlibKey, publisher: Publisher, home: Home, client: Clients,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MAILWARD_KEY_PIN", "000000")
    before = sorted(path.name for path in home.public.rglob("*"))
    with pytest.raises(PublishError, match="did not sign"):
        rotation.rotate(publisher, "rapid", token=("hsm:2?label=mailward", token))
    assert sorted(path.name for path in home.public.rglob("*")) == before
    publisher.refresh_timestamp()
    client()
