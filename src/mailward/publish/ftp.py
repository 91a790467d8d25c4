"""An FTP server for the public folder: reading only, passive mode only; anonymous, or with a
license for what asks for one: user ``license`` or ``license.INSTALLATION``, password the license.

On pyftpdlib, whose own loop runs in a thread. No PORT: a server that connects to addresses that
clients name can be used against others (RFC 2577). Signatures protect the content.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.exceptions import AuthenticationFailed, FilesystemError
from pyftpdlib.filesystems import AbstractedFS
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

from mailward.errors import TemporaryError, UsageError
from mailward.publish.gate import Gate, Visitor

log = structlog.get_logger(__name__)

_COMMANDS = frozenset(
    {"ABOR", "CDUP", "CWD", "EPSV", "FEAT", "HELP", "LIST", "MDTM", "MLSD", "MLST", "MODE", "NLST"}
    | {"NOOP", "OPTS", "PASS", "PASV", "PWD", "QUIT", "REST", "RETR", "SIZE", "STRU", "SYST"}
    | {"TYPE", "USER", "XCUP", "XCWD", "XPWD"}
)
"""What reading takes. No PORT and EPRT, and nothing that writes."""

_IDLE_S = 60
"""Without a command, or without a byte of a transfer moving."""

_POLL_S = 0.25
"""How soon the thread notices that it is to stop."""


@dataclass(frozen=True, slots=True)
class FtpSettings:
    """How to be reached, and by how many."""

    host: str = "127.0.0.1"
    port: int = 2121
    passive_ports: range | None = None
    """For data; None leaves them to the system. As many transfers at once as there are ports."""
    masquerade_address: str | None = None
    """The address to tell clients, for a server behind NAT."""
    connections: int = 200
    connections_per_client: int = 20


@contextlib.contextmanager
def serving(folder: Path, settings: FtpSettings, gate: Gate | None = None) -> Iterator[int]:
    """Serve ``folder`` meanwhile; the port, which port 0 leaves to the system.

    ``gate``: who may have what; None: everybody everything, whatever the channels ask for.
    Raises UsageError if there is no such folder, TemporaryError if the address cannot be used.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder to serve")
    server = _server(folder, settings, IOLoop(), gate)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.serve_forever(timeout=_POLL_S, blocking=False, handle_exit=False)

    thread = threading.Thread(target=serve, name="ftp", daemon=True)
    thread.start()
    try:
        yield server.address[1]
    finally:
        stop.set()
        thread.join()
        server.close_all()


def _server(folder: Path, settings: FtpSettings, loop: IOLoop, gate: Gate | None) -> FTPServer:
    authorizer = _Doorkeeper(gate)
    authorizer.add_anonymous(os.path.realpath(folder), perm="elr")
    # pyftpdlib configures by class attributes: classes of its own for each server.
    transfer = type("_Transfer", (DTPHandler,), {"timeout": _IDLE_S})
    handler = type(
        "_Session",
        (_Session,),
        {
            "authorizer": authorizer,
            "dtp_handler": transfer,
            "passive_ports": settings.passive_ports,
            "masquerade_address": settings.masquerade_address,
            "gate": gate,
        },
    )
    try:
        server = FTPServer((settings.host, settings.port), handler, ioloop=loop)
    except OSError as e:
        reason = e.strerror or str(e)
        raise TemporaryError(f"cannot listen on {settings.host}:{settings.port}: {reason}") from e
    # Of sockets: one listens, and each session may have one more for its data.
    server.max_cons = 1 + 2 * settings.connections
    server.max_cons_per_ip = settings.connections_per_client
    return server


class _Doorkeeper(DummyAuthorizer):  # type: ignore[misc]  # pyftpdlib is not typed
    """Lets in everybody as anonymous, and who has a license by it; both see the same folder."""

    def __init__(self, gate: Gate | None) -> None:
        super().__init__()
        self._gate = gate

    def validate_authentication(self, username: str, password: str, handler: "_Session") -> None:
        """See DummyAuthorizer."""
        if self._gate is None or not _is_license(username):
            super().validate_authentication(username, password, handler)
            return
        refusal = self._gate.login(_visitor(username, password, handler.remote_ip))
        if refusal is not None:
            raise AuthenticationFailed(refusal.text)

    def has_user(self, username: str) -> bool:
        """See DummyAuthorizer; so the next ones."""
        return bool(super().has_user(self._account(username)))

    def get_home_dir(self, username: str) -> str:
        """The same folder for all."""
        return str(super().get_home_dir(self._account(username)))

    def has_perm(self, username: str, perm: str, path: str | None = None) -> bool:
        """Reading, for all."""
        return bool(super().has_perm(self._account(username), perm, path))

    def get_perms(self, username: str) -> str:
        """Reading, for all."""
        return str(super().get_perms(self._account(username)))

    def get_msg_login(self, username: str) -> str:
        """The greeting."""
        return str(super().get_msg_login(self._account(username)))

    def get_msg_quit(self, username: str) -> str:
        """The farewell."""
        return str(super().get_msg_quit(self._account(username)))

    def _account(self, username: str) -> str:
        return "anonymous" if self._gate is not None and _is_license(username) else username


def _is_license(username: str) -> bool:
    return username.partition(".")[0] == "license"


def _visitor(username: str, password: str, address: str) -> Visitor:
    if not _is_license(username):
        return Visitor(address=address)
    return Visitor(password, username.partition(".")[2], address)


class _PublicFolder(AbstractedFS):  # type: ignore[misc]  # pyftpdlib is not typed
    """Files as they are; names that begin with a dot are files still being written."""

    def validpath(self, path: str) -> bool:
        """Whether a client may see it: below the folder, links followed."""
        pieces = os.path.relpath(path, self.root).split(os.sep)
        hidden = any(piece.startswith(".") for piece in pieces if piece != ".")
        return not hidden and bool(super().validpath(path))

    def open(self, filename: str, mode: str) -> IO[bytes]:
        """See AbstractedFS; what asks for a license is not opened without."""
        session = self.cmd_channel
        if session.gate is not None:
            visitor = _visitor(session.username, session.password, session.remote_ip)
            refusal = session.gate.refusal(os.path.relpath(filename, self.root), visitor)
            if refusal is not None:
                raise FilesystemError(refusal.text)
        opened: IO[bytes] = super().open(filename, mode)
        return opened

    def listdir(self, path: str) -> list[str]:
        """See AbstractedFS."""
        return [name for name in super().listdir(path) if not name.startswith(".")]


class _Session(FTPHandler):  # type: ignore[misc]  # pyftpdlib is not typed
    """One client."""

    gate: Gate | None = None
    banner = "Definitions; anonymous or with a license, reading only."
    timeout = _IDLE_S
    max_login_attempts = 1
    abstracted_fs = _PublicFolder
    proto_cmds = {k: v for k, v in FTPHandler.proto_cmds.items() if k in _COMMANDS}  # noqa: RUF012 (pyftpdlib's name)

    def on_login_failed(self, username: str, password: str) -> None:
        """A hook of pyftpdlib's. What was typed as a password is not logged (S15)."""
        log.info("ftp login refused", client=self.remote_ip)

    def on_file_sent(self, file: str) -> None:
        """A hook of pyftpdlib's."""
        self._log(file, whole=True)

    def on_incomplete_file_sent(self, file: str) -> None:
        """A hook of pyftpdlib's."""
        self._log(file, whole=False)

    def _log(self, file: str, *, whole: bool) -> None:
        channel = self.data_channel
        log.info(
            "ftp transfer",
            client=self.remote_ip,
            path=self.fs.fs2ftp(file),
            bytes=channel.get_transmitted_bytes() if channel else 0,
            whole=whole,
        )
