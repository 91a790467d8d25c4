"""An engine taken over by what it scans: what it tries from a confined child, and how it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailward.scan import sandbox

pytestmark = pytest.mark.skipif(
    bool(sandbox.supported().missing), reason=f"this kernel has no {sandbox.supported().missing}"
)

ATTEMPTS = {
    "open_a_socket": "socket.socket()",
    "open_a_unix_socket": "socket.socket(socket.AF_UNIX)",
    "open_a_netlink_socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "make_a_pair_of_sockets": "socket.socketpair()",
    "connect_a_socket_that_it_had": "idle.connect(listener.getsockname())",
    "bind_a_socket_that_it_had": "idle.bind(('127.0.0.1', 0))",
    "accept_from_a_socket_that_it_had": "listener.accept()",
    "fork": "os.fork()",
    "run_a_program": "os.execv('/bin/true', ['true'])",
    "spawn_a_program": "os.posix_spawn('/bin/true', ['true'], {})",
    "run_a_program_from_memory": "os.execve(os.memfd_create('x'), ['x'], {})",
    "write_outside": "(work.parent / 'new').write_text('')",
    "change_a_file_outside": "(work.parent / 'victim').open('r+b')",
    "truncate_a_file_outside": "os.truncate(work.parent / 'victim', 0)",
    "remove_a_file_outside": "(work.parent / 'victim').unlink()",
    "rename_a_file_into_reach": "(work.parent / 'victim').rename(work / 'mine')",
    "link_a_file_into_reach": "os.link(work.parent / 'victim', work / 'mine')",
    "leave_a_symbolic_link": "os.symlink('/etc/passwd', work / 'link')",
    "leave_a_pipe": "os.mkfifo(work / 'pipe')",
    "leave_a_device": "os.mknod(work / 'device', 0o20600, 0x103)",
    "write_past_dots": "(work / '../new').write_text('')",
    "change_modes": "os.chmod(work.parent / 'victim', 0o777)",
    "change_owners": "os.chown(work.parent / 'victim', os.getuid(), os.getgid())",
    "change_attributes": "os.setxattr(work.parent / 'victim', 'user.x', b'x')",
    "change_times": "os.utime(work.parent / 'victim')",
    "change_its_own_memory_by_file": "open('/proc/self/mem', 'r+b')",
    "signal_its_parent": "os.kill(os.getppid(), 0)",
    "signal_its_group": "os.kill(0, 0)",
    "signal_everybody": "os.kill(-1, 0)",
    "take_hold_of_its_parent": "os.pidfd_open(os.getppid())",
    "trace_its_parent": "call(ptrace, 16, os.getppid(), None, None)",
    "type_into_the_terminal": "fcntl.ioctl(0, termios.TIOCSTI, b'x')",
    "raise_its_limits": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "become_another_user": "os.setuid(os.getuid())",
    "mount": "call(mount, None, None, None, 0, None)",
    "leave_its_namespace": "call(unshare, 0x10000000)",
    "load_a_program_into_the_kernel": "call(bpf, 0, None, 0)",
    "read_keys": "call(keyctl, 0, -3, 0)",
    "use_rings_past_the_filter": "call(425, 1, None)",
    "use_calls_of_another_kernel": "call(100000)",
}
"""By what it is after: expressions that raise OSError or ValueError."""

HARMLESS = ("open_a_socket", "fork", "write_outside", "change_modes", "signal_its_parent")
"""These succeed in a child that was not confined: the attempts are what they say."""

_NUMBERS = {"x86_64": (101, 165, 272, 321, 250), "aarch64": (117, 40, 97, 280, 219)}

_CHILD = """
import ctypes, fcntl, json, os, resource, socket, sys, termios
from pathlib import Path
from mailward.scan import sandbox

work, confine, attempts = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
ptrace, mount, unshare, bpf, keyctl = json.loads(sys.argv[4])
library = ctypes.CDLL(None, use_errno=True)
listener = socket.create_server(("127.0.0.1", 0))
listener.settimeout(0)
idle = socket.socket()
(work.parent / "victim").write_text("as it was")

def call(number, *arguments):
    if library.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

if confine:
    sandbox.confine([work])
ends, me = {}, os.getpid()
for name, attempt in attempts.items():
    try:
        eval(attempt)
    except (OSError, ValueError) as e:
        ends[name] = f"{type(e).__name__}: {e}"
    else:
        ends[name] = ""
    if os.getpid() != me:
        os._exit(0)
print(json.dumps(ends))
"""


def _attempt(work: Path, attempts: dict[str, str], *, confine: bool) -> dict[str, str]:
    work.mkdir(parents=True)
    numbers = _NUMBERS[os.uname().machine]
    arguments = [str(work), *(json.dumps(value) for value in (confine, attempts, numbers))]
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CHILD, *arguments],
        capture_output=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    ends: dict[str, str] = json.loads(done.stdout)
    return ends


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """How every attempt ended in one confined child."""
    folder = tmp_path_factory.mktemp("confined")
    ends = _attempt(folder / "work", ATTEMPTS, confine=True)
    assert (folder / "victim").read_text() == "as it was"
    assert (folder / "victim").stat().st_nlink == 1
    assert sorted(path.name for path in folder.rglob("*")) == ["victim", "work"]
    return ends


_OTHERWISE = {
    "raise_its_limits": "not allowed",  # Python's own words
    "link_a_file_into_reach": "Invalid cross-device link",  # Landlock's answer: copy it instead
    "use_calls_of_another_kernel": "not implemented",  # as an older kernel would
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_confined_child_cannot(ends: dict[str, str], name: str) -> None:
    assert ends[name], f"{ATTEMPTS[name]} succeeded"
    refused = (_OTHERWISE[name],) if name in _OTHERWISE else ("not permitted", "denied")
    assert any(words in ends[name] for words in refused), ends[name]


def test_the_same_attempts_succeed_in_a_child_that_is_not_confined(tmp_path: Path) -> None:
    attempts = {name: ATTEMPTS[name] for name in HARMLESS}
    assert _attempt(tmp_path / "work", attempts, confine=False) == dict.fromkeys(HARMLESS, "")
