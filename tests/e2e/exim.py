"""Exim with content scanning: asked over standard input, it queues what it takes, no more. And Exim
as a client, which sends its messages with BDAT.

Debian lets either Exim or Postfix be installed, so ``.ci/exim`` unpacks it into a folder.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

_FOLDER = Path("/var/cache/mailward-ci/exim")
_PROGRAM = _FOLDER / "usr/sbin/exim4"
_ENVIRONMENT = os.environ | {
    "LD_LIBRARY_PATH": f"{_FOLDER}/usr/lib:{_FOLDER}/usr/lib/x86_64-linux-gnu"
}
_CONFIGURATION = """
primary_hostname = mx.example
spool_directory = {folder}/spool
log_file_path = {folder}/log-%slog
exim_user = nobody
exim_group = nogroup
queue_only = true
keep_environment =
host_lookup =
av_scanner = clamd:{clamd}
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
begin acl
acl_rcpt:
  accept
acl_data:
  deny malware = *
       message = malware: $malware_name
  accept
"""


def why_not() -> str:
    """Why it cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root: Exim takes a configuration file from root only"
    if not _PROGRAM.exists():
        return "needs Exim, which .ci/exim unpacks"
    try:
        pwd.getpwnam("Debian-exim")
    except KeyError:
        return "needs the user Debian-exim, whom .ci/exim makes"
    return ""


_CLIENT = """
primary_hostname = client.example
spool_directory = {folder}/spool
log_file_path = {folder}/log-%slog
exim_user = nobody
exim_group = nogroup
trusted_users = root
exim_path = {program}
keep_environment = LD_LIBRARY_PATH
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {port}
  hosts_try_chunking = {chunking}
  hosts_try_prdr =
begin retry
* * F,1h,1h
"""


def send(folder: Path, port: int, message: bytes, *to: str, chunking: bool) -> str:
    """Have Exim deliver it to a server on that port; its main log."""
    (folder / "exim.conf").write_text(
        _CLIENT.format(folder=folder, port=port, program=_PROGRAM, chunking="*" if chunking else "")
    )
    (folder / "spool").mkdir(exist_ok=True)
    for path in (folder, folder / "spool"):
        shutil.chown(path, "nobody", "nogroup")
    _run(folder, "-odq", "-oi", "-f", "a@example.org", *to, given=message.replace(b"\r\n", b"\n"))
    log = folder / "log-mainlog"
    queued = log.read_text().partition(" <= ")[0].split()[-1]
    _run(folder, "-M", queued)
    return log.read_text()


def _run(folder: Path, *options: str, given: bytes = b"") -> None:
    subprocess.run(
        [_PROGRAM, "-C", folder / "exim.conf", *options],
        input=given,
        env=_ENVIRONMENT,
        capture_output=True,
        timeout=60,
        check=True,
    )


def answer(folder: Path, clamd: str, message: bytes) -> str:
    """What Exim says to the message. ``clamd``: as ``av_scanner`` has it."""
    (folder / "exim.conf").write_text(_CONFIGURATION.format(folder=folder, clamd=clamd))
    (folder / "spool").mkdir(exist_ok=True)
    for path in (folder, folder / "spool"):
        shutil.chown(path, "nobody", "nogroup")
    session = (
        b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"
    )
    done = subprocess.run(
        [_PROGRAM, "-C", folder / "exim.conf", "-bs"],
        input=session + message.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\nQUIT\r\n",
        env=_ENVIRONMENT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.decode().splitlines()
    at = next((n for n, line in enumerate(lines) if line.startswith("354")), None)
    if at is None:
        raise RuntimeError(f"Exim did not ask for the message: {done.stdout!r} {done.stderr!r}")
    return lines[at + 1]
