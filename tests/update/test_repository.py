"""A repository at several addresses, each with a fault of its own; the set in use stays."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailward.definitions.model import Channel
from mailward.errors import FetchError, MailwardError, TrustError
from mailward.settings.update import UpdateSettings
from mailward.update.agent import Agent, Outcome, Result
from tests.contract import fetch_servers
from tests.update.test_agent import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.publish("First")
    return site


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as servers:
        yield servers


def _public(site: Site) -> Path:
    return site.publisher.home.folder / "public"


def _copy(site: Site, name: str) -> Path:
    return Path(shutil.copytree(_public(site), site.folder / name))


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _refresh(site: Site, *addresses: str, **settings: object) -> Outcome:
    update = UpdateSettings.model_validate(
        {
            "repository": addresses[0],
            "mirrors": addresses[1:],
            "root": site.root,
            "timeout_s": 5,
            **settings,
        }
    )
    return Agent(update, site.store, site.folder / "state/update").refresh(Channel.RAPID)


def _web(servers: ExitStack, folder: Path) -> str:
    return f"http://127.0.0.1:{servers.enter_context(fetch_servers.web(folder, ranges=True))}"


def test_an_address_that_is_down_is_passed_over(site: Site) -> None:
    down = f"http://127.0.0.1:{_closed_port()}"
    assert _refresh(site, down, _public(site).as_uri()).result is Result.ACTIVATED


def test_a_server_that_moved_is_passed_over(site: Site, servers: ExitStack) -> None:
    (site.folder / "empty").mkdir()
    moved = _web(servers, site.folder / "empty")
    assert _refresh(site, moved, _public(site).as_uri()).result is Result.ACTIVATED


def test_html_in_place_of_metadata_is_passed_over(site: Site, servers: ExitStack) -> None:
    portal = _copy(site, "portal")
    for path in portal.rglob("*.json"):
        path.write_text("<html>Please log in to the Wi-Fi</html>", encoding="utf-8")
    address = _web(servers, portal)
    assert _refresh(site, address, _public(site).as_uri()).result is Result.ACTIVATED


def test_html_at_the_only_address_changes_nothing_and_is_said(
    site: Site, servers: ExitStack
) -> None:
    _refresh(site, _public(site).as_uri())
    before = site.active()
    for path in _public(site).rglob("*.json"):
        path.write_text("<html>Please log in to the Wi-Fi</html>", encoding="utf-8")
    with pytest.raises(TrustError, match="not to be trusted"):
        _refresh(site, _web(servers, _public(site)))
    assert site.active() == before
    assert "not to be trusted" in str(site.store.history(1)[0])


def test_a_mirror_without_the_objects_is_helped_out(site: Site, servers: ExitStack) -> None:
    behind = _copy(site, "behind")
    shutil.rmtree(behind / "objects")
    addresses = [_web(servers, behind), _public(site).as_uri()]
    assert _refresh(site, *addresses).result is Result.ACTIVATED


def test_when_all_fail_the_error_names_each(site: Site) -> None:
    down = [f"http://127.0.0.1:{_closed_port()}" for _ in range(2)]
    with pytest.raises(FetchError) as caught:
        _refresh(site, *down)
    assert all(address in str(caught.value) for address in down)
    assert site.active() is None


def test_an_older_state_at_the_second_address_is_no_way_back(site: Site) -> None:
    older = _copy(site, "older")
    site.publish("Second")
    _refresh(site, _public(site).as_uri())
    before = site.active()
    with pytest.raises(MailwardError):
        _refresh(site, f"http://127.0.0.1:{_closed_port()}", older.as_uri())
    assert site.active() == before


def _objects(folder: Path) -> list[Path]:
    return sorted((folder / "objects").rglob("*.zst"))


def test_a_swapped_object_is_refused_and_the_next_update_begins_anew(site: Site) -> None:
    wrong = _copy(site, "wrong")
    for path in _objects(wrong):
        path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(TrustError):
        _refresh(site, wrong.as_uri())
    assert site.active() is None
    assert _refresh(site, _public(site).as_uri()).result is Result.ACTIVATED


@pytest.mark.parametrize("what", ["objects", "targets"])
def test_what_is_swapped_at_one_mirror_comes_from_the_next_in_the_same_update(  # S1
    site: Site, what: str
) -> None:
    wrong, cut = _copy(site, "wrong"), _copy(site, "cut")
    for path in (wrong / what).rglob("*.*"):
        if path.is_file():
            path.write_bytes(b"\0" * path.stat().st_size)
    for path in (cut / what).rglob("*.*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    addresses = [wrong.as_uri(), cut.as_uri(), _public(site).as_uri()]
    assert _refresh(site, *addresses).result is Result.ACTIVATED


def test_a_swapped_patch_comes_from_the_next_mirror(site: Site) -> None:
    _refresh(site, _public(site).as_uri())
    for number in range(30):
        site.build(f"Rule{number:02}", f'"threat number {number}"')
    site.publish("Second")
    _refresh(site, _public(site).as_uri())
    site.publish("Third")
    wrong = _copy(site, "wrong")
    patches = list((wrong / "patches").rglob("*.zst"))
    assert patches
    for path in patches:
        path.write_bytes(b"\0" * path.stat().st_size)
    shutil.rmtree(_public(site) / "objects")  # so that only patches can help
    shutil.rmtree(wrong / "objects")
    assert _refresh(site, wrong.as_uri(), _public(site).as_uri()).result is Result.ACTIVATED


def test_a_wrong_beginning_left_by_an_earlier_update_costs_one_more_download(site: Site) -> None:
    partial = site.folder / "state/update/partial"
    partial.mkdir(parents=True)
    for path in _objects(_public(site)):
        (partial / path.name).write_bytes(b"\0" * (path.stat().st_size // 2))
    assert _refresh(site, _public(site).as_uri()).result is Result.ACTIVATED
    assert list(partial.iterdir()) == []


def test_an_update_goes_on_where_the_one_before_broke_off(site: Site, servers: ExitStack) -> None:
    address = _web(servers, _public(site))
    whole = _refresh(site, address, root=site.root)
    partial = site.folder / "state/update/partial"
    size = 0
    shutil.rmtree(site.store.folder)
    for path in _objects(_public(site)):
        content = path.read_bytes()
        (partial / path.name).write_bytes(content[:-1])
        size += len(content)
    again = _refresh(site, address)
    assert again.result is Result.ACTIVATED
    assert again.bytes_received < whole.bytes_received - size // 2


@pytest.mark.parametrize("kind", ["ftp", "http", "vsftpd"])
def test_a_whole_update_comes_over(
    kind: str, site: Site, servers: ExitStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    public = _public(site)
    if kind == "ftp":
        address = f"ftp://127.0.0.1:{servers.enter_context(fetch_servers.ftp(public))}"
    elif kind == "http":
        address = _web(servers, public)
    else:
        scratch = tmp_path_factory.mktemp("vsftpd")
        port = servers.enter_context(fetch_servers.vsftpd(public, scratch))
        address = f"ftp://127.0.0.1:{port}"
    assert _refresh(site, address).result is Result.ACTIVATED
    assert _refresh(site, address).requests == 2
