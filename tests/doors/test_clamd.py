"""The clamd door with a scanner that says what the content asks for."""

import array
import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mailward.doors.clamd import PRODUCT, ClamdDoor
from mailward.doors.clamd_session import Session
from mailward.doors.clamd_wire import Command, findings
from mailward.doors.testing import FakeScanner
from mailward.errors import ConfigError
from mailward.scan.part import Role
from mailward.scan.verdict import Reason, Unopened, Verdict
from mailward.settings.doors import ClamdSettings, ClamdUnscannable
from mailward.settings.scan import ScanSettings
from tests.doors import clamd_dialogs
from tests.doors.clamd_dialogs import DIALOGS, MAX_STREAM, Dialog, chunks

Open = Callable[..., Awaitable[ClamdDoor]]
DEFINITIONS = ("20261123.007", "Mon Nov 23 10:00:00 2026")


class Patient(FakeScanner):
    """Begins, and waits to be told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        self.began.set()
        await self.go_on.wait()
        return await super().scan(data, role=role, name=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clamd_dialogs.lay_out(tmp_path / "files")
    return tmp_path / "files"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clamd.sock"


@pytest.fixture
async def open_door(path: Path) -> AsyncIterator[Open]:
    doors: list[ClamdDoor] = []

    async def open_(scanner: FakeScanner | None = None, **settings: object) -> ClamdDoor:
        door = ClamdDoor(
            ClamdSettings.model_validate(
                {"listen": [str(path), "127.0.0.1:0"], "max_stream_bytes": MAX_STREAM} | settings
            ),
            ScanSettings(max_message_bytes=2 * MAX_STREAM),
            scanner or FakeScanner(),
            definitions=lambda: DEFINITIONS,
        )
        await door.start()
        doors.append(door)
        return door

    yield open_
    for door in doors:
        await door.stop(1.0)


def connected(where: Path | int) -> socket.socket:
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where))
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(where))
    return client


async def asked(where: Path | int, said: bytes, folder: Path = Path("/nowhere")) -> list[bytes]:
    def talk() -> list[bytes]:
        with connected(where) as client:
            return list(clamd_dialogs.play(Dialog("", said, ()), client, folder))

    return await asyncio.to_thread(talk)


@pytest.mark.parametrize("dialog", DIALOGS, ids=lambda dialog: dialog.name)
async def test_it_answers_as_clamd_does(
    dialog: Dialog, open_door: Open, path: Path, folder: Path
) -> None:
    await open_door()
    assert await asked(path, dialog.said, folder) == sorted(dialog.heard)


@pytest.mark.parametrize(("verb", "at_most"), [(b"CONTSCAN", 1), (b"MULTISCAN", 9)])
async def test_nothing_more_is_scanned_for_a_client_that_has_left(
    verb: bytes, at_most: int, open_door: Open, path: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(50):
        (many / f"{number}").write_text("clean")
    scanner = Patient()
    door = await open_door(scanner)
    client = await asyncio.to_thread(connected, path)
    client.sendall(b"z%s %s\0" % (verb, bytes(many)))
    await asyncio.wait_for(scanner.began.wait(), 20)
    client.close()
    scanner.go_on.set()
    await asyncio.wait_for(door.retire(), 20)
    assert len(scanner.scanned) <= at_most


async def test_a_client_that_ends_its_half_hears_all_of_it(
    open_door: Open, path: Path, folder: Path
) -> None:
    await open_door()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"zCONTSCAN %s\0" % bytes(folder))
    writer.write_eof()
    heard = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert heard.count(b"FOUND") >= 1


async def test_tcp_clients_have_their_streams_scanned(open_door: Open) -> None:
    port = (await open_door()).ports[1]
    said = b"zIDSESSION\0zPING\0zINSTREAM\0" + chunks(b"VIRUS") + b"zEND\0"
    assert await asked(port, said) == [b"1: PONG\0", b"2: stream: Fake.Virus FOUND\0"]


async def test_tcp_clients_cannot_have_files_of_this_computer_read(
    open_door: Open, folder: Path
) -> None:
    port = (await open_door()).ports[1]
    for verb in (b"SCAN", b"CONTSCAN", b"MULTISCAN", b"ALLMATCHSCAN"):
        for name in (b"{d}/a", b"{d}/nothing", b"{d}"):
            said = b"z" + verb + b" " + name + b"\0"
            assert await asked(port, said, folder) == [name + b": Access denied. ERROR\0"]
    assert await asked(port, b"zFILDES\0\0", folder) == [b"No file descriptor received. ERROR\0"]


async def test_paths_can_be_allowed_over_tcp_and_forbidden_on_unix_sockets(
    open_door: Open, path: Path, folder: Path
) -> None:
    port = (await open_door(paths=False, paths_over_tcp=True)).ports[1]
    assert await asked(port, b"zSCAN {d}/a\0", folder) == [b"{d}/a: Fake.Virus FOUND\0"]
    assert await asked(path, b"zSCAN {d}/a\0", folder) == [b"{d}/a: Access denied. ERROR\0"]


async def test_nobody_shuts_it_down_unless_that_is_configured(open_door: Open, path: Path) -> None:
    await open_door()
    for said in (b"zSHUTDOWN\0", b"zQUIT\0"):
        assert await asked(path, said) == [b"COMMAND UNAVAILABLE\0"]
    assert await asked(path, b"zPING\0") == [b"PONG\0"]


async def test_shutdown_is_obeyed_when_configured(path: Path) -> None:
    told = asyncio.Event()
    settings = ClamdSettings(listen=(str(path),), shutdown=True)
    door = ClamdDoor(settings, ScanSettings(), FakeScanner(), shut_down=told.set)
    await door.start()
    assert await asked(path, b"nSHUTDOWN\n") == []
    await asyncio.wait_for(told.wait(), 10)
    await door.stop()


async def test_version_names_us_and_the_set_in_clamds_shape(open_door: Open, path: Path) -> None:
    await open_door()
    (version,) = await asked(path, b"nVERSION\n")
    assert version.decode() == f"{PRODUCT}/20261123.007/Mon Nov 23 10:00:00 2026\n"
    (commands,) = await asked(path, b"zVERSIONCOMMANDS\0")
    assert commands.startswith(version[:-1] + b"| COMMANDS: ")
    assert {b"SCAN", b"INSTREAM", b"FILDES", b"IDSESSION"} <= set(commands[:-1].split())


async def test_stats_have_the_lines_that_monitoring_reads(open_door: Open, path: Path) -> None:
    await open_door()
    (stats,) = await asked(path, b"zSTATS\0")
    lines = stats.decode().splitlines()
    assert lines[0] == "POOLS: 1"
    assert lines[2] == "STATE: VALID PRIMARY"
    assert lines[-1] == "END\0"


def passed(client: socket.socket, said: bytes, *descriptors: int, rest: bytes = b"") -> bytes:
    client.settimeout(10)
    client.sendall(said)
    beside = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    client.sendmsg([b"\0"], [beside])
    client.sendall(rest)
    client.shutdown(socket.SHUT_WR)
    heard = b""
    while piece := client.recv(65536):
        heard += piece
    return heard


async def test_a_passed_descriptor_is_read_from_its_beginning(
    open_door: Open, path: Path, folder: Path
) -> None:
    await open_door()

    def talk() -> bytes:
        with connected(path) as client, (folder / "a").open("rb") as file:
            file.seek(5)
            return passed(client, b"zIDSESSION\0zFILDES\0", file.fileno(), rest=b"zPING\0zEND\0")

    replies = sorted((await asyncio.to_thread(talk)).split(b"\0"))
    assert replies[2] == b"2: PONG"
    assert replies[1].startswith(b"1: fd[")
    assert replies[1].endswith(b"]: Fake.Virus FOUND")


async def test_what_is_no_regular_file_is_refused_and_not_waited_for(
    open_door: Open, path: Path, folder: Path
) -> None:
    await open_door()
    os.mkfifo(folder / "pipe")

    def talk() -> bytes:
        reading = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with connected(path) as client:
                return passed(client, b"nFILDES\n", reading)
        finally:
            os.close(reading)

    assert (await asyncio.to_thread(talk)).endswith(b"]: Not a regular file ERROR\n")
    assert await asked(path, b"nSCAN {d}/pipe\n", folder) == [
        b"{d}/pipe: Not supported file type ERROR\n"
    ]
    assert await asked(path, b"nSCAN /dev/zero\n") == [
        b"/dev/zero: Not supported file type ERROR\n"
    ]


async def test_descriptors_that_nobody_asked_for_are_closed(open_door: Open, path: Path) -> None:
    await open_door()
    before = len(os.listdir("/proc/self/fd"))

    def talk() -> bytes:
        with connected(path) as client, open(os.devnull, "rb") as file:
            return passed(client, b"zIDSESSION\0", *[file.fileno()] * 40, rest=b"zPING\0zEND\0")

    heard = await asyncio.to_thread(talk)
    assert heard == b"1: Command invalid inside IDSESSION. ERROR\n"  # the byte beside them is none
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("reason", list(Reason))
async def test_what_is_unscannable_is_never_silently_clean(
    reason: Reason, open_door: Open, path: Path
) -> None:
    assert getattr(ClamdUnscannable(), reason.value) not in ("OK", "ERROR")
    if reason is Reason.ENCRYPTED:
        await open_door()
        assert await asked(path, b"zINSTREAM\0" + chunks(b"LOCKED")) == [
            b"stream: Heuristics.Encrypted.Zip FOUND\0"
        ]
        assert await asked(path, b"zINSTREAM\0" + chunks(b"LOCKED VIRUS")) == [
            b"stream: Fake.Virus FOUND\0"
        ]


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        ("OK", b"stream: OK\0"),
        ("ERROR", b"stream: Cannot be scanned (encrypted). ERROR\0"),
        ("My.Name", b"stream: My.Name FOUND\0"),
    ],
)
async def test_what_is_unscannable_is_told_as_configured(
    told: str, heard: bytes, open_door: Open, path: Path
) -> None:
    await open_door(unscannable={"encrypted": told})
    assert await asked(path, b"zINSTREAM\0" + chunks(b"LOCKED")) == [heard]


@pytest.mark.parametrize(
    ("format_", "name"),
    [
        ("ZIP", "Zip"),
        ("OOXML_WORD", "Zip"),
        ("RAR", "RAR"),
        ("7Z", "7Zip"),
        ("EGG", "EGG"),
        ("PDF", "PDF"),
        ("MSOLE2", "Doc"),
        ("MSEXE", "Container"),
        ("", "Container"),
    ],
)
def test_what_is_encrypted_is_named_by_what_it_is(format_: str, name: str) -> None:
    locked = Verdict(unopened=(Unopened("a", Reason.ENCRYPTED, format=format_),))
    assert findings(locked, ClamdUnscannable()).names == (f"Heuristics.Encrypted.{name}",)
    assert findings(locked, ClamdUnscannable(encrypted="A*-*")).names == (f"A{name}-{name}",)
    assert findings(locked, ClamdUnscannable(encrypted="Mine")).names == ("Mine",)


def test_only_the_name_of_what_is_encrypted_has_a_place_for_it() -> None:
    cut = Verdict(unopened=(Unopened("a", Reason.LIMIT),))
    assert findings(cut, ClamdUnscannable(limit="Cut.*")).names == ("Cut.*",)


async def test_a_file_over_the_limit_is_named_and_not_read(
    open_door: Open, path: Path, folder: Path
) -> None:
    await open_door()
    (folder / "large").write_bytes(b"")
    os.truncate(folder / "large", 1 << 40)
    assert await asked(path, b"zSCAN {d}/large\0", folder) == [
        b"{d}/large: Heuristics.Limits.Exceeded FOUND\0"
    ]


async def test_a_link_is_followed_when_named_and_not_inside_a_folder(
    open_door: Open, path: Path, folder: Path
) -> None:
    await open_door()
    (folder / "empty/link").symlink_to(folder / "a")
    assert await asked(path, b"zSCAN {d}/empty/link\0", folder) == [
        b"{d}/empty/link: Fake.Virus FOUND\0"
    ]
    assert await asked(path, b"zCONTSCAN {d}/empty\0", folder) == [b"{d}/empty: OK\0"]


async def test_folders_that_are_too_deep_are_said_to_be(
    open_door: Open, path: Path, folder: Path
) -> None:
    await open_door()
    (folder / "/".join(["deep"] * 20)).mkdir(parents=True)
    (heard,) = await asked(path, b"zCONTSCAN {d}/deep\0", folder)
    assert (
        heard == b"{d}/deep" + b"/deep" * 16 + b": Folders are inside each other too deep. ERROR\0"
    )


async def test_a_scanner_that_is_down_is_an_error_and_never_clean(
    open_door: Open, path: Path
) -> None:
    await open_door()
    assert await asked(path, b"zINSTREAM\0" + chunks(b"DOWN")) == [
        b"stream: Scanner is not available, try again later. ERROR\0"
    ]


async def test_a_defect_ends_one_connection_and_no_other(open_door: Open, path: Path) -> None:
    await open_door()
    assert await asked(path, b"zINSTREAM\0" + chunks(b"CRASH")) == []
    assert await asked(path, b"zIDSESSION\0zINSTREAM\0" + chunks(b"CRASH") + b"zPING\0zEND\0") == [
        b"2: PONG\0"
    ]
    assert await asked(path, b"zPING\0") == [b"PONG\0"]


async def test_a_silent_client_is_told_and_let_go(open_door: Open, path: Path) -> None:
    await open_door(client_timeout_s=0.2)
    for said in (b"", b"nPING", b"zIDSESSION\0", b"zINSTREAM\0\0\0\0\x05he", b"zFILDES\0"):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(said)
        assert await asyncio.wait_for(reader.read(), 10) == b"COMMAND READ TIMED OUT\n"
        writer.close()


async def test_an_endless_command_is_not_kept(open_door: Open, path: Path) -> None:
    await open_door()
    assert await asked(path, b"nSCAN /" + b"A" * 1_000_000) in ([b"UNKNOWN COMMAND\n"], [])


async def test_thousands_of_commands_at_once_keep_nobody_waiting_here_either(
    open_door: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled, begun = 0, asyncio.Event()
    answer = Session._answer

    async def counted(self: Session, command: Command) -> str:
        nonlocal handled
        handled += 1
        begun.set()
        return await answer(self, command)

    monkeypatch.setattr(Session, "_answer", counted)
    await open_door()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"zIDSESSION\0" + b"zPING\0" * 2000 + b"zEND\0")
    await begun.wait()
    other = await asyncio.open_unix_connection(path)
    other[1].write(b"zPING\0")
    assert await other[0].read() == b"PONG\0"
    assert handled < 200
    assert (await asyncio.wait_for(reader.read(), 60)).count(b"PONG") == 2000
    writer.close()
    other[1].close()


async def test_more_clients_than_allowed_wait_for_a_place(open_door: Open, path: Path) -> None:
    await open_door(max_connections=1)
    first, one = await asyncio.open_unix_connection(str(path))
    second, other = await asyncio.open_unix_connection(str(path))
    other.write(b"zPING\0")
    one.write(b"zPING\0")
    assert await asyncio.wait_for(first.read(), 10) == b"PONG\0"
    assert await asyncio.wait_for(second.read(), 10) == b"PONG\0"
    one.close()
    other.close()


async def test_a_socket_left_behind_is_replaced_and_one_in_use_is_not(
    open_door: Open, path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    door = await open_door(socket_mode="600")
    assert path.stat().st_mode & 0o777 == 0o600
    await door.stop(1.0)
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(ConfigError, match=r"clamd\.listen.*somebody answers there already"):
            await open_door()


async def test_what_is_no_socket_is_not_removed(open_door: Open, path: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="something else of that name"):
        await open_door()
    assert path.read_bytes() == b"precious"


async def test_stopping_finishes_what_is_being_scanned_and_closes_what_waits(path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeScanner):
        async def scan(self, *args: object, **more: object) -> object:  # type: ignore[override]
            begun.set()
            await go_on.wait()
            return await super().scan(*args, **more)  # type: ignore[arg-type]

    door = ClamdDoor(ClamdSettings(listen=(str(path),)), ScanSettings(), Slow())  # type: ignore[arg-type]
    await door.start()
    scanning = asyncio.create_task(asked(path, b"zINSTREAM\0" + chunks(b"VIRUS")))
    idle, writer = await asyncio.open_unix_connection(str(path))
    await asyncio.wait_for(begun.wait(), 10)
    stopping = asyncio.create_task(door.stop())
    assert await asyncio.wait_for(idle.read(), 10) == b""
    go_on.set()
    assert await scanning == [b"stream: Fake.Virus FOUND\0"]
    await stopping
    writer.close()
    assert not path.exists()
