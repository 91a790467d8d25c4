"""The process that workers are forked from: it has imported what they need, so that they share it.

``python -m mailward.scan.forking FD ENGINES SETTINGS``: a connected socket that keeps what is sent
apart (SOCK_SEQPACKET), ``module:callable`` that gives the engines, and the scan settings as JSON.
Started by ``worker_parent``. It handles no hostile content and knows nothing of mail or sets::

    in    N              with a socket: fork a worker that serves it; N is how it is called here
          N              without one: kill it
    out   started N      it runs
          refused N WHY  the system has no process for it
          ended N CODE   as ``subprocess`` counts: negative for signals

It ends when the socket does, and its workers end with it: nobody would hear of them any more.
"""

import contextlib
import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from importlib.util import find_spec

from mailward.scan import worker
from mailward.scan.sandbox import end_with
from mailward.settings.scan import ScanSettings

MESSAGE_MAX_BYTES = 4096
LATER = (
    "msoffcrypto.format.doc97",
    "msoffcrypto.format.ooxml",
    "msoffcrypto.format.ppt97",
    "msoffcrypto.format.xls97",
)
"""What parsers import when the first message asks for it: 6 MB in each worker if it is not here."""


class Parent:
    """Forks workers, and tells what becomes of them."""

    def __init__(self, control: socket.socket, engines: str, settings: ScanSettings) -> None:
        self._control = control
        self._engines = engines
        self._settings = settings
        self._names: dict[int, str] = {}
        """Of the workers that are not waited for yet, by process."""
        self._own: tuple[int, int]
        """What wakes it; no worker's."""

    def serve(self) -> None:
        """Until the other side is gone."""
        woken, wakes = self._own = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if woken in ready:
                os.read(woken, MESSAGE_MAX_BYTES)
                self._tell_ended()
            if self._control.fileno() in ready and not self._take():
                return

    def _take(self) -> bool:
        """One request; False at the end."""
        raw, sockets, _, _ = socket.recv_fds(self._control, MESSAGE_MAX_BYTES, 1)
        name = raw.decode()
        if not name:
            return False
        if sockets:
            self._fork(name, socket.socket(fileno=sockets[0]))
        else:
            for pid in [pid for pid, known in self._names.items() if known == name]:
                os.kill(pid, signal.SIGKILL)  # it was not waited for: the process is still this one
        return True

    def _fork(self, name: str, connection: socket.socket) -> None:
        parent = os.getpid()
        with connection:
            try:
                pid = os.fork()
            except OSError as e:
                self._tell(f"refused {name} {e.strerror}")
                return
            if not pid:
                self._be_worker(parent, connection)
        self._names[pid] = name
        self._tell(f"started {name}")

    def _be_worker(self, parent: int, connection: socket.socket) -> None:
        """Never returns."""
        status = 1
        try:
            if end_with(parent):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for fd in self._own:
                    os.close(fd)
                self._control.close()
                worker.run(connection, engines(self._engines), self._settings)
                status = 0
        except BaseException:  # noqa: BLE001 (the end of a process, and what is seen of it)
            traceback.print_exc()
        finally:
            os._exit(status)

    def _tell_ended(self) -> None:
        while self._names:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._tell(f"ended {self._names.pop(pid)} {os.waitstatus_to_exitcode(status)}")

    def _tell(self, what: str) -> None:
        with contextlib.suppress(ConnectionError):  # then the end is read next
            self._control.send(what.encode())


def engines(where: str) -> worker.Engines:
    """What ``module:callable`` gives."""
    module, _, name = where.partition(":")
    made: worker.Engines = getattr(importlib.import_module(module), name)()
    return made


def main(fd: int, where: str, settings: str) -> None:
    """See the module."""
    # Signals to the whole group are for the pool, which lets workers finish what they have begun.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    limits = ScanSettings.model_validate_json(settings)
    engines(where)
    if limits.workers > 1:  # a single one would share it with nobody
        for name in LATER:
            if find_spec(name) is not None:
                importlib.import_module(name)
    worker.set_allocator()
    worker.tidy()
    gc.freeze()  # what is imported is never garbage; and looking through it would unshare it
    with socket.socket(fileno=fd) as control:
        Parent(control, where, limits).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
