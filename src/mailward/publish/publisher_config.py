"""``publisher.toml``: what a publisher would otherwise type at every command.

It lies in the publisher's folder and is read once, frozen, checked whole. Paths in it are relative
to the folder that it lies in. ``docs/publishing.md`` documents every key; a test compares.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mailward.errors import ConfigError, UsageError
from mailward.publish.feeds.address import Fetching
from mailward.publish.feeds.base import FILE_MAX_BYTES
from mailward.publish.feeds.hashes import Columns
from mailward.publish.feeds.spec import MAX_SHRINK, NAME_PATTERN, STARTER, FeedSpec

FILE_NAME = "publisher.toml"
_FILE_MAX_BYTES = 1024 * 1024

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=1, le=1000)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnSettings(_Section):
    """What the columns of a feed's CSV files are called."""

    digest: str = Field(min_length=1, description="MD5, SHA-1 or SHA-256 in hexadecimal")
    size: str | None = Field(None, description="of the file, in bytes")
    name: str | None = Field(None, description="of the risk")


class FeedSettings(_Section):
    """One feed; its name is that of the section."""

    kind: Literal["clamav", "hashes", "starter", "yara"] = Field(description="what it is")
    place: str = Field("", description="file, folder, or https:// address; none for starter")
    columns: ColumnSettings | None = Field(
        None, description="of CSV files (hashes), where their headers do not say it by themselves"
    )
    suffix: str = Field(
        "",
        pattern=r"^(\.[a-z0-9]{1,10})?$",
        description="what the file at an address is, where the address does not end in it: .csv",
    )
    max_shrink: Share = Field(
        MAX_SHRINK, description="share of its signatures that it may lose at once; 1: all but all"
    )

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if (self.kind == STARTER) != (self.place == ""):
            raise ValueError("place: every feed but starter has one, starter has none")
        if self.columns is not None and self.kind != "hashes":
            raise ValueError("columns: only feeds of the kind hashes have them")
        return self


class FetchSettings(_Section):
    """What the download of a feed may take."""

    timeout_s: Seconds = Field(30.0, description="for a connection and for each read from it")
    total_timeout_s: Seconds = Field(1800.0, description="for one feed, start to end")
    min_bytes_per_s: int = Field(
        1024, ge=1, description="a download slower than this over 30 s is given up"
    )
    max_bytes: int = Field(FILE_MAX_BYTES, ge=1, le=FILE_MAX_BYTES, description="of one feed")


class GateSettings(_Section):
    """What a set may be, against the set before it, to be published."""

    min_share: Share = Field(0.5, description="least share of its signatures and bytes")
    max_share: Ratio = Field(3.0, description="greatest share of its signatures and bytes")
    max_time_ratio: Ratio = Field(2.0, description="scanning time against the certified set before")
    max_memory_ratio: Ratio = Field(2.0, description="memory against the certified set before")
    known_good: tuple[Path, ...] = Field(
        (), description="files and folders in which nothing may be found"
    )
    known_bad: tuple[Path, ...] = Field(
        (), description="samples of which each that was found before must be found again"
    )


class ScheduleSettings(_Section):
    """When `repo watch` does what."""

    rapid_every: str = Field("15 min", min_length=1, max_length=100, description="reads the feeds")
    certified: str = Field(
        "daily at 03:30", min_length=1, max_length=100, description="promotes to certified"
    )


class ChannelPolicy(_Section):
    """What a channel asks of agents."""

    license_required: bool = Field(False, description="only those with a license get its sets")
    rollout_hours: float = Field(
        0.0, ge=0, le=24 * 30, description="over which agents take a new set; 0: all at once"
    )


class ChannelsSettings(_Section):
    """Both channels."""

    certified: ChannelPolicy = ChannelPolicy()
    rapid: ChannelPolicy = ChannelPolicy()


class PublisherConfig(_Section):
    """All of it. Made by ``load`` and ``find``."""

    feeds: dict[Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")], FeedSettings] = Field(
        default_factory=dict, description="what sets are built from, by name"
    )
    keys: tuple[Path, ...] = Field(
        (), description="folders with private keys, beside `keys/` in the publisher's folder"
    )
    notify_command: tuple[str, ...] = Field(
        (), description="program and arguments to run when `repo watch` fails or recovers"
    )
    fetch: FetchSettings = FetchSettings()
    gates: GateSettings = GateSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    channels: ChannelsSettings = ChannelsSettings()

    @field_validator("feeds")
    @classmethod
    def _one_starter(cls, feeds: dict[str, FeedSettings]) -> dict[str, FeedSettings]:
        if sum(feed.kind == STARTER for feed in feeds.values()) > 1:
            raise ValueError("there is one starter feed, not several")
        return feeds

    @property
    def feed_specs(self) -> list[FeedSpec]:
        """The feeds, for ``feeds.remembered``."""
        return [
            FeedSpec(
                kind=feed.kind,
                name=name,
                place=feed.place,
                columns=Columns(**feed.columns.model_dump()) if feed.columns else None,
                suffix=feed.suffix,
                max_shrink=feed.max_shrink,
            )
            for name, feed in self.feeds.items()
        ]

    @property
    def fetching(self) -> Fetching:
        """The limits, for ``feeds.remembered``."""
        return Fetching(**self.fetch.model_dump())


def find(folder: Path) -> PublisherConfig:
    """The configuration in a publisher's folder; the defaults if there is none.

    Raises ConfigError.
    """
    path = folder / FILE_NAME
    return load(path) if path.exists() else PublisherConfig()


def load(path: Path) -> PublisherConfig:
    """Read a configuration. Raises ConfigError, naming the file and the key."""
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_MAX_BYTES + 1)
        if len(raw) > _FILE_MAX_BYTES:
            raise ConfigError(f"{path}: more than {_FILE_MAX_BYTES} bytes")
        content = tomllib.loads(raw.decode())
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ConfigError(f"{path}: not valid TOML: {e}") from e
    try:
        config = PublisherConfig.model_validate(content)
    except ValidationError as e:
        problems = "; ".join(
            f"{'.'.join(str(piece) for piece in error['loc'])}: {error['msg']}"
            for error in e.errors(include_url=False, include_input=False)
        )
        raise ConfigError(f"{path}: {problems}. docs/publishing.md has every key") from e
    try:
        for spec in config.feed_specs:
            spec.open(config.fetching)
    except UsageError as e:
        raise ConfigError(f"{path}: {e}") from e
    return _beside(config, Path(os.path.abspath(path)).parent)


def _beside(config: PublisherConfig, folder: Path) -> PublisherConfig:
    """All paths made absolute: commands are run from anywhere."""
    feeds = {
        feed_name: feed.model_copy(update={"place": str(folder / feed.place)})
        if feed.place and not spec.is_address
        else feed
        for (feed_name, feed), spec in zip(config.feeds.items(), config.feed_specs, strict=True)
    }
    gates = config.gates.model_copy(
        update={
            "known_good": tuple(folder / path for path in config.gates.known_good),
            "known_bad": tuple(folder / path for path in config.gates.known_bad),
        }
    )
    keys = tuple(folder / path for path in config.keys)
    return config.model_copy(update={"feeds": feeds, "gates": gates, "keys": keys})
