"""Mailward as a milter of a real Postfix."""

import smtplib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward import main, testing
from mailward.config import Config
from mailward.protect.held import Held
from tests.e2e import postfix, service, through

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server(starter: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[postfix.Postfix]:
    """Postfix with Mailward on a Unix socket."""
    if reason := postfix.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("run")
    place = tempfile.TemporaryDirectory(prefix="mailward-milter-")
    Path(place.name).chmod(0o755)  # Postfix's user has to get there
    path = Path(place.name) / "milter.sock"
    doors = {
        "SMTP__ENABLED": "false",
        "MILTER__ENABLED": "true",
        "MILTER__LISTEN": f'["{path}"]',
        "MILTER__SOCKET_MODE": "666",
    }
    more = f"smtpd_milters = unix:{path}\nmilter_default_action = tempfail\n"
    with (
        place,
        service.running(starter.state_dir, folder, str(path), **doors),
        postfix.running(more) as instance,
    ):
        yield instance


@pytest.fixture
def mailbox(server: postfix.Postfix, starter: Config) -> postfix.Postfix:
    server.empty()
    quarantine = main.quarantine(starter)
    for entry in quarantine.list():
        quarantine.delete(entry.id)
    return server


def send(server: postfix.Postfix, message: bytes, *to: str) -> tuple[int, bytes]:
    """The answer to the message."""
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.ehlo("client.example")
        client.mail("sender@example.org")
        for recipient in to or (f"m1@{postfix.DOMAIN}",):
            client.rcpt(recipient)
        return client.data(message)


def sample(name: str) -> bytes:
    return next(s.message for s in testing.samples() if s.name == name)


def test_clean_mail_arrives_as_it_was_with_its_verdict_on_top(mailbox: postfix.Postfix) -> None:
    forged = b"X-Mailward-Verdict: infected\r\nX-Mailward-Tag: none\r\nX-MAILWARD-VERDICT: a\r\n"
    message = sample("clean")
    assert send(mailbox, forged + message)[0] == 250
    (mail,) = mailbox.delivered(1)
    head, _, body = mail.partition(b"\n\n")
    assert head.count(b"X-Mailward-Verdict: clean\n") == 1
    assert head.upper().count(b"X-MAILWARD-") == 2  # verdict and set
    assert body.replace(b"\n", b"\r\n") == message.partition(b"\r\n\r\n")[2]


def test_malware_is_refused_by_postfix_in_our_words(mailbox: postfix.Postfix) -> None:
    code, text = send(mailbox, sample("EICAR in a zip"))
    assert code == 550
    assert text.startswith(b"5.7.1 Message refused: it contains malware (Mailward.Test.EICAR")
    assert mailbox.delivered(0) == []


def test_held_mail_is_with_us_and_not_with_postfix(
    mailbox: postfix.Postfix, starter: Config
) -> None:
    recipients = (f"m1@{postfix.DOMAIN}", f"m2@{postfix.DOMAIN}")
    suspicious = sample("program, called one")
    assert send(mailbox, suspicious, *recipients)[0] == 250
    (held,) = main.quarantine(starter).list()
    assert isinstance(held, Held)
    assert held.envelope.recipients == recipients
    message = main.quarantine(starter).message(held.id)
    assert message.partition(b"\r\n\r\n")[2] == suspicious.partition(b"\r\n\r\n")[2]
    assert mailbox.delivered(0) == []


def test_what_is_unscannable_is_tagged(mailbox: postfix.Postfix) -> None:
    assert send(mailbox, sample("encrypted archive"))[0] == 250
    (mail,) = mailbox.delivered(1)
    assert b"\nX-Mailward-Tag: unscannable\n" in mail


@pytest.mark.shared
def test_real_mail_arrives_to_the_byte(
    mailbox: postfix.Postfix, shared: Path, starter: Config
) -> None:
    messages = through.corpus(shared, 60)
    codes = []
    for number, message in enumerate(messages):
        codes.append(send(mailbox, message, f"m{number}@{postfix.DOMAIN}")[0])
    assert len(messages) > 40
    held = len(main.quarantine(starter).list())
    delivered = mailbox.delivered(codes.count(250) - held)
    assert len(delivered) + held + codes.count(550) == len(messages)
    assert set(codes) <= {250, 550}
    bodies = sorted(mail.partition(b"\n\n")[2] for mail in delivered)
    sent = {m.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") for m in messages}
    assert all(body in sent for body in bodies)


def test_when_mailward_is_gone_nothing_passes(tmp_path: Path) -> None:
    if reason := postfix.why_not():
        pytest.skip(reason)
    path = tmp_path / "nobody.sock"
    more = f"smtpd_milters = unix:{path}\nmilter_default_action = tempfail\n"
    with postfix.running(more) as server, smtplib.SMTP("127.0.0.1", server.port) as client:
        client.ehlo("client.example")
        assert client.mail("sender@example.org")[0] // 100 == 4
        assert server.delivered(0) == []
