"""``ftp://`` and ``ftps://`` (RFC 959, RFC 3659, explicit TLS as in RFC 4217) on ftplib, bounded.

Paths are below the folder that one is in after the login; ``//`` begins an absolute one.
"""

import contextlib
import ftplib
import socket
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from mailward.errors import FetchError
from mailward.fetch import Login, Watchdog, bounded, read_login
from mailward.settings.update import UpdateSettings
from mailward.update.fetch.base import CHUNK_BYTES, Bearer, NotResumableError, NotThereError
from mailward.update.fetch.http import limits, route

_ERRORS: tuple[type[Exception], ...] = (*ftplib.all_errors, ValueError, OverflowError)
"""What ftplib raises; the last two for answers that make no sense."""

_ANONYMOUS = Login("anonymous", "mailward@")


class FtpFetcher:
    """See Fetcher. One session a thread at a time; idle ones are used again."""

    def __init__(self, settings: UpdateSettings) -> None:
        self._settings = settings
        self._limits = limits(settings)
        self._login = read_login(settings.ftp_login, "update.ftp_login") or _ANONYMOUS
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[str, list[_Session]] = {}
        self._lock = threading.Lock()
        self.bytes_received = 0
        self.requests = 0

    def fetch(self, url: str, max_bytes: int, start: int = 0) -> Iterator[bytes]:
        """See Fetcher.fetch."""
        path = _path_of(url)
        with self._lock:
            self.requests += 1
        with Watchdog(url, self._limits) as watchdog:
            try:
                yield from self._fetch(url, path, max_bytes, start, watchdog)
            except _ERRORS as e:
                watchdog.require_time()
                raise _in_our_words(url, e) from e

    def present(self, bearer: Bearer) -> None:
        """See Fetcher.present; by logging in anew. ``update.ftp_login`` goes before it."""
        if self._settings.ftp_login is None:
            self.close()
            self._login = Login(f"license.{bearer.installation}", bearer.token)

    def close(self) -> None:
        """See Fetcher.close."""
        with self._lock:
            for sessions in self._idle.values():
                while sessions:
                    sessions.pop().close()

    def _fetch(
        self, url: str, path: str, max_bytes: int, start: int, watchdog: Watchdog
    ) -> Iterator[bytes]:
        ftp = self._session(url, watchdog)
        try:
            size = _size(ftp, path)
            if size is not None and size < start:
                raise NotResumableError(f"{url}: has less than the {start} bytes we have")
            with _transfer(ftp, url, path, start) as data:
                yield from bounded(
                    self._read(data),
                    url,
                    self._limits,
                    max_bytes - start,
                    watchdog,
                    announced=None if size is None else size - start,
                )
            ftp.voidresp()
        except ftplib.error_perm:
            self._keep(url, ftp)  # the server has answered: the session is in order
            raise
        except BaseException:
            ftp.close()  # in the middle of something; also when nobody wants the rest
            raise
        self._keep(url, ftp)

    def _read(self, data: socket.socket) -> Iterator[bytes]:
        while chunk := data.recv(CHUNK_BYTES):
            with self._lock:
                self.bytes_received += len(chunk)
            yield chunk
        if isinstance(data, ssl.SSLSocket):
            with contextlib.suppress(OSError):  # many servers just hang up; the size was checked
                data.unwrap()

    def _session(self, url: str, watchdog: Watchdog) -> "_Session":
        """An idle session that still answers, otherwise a new one."""
        site = _site_of(url)
        while True:
            with self._lock:
                idle = self._idle.get(site)
                ftp = idle.pop() if idle else None
            if ftp is None:
                return self._connect(url, watchdog)
            ftp.watchdog = watchdog
            try:
                ftp.voidcmd("TYPE I")
            except _ERRORS:
                ftp.close()
                watchdog.require_time()
                continue
            return ftp

    def _connect(self, url: str, watchdog: Watchdog) -> "_Session":
        pieces = urlsplit(url)
        secure = pieces.scheme == "ftps"
        ftp = _TlsSession(context=self._context()) if secure else _Session()
        ftp.watchdog = watchdog
        try:
            ftp.connect(pieces.hostname or "", pieces.port or 21, self._settings.timeout_s)
            ftp.login(self._login.user, self._login.password)
            if isinstance(ftp, _TlsSession):
                ftp.prot_p()
            ftp.set_pasv(self._settings.ftp_passive)
            ftp.voidcmd("TYPE I")
        except BaseException:
            ftp.close()
            raise
        return ftp

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            self._tls = self._tls or route(self._settings).tls()
            return self._tls

    def _keep(self, url: str, ftp: "_Session") -> None:
        ftp.watchdog = None
        with self._lock:
            self._idle.setdefault(_site_of(url), []).append(ftp)


class _Session(ftplib.FTP):
    """Tells the watchdog of its connections before it waits for them."""

    watchdog: Watchdog | None = None

    def getresp(self) -> str:
        """See ftplib."""
        if self.sock is None:
            raise EOFError
        self._guard(self.sock)
        return super().getresp()

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """See ftplib."""
        data, size = super().ntransfercmd(cmd, rest)
        self._guard(data)
        return data, size

    def _guard(self, connection: socket.socket) -> None:
        if self.watchdog is not None:
            self.watchdog.guard(connection)


class _TlsSession(_Session, ftplib.FTP_TLS):
    """Data connections carry on the control connection's TLS session, as vsftpd insists."""

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """See ftplib."""
        data, size = super(ftplib.FTP_TLS, self).ntransfercmd(cmd, rest)  # the one without TLS
        self._guard(data)
        control = self.sock
        try:
            if isinstance(control, ssl.SSLSocket):
                data = self.context.wrap_socket(
                    data, server_hostname=self.host, session=control.session
                )
        except BaseException:
            data.close()
            raise
        return data, size


def _size(ftp: ftplib.FTP, path: str) -> int | None:
    """None if the server does not tell sizes. Raises when it says that there is no such file."""
    try:
        return ftp.size(path)
    except ftplib.error_perm as e:
        if str(e).startswith(("500", "502", "504")):
            return None
        raise


def _transfer(ftp: ftplib.FTP, url: str, path: str, start: int) -> socket.socket:
    try:
        return ftp.transfercmd(f"RETR {path}", rest=start or None)
    except ftplib.error_perm as e:
        if start and not str(e).startswith("550"):
            raise NotResumableError(f"{url}: {e}") from e
        raise


def _site_of(url: str) -> str:
    pieces = urlsplit(url)
    return f"{pieces.scheme}://{pieces.netloc}"


def _path_of(url: str) -> str:
    path = unquote(urlsplit(url).path).removeprefix("/")
    if not path or any(character in path for character in "\r\n\0"):
        raise FetchError(f"{url}: not a path that FTP can ask for")
    return path


def _in_our_words(url: str, error: BaseException) -> FetchError:
    said = str(error)[:300] or type(error).__name__
    if isinstance(error, ftplib.error_perm):
        if said.startswith("550"):
            return NotThereError(f"{url}: the server says {said}", 404)
        if said.startswith("530"):
            return FetchError(
                f"{url}: the server refuses the login (update.ftp_login, license): {said}"
            )
    if isinstance(error, ssl.SSLError):
        return FetchError(f"{url}: no trust in the connection (update.ca_file): {said}")
    if isinstance(error, EOFError):
        return FetchError(f"{url}: the server hung up")
    if isinstance(error, ftplib.Error):
        return FetchError(f"{url}: the server says {said}")
    if isinstance(error, ValueError | OverflowError):
        return FetchError(f"{url}: the server's answer makes no sense: {said}")
    return FetchError(f"{url}: {said}")
