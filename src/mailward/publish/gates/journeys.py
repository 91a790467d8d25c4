"""An agent goes from nothing, and from each of the last sets, to this one and back: by the real
command line.

A throwaway repository offers the older set, then this one, out of the publisher's own objects and
patches. For each journey there is a computer of its own: a folder with a configuration and a store.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailward.definitions.model import Channel, Gate, Manifest
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.publish import candidates, history
from mailward.publish.gates.base import Progress, Subject, gate
from mailward.publish.home import Home
from mailward.publish.metadata import Signed
from mailward.publish.repository import Publisher

NAME = "agents"

_COMMAND_TIMEOUT_S = 1800.0
"""For fetching and proving a set: a trial's 600 s, and then some."""

_PURPOSE = "a journey of the stringent tests"


class _StrayedError(Exception):
    """An agent did something else than it should; says what."""


def kept_sets(subject: Subject) -> list[Manifest]:
    """The sets that channels name, without this one, newest first, each content once."""
    home = subject.home
    found: dict[tuple[str, ...], Manifest] = {}
    for manifest in history.published_sets(home, Signed.load(home)):
        if manifest.version < subject.manifest.version:
            found[tuple(shard.sha256 for shard in manifest.shards)] = manifest
    return sorted(found.values(), key=lambda manifest: manifest.version, reverse=True)


def journeys(subject: Subject, olds: Sequence[Manifest], progress: Progress) -> Gate:
    """Send an agent with no set, and one from each of ``olds``, several at once. Raises OSError."""
    starts = [None, *olds]
    progress(NAME, 0, len(starts))
    culprits = []
    bytes_received = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = {pool.submit(_journey, subject, start): start for start in starts}
        for done, future in enumerate(as_completed(futures), 1):
            start = futures[future]
            try:
                bytes_received.append(future.result())
            except (_StrayedError, MailwardError) as e:
                culprits.append(f"from {start.version if start else 'nothing'}: {e}")
            progress(NAME, done, len(starts))
    detail = f"{len(starts) - len(culprits)} of {len(starts)} arrived: a fresh one"
    if olds:
        detail += f", and {len(olds)} from other sets there and back"
    if bytes_received:
        detail += f"; {min(bytes_received)} to {max(bytes_received)} bytes each"
    return gate(NAME, not culprits, detail, sorted(culprits))


def _journey(subject: Subject, old: Manifest | None) -> int:
    """There and back; how many bytes there took. Raises _StrayedError, MailwardError, OSError."""
    folder = subject.work / f"journey-{old.version if old else 'fresh'}"
    folder.mkdir()
    publisher = _throwaway(subject.home, folder / "publisher")
    computer = _Computer(folder)
    try:
        if old is not None:
            _offer(publisher, old)
            computer.update()
            computer.require_active(old, "at the start")
        _offer(publisher, subject.manifest)
        bytes_received = computer.update()
        computer.require_active(subject.manifest, "after the update")
        if old is not None:
            computer.run("definitions", "rollback", "--reason", _PURPOSE)
            computer.require_active(old, "after going back")
            computer.update()
            computer.require_active(old, "after the next update, which must not take it again")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return bytes_received


def _throwaway(home: Home, folder: Path) -> Publisher:
    """A publisher with keys of its own that serves the objects and patches of ``home``."""
    publisher = Publisher(folder)
    publisher.init()
    for name in ("objects", "patches"):
        (home.public / name).mkdir(exist_ok=True)
        (publisher.home.public / name).symlink_to(home.public.absolute() / name)
    return publisher


def _offer(publisher: Publisher, manifest: Manifest) -> None:
    plain = manifest.model_copy(update={"report": None, "channel": Channel.RAPID})
    candidates.save(publisher.home, plain)
    publisher.publish(manifest.version, forced=_PURPOSE)


@dataclass(frozen=True, slots=True)
class _Computer:
    """One that is protected, in a folder."""

    folder: Path

    def update(self) -> int:
        """Take what is offered; the bytes it took."""
        (outcome,) = self.run("update", "rapid", "--json")
        return int(outcome["bytes_received"])

    def require_active(self, manifest: Manifest, when: str) -> None:
        """Raises _StrayedError unless that set is in use, whole."""
        store = Store(self.folder / "state/definitions")
        pointer = store.pointer()
        active = None if pointer is None else pointer.version
        if active != manifest.version:
            raise _StrayedError(f"{when} it uses {active or 'nothing'}")
        for problem in store.verify(manifest.version):
            raise _StrayedError(f"{when} its set is damaged: {problem.detail}")

    def run(self, *words: str) -> Any:
        """Run a command to its good end; what it printed, if that is JSON. Raises _StrayedError."""
        config = self.folder / "mailward.toml"
        if not config.exists():
            config.write_text(self._configuration(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "mailward", "--config", str(config), *words]
        said = " ".join(words)
        try:
            done = subprocess.run(  # noqa: S603 (our own command line, no shell)
                command,
                env={k: v for k, v in os.environ.items() if not k.startswith("MAILWARD_")},
                capture_output=True,
                timeout=_COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as e:
            raise _StrayedError(f"`{said}` took longer than {_COMMAND_TIMEOUT_S:g} s") from e
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"exit code {done.returncode}"
            raise _StrayedError(f"`{said}` failed: {why}")
        return json.loads(done.stdout) if "--json" in words else None

    def _configuration(self) -> str:
        public = self.folder / "publisher/public"
        return (
            f"state_dir = {json.dumps(str(self.folder / 'state'))}\n"
            "[update]\n"
            f"repository = {json.dumps(public.absolute().as_uri())}\n"
            f"root = {json.dumps(str(public / 'metadata/1.root.json'))}\n"
            "[update.rapid]\nenabled = true\n"
            "[store]\nmin_free_bytes = 1\n"
        )
