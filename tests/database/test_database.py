"""Tables that are there when they are needed, whoever comes first and whatever was there before."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import text

from mailward.database import NEWEST, Database
from mailward.database.tables import metadata
from mailward.errors import ConfigError, TemporaryError
from mailward.settings.protect import DatabaseSettings


def opened(folder: Path, url: str = "") -> Database:
    return Database(DatabaseSettings(url=SecretStr(url)), folder)


def test_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    with database.transaction() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    package = Path(__file__).parents[2] / "src/mailward/database/migrations"
    assert ScriptDirectory(str(package)).get_heads() == [NEWEST]


def test_many_that_begin_together_make_the_tables_once(database: Database, tmp_path: Path) -> None:
    url = database._url.render_as_string(hide_password=False)
    plain = url.replace("+psycopg", "") if "postgresql" in url else ""
    others = [opened(tmp_path, plain) for _ in range(6)]

    def count(other: Database) -> int:
        with other.transaction() as connection:
            return int(connection.execute(text("SELECT count(*) FROM events")).scalar_one())

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(count, others)) == [0] * 6
    for other in others:
        other.close()
    with database.transaction():
        pass


def test_a_database_of_a_newer_release_is_refused_in_words(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with first.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    first.close()

    with pytest.raises(ConfigError, match="newer release"), opened(tmp_path).transaction():
        pass


@pytest.mark.parametrize("content", [b"no database at all" * 100, os.urandom(4096)])
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mailward.db"
    path.write_bytes(content)

    with pytest.raises(TemporaryError, match=r"mailward\.db"), opened(tmp_path).transaction():
        pass

    assert path.read_bytes() == content


def test_nobody_else_on_the_computer_can_read_it(tmp_path: Path) -> None:
    with opened(tmp_path / "state").transaction():
        pass

    assert stat.S_IMODE((tmp_path / "state/mailward.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["mysql://u@h/d", "not a url", "http://x", "postgresql"])
def test_an_address_that_makes_no_sense_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        opened(tmp_path, url)


def test_a_password_is_never_told(tmp_path: Path) -> None:
    """S15."""
    settings = DatabaseSettings(url=SecretStr("postgresql://u:hunter2@127.0.0.1:1/d"))

    with pytest.raises(TemporaryError) as error, Database(settings, tmp_path).transaction():
        pass

    assert "127.0.0.1" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in settings.model_dump_json()
    assert "hunter2" not in repr(settings)
