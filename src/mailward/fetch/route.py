"""The way to a server: through which proxy, and who is trusted and shown in TLS."""

import os
import ssl
import stat
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mailward.errors import ConfigError

_LOGIN_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password."""

    user: str
    password: str = field(repr=False)  # S15


@dataclass(frozen=True, slots=True)
class Route:
    """How to get to a server. The default: as the environment says, with the system's CAs."""

    proxy: str = ""
    """``http://host:port``; empty: as ``http_proxy``, ``https_proxy`` and ``no_proxy`` say."""
    proxy_login: Path | None = None
    ca_file: Path | None = None
    """Trusted in place of the system's certificate authorities."""
    client_cert: Path | None = None
    client_key: Path | None = None
    section: str = ""
    """Of the settings that these come from, for messages; empty: no settings."""

    def tls(self) -> ssl.SSLContext:
        """What is trusted and shown. Raises ConfigError, naming the key."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as e:
            raise ConfigError(f"{self.section}.ca_file {self.ca_file}: {_why(e)}") from e
        if self.client_cert is None:
            return context
        try:
            # An encrypted key would make OpenSSL ask on the terminal: an empty password fails.
            context.load_cert_chain(self.client_cert, self.client_key, password=lambda: b"")
        except OSError as e:
            raise ConfigError(
                f"{self.section}.client_cert {self.client_cert} with {self.section}.client_key "
                f"{self.client_key or 'not set'}: {_why(e)}"
            ) from e
        return context

    def proxy_for(self, url: str) -> tuple[str, Login | None]:
        """The proxy's address without a login, and the login; ``""``: go there directly.

        Raises ConfigError when the address cannot be one.
        """
        if self.proxy:
            login = read_login(self.proxy_login, f"{self.section}.proxy_login")
            return _proxy(self.proxy, f"{self.section}.proxy")[0], login
        pieces = urlsplit(url)
        named = urllib.request.getproxies()
        address = named.get(pieces.scheme) or named.get("all", "")
        if not address or urllib.request.proxy_bypass(pieces.netloc):
            return "", None
        return _proxy(address, f"{pieces.scheme}_proxy in the environment")


def read_login(path: Path | None, key: str) -> Login | None:
    """A file's one line ``user:password``; None without a path. Raises ConfigError.

    Nobody but the owner may read it, and nothing of it appears in a message (S15).
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.read(_LOGIN_MAX_BYTES)
    except OSError as e:
        raise ConfigError(f"{key} {path}: {e.strerror}") from e
    if stat.S_IMODE(mode) & 0o077:  # S15
        raise ConfigError(f"{key} {path}: others may read it; run: chmod 600 {path}")
    try:
        user, colon, password = line.decode().rstrip("\r\n").partition(":")
    except UnicodeDecodeError:
        user = colon = password = ""  # the error would quote the content
    if not user or not colon or not (user + password).isprintable():
        raise ConfigError(f"{key} {path}: expected one line: user:password")
    return Login(user, password)


def _proxy(address: str, key: str) -> tuple[str, Login | None]:
    """Takes an address apart. What is wrong with it is said without it: it may hold a password."""
    try:
        pieces = urlsplit(address if "://" in address else f"http://{address}")
        host, port = pieces.hostname, pieces.port
    except ValueError:
        host = None
    if not host or pieces.scheme not in ("http", "https"):
        raise ConfigError(f"{key}: expected an address such as http://proxy.example:3128")
    port = port or (443 if pieces.scheme == "https" else 80)
    login = None
    if pieces.username:
        login = Login(unquote(pieces.username), unquote(pieces.password or ""))
    return f"{pieces.scheme}://{f'[{host}]' if ':' in host else host}:{port}", login


def _why(error: OSError) -> str:
    return error.strerror or str(error)
