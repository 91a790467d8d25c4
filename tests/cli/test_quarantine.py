"""`mailward quarantine` on a real quarantine, with a mail server that takes or refuses."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.quarantine import app
from mailward.doors.testing import FakeHop
from mailward.errors import TemporaryError, UsageError
from mailward.protect.held import Envelope, Held
from mailward.protect.mail import Mail
from mailward.protect.policy import decide
from mailward.protect.quarantine import Quarantine
from mailward.protect.requests import ReleaseRequest, RequestBook
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict
from mailward.settings.protect import PolicySettings, QuarantineSettings

Run = Callable[..., Result]

MESSAGE = b"Subject: hello\r\n\r\n\xff.\r\n.dot\r\n"
RISK = Risk("Test.[bold]Odd\x1b[2J", "fake", "message/1:a.zip", "20261123.007", suspicious=True)
VERDICT = Verdict((RISK,), (Unopened("message/2", Reason.ENCRYPTED),), set="20261123.007")


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "state/quarantine", QuarantineSettings())


@pytest.fixture
def held(quarantine: Quarantine) -> Held:
    envelope = Envelope("", ("b@example.net", "c@example.net"))
    return quarantine.hold(
        MESSAGE, envelope, VERDICT, decide(VERDICT, PolicySettings(), Mail("", (), "", b""))
    )


@pytest.fixture
def run(tmp_path: Path, hop: FakeHop) -> Run:
    """Runs a command; errors come out as raised."""
    config = tmp_path / "mailward.toml"
    config.write_text(
        f'state_dir = "{tmp_path}/state"\n'
        f'[smtp]\nnext_hop = "{hop.address}"\nhostname = "mx.example"\n'
    )

    def invoke(*arguments: str) -> Result:
        runner = CliRunner(env={"MAILWARD_CONFIG": str(config), "COLUMNS": "200"})
        result = runner.invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_the_list_is_empty_at_first(run: Run) -> None:
    assert run("list").output == "Nothing is in quarantine.\n"
    assert json.loads(run("list", "--json").output) == []


def test_the_list_names_who_what_and_why(run: Run, held: Held, quarantine: Quarantine) -> None:
    (entry,) = json.loads(run("list", "--json").output)

    assert entry["id"] == held.id
    assert (entry["sender"], entry["recipients"]) == ("", ["b@example.net", "c@example.net"])
    assert (entry["verdict"], entry["because"]) == ("suspicious", "suspicious")
    assert entry["risks"][0]["name"] == RISK.name
    assert entry["size_bytes"] == len(MESSAGE)
    shown = run("list").output
    assert held.id in shown
    assert "b@example.net and 1 more" in shown


def test_names_out_of_mail_do_not_reach_the_terminal_raw(run: Run, held: Held) -> None:
    for shown in (run("list").output, run("show", held.id).output):
        assert "Test.[bold]Odd\\x1b[2J" in shown
        assert "\x1b" not in shown


def test_a_damaged_entry_is_listed_as_such(
    run: Run, held: Held, quarantine: Quarantine, tmp_path: Path
) -> None:
    (tmp_path / "state/quarantine" / held.id / "entry.json").write_text("{")

    assert "damaged" in run("list").output
    assert json.loads(run("list", "--json").output)[0]["id"] == held.id


def test_show_tells_all_and_gives_the_message_out(run: Run, held: Held) -> None:
    shown = run("show", held.id).output

    for text in ("looks like an attack", "<>", "c@example.net", "message/1:a.zip", "encrypted"):
        assert text in shown
    assert json.loads(run("show", held.id, "--json").output)["sha256"] == held.sha256
    assert run("show", held.id, "--message").stdout_bytes == MESSAGE


async def test_release_delivers_and_then_deletes(
    run: Run, held: Held, hop: FakeHop, quarantine: Quarantine
) -> None:
    result = await asyncio.to_thread(run, "release", held.id)

    (taken,) = hop.messages
    assert taken.mail == "FROM:<> SIZE=" + str(len(taken.content)) + " BODY=8BITMIME"
    assert taken.recipients == ("TO:<b@example.net>", "TO:<c@example.net>")
    assert taken.content == f"X-Mailward-Released: {held.id}\r\n".encode() + MESSAGE
    assert quarantine.list() == []
    assert result.exit_code == 0
    assert "released" in result.output


async def test_release_to_another_address(run: Run, held: Held, hop: FakeHop) -> None:
    await asyncio.to_thread(run, "release", held.id, "--to", "admin@example.org")

    assert hop.messages[0].recipients == ("TO:<admin@example.org>",)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
async def test_a_refused_message_is_kept_and_the_refusal_told(
    run: Run, held: Held, hop: FakeHop, quarantine: Quarantine, verb: str
) -> None:
    hop.answers = {verb: "550 5.7.1 Not that one"}

    result = await asyncio.to_thread(run, "release", held.id)

    assert result.exit_code == 1
    assert "c@example.net: 550 5.7.1 Not that one" in result.output
    assert quarantine.list() == [held]


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_a_mail_server_that_goes_away_leaves_the_message_held(
    run: Run, held: Held, hop: FakeHop, quarantine: Quarantine, verb: str
) -> None:
    hop.answers = {verb: ""}

    with pytest.raises(TemporaryError):
        await asyncio.to_thread(run, "release", held.id)
    assert quarantine.list() == [held]


async def test_what_was_released_before_a_failure_is_told(
    run: Run, held: Held, hop: FakeHop
) -> None:
    with pytest.raises(UsageError, match="20260101T000000-00000000"):
        await asyncio.to_thread(run, "release", held.id, "20260101T000000-00000000")
    assert len(hop.messages) == 1


@pytest.mark.parametrize("address", ["", "a b@example.org", "a>\r\nDATA", "ü@example.org"])
def test_an_address_to_release_to_is_checked(run: Run, held: Held, address: str) -> None:
    with pytest.raises(UsageError, match="--to"):
        run("release", held.id, "--to", address)


def test_delete_asks_or_is_told(run: Run, held: Held, quarantine: Quarantine) -> None:
    with pytest.raises(UsageError, match="--yes"):
        run("delete", held.id)
    assert quarantine.list() == [held]

    run("delete", held.id, "--yes")
    assert quarantine.list() == []


async def test_everything_that_a_signature_caught_is_released_in_one_go(
    run: Run, held: Held, hop: FakeHop, quarantine: Quarantine
) -> None:
    decision = decide(VERDICT, PolicySettings(), Mail("", (), "", b""))
    others = [
        quarantine.hold(MESSAGE, Envelope("", ("d@example.net",)), VERDICT, decision)
        for _ in range(3)
    ]
    clean = quarantine.hold(MESSAGE, Envelope("", ("e@example.net",)), Verdict(), decision)

    result = await asyncio.to_thread(run, "release", "--matching", RISK.name)

    assert result.exit_code == 0
    assert len(hop.messages) == 1 + len(others)
    assert [entry.id for entry in quarantine.list()] == [clean.id]


async def test_what_only_one_signature_caught_is_released_by_its_name(
    run: Run, held: Held, quarantine: Quarantine, hop: FakeHop
) -> None:
    others = Verdict((RISK, Risk("Other", "fake", "message", "20261123.007")), set="20261123.007")
    decision = decide(others, PolicySettings(), Mail("", (), "", b""))
    kept = quarantine.hold(MESSAGE, Envelope("", ("b@example.net",)), others, decision)
    result = await asyncio.to_thread(run, "release", "--signature", RISK.name)
    assert result.exit_code == 0
    assert len(hop.messages) == 1
    assert [entry.id for entry in quarantine.list()] == [kept.id]
    with pytest.raises(UsageError, match="nothing is held that only"):
        run("release", "--signature", "Nobody")


def test_which_messages_must_be_said(run: Run, held: Held, quarantine: Quarantine) -> None:
    for arguments in (("release",), ("delete", "--yes"), ("release", held.id, "--matching", "x")):
        with pytest.raises(UsageError, match="--matching"):
            run(*arguments)
    assert quarantine.list() == [held]


def test_the_list_can_be_searched(run: Run, held: Held) -> None:
    assert held.id in run("list", "--matching", "C@EXAMPLE.NET", "--since", "1h").output
    assert run("list", "--matching", "nobody").output == "Nothing of that kind is in quarantine.\n"
    assert held.id not in run("list", "--since", "2999-01-01").output
    with pytest.raises(UsageError, match="--since"):
        run("list", "--since", "yesterday")


def test_without_its_database_everything_is_still_listed(
    run: Run, held: Held, tmp_path: Path
) -> None:
    (tmp_path / "state/mailward.db").write_bytes(b"no database" * 1000)

    assert held.id in run("list").output
    with pytest.raises(TemporaryError, match=r"mailward\.db"):
        run("list", "--matching", "x")


async def test_what_was_done_by_hand_is_on_record(run: Run, held: Held, tmp_path: Path) -> None:
    await asyncio.to_thread(run, "release", held.id)

    (line,) = (tmp_path / "state/events/events.jsonl").read_text().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["trace_id"]) == ("released", held.id)


async def test_what_recipients_asked_for_is_listed_and_granted_to_the_one_who_asked(
    run: Run, held: Held, hop: FakeHop, quarantine: Quarantine, tmp_path: Path
) -> None:
    assert "Nobody has asked" in run("requests").output
    book = RequestBook(tmp_path / "state/requests.json", quarantine)
    book.add(ReleaseRequest(held.id, "c@example.net", datetime.now(UTC)))

    (listed,) = json.loads(run("requests", "--json").output)
    shown = run("requests").output
    result = await asyncio.to_thread(run, "release", held.id, "--for", "c@example.net")

    assert (listed["id"], listed["recipient"]) == (held.id, "c@example.net")
    assert listed["held"]["sha256"] == held.sha256
    assert held.id in shown
    assert "released" in result.output
    assert hop.messages[0].recipients == ("TO:<c@example.net>",)
    assert quarantine.get(held.id).envelope.recipients == ("b@example.net",)
    assert json.loads(run("requests", "--json").output) == []


def test_release_for_somebody_else_is_refused(run: Run, held: Held) -> None:
    with pytest.raises(UsageError, match=r"is not held for d@example\.net"):
        run("release", held.id, "--for", "d@example.net")
    with pytest.raises(UsageError, match="not both"):
        run("release", held.id, "--for", "b@example.net", "--to", "d@example.net")
