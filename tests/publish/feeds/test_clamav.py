"""ClamAV feeds with containers in them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mailward.errors import FormatError, TrustError
from mailward.publish.feeds.base import Reading
from mailward.publish.feeds.clamav import ClamavFeed

MEMBERS = {"daily.ndb": b"B:0:*:6162\n#c\nA:0:*:6163\n", "daily.ftm": b"0:0:ff:B:A:B\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "db"
    path.mkdir()
    return path


@pytest.fixture
def read(signer: Any) -> Any:
    def reading(place: Path) -> Reading:
        return ClamavFeed("clam", place, signer.keys).read()

    return reading


def test_members_become_shards_of_their_names(container: Any, folder: Path, read: Any) -> None:
    (folder / "daily.cvd").write_bytes(container(MEMBERS))
    reading = read(folder / "daily.cvd")
    assert {d.name: d.content for d in reading.drafts} == {
        "clamav/clam/daily.ndb": b"A:0:*:6163\nB:0:*:6162\n",
        "clamav/clam/daily.ftm": b"0:0:ff:B:A:B\n",
    }
    assert reading.versions == (("clam", 7),)
    assert (
        "version 7 of 23 Nov 2026 10-00 +0000, signed by ClamAV, 3 signatures"
        in (reading.remarks[0])
    )


def test_in_a_folder_the_containers_name_is_a_folder(
    container: Any, folder: Path, read: Any
) -> None:
    (folder / "daily.cvd").write_bytes(container(MEMBERS))
    (folder / "own.ndb").write_bytes(b"X:0:*:00\n")
    reading = read(folder)
    assert {draft.name for draft in reading.drafts} == {
        "clamav/clam/daily/daily.ndb",
        "clamav/clam/daily/daily.ftm",
        "clamav/clam/own.ndb",
    }
    assert reading.versions == (("daily", 7),)


@pytest.mark.parametrize(("cvd", "cld", "taken"), [(7, 8, 8), (8, 7, 8), (7, 7, 7)])
def test_of_a_cvd_and_a_cld_the_newer_is_taken(
    container: Any, folder: Path, read: Any, cvd: int, cld: int, taken: int
) -> None:
    for suffix, version in (("cvd", cvd), ("cld", cld)):
        members = {"daily.ndb": b"V%d:0:*:6162\n" % version}
        (folder / f"daily.{suffix}").write_bytes(container(members, version=version))
    reading = read(folder)
    assert [draft.content for draft in reading.drafts] == [b"V%d:0:*:6162\n" % taken]
    assert reading.versions == (("daily", taken),)
    assert reading.left_out_count == 1


def test_kinds_that_nobody_knows_are_carried_and_counted(
    container: Any, folder: Path, read: Any
) -> None:
    (folder / "daily.cvd").write_bytes(container({"daily.new": b"two\nlines\n"}))
    (draft,) = read(folder).drafts
    assert (draft.name, draft.signatures) == ("clamav/clam/daily/daily.new", 2)


def test_a_program_is_one_signature_and_is_not_taken_in_pieces(
    container: Any, folder: Path, read: Any
) -> None:
    programs = {"1.cbc": b"ClamBC\nBC.Test\n#c\nmore\n", "2.cbc": b"ClamBC\nnul\0\nmore\n"}
    (folder / "bytecode.cvd").write_bytes(container(programs, count=2))
    reading = read(folder)
    assert [(d.name, d.signatures) for d in reading.drafts] == [("clamav/clam/bytecode/1.cbc", 1)]


def test_a_wrong_count_is_said_and_the_signatures_are_taken(
    container: Any, folder: Path, read: Any
) -> None:
    (folder / "daily.cvd").write_bytes(container(MEMBERS, count=3000))
    reading = read(folder)
    assert reading.signatures == 3
    assert "3 signatures although its header says 3000" in reading.remarks[0]


def test_a_wrong_count_is_refused_where_nothing_else_says_that_it_is_whole(
    container: Any, folder: Path, read: Any
) -> None:
    raw = container(MEMBERS, count=3000, md5="X", info=None)
    (folder / "daily.cud").write_bytes(raw)
    with pytest.raises(FormatError, match="3 signatures although its header says 3000"):
        read(folder / "daily.cud")


def test_one_bad_container_does_not_lose_the_rest(container: Any, folder: Path, read: Any) -> None:
    (folder / "main.cvd").write_bytes(container(MEMBERS, md5="0" * 32))
    (folder / "daily.cvd").write_bytes(container(MEMBERS))
    (folder / "bomb.cvd").write_bytes(container({"x.ndb": bytes(64 << 20)}, info=None))
    (folder / "short.cvd").write_bytes(b"ClamAV-VDB:")
    (folder / "page.cvd").write_bytes(b"<!doctype html><html>")
    reading = read(folder)
    assert reading.signatures == 3
    reasons = {Path(piece.where).name: piece.reason for piece in reading.left_out}
    assert "MD5" in reasons["main.cvd"]
    assert "unpacks to more" in reasons["bomb.cvd"]
    assert "cut off" in reasons["short.cvd"]
    assert "HTML page" in reasons["page.cvd"]


def test_a_lone_bad_container_is_an_error(container: Any, folder: Path, read: Any) -> None:
    (folder / "main.cvd").write_bytes(container(MEMBERS, md5="0" * 32))
    with pytest.raises(TrustError, match="download it again"):
        read(folder / "main.cvd")


def test_a_shard_is_given_once(container: Any, folder: Path, read: Any) -> None:
    (folder / "daily").mkdir()
    (folder / "daily/daily.ndb").write_bytes(b"Other:0:*:00\n")
    (folder / "daily.cvd").write_bytes(container(MEMBERS))
    reading = read(folder)
    assert len({draft.name for draft in reading.drafts}) == len(reading.drafts) == 2
    assert any("already" in piece.reason for piece in reading.left_out)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, folder: Path, read: Any) -> None:
    (tmp_path / "private.ndb").write_bytes(b"Private:0:*:00\n")
    (folder / "leak.ndb").symlink_to(tmp_path / "private.ndb")
    (folder / "own.ndb").write_bytes(b"X:0:*:00\n")
    (folder / "again.ndb").symlink_to("own.ndb")
    reading = read(folder)
    assert {draft.name for draft in reading.drafts} == {
        "clamav/clam/own.ndb",
        "clamav/clam/again.ndb",
    }
    assert "leads out" in reading.left_out[0].reason


@pytest.mark.shared
def test_clamavs_own_container_is_taken_as_a_file(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "bytecode.cvd"
    shutil.copyfile(shared / "definitions/clamav/bytecode-2024-02.cvd", path)
    reading = ClamavFeed("bytecode", path).read()
    assert reading.signatures == len(reading.drafts) == 94
    assert reading.versions == (("bytecode", 334),)
    assert "signed by ClamAV" in reading.remarks[0]
