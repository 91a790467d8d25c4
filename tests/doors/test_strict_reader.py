"""Lines and data out of a stream that comes in pieces of any size."""

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailward.doors.strict_reader import CHUNK, Data, StrictReader, smuggling_fault

MAX_BYTES = 1000

content = st.one_of(
    st.binary(max_size=60).map(lambda b: b.replace(b"\r\n", b"")),
    st.text(".\r\n\0a", max_size=30).map(str.encode),
)


def read(stream: bytes, cut: int, max_bytes: int = MAX_BYTES) -> tuple[Data, bytes]:
    """The message at the front of the stream, and what is left behind it."""

    async def run() -> tuple[Data, bytes]:
        reader = StrictReader(limit=32, loop=asyncio.get_running_loop())
        task = asyncio.ensure_future(reader.read_data(max_bytes))
        for start in range(0, len(stream), cut):
            reader.feed_data(stream[start : start + cut])
            await asyncio.sleep(0)
        data = await asyncio.wait_for(task, 5)
        reader.feed_eof()
        return data, await reader.read()

    return asyncio.run(run())


@settings(max_examples=150)
@given(st.lists(st.text("ab.\0\r\n", max_size=8).map(str.encode), max_size=8), st.integers(1, 40))
@example([b"."], 1)
@example([b"", b"."], 2)
def test_what_was_stuffed_comes_back_and_what_follows_is_left(
    pieces: list[bytes], cut: int
) -> None:
    lines = [piece.replace(b"\r\n", b"\r") for piece in pieces]
    message = b"".join(line + b"\r\n" for line in lines).replace(b"\r\r\n", b"\r\n")
    stuffed = b"".join(
        (b"." if line.startswith(b".") else b"") + line + b"\r\n"
        for line in message.split(b"\r\n")[:-1]
    )

    data, rest = read(stuffed + b".\r\nQUIT\r\n", cut)

    assert data == Data(message, len(stuffed))
    assert rest == b"QUIT\r\n"


def test_an_empty_message() -> None:
    for cut in (1, 2, 3, 50):
        assert read(b".\r\nQUIT\r\n", cut) == (Data(b"", 0), b"QUIT\r\n")


def test_the_limit_is_exact_and_what_is_over_it_is_not_kept() -> None:
    line = b"x" * (MAX_BYTES - 2) + b"\r\n"

    assert read(line + b".\r\n", 7)[0] == Data(line, MAX_BYTES)
    assert read(b"x" + line + b".\r\n", 7)[0] == Data(b"", MAX_BYTES + 1, too_large=True)


def test_a_large_message_is_read_quickly() -> None:
    lines = b"\r\n" * 1_000_000

    async def run() -> Data:
        reader = StrictReader(limit=CHUNK, loop=asyncio.get_running_loop())
        reader.feed_data(lines + b".\r\n")
        return await reader.read_data(len(lines))

    assert asyncio.run(run()).content == lines


@given(content)
def test_only_messages_that_all_servers_read_alike_pass(message: bytes) -> None:
    lines = message.split(b"\r\n")
    bare = any(b"\r" in line or b"\n" in line for line in lines)
    hidden = any(line.replace(b"\0", b"") == b"." and line.startswith(b"\0") for line in lines[:-1])

    assert (smuggling_fault(message) is not None) == (bare or hidden)
