"""Has a message disarmed in a child process of its own, which hostile content may well end."""

import asyncio
import contextlib
import json
import sys

import structlog

from mailward.protect.disarm.message import DisarmedMessage

log = structlog.get_logger(__name__)

TIMEOUT_S = 60
"""For one message; documents of ordinary size take less than a second."""
_AT_ONCE = 2
"""Each takes a processor and, at worst, 2 GiB."""
_HEADER_MAX_BYTES = 16 * 1024 * 1024
_GROWTH_MAX = 4
"""Of a message by being disarmed: what is unpacked is packed again, base64 takes a third more."""
_FREE_BYTES = 16 * 1024 * 1024

_LIES = (ValueError, KeyError, TypeError, AttributeError)
"""What an answer that is none ends in: what a message has done to the child nobody knows."""

_turns: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
"""Of the loop that runs, since a semaphore belongs to one: a service has one, tests have many."""


async def disarm_apart(message: bytes) -> DisarmedMessage | None:
    """None: nothing can be taken out of it; also if the child ended or took too long, which is
    logged.
    """
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        _turns.clear()
        _turns[loop] = asyncio.Semaphore(_AT_ONCE)
    async with _turns[loop]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await _ask(message)
        except (TimeoutError, OSError, EOFError, *_LIES) as e:  # S13
            log.error("a message cannot be disarmed", why=str(e) or type(e).__name__)
            return None


async def _ask(message: bytes) -> DisarmedMessage | None:
    """Raises OSError, EOFError where it ended without an answer, one of _LIES for a wrong one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the current folder is no place to import from
        "-m",
        "mailward.protect.disarm.child",
        str(TIMEOUT_S),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_HEADER_MAX_BYTES,
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise EOFError("no pipes")
        process.stdin.write(message)
        await process.stdin.drain()
        process.stdin.close()
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the child ended without an answer")
        told = json.loads(line)
        if told is None:
            return None
        content = await _read(process.stdout, _GROWTH_MAX * len(message) + _FREE_BYTES)
        if await process.wait():
            raise EOFError(f"the child ended with {process.returncode}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return DisarmedMessage(
        content,
        {str(label): tuple(map(str, what)) for label, what in told["removed"].items()},
        {str(label): str(why) for label, why in told["unsound"].items()},
        bool(told["signed"]),
    )


async def _read(stream: asyncio.StreamReader, limit: int) -> bytes:
    """To its end. Raises ValueError where that is too far."""
    pieces, size = [], 0
    while piece := await stream.read(1024 * 1024):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise ValueError(f"more than {limit} bytes")
    return b"".join(pieces)
