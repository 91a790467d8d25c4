"""Products brought up to date: a set's export is made, proved, put in place and told of.

``Sharing.bring_up`` is the list of steps for one product. An export is made beside the others and
gets its name when it is whole; the product's link moves by one rename (S4). So whoever is killed in
between leaves the old files or the new ones, and the next look goes on. A roll-back of the store is
nothing special: the set in use is another one, and its export is likely still there.

A product that cannot have a set keeps what it has, and holds nobody else up (S5).
"""

import contextlib
import fcntl
import filecmp
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import structlog

from mailward import durable
from mailward.definitions import checkers, exports
from mailward.definitions.clamd import Clamd
from mailward.definitions.exports import Content, marker
from mailward.definitions.ignored import IgnoreList
from mailward.definitions.products import Product, ProductKind, Products, ProductState, Standing
from mailward.definitions.store import Store
from mailward.errors import BusyError, FormatError, MailwardError, TemporaryError

KEPT_EXPORTS = 3
"""Of each product: the one in use and two before it, as the store keeps sets (S6)."""

LOADING_S = 300.0
"""For a product to be seen using what it was told of; clamd takes a minute for its official set."""

_POLL_S = 0.1
_COMMAND_S = 60.0

log = structlog.get_logger(__name__)


class Sharing:
    """All products of a store. Several processes may use it: each product has a lock."""

    def __init__(self, store: Store, loading_s: float = LOADING_S) -> None:
        self._store = store
        self._loading_s = loading_s
        self._ignored = IgnoreList(store.folder)
        self.products = Products(store.folder)

    def bring_all_up(self) -> dict[str, ProductState]:
        """Every product, side by side, so that none waits for another. By name, how each fares."""
        products = self.products.all()
        if not products:
            return {}
        with ThreadPoolExecutor(len(products), "product") as threads:
            states = threads.map(self.bring_up, products)
            return {product.name: state for product, state in zip(products, states, strict=True)}

    def is_due(self, product: Product) -> bool:
        """Whether there is something to do for it. Raises StoreError."""
        if product.kind is ProductKind.MAILWARD:
            return False
        content = self._content()
        if content is None:
            return False
        state, wanted = self.products.state(product), content.name(product)
        if state.wanted != wanted or state.standing in (Standing.FAILED, Standing.WAITING):
            return True
        if state.standing is Standing.REFUSED:
            return False
        return state.standing is not Standing.CURRENT or not self._is_in_place(product, wanted)

    def bring_up(self, product: Product) -> ProductState:
        """Give a product the active set. How it fares is returned and kept; raises nothing."""
        try:
            with _lock(self.products.lock(product)):
                before = self.products.state(product)
                state = self._brought_up(product, before)
                if state != before:
                    self.products.record(product, state)
                    _log(product, state)
                return state
        except BusyError:
            return self.products.state(product)  # another process is at it
        except (MailwardError, OSError) as e:
            log.error("a product cannot be brought up to date", product=product.name, why=str(e))
            return ProductState(standing=Standing.FAILED, problem=str(e))

    def used(self, product: Product) -> str | None:
        """The export that a clamd really uses, by its markers; None if it cannot be told."""
        if product.kind is not ProductKind.CLAMD or not product.socket:
            return None
        clamd = Clamd(product.socket)
        for export in self._exports(product):
            with contextlib.suppress(TemporaryError):
                if clamd.scan(marker(export)) is not None:
                    return export
        return None

    def _brought_up(self, product: Product, before: ProductState) -> ProductState:
        if product.kind is ProductKind.MAILWARD:
            return before
        content = self._content()
        if content is None:
            return before
        wanted = content.name(product)
        if before.wanted == wanted and before.standing is Standing.REFUSED:
            return before
        self._drop_unfinished(product)
        folder = self.products.exports / product.name / wanted
        left_out = before.left_out if before.given == wanted else ()
        if not folder.is_dir():
            try:
                checked = self._make(product, content, folder)
            except (FormatError, OSError) as e:
                return before.model_copy(
                    update={
                        "standing": Standing.FAILED,
                        "wanted": wanted,
                        "problem": f"its files cannot be made: {e}",
                    }
                )
            if checked.problem:
                return before.model_copy(
                    update={
                        "standing": Standing.REFUSED,
                        "wanted": wanted,
                        "problem": f"{content.version}: {checked.problem}",
                    }
                )
            left_out = checked.left_out
        moved = not self._is_in_place(product, wanted)
        if moved:
            _move_link(self.products.link(product), folder)
        problem = (
            self._tell(product, wanted) if moved or before.standing is not Standing.CURRENT else ""
        )
        self._drop_old(product, wanted)
        return ProductState(
            standing=Standing.UNTOLD if problem else Standing.CURRENT,
            wanted=wanted,
            given=wanted,
            version=content.version,
            since=datetime.now(UTC) if moved or before.since is None else before.since,
            problem=problem,
            left_out=left_out[:100],
        )

    def _content(self) -> Content | None:
        active = self._store.active()
        if active is None:
            return None
        return Content(active.version, active.shard_paths(), frozenset(self._ignored.read()))

    def _make(self, product: Product, content: Content, folder: Path) -> checkers.Checked:
        """Write beside, prove, and give it its name."""
        durable.make_folder(folder.parent)
        unfinished = durable.temporary_beside(folder)
        unfinished.mkdir(mode=0o755)
        try:
            exports.write(product, content, unfinished)
            for file in unfinished.iterdir():
                if file.stat().st_nlink == 1:
                    file.chmod(0o644)  # other users read it, whatever our umask is
            _link_unchanged(unfinished, self.products.link(product))
            checked = checkers.check(product, folder.name, unfinished)
            if not checked.problem:
                durable.fsync_tree(unfinished)
                unfinished.chmod(0o755)
                durable.publish(unfinished, folder)
        finally:
            if unfinished.exists():
                _remove(unfinished)
        return checked

    def _is_in_place(self, product: Product, wanted: str) -> bool:
        link = self.products.link(product)
        try:
            return Path(os.readlink(link)).name == wanted and link.is_dir()
        except OSError:
            return False

    def _tell(self, product: Product, export: str) -> str:
        """Tell it, and wait until it is seen to use the export. What went wrong, or nothing."""
        try:
            if product.socket:
                clamd = Clamd(product.socket)
                if clamd.scan(marker(export)) is not None:
                    return ""  # it has found them by itself
                clamd.reload()
            if product.pid_file is not None:
                _send_signal(Path(product.pid_file), product.signal)
            if product.command:
                _run(product.command, export)
            if product.socket:
                self._await_clamd(Clamd(product.socket), export)
        except (TemporaryError, OSError, ValueError) as e:
            return str(e)
        return ""

    def _await_clamd(self, clamd: Clamd, export: str) -> None:
        """Until then its files must not change again: it would read some of each set."""
        deadline = time.monotonic() + self._loading_s
        while clamd.scan(marker(export)) is None:
            if time.monotonic() > deadline:
                raise TemporaryError(f"clamd does not use {export} after {self._loading_s:g} s")
            time.sleep(_POLL_S)

    def _exports(self, product: Product) -> list[str]:
        """Those that are whole, the newest first."""
        folder = self.products.exports / product.name
        with contextlib.suppress(OSError):
            found = [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()]
            found = [p for p in found if not durable.is_temporary(p)]
            return [p.name for p in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)]
        return []

    def _drop_old(self, product: Product, wanted: str) -> None:
        others = [export for export in self._exports(product) if export != wanted]
        for export in others[KEPT_EXPORTS - 1 :]:
            _remove(self.products.exports / product.name / export)

    def _drop_unfinished(self, product: Product) -> None:
        """Of processes that were killed: we have the lock."""
        for path in (self.products.exports / product.name).glob("*"):
            if durable.is_temporary(path):
                _remove(path)


def drop_exports_of(store: Store, name: str) -> None:
    """What a removed product leaves."""
    _remove(Products(store.folder).exports / name)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Raises BusyError at once while another process has it; the kernel frees it when it dies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{path}: somebody else brings this product up to date") from None
        yield
    finally:
        os.close(fd)


def _link_unchanged(folder: Path, before: Path) -> None:
    """What is as it was before costs no room: exports are never written to once they are whole."""
    for file in folder.iterdir():
        old = before / file.name
        if file.stat().st_nlink == 1 and old.is_file() and filecmp.cmp(file, old, shallow=False):
            temporary = durable.temporary_beside(file)
            with contextlib.suppress(OSError):
                os.link(old, temporary)
                os.replace(temporary, file)


def _move_link(link: Path, folder: Path) -> None:
    """One rename, durable (S4). Something of somebody else's is not replaced."""
    if link.exists() and not link.is_symlink():
        raise OSError(f"{link} is not a link of ours any more: remove it")
    durable.make_folder(link.parent)
    temporary = durable.temporary_beside(link)
    temporary.symlink_to(folder, target_is_directory=True)
    durable.publish(temporary, link)


def _send_signal(pid_file: Path, name: str) -> None:
    pid = int(pid_file.read_text(encoding="ascii").strip())
    if pid < 2:
        raise ValueError(f"{pid_file}: holds no process id")
    os.kill(pid, signal.Signals[f"SIG{name}"])


def _run(command: tuple[str, ...], export: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (the administrator's own command, no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MAILWARD_EXPORT": export},
            timeout=_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TemporaryError(f"{command[0]} was not done after {_COMMAND_S:g} s") from None
    if done.returncode != 0:
        said = done.stdout[:500].decode(errors="replace").strip()
        raise TemporaryError(f"{command[0]} ended with {done.returncode}: {said}")


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _log(product: Product, state: ProductState) -> None:
    tell = log.info if state.standing is Standing.CURRENT else log.error
    tell(
        "product",
        product=product.name,
        standing=state.standing.value,
        set=str(state.version),
        why=state.problem or None,
        left_out=len(state.left_out),
    )
