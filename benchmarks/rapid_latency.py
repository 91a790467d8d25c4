"""From a changed feed to published in rapid under `repo watch`, and what an agent downloads for it.

The feeds are all real definitions beside the project (or, without them, 100,000 made-up hashes);
then one hash is added. Prints seconds, bytes, and the share of the whole set.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mailward.definitions.model import Channel, Version
from mailward.definitions.store import Store
from mailward.publish import history
from mailward.publish.home import Home
from mailward.publish.metadata import Signed
from mailward.publish.repository import Publisher
from mailward.publish.watch_state import WatchState
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.update.agent import Agent, Outcome

_SHARED = Path(__file__).resolve().parents[2] / "shared/data/definitions"
_CODE = "from mailward.cli import main; main()"


def main() -> None:
    """Prepare, start both servers, change the feed, measure."""
    with tempfile.TemporaryDirectory(prefix="mailward-bench-") as name:
        folder = Path(name)
        home = Home(folder / "publisher")
        Publisher(home.folder).init()
        _configure(home)
        web = _start("serve", "--repo", str(home.folder), "--listen", "127.0.0.1:0")
        assert web.stdout is not None
        address = next(w for w in web.stdout.readline().split() if w.startswith("http://"))
        began = time.monotonic()
        watch = _start("watch", "--repo", str(home.folder))
        try:
            first = _published(home, None)
            print(f"first set {first}: published after {time.monotonic() - began:.1f} s")
            _say(home)
            agent = _agent(folder, address)
            whole = _update(agent)
            for number in range(3):
                began = time.monotonic()
                with (home.folder / "new/list.txt").open("a") as file:
                    file.write(f"{number + 1:064x}\n")
                second = _published(home, first)
                took_s = time.monotonic() - began
                one = _update(agent)
                print(
                    f"one new hash: {second} published after {took_s:.1f} s;"
                    f" the agent downloads {one.bytes_received} bytes in {one.requests} requests,"
                    f" {one.bytes_received / whole.bytes_received:.3%} of the whole set"
                )
                _say(home)
                first = second
        finally:
            for process in (watch, web):
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def _configure(home: Home) -> None:
    (home.folder / "new").mkdir()
    (home.folder / "new/list.txt").write_text("".join(f"{n:032x}\n" for n in range(20)))
    feeds = {"new": ("hashes", home.folder / "new")}
    if _SHARED.is_dir():
        for kind in ("clamav", "hashes", "yara"):
            for place in (
                sorted((_SHARED / kind).iterdir()) if kind != "clamav" else [_SHARED / kind]
            ):
                feeds[place.name.lower() if kind != "clamav" else kind] = (kind, place)
    else:
        (home.folder / "many.txt").write_text("".join(f"{n:064x}\n" for n in range(100_000)))
        feeds["many"] = ("hashes", home.folder / "many.txt")
    (home.folder / "publisher.toml").write_text(
        "".join(
            f'[feeds."{name}"]\nkind = "{kind}"\nplace = "{place}"\n'
            for name, (kind, place) in feeds.items()
        )
    )


def _start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-uc", _CODE, "repo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )


def _published(home: Home, before: Version | None) -> Version:
    def offered() -> Version | None:
        return history.current(home, Signed.load(home), Channel.RAPID).version

    _until(lambda: offered() not in (None, before), home)
    found = offered()
    assert found is not None
    return found


def _until(condition: Callable[[], bool], home: Home) -> None:
    deadline = time.monotonic() + 900
    while not condition():
        state = WatchState.load(home)
        job = state.jobs.get("rapid") if state else None
        if job is not None and job.failing_since is not None:
            raise SystemExit(f"rapid failed: {job.result}")
        if time.monotonic() > deadline:
            raise SystemExit("not published within 15 minutes")
        time.sleep(0.05)


def _say(home: Home) -> None:
    version = history.current(home, Signed.load(home), Channel.RAPID).version
    assert version is not None
    manifest = history.manifest(home, Signed.load(home), Channel.RAPID, version)
    print(
        f"  {manifest.signatures} signatures in {len(manifest.shards)} shards,"
        f" {manifest.size_bytes / 1e6:.1f} MB, {len(manifest.patches)} patches"
    )
    assert manifest.report is not None
    for gate in manifest.report.gates:
        print(f"  {gate.name}: {'passed' if gate.passed else 'FAILED'}: {gate.detail[:200]}")


def _agent(folder: Path, address: str) -> Agent:
    settings = UpdateSettings(
        repository=address, root=folder / "publisher/public/metadata/1.root.json"
    )
    store = Store(folder / "definitions", StoreSettings(min_free_bytes=1))
    return Agent(settings, store, folder / "update")


def _update(agent: Agent) -> Outcome:
    outcome = agent.refresh(Channel.RAPID)
    print(f"  agent: {outcome.result}, {outcome.bytes_received} bytes, {outcome.ms / 1000:.1f} s")
    return outcome


if __name__ == "__main__":
    main()
