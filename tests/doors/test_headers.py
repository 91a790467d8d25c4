"""Header fields added and removed without touching anything else."""

import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.doors import headers
from mailward.doors.headers import Trace
from mailward.protect.policy import Decision
from mailward.rules import Action
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict, VerdictKind

DELIVER = Decision(Action.DELIVER, VerdictKind.CLEAN, "")
TRACE = Trace(
    "192.0.2.1", "client.example", "mx.example", "ESMTP", "4711", datetime(2026, 11, 23, tzinfo=UTC)
)

line = st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))
field = st.one_of(
    line,
    line.map(lambda value: b"Subject: " + value),
    line.map(lambda value: b"\t" + value),
    st.sampled_from([b"X-Mail", b"X-Mailward", b"XX-Mailward-Set: 1", b"X-Mailwar-d: 1"]),
)
forged = st.tuples(
    st.sampled_from([b"X-Mailward-", b"x-mailward-", b"X-MAILWARD-VERDICT", b"X-Mailward-Set :"]),
    line,
    st.lists(st.tuples(st.sampled_from([b" ", b"\t"]), line).map(b"".join), max_size=2),
)


def lines(*pieces: bytes) -> bytes:
    return b"".join(piece + b"\r\n" for piece in pieces)


@given(st.lists(field.filter(lambda f: f and not f.lower().startswith(b"x-mailward-"))), line)
def test_a_message_without_our_fields_stays_byte_for_byte(fields: list[bytes], body: bytes) -> None:
    message = lines(*fields, b"", b"X-Mailward-Verdict: clean", body)

    assert headers.without_ours(message) == message


@given(
    st.lists(st.tuples(st.lists(forged), field.filter(bool))),
    st.lists(line),
)
def test_our_fields_go_and_every_other_byte_stays(
    mixed: list[tuple[list[tuple[bytes, bytes, list[bytes]]], bytes]], body: list[bytes]
) -> None:
    others = [f for _, f in mixed if not f.lower().startswith(b"x-mailward-")]
    if any(f.startswith((b" ", b"\t")) for f in others):
        others = [f.strip() or b"x" for f in others]  # else it would belong to a forged one
    written: list[bytes] = []
    for (forgeries, _), other in zip(mixed, others, strict=False):
        for name, value, folded in forgeries:
            written += [name + value, *folded]
        written.append(other)

    found = headers.without_ours(lines(*written, b"", *body))

    assert found == lines(*others[: len(mixed)], b"", *body)


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_survived_and_bodies_never_touched(data: bytes) -> None:
    header, rest = headers.split(data)

    assert header + rest == data
    assert headers.without_ours(data).endswith(rest)
    assert headers.hops(data) <= data.lower().count(b"received")
    assert headers.without_ours(headers.without_ours(data)) == headers.without_ours(data)


def test_a_header_of_ours_alone_leaves_an_empty_header() -> None:
    assert headers.without_ours(b"X-Mailward-Tag: no\r\n\r\nbody\r\n") == b"\r\nbody\r\n"


def test_a_message_without_a_header_is_all_body() -> None:
    message = b"\r\nX-Mailward-Tag: no\r\n\r\n"

    assert headers.split(message) == (b"", message)
    assert headers.without_ours(message) == message


def test_hops_are_counted_in_the_header_only() -> None:
    message = lines(b"Received: a", b"received : b", b"X-Received: c", b"", b"Received: d")

    assert headers.hops(message) == 2


def test_a_megabyte_of_header_takes_no_time() -> None:
    hostile = b"X-Mailward-" * 10 + b"\r\n" + b" \r\n" * 500_000 + b"Received" * 10_000

    assert headers.without_ours(hostile) == b"Received" * 10_000


def parsed(fields: bytes) -> dict[str, str]:
    message = message_from_bytes(fields + b"\r\n", policy=SMTP)
    assert not message.defects
    return {name: re.sub(r"\s+", " ", str(value)) for name, value in message.items()}


def test_a_clean_message_says_so_and_by_which_set() -> None:
    assert parsed(headers.verdict_fields(Verdict(set="20261123.007"), DELIVER)) == {
        "X-Mailward-Verdict": "clean",
        "X-Mailward-Set": "20261123.007",
    }


def test_what_was_found_is_named_once_and_only_tagged_mail_has_a_tag() -> None:
    risk = Risk("Test.Odd", "fake", "message", "1", suspicious=True)
    locked = Unopened("message/1", Reason.ENCRYPTED), Unopened("message/2", Reason.LIMIT)
    verdict = Verdict((risk, risk), locked, set="1")
    tag = Decision(Action.TAG, VerdictKind.SUSPICIOUS, "")

    assert parsed(headers.verdict_fields(verdict, tag)) == {
        "X-Mailward-Verdict": "suspicious",
        "X-Mailward-Set": "1",
        "X-Mailward-Risk": "Test.Odd",
        "X-Mailward-Unscannable": "encrypted, limit",
        "X-Mailward-Tag": "suspicious",
    }
    assert "X-Mailward-Tag" not in parsed(headers.verdict_fields(verdict, DELIVER))


@pytest.mark.parametrize("name", ["A\r\nBcc: victim@example.net", "Bös" * 100, "\x00", "C" * 5000])
def test_names_of_risks_add_no_fields_and_no_long_lines(name: str) -> None:
    risks = tuple(Risk(f"{name}{i}", "fake", "message", "1") for i in range(50))

    fields = headers.verdict_fields(Verdict(risks), DELIVER)

    assert fields.isascii()
    assert all(len(line) <= 998 for line in fields.split(b"\r\n"))
    assert set(parsed(fields)) == {"X-Mailward-Verdict", "X-Mailward-Risk"}


def test_the_trace_follows_rfc_5321() -> None:
    assert parsed(headers.received(TRACE)) == {
        "Received": "from client.example ([192.0.2.1]) by mx.example with ESMTP id 4711; "
        "Mon, 23 Nov 2026 00:00:00 +0000"
    }


@pytest.mark.parametrize(
    ("helo", "shown"),
    [("a b\tc", "a?b?c"), ("(comment", "?comment"), ("grüße", "gr??e"), ("[192.0.2.1]",) * 2],
)
def test_what_the_client_calls_itself_cannot_break_the_trace(helo: str, shown: str) -> None:
    trace = Trace("2001:db8::1", helo, "mx.example", "SMTP", "1", TRACE.at)

    assert headers.received(trace).startswith(
        f"Received: from {shown} ([IPv6:2001:db8::1])\r\n".encode()
    )
