"""What a confined process can still do, and what the kernel is said to give."""

import errno
import json
import platform
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mailward.scan import sandbox, seccomp

_NEEDS_ALL = pytest.mark.skipif(
    bool(sandbox.supported().missing), reason=f"this kernel has no {sandbox.supported().missing}"
)


def confined(work: Path, code: str) -> dict[str, object]:
    """What a child noted in ``seen`` while confined to writing below ``work``."""
    program = f"""
import errno, json, os, sys
from dataclasses import asdict
from pathlib import Path
from mailward.scan import landlock, sandbox, seccomp
work, seen = Path(sys.argv[1]), {{}}
{textwrap.dedent(code)}
print(json.dumps(seen))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(work)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    seen: dict[str, object] = json.loads(done.stdout)
    return seen


def test_what_is_in_force_is_what_was_said_to_be_supported(tmp_path: Path) -> None:
    seen = confined(tmp_path, "seen = asdict(sandbox.confine([work]))")
    supported = sandbox.supported()
    assert seen["files"] == supported.files
    assert seen["processes"] == supported.processes
    assert supported.network in (sandbox.NONE, seen["network"])


def test_the_work_folder_stays_writable_and_everything_else_readable(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "outside").write_text("read me")
    code = """
        sandbox.confine([work])
        (work / "a").write_text("content")
        (work / "folder").mkdir()
        (work / "a").rename(work / "folder/b")
        (work / "c").write_text("")
        (work / "c").unlink()
        os.truncate(work / "folder/b", 4)
        with (work / "folder/b").open("rb+") as file:
            os.fsync(file)
        seen["outside"] = (work.parent / "outside").read_text()
    """
    assert confined(work, code) == {"outside": "read me"}
    assert (work / "folder/b").read_text() == "cont"


def test_threads_start_and_end(tmp_path: Path) -> None:
    code = """
        import threading
        sandbox.confine([work])
        thread = threading.Thread(target=lambda: seen.update(ran=True))
        thread.start()
        thread.join()
    """
    assert confined(tmp_path, code) == {"ran": True}


def test_yara_compiles_and_runs_what_it_compiled(tmp_path: Path) -> None:
    code = """
        sandbox.confine([work])
        import yara_x
        rules = yara_x.compile('rule a { strings: $a = "threat" condition: $a and filesize < 100 }')
        scan = yara_x.Scanner(rules).scan(b"a threat")
        seen["rules"] = [rule.identifier for rule in scan.matching_rules]
    """
    assert confined(tmp_path, code) == {"rules": ["a"]}


def test_a_process_may_abort(tmp_path: Path) -> None:
    program = "from mailward.scan import sandbox; import os; sandbox.confine(); os.abort()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -6


def test_a_folder_that_is_not_there_is_an_error_and_nothing_is_given_up(tmp_path: Path) -> None:
    code = """
        try:
            sandbox.confine([work / "missing"])
        except FileNotFoundError:
            seen["refused"] = True
        (work.parent / "still writable").write_text("")
    """
    work = tmp_path / "work"
    work.mkdir()
    assert confined(work, code) == {"refused": True}


@_NEEDS_ALL
def test_a_confined_process_can_be_confined_further(tmp_path: Path) -> None:
    code = """
        sandbox.confine([work])
        seen = asdict(sandbox.confine())
        try:
            (work / "file").write_text("")
        except PermissionError:
            seen["refused"] = True
    """
    seen = confined(tmp_path, code)
    assert seen["refused"] is True
    assert seen["network"] == "seccomp"


def test_a_kernel_that_has_nothing_is_told_and_work_goes_on(tmp_path: Path) -> None:
    code = """
        def nothing(*_):
            raise OSError(errno.ENOSYS, "Function not implemented")
        seccomp.install = landlock.restrict = nothing
        landlock.abi = lambda: 0
        sandbox._network_namespace = lambda: sandbox.NONE
        found = sandbox.confine([work])
        seen = asdict(found) | {"missing": found.missing}
    """
    assert confined(tmp_path, code) == {
        "network": "none",
        "files": "none",
        "processes": "none",
        "missing": ["network", "files", "processes"],
    }


def test_without_seccomp_the_process_gets_an_empty_network_where_users_may(tmp_path: Path) -> None:
    code = """
        import socket
        def nothing():
            raise OSError(errno.ENOSYS, "Function not implemented")
        seccomp.install = nothing
        landlock.abi = lambda: 0
        listener = socket.create_server(("127.0.0.1", 0))
        seen["network"] = sandbox.confine([work]).network
        try:
            socket.create_connection(listener.getsockname(), timeout=5)
        except OSError as e:
            seen["errno"] = e.errno
    """
    seen = confined(tmp_path, code)
    if seen["network"] == sandbox.NONE:
        pytest.skip("users may not have a network namespace on this computer")
    assert seen["network"] == "network namespace"
    assert seen["errno"] in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES)


@pytest.mark.parametrize("machine", ["riscv64", "i686", ""])
def test_processors_without_a_filter_have_none(
    monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert not seccomp.available()
    with pytest.raises(OSError, match="not implemented"):
        seccomp.install()


def answer(machine: str, number: int, *arguments: int, arch: int | None = None) -> str:
    """What the filter says to a system call, as the kernel would run it (linux/filter.h)."""
    processor = seccomp.PROCESSORS[machine]
    data = struct.pack("=IIQ", number, processor.audit_arch if arch is None else arch, 0)
    data += struct.pack("=6Q", *arguments, *[0] * (6 - len(arguments)))
    steps, at, loaded = seccomp.program(processor, pid=4711), 0, 0
    while True:
        operation, if_true, if_false, operand = steps[at]
        if operation == 0x06:
            allowed = operand == 0x7FFF0000
            return "allowed" if allowed else errno.errorcode[operand ^ 0x50000]
        if operation == 0x20:
            [loaded] = struct.unpack_from("=I", data, operand)
            at += 1
            continue
        held = {0x15: loaded == operand, 0x25: loaded > operand, 0x45: bool(loaded & operand)}
        at += 1 + (if_true if held[operation] else if_false)


@pytest.mark.parametrize(
    ("machine", "allowed", "denied"),
    [
        # read, write, openat, mmap, mprotect, futex, clock_gettime; socket, execve, mount, bpf
        ("x86_64", (0, 1, 257, 9, 10, 202, 228), (41, 59, 165, 321, 57, 58, 90)),
        ("aarch64", (63, 64, 56, 222, 226, 98, 113), (198, 221, 40, 280, 52)),
    ],
)
def test_the_filter_on_each_processor(
    machine: str, allowed: tuple[int, ...], denied: tuple[int, ...]
) -> None:
    assert {answer(machine, number) for number in allowed} == {"allowed"}
    assert {answer(machine, number) for number in denied} == {"EPERM"}
    assert answer(machine, 435) == "ENOSYS"  # clone3
    assert answer(machine, 451) == "ENOSYS"
    assert answer(machine, 0x40000000 + allowed[0]) == "ENOSYS"  # x32
    assert answer(machine, allowed[0], arch=0x40000003) == "EPERM"  # i386


@pytest.mark.parametrize(
    ("machine", "clone", "kill", "tgkill", "ioctl", "prlimit64"),
    [("x86_64", 56, 62, 234, 16, 302), ("aarch64", 220, 129, 131, 29, 261)],
)
def test_calls_that_depend_on_what_they_are_asked(
    machine: str, clone: int, kill: int, tgkill: int, ioctl: int, prlimit64: int
) -> None:
    assert answer(machine, clone, 0x003D0F00) == "allowed"  # a thread
    assert answer(machine, clone, 17) == "EPERM"  # fork
    for number in (kill, tgkill):
        assert answer(machine, number, 4711, 6) == "allowed"
        assert answer(machine, number, 4712, 6) == "EPERM"
        assert answer(machine, number, 2**64 - 1, 9) == "EPERM"
    assert answer(machine, ioctl, 0, 0x5401) == "allowed"
    assert answer(machine, ioctl, 0, 0x5412) == "EPERM"
    assert answer(machine, prlimit64, 0, 7, 0) == "allowed"
    assert answer(machine, prlimit64, 0, 7, 0x7FFF00000000) == "EPERM"
    assert answer(machine, prlimit64, 0, 7, 0x1000) == "EPERM"
