"""Programs: what is packed or carried inside of them."""

import hashlib
import time

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Found, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.programs import carried, emulated, packers, portable, upx, upx_elf
from mailward.scan.programs.labels import REMAINS, UNPACKED
from mailward.scan.programs.portable import Program
from mailward.scan.verdict import Reason


def read(data: bytes, budget: Budget) -> Contents:
    """Programs inside of the program or picture ``data``. Raises only Spent."""
    program = portable.read(data)
    elf = upx_elf.find(data)
    if program is not None:
        yield from _unpacked(data, program, budget)
    elif elf is not None:
        yield from upx_elf.read(data, elf, budget)
    elif (packer := packers.name_elsewhere(data)) is not None:
        yield from _shut(packer, "its headers are damaged, or for another system")
    yield from carried.read(data, program, budget)


def _unpacked(data: bytes, program: Program, budget: Budget) -> Contents:
    packed = upx.find(data, program)
    failed: list[Found] = []
    if packed is not None:
        failed = list(upx.read(data, program, packed, budget))
        if any(isinstance(found, Piece) and found.label == UNPACKED for found in failed):
            yield from failed
            return
    packer = packers.name(data) or ("UPX" if packed is not None else None)
    if packer is None and not packers.looks_packed(data, program):
        return
    if hashlib.sha256(data).digest() in budget.emulated:
        return  # it came out of the small computer itself, which went on as far as it could
    if not packers.can_run(program):
        yield from failed or (_shut(packer, "it is not for 32 bits") if packer else ())
        return
    outcome = _run(data, program, budget)
    is_packed = packer is not None or outcome.ran_own_writing
    content, label = outcome.program, UNPACKED
    if content is None and is_packed:  # what only writes to its data is no packed program
        content, label = outcome.remains, REMAINS
    if content is not None:
        budget.emulated.add(hashlib.sha256(content).digest())
        yield Piece(content[: budget.room() + 1], Role.MEMBER, label=label)
    if outcome.is_spent:
        yield Shut(Reason.LIMIT, f"packed program ({packer or 'unknown'}): {outcome.why}")
    elif outcome.program is None and is_packed:
        yield from failed or _shut(packer, outcome.why)


def _shut(packer: str | None, why: str) -> Contents:
    what = f"packed program ({packer or 'unknown'}): this release cannot unpack it"  # S11
    yield Shut(Reason.UNSUPPORTED, f"{what}: {why}" if why else what)


def _run(data: bytes, program: Program, budget: Budget) -> emulated.Outcome:
    """Within what the message may compute for this, and the time that it has."""
    before = time.process_time()
    end = before + budget.emulation_left_s
    outcome = emulated.unpack(
        data, program, lambda: time.process_time() > end or budget.time_left_s <= 0
    )
    budget.emulation_left_s -= time.process_time() - before
    return outcome
