"""What Windows gives a program before it runs, and the functions of it that unpackers call.

Layouts: ``winnt.h`` (CONTEXT, EXCEPTION_RECORD, headers), ``winternl.h`` (TEB, PEB); how faults are
handed to programs is Matt Pietrek's "A Crash Course on the Depths of Win32 Structured Exception
Handling".
"""

import contextlib
import struct
from collections.abc import Callable
from functools import partial

from mailward.scan.programs.portable import IMPORTS, PAGE, Program
from mailward.scan.programs.x86.decoding import EAX, EBP, EBX, ECX, EDI, EDX, ESI, ESP
from mailward.scan.programs.x86.functions import ANSWERS, ARGUMENTS, EXPORTED, PATH
from mailward.scan.programs.x86.machine import Machine, UnsupportedError
from mailward.scan.programs.x86.memory import MASK, BadAddressError, Memory
from mailward.scan.programs.x86.runtime import flags, unpack_flags
from mailward.settings.base import MIB

STACK_BYTES = 256 * 1024
HEAP_BYTES = 16 * MIB
_MODULES_BYTES = 64 * PAGE
_SYSTEM_BYTES = 2 * PAGE
_FUNCTION_BYTES = 32
_FUNCTIONS_MAX = 28 * PAGE // _FUNCTION_BYTES
_NESTED_MAX = 32
_FAULTS_MAX = 5000
_IMPORTS_MAX = 2000

_BODY = 16
_PROLOGUE = bytes.fromhex("8bff 55 8bec 5d e905000000").ljust(_FUNCTION_BYTES, b"\xcc")
"""mov edi, edi; push ebp; mov ebp, esp; pop ebp; jmp: what functions look like to who looks at
them. Some run a copy of the first instructions, and go on behind them."""

_EIP, _FLAGS_AT = 0xB8, 0xC0
_REGISTERS_AT = ((EDI, 0x9C), (ESI, 0xA0), (EBX, 0xA4), (EDX, 0xA8), (ECX, 0xAC), (EAX, 0xB0),
                 (EBP, 0xB4), (ESP, 0xC4))  # fmt: skip
_CONTEXT_BYTES = 0x2CC


class ProgramCallsError(Exception):
    """The program asks for what no unpacker needs: it runs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Windows(Machine):
    """A machine with a program in it.

    ``data``: its file. ``image``: the program in memory. ``steps``, ``is_over``: as of Machine.
    """

    def __init__(
        self,
        data: bytes,
        program: Program,
        image: bytearray,
        steps: int,
        is_over: Callable[[], bool],
    ) -> None:
        base = program.base & MASK
        end = base + len(image)
        self._system = end
        self._modules_at = (end + _SYSTEM_BYTES + 0xFFFF) & ~0xFFFF  # who looks for it looks there
        self._stack_end = self._modules_at + _MODULES_BYTES + STACK_BYTES
        self._heap = self._heap_start = self._stack_end + PAGE
        if self._heap + HEAP_BYTES > MASK:
            raise UnsupportedError("its base is too high")
        memory = Memory(base, image)
        memory.grow(self._heap)
        super().__init__(memory, self._system, steps, is_over)
        self.data = data
        self.program = program
        self.read_at = 0
        """Where it reads on in its own file."""
        self._functions: dict[str, int] = {}
        self._modules: dict[str, int] = {}
        self._next_module = self._modules_at
        self._next_function = 0
        self._faults: list[tuple[int, int, int]] = []
        self._faults_seen = 0
        self._set_up()

    def start(self) -> None:
        """Run it from its entry point. Raises what ``run`` does."""
        entry = (self.program.base + self.program.entry) & MASK
        self.r[EAX] = self.r[EDX] = entry
        self.r[EBX] = self._system + PAGE
        self.r[EBP] = self._stack_end - 0x100
        self.r[ESP] = self._stack_end - 0x200
        for value in (0, 1, self.program.base, self.function("ExitThread")):
            self._push(value)  # as a library is told that it is loaded
        self.run(entry)

    @property
    def command_line(self) -> int:
        """Where it is."""
        return self._system + PAGE + 0x400

    def _set_up(self) -> None:
        memory, teb, peb = self.memory, self._system, self._system + PAGE
        kernel = self.module("kernel32")
        memory.write(teb, MASK)
        memory.write(teb + 4, self._stack_end)
        memory.write(teb + 8, self._stack_end - STACK_BYTES)
        memory.write(teb + 0x18, teb)
        memory.write(teb + 0x20, 4242)
        memory.write(teb + 0x24, 4243)
        memory.write(teb + 0x30, peb)
        memory.write(peb + 8, self.program.base)
        memory.write(peb + 0xC, peb + 0x100)
        memory.put(peb + 0x400, PATH)
        self._loaded(
            peb + 0x100, ((self.program.base & MASK, 0), (self.module("ntdll"), 1), (kernel, 2))
        )
        self.hooks[peb + 0x40] = self._fault_handled
        self._back = peb + 0x40
        self._import()

    def _loaded(self, at: int, modules: tuple[tuple[int, int], ...]) -> None:
        """The three lists of loaded libraries (PEB_LDR_DATA), all in the same order."""
        memory = self.memory
        entries = [at + 0x40 + 0x60 * i for _, i in modules]
        for offset in (0xC, 0x14, 0x1C):
            ring = [at + offset, *(e + offset - 0xC for e in entries)]
            for i, link in enumerate(ring):
                memory.write(link, ring[(i + 1) % len(ring)])
                memory.write(link + 4, ring[i - 1])
        for entry, (base, _) in zip(entries, modules, strict=True):
            memory.write(entry + 0x18, base)
            memory.write(entry + 0x20, PAGE)

    def _export(self, library: int, exported: list[str]) -> None:
        """The table of its functions, on its second page."""
        table, count = PAGE, len(exported)
        addresses = table + 0x40
        names, ordinals = addresses + 4 * count, addresses + 8 * count
        text = ordinals + 2 * count
        put = self.memory.put
        self.memory.write(library + 0x80 + 0x78, table)
        put(library + table + 0x14, struct.pack("<5I", count, count, addresses, names, ordinals))
        for i, name in enumerate(exported):
            self.memory.write(library + addresses + 4 * i, self.function(name) - library)
            self.memory.write(library + names + 4 * i, text)
            put(library + ordinals + 2 * i, struct.pack("<H", i))
            put(library + text, name.encode() + b"\0")
            text += len(name) + 1

    def _import(self) -> None:
        """Write the addresses of what it imports to where its header says, if that is anywhere."""
        with contextlib.suppress(struct.error, BadAddressError):
            self._import_libraries()

    def _import_libraries(self) -> None:
        at, _ = self.program.directory(IMPORTS)
        base, left = self.program.base, _IMPORTS_MAX
        while at and left:
            names, _, _, library, slots = struct.unpack_from("<5I", self.memory.content, at)
            if not library or not slots:
                return
            self.module(self.memory.text(base + library).decode("latin-1"))
            thunk = names if 0 < names < self.memory.image_bytes else slots
            while left and (value := self.memory.read(base + thunk)):
                left -= 1
                name = f"#{value & 0xFFFF}"
                if not value >> 31:
                    name = self.memory.text(base + value + 2).decode("latin-1")
                self.memory.write(base + slots, self.function(name))
                thunk, slots = thunk + 4, slots + 4
            at += 20

    def _push(self, value: int) -> None:
        self.r[ESP] = (self.r[ESP] - 4) & MASK
        self.memory.write(self.r[ESP], value)

    def _call(self, name: str, r: list[int]) -> int:
        """A function of Windows was called: answer, and go back."""
        self.called(name)
        count = ARGUMENTS.get(name)
        if count is None:
            raise ProgramCallsError(name)
        stack = r[ESP]
        back = self.memory.read(stack)
        arguments = [self.memory.read(stack + 4 + 4 * i) for i in range(count)]
        r[ESP] = (stack + 4 + 4 * count) & MASK
        answer = ANSWERS.get(name)
        r[EAX] = answer(self, *arguments) & MASK if answer is not None else 0
        return back

    def called(self, name: str) -> None:
        """Before a function of Windows is answered."""

    def module(self, name: str) -> int:
        """The base of a library, which is a header and nothing else."""
        name = name.lower().removesuffix(".dll")
        if name not in self._modules:
            at = self._next_module
            pages = 32 if name == "kernel32" else 2  # all functions are in it
            if at + pages * PAGE > self._modules_at + _MODULES_BYTES:
                raise UnsupportedError("too many libraries")
            self._next_module = at + pages * PAGE
            self._modules[name] = at
            head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
            self.memory.put(at, head.ljust(0x80, b"\0") + b"PE\0\0" + struct.pack("<H", 0x14C))
            self.memory.write(at + 0x80 + 0x34, at)
            self.memory.write(at + 0x80 + 0x50, pages * PAGE)
            self._export(at, EXPORTED.get(name, []))
        return self._modules[name]

    def function(self, name: str) -> int:
        """The address of a function of Windows, whatever library it is in."""
        if name not in self._functions:
            at = self._modules["kernel32"] + 4 * PAGE + self._next_function * _FUNCTION_BYTES
            if self._next_function >= _FUNCTIONS_MAX:
                raise UnsupportedError("too many functions")
            self._next_function += 1
            self._functions[name] = at
            self.memory.put(at, _PROLOGUE)
            self.hooks[at] = self.hooks[at + _BODY] = partial(self._call, name)
        return self._functions[name]

    def allocate(self, size: int, at: int = 0) -> int:
        """Memory that nobody else has."""
        image_end = self.program.base + self.memory.image_bytes
        if self.program.base <= at < image_end or self._heap_start <= at < self._heap:
            return at  # it has it already
        size = -(-max(size, 1) // PAGE) * PAGE
        if self._heap + size > self._heap_start + HEAP_BYTES:
            raise UnsupportedError("it asks for too much memory")
        self._heap += size
        self.memory.grow(self._heap)
        return self._heap - size

    def fault(self, code: int, address: int) -> int:
        """Call the first handler with a record and the registers, on the stack."""
        self._faults_seen += 1
        frame = self._first_handler()
        if self._faults_seen > _FAULTS_MAX or frame in (0, MASK):
            raise UnsupportedError(f"fault {code:#x} at {address:#x} that nobody handles")
        context = (self.r[ESP] - _CONTEXT_BYTES - 0x80) & ~0xF
        record = context - 0x60
        self.memory.put(context, bytes(_CONTEXT_BYTES))
        self.memory.write(context, 0x1003F)
        for register, offset in _REGISTERS_AT:
            self.memory.write(context + offset, self.r[register])
        self.memory.write(context + _EIP, address)
        self.memory.write(context + _FLAGS_AT, flags(self.r))
        self.memory.put(record, struct.pack("<5I", code, 0, 0, address, 0))
        self.r[ESP] = record - 0x10
        nested = self._nest(frame)
        for value in (0, context, frame, record, self._back):
            self._push(value)
        self._faults.append((context, frame, nested))
        return self.memory.read(frame + 4)

    def _first_handler(self) -> int:
        """The innermost frame of the program's own."""
        frame = self.memory.read(self._system)
        for _ in range(_NESTED_MAX):
            if frame in (0, MASK) or self.memory.read(frame + 4) != self._back:
                return frame
            frame = self.memory.read(frame)
        return MASK

    def _nest(self, frame: int) -> int:
        """While a handler runs, Windows has a handler of its own in front of it."""
        self._push(self._back)
        self._push(frame)
        self.memory.write(self._system, self.r[ESP])
        return self.r[ESP]

    def _fault_handled(self, r: list[int]) -> int:
        """The handler came back: go on as the registers that it left say."""
        if not self._faults:
            raise UnsupportedError("it goes back from no fault")
        context, frame, nested = self._faults.pop()
        if self.memory.read(self._system) == nested:
            self.memory.write(self._system, frame)
        if r[EAX] == 1:  # another handler shall do it
            above = self.memory.read(frame)
            if above in (0, MASK):
                raise UnsupportedError("a fault that nobody handles")
            nested = self._nest(above)
            for value in (0, context, above, context - 0x60, self._back):
                self._push(value)
            self._faults.append((context, above, nested))
            return self.memory.read(above + 4)
        for register, offset in _REGISTERS_AT:
            r[register] = self.memory.read(context + offset)
        r[8:12] = unpack_flags(self.memory.read(context + _FLAGS_AT))
        return self.memory.read(context + _EIP)
