"""One store, everybody on it at once, while sets change: what each answers, and how soon.

A publisher's place is taken by a process that puts sets into the store and activates them at random
moments, as the updater does; it is killed now and then in the middle of that. Meanwhile clamd is
asked over its socket and by `clamdscan`, Rspamd by `rspamc`, `yara` scans with the exported files,
and two readers of other users read every shard of the set that the pointer names. Every answer must
belong to a whole set, and everybody must use the newest one soon.

    python benchmarks/products.py --updates 50
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mailward.definitions.products import ProductKind
from mailward.definitions.sharing import Sharing
from mailward.definitions.store import Store
from mailward.settings.update import StoreSettings
from tests.definitions.kinds import activate, threat
from tests.e2e import products as real

_TARGETS = {"clamd": ProductKind.CLAMD, "rspamd": ProductKind.RSPAMD, "tools": ProductKind.YARA}


class Tally:
    """Answers of one asker."""

    def __init__(self) -> None:
        self.answers = 0
        self.wrong: list[str] = []


class Everybody:
    """Askers, each in a thread until it is over."""

    def __init__(self, folder: Path, store: Store, sharing: Sharing) -> None:
        self.folder, self.store, self.sharing = folder, store, sharing
        self.over = threading.Event()
        self.tallies: dict[str, Tally] = {}
        self.threads: list[threading.Thread] = []

    def start(self, name: str, ask: Callable[[], str]) -> None:
        tally = self.tallies[name] = Tally()

        def work() -> None:
            while not self.over.is_set():
                wrong = ask()
                tally.answers += 1
                if wrong:
                    tally.wrong.append(wrong)

        thread = threading.Thread(target=work, name=name)
        thread.start()
        self.threads.append(thread)

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def link(self, name: str) -> Path:
        return self.sharing.products.link(self.sharing.products.get(name))


def _disk(folder: Path) -> int:
    seen: dict[int, int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            seen[stat.st_ino] = stat.st_blocks * 512
    return sum(seen.values())


def _reader(folder: Path, told: Path) -> None:
    """Another user: every change of the pointer, and whether the whole set was there."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    store, last = Store(folder), None
    with told.open("a") as out:
        while True:
            stamp = store.pointer_stamp()
            if stamp == last:
                time.sleep(0.005)
                continue
            last = stamp
            active = store.active()
            whole = active is not None and all(
                hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256
                for shard, path in active.shard_paths()
            )
            line = {"at": time.time(), "set": str(active.version) if active else "", "ok": whole}
            out.write(json.dumps(line) + "\n")
            out.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="mailward-products-"))
    folder.chmod(0o755)
    try:
        _measure(folder, arguments.updates)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, updates: int) -> None:
    store = Store(folder / "definitions", StoreSettings(min_free_bytes=1))
    sharing = Sharing(store, loading_s=60)
    for name, kind in _TARGETS.items():
        more = {}
        if name == "clamd":
            more = {"socket": str(folder / "clamd.sock")}
        elif name == "rspamd":
            more = {"pid_file": str(folder / "rspamd.pid")}
        sharing.products.add(real.product_of(name, kind, **more))
    known = [real.version_of(1)]
    activate(store, known[0])
    sharing.bring_all_up()
    everybody = Everybody(folder, store, sharing)
    with ExitStack() as stack:
        clamd = stack.enter_context(real.running_clamd(folder, everybody.link("clamd")))
        knows = stack.enter_context(
            real.running_rspamd(folder, everybody.link("rspamd") / "sha256.map")
        )
        sharing.bring_all_up()
        readers = [folder / f"reader-{number}" for number in range(2)]
        for told in readers:
            told.touch()
            told.chmod(0o666)
        pids = [_fork_reader(store.folder, told) for told in readers]
        for pid in pids:
            stack.callback(os.kill, pid, signal.SIGKILL)

        def a_version() -> str:
            return random.choice(known[-3:])

        def ask_clamd() -> str:
            version = a_version()
            found = clamd.scan(b"\n".join(threat(n, version) for n in range(1, 3)))
            return "" if found is None or found in real.names_of(version) else f"{version}: {found}"

        def ask_clamdscan() -> str:
            version = a_version()
            found = real.all_found(folder, version)
            whole = found in (set(), set(real.names_of(version)[1:]))
            return "" if whole else f"{version}: {found}"

        def ask_rspamd() -> str:
            knows(threat(0, a_version()))
            return ""

        def ask_yara() -> str:
            link = everybody.link("tools").resolve()
            version = link.name.rpartition("-")[0]
            file = folder / "yara-file"
            file.write_bytes(threat(2, version) + b"broad one")
            try:
                found = real.yara_finds(link, file)
            except subprocess.CalledProcessError as e:
                return f"yara: {e.stderr}"
            wanted = {"Broad", f"Rule_{version.replace('.', '_')}"}
            return "" if found == wanted else f"{version}: {found}"

        for name, ask in (
            ("clamd", ask_clamd), ("clamdscan", ask_clamdscan), ("rspamd", ask_rspamd),
            ("yara", ask_yara),
        ):  # fmt: skip
            everybody.start(name, ask)
        delays: dict[str, list[float]] = {"clamd": [], "rspamd": [], "yara": []}
        activated: dict[str, float] = {}
        killed = 0
        for number in range(2, updates + 2):
            time.sleep(random.uniform(0, 0.5))
            version = real.version_of(number)
            code = real.UPDATER.replace("os.kill(os.getpid(), signal.SIGKILL)", "")
            words = [sys.executable, "-c", code, str(store.folder), version]
            updater = subprocess.Popen(words, cwd=real.project_folder())
            if random.random() < 0.2:
                time.sleep(random.uniform(0.2, 0.9))
                updater.kill()
                killed += 1
            updater.wait()
            if real.active_version(store) != version:
                activate(store, version)
            began = activated[version] = time.time()
            known.append(version)
            states = sharing.bring_all_up()
            problems = {name: s.problem for name, s in states.items() if s.problem}
            if problems:
                print(version, problems)
            delays["yara"].append(time.time() - began)
            while clamd.scan(threat(1, version)) is None:
                time.sleep(0.01)
            delays["clamd"].append(time.time() - began)
            while not knows(threat(0, version)):
                time.sleep(0.02)
            delays["rspamd"].append(time.time() - began)
        everybody.end()
        active = store.active()
        assert active is not None
        one = _disk(active.folder) + sum(
            path.stat().st_blocks * 512 for _, path in active.shard_paths()
        )
        everything = _disk(store.folder)
    print(f"{updates} updates, the updater killed in {killed} of them")
    for name, tally in everybody.tallies.items():
        print(f"{name:10} {tally.answers:6} answers, {len(tally.wrong)} wrong {tally.wrong[:2]}")
    for told in readers:
        lines = [json.loads(line) for line in told.read_text().splitlines()]
        late = [e["at"] - activated[e["set"]] for e in lines if e["set"] in activated]
        bad = [e for e in lines if not e["ok"]]
        print(
            f"{told.name:10} {len(lines):6} sets seen, {len(bad)} not whole, "
            f"{max(late):.3f} s at most"
        )
    for name, seconds in delays.items():
        print(
            f"{name:10} uses it after {statistics.median(seconds):.2f} s, "
            f"{max(seconds):.2f} s at most"
        )
    print(
        f"disk: {everything / 1024:.0f} KiB in all, active set and its files {one / 1024:.0f} KiB"
    )


def _fork_reader(folder: Path, told: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _reader(folder, told)
        finally:
            os._exit(1)
    return pid


if __name__ == "__main__":
    main()
