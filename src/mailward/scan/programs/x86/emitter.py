"""Instructions as lines of Python, and what is left out of them because nobody asks.

In the lines ``r`` are the registers, ``M`` the memory, ``C`` where code is in it, ``a`` the offset
of the operand in memory, ``x``, ``y``, ``v`` two operands and what becomes of them.
"""

from dataclasses import dataclass, field

from mailward.scan.programs.x86.decoding import (
    CARRY,
    ESP,
    OVERFLOW,
    RESULT,
    Operand,
)
from mailward.scan.programs.x86.memory import MASK

ALWAYS, C, Z, O = "", "c", "z", "o"  # noqa: E741 (as processors call them)
FLAGS = frozenset((C, Z, O))
NOTHING: frozenset[str] = frozenset()

ADD, OR, ADC, SBB, AND, SUB, XOR, CMP = range(8)
ROL, ROR, RCL, RCR, SHL, SHR, SAL, SAR = range(8)

_RESULTS = {1: "v<<24|v", 2: "v<<16|v", 4: "v"}
_ALU = ("v=x+y&{m}", "v=x|y", "t=x+y+r[8];v=t&{m}", "t=x-y-r[8];v=t&{m}", "v=x&y", "v=x-y&{m}",
        "v=x^y", "v=x-y&{m}")  # fmt: skip
_CARRIES = ("x+y>>{b}", "0", "t>>{b}", "t<0", "0", "x<y", "0", "x<y")
_SUM, _DIFFERENCE = "((x^v)&(y^v))>>{s}", "((x^y)&(x^v))>>{s}"
_OVERFLOWS = (_SUM, "0", _SUM, _DIFFERENCE, "0", _DIFFERENCE, "0", _DIFFERENCE)
CONDITIONS = (
    "r[10]", "not r[10]", "r[8]", "not r[8]", "not r[9]", "r[9]", "(r[8]or not r[9])",
    "(not r[8]and r[9])", "r[9]>>31", "not r[9]>>31", "EVEN[r[9]&255]", "not EVEN[r[9]&255]",
    "r[9]>>31!=r[10]", "r[9]>>31==r[10]", "(not r[9]or r[9]>>31!=r[10])",
    "(r[9]and r[9]>>31==r[10])",
)  # fmt: skip
"""By the lowest four bits of the opcode."""


@dataclass(slots=True)
class Instruction:
    """One, translated."""

    address: int
    lines: list[tuple[str, str]] = field(default_factory=list)
    """Each with the flag that it sets, if that is all it does."""
    after: list[str] = field(default_factory=list)
    sets: frozenset[str] = NOTHING
    asks: frozenset[str] = NOTHING


class Emitter:
    """Collects the instructions of one block."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.done: list[Instruction] = []
        self.now = Instruction(0)

    def begin(self, address: int) -> None:
        """Another instruction."""
        self.now = Instruction(address)
        self.done.append(self.now)

    def line(self, text: str, flag: str = ALWAYS) -> None:
        """A line, which is left out if it only sets a flag that is set again before it counts."""
        self.now.lines.append((flag, text))

    def source(self) -> tuple[list[str], list[int]]:
        """The lines, and the address of the instruction that each belongs to."""
        live = FLAGS
        kept: list[tuple[int, list[str]]] = []
        for one in reversed(self.done):
            lines = [text for flag, text in one.lines if not flag or flag in live] + one.after
            kept.append((one.address, lines))
            live = live - one.sets | one.asks
        lines, addresses = [], []
        for address, texts in reversed(kept):
            lines += texts
            addresses += [address] * len(texts)
        return lines, addresses

    def place(self, operand: Operand) -> None:
        """Work out where an operand in memory is, before ``get`` and ``put``."""
        if operand.register < 0:
            self.line(f"a={operand.address}")

    def get(self, operand: Operand, size: int) -> str:
        """The operand as an expression."""
        if operand.register < 0:
            return {1: "M[a]", 2: "R2(M,a)[0]", 4: "R4(M,a)[0]"}[size]
        n = operand.register
        if size == 4:
            return f"r[{n}]"
        if size == 2:
            return f"(r[{n}]&65535)"
        return f"(r[{n}]&255)" if n < 4 else f"(r[{n - 4}]>>8&255)"

    def put(self, operand: Operand, size: int, value: str, next_: int) -> None:
        """Write to it; ``value`` binds tighter than ``|``. ``next_``: the address behind."""
        if operand.register < 0:
            self.store("a", size, value, next_)
            return
        n = operand.register
        if size == 4:
            self.line(f"r[{n}]={value}")
        elif size == 2:
            self.line(f"r[{n}]=r[{n}]&4294901760|{value}")
        elif n < 4:
            self.line(f"r[{n}]=r[{n}]&4294967040|{value}")
        else:
            self.line(f"r[{n - 4}]=r[{n - 4}]&4294902015|{value}<<8")

    def leave(self, to: str) -> None:
        """End the block: ``to`` is where it goes on."""
        self.now.after.append(f"return {to}")

    def store(self, at: str, size: int, value: str, next_: int | str) -> None:
        """Write to memory; what was translated from there is not valid any more."""
        self.line({1: f"M[{at}]={value}", 2: f"W2(M,{at},{value})", 4: f"W4(M,{at},{value})"}[size])
        self.now.after.append(f"if C[{at}>>6]and changed({at},{size}):return {next_}")

    def push(self, value: str, next_: int | str, size: int = 4) -> None:
        """Onto the stack."""
        self.line(f"t={value}")
        self.line(f"s=r[4]-{size}&{MASK}")
        self.line(f"b=s-{self.base}&{MASK}")
        self.store("b", size, "t", next_)
        self.line("r[4]=s")

    def pop(self, name: str, size: int = 4) -> None:
        """Off the stack, into a name."""
        self.line(f"{name}=R{size}(M,r[4]-{self.base}&{MASK})[0]")
        self.line(f"r[{ESP}]=r[{ESP}]+{size}&{MASK}")

    def result(self, size: int) -> None:
        """Flags of zero, sign and parity from ``v``."""
        self.line(f"r[{RESULT}]={_RESULTS[size]}", Z)

    def carry(self, text: str) -> None:
        """The flag of carry."""
        self.line(f"r[{CARRY}]={text}", C)

    def overflow(self, text: str) -> None:
        """The flag of overflow."""
        self.line(f"r[{OVERFLOW}]={text}", O)

    def alu(self, kind: int, to: Operand, size: int, value: str, next_: int) -> None:
        """One of the eight operations on ``to``, whose place is known."""
        form = {"m": (1 << 8 * size) - 1, "b": 8 * size, "s": 8 * size - 1}
        self.line(f"x={self.get(to, size)};y={value}")
        self.line(_ALU[kind].format(**form))
        if kind != CMP:
            self.put(to, size, "v", next_)
        self.carry(_CARRIES[kind].format(**form))
        self.overflow(_OVERFLOWS[kind].format(**form))
        self.result(size)
        self.now.sets = FLAGS
        self.now.asks = frozenset(C) if kind in (ADC, SBB) else NOTHING

    def step(self, to: Operand, size: int, by: int, next_: int) -> None:
        """``inc`` and ``dec``, which leave the carry alone."""
        top = 1 << 8 * size - 1
        self.line(f"v={self.get(to, size)}{by:+d}&{2 * top - 1}")
        self.put(to, size, "v", next_)
        self.overflow(f"v=={top if by > 0 else top - 1}")
        self.result(size)
        self.now.sets = frozenset((Z, O))

    def shift(self, kind: int, to: Operand, size: int, count: int, next_: int) -> None:
        """By a number that is known, below 32."""
        bits = 8 * size
        mask = (1 << bits) - 1
        if kind in (RCL, RCR) or count >= bits:
            self.shift_by(kind, to, size, str(count), next_)
            return
        if not count:
            return
        self.line(f"x={self.get(to, size)}")
        carry, overflow = f"x>>{count - 1}&1", f"x>>{bits - 1}"
        if kind in (SHL, SAL):
            self.line(f"v=x<<{count}&{mask}")
            carry = f"x>>{bits - count}&1"
            overflow = f"v>>{bits - 1}^(x>>{bits - count}&1)"
        elif kind == SHR:
            self.line(f"v=x>>{count}")
        elif kind == SAR:
            self.line(f"x=x-(x>>{bits - 1}<<{bits});v=x>>{count}&{mask}")
            overflow = "0"
        elif kind == ROL:
            self.line(f"v=(x<<{count}|x>>{bits - count})&{mask}")
            carry, overflow = "v&1", f"(v>>{bits - 1}^v)&1"
        else:
            self.line(f"v=(x>>{count}|x<<{bits - count})&{mask}")
            carry, overflow = f"v>>{bits - 1}", f"(v>>{bits - 1}^v>>{bits - 2})&1"
        self.put(to, size, "v", next_)
        self.carry(carry)
        self.overflow(overflow)
        self.now.sets = frozenset((C, O))
        if kind >= SHL:
            self.result(size)
            self.now.sets = FLAGS

    def shift_by(self, kind: int, to: Operand, size: int, count: str, next_: int) -> None:
        """By a number that only shows when it runs; 0 changes no flags."""
        self.line(f"v=shift({kind},{self.get(to, size)},{count}&31,{8 * size},r)")
        self.put(to, size, "v", next_)
        if kind in (RCL, RCR):
            self.now.asks = frozenset(C)

    def product(self, to: Operand, size: int, next_: int) -> None:
        """Put the product ``t``, which has a sign."""
        self.line(f"v=t&{(1 << 8 * size) - 1}")
        self.put(to, size, "v", next_)
        self.carry(f"t!=signed(v,{size})")
        self.overflow(f"t!=signed(v,{size})")
        self.now.sets = frozenset((C, O))

    def jump_if(self, condition: str, distance: int, next_: int) -> bool:
        """Jump if ``condition``; whether the block goes on behind it.

        Backwards it ends the block, so that loops are blocks of their own.
        """
        target = (next_ + distance) & MASK
        self.now.asks = FLAGS
        if target <= next_:
            self.leave(f"{target} if {condition} else {next_}")
            return False
        self.line(f"if {condition}:return {target}")
        return True
