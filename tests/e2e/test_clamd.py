"""The clamd door beside a real clamd, and asked by ClamAV's own client."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward import testing
from mailward.config import Config
from tests.doors import clamd_dialogs
from tests.doors.clamd_dialogs import DIALOGS, Dialog
from tests.doors.test_clamd import connected
from tests.e2e import clamd, service

pytestmark = pytest.mark.real

_SIGNATURES = {"test.ndb": f"Fake.Virus:0:*:{b'VIRUS'.hex()}\nFake.Odd:0:*:{b'ODD'.hex()}\n"}


@pytest.fixture(scope="module")
def real_clamd() -> Iterator[Path]:
    if reason := clamd.why_not():
        pytest.skip(reason)
    with clamd.running(_SIGNATURES, stream="100K") as path:
        yield path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "dialogs"
    clamd_dialogs.lay_out(folder)
    return folder


@pytest.mark.parametrize("dialog", DIALOGS, ids=lambda dialog: dialog.name)
def test_what_we_take_for_clamds_answers_are_clamds_answers(
    dialog: Dialog, real_clamd: Path, files: Path
) -> None:
    with connected(real_clamd) as client:
        assert clamd_dialogs.play(dialog, client, files) == sorted(dialog.heard)


@pytest.fixture(scope="module")
def started(starter: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[service.Service]:
    """Mailward with its clamd door open alone."""
    folder = tmp_path_factory.mktemp("mailward")
    path = folder / "clamd.sock"
    doors = {"SMTP__ENABLED": "false", "CLAMD__ENABLED": "true", "CLAMD__LISTEN": f'["{path}"]'}
    with service.running(starter.state_dir, folder, str(path), **doors) as instance:
        yield instance


@pytest.fixture
def clamdscan_conf(started: service.Service, tmp_path: Path) -> Path:
    """The file that tells clamdscan where it is."""
    if reason := clamd.why_not("clamdscan"):
        pytest.skip(reason)
    (tmp_path / "clamd.conf").write_text(f"LocalSocket {started.log_path.parent}/clamd.sock\n")
    return tmp_path / "clamd.conf"


def test_status_says_whether_the_door_answers(started: service.Service) -> None:
    doors = started.status()["doors"]
    assert doors["clamd"]["answers"] is True
    assert doors["smtp"] == doors["smtp"] | {"enabled": False, "answers": False}


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """Infected, encrypted and clean, at two levels."""
    folder = tmp_path / "mail"
    (folder / "sub").mkdir(parents=True)
    samples = {sample.name: sample.message for sample in testing.samples()}
    (folder / "clean.eml").write_bytes(samples["clean"])
    (folder / "zip.eml").write_bytes(samples["EICAR in a zip"])
    (folder / "sub/eicar.com").write_bytes(testing.EICAR)
    (folder / "sub/locked.eml").write_bytes(samples["encrypted archive"])
    return folder


async def clamdscan(
    conf: Path, *arguments: str | Path, standard_input: bytes = b""
) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *("clamdscan", f"--config-file={conf}", "--stdout", *map(str, arguments)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    told, _ = await asyncio.wait_for(process.communicate(standard_input), 60)
    return process.returncode or 0, told.decode()


_WAYS: list[tuple[str, ...]] = [
    (),
    ("--stream",),
    ("--fdpass",),
    ("--multiscan",),
    ("--multiscan", "--fdpass"),
    ("--multiscan", "--stream"),
    ("--allmatch",),
    ("--allmatch", "--fdpass"),
    ("--allmatch", "--stream"),
]


@pytest.mark.parametrize("way", _WAYS, ids=lambda way: " ".join(way) or "plain")
async def test_clamdscan_finds_what_is_there_whatever_its_way(
    way: tuple[str, ...], clamdscan_conf: Path, mail: Path
) -> None:
    code, told = await clamdscan(clamdscan_conf, *way, mail)
    found = dict(re.findall(rf"^{re.escape(str(mail))}/(\S+): (\S+) FOUND$", told, re.MULTILINE))
    assert code == 1, told
    assert {path: name.removesuffix(".SHA256") for path, name in found.items()} == {
        "zip.eml": "Mailward.Test.EICAR",
        "sub/eicar.com": "Mailward.Test.EICAR",
        "sub/locked.eml": "Heuristics.Encrypted.Zip",
    }
    assert "Infected files: 3" in told


async def test_clamdscan_is_content_with_clean_mail(clamdscan_conf: Path, mail: Path) -> None:
    for way in _WAYS:
        code, told = await clamdscan(clamdscan_conf, *way, mail / "clean.eml")
        assert code == 0, told
        assert f"{mail}/clean.eml: OK\n" in told


async def test_clamdscan_takes_standard_input_and_lists(
    clamdscan_conf: Path, mail: Path, tmp_path: Path
) -> None:
    code, told = await clamdscan(
        clamdscan_conf, "-", standard_input=(mail / "zip.eml").read_bytes()
    )
    assert code == 1, told
    assert re.match(r"\S+: Mailward\.Test\.EICAR\S* FOUND\n", told)
    (tmp_path / "list").write_text(f"{mail}/clean.eml\n{mail}/sub/eicar.com\n")
    code, told = await clamdscan(
        clamdscan_conf, "--infected", "--no-summary", f"--file-list={tmp_path}/list"
    )
    assert code == 1, told
    assert re.fullmatch(rf"{mail}/sub/eicar\.com: Mailward\.Test\.EICAR\S* FOUND\n", told)


async def test_clamdscan_moves_what_is_infected_and_nothing_else(
    clamdscan_conf: Path, mail: Path, tmp_path: Path
) -> None:
    (tmp_path / "away").mkdir()
    code, told = await clamdscan(clamdscan_conf, "--fdpass", f"--move={tmp_path}/away", mail)
    assert code == 1, told
    assert sorted(os.listdir(tmp_path / "away")) == ["eicar.com", "locked.eml", "zip.eml"]
    assert sorted(os.listdir(mail)) == ["clean.eml", "sub"]


async def test_clamdscan_pings_reloads_and_asks_for_the_version(clamdscan_conf: Path) -> None:
    assert await clamdscan(clamdscan_conf, "--ping", "1") == (0, "PONG\n")
    assert (await clamdscan(clamdscan_conf, "--reload"))[0] == 0
    code, told = await clamdscan(clamdscan_conf, "--version")
    assert code == 0
    assert re.fullmatch(r"Mailward [^/]+/\d{8}\.\d{3,}/\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\n", told)


async def test_clamdscan_says_what_it_cannot_read(clamdscan_conf: Path, mail: Path) -> None:
    code, told = await clamdscan(clamdscan_conf, mail / "nothing")
    assert code == 2, told


async def test_clamdscan_waits_copies_removes_and_keeps_a_log(
    clamdscan_conf: Path, mail: Path, tmp_path: Path
) -> None:
    (tmp_path / "copies").mkdir()
    code, told = await clamdscan(
        clamdscan_conf,
        "--wait",
        "--quiet",
        f"--copy={tmp_path}/copies",
        f"--log={tmp_path}/log",
        mail,
    )
    assert code == 1, told
    assert sorted(os.listdir(tmp_path / "copies")) == ["eicar.com", "locked.eml", "zip.eml"]
    assert (tmp_path / "log").read_text().count(" FOUND\n") == 3
    assert (await clamdscan(clamdscan_conf, "--ping", "3:1", "--wait", mail / "clean.eml"))[0] == 0
    assert (await clamdscan(clamdscan_conf, "--stream", "--remove", mail))[0] == 1
    assert sorted(os.listdir(mail)) == ["clean.eml", "sub"]
    assert os.listdir(mail / "sub") == []
