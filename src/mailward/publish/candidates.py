"""Sets that were built, and the reports on them: ``candidates/<version>/``."""

import shutil

from mailward import durable
from mailward.definitions.model import (
    MANIFEST_MAX_BYTES,
    Level,
    Manifest,
    QualityReport,
    Version,
    read_value,
)
from mailward.errors import FormatError, PublishError, UsageError
from mailward.publish.home import Home


def versions(home: Home) -> list[Version]:
    """Every version that was built, oldest first."""
    if not home.candidates.is_dir():
        return []
    found = []
    for path in home.candidates.iterdir():
        if not durable.is_temporary(path):
            try:
                found.append(Version.parse(path.name))
            except FormatError:
                continue  # somebody's own file
    return sorted(found)


def load(home: Home, version: Version) -> Manifest:
    """A built set. Raises UsageError if there is none, PublishError if it is damaged."""
    path = home.candidates / str(version) / "manifest.json"
    try:
        return Manifest.from_json(path.read_bytes())
    except FileNotFoundError as e:
        raise UsageError(
            f"no set {version} was built in {home.folder}: `mailward repo status` lists them"
        ) from e
    except FormatError as e:
        raise PublishError(f"{path} is damaged ({e}): build again") from e


def save(home: Home, manifest: Manifest) -> None:
    """Keep a built set, whole or not at all. The caller holds the lock."""
    durable.make_folder(home.candidates)
    temporary = durable.temporary_beside(home.candidates / str(manifest.version))
    temporary.mkdir()
    try:
        durable.write_atomic(temporary / "manifest.json", manifest.to_json())
        durable.publish(temporary, home.candidates / str(manifest.version))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def report(home: Home, version: Version, level: Level) -> QualityReport | None:
    """The report on a set at a level; None if it was not checked. Raises PublishError."""
    path = home.candidates / str(version) / f"report-{level}.json"
    try:
        return read_value(QualityReport, path.read_bytes(), MANIFEST_MAX_BYTES, "report")
    except FileNotFoundError:
        return None
    except FormatError as e:
        raise PublishError(f"{path} is damaged ({e}): check the set again") from e


def save_report(home: Home, version: Version, found: QualityReport) -> None:
    """Keep a report on a set; it replaces the one before. The caller holds the lock."""
    path = home.candidates / str(version) / f"report-{found.level}.json"
    durable.write_atomic(path, found.to_json())
