"""The real products on one store: clamd, Rspamd, yara, further instances of our own."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailward.definitions.clamd import Clamd
from mailward.definitions.products import TAKES, Product, ProductKind
from mailward.definitions.store import Store
from mailward.testing import Attachment, message
from tests.definitions.kinds import threat

CLAMD = """
Foreground yes
LocalSocket {folder}/clamd.sock
LocalSocketMode 666
DatabaseDirectory {databases}
TemporaryDirectory {folder}
User root
SelfCheck 0
"""

PATIENCE_S = 60.0

RSPAMD = """
options {{
  filters = "";
  tempdir = "{folder}";
  hs_cache_dir = "{folder}";
  control_socket = "{folder}/rspamd.ctl mode=0600";
  url_tld = "{folder}/tld.dat";
  dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
worker "controller" {{ bind_socket = "127.0.0.1:{controller}"; count = 1; }}
lua = "{folder}/init.lua";
modules {{ path = "/usr/share/rspamd/plugins/multimap.lua"; }}
multimap {{ {multimap} }}
"""

MULTIMAP = """
MAILWARD_SHA256 {{
  type = "selector";
  selector = "attachments('hex', 'sha256').lower";
  map = "{map}";
  score = 15.0;
}}
"""

UPDATER = """
import os, signal, sys
from pathlib import Path
from mailward.settings.update import StoreSettings
from mailward.definitions.store import Store
from tests.definitions.kinds import activate
activate(Store(Path(sys.argv[1]), StoreSettings(min_free_bytes=1)), sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def version_of(number: int) -> str:
    return f"20261124.{number:03}"


def needs(*programs: str) -> None:
    missing = [p for p in programs if shutil.which(p, path="/usr/sbin:/usr/bin") is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}, which is not installed on this computer")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


def product_of(name: str, kind: ProductKind, **more: str) -> Product:
    return Product.model_validate(
        {"name": name, "kind": kind, "takes": TAKES[kind], "added_at": datetime.now(UTC)} | more
    )


@contextmanager
def running_clamd(folder: Path, databases: Path) -> Iterator[Clamd]:
    needs("clamd", "clamscan", "clamdscan")
    (folder / "clamd.conf").write_text(CLAMD.format(folder=folder, databases=databases))
    address = folder / "clamd.sock"
    with (folder / "clamd.log").open("wb") as log:
        words = ["/usr/sbin/clamd", "-c", str(folder / "clamd.conf")]
        with subprocess.Popen(words, stdout=log, stderr=log) as process:
            try:
                wait_for(lambda: answers(Clamd(str(address))), (folder / "clamd.log").read_text())
                yield Clamd(str(address))
            finally:
                process.kill()


def answers(clamd: Clamd) -> bool:
    with contextlib.suppress(Exception):
        return clamd.version().startswith("ClamAV")
    return False


def found_of(version: str, clamd: Clamd) -> list[str | None]:
    return [clamd.scan(threat(number, version)) for number in range(3)]


def names_of(version: str) -> list[str]:
    name = version.replace(".", "_")
    return [
        f"Hash.md5.{name}.UNOFFICIAL",
        f"Body.{name}.UNOFFICIAL",
        f"YARA.Rule_{name}.UNOFFICIAL",
    ]


def yara_finds(link: Path, file: Path) -> set[str]:
    folder = link.resolve()  # one set, whatever happens to the link meanwhile
    rules = [f"n{n}:{path}" for n, path in enumerate(sorted(folder.glob("*.yar")))]
    words = ["yara", *rules, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


def project_folder() -> Path:
    return Path(__file__).resolve().parents[2]


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@contextmanager
def running_rspamd(folder: Path, map_: Path) -> Iterator[Callable[[bytes], bool]]:
    """A function that tells whether it knows an attachment; its process id is in ``rspamd.pid``."""
    needs("rspamd", "rspamc")
    port, controller = free_ports(2)
    (folder / "tld.dat").write_text("org\nexample\n")
    (folder / "init.lua").write_text('require "global_functions" ()\n')
    config = RSPAMD.format(
        folder=folder, port=port, controller=controller, multimap=MULTIMAP.format(map=map_)
    )
    (folder / "rspamd.conf").write_text(config)

    def knows(attachment: bytes) -> bool:
        mail = message(Attachment("a.bin", attachment, "application/octet-stream"))
        words = ["rspamc", "-h", f"127.0.0.1:{port}", "--json"]
        done = subprocess.run(words, input=mail, capture_output=True, timeout=60, check=True)
        return "MAILWARD_SHA256" in json.loads(done.stdout)["symbols"]

    def answers() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    words = ["/usr/bin/rspamd", "-f", "-i", "-c", str(folder / "rspamd.conf")]
    with (folder / "rspamd.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(answers, "Rspamd answers")
        (folder / "rspamd.pid").write_text(f"{process.pid}\n")
        yield knows
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def running_instance(
    folder: Path, store: Store, *words: str, **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """`mailward run` on that store."""
    folder.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    told = {
        "STATE_DIR": str(folder), "STORE__FOLDER": str(store.folder),
        "STORE__MIN_FREE_BYTES": "1", "SMTP__LISTEN": f"127.0.0.1:{port}",
        "SCAN__WORKERS": "1", "CONSOLE__ENABLED": "false", **environment,
    }  # fmt: skip
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "mailward", "run", *words],
            env=os.environ | {f"MAILWARD_{key}": value for key, value in told.items()},
            stdout=log,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def has_logged(folder: Path, what: str) -> bool:
    return what in (folder / "log").read_text()


def active_version(store: Store) -> str:
    active = store.active()
    return str(active.version) if active else ""


def all_found(folder: Path, version: str) -> set[str]:
    """What one clamd scan finds of two threats of a version, from two of its files: both, or none.

    `clamdscan --allmatch` on the clamd that runs in ``folder``.
    """
    file = folder / f"both-{version}"
    if not file.exists():
        file.write_bytes(b"\n".join(threat(number, version) for number in (1, 2)))
    words = ["clamdscan", "-c", str(folder / "clamd.conf"), "--no-summary", "--allmatch", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    lines = [line.rpartition(": ")[2] for line in done.stdout.splitlines()]
    if done.returncode > 1:
        raise RuntimeError(done.stdout + done.stderr)
    return {line.removesuffix(" FOUND") for line in lines if line.endswith(" FOUND")}
