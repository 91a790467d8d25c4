"""Containers that tests build and sign themselves, and a web server that does as it is told."""

import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mailward.publish.feeds.clamav_signature import Keys, PublicKey
from mailward.publish.home import Home

_ALPHABET = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"


class Signer:
    """Signs as ClamAV does, with keys of its own."""

    def __init__(self) -> None:
        self._payload = rsa.generate_private_key(65537, 1024).private_numbers()
        self._members = rsa.generate_private_key(65537, 2048).private_numbers()
        self.keys = Keys(_public(self._payload), _public(self._members))

    def payload(self, md5: str) -> bytes:
        return self.raw(int(md5, 16))

    def raw(self, number: int) -> bytes:
        """A signature over any number."""
        return _digits(pow(number, self._payload.d, self._payload.public_numbers.n))

    def members(self, listed: bytes, *, salt_bytes: int = 32) -> bytes:
        salt = os.urandom(salt_bytes)
        digest = hashlib.sha256(bytes(8) + hashlib.sha256(listed).digest() + salt).digest()
        block = (b"\x01" + salt).rjust(256 - 33, b"\0")
        mask = b"".join(hashlib.sha256(digest + n.to_bytes(4, "big")).digest() for n in range(7))[
            : len(block)
        ]
        masked = bytearray(one ^ other for one, other in zip(block, mask, strict=True))
        masked[0] &= 0x7F
        encoded = int.from_bytes(bytes(masked) + digest + b"\xbc", "big")
        return _digits(pow(encoded, self._members.d, self._members.public_numbers.n))


def _public(numbers: rsa.RSAPrivateNumbers) -> PublicKey:
    return PublicKey(numbers.public_numbers.n, numbers.public_numbers.e)


def _digits(number: int) -> bytes:
    out = bytearray()
    while number:
        out.append(_ALPHABET[number & 63])
        number >>= 6
    return bytes(out)


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Maker:
    """Makes containers; what is not said is as it should be."""

    signer: Signer

    def __call__(
        self,
        members: dict[str, bytes],
        *,
        version: int = 7,
        count: int | None = None,
        payload: bytes | None = None,
        md5: str | None = None,
        signature: bytes | None = None,
        info: bytes | None = b"",
        compress: bool = True,
        header: bytes | None = None,
    ) -> bytes:
        """``info`` b"": made and signed; None: none. ``md5``, ``signature`` "X": not given."""
        if count is None:
            count = sum(content.count(b"\n") for content in members.values())
        about = f"ClamAV-VDB:23 Nov 2026 10-00 +0000:{version}:{count}:90:%s:tests:1795428000"
        if info == b"":
            info = self.info(members, about % "X:X")
        if payload is None:
            inside = {"COPYING": b"a licence\n", **members}
            payload = tar_of(inside | ({} if info is None else {"main.info": info}))
            payload = gzip.compress(payload, mtime=0) if compress else payload
        if md5 is None:
            md5 = hashlib.md5(payload).hexdigest()
        if signature is None:
            signature = b"X" if md5 == "X" else self.signer.payload(md5)
        if header is None:
            header = (about % f"{md5}:{signature.decode()}").encode()
        return header.ljust(512) + payload

    def info(self, members: dict[str, bytes], first_line: str, *, sign: bool = True) -> bytes:
        lines = [
            f"{name}:{len(content)}:{hashlib.sha256(content).hexdigest()}"
            for name, content in members.items()
        ]
        listed = "".join(f"{line}\n" for line in [first_line, *lines]).encode()
        return listed + (b"DSIG:" + self.signer.members(listed) + b"\n" if sign else b"")


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def container(signer: Signer) -> Maker:
    return Maker(signer)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "publisher")


@dataclass
class Web:
    """A server of one address: what it says next, and what it was asked."""

    address: str = ""
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def give(self, body: bytes, **headers: str) -> None:
        self.status, self.body = 200, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def web() -> Iterator[Web]:
    """It answers 304 by itself to who has its ETag."""
    web = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(dict(self.headers))
            etag = web.headers.get("ETag")
            same = web.status == 200 and etag and self.headers.get("If-None-Match") == etag
            body = b"" if same else web.body
            self.send_response(304 if same else web.status)
            for name, value in web.headers.items():
                self.send_header(name, value)
            if not same:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web.address = f"http://127.0.0.1:{server.server_address[1]}/list.txt"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield web
        server.shutdown()
        thread.join()


@pytest.fixture
def hashes() -> Callable[[int], bytes]:
    """That many different hashes, a line each."""
    return lambda count: b"".join(b"%032x:5:Test.%d\n" % (n + 1, n) for n in range(count))
