"""People hear what became of messages: who, how often, in which words; never in a loop."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email import policy as email_policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailward.errors import ConfigError, TemporaryError
from mailward.protect.events import Event
from mailward.protect.held import Envelope, Held
from mailward.protect.mail import Mail
from mailward.protect.notify.limits import HourlyLimits
from mailward.protect.notify.notice import Notice, notices
from mailward.protect.notify.notifier import Notifier
from mailward.protect.notify.text import Texts, harmless
from mailward.protect.policy import Decision, ForSome
from mailward.rules import Action, Audience
from mailward.scan.verdict import Verdict, VerdictKind
from mailward.settings.notify import NotifySettings
from mailward.settings.protect import PolicySettings

_TESTS = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
ALL = (Audience.RECIPIENTS, Audience.ADMIN, Audience.SENDER)
POLICY = PolicySettings(internal=("10.0.0.0/8",))
OUTSIDE, INSIDE = "192.0.2.1", "10.0.0.1"


def some(*recipients: str, notify: tuple[Audience, ...] = ALL, **more: Any) -> ForSome:
    values = {"action": Action.QUARANTINE, "reason": "it is encrypted", **more}
    return ForSome(
        Decision(because=VerdictKind.UNSCANNABLE, notify=notify, **values), recipients
    )  # fmt: skip


def held(decided: ForSome, id_: str = "20261123T100000-00000001") -> Held:
    envelope = Envelope("a@example.org", decided.recipients)
    return Held(id_, NOW, envelope, 1, "", Verdict(), decided.decision)


def mail(client: str = OUTSIDE, sender: str = "a@example.org", head: str = "") -> Mail:
    content = f"Subject: Figures\r\n{head}\r\nbody\r\n".encode()
    return Mail(sender, ("b@example.net", "c@example.net"), client, content)


def chosen(**settings: Any) -> NotifySettings:
    return NotifySettings.model_validate({"admin": ["admin@example.net"], **settings})


OURS = chosen(domains=["example.org", "example.net"])


def told(decided: ForSome, about: Mail, settings: NotifySettings = OURS) -> list[tuple[str, str]]:
    found = notices([decided], [held(decided)], about, POLICY, settings, NOW)
    return [(notice.audience.value, notice.to) for notice in found]


BOTH = some("b@example.net", "c@example.net")


def test_recipients_and_the_administrator_are_told_the_sender_from_outside_never() -> None:
    assert told(BOTH, mail()) == [
        ("recipients", "b@example.net"), ("recipients", "c@example.net"),
        ("admin", "admin@example.net"),
    ]  # fmt: skip


def test_of_mail_from_inside_the_sender_is_told_and_strangers_are_not() -> None:
    away = chosen(domains=["example.org"])

    assert told(BOTH, mail(INSIDE), away) == [
        ("admin", "admin@example.net"), ("sender", "a@example.org")
    ]  # fmt: skip
    assert told(BOTH, mail(INSIDE), chosen()) == [("admin", "admin@example.net")]


@pytest.mark.parametrize("sender", ["a@elsewhere.example", "a@notexample.org", "", "a"])
def test_a_sender_that_is_not_ours_is_not_told_even_if_its_mail_comes_from_inside(
    sender: str,
) -> None:
    assert ("sender", sender) not in told(BOTH, mail(INSIDE, sender))


def test_domains_hold_in_any_case_and_for_all_below_a_star() -> None:
    settings = chosen(domains=["Example.ORG", "*.example.net"])

    assert settings.is_ours("a@EXAMPLE.org")
    assert settings.is_ours("a@x.y.example.net")
    assert not settings.is_ours("a@example.net")


@pytest.mark.parametrize(
    "head", ["Auto-Submitted: auto-replied\r\n", "Precedence: bulk\r\n", "List-Id: <a.b>\r\n"]
)
def test_nobody_answers_what_was_sent_automatically(head: str) -> None:
    assert ("sender", "a@example.org") not in told(BOTH, mail(INSIDE, head=head))


def test_a_notification_that_comes_back_causes_no_other() -> None:
    made = Texts(None, "mailward@example.net").message(
        notices([BOTH], [], mail(), POLICY, OURS, NOW)[0]
    )

    assert told(BOTH, Mail("", ("b@example.net",), OUTSIDE, made)) == []
    assert told(BOTH, Mail("", ("b@example.net",), INSIDE, made)) == []


def test_the_entry_that_is_named_is_the_readers_own() -> None:
    first, second = some("b@example.net"), some("c@example.net", reason="another")
    entries = [held(first, "20261123T100000-00000001"), held(second, "20261123T100000-00000002")]

    found = notices([first, second], entries, mail(), POLICY, chosen(admin=[]), NOW)
    found = [notice for notice in found if notice.audience is Audience.RECIPIENTS]

    assert [(n.to, n.held_as[-1]) for n in found] == [
        ("b@example.net", "1"),
        ("c@example.net", "2"),
    ]


def notice(**values: Any) -> Notice:
    plain: dict[str, Any] = {
        "audience": Audience.RECIPIENTS, "to": "b@example.net", "at": NOW,
        "sender": "a@example.org", "recipients": ("b@example.net",), "subject": "Figures",
        "action": Action.QUARANTINE, "reason": "it is encrypted", "held_as": "20261123T1-1",
    }  # fmt: skip
    return Notice(**(plain | values))


def parsed(content: bytes) -> EmailMessage:
    message = BytesParser(policy=email_policy.SMTP).parsebytes(content)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_a_notification_is_automatic_plain_text_and_says_what_happened() -> None:
    made = parsed(Texts(None, "mailward@example.net").message(notice(), "https://m.example/q/x"))

    assert made["Auto-Submitted"] == "auto-generated"
    assert made["From"] == "Mailward <mailward@example.net>"
    assert made["To"] == "b@example.net"
    assert made.get_content_type() == "text/plain"
    for words in ("was held by", "a@example.org", "Figures", "it is encrypted", "m.example/q/x"):
        assert words in made.get_content()


def test_a_senders_words_become_no_header_no_link_and_no_other_line() -> None:
    evil = (
        "x\r\nBcc: victim@example.com\r\n\r\n<script>\u202e https://evil.example www.evil.example"
    )

    made = parsed(
        Texts(None, "mailward@example.net").message(
            notice(subject=evil, sender=evil, to='"a\r\nBcc: x"@example.net', reason="$held ${to}")
        )
    )

    assert made["Bcc"] is None
    assert made["To"] == "undisclosed-recipients:;"
    assert "evil" not in " ".join(made.values())
    text = made.get_content()
    assert not any(line.startswith("Bcc") for line in text.splitlines())
    assert "://" not in text
    assert "www." not in text
    assert "\u202e" not in text
    assert "$held ${to}" in text


def test_what_is_long_is_cut() -> None:
    assert harmless("x" * 100_000) == "x" * 199 + "…"


def test_texts_may_be_the_administrators_own(tmp_path: Path) -> None:
    (tmp_path / "recipients.txt").write_text("Subject: Angehalten\n\nGrüße: $subject $unknown\n")

    made = parsed(Texts(tmp_path, "mailward@example.net").message(notice()))

    assert made["Subject"] == "Angehalten"
    assert made.get_content() == "Grüße: Figures $unknown\r\n"


@pytest.mark.parametrize(
    "text", ["", "Betreff: x\n\ny", "Subject: ü\n\ny", "Subject: $subject\x07"]
)
def test_a_text_without_a_subject_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "admin.txt").write_text(text)

    with pytest.raises(ConfigError, match=r"admin\.txt does not begin"):
        Texts(tmp_path, "mailward@example.net")


def test_one_address_and_all_together_get_no_more_than_they_may() -> None:
    limits = HourlyLimits(2, 3)

    assert [limits.take("A@example.net", 0), limits.take("a@example.net", 1)] == [True, True]
    assert not limits.take("a@example.NET", 2)
    assert limits.take("b@example.net", 3)
    assert not limits.take("c@example.net", 4)
    assert limits.take("c@example.net", 3600)


class Hop:
    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.taken: list[tuple[Envelope, EmailMessage]] = []
        self.more = asyncio.Event()

    async def send(self, envelope: Envelope, content: bytes) -> Mapping[str, str]:
        answer = self.answers.pop(0) if self.answers else ""
        self.more.set()
        if isinstance(answer, Exception):
            raise answer
        if answer:
            return dict.fromkeys(envelope.recipients, answer)
        self.taken.append((envelope, parsed(content)))
        return {}


Start = Callable[..., Notifier]


@pytest.fixture
def notifier(tmp_path: Path) -> Start:
    return partial(notifier_of, tmp_path / "notices")


def notifier_of(folder: Path, hop: Hop, events: list[Event], **settings: Any) -> Notifier:
    return Notifier(
        chosen(**settings), "mailward@example.net", hop.send, events.append, folder,
        link=lambda id_, to: f"https://m.example/q/{id_[-1]}{to}", retry_s=0.01,
    )  # fmt: skip


async def test_each_reader_gets_one_with_nobody_to_bounce_to(notifier: Start) -> None:
    hop, events = Hop(), list[Event]()

    async with notifier(hop, events) as tells:
        tells.note([BOTH], [held(BOTH)], mail(), POLICY)

    assert [envelope for envelope, _ in hop.taken] == [
        Envelope("", (to,)) for to in ("b@example.net", "c@example.net", "admin@example.net")
    ]
    texts = [message.get_content() for _, message in hop.taken]
    assert "https://m.example/q/1b@example.net" in texts[0]
    assert "https://" not in texts[2]  # the administrator needs no link
    assert [(event.event, event.answer) for event in events] == [("notified", "sent")] * 3


async def test_what_is_not_taken_is_tried_again_and_dropped_in_the_end(notifier: Start) -> None:
    hop, events = Hop("451 later", TemporaryError("down")), list[Event]()
    one = some("b@example.net", notify=(Audience.RECIPIENTS,))
    async with notifier(hop, events) as tells:
        tells.note([one], [held(one)], mail(), POLICY)
        while not events:
            await asyncio.wait_for(hop.more.wait(), 10)
            hop.more.clear()
            await asyncio.sleep(0)
    assert len(hop.taken) == 1

    hop, events = Hop("550 unknown"), list[Event]()
    async with notifier(hop, events) as tells:
        tells.note([one], [held(one)], mail(), POLICY)
    assert (hop.taken, [event.answer for event in events]) == ([], ["550 unknown"])


async def test_a_flood_is_cut_at_the_limits(notifier: Start) -> None:
    hop, events = Hop(), list[Event]()
    one = some("b@example.net", notify=(Audience.RECIPIENTS,))

    async with notifier(hop, events, per_recipient_per_h=3) as tells:
        for _ in range(50):
            tells.note([one], [held(one)], mail(), POLICY)

    assert len(hop.taken) == 3


async def test_a_digest_tells_of_all_held_messages_in_one(notifier: Start) -> None:
    hop, events = Hop(), list[Event]()
    one = some("b@example.net", notify=(Audience.RECIPIENTS,))

    async with notifier(hop, events, digest_h=24) as tells:
        for number in range(1, 4):
            tells.note([one], [held(one, f"20261123T100000-0000000{number}")], mail(), POLICY)
        assert hop.taken == []

    ((envelope, message),) = hop.taken
    assert envelope == Envelope("", ("b@example.net",))
    assert message.get_content().count("Figures") == 3
    for number in range(1, 4):
        assert f"https://m.example/q/{number}b@example.net" in message.get_content()


async def test_nothing_that_a_message_holds_makes_it_fail(notifier: Start) -> None:
    hop, events = Hop(), list[Event]()
    odd = Mail("\udcff\n", ("b@example.net",), OUTSIDE, b"\xff\xfe\0" * 100)

    async with notifier(hop, events) as tells:
        tells.note([BOTH], [held(BOTH)], odd, POLICY)

    assert len(hop.taken) == 3


async def test_what_a_killed_process_had_to_tell_is_told_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "notices"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TOLD_NOBODY, str(folder), cwd=_TESTS.parent
    )  # fmt: skip
    async with asyncio.timeout(60):
        while len(list(folder.glob("*/[0-9]*"))) < 4:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.01)
        others: list[Event] = []
        async with notifier_of(folder, Hop(), others):
            pass
        assert others == []  # it lives: what it has to tell is its own
        child.kill()
        await child.wait()

    hop, events = Hop(), list[Event]()
    async with notifier_of(folder, hop, events, digest_h=24) as tells:
        assert tells is not None
    told = sorted((envelope.recipients[0], len(events)) for envelope, _ in hop.taken)
    assert [to for to, _ in told] == ["admin@example.net"] * 2 + ["b@example.net"]
    [digest] = [m.get_content() for e, m in hop.taken if e.recipients == ("b@example.net",)]
    assert digest.count("Figures") == 2
    assert [path for path in folder.iterdir() if path.is_dir()] == []


_TOLD_NOBODY = """
import asyncio, sys
from pathlib import Path
from mailward.rules import Audience
from tests.protect.test_notify import POLICY, Hop, held, mail, notifier_of, some

async def main():
    hop = Hop(*["451 later"] * 100)
    async with notifier_of(Path(sys.argv[1]), hop, [], digest_h=24) as tells:
        one = some("b@example.net", notify=(Audience.RECIPIENTS, Audience.ADMIN))
        for number in (1, 2):
            tells.note([one], [held(one, f"20261123T100000-0000000{number}")], mail(), POLICY)
        await asyncio.sleep(100)

asyncio.run(main())
"""


async def test_what_is_not_taken_at_a_clean_stop_is_told_by_the_next(notifier: Start) -> None:
    hop, events = Hop(*["451 later"] * 100), list[Event]()
    one = some("b@example.net", notify=(Audience.RECIPIENTS,))
    async with notifier(hop, events) as tells:
        tells.note([one], [held(one)], mail(), POLICY)
    assert (hop.taken, events) == ([], [])

    hop = Hop()
    async with notifier(hop, events):
        pass
    assert [event.answer for event in events] == ["sent"]
    assert len(hop.taken) == 1


async def test_what_was_left_and_is_damaged_is_dropped_and_the_rest_told(
    tmp_path: Path, notifier: Start
) -> None:
    left = tmp_path / "notices/0123"
    left.mkdir(parents=True)
    damaged = (b"", b"[]", b"{}", b'{"audience": 1}', b"\xff" * 1000, b"[" * 100_000)
    for number, content in enumerate(damaged):
        (left / str(number)).write_bytes(content)
    hop, events = Hop(), list[Event]()
    async with notifier(hop, events) as tells:
        tells.note([BOTH], [held(BOTH)], mail(), POLICY)
    assert len(hop.taken) == 3
    assert not left.exists()


async def test_a_disk_that_fails_stops_no_notification(tmp_path: Path, notifier: Start) -> None:
    (tmp_path / "notices").write_text("no folder")
    hop, events = Hop(), list[Event]()
    async with notifier(hop, events) as tells:
        tells.note([BOTH], [held(BOTH)], mail(), POLICY)
    assert len(hop.taken) == 3
