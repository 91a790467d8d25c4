"""Sockets of doors: an address with port, or the path of a Unix socket.

A socket that this process was started with is used instead of a new one: systemd opens sockets for
services (sd_listen_fds(3)), which then need no privilege for port 25 and lose no connection while
they restart. So is one that another door of this process still has open on the same address: on a
reload the new door takes over from the old one, and what waits in the queue is lost to neither.
"""

import contextlib
import functools
import os
import shutil
import socket
import stat
from collections.abc import Iterable

from mailward.doors.next_hop import split_address
from mailward.errors import ConfigError

_BACKLOG = 1024
_FIRST_INHERITED_FD = 3
"""SD_LISTEN_FDS_START."""

_open: dict[tuple[str, str], list[socket.socket]] = {}
"""What listens in this process, by door (its key) and address as configured."""


def listen(
    address: str, key: str, *, mode: str = "660", group: str = "", reuse_port: bool = False
) -> socket.socket:
    """A listening socket that does not block. Raises ConfigError, which names ``key``.

    ``reuse_port``: other processes may listen there as well, and the kernel deals out connections.
    A Unix socket that nobody answers on was left by a process that was killed: it is replaced.
    """
    try:
        made = _from_before(key, address) or (
            _unix(address, mode, group)
            if address.startswith("/")
            else _inet(address, reuse_port=reuse_port)
        )
    except (OSError, LookupError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else e
        raise ConfigError(f"{key}: cannot listen on {address}: {why}") from e
    _open.setdefault((key, address), []).append(made)
    return made


def listen_all(
    addresses: Iterable[str], key: str, *, mode: str, group: str, reuse_port: bool
) -> list[socket.socket]:
    """As ``listen``, all of them or none."""
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            opened.append(  # noqa: PERF401 (on failure those that are open are closed)
                listen(address, key, mode=mode, group=group, reuse_port=reuse_port)
            )
    except BaseException:
        for each in opened:
            close(each)
        raise
    return opened


def port(listening: socket.socket) -> int:
    """The port that was given when 0 was asked for; 0 for Unix sockets."""
    return 0 if listening.family == socket.AF_UNIX else int(listening.getsockname()[1])


def close(listening: socket.socket) -> None:
    """Stop listening; the path of a Unix socket goes with the last of its doors, if it is ours."""
    for door, sharing in list(_open.items()):
        if listening in sharing:
            sharing.remove(listening)
            if not sharing:
                del _open[door]
                if listening.family == socket.AF_UNIX and door[1] not in _inherited():
                    _remove(door[1])
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


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _from_before(key: str, address: str) -> socket.socket | None:
    """One that listens there already, to be shared; each port 0 is another port."""
    if address.endswith(":0"):
        return None
    sharing = _open.get((key, address))
    known = sharing[0] if sharing else _inherited().get(_where(address))
    return known.dup() if known is not None else None


@functools.cache
def _inherited() -> dict[str, socket.socket]:
    """What systemd, or who speaks like it, has opened for this process; by address."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    found = {}
    for fd in range(_FIRST_INHERITED_FD, _FIRST_INHERITED_FD + count):
        os.set_inheritable(fd, False)  # workers are not to listen
        given = socket.socket(fileno=fd)
        given.setblocking(False)
        found[_named(given.getsockname())] = given
    return found


def _where(address: str) -> str:
    """As the kernel names it."""
    if address.startswith("/"):
        return address
    host, number = split_address(address)
    *_, where = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    return _named(where)


def _named(where: object) -> str:
    """An address as sockets give it: a path, or host, port and, for IPv6, two more."""
    return f"{where[0]}:{where[1]}" if isinstance(where, tuple) else str(where)


def _inet(address: str, *, reuse_port: bool) -> socket.socket:
    host, number = split_address(address)
    family, kind, protocol, _, where = socket.getaddrinfo(
        host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    if reuse_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return _bound(made, where)


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
        listening.close()
        _remove(path)
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
