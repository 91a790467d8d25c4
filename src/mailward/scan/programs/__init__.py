"""Programs: what is packed or carried inside of them."""

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Shut
from mailward.scan.programs import carried, packers, portable, upx
from mailward.scan.programs.portable import Program
from mailward.scan.verdict import Reason


def read(data: bytes, budget: Budget) -> Contents:
    """Programs inside of the program or picture ``data``. Raises only Spent."""
    program = portable.read(data)
    if program is not None:
        yield from _unpacked(data, program, budget)
    yield from carried.read(data, budget)


def _unpacked(data: bytes, program: Program, budget: Budget) -> Contents:
    packed = upx.find(data, program)
    if packed is not None:
        yield from upx.read(data, program, packed, budget)
        return
    packer = packers.name(data)
    if packer is not None:  # S11
        why = f"packed program ({packer}): this release cannot unpack it"
        yield Shut(Reason.UNSUPPORTED, why)
