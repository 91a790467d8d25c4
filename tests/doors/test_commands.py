"""Arguments of MAIL and RCPT."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailward.doors.commands import BadCommandError, Mail, parse_mail, parse_rcpt


@pytest.mark.parametrize(
    ("argument", "mail"),
    [
        ("FROM:<a@example.org>", Mail("a@example.org")),
        ("from: <a@example.org>", Mail("a@example.org")),
        ("FROM:a@example.org", Mail("a@example.org")),
        ("FROM:<>", Mail("")),
        ("FROM:<> SIZE=0", Mail("", size=0)),
        ('FROM:<"a> \\" b"@example.org>', Mail('"a> \\" b"@example.org')),
        (
            "FROM:<a@example.org>  size=7   BODY=8bitmime SmtpUtf8",
            Mail("a@example.org", 7, "8BITMIME", smtputf8=True),
        ),
    ],
)
def test_good_arguments(argument: str, mail: Mail) -> None:
    assert parse_mail(argument) == mail


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", 501),
        ("FROM:", 501),
        ("FROM:<a b@example.org>", 501),
        ("FROM:<a@example.org>>", 501),
        ("FROM:<<a@example.org>", 501),
        ('FROM:<"a@example.org>', 501),
        ("FROM:<a@example.org>x", 501),
        ("FROM:<a\x00@example.org>", 501),
        ("FROM:<a\x85@example.org>", 501),
        ("FROM:<a\udcff@example.org> SMTPUTF8", 501),
        ("FROM:<a\u2028@example.org> SMTPUTF8", 501),
        ("FROM:<a@example.org> SIZE", 501),
        ("FROM:<a@example.org> SIZE=", 501),
        ("FROM:<a@example.org> SIZE=1e9", 501),
        ("FROM:<a@example.org> SIZE=٣", 501),
        ("FROM:<a@example.org> SIZE=" + "9" * 21, 501),
        ("FROM:<a@example.org> X=\t", 501),
        ("FROM:<a@example.org> AUTH=<>", 555),
        ("FROM:<" + "a" * 1001 + ">", 553),
        ("FROM:<ü@example.org>", 553),
    ],
)
def test_bad_arguments(argument: str, code: int) -> None:
    with pytest.raises(BadCommandError) as caught:
        parse_mail(argument)
    assert caught.value.reply.code == code


@given(st.text())
@example("TO:<a@example.org>")
def test_a_path_that_is_accepted_is_one_that_was_sent_and_stays_in_its_command(text: str) -> None:
    for argument in (text, f"TO:{text}", f"TO:<{text}>"):
        try:
            path = parse_rcpt(argument, smtputf8=True)
        except BadCommandError:
            continue
        assert path in argument
        assert path
        assert not set(path) & set("\r\n\0")
        assert parse_rcpt(f"TO:<{path}>", smtputf8=True) == path


@pytest.mark.parametrize("piece", ['"', "<", "\\", " ", '"\\', "a=", " a=b"])
def test_hostile_arguments_take_no_time(piece: str) -> None:
    began = time.perf_counter()
    with pytest.raises(BadCommandError):
        parse_mail("FROM:<a> " + piece * 20_000 + "\x7f")
    with pytest.raises(BadCommandError):
        parse_mail("FROM:<" + piece * 20_000)
    assert time.perf_counter() - began < 1
