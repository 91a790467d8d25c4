"""What each instruction does: where the program goes on."""

from mailward.scan.programs.x86.decoding import ECX, ESP, Cursor, UnknownInstructionError
from mailward.scan.programs.x86.emitter import Emitter
from mailward.scan.programs.x86.memory import MASK

BREAKPOINT, PRIVILEGED, ILLEGAL, ACCESS = 0x80000003, 0xC0000096, 0xC000001D, 0xC0000005
"""Windows' numbers of what a processor refuses."""


def control(e: Emitter, c: Cursor, op: int) -> bool:
    """Jumps, calls, returns, interrupts; whether the block goes on behind it."""
    if op in (0xC2, 0xC3):
        count = c.number(2) if op == 0xC2 else 0
        e.pop("t")
        if count:
            e.line(f"r[{ESP}]=r[{ESP}]+{count}&{MASK}")
        e.leave("t")
    elif op == 0xE8:
        distance = c.signed(4)
        target = str((c.next + distance) & MASK)
        e.push(str(c.next), target)
        e.leave(target)
    elif op in (0xE9, 0xEB):
        distance = c.signed(4 if op == 0xE9 else 1)
        e.leave(str((c.next + distance) & MASK))
    elif 0xE0 <= op <= 0xE3:
        distance = c.signed(1)
        if op < 0xE3:
            e.line(f"r[{ECX}]=r[{ECX}]-1&{MASK}")
        condition = (f"r[{ECX}]and r[9]", f"r[{ECX}]and not r[9]", f"r[{ECX}]", f"not r[{ECX}]")
        return e.jump_if(condition[op & 3], distance, c.next)
    elif op in (0xCC, 0xCD, 0xF1):
        number = 3 if op == 0xCC else 1 if op == 0xF1 else c.number(1)
        e.line(f"raise FaultError({BREAKPOINT if number == 3 else ACCESS})")
    elif op in (0xE4, 0xE5, 0xE6, 0xE7, 0xEC, 0xED, 0xEE, 0xEF, 0xF4, 0xFA, 0xFB):
        e.line(f"raise FaultError({PRIVILEGED})")
    else:
        raise UnknownInstructionError
    return False


def increment_or_go(e: Emitter, c: Cursor, size: int) -> bool:
    """FE and FF: ``inc``, ``dec``, ``push``, and calls and jumps to what an operand says."""
    kind, operand = c.modrm()
    e.place(operand)
    if kind < 2:
        e.step(operand, size, 1 - 2 * kind, c.next)
        return True
    if size != 4 or kind in (3, 5, 7):
        raise UnknownInstructionError
    if kind == 6:
        e.push(e.get(operand, 4), c.next)
        return True
    e.line(f"v={e.get(operand, 4)}")
    if kind == 2:
        e.push(str(c.next), "v")
    e.leave("v")
    return False
