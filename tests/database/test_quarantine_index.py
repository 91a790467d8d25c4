"""The quarantine as rows: they follow the folder, whatever happened to either meanwhile."""

from pathlib import Path

import pytest
from sqlalchemy import text

from mailward.database import Database
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail
from mailward.protect.policy import decide
from mailward.protect.quarantine import Quarantine
from mailward.protect.quarantine_index import search
from mailward.scan.verdict import Risk, Verdict
from mailward.settings.protect import PolicySettings, QuarantineSettings

VERDICT = Verdict(risks=(Risk("Test.Virus", "fake", "message", "1"),), set="20261123.001")


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "q", QuarantineSettings())


def hold(quarantine: Quarantine, subject: str = "hello", to: str = "bob@example.net") -> str:
    decision = decide(VERDICT, PolicySettings(), Mail("", (), "", b""))
    message = f"Subject: {subject}\r\nMessage-ID: <7@x>\r\n\r\n".encode()
    return quarantine.hold(message, Envelope("ann@example.org", (to,)), VERDICT, decision).id


def ids(database: Database, quarantine: Quarantine, **asked: object) -> list[str]:
    return [row["id"] for row in search(database, quarantine, "here", **asked)]  # type: ignore[arg-type]


def test_rows_follow_what_comes_and_goes(database: Database, quarantine: Quarantine) -> None:
    assert ids(database, quarantine) == []
    held = [hold(quarantine, str(number)) for number in range(3)]
    assert sorted(ids(database, quarantine)) == sorted(held)

    quarantine.delete(held[1])
    new = hold(quarantine)

    assert sorted(ids(database, quarantine)) == sorted([held[0], held[2], new])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("BOB@", True), ("ann@", True), ("rechnung", True), ("test.virus", True), ("<7@x>", True),
        ("%", False), ("eve", False),
    ],
)  # fmt: skip
def test_searching(database: Database, quarantine: Quarantine, asked: str, found: bool) -> None:
    hold(quarantine, "Ihre Rechnung")

    assert bool(ids(database, quarantine, text=asked)) is found


def test_rows_that_were_lost_come_back(database: Database, quarantine: Quarantine) -> None:
    held = hold(quarantine)
    ids(database, quarantine)
    with database.transaction() as connection:
        connection.execute(text("DELETE FROM held"))

    assert ids(database, quarantine) == [held]


def test_what_is_damaged_is_there_and_hides_nothing(
    database: Database, quarantine: Quarantine, tmp_path: Path
) -> None:
    good, bad = hold(quarantine), hold(quarantine)
    (tmp_path / "q" / bad / "entry.json").write_bytes(b"{")

    rows = {row["id"]: row for row in search(database, quarantine, "here")}

    assert rows[bad]["verdict"] == "damaged"
    assert rows[good]["risks"] == ["Test.Virus"]


def test_servers_that_share_a_database_see_each_other_and_release_their_own(
    database: Database, quarantine: Quarantine, tmp_path: Path
) -> None:
    theirs = Quarantine(tmp_path / "theirs", QuarantineSettings())
    one, two = hold(quarantine), hold(theirs)
    search(database, theirs, "there")

    assert ids(database, quarantine) == [one]
    assert sorted(ids(database, quarantine, everywhere=True)) == sorted([one, two])


def test_thousands_are_followed_in_one_go(database: Database, quarantine: Quarantine) -> None:
    held = {hold(quarantine) for _ in range(520)}

    assert set(ids(database, quarantine)) == held
    for id_ in sorted(held)[:510]:
        quarantine.delete(id_)
    assert len(ids(database, quarantine, limit=5)) == 5
    assert len(ids(database, quarantine)) == 10
