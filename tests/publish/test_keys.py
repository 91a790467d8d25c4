"""Private keys stay private."""

from pathlib import Path

import pytest

from mailward.errors import PublishError
from mailward.publish import keys
from mailward.publish.home import Home
from mailward.publish.repository import Publisher


def test_keys_are_for_their_owner_alone_and_outside_of_what_is_served(home: Home) -> None:
    assert home.keys.stat().st_mode & 0o777 == 0o700
    for role in keys.ROLES:
        path = keys.path_of(home.keys, role)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    served = b"".join(path.read_bytes() for path in home.public.rglob("*") if path.is_file())
    assert b"PRIVATE" not in served
    assert home.public not in home.keys.parents


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(publisher: Publisher, home: Home, mode: int) -> None:
    path = keys.path_of(home.keys, "timestamp")
    path.chmod(mode)
    with pytest.raises(PublishError, match=f"others can read this private key: `chmod 600 {path}"):
        publisher.refresh_timestamp()


def test_the_key_of_another_role_is_refused(publisher: Publisher, home: Home) -> None:
    path = keys.path_of(home.keys, "timestamp")
    path.write_bytes(keys.path_of(home.keys, "rapid").read_bytes())
    with pytest.raises(PublishError, match="not the key that the repository's root names"):
        publisher.refresh_timestamp()


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_refused(publisher: Publisher, home: Home, content: bytes) -> None:
    path = keys.path_of(home.keys, "timestamp")
    path.write_bytes(content)
    with pytest.raises(PublishError, match="not an Ed25519 private key"):
        publisher.refresh_timestamp()


def test_no_message_holds_key_material(publisher: Publisher, home: Home) -> None:
    path = keys.path_of(home.keys, "timestamp")
    secret = path.read_text().splitlines()[1]
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{secret[:-4]}\n-----END PRIVATE KEY-----\n")
    with pytest.raises(PublishError) as caught:
        publisher.refresh_timestamp()
    assert secret[:16] not in str(caught.value)


def test_keys_that_are_there_already_are_kept(tmp_path: Path) -> None:
    first = keys.make(tmp_path / "keys", "root")
    assert keys.make(tmp_path / "keys", "root").public_key == first.public_key
