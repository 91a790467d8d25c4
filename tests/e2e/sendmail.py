"""Sendmail with a milter: takes mail over SMTP, and hands it on before it answers (interactive).

Debian lets either Sendmail or Postfix be installed, so ``.ci/sendmail`` unpacks it into a folder.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e import service
from tests.e2e.postfix import free_port

_FOLDER = Path("/var/cache/mailward-ci/sendmail")
_PROGRAM = _FOLDER / "usr/libexec/sendmail/sendmail"
_CONFIGURATION = """
include(`{share}/usr/share/sendmail/cf/m4/cf.m4')
OSTYPE(`linux')
define(`confDOMAIN_NAME', `sendmail.example')
define(`QUEUE_DIR', `{folder}/queue')
define(`confPID_FILE', `{folder}/pid')
define(`STATUS_FILE', `{folder}/status')
define(`confCW_FILE', `-o {folder}/names')
define(`ALIAS_FILE', `')
define(`confCONTROL_SOCKET_NAME', `')
define(`confTO_IDENT', `0')
define(`confSERVICE_SWITCH_FILE', `{folder}/switch')
define(`confDELIVERY_MODE', `interactive')
define(`SMART_HOST', `relay:[127.0.0.1]')
define(`RELAY_MAILER_ARGS', `TCP $h {hop}')
FEATURE(`nocanonify')
FEATURE(`accept_unresolvable_domains')
FEATURE(`no_default_msa')
FEATURE(`promiscuous_relay')
DAEMON_OPTIONS(`Family=inet, Address=127.0.0.1, Port={port}, Name=MTA')
INPUT_MAIL_FILTER(`mailward', `S={milter}, F=T')
MAILER(`smtp')
"""
_NAMED = 'hostname sendmail.example; exec "$0" -C "$1" -bD'
"""A name without a dot makes it wait a minute for a better one, whatever it is configured to be."""
_PATIENCE_S = 60.0


def why_not() -> str:
    """Why it cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root: Sendmail starts as root only"
    if not _PROGRAM.exists():
        return "needs Sendmail, which .ci/sendmail unpacks"
    return "" if shutil.which("m4") else "needs m4, which is not installed"


@contextmanager
def running(folder: Path, hop: int, milter: str) -> Iterator[int]:
    """The port that it listens on. ``milter``: as Sendmail writes it, ``inet:10025@127.0.0.1``."""
    port = free_port()
    (folder / "queue").mkdir(mode=0o700, parents=True)
    text = _CONFIGURATION.format(share=_FOLDER, folder=folder, hop=hop, port=port, milter=milter)
    made = subprocess.run(["m4"], input=text, capture_output=True, text=True, check=True)
    (folder / "sendmail.cf").write_text(made.stdout)
    (folder / "switch").write_text("hosts files\naliases files\npasswd files\n")  # no DNS
    libraries = f"{_FOLDER}/usr/lib/x86_64-linux-gnu:{_FOLDER}/lib/x86_64-linux-gnu"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--uts", "sh", "-c", _NAMED, _PROGRAM, folder / "sendmail.cf"],
            env=os.environ | {"LD_LIBRARY_PATH": libraries, "RES_OPTIONS": "timeout:1 attempts:1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                service.connect(f"127.0.0.1:{port}").close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    text = (folder / "log").read_text("utf-8", "replace")
                    raise TimeoutError(f"Sendmail does not answer:\n{text[-2000:]}") from None
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)
