"""Runs translated blocks, one after the other, and translates what is met for the first time."""

import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mailward.scan.programs.x86 import emitter, runtime
from mailward.scan.programs.x86.decoding import Cursor, UnknownInstructionError
from mailward.scan.programs.x86.memory import (
    MASK,
    BadAddressError,
    Block,
    Memory,
    Runner,
    read2,
    read4,
    write2,
    write4,
)
from mailward.scan.programs.x86.opcodes import translate
from mailward.scan.programs.x86.opcodes_control import ACCESS, ILLEGAL
from mailward.scan.programs.x86.runtime import FaultError, SingleStepError, StepsSpentError

SINGLE_STEP = 0x80000004

BLOCK_MAX = 48
"""Instructions of one block."""
_RUNS = 500
"""Blocks that run between two looks at the clock."""

_FAULTS = (IndexError, struct.error, BadAddressError)
"""What reaching outside of memory ends in."""


class UnsupportedError(Exception):
    """The program did something that the small computer cannot."""


class Machine:
    """Registers and memory. ``steps``: blocks that may run; ``is_over``: whether time is."""

    def __init__(
        self, memory: Memory, fs_base: int, steps: int, is_over: Callable[[], bool]
    ) -> None:
        self.memory = memory
        self.r = [0] * 12
        """As ``decoding`` numbers them."""
        self.hooks: dict[int, Runner] = {}
        """What runs instead of the instructions at an address."""
        self.strings = runtime.Strings(memory, steps)
        self._fs_base = fs_base
        self._is_over = is_over
        self._ticks = 0
        last_floating = [0]
        self._names: dict[str, Any] = {
            "M": memory.content,
            "C": memory.code,
            "changed": memory.changed,
            "strings": self.strings,
            "R2": read2,
            "R4": read4,
            "W2": write2,
            "W4": write4,
            "EVEN": runtime.EVEN,
            "FaultError": FaultError,
            "SingleStepError": SingleStepError,
            "shift": runtime.shift,
            "double_shift": runtime.double_shift,
            "signed": runtime.signed,
            "multiply": runtime.multiply,
            "divide": runtime.divide,
            "flags": runtime.flags,
            "unpack_flags": runtime.unpack_flags,
            "clock": self._clock,
            "identify": _identify,
            "last_floating": last_floating,
            "environment": lambda at: self._environment(at, last_floating[0]),
        }

    def run(self, address: int) -> None:
        """Until a hook or ``met`` raises. Raises StepsSpentError, UnsupportedError."""
        r, blocks = self.r, self.memory.blocks
        while True:
            self.strings.steps_left -= _RUNS
            if self.strings.steps_left < 0 or self._is_over():
                raise StepsSpentError
            block: Block | None = None
            try:
                for _ in range(_RUNS):
                    block = blocks.get(address)
                    if block is None:
                        block = self._block(address)
                    address = block.run(r)
            except _FAULTS as e:
                address = self._fault(ACCESS, _where(block, e.__traceback__, address))
            except FaultError as e:
                address = self._fault(e.code, _where(block, e.__traceback__, address))
            except SingleStepError as e:
                address = self._stepped(e.address)

    def met(self, address: int) -> None:
        """Called when the code at an address is about to run for the first time."""

    def fault(self, code: int, address: int) -> int:
        """What Windows does about a fault; where to go on. Raises UnsupportedError."""
        raise UnsupportedError(f"fault {code:#x} at {address:#x}")

    def _fault(self, code: int, address: int) -> int:
        try:
            return self.fault(code, address)
        except _FAULTS as e:
            raise UnsupportedError("a fault without a stack") from e

    def _stepped(self, address: int) -> int:
        """Where to go on after one instruction and the fault behind it, or the fault that it is."""
        try:
            after = self._step(address)
        except _FAULTS:
            return self._fault(ACCESS, address)
        except FaultError as e:
            return self._fault(e.code, address)
        except SingleStepError as e:
            raise UnsupportedError("a single step within another") from e
        return self._fault(SINGLE_STEP, after)

    def _step(self, address: int) -> int:
        """Run one instruction; where it leads to."""
        return self._translated(address, 1).run(self.r)

    def _block(self, address: int) -> Block:
        hook = self.hooks.get(address)
        if hook is not None:
            block = Block(hook, 0, 0, ())
            self.memory.blocks[address] = block
            return block
        if self._is_over():  # translating takes longest
            raise StepsSpentError
        self.met(address)
        block = self._translated(address, BLOCK_MAX)
        self.memory.keep(address, block)
        return block

    def _translated(self, address: int, count: int) -> Block:
        base = self.memory.base
        start = at = self.memory.offset(address)
        lines = emitter.Emitter(base)
        goes_on = True
        while goes_on and count:
            count -= 1
            lines.begin((at + base) & MASK)
            try:
                cursor = Cursor(self.memory, at, self._fs_base)
                goes_on = translate(lines, cursor)
            except UnknownInstructionError as e:
                if at == start:
                    self._unknown(at, e)
                lines.done.pop()
                break
            at = cursor.at
        if goes_on:
            lines.begin((at + base) & MASK)
            lines.line(f"return {(at + base) & MASK}")
            lines.now.asks = emitter.FLAGS
        texts, addresses = lines.source()
        source = "def run(r):\n " + "\n ".join(texts)
        names = self._names
        exec(compile(source, "<block>", "exec"), names)  # noqa: S102 (our own text, of numbers and names)
        return Block(names["run"], start, at, (0, *addresses))

    def _unknown(self, at: int, error: UnknownInstructionError) -> None:
        what = bytes(self.memory.content[at : at + 2])
        undefined = what[:1] in (b"\xfe", b"\xff") and what[1] & 0x30 == 0x30
        if undefined or what == b"\x0f\x0b":
            raise FaultError(ILLEGAL)
        raise UnsupportedError(f"instruction {what.hex()}") from error

    def _clock(self) -> tuple[int, int]:
        """A time stamp that says that nobody is watching: little has passed."""
        self._ticks += 40
        return self._ticks & MASK, 0x1234

    def _environment(self, at: int, last: int) -> bool:
        words = (0xFFFF037F, 0xFFFF0000, 0xFFFFFFFF, last, 0, 0, 0xFFFF0000)
        struct.pack_into("<7I", self.memory.content, at, *words)
        return self.memory.changed(at, 28)


def _identify(leaf: int) -> tuple[int, int, int, int]:
    """``cpuid`` of a plain Pentium."""
    if leaf == 0:
        return 1, 0x756E6547, 0x6C65746E, 0x49656E69
    return 0x543, 0, 0, 0x8001BF


def _where(block: Block | None, trace: TracebackType | None, address: int) -> int:
    """The address of the instruction that failed, by the line of the block's function."""
    if block is None or trace is None or trace.tb_next is None:
        return address
    line = trace.tb_next.tb_lineno - 1
    return block.lines[line] if 0 < line < len(block.lines) else address
