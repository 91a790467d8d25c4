"""Both databases: SQLite in a folder, and a real PostgreSQL on a socket of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from mailward.database import Database
from mailward.settings.protect import DatabaseSettings

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Its URL. It refuses to run as root, so root starts it as its own user."""
    if not _BINARIES:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    # Not below pytest's folder, which that user may not enter.
    with tempfile.TemporaryDirectory(prefix="mailward-postgres-") as folder:
        yield from _running(Path(folder))


def _running(folder: Path) -> Iterator[str]:
    tools, data = _BINARIES[-1].parent, folder / "data"
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)

    def run(tool: str, *arguments: str | Path) -> None:
        command = [tools / tool, "-D", data, *arguments]
        # To a file: the server would keep a pipe open.
        with (folder / "out").open("ab") as out:
            subprocess.run(command, user=user, check=True, cwd=folder, stdout=out, stderr=out)

    run("initdb", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-w", "-o", options, "-l", folder / "log", "start")
    try:
        name = user or pwd.getpwuid(os.geteuid()).pw_name
        yield f"postgresql://{name}@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = request.getfixturevalue("postgres") if request.param == "postgresql" else ""
    database = Database(DatabaseSettings(url=SecretStr(url)), tmp_path)
    yield database
    if url:
        with database.transaction() as connection:
            connection.execute(text("DROP TABLE events, held, alembic_version"))
    database.close()
