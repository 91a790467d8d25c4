"""Programs that unpack themselves: run by the small computer until they are unpacked.

What unpacks is in one section and what it unpacks in another: when the program goes there, and that
is not what was in the file, it is unpacked, and its memory is the program. It goes on, because
packers are put inside each other, until it calls something of Windows that no unpacker needs. What
unpacks into its own section is found at that call, or where it ends.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mailward.scan.programs import portable
from mailward.scan.programs.portable import Program, Section
from mailward.scan.programs.x86.functions import LOADING
from mailward.scan.programs.x86.machine import UnsupportedError
from mailward.scan.programs.x86.memory import MASK, BadAddressError
from mailward.scan.programs.x86.runtime import StepsSpentError
from mailward.scan.programs.x86.windows import ProgramCallsError, Windows

STEPS_MAX = 20_000_000
"""Runs of a few instructions each that one program may take."""
_LOOKED_AT_BYTES = 16
"""Of code, to tell whether it was in the file."""
_DOS_BYTES = 64
_COMPARED_MAX = 16
"""Times that all sections are compared with the file, when code that was in it is met elsewhere."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended."""

    program: bytes | None = None
    """As it was in memory when it was unpacked; None if it never was."""
    remains: bytes | None = None
    """Its memory where it ended, if what it wrote was run or is in other sections."""
    ran_own_writing: bool = False
    """Whether it ran what it had written itself."""
    is_spent: bool = False
    """It did not come to an end."""
    why: str = ""
    """What it came to."""


def unpack(data: bytes, program: Program, is_over: Callable[[], bool]) -> Outcome:
    """Run the program ``data``. ``is_over``: whether there is no more time for that."""
    image = portable.load(data, program)
    if image is None:
        return Outcome(why="it is too large")
    try:
        run = _Unpacking(data, program, image, is_over)
    except (UnsupportedError, BadAddressError) as e:
        return Outcome(why=str(e) or "its imports are nowhere")
    try:
        run.start()
    except ProgramCallsError as e:
        return run.outcome(f"it calls {e.name}", result=run.result() or run.own_layer())
    except StepsSpentError:
        return run.outcome("it takes too long", result=run.result(), is_spent=True)
    except (UnsupportedError, BadAddressError) as e:
        return run.outcome(str(e) or "it goes astray", result=run.result())
    raise AssertionError("it runs until it is stopped")


class _Unpacking(Windows):
    def __init__(
        self, data: bytes, program: Program, image: bytearray, is_over: Callable[[], bool]
    ) -> None:
        self._original = bytes(image)
        super().__init__(data, program, image, STEPS_MAX, is_over)
        self._base = program.base & MASK
        self._section = program.section_of(program.entry)
        self._snapshot: tuple[int, bytes] | None = None
        self._layer: int | None = None
        """Where it last went to what it had written in the section of what unpacks."""
        self._compared = 0

    def met(self, address: int) -> None:
        at = (address - self._base) & MASK
        if at >= len(self._original):
            return
        changed = self._changed(at, at + _LOOKED_AT_BYTES)
        if self._section is not None and self._section.holds(at):
            self._layer = at if changed else self._layer
            return
        section = self.program.section_of(at)
        if section is None or not (changed or self._is_unpacked(section)):
            return
        self._section = section
        self._layer = None
        self._snapshot = at, self._memory()

    def _changed(self, start: int, end: int) -> bool:
        return self.memory.content[start:end] != self._original[start:end]

    def _is_unpacked(self, section: Section) -> bool:
        """Whether others than what unpacks are changed: some packers leave small sections alone."""
        self._compared += 1
        return self._compared <= _COMPARED_MAX and any(
            self._changed(s.address, min(s.end, len(self._original)))
            for s in self.program.sections
            if s != self._section and s != section
        )

    def called(self, name: str) -> None:
        if self._snapshot is not None and name not in LOADING:
            raise ProgramCallsError(name)

    def outcome(self, why: str, *, result: bytes | None, is_spent: bool = False) -> Outcome:
        """How it ended."""
        ran = self._layer is not None or self._snapshot is not None
        return Outcome(result, None if result else self.remains(), ran, is_spent, why)

    def result(self) -> bytes | None:
        """The program where it was unpacked."""
        return self._rebuilt(*self._snapshot) if self._snapshot is not None else None

    def own_layer(self) -> bytes | None:
        """The program as it is now, if it runs what it wrote in its own section."""
        if self._layer is None:
            return None
        return self._rebuilt(self._layer, self._memory())

    def remains(self) -> bytes | None:
        """The program as it is now, if it runs what it wrote, or wrote to other sections."""
        self._compared = 0
        if self._section is not None and self._is_unpacked(self._section):
            return self._rebuilt(self.program.entry, self._memory())
        return self.own_layer()

    def _memory(self) -> bytes:
        return bytes(self.memory.content[: self.memory.image_bytes])

    def _rebuilt(self, entry: int, content: bytes) -> bytes | None:
        """With the headers of the file: unpackers write into theirs."""
        end = self.program.table_at + 40 * len(self.program.sections)
        image = bytearray(content)
        image[:end] = self._original[:end]
        start = self._original[:_DOS_BYTES]
        for section in self.program.sections:
            if image[section.address : section.address + _DOS_BYTES] == start:
                image[section.address : section.address + 2] = bytes(
                    2
                )  # else it would carry itself
        try:
            return portable.rebuilt(self.program, image, entry)
        except ValueError:
            return None
