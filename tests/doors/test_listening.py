"""Sockets of doors: what is shared, what is taken over, what is left behind."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mailward.doors import listening
from mailward.errors import ConfigError

# Answers one connection, made by systemd, without ever binding anything.
_SERVER = """
import socket, sys
from mailward.doors import listening
def refuse(*_):
    raise OSError("nothing is to be bound")
socket.socket.bind = refuse
door = listening.listen(sys.argv[1], "test.listen")
door.setblocking(True)
door.accept()[0].sendall(b"hello")
listening.close(door)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    try:
        listening.connect(address, 1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture
def unix(tmp_path: Path) -> str:
    return str(tmp_path / "door.sock")


def test_a_door_takes_over_from_the_one_before_and_no_connection_is_lost(unix: str) -> None:
    for address in (unix, f"127.0.0.1:{free_port()}"):
        old = listening.listen(address, "test.listen")
        waiting = listening.connect(address, 1.0)
        new = listening.listen(address, "test.listen")
        listening.close(old)

        new.setblocking(True)
        accepted, _ = new.accept()
        accepted.sendall(b"hello")
        assert waiting.recv(10) == b"hello"
        assert answers(address)

        for each in (accepted, waiting):
            each.close()
        listening.close(new)
        assert not answers(address)


def test_two_doors_cannot_have_one_address(unix: str) -> None:
    for address in (unix, f"127.0.0.1:{free_port()}"):
        mine = listening.listen(address, "a.listen")
        with pytest.raises(ConfigError, match=r"b\.listen: cannot listen"):
            listening.listen(address, "b.listen")
        assert answers(address)
        listening.close(mine)


def test_every_port_0_is_another_port() -> None:
    one, two = (listening.listen("127.0.0.1:0", "test.listen") for _ in range(2))

    assert listening.port(one) != listening.port(two)
    for each in (one, two):
        listening.close(each)


def test_the_path_goes_with_its_door_and_has_the_mode_that_was_asked_for(unix: str) -> None:
    door = listening.listen(unix, "test.listen", mode="600")
    assert stat.S_IMODE(os.stat(unix).st_mode) == 0o600
    listening.close(door)
    assert not os.path.exists(unix)


def test_a_path_that_cannot_be_given_away_is_not_left_behind(unix: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.listen"):
        listening.listen(unix, "test.listen", group="no-such-group")
    assert not os.path.exists(unix)


def test_what_a_killed_process_left_is_replaced_and_anything_else_is_not(unix: str) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(unix)
    listening.close(listening.listen(unix, "test.listen"))

    Path(unix).write_text("somebody's file")
    with pytest.raises(ConfigError, match="something else"):
        listening.listen(unix, "test.listen")
    assert Path(unix).read_text() == "somebody's file"


@pytest.mark.real
@pytest.mark.parametrize("family", ["inet", "inet6", "unix"])
def test_a_socket_that_systemd_opened_is_used_and_left_to_it(family: str, unix: str) -> None:
    if shutil.which("systemd-socket-activate") is None:
        pytest.skip("systemd-socket-activate is not installed (Debian: systemd)")
    port = free_port()
    address = {"inet": f"127.0.0.1:{port}", "inet6": f"[::1]:{port}", "unix": unix}[family]
    command = ["systemd-socket-activate", "-l", address, sys.executable, "-c", _SERVER, address]
    activator = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert activator.stderr is not None
        assert b"Listening on" in activator.stderr.readline()
        with listening.connect(address, 10.0) as client:
            assert client.recv(10) == b"hello"
        assert activator.wait(10) == 0
        assert family != "unix" or os.path.exists(unix)
    finally:
        activator.kill()
        activator.wait()
        activator.stderr.close()  # type: ignore[union-attr]
