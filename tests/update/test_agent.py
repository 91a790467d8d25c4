"""The agent against a real publisher: what is offered becomes the set in use, or nothing does."""

import asyncio
import shutil
from pathlib import Path

import pytest

from mailward.definitions.model import Channel, Level, Version
from mailward.definitions.store import Store
from mailward.errors import BusyError, ConfigError, StoreError, TrialError
from mailward.publish import quality, server
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.update.agent import Agent, Outcome, Result


class Site:
    """A publisher, and one computer that takes what it offers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher(folder / "publisher")
        self.root = self.publisher.init()
        self.rules = folder / "rules"
        self.rules.mkdir()
        self.steps: list[str] = []

    def build(self, name: str, condition: str = '"a threat"') -> Version:
        """The next set: one rule more, that matches ``condition``."""
        rule = f"rule {name} {{ strings: $a = {condition} condition: $a }}"
        (self.rules / f"{name}.yar").write_text(rule, encoding="utf-8")
        return build(self.publisher.home, parse_specs([f"yara={self.rules}"])).version

    def publish(self, name: str) -> Version:
        version = self.build(name)
        assert quality.check(self.publisher.home, version, Level.BASIC).passed
        self.publisher.publish(version)
        return version

    def publish_untested(self, name: str, condition: str) -> Version:
        version = self.build(name, condition)
        self.publisher.publish(version, forced="to see what agents do")
        return version

    @property
    def store(self) -> Store:
        return Store(self.folder / "state/definitions", StoreSettings(min_free_bytes=1))

    def refresh(
        self, channel: Channel = Channel.RAPID, *, check_only: bool = False, address: str = ""
    ) -> Outcome:
        public = self.publisher.home.folder / "public"
        settings = UpdateSettings(repository=address or public.as_uri(), root=self.root)
        agent = Agent(
            settings,
            self.store,
            self.folder / "state/update",
            lambda step, done, total: self.steps.append(step),
        )
        return agent.refresh(channel, check_only=check_only)

    def active(self) -> Version | None:
        active = self.store.active()
        return active.version if active else None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_new_set_is_fetched_proved_and_activated_in_this_order(site: Site) -> None:
    version = site.publish("First")
    outcome = site.refresh()
    assert outcome.result is Result.ACTIVATED
    assert site.active() == version
    active = site.store.active()
    assert active is not None
    assert active.trial is not None
    assert active.trial.passed
    assert active.trial.probes_found > 0
    told = [step.split()[0] for step in site.steps]
    assert told == sorted(told, key=["checking", "fetching", "fetched", "proving"].index)


async def test_nothing_new_costs_two_requests_and_less_than_two_kilobytes(site: Site) -> None:
    site.publish("First")
    public = site.publisher.home.folder / "public"
    async with server.serving(public, "127.0.0.1", 0) as port:
        address = f"http://127.0.0.1:{port}"
        assert (await asyncio.to_thread(site.refresh, address=address)).result is Result.ACTIVATED
        outcome = await asyncio.to_thread(site.refresh, address=address)
    assert outcome.result is Result.UP_TO_DATE
    assert outcome.requests == 2
    assert outcome.bytes_received < 2048


def test_an_update_comes_as_a_patch(site: Site) -> None:
    for number in range(30):
        site.build(f"Rule{number:02}", f'"threat number {number}"')
    site.publish("First")
    site.refresh()
    site.publish("Second")
    objects = {path: path.read_bytes() for path in _objects(site)}
    for path in objects:
        path.unlink()  # so that only patches can help
    assert site.refresh().result is Result.ACTIVATED


def _objects(site: Site) -> list[Path]:
    return list((site.publisher.home.folder / "public/objects").rglob("*.zst"))


def test_only_looking_changes_nothing(site: Site) -> None:
    version = site.publish("First")
    outcome = site.refresh(check_only=True)
    assert (outcome.result, outcome.offered) == (Result.AVAILABLE, version)
    assert site.active() is None


def test_a_set_certified_later_is_not_fetched_again_but_its_evidence_is(site: Site) -> None:
    version = site.publish("First")
    site.refresh(Channel.RAPID)
    site.publisher.promote(version, forced="tested elsewhere")
    for path in _objects(site):
        path.unlink()
    assert site.refresh(Channel.CERTIFIED).result is Result.UP_TO_DATE
    active = site.store.active()
    assert active is not None
    assert active.manifest.channel is Channel.CERTIFIED
    assert active.manifest.report is not None
    assert active.manifest.report.forced == "tested elsewhere"


def test_a_withdrawn_set_is_left_for_the_one_before_and_not_taken_again(site: Site) -> None:
    first = site.publish("First")
    site.refresh()
    second = site.publish("Second")
    site.refresh()
    assert site.active() == second
    site.publisher.withdraw(second, "hits newsletters")
    outcome = site.refresh()
    assert outcome.result is Result.FELL_BACK
    assert site.active() == first
    assert site.refresh().result is Result.UP_TO_DATE
    assert site.active() == first
    pointer = site.store.pointer()
    assert pointer is not None
    assert "hits newsletters" in pointer.refused[str(second)]


def test_a_withdrawn_set_with_nothing_before_it_goes_on_scanning_until_there_is_better(
    site: Site,
) -> None:
    first = site.publish("First")
    site.refresh()
    site.publisher.withdraw(first, "bad")
    site.refresh()
    assert site.active() == first
    second = site.publish("Second")
    assert site.refresh().result is Result.ACTIVATED
    assert site.active() == second


def test_a_set_that_hits_known_good_mail_fails_its_trial_and_is_not_tried_again(
    site: Site,
) -> None:
    first = site.publish("First")
    site.refresh()
    bad = site.publish_untested("HitsAll", '"Kind regards"')
    with pytest.raises(TrialError, match=r"false positive: HitsAll in built-in message"):
        site.refresh()
    assert site.active() == first
    assert site.refresh().result is Result.UP_TO_DATE
    kept = site.store.get(bad)
    assert kept.trial is not None
    assert not kept.trial.passed
    good = site.build("Good")
    (site.rules / "HitsAll.yar").unlink()
    good = site.publish("Better")
    assert site.refresh().result is Result.ACTIVATED
    assert site.active() == good


def test_an_agent_killed_after_the_trial_does_not_prove_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish("First")
    site.refresh()
    second = site.publish("Second")

    def power_loss(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mailward.definitions.writer.StoreWriter.activate", power_loss)
        with pytest.raises(KeyboardInterrupt):
            site.refresh()
    site.steps.clear()
    assert site.refresh().result is Result.ACTIVATED
    assert site.active() == second
    assert "proving the set" not in site.steps


def test_two_updates_at_once_are_refused_and_the_second_says_why(site: Site) -> None:
    site.publish("First")
    with site.store.writer("a long update"), pytest.raises(BusyError, match="a long update"):
        site.refresh()


def test_without_an_address_or_root_the_error_names_the_keys(site: Site) -> None:
    agent = Agent(UpdateSettings(), site.store, site.folder / "state/update")
    with pytest.raises(ConfigError, match=r"update\.repository and update\.root"):
        agent.refresh(Channel.RAPID)


def test_no_room_refuses_the_update_and_scanning_goes_on(site: Site) -> None:
    first = site.publish("First")
    site.refresh()
    site.publish("Second")
    free = shutil.disk_usage(site.folder).free
    full = Store(site.store.folder, StoreSettings(min_free_bytes=free * 2))
    public = site.publisher.home.folder / "public"
    settings = UpdateSettings(repository=public.as_uri(), root=site.root)
    with pytest.raises((StoreError, BusyError), match=r"room|free"):
        Agent(settings, full, site.folder / "state/update").refresh(Channel.RAPID)
    assert site.active() == first
