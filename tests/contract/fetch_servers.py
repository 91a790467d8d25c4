"""Real servers of a folder, for tests of fetching: HTTP with and without ranges, FTP, FTPS."""

import contextlib
import datetime
import functools
import http.server
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

VSFTPD = shutil.which("vsftpd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Ranges(_Quiet):
    """The one kind of range that matters here: from a byte on."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        asked = self.headers.get("Range", "")
        if not asked or not path.is_file():
            return super().do_GET()
        content, start = path.read_bytes(), int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])
        return None


class _Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def web(
    folder: Path,
    *,
    ranges: bool = False,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """An HTTP server; its port."""
    handler = functools.partial(_Ranges if ranges else _Quiet, directory=str(folder))
    kind = _Server6 if ":" in host else http.server.ThreadingHTTPServer
    with kind((host, 0), handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def ftp(folder: Path, login: tuple[str, str] | None = None, **options: Any) -> Iterator[int]:
    """pyftpdlib, anonymous unless there is a login; its port. ``options``: the handler's."""
    authorizer = DummyAuthorizer()
    if login is None:
        authorizer.add_anonymous(str(folder))
    else:
        authorizer.add_user(*login, str(folder))
    handler = type("_Handler", (FTPHandler,), {"authorizer": authorizer, **options})
    server = FTPServer(("127.0.0.1", 0), handler, ioloop=IOLoop())
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.serve_forever(timeout=0.02, blocking=False, handle_exit=False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.address[1]
    finally:
        stop.set()
        thread.join()
        server.close_all()


@contextlib.contextmanager
def vsftpd(folder: Path, scratch: Path, certificate: Path | None = None) -> Iterator[int]:
    """vsftpd as it comes, anonymous; skipped loudly where it is not installed."""
    if VSFTPD is None:
        pytest.skip("vsftpd is not installed: apt-get install vsftpd")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [
        "listen=YES",
        "listen_address=127.0.0.1",
        f"listen_port={port}",
        "background=NO",
        "anonymous_enable=YES",
        "run_as_launching_user=YES",
        "one_process_model=NO",
        f"anon_root={folder}",
        f"secure_chroot_dir={scratch}",
        "seccomp_sandbox=NO",
    ]
    if certificate is not None:
        lines += [
            "ssl_enable=YES",
            "allow_anon_ssl=YES",
            "force_anon_data_ssl=YES",
            "force_anon_logins_ssl=YES",
            "ssl_tlsv1=YES",
            "ssl_ciphers=HIGH",
            f"rsa_cert_file={certificate}",
        ]
    config = scratch / "vsftpd.conf"
    config.write_text("\n".join([*lines, ""]), encoding="utf-8")
    with subprocess.Popen(
        [VSFTPD, config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as run:
        try:
            until = time.monotonic() + 10
            while not _answers(port):
                if run.poll() is not None or time.monotonic() > until:
                    pytest.skip(f"vsftpd does not start here: {run.stdout and run.stdout.read()!r}")
            yield port
        finally:
            run.terminate()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


def certificate(folder: Path, *names: str) -> Path:
    """A self-signed certificate for these names (or 127.0.0.1 and localhost), with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    other: list[x509.GeneralName] = [x509.DNSName(name) for name in names or ("localhost",)]
    if not names:
        other.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(other), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{names[0] if names else 'local'}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_tls(certificate: Path, *, clients: Path | None = None) -> ssl.SSLContext:
    """A server's side; ``clients``: the certificates that it insists on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
