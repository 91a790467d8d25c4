"""Who shares the store: each product is a small file, ``<store>/products/<name>.json``.

A product says what it takes, where it looks, and how it is told. What became of it is beside it in
``<name>.state``: the export that it was last given, and what was wrong. ``sharing`` brings products
up to date; here are the values and where they rest.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import structlog
from pydantic import Field, StringConstraints, model_validator

from mailward import durable
from mailward.definitions.model import Moment, ShardKind, Text, Value, Version, read_value
from mailward.errors import FormatError, StoreError, UsageError

PRODUCTS_MAX = 100
_FILE_MAX_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


class ProductKind(StrEnum):
    """What sort of product it is, and so what its export looks like."""

    MAILWARD = "mailward"
    """Another instance, that reads the store itself: nothing is exported."""
    CLAMD = "clamd"
    RSPAMD = "rspamd"
    YARA = "yara"
    FILES = "files"


TAKES = {
    ProductKind.MAILWARD: tuple(ShardKind),
    ProductKind.CLAMD: (ShardKind.HASHES, ShardKind.YARA, ShardKind.CLAMAV),
    ProductKind.RSPAMD: (ShardKind.HASHES,),
    ProductKind.YARA: (ShardKind.YARA,),
    ProductKind.FILES: (ShardKind.HASHES,),
}
"""The kinds of shards that there is an export for, all of which a product takes by default."""

SIGNALS = ("HUP", "USR1", "USR2")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]*$", max_length=1000)]


class Product(Value):
    """One product: what it takes, where it looks, how it is told."""

    name: Name
    kind: ProductKind
    takes: tuple[ShardKind, ...]
    folder: AbsolutePath | None = None
    """Where it looks: a symbolic link that we move. None: ``exports/<name>/current`` of the store.
    """
    socket: Text = ""
    """clamd's: a path, or ``HOST:PORT``. It is told ``RELOAD`` there, and asked what it uses."""
    pid_file: AbsolutePath | None = None
    """Of the process that gets ``signal`` once there is a new set."""
    signal: Annotated[str, StringConstraints(pattern="^(HUP|USR1|USR2)$")] = "HUP"
    command: Annotated[tuple[Text, ...], Field(max_length=50)] = ()
    """Program and arguments, run once there is a new set."""
    added_at: Moment

    @model_validator(mode="after")
    def _can_take(self) -> Self:
        wrong = sorted(set(self.takes) - set(TAKES[self.kind]))
        if wrong or not self.takes:
            raise ValueError(f"{self.kind} cannot take {', '.join(wrong) or 'nothing'}")
        return self


class Standing(StrEnum):
    """How a product fares."""

    CURRENT = "current"
    """It has the active set, and says so itself where it can be asked."""
    REFUSED = "refused"
    """Its checker did not take the active set: it keeps the one before."""
    UNTOLD = "untold"
    """Its files are in place, and it could not be told or does not use them yet."""
    FAILED = "failed"
    """Its files could not be made; it is tried again."""
    WAITING = "waiting"
    """Nothing was made for it yet."""


class ProductState(Value):
    """What became of a product."""

    standing: Standing = Standing.WAITING
    wanted: Text = ""
    """The export that it was to get last."""
    given: Text = ""
    """The export that its files are."""
    version: Version | None = None
    """The set that they were made from."""
    since: Moment | None = None
    """When it got them."""
    problem: Text = ""
    left_out: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    """What its own checker said of single signatures or files: they are not used by it."""


class Products:
    """The products of the store in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "products"
        self.exports = folder / "exports"

    def all(self) -> list[Product]:
        """By name. What cannot be read is logged and left out."""
        return sorted(self._read_all(), key=lambda product: product.name)

    def get(self, name: str) -> Product:
        """One of them. Raises UsageError if there is none of that name."""
        for product in self.all():
            if product.name == name:
                return product
        raise UsageError(f"there is no product {name!r}. See: mailward products list")

    def state(self, product: Product) -> ProductState:
        """What became of it; the beginning if that cannot be read: it is then made anew."""
        try:
            raw = self._state_path(product).read_bytes()
            return read_value(ProductState, raw, _FILE_MAX_BYTES, "state of a product")
        except (OSError, FormatError):
            return ProductState()

    def link(self, product: Product) -> Path:
        """Where it looks."""
        return Path(product.folder) if product.folder else self.exports / product.name / "current"

    def lock(self, product: Product) -> Path:
        """Held by who brings it up to date."""
        return self._folder / f"{product.name}.lock"

    def stamp(self) -> tuple[int, int]:
        """Changes when a product is added or removed."""
        try:
            found = self._folder.stat()
        except OSError:
            return (0, 0)
        return (found.st_ino, len(list(self._folder.glob("*.json"))))

    def add(self, product: Product) -> None:
        """Raises UsageError if the name is taken, or its place by something of somebody else's."""
        if (self._folder / f"{product.name}.json").exists():
            raise UsageError(f"there is a product {product.name} already: remove it first")
        if len(self.all()) >= PRODUCTS_MAX:
            raise UsageError(f"there are {PRODUCTS_MAX} products already")
        link = self.link(product)
        if link.exists() and not link.is_symlink():
            raise UsageError(
                f"{link} is there already, and not ours to replace: name another place with "
                "--folder"
            )
        taken = next((p.name for p in self.all() if self.link(p) == link), None)
        if taken is not None:
            raise UsageError(f"{link} is where the product {taken} looks: name another place")
        try:
            durable.make_folder(self._folder)
            durable.write_atomic(self._folder / f"{product.name}.json", product.to_json())
        except OSError as e:
            raise StoreError(f"{self._folder}: {e.strerror}: only the updater adds products") from e

    def remove(self, product: Product) -> None:
        """Forget it. Its link is gone then; its files go with the next look."""
        try:
            (self._folder / f"{product.name}.json").unlink(missing_ok=True)
            self._state_path(product).unlink(missing_ok=True)
            self.lock(product).unlink(missing_ok=True)
            if self.link(product).is_symlink():
                self.link(product).unlink()
        except OSError as e:
            raise StoreError(f"{self._folder}: {e.strerror}: only the updater does this") from e

    def record(self, product: Product, state: ProductState) -> None:
        """Keep what became of it. Raises OSError."""
        durable.write_atomic(self._state_path(product), state.to_json())

    def _state_path(self, product: Product) -> Path:
        return self._folder / f"{product.name}.state"

    def _read_all(self) -> Iterator[Product]:
        for path in self._folder.glob("*.json"):
            try:
                product = read_value(Product, path.read_bytes(), _FILE_MAX_BYTES, path.name)
            except FileNotFoundError:
                continue
            except (OSError, FormatError) as e:
                log.error("a product cannot be read and gets nothing", file=str(path), why=str(e))
                continue
            if product.name == path.stem:
                yield product
