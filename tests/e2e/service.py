"""`mailward run` as a process of its own, told by the environment what to do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running instance."""

    process: "subprocess.Popen[bytes]"
    log_path: Path
    environment: dict[str, str]

    def status(self) -> dict[str, Any]:
        """`mailward status --json`, told the same."""
        command = [sys.executable, "-P", "-m", "mailward", "status", "--json"]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, timeout=60, check=False
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def log(self) -> str:
        """What it logged."""
        return self.log_path.read_text("utf-8", "replace")


@contextmanager
def running(
    state_dir: Path, folder: Path, answers: str, *options: str, **environment: str
) -> Iterator[Service]:
    """Start it, wait for ``answers`` (address or path of a socket), and stop it by SIGTERM.

    ``options``: of `mailward run`. ``environment``: ``CLAMD__ENABLED="true"`` and the like.
    """
    told = os.environ | {f"MAILWARD_{key}": value for key, value in environment.items()}
    told |= {"MAILWARD_STATE_DIR": str(state_dir), "MAILWARD_UPDATE__CERTIFIED__ENABLED": "false"}
    with (folder / "mailward.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mailward", "run", *options],
            env=told,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    service = Service(process, folder / "mailward.log", told)
    try:
        _wait_for(answers, service)
        yield service
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, service.log()[-3000:]
    finally:
        process.kill()
        process.wait()


def connect(address: str) -> socket.socket:
    """To an address with port, or the path of a Unix socket."""
    if address.startswith("/"):
        client = socket.socket(socket.AF_UNIX)
        client.connect(address)
        return client
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), 5)


def _wait_for(address: str, service: Service) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and service.process.poll() is None:
        try:
            connect(address).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"Mailward does not answer at {address}:\n{service.log()[-3000:]}")
