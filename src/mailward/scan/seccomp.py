"""Which system calls a confined process may make: a seccomp filter as classic BPF (Linux 3.17).

The list names what is denied, not what is allowed: engines are compiled libraries that differ from
release to release, and one that is refused a harmless call stops the mail. The answer is EPERM,
because libraries probe; to calls newer than this list ENOSYS, as of an older kernel.

Numbers: ``asm/unistd_64.h`` (x86-64) and ``asm-generic/unistd.h`` (aarch64). Formats:
``linux/filter.h``, ``linux/seccomp.h``, seccomp(2).
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass

_NETWORK = """
    socket 41 198  socketpair 53 199  connect 42 203  bind 49 200  listen 50 201
    accept 43 202  accept4 288 242
"""
_PROGRAMS = """
    fork 57 -  vfork 58 -  execve 59 221  execveat 322 281
"""
_OTHER_PROCESSES = """
    ptrace 101 117  process_vm_readv 310 270  process_vm_writev 311 271  process_madvise 440 440
    pidfd_open 434 434  pidfd_getfd 438 438  pidfd_send_signal 424 424  kcmp 312 272
    tkill 200 130  rt_sigqueueinfo 129 138  rt_tgsigqueueinfo 297 240
    shmget 29 194  msgget 68 186  semget 64 190  mq_open 240 180
"""
_FILE_ATTRIBUTES = """
    chmod 90 -  fchmod 91 52  fchmodat 268 53  chown 92 -  fchown 93 55  lchown 94 -
    fchownat 260 54  setxattr 188 5  lsetxattr 189 6  fsetxattr 190 7  removexattr 197 14
    lremovexattr 198 15  fremovexattr 199 16  utime 132 -  utimes 235 -  futimesat 261 -
    utimensat 280 88
"""
"""Landlock has no say in these; and neither preparing nor scanning needs them."""
_KERNEL = """
    bpf 321 280  perf_event_open 298 241  userfaultfd 323 282  io_uring_setup 425 425
    io_uring_enter 426 426  io_uring_register 427 427  keyctl 250 219  add_key 248 217
    request_key 249 218  init_module 175 105  finit_module 313 273  delete_module 176 106
    kexec_load 246 104  kexec_file_load 320 294  reboot 169 142  acct 163 89  swapon 167 224
    swapoff 168 225  syslog 103 116  quotactl 179 60  quotactl_fd 443 443  vhangup 153 58
    settimeofday 164 170  clock_settime 227 112  adjtimex 159 171  clock_adjtime 305 266
    sethostname 170 161  setdomainname 171 162  iopl 172 -  ioperm 173 -  personality 135 92
"""
_FILE_SYSTEMS = """
    mount 165 40  umount2 166 39  pivot_root 155 41  chroot 161 51  setns 308 268
    unshare 272 97  move_mount 429 429  fsopen 430 430  fsconfig 431 431  fsmount 432 432
    fspick 433 433  open_tree 428 428  mount_setattr 442 442  open_by_handle_at 304 265
    name_to_handle_at 303 264  fanotify_init 300 262  mknod 133 -  mknodat 259 33
"""
_IDENTITY = """
    setuid 105 146  setgid 106 144  setreuid 113 145  setregid 114 143  setresuid 117 147
    setresgid 119 149  setgroups 116 159  setfsuid 122 151  setfsgid 123 152  capset 126 91
    setrlimit 160 164
"""
_DENIED = (
    _NETWORK + _PROGRAMS + _OTHER_PROCESSES + _FILE_ATTRIBUTES + _KERNEL + _FILE_SYSTEMS + _IDENTITY
)

_NEWEST = 450
"""The last call that was looked at (set_mempolicy_home_node, Linux 5.17), on both processors."""

_CLONE_THREAD = 0x00010000
_TIOCSTI = 0x5412
"""Puts characters into the terminal as if they were typed."""

_SET_MODE_FILTER, _GET_ACTION_AVAIL, _FLAG_TSYNC = 1, 2, 1
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, operand: ``struct sock_filter``."""


@dataclass(frozen=True, slots=True)
class Processor:
    """Where a processor keeps what; all others have no filter."""

    audit_arch: int
    column: int
    """Of the tables above."""
    seccomp: int
    clone: int
    clone3: int
    kill: int
    tgkill: int
    ioctl: int
    prlimit64: int


PROCESSORS = {
    "x86_64": Processor(0xC000003E, 1, 317, 56, 435, 62, 234, 16, 302),
    "aarch64": Processor(0xC00000B7, 2, 277, 220, 435, 129, 131, 29, 261),
}


def available() -> bool:
    """Whether this kernel and processor can have the filter."""
    processor = _processor()
    if processor is None:
        return False
    action = ctypes.c_uint32(_ERRNO)
    return _call(processor.seccomp, _GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0


def install() -> None:
    """Put the filter on all threads of this process, for good. Raises OSError.

    Needs ``PR_SET_NO_NEW_PRIVS`` to be set.
    """
    processor = _processor()
    if processor is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    raw = b"".join(struct.pack("=HBBI", *step) for step in program(processor, os.getpid()))
    buffer = ctypes.create_string_buffer(raw, len(raw))
    filter_ = struct.pack("@HP", len(raw) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    done = _call(processor.seccomp, _SET_MODE_FILTER, _FLAG_TSYNC, filter_)
    if done > 0:
        raise OSError(errno.EBUSY, "another thread has a filter of its own")
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def program(processor: Processor, pid: int) -> list[Instruction]:
    """The filter. ``pid``: the process may send signals to itself, as ``abort`` does."""
    denied = [int(n) for n in _DENIED.split()[processor.column :: 3] if n != "-"]
    refuse = _answer(errno.EPERM)
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, processor.audit_arch),
        refuse,  # another architecture's calls, e.g. of 32 bits
        (_LOAD, 0, 0, _NUMBER_AT),
        (_GREATER, 0, 1, _NEWEST),  # x32's calls, too
        _answer(errno.ENOSYS),
        *(step for number in denied for step in ((_EQUAL, 0, 1, number), refuse)),
        # Its arguments are in memory, where no filter can look: the C library then uses clone.
        (_EQUAL, 0, 1, processor.clone3),
        _answer(errno.ENOSYS),
        *_when(processor.clone, 0, (_ANY_BIT, 1, 0, _CLONE_THREAD)),
        *_when(processor.kill, 0, (_EQUAL, 1, 0, pid)),
        *_when(processor.tgkill, 0, (_EQUAL, 1, 0, pid)),
        *_when(processor.ioctl, 1, (_EQUAL, 0, 1, _TIOCSTI)),
        (_EQUAL, 0, 6, processor.prlimit64),  # to ask is allowed: the new limit is no address
        (_LOAD, 0, 0, _argument(2)),
        (_EQUAL, 0, 2, 0),
        (_LOAD, 0, 0, _argument(2) + 4),
        (_EQUAL, 1, 0, 0),
        refuse,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _when(number: int, argument: int, test: Instruction) -> list[Instruction]:
    """Allow a call if ``test`` of its argument jumps one further, else refuse it."""
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _argument(argument)),
        test,
        _answer(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _argument(index: int) -> int:
    """Where its lower half is; both processors are little-endian."""
    return _ARGUMENTS_AT + 8 * index


def _answer(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)


def _processor() -> Processor | None:
    if sys.platform != "linux" or sys.maxsize <= 2**32:
        return None
    return PROCESSORS.get(platform.machine())


def _call(number: int, operation: int, flags: int, argument: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    result: int = library.syscall(
        ctypes.c_long(number), ctypes.c_uint(operation), ctypes.c_uint(flags), argument
    )
    return result
