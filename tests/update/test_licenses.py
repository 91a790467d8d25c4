"""The agent and its license, against a real publisher behind its real server."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailward.definitions.model import Channel, Version
from mailward.definitions.store import Store
from mailward.errors import ConfigError, FetchError, FormatError, LicenseError, UsageError
from mailward.license import State
from mailward.publish import licensing, server
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.gate import Gate
from mailward.publish.licensing import Order
from mailward.publish.repository import Publisher
from mailward.publish.usage import Usage
from mailward.settings.update import ChannelSettings, StoreSettings, UpdateSettings
from mailward.update.agent import Agent, Outcome, Result
from mailward.update.fetch import Bearer, fetcher_for, mirrors_of
from mailward.update.licenses import Licenses

BOTH = tuple(Channel)


class Site:
    """A publisher whose rapid channel asks for a license, and a computer that takes from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher(folder / "publisher")
        self.root = self.publisher.init()
        licensing.init(self.publisher, "Example Ltd", "definitions")
        self.usage = Usage(self.publisher.home.license_usage)
        self.gate = Gate(self.publisher.home, self.usage)
        self.address = ""
        (folder / "rules").mkdir()
        self.state = folder / "state"
        self.licenses = Licenses(self.state / "license", self.state / "update")

    def publish(self, name: str, *, license_required: bool = True) -> Version:
        rule = f'rule {name} {{ strings: $a = "a threat" condition: $a }}'
        (self.folder / f"rules/{name}.yar").write_text(rule)
        version = build(self.publisher.home, parse_specs([f"yara={self.folder / 'rules'}"])).version
        self.publisher.publish(version, forced="a test", license_required=license_required)
        return version

    def issue(self, days: int = 365, channels: Sequence[Channel] = BOTH, id: str = "") -> Path:  # noqa: A002
        now = datetime.now(UTC)
        order = Order(
            "Example Hospital",
            now.date() + timedelta(days=days),
            tuple(channels),
            since=now.date() - timedelta(days=100),
            id=id,
        )
        ((terms, token),) = licensing.issue_all(self.publisher, [order], now)
        path = self.folder / f"{terms.jti}.mwlic"
        path.write_text(token)
        return path

    def install(self, path: Path, channels: Sequence[Channel] = BOTH) -> str:
        known, remark = self.agent().known_of_licenses(channels)
        self.licenses.install(path, channels, known, datetime.now(UTC))
        return remark

    @property
    def settings(self) -> UpdateSettings:
        address = self.address or self.publisher.home.public.as_uri()
        return UpdateSettings(
            repository=address, root=self.root, rapid=ChannelSettings(enabled=True)
        )

    @property
    def store(self) -> Store:
        return Store(self.state / "definitions", StoreSettings(min_free_bytes=1))

    def agent(self, settings: UpdateSettings | None = None) -> Agent:
        return Agent(
            settings or self.settings,
            self.store,
            self.state / "update",
            license_dir=self.state / "license",
        )

    async def refresh(self) -> Outcome:
        return await asyncio.to_thread(self.agent().refresh, Channel.RAPID)

    def state_of(self, channel: Channel = Channel.RAPID) -> State:
        return self.licenses.entitlement(channel, datetime.now(UTC)).state


@pytest.fixture
def local(tmp_path: Path) -> Site:
    """Read from the disk: nobody there asks for a license but the agent itself."""
    return Site(tmp_path)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    public = made.publisher.home.public
    async with server.serving(public, "127.0.0.1", 0, gate=made.gate) as port:
        made.address = f"http://127.0.0.1:{port}"
        yield made


async def test_without_a_license_nothing_comes_but_what_there_would_be_is_known(site: Site) -> None:
    first = site.publish("First", license_required=False)
    assert (await site.refresh()).result is Result.ACTIVATED
    second = site.publish("Second")
    outcome = await site.refresh()
    assert (outcome.result, outcome.active, outcome.offered) == (Result.UNLICENSED, first, second)
    assert "none is installed" in outcome.reason
    assert [str(v) for v in site.store.versions()] == [str(first)]  # S10: it goes on scanning
    assert site.state_of() is State.MISSING


async def test_with_a_license_it_comes(site: Site) -> None:
    version = site.publish("First")
    await asyncio.to_thread(site.install, site.issue())
    outcome = await site.refresh()
    assert (outcome.result, outcome.active) == (Result.ACTIVATED, version)
    (use,) = site.usage.uses(datetime.now(UTC))
    assert (use.licensee, use.seen, use.is_over) == ("Example Hospital", 1, False)


async def test_the_server_refuses_whom_the_agent_would_let_through(site: Site) -> None:
    """Somebody who changes the agent gets no further."""
    site.publish("First")
    sha = next((site.publisher.home.public / "objects").rglob("*.zst")).relative_to(
        site.publisher.home.public
    )
    fetcher = fetcher_for(site.address, site.settings)
    with pytest.raises(FetchError, match="401: this needs a license for rapid"):
        await asyncio.to_thread(lambda: list(fetcher.fetch(f"{site.address}/{sha}", 10**6)))


async def test_a_revoked_license_is_refused_at_the_next_check(site: Site) -> None:
    site.publish("First")
    await asyncio.to_thread(site.install, site.issue(id="L-1"))
    await site.refresh()
    licensing.revoke(site.publisher, "L-1", "not paid")
    site.publish("Second")
    outcome = await site.refresh()
    assert outcome.result is Result.UNLICENSED
    assert "not paid" in outcome.reason
    with pytest.raises(LicenseError, match="not paid"):
        await asyncio.to_thread(site.install, site.issue(id="L-1"))


def test_keys_are_replaced_and_old_licenses_hold_until_theirs_is_dropped(local: Site) -> None:
    local.publish("First")
    first = licensing.read(local.publisher.home)
    assert first is not None
    local.install(local.issue(id="old"))
    licensing.rotate(local.publisher)
    local.install(local.issue(id="new"))
    assert local.agent().refresh(Channel.RAPID).result is Result.ACTIVATED
    licensing.drop(local.publisher, first.keys[0].keyid[:12])
    local.publish("Second")
    assert local.agent().refresh(Channel.RAPID).result is Result.ACTIVATED  # by the new one
    held = local.licenses.held(local.licenses.known().licensing)
    assert [h.license.id if h.license else "does not name" in h.problem for h in held] == [
        True, "new",
    ]  # fmt: skip


def test_a_wrong_license_can_be_undone(local: Site) -> None:
    local.publish("First")
    local.agent().refresh(Channel.RAPID)
    good = local.issue(id="L-1")
    local.install(good)
    before = (local.state / "license/installed").read_bytes()
    local.install(local.issue(days=5, channels=[Channel.RAPID], id="L-1"))  # replaces it
    assert local.state_of() is State.EXPIRING
    local.licenses.undo()
    assert local.state_of() is State.VALID
    assert (local.state / "license/installed").read_bytes() == before
    local.licenses.undo()
    assert local.state_of() is State.EXPIRING


def test_there_is_nothing_to_undo_at_first(local: Site) -> None:
    with pytest.raises(UsageError, match="nothing to undo"):
        local.licenses.undo()


def test_what_cannot_be_used_is_not_installed_and_the_installed_one_is_untouched(
    local: Site, tmp_path: Path
) -> None:
    local.publish("First")
    local.install(local.issue())
    before = (local.state / "license/installed").read_bytes()
    token = local.issue().read_text()
    bad = tmp_path / "bad.mwlic"
    for content in (b"", b"\x00" * 900, token.encode()[:-20], b"x" * 10**6, b"not one"):
        bad.write_bytes(content)
        with pytest.raises((FormatError, LicenseError)):
            local.install(bad)
    with pytest.raises(LicenseError, match="it ended on"):
        local.install(local.issue(days=-20))
    with pytest.raises(LicenseError, match="it is for certified, this computer takes rapid"):
        local.install(local.issue(channels=[Channel.CERTIFIED]), [Channel.RAPID])
    with pytest.raises(UsageError, match="No such file"):
        local.install(tmp_path / "nothing.mwlic")
    with pytest.raises(UsageError, match="Is a directory"):
        local.install(tmp_path)
    other = Site(_folder(tmp_path, "other"))
    with pytest.raises(LicenseError, match="does not name"):
        local.install(other.issue())
    assert (local.state / "license/installed").read_bytes() == before


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_installed_licenses_are_for_their_owner_only(local: Site) -> None:
    local.publish("First")
    for _ in range(2):
        local.install(local.issue())
    for path in (local.state / "license").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert (local.state / "license").stat().st_mode & 0o777 == 0o700


def test_a_license_that_others_can_read_is_not_used(local: Site) -> None:
    local.publish("First")
    local.install(local.issue())
    (local.state / "license/installed").chmod(0o644)
    found = local.licenses.entitlement(Channel.RAPID, datetime.now(UTC))
    assert found.state is State.INVALID
    assert "chmod 600" in found.sentence


def test_installing_works_by_what_was_seen_last_while_the_repository_is_away(
    local: Site, tmp_path: Path
) -> None:
    local.publish("First")
    path = local.issue()
    local.address = (tmp_path / "gone").as_uri()
    with pytest.raises(FetchError):
        local.install(path)
    local.address = ""
    local.install(local.issue(id="L-1"))
    local.address = (tmp_path / "gone").as_uri()
    assert "what the repository said last" in local.install(local.issue(id="L-2"))


def test_turning_the_clock_back_renews_nothing(local: Site) -> None:
    local.publish("First")
    local.install(local.issue(days=5))
    signed = local.licenses.known().signed_at
    assert signed is not None
    assert timedelta(0) <= datetime.now(UTC) - signed < timedelta(minutes=5)
    long_ago = datetime.now(UTC) - timedelta(days=3000)
    found = local.licenses.entitlement(Channel.RAPID, long_ago)
    assert found.state is State.EXPIRING  # not "not yet valid": by the signed time
    assert "set the clock right" in found.sentence


async def test_the_license_is_shown_to_nobody_in_clear_unless_told_to(site: Site) -> None:
    site.publish("First")
    await asyncio.to_thread(site.install, site.issue())
    far = UpdateSettings(repository="http://definitions.example.org", root=site.root)
    with pytest.raises(ConfigError, match="would travel unencrypted"):
        mirrors_of(far).present(Bearer("secret"))
    mirrors_of(far.model_copy(update={"license_in_clear": True})).present(Bearer("secret"))
    both = far.model_copy(update={"mirrors": ("https://mirror.example.org",)})
    with capture_logs() as logs:
        mirrors_of(both).present(Bearer("secret"))
    assert [each["mirror"] for each in logs] == ["http://definitions.example.org"]
    assert "secret" not in json.dumps(logs)


async def test_the_license_appears_in_no_log_and_no_file_that_others_can_read(site: Site) -> None:
    with capture_logs() as logs:
        site.publish("First")
        path = site.issue()
        await asyncio.to_thread(site.install, path)
        await site.refresh()
        licensing.revoke(site.publisher, path.stem, "not paid")
        site.publish("Second")
        await site.refresh()
    token = path.read_text()
    path.unlink()
    assert len(logs) > 5
    assert token[-40:] not in json.dumps(logs, default=str)
    holding = [
        each
        for each in site.folder.rglob("*")
        if each.is_file() and token[-40:].encode() in each.read_bytes()
    ]
    assert [each.name for each in holding] == ["installed"]
    for event in site.store.history():
        assert token[-40:] not in str(event)


async def test_evidence_of_a_licensed_channel_is_not_asked_for_without_one(local: Site) -> None:
    version = local.publish("First", license_required=False)
    local.agent().refresh(Channel.RAPID)
    local.publisher.promote(version, forced="a test", license_required=True)
    shutil.rmtree(local.publisher.home.public / "objects")
    assert local.agent().refresh(Channel.CERTIFIED).result is Result.UP_TO_DATE
    active = local.store.active()
    assert active is not None
    assert active.manifest.channel is Channel.RAPID
