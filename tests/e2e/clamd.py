"""A clamd of our own in a temporary folder, with a few signatures; touches no other one."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONF = """
Foreground yes
LocalSocket {folder}/clamd.sock
LocalSocketMode 666
DatabaseDirectory {folder}/db
TemporaryDirectory {folder}
User root
StreamMaxLength {stream}
MaxThreads 4
{more}
"""
_PATIENCE_S = 60.0


def why_not(*programs: str) -> str:
    """Why it cannot be started here; empty if it can."""
    missing = [
        p for p in ("clamd", *programs) if shutil.which(p, path="/usr/sbin:/usr/bin") is None
    ]
    return f"needs {', '.join(missing)}, not installed" if missing else ""


@contextmanager
def running(signatures: dict[str, str], stream: str = "100M", more: str = "") -> Iterator[Path]:
    """Its socket. ``signatures``: file name, such as ``test.ndb``, to content."""
    folder = Path(tempfile.mkdtemp(prefix="mailward-clamd-"))
    try:
        (folder / "db").mkdir()
        for name, content in signatures.items():
            (folder / "db" / name).write_text(content)
        conf = folder / "clamd.conf"
        conf.write_text(_CONF.format(folder=folder, stream=stream, more=more))
        with (folder / "log").open("wb") as log:
            clamd = subprocess.Popen(
                ["/usr/sbin/clamd", "-c", str(conf)], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            _wait_for(folder / "clamd.sock", clamd, folder / "log")
            yield folder / "clamd.sock"
        finally:
            clamd.kill()
            clamd.wait()
    finally:
        shutil.rmtree(folder)


def _wait_for(path: Path, clamd: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and clamd.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"zPING\0")
                if client.recv(5) == b"PONG\0":
                    return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"clamd does not answer:\n{log.read_text('utf-8', 'replace')[-2000:]}")
