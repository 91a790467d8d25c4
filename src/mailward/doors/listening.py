"""Sockets of doors: an address with port, or the path of a Unix socket."""

import contextlib
import os
import shutil
import socket
import stat

from mailward.doors.next_hop import split_address
from mailward.errors import ConfigError

_BACKLOG = 1024


def listen(address: str, key: str, *, mode: str = "660", group: str = "") -> socket.socket:
    """A listening socket that does not block. Raises ConfigError, which names ``key``.

    A Unix socket that nobody answers on was left by a process that was killed: it is replaced.
    """
    try:
        return _unix(address, mode, group) if address.startswith("/") else _inet(address)
    except (OSError, LookupError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else e
        raise ConfigError(f"{key}: cannot listen on {address}: {why}") from e


def port(listening: socket.socket) -> int:
    """The port that was given when 0 was asked for; 0 for Unix sockets."""
    return 0 if listening.family == socket.AF_UNIX else int(listening.getsockname()[1])


def close(listening: socket.socket) -> None:
    """Stop listening; the path of a Unix socket goes as well, if it is still ours."""
    if listening.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):
            os.unlink(listening.getsockname())
    listening.close()


def connect(address: str, timeout_s: float) -> socket.socket:
    """A connection to what listens there. Raises OSError."""
    if not address.startswith("/"):
        return socket.create_connection(split_address(address), timeout_s)
    client = socket.socket(socket.AF_UNIX)
    try:
        client.settimeout(timeout_s)
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def _inet(address: str) -> socket.socket:
    host, number = split_address(address)
    family, kind, protocol, _, where = socket.getaddrinfo(
        host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return _bound(socket.socket(family, kind, protocol), where)


def _unix(path: str, mode: str, group: str) -> socket.socket:
    _remove_stale(path)
    mask = os.umask(0o177)  # nobody gets in before mode and group are as they should be
    try:
        listening = _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)
    finally:
        os.umask(mask)
    try:
        if group:
            shutil.chown(path, group=group)
        os.chmod(path, int(mode, 8))
    except BaseException:
        close(listening)
        raise
    return listening


def _bound(made: socket.socket, where: object) -> socket.socket:
    try:
        if made.family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(where)  # type: ignore[arg-type]  # as getaddrinfo gave it
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(0, "there is something else of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(0, "somebody answers there already")
