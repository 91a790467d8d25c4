import base64
import functools
import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Ambiguity, OwnPassword, Reason, Unopened
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, forwarded, message, samples, zipped
from tests.scan.containers import archives


def unpack(
    data: bytes, role: Role = Role.MESSAGE, name: str = "", **limits: float
) -> list[Part | Unopened | Ambiguity | OwnPassword]:
    budget = Budget(ScanSettings.model_validate(limits))
    return list(parts(data, role=role, name=name, budget=budget))


def paths(data: bytes, role: Role = Role.MESSAGE, name: str = "") -> list[str]:
    return [part.path for part in unpack(data, role, name) if isinstance(part, Part)]


def tarred(*members: Attachment) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.size = len(member.data)
            archive.addfile(info, io.BytesIO(member.data))
    return file.getvalue()


PROGRAM = Attachment("b.exe", EICAR)


def test_a_path_tells_how_a_part_was_reached() -> None:
    assert paths(message(Attachment("a.zip", zipped(PROGRAM)))) == [
        "message", "message/1", "message/2:a.zip", "message/2:a.zip/b.exe",
    ]  # fmt: skip


def test_the_message_itself_comes_first_with_its_headers() -> None:
    data = message(PROGRAM)
    first, body, program = unpack(data)
    assert isinstance(first, Part)
    assert (first.data, first.role, first.depth) == (data, Role.MESSAGE, 0)
    assert isinstance(body, Part)
    assert (body.role, body.content_type, body.depth) == (Role.BODY, "text/plain", 1)
    assert isinstance(program, Part)
    assert (program.data, program.role, program.name) == (EICAR, Role.ATTACHMENT, "b.exe")


@pytest.mark.parametrize(
    "nested",
    [
        message(PROGRAM),
        message(Attachment("a.zip", zipped(PROGRAM))),
        message(Attachment("a.zip", zipped(Attachment("b.zip", zipped(PROGRAM))))),
        forwarded(message(PROGRAM)),
        forwarded(forwarded(message(Attachment("a.zip", zipped(PROGRAM))))),
        message(Attachment("fwd.eml", message(PROGRAM))),
        message(Attachment("a.tgz", tarred(Attachment("c.zip", zipped(PROGRAM))))),
        message(Attachment("mail.zip", zipped(Attachment("no-extension", message(PROGRAM))))),
        message(Attachment("wrong-name.pdf", gzip.compress(gzip.compress(zipped(PROGRAM))))),
    ],
)
def test_a_program_is_found_wherever_it_is_put(nested: bytes) -> None:
    found = unpack(nested)
    assert not [part for part in found if isinstance(part, Unopened)]
    assert any(isinstance(part, Part) and part.data == EICAR for part in found)


def test_a_zip_sent_as_text_is_opened_all_the_same() -> None:
    data = message(Attachment("", zipped(PROGRAM), "text/plain"))
    assert paths(data)[-1].endswith("/b.exe")


def test_a_file_that_is_a_message_is_read_as_one() -> None:
    first, *rest = unpack(message(PROGRAM), Role.FILE, "mail.txt")
    assert isinstance(first, Part)
    assert (first.role, first.path) == (Role.MESSAGE, "mail.txt")
    assert len(rest) == 2


def test_a_mailbox_is_a_file_with_messages() -> None:
    one = b"From a@b Mon Nov 23 10:00:00 2026\n" + message(PROGRAM).replace(b"\r\n", b"\n")
    assert paths(one + b"\n" + one, Role.FILE, "inbox") == [
        "inbox",
        "inbox/1", "inbox/1/1", "inbox/1/2:b.exe",
        "inbox/2", "inbox/2/1", "inbox/2/2:b.exe",
    ]  # fmt: skip


def test_members_of_the_same_name_have_paths_of_their_own() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = zipped(PROGRAM, PROGRAM, PROGRAM)
    assert paths(archive, Role.FILE, "a.zip") == [
        "a.zip", "a.zip/b.exe", "a.zip/b.exe~2", "a.zip/b.exe~3",
    ]  # fmt: skip


def test_paths_are_safe_to_print_and_short() -> None:
    archive = zipped(Attachment("\x1b[31m\n" + "n" * 3000 + "\u202egpj.exe", b"x"))
    path = paths(archive, Role.FILE, "/folder/\x07a.zip")[-1]
    assert path.isprintable()
    assert len(path) < 200
    assert path.startswith("?a.zip/?[31m?nnn")


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ({"max_parts": 3}, "scan.max_parts"),
        ({"max_depth": 1}, "scan.max_depth"),
        ({"max_part_bytes": 30}, "scan.max_part_bytes"),
        ({"max_total_bytes": 60}, "scan.max_total_bytes"),
    ],
)
def test_what_is_over_a_limit_is_unscannable_and_names_the_setting(
    limits: dict[str, float], key: str
) -> None:
    data = message(Attachment("a.zip", zipped(PROGRAM)))
    budget = Budget(ScanSettings.model_validate(limits))
    found = list(parts(data, role=Role.MESSAGE, name="", budget=budget))
    shut = [part for part in found if isinstance(part, Unopened)]
    assert shut
    assert any(key in part.detail for part in shut if part.reason is Reason.LIMIT)


def test_what_is_too_large_is_scanned_as_far_as_it_fits_and_the_rest_goes_on() -> None:
    archive = zipped(Attachment("large", b"L" * 5000), PROGRAM)
    found = unpack(archive, Role.FILE, "a", max_part_bytes=1000)
    assert [(p.path, len(p.data)) for p in found if isinstance(p, Part)][1:] == [
        ("a/large", 1000), ("a/b.exe", len(EICAR)),
    ]  # fmt: skip
    assert [p.part for p in found if isinstance(p, Unopened)] == ["a/large"]


def test_time_that_is_over_ends_it() -> None:
    ticks = iter(range(1000))
    budget = Budget(ScanSettings(message_timeout_s=5), clock=lambda: float(next(ticks)))
    found = list(parts(message(PROGRAM), role=Role.MESSAGE, name="", budget=budget))
    last = found[-1]
    assert isinstance(last, Unopened)
    assert last.reason is Reason.TIME
    assert "scan.message_timeout_s" in last.detail


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("data", [b"", b"\0", b"\r\n" * 10, b"From: ", b"PK\x03\x04", b"--\n"])
def test_next_to_nothing_is_no_trouble(role: Role, data: bytes) -> None:
    first = unpack(data, role)[0]
    assert isinstance(first, Part)
    assert first.data == data


@given(
    st.sampled_from([sample.message for sample in samples()]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=20)), max_size=4),
    st.sampled_from(Role),
)
def test_any_damage_to_a_message_is_survived(
    data: bytes, damage: list[tuple[int, bytes]], role: Role
) -> None:
    damaged = bytearray(data)
    for at, junk in damage:
        damaged[at : at + len(junk)] = junk
    found = unpack(bytes(damaged), role)
    paths_ = [part.path for part in found if isinstance(part, Part)]
    assert len(paths_) == len(set(paths_))


def _some_of(folder: Path, bytes_max: int) -> Iterator[Path]:
    """Every file up to a size: the largest few take as long as all others together."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size <= bytes_max:
            yield path


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["mail", "containers", "clean"])
def test_real_mail_archives_and_documents_are_survived(shared: Path, folder: str) -> None:
    count = 0
    for path in _some_of(shared / folder, 5_000_000):
        first = unpack(path.read_bytes(), Role.FILE, path.name)[0]
        assert isinstance(first, Part)
        count += 1
    assert count > 100


def test_a_message_in_a_file_is_read_as_one_whatever_its_text_looks_like() -> None:
    """``base64`` in its header is a sign of a script, too: a file can be both."""
    data = message(PROGRAM, text="<script>atob('')</script> data: base64")
    assert "m.eml/2:b.exe" in paths(data, Role.FILE, "m.eml")
    mailbox = b"From a@b Mon Nov 23 10:00:00 2026\n" + data.replace(b"\r\n", b"\n")
    assert "box/1/2:b.exe" in paths(mailbox + b"\n" + mailbox, Role.FILE, "box")


def test_a_script_that_begins_like_a_message_is_read_as_both() -> None:
    page = b"From: 1;\nSubject: 2;\n\n" + b"x = atob('" + base64.b64encode(EICAR * 2) + b"')"
    found = unpack(page, Role.ATTACHMENT, "a.js")
    assert any(isinstance(part, Part) and part.data == EICAR * 2 for part in found)


def in_pieces(whole: bytes, numbers: list[int], total: int, kind: str = "digest") -> bytes:
    """A message with pieces of ``whole``, each a message of its own."""
    size = -(-len(whole) // total)
    fragments = [
        f'Content-Type: message/partial; number={n}; total={total}; id="x@y"\r\n\r\n'.encode()
        + whole[(n - 1) * size : n * size]
        for n in numbers
    ]
    between = b"\r\n--b\r\n" + (b"\r\n" if kind == "digest" else b"")
    head = f"Content-Type: multipart/{kind}; boundary=b\r\n".encode()
    return head + b"".join(between + fragment for fragment in fragments) + b"\r\n--b--\r\n"


@pytest.mark.parametrize("kind", ["digest", "mixed"])
@pytest.mark.parametrize("numbers", [[1, 2, 3], [3, 1, 2]])
def test_pieces_of_a_message_that_are_all_there_are_joined(kind: str, numbers: list[int]) -> None:
    found = unpack(in_pieces(message(PROGRAM), numbers, 3, kind))
    assert any(isinstance(part, Part) and part.data == EICAR for part in found)
    assert not any(isinstance(each, Unopened) for each in found)


@pytest.mark.parametrize("numbers", [[1, 3], [2], [2, 2, 3]])
def test_pieces_of_which_others_are_missing_are_unscannable(numbers: list[int]) -> None:
    found = unpack(in_pieces(message(PROGRAM), numbers, 3))
    shut = [each for each in found if isinstance(each, Unopened)]
    assert [each.reason for each in shut] == [Reason.UNSUPPORTED] * len(numbers)
    assert "message/partial" in shut[0].detail


@pytest.mark.parametrize("said", ["", "number=0; total=0", "number=1; total=99999; id=a", "id=a"])
def test_a_piece_that_says_nothing_sensible_is_unscannable(said: str) -> None:
    found = unpack(f"Content-Type: message/partial; {said}\r\n\r\nSubject: a\r\n\r\nb".encode())
    assert any(isinstance(each, Unopened) for each in found)


def test_pieces_in_pieces_end() -> None:
    inner = message(PROGRAM)
    for _ in range(40):
        inner = in_pieces(inner, [1, 2], 2)
    assert len(unpack(inner)) < 1000


LOCKED: dict[str, archives.Builder] = {
    "RAR": functools.partial(archives.rar5_encrypted, password="Xq7!z"),
    "7Z": archives.seven_zip("-t7z", "-pXq7!z"),
    "7Z, names included": archives.seven_zip("-t7z", "-pXq7!z", "-mhe=on"),
    "TEXT_ASCII": lambda _, data: b"-----BEGIN PGP MESSAGE-----\n\n" + data,
}


@pytest.mark.parametrize("what", LOCKED)
def test_what_is_encrypted_is_told_with_its_format_whatever_its_name(what: str) -> None:
    found = unpack(message(Attachment("a.zip", LOCKED[what]("a.exe", b"content"))))
    locked = {f.format for f in found if isinstance(f, Unopened) and f.reason is Reason.ENCRYPTED}
    assert locked == {what.partition(",")[0]}


def test_an_encrypted_zip_is_told_with_its_format_and_a_damaged_one_without() -> None:
    data = next(sample.message for sample in samples() if sample.name == "encrypted archive")
    (locked,) = (f for f in unpack(data) if isinstance(f, Unopened))
    assert (locked.reason, locked.format) == (Reason.ENCRYPTED, "ZIP")
    cut = message(Attachment("a.zip", zipped(PROGRAM)[:40]))
    damaged = [f for f in unpack(cut) if isinstance(f, Unopened)]
    assert damaged
    assert {(f.reason, f.format) for f in damaged} == {(Reason.MALFORMED, "")}
