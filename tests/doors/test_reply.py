"""Replies as they go over the line."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mailward.doors.reply import Reply


def test_a_reply_of_the_next_hop_is_passed_on_to_the_letter() -> None:
    reply = Reply(550, ("5.1.1 <b@example.net>: no such user", "5.1.1 Ask postmaster"))

    assert reply.wire() == (
        b"550-5.1.1 <b@example.net>: no such user\r\n550 5.1.1 Ask postmaster\r\n"
    )


def test_an_enhanced_code_is_added_where_there_is_none() -> None:
    assert Reply.of("250 OK").wire() == b"250 2.0.0 OK\r\n"
    assert Reply.of("503 Error").wire() == b"503 5.5.1 Error\r\n"
    assert Reply.of("450 4.7.1").wire() == b"450 4.7.1\r\n"
    assert Reply.of("354 Go on").wire() == b"354 Go on\r\n"


@given(st.integers(200, 599), st.lists(st.text(max_size=600), max_size=5))
def test_any_text_is_one_reply_that_a_client_can_read(code: int, texts: list[str]) -> None:
    lines = Reply(code, tuple(texts)).wire().split(b"\r\n")

    assert lines.pop() == b""
    assert all(re.fullmatch(rb"[0-9]{3}-[\t -~]*", line) for line in lines[:-1])
    assert re.fullmatch(rb"[0-9]{3} [\t -~]*", lines[-1])
    assert all(len(line) <= 510 for line in lines)
