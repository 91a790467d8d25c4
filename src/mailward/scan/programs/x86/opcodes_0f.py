"""What each instruction does: the opcodes behind 0F."""

from mailward.scan.programs.x86.decoding import (
    CARRY,
    EAX,
    Cursor,
    Operand,
    UnknownInstructionError,
)
from mailward.scan.programs.x86.emitter import ADD, CONDITIONS, FLAGS, C, Emitter


def two_bytes(e: Emitter, c: Cursor) -> bool:
    """Write the instruction at ``c``; whether the block goes on behind it.

    Raises UnknownInstructionError.
    """
    op, size = c.opcode & 0xFF, c.operand_bytes
    if 0x80 <= op < 0x90:
        return e.jump_if(CONDITIONS[op & 15], c.signed(4), c.next)
    if 0xC8 <= op <= 0xCF:
        e.line(f"r[{op & 7}]=int.from_bytes(r[{op & 7}].to_bytes(4,'big'),'little')")
    elif op == 0x31:
        e.line("r[0],r[2]=clock()")
    elif op == 0xA2:
        e.line("r[0],r[3],r[1],r[2]=identify(r[0])")
    elif op in (0xA0, 0xA8):
        e.push("35", c.next)
    elif op in (0xA1, 0xA9):
        e.pop("t")
    else:
        register, operand = c.modrm()
        e.place(operand)
        _with_operand(e, c, op, size, Operand(register), operand)
    return True


def _with_operand(
    e: Emitter, c: Cursor, op: int, size: int, register: Operand, operand: Operand
) -> None:
    if 0x40 <= op < 0x50:
        e.now.asks = FLAGS
        e.line(f"t={e.get(operand, size)}")
        e.line(f"v=t if {CONDITIONS[op & 15]} else {e.get(register, size)}")
        e.put(register, size, "v", c.next)
    elif 0x90 <= op < 0xA0:
        e.now.asks = FLAGS
        e.line(f"v=1 if {CONDITIONS[op & 15]} else 0")
        e.put(operand, 1, "v", c.next)
    elif op in (0xB6, 0xB7, 0xBE, 0xBF):
        from_size = 1 + (op & 1)
        value = e.get(operand, from_size)
        if op >= 0xBE:
            value = f"(signed({value},{from_size})&{(1 << 8 * size) - 1})"
        e.put(register, size, value, c.next)
    elif op == 0xAF:
        e.line(f"t=signed({e.get(operand, size)},{size})*signed({e.get(register, size)},{size})")
        e.product(register, size, c.next)
    elif op in (0xA3, 0xAB, 0xB3, 0xBB, 0xBA):
        _bit(e, c, op, size, register, operand)
    elif op in (0xA4, 0xA5, 0xAC, 0xAD):
        _double_shift(e, c, op, size, register, operand)
    elif op in (0xBC, 0xBD):
        e.line(f"y={e.get(operand, size)}")
        found = "(y&-y).bit_length()-1" if op == 0xBC else "y.bit_length()-1"
        e.line(f"v={found} if y else {e.get(register, size)}")
        e.put(register, size, "v", c.next)
        e.line("r[9]=y")
    elif op in (0xC0, 0xC1):
        size = size if op & 1 else 1
        e.line(f"w={e.get(operand, size)}")
        e.alu(ADD, operand, size, e.get(register, size), c.next)
        e.put(register, size, "w", c.next)
    elif op in (0xB0, 0xB1):
        size = size if op & 1 else 1
        accumulator = Operand(EAX)
        e.line(f"x={e.get(accumulator, size)};y={e.get(operand, size)}")
        e.line(f"v=x-y&{(1 << 8 * size) - 1}")
        e.line(f"r[{CARRY}]=x<y;r[10]=((x^y)&(x^v))>>{8 * size - 1}")
        e.result(size)
        e.line(f"w={e.get(register, size)} if x==y else y")
        e.put(operand, size, "w", c.next)
        e.put(accumulator, size, "y", c.next)
        e.now.sets = FLAGS
    elif op not in (0x18, 0x19, 0x1F, 0x0D):  # hints that do nothing
        raise UnknownInstructionError


def _bit(e: Emitter, c: Cursor, op: int, size: int, register: Operand, operand: Operand) -> None:
    kind = op >> 3 & 3
    if op == 0xBA:
        kind, count = register.register & 3, str(c.number(1))
        if register.register < 4:
            raise UnknownInstructionError
    else:
        count = e.get(register, size)
    e.line(f"x={e.get(operand, size)};y=1<<({count}&{8 * size - 1})")
    e.carry("(x&y)!=0")
    if kind:
        e.put(operand, size, ("", "(x|y)", "(x&~y)", "(x^y)")[kind], c.next)
    e.now.sets = frozenset(C)


def _double_shift(
    e: Emitter, c: Cursor, op: int, size: int, register: Operand, operand: Operand
) -> None:
    count = f"({'r[1]' if op & 1 else c.number(1)}&31)"
    left = op < 0xA8
    x, y = e.get(operand, size), e.get(register, size)
    e.line(f"v=double_shift({x},{y},{count},{8 * size},{left},r)")
    e.put(operand, size, "v", c.next)
