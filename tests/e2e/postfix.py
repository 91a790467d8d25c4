"""A Postfix of our own on a free loopback port, delivering into a maildir; touches no other one."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DOMAIN = "protected.example"
_DELIVERY_UID = 65534
"""nobody: Postfix delivers to no mailbox as root."""

_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mailbox.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
alias_maps =
alias_database =
local_header_rewrite_clients =
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
default_destination_concurrency_limit = 20
smtpd_recipient_restrictions = {restrictions} reject_unauth_destination
message_size_limit = {size}
"""
_RESTRICTIONS = (
    "check_recipient_access inline:{{ {{ unknown@{domain} = 550 5.1.1 No such user }} }},"
)

_MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


def why_not() -> str:
    """Why Postfix cannot be started here; empty if it can."""
    if shutil.which("postfix", path="/usr/sbin:/usr/bin") is None:
        return "needs Postfix, which is not installed"
    if os.geteuid() != 0:
        return "needs root: Postfix starts as root only"
    return ""


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running instance."""

    folder: Path
    port: int

    def delivered(self, count: int, timeout_s: float = 60.0) -> list[bytes]:
        """The messages in the mailbox, with LF, once there are ``count`` and nothing is queued."""
        new = self.folder / "mail/box/new"
        until = time.monotonic() + timeout_s
        while len(files := list(new.glob("*"))) < count or self._queued():
            if time.monotonic() > until:
                raise TimeoutError(f"{len(files)} of {count} delivered:\n{self.log()[-2000:]}")
            time.sleep(0.05)
        return [path.read_bytes() for path in files]

    def empty(self) -> None:
        """Forget what was delivered."""
        for path in (self.folder / "mail/box/new").glob("*"):
            path.unlink()

    def log(self) -> str:
        """What Postfix logged."""
        path = self.folder / "log/mail.log"
        return path.read_text("utf-8", "replace") if path.exists() else "(no log)"

    def _queued(self) -> bool:
        queues = ("incoming", "active", "deferred", "maildrop")
        return any(p.is_file() for q in queues for p in (self.folder / "queue" / q).rglob("*"))


@contextmanager
def running(more: str = "") -> Iterator[Postfix]:
    """Start it; stop it whatever happens. ``more``: further lines of main.cf."""
    folder = Path(tempfile.mkdtemp(prefix="mailward-postfix-"))
    try:
        instance = Postfix(folder, free_port())
        _lay_out(instance, more)
        _control(folder, "start")
        try:
            _wait_for(instance)
            yield instance
        finally:
            _control(folder, "abort")
    finally:
        shutil.rmtree(folder)


def _lay_out(instance: Postfix, more: str) -> None:
    folder = instance.folder
    folder.chmod(0o755)
    for name in ("etc", "queue", "data", "mail", "mail/box", "log"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    for name in ("mail", "mail/box"):
        os.chown(folder / name, _DELIVERY_UID, _DELIVERY_UID)
    (folder / "etc/main.cf").write_text(
        _MAIN_CF.format(
            folder=folder,
            domain=DOMAIN,
            uid=_DELIVERY_UID,
            size=20_000_000,
            restrictions=_RESTRICTIONS.format(domain=DOMAIN),
        )
        + more
    )
    (folder / "etc/master.cf").write_text(_MASTER_CF.format(port=instance.port))


def _control(folder: Path, verb: str) -> None:
    command = ["/usr/sbin/postfix", "-c", str(folder / "etc"), verb]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if verb == "start" and done.returncode:
        raise RuntimeError(f"Postfix did not start: {done.stdout}{done.stderr}")


def _wait_for(instance: Postfix) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", instance.port), 5) as connection:
                if connection.recv(3) == b"220":
                    return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"Postfix does not answer:\n{instance.log()}")


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
