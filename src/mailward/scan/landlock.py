"""Which files a confined process may change, and that it has no TCP: Landlock (Linux 5.13).

What the kernel knows of it is its ABI, a number that grows: 4 (Linux 6.7) has TCP, 6 (6.12) signals
and abstract sockets. Formats: ``linux/landlock.h``, landlock(7).
"""

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every processor
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI = (1 << 13) - 1
_READ = _READ_FILE | _READ_DIR
_CHANGE = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
"""Regular files and folders: no links, sockets, pipes or devices for somebody else to open."""

_NO_TCP = 0b11
_NO_SIGNALS_NO_ABSTRACT_SOCKETS = 0b11


def abi() -> int:
    """What this kernel offers; 0: nothing."""
    offered: int = _library().syscall(ctypes.c_long(_CREATE_RULESET), None, 0, _VERSION_FLAG)
    return max(0, offered)


def restrict(writable: Sequence[Path]) -> int:
    """Let this thread and what it starts change only what is below ``writable``; reading stays.

    For good. Returns the ABI in force. Raises OSError, also if one of ``writable`` is not there.
    Needs ``PR_SET_NO_NEW_PRIVS`` to be set. Files that are open stay as they are.
    """
    version = abi()
    handled = _FIRST_ABI
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    handled |= _IOCTL_DEV if version >= 5 else 0
    attributes = struct.pack("=Q", handled)
    if version >= 4:
        attributes += struct.pack("=Q", _NO_TCP)
    if version >= 6:
        attributes += struct.pack("=Q", _NO_SIGNALS_NO_ABSTRACT_SOCKETS)
    rules = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        _allow(rules, Path("/"), _READ)
        for folder in writable:
            _allow(rules, folder, (_READ | _CHANGE) & handled)
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return version


def _allow(rules: int, folder: Path, rights: int) -> None:
    beneath = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0)
    finally:
        os.close(beneath)


def _call(number: int, *arguments: int | bytes) -> int:
    result: int = _library().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library
