"""What a process that handles hostile content gives up, as far as the kernel has it: for good.

Trials and workers call ``confine`` before they touch anything. It needs neither root nor a helper;
what a kernel lacks is said and shown, and work goes on without it (docs/decisions/sandbox.md).
"""

import ctypes
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailward.scan import landlock, seccomp

NONE = "none"

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
"""prctl(2)."""
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


@dataclass(frozen=True, slots=True)
class Confinement:
    """What keeps a process from doing harm: the kernel's means by name, or ``none``."""

    network: str
    """No connections in or out."""
    files: str
    """Nothing is written outside of the work folder."""
    processes: str
    """No other program is started, no other process touched."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What the kernel could not give."""
        parts = {"network": self.network, "files": self.files, "processes": self.processes}
        return tuple(name for name, means in parts.items() if means == NONE)


def end_with(parent: int) -> bool:
    """Have the kernel kill this process when its ``parent`` ends; False if it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def supported() -> Confinement:
    """What ``confine`` would find on this computer, without doing it; for ``status``."""
    filtered = "seccomp" if seccomp.available() else NONE
    version = landlock.abi()
    network = filtered
    if filtered == NONE and version >= 4:
        network = f"landlock {version}"  # a network namespace shows only when it is tried
    return Confinement(network, f"landlock {version}" if version else NONE, filtered)


def confine(writable: Sequence[Path] = ()) -> Confinement:
    """Give up the network, other processes, and writing outside of the folders ``writable``.

    Files that are open stay usable: the process keeps its pipes and sockets. Call it before threads
    are started; Landlock binds only the calling thread and what that starts. Raises OSError if one
    of ``writable`` is not there.
    """
    for folder in writable:
        os.stat(folder)
    _no_new_privileges()
    files = _restrict_files(writable)
    try:
        seccomp.install()
    except OSError:
        network = _network_namespace()
        if network == NONE and landlock.abi() >= 4:
            network = files  # TCP at least
        return Confinement(network=network, files=files, processes=NONE)
    return Confinement(network="seccomp", files=files, processes="seccomp")


def _no_new_privileges() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # fails only before Linux 3.5


def _restrict_files(writable: Sequence[Path]) -> str:
    try:
        return f"landlock {landlock.restrict(writable)}"
    except OSError:
        return NONE


def _network_namespace() -> str:
    """An empty network of its own, where users may have one."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return NONE
    return "network namespace"
