"""The database of what happened and what is held: SQLite, or PostgreSQL where servers share it.

Nothing that must not be lost is in it alone: events are in files as well, the quarantine's truth is
its folder. It is there to be searched. Tables are made and changed by the migrations beside this.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from mailward import durable
from mailward.errors import ConfigError, TemporaryError
from mailward.settings.protect import DatabaseSettings

NEWEST = "0002"
"""The last of the migrations."""

_BUSY_TIMEOUT_S = 10
"""For another process that writes: our own batches take milliseconds."""
_MIGRATION_LOCK = 0x6D61_696C
"""PostgreSQL's advisory lock of whoever brings the tables up to date."""
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}


class Database:
    """Opened on first use, brought up to date then. Safe for threads."""

    def __init__(self, settings: DatabaseSettings, state_dir: Path) -> None:
        self._url = _url(settings, state_dir)
        self._engine: Engine | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection; what was written is kept when the block ends well.

        Raises TemporaryError when the database cannot be reached or refuses, ConfigError when it
        was made by a newer release.
        """
        try:
            with self._opened().begin() as connection:
                yield connection
        except SQLAlchemyError as e:
            raise TemporaryError(f"database {self._shown}: {_why(e)}") from e

    def close(self) -> None:
        """Let go of connections. May be repeated."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @property
    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=True)  # S15

    def _opened(self) -> Engine:
        if self._engine is None:
            if self._url.database and self._url.get_backend_name() == "sqlite":
                _make_private(Path(self._url.database))
            engine = create_engine(self._url, pool_pre_ping=True)
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _configure_sqlite)
            self._bring_up_to_date(engine)
            self._engine = engine
        return self._engine

    def _bring_up_to_date(self, engine: Engine) -> None:
        with self._alone(engine) as connection:
            if _revision(connection) == NEWEST:
                return
            # Here, because it takes longer to import than everything else that a command needs.
            import alembic.command
            import alembic.config
            import alembic.util.exc

            config = alembic.config.Config()
            config.set_main_option("script_location", "mailward.database:migrations")
            config.attributes["connection"] = connection
            try:
                alembic.command.upgrade(config, "head")
            except alembic.util.exc.CommandError as e:
                raise ConfigError(
                    f"database {self._shown}: made by a newer release than this one ({e}); "
                    "use that release, or another database.url"
                ) from e

    @contextlib.contextmanager
    def _alone(self, engine: Engine) -> Iterator[Connection]:
        """One process at a time: two that make the same table would stop each other."""
        with contextlib.ExitStack() as held:
            if engine.dialect.name == "sqlite":
                held.enter_context(durable.alone(Path(f"{self._url.database}.lock")))
            connection = held.enter_context(engine.begin())
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            yield connection


def _revision(connection: Connection) -> str | None:
    """What Alembic noted when it last changed the tables; None before that."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _url(settings: DatabaseSettings, state_dir: Path) -> URL:
    written = settings.url.get_secret_value()
    if not written:
        return URL.create("sqlite", database=str(state_dir / "mailward.db"))
    try:
        url = make_url(written)
    except ArgumentError as e:
        raise ConfigError("database.url: not a URL such as postgresql://user@host/name") from e
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigError(f"database.url: begins with sqlite or postgresql, not {url.drivername}")
    return url.set(drivername=driver)


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _configure_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # the DB-API's
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_S * 1000}")
    cursor.close()


def _why(error: SQLAlchemyError) -> str:
    """Without the statement and its values, which name people."""
    cause = getattr(error, "orig", None) or error
    return str(cause).partition("\n")[0]
