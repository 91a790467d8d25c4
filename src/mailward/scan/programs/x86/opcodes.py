"""What each instruction does: the one-byte opcodes.

Source: Intel's manual of the architecture, volume 2. Not there, because unpackers do without: far
jumps, decimal arithmetic, ports; the floating-point unit computes nothing.
"""

from mailward.scan.programs.x86.decoding import (
    DIRECTION,
    EAX,
    EBP,
    ECX,
    EDI,
    EDX,
    ESI,
    ESP,
    Cursor,
    Operand,
    UnknownInstructionError,
)
from mailward.scan.programs.x86.emitter import (
    CONDITIONS,
    FLAGS,
    C,
    Emitter,
    O,
)
from mailward.scan.programs.x86.memory import MASK
from mailward.scan.programs.x86.opcodes_0f import two_bytes
from mailward.scan.programs.x86.opcodes_control import control, increment_or_go


def translate(e: Emitter, c: Cursor) -> bool:
    """Write the instruction at ``c``; whether the block goes on behind it.

    Raises UnknownInstructionError.
    """
    op = c.opcode
    if op > 0xFF:
        return two_bytes(e, c)
    if op < 0x40:
        return _alu(e, c, op)
    if op < 0x60:
        return _one_register(e, c, op)
    if op < 0x80:
        return _sixties(e, c, op)
    if op < 0xA0:
        return _eighties(e, c, op)
    if op < 0xC0:
        return _moves_and_strings(e, c, op)
    return _rest(e, c, op)


def _size(c: Cursor, op: int) -> int:
    return c.operand_bytes if op & 1 else 1


def _alu(e: Emitter, c: Cursor, op: int) -> bool:
    form, kind = op & 7, op >> 3
    if form > 5:
        if op in (0x06, 0x0E, 0x16, 0x1E):  # push a segment
            e.push("35", c.next)
        elif op in (0x07, 0x17, 0x1F):
            e.pop("t")
        else:
            raise UnknownInstructionError
        return True
    size = _size(c, op)
    if form < 4:
        register, operand = c.modrm()
        e.place(operand)
        if form < 2:
            e.alu(kind, operand, size, e.get(Operand(register), size), c.next)
        else:
            e.alu(kind, Operand(register), size, e.get(operand, size), c.next)
    else:
        e.alu(kind, Operand(EAX), size, str(c.number(size)), c.next)
    return True


def _one_register(e: Emitter, c: Cursor, op: int) -> bool:
    register, size = Operand(op & 7), c.operand_bytes
    if op < 0x50:
        e.step(register, size, 1 if op < 0x48 else -1, c.next)
    elif op < 0x58:
        e.push(e.get(register, size), c.next, size)
    else:
        e.pop("t", size)
        e.put(register, size, "t", c.next)
    return True


def _sixties(e: Emitter, c: Cursor, op: int) -> bool:
    size = c.operand_bytes
    if op == 0x60:
        e.line(f"b=r[4]-32-{e.base}&{MASK}")
        for i, register in enumerate(range(7, -1, -1)):
            e.line(f"W4(M,b+{4 * i},r[{register}])")
        e.line(f"r[4]=r[4]-32&{MASK}")
        e.now.after.append(f"if changed(b,32):return {c.next}")
    elif op == 0x61:
        for register in range(7, -1, -1):
            e.pop("t" if register == ESP else f"r[{register}]")
    elif op in (0x68, 0x6A):
        value = c.number(size) if op == 0x68 else c.signed(1)
        e.push(str(value & ((1 << 8 * size) - 1)), c.next, size)
    elif op in (0x69, 0x6B):
        register, operand = c.modrm()
        e.place(operand)
        x = e.get(operand, size)
        y = _with_sign(c.number(size) if op == 0x69 else c.signed(1), size)
        e.line(f"t=signed({x},{size})*{y}")
        e.product(Operand(register), size, c.next)
    elif op >= 0x70:
        return e.jump_if(CONDITIONS[op & 15], c.signed(1), c.next)
    else:
        raise UnknownInstructionError
    return True


def _with_sign(value: int, size: int) -> int:
    value &= (1 << 8 * size) - 1
    return value - (1 << 8 * size) if value >> 8 * size - 1 else value


def _eighties(e: Emitter, c: Cursor, op: int) -> bool:
    size = _size(c, op)
    if op < 0x84:
        kind, operand = c.modrm()
        e.place(operand)
        value = c.signed(1) if op == 0x83 else c.number(size)
        e.alu(kind, operand, size, str(value & ((1 << 8 * size) - 1)), c.next)
        return True
    if op < 0x90:
        return _moves(e, c, op, size)
    if op < 0x98:
        if op > 0x90:
            _exchange(e, c, Operand(EAX), Operand(op & 7), c.operand_bytes)
        return True
    if op == 0x98 and c.operand_bytes == 4:
        e.line(f"r[0]=r[0]&65535|(r[0]>>15&1)*{0xFFFF0000}")
    elif op == 0x98:
        e.line("r[0]=r[0]&4294902015|(r[0]>>7&1)*65280")
    elif op == 0x99:
        top = 8 * c.operand_bytes - 1
        e.put(Operand(EDX), c.operand_bytes, f"(r[0]>>{top}&1)*{(2 << top) - 1}", c.next)
    elif op == 0x9C:
        e.now.asks = FLAGS
        e.push("flags(r)&65535", c.next, c.operand_bytes)
    elif op == 0x9D:
        e.pop("t", c.operand_bytes)
        e.line("r[8:12]=unpack_flags(t)")
        e.line(f"if t&256:raise SingleStepError({c.next})")
    elif op == 0x9E:
        e.line("r[8:10]=unpack_flags(r[0]>>8&255)[:2]")
    elif op == 0x9F:
        e.now.asks = FLAGS
        e.line("r[0]=r[0]&4294902015|(flags(r)&255)<<8")
    elif op != 0x9B:
        raise UnknownInstructionError
    return True


def _moves(e: Emitter, c: Cursor, op: int, size: int) -> bool:
    register, operand = c.modrm()
    if op == 0x8D:
        if operand.register >= 0:
            raise UnknownInstructionError
        e.place(operand)
        mask = (1 << 8 * c.operand_bytes) - 1
        e.put(Operand(register), c.operand_bytes, f"(a+{e.base}&{mask})", c.next)
        return True
    if op == 0x8F:
        e.pop("t", c.operand_bytes)
        e.place(operand)
        e.put(operand, c.operand_bytes, "t", c.next)
        return True
    e.place(operand)
    if op in (0x84, 0x85):
        _test(e, e.get(operand, size), e.get(Operand(register), size), size)
    elif op in (0x86, 0x87):
        _exchange(e, c, operand, Operand(register), size)
    elif op in (0x88, 0x89):
        e.put(operand, size, e.get(Operand(register), size), c.next)
    elif op in (0x8A, 0x8B):
        e.put(Operand(register), size, e.get(operand, size), c.next)
    elif op == 0x8C:
        e.put(operand, 2 if operand.register < 0 else 4, "35", c.next)
    return True


def _exchange(e: Emitter, c: Cursor, one: Operand, other: Operand, size: int) -> None:
    e.line(f"x={e.get(one, size)};y={e.get(other, size)}")
    e.put(other, size, "x", c.next)
    e.put(one, size, "y", c.next)


def _moves_and_strings(e: Emitter, c: Cursor, op: int) -> bool:
    size = _size(c, op)
    if op < 0xA4:
        operand, accumulator = c.direct(), Operand(EAX)
        e.place(operand)
        if op < 0xA2:
            e.put(accumulator, size, e.get(operand, size), c.next)
        else:
            e.put(operand, size, e.get(accumulator, size), c.next)
    elif op in (0xA8, 0xA9):
        _test(e, e.get(Operand(EAX), size), str(c.number(size)), size)
    elif op >= 0xB8:
        e.put(Operand(op & 7), c.operand_bytes, str(c.number(c.operand_bytes)), c.next)
    elif op >= 0xB0:
        e.put(Operand(op & 7), 1, str(c.number(1)), c.next)
    else:
        _string(e, c, op & 0xFE, size)
    return True


def _string(e: Emitter, c: Cursor, op: int, size: int) -> None:
    by = f"(-{size} if r[{DIRECTION}] else {size})"
    if op in (0xA6, 0xAE):
        e.now.asks = FLAGS
        e.line(f"strings.compare(r,{size},{c.repeat},with_accumulator={op == 0xAE})")
    elif c.repeat and op == 0xAC:
        e.line(f"strings.lods(r,{size},{c.repeat})")
    elif c.repeat:
        name = "movs" if op == 0xA4 else "stos"
        e.line(f"if strings.{name}(r,{size},{c.repeat}):return {c.next}")
    else:
        if op in (0xA4, 0xAC):
            e.place(c.string(ESI))
            e.line(f"v={e.get(Operand(-1), size)}")
        if op == 0xAC:
            e.put(Operand(EAX), size, "v", c.next)
        else:
            e.line(f"a=r[7]-{e.base}&{MASK}")
            e.store("a", size, "v" if op == 0xA4 else e.get(Operand(EAX), size), c.next)
            e.line(f"r[{EDI}]=r[{EDI}]+{by}&{MASK}")
        if op != 0xAA:
            e.line(f"r[{ESI}]=r[{ESI}]+{by}&{MASK}")


def _rest(e: Emitter, c: Cursor, op: int) -> bool:
    size = _size(c, op)
    if op in (0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3):
        kind, operand = c.modrm()
        e.place(operand)
        if op in (0xD2, 0xD3):
            e.shift_by(kind, operand, size, f"r[{ECX}]", c.next)
        else:
            e.shift(kind, operand, size, 1 if op > 0xC1 else c.number(1) & 31, c.next)
    elif op in (0xC6, 0xC7):
        _, operand = c.modrm()
        e.place(operand)
        e.put(operand, size, str(c.number(size)), c.next)
    elif op in (0xF6, 0xF7):
        _unary(e, c, size)
    elif op in (0xFE, 0xFF):
        return increment_or_go(e, c, size)
    elif 0xD8 <= op <= 0xDF:
        _floating(e, c, op)
    elif op == 0xD6:
        e.now.asks = frozenset(C)
        e.line("r[0]=r[0]&4294967040|(255 if r[8]else 0)")
    elif op == 0xD7:
        e.line(f"r[0]=r[0]&4294967040|M[r[3]+(r[0]&255)-{e.base}&{MASK}]")
    elif op in (0xF5, 0xF8, 0xF9):
        e.now.asks = frozenset(C) if op == 0xF5 else e.now.asks
        e.carry({0xF5: "not r[8]", 0xF8: "0", 0xF9: "1"}[op])
        e.now.sets = frozenset(C)
    elif op in (0xFC, 0xFD):
        e.line(f"r[{DIRECTION}]={op & 1}")
    elif op == 0xC9:
        e.line(f"r[{ESP}]=r[{EBP}]")
        e.pop(f"r[{EBP}]")
    else:
        return control(e, c, op)
    return True


def _unary(e: Emitter, c: Cursor, size: int) -> None:
    kind, operand = c.modrm()
    e.place(operand)
    x = e.get(operand, size)
    if kind < 2:
        _test(e, x, str(c.number(size)), size)
    elif kind == 2:
        e.put(operand, size, f"({x}^{(1 << 8 * size) - 1})", c.next)
    elif kind == 3:
        e.line(f"y={x};x=0;v=-y&{(1 << 8 * size) - 1}")
        e.put(operand, size, "v", c.next)
        e.carry("y!=0")
        e.overflow(f"y=={1 << 8 * size - 1}")
        e.result(size)
        e.now.sets = FLAGS
    else:
        name = "multiply" if kind < 6 else "divide"
        e.line(f"{name}(r,{x},{size},is_signed={bool(kind & 1)})")
        if kind < 6:
            e.now.sets = frozenset((C, O))


def _test(e: Emitter, x: str, y: str, size: int) -> None:
    e.line(f"v={x}&{y}")
    e.carry("0")
    e.overflow("0")
    e.result(size)
    e.now.sets = FLAGS


def _floating(e: Emitter, c: Cursor, op: int) -> None:
    """Only where the last such instruction was can be asked: that is how code finds itself."""
    kind, operand = c.modrm()
    e.place(operand)
    if op == 0xD9 and kind == 6 and operand.register < 0:
        e.line(f"if environment(a):return {c.next}")
    elif op == 0xDF and operand.register == 0 and kind == 4:
        e.line("r[0]=r[0]&4294901760")
    else:
        e.line(f"last_floating[0]={(c.start + e.base) & MASK}")
