"""Versions, channels, shards and manifests: the frozen values that travel, with their JSON form.

The formats are specified in ``docs/formats.md``. Reading is strict in what it knows (types, bounds,
names) and ignores fields that it does not know: what an older reader must not miss is announced by
a higher ``engine_level``, which it refuses.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from mailward.errors import FormatError

ENGINE_LEVEL = 1
"""What this release can read. A manifest that needs more is refused (``require_readable``)."""

MANIFEST_MAX_BYTES = 16 * 1024 * 1024
"""A manifest names thousands of shards and patches, ~250 bytes each; ten times that is hostile."""

CURRENT_MAX_BYTES = 1024 * 1024
"""``current.json`` holds one version and the withdrawn ones."""

_VERSION_MAX_DIGITS = 64
_VERSION_TEXT = re.compile(
    rf"([0-9]{{8,{_VERSION_MAX_DIGITS}}})\.([0-9]{{3,{_VERSION_MAX_DIGITS}}})"
)


@dataclass(frozen=True, slots=True, order=True, repr=False)
class Version:
    """Names a set's content: ``YYYYMMDD.NNN``, e.g. ``20261123.007``.

    Ordered as two integers of any size, never as text. There is one spelling for each version
    (padded to eight and three digits, no further zeros in front), so that text, file name and value
    agree; ``Version.parse`` refuses any other.
    """

    date: int
    number: int

    def __post_init__(self) -> None:
        if self.date < 0 or self.number < 0:
            raise FormatError(f"version {self.date}.{self.number}: neither part can be negative")
        if max(self.date, self.number) >= 10**_VERSION_MAX_DIGITS:
            raise FormatError(
                f"a version has at most {_VERSION_MAX_DIGITS} digits before its dot and behind it"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form. Raises FormatError."""
        found = _VERSION_TEXT.fullmatch(text)
        if found is None:
            raise FormatError(
                f"{text[:80]!r} is not a version: expected YYYYMMDD.NNN, e.g. 20261123.007"
            )
        version = cls(int(found[1]), int(found[2]))
        if str(version) != text:
            raise FormatError(f"{text!r} is not a version: write it as {version}")
        return version

    def __str__(self) -> str:
        return f"{self.date:08d}.{self.number:03d}"

    def __repr__(self) -> str:
        return f"Version({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def validate(value: Any) -> "Version":
            if isinstance(value, Version):
                return value
            if not isinstance(value, str):
                raise ValueError("a version is a string such as 20261123.007")  # noqa: TRY004 (pydantic wants ValueError)
            try:
                return cls.parse(value)
            except FormatError as e:
                raise ValueError(str(e)) from e

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.to_string_ser_schema()
        )


class Channel(StrEnum):
    """How well a set has been tested."""

    CERTIFIED = "certified"
    RAPID = "rapid"


class ShardKind(StrEnum):
    """What a shard's lines are, and so which engine reads them (``docs/formats.md``)."""

    HASHES = "hashes"
    """Lines ``digest:size:name``; digest in lower-case hex (MD5, SHA-1 or SHA-256 by its length),
    size in bytes or ``*``; sorted."""
    YARA = "yara"
    """JSON lines ``{"namespace": …, "source": …}``, one a source file; sorted by namespace."""
    CLAMAV = "clamav"
    """A ClamAV text database as it came, lines sorted; the format is the name's extension."""
    PROBES = "probes"
    """JSON lines ``{"name": …, "expect": …, "content": base64}``: what a trial must find."""
    EXCLUDED = "excluded"
    """Lines ``engine:signature``: signatures of the set that are switched off; sorted."""


NO_SIGNATURES = frozenset({ShardKind.PROBES, ShardKind.EXCLUDED})
"""Kinds of shards that say something about signatures and hold none."""


def _check_shard_name(value: str) -> str:
    if any(piece in ("", ".", "..") for piece in value.split("/")):
        raise ValueError("a shard name is a relative path without '.' or '..'")
    return value


def _to_utc(value: datetime) -> datetime:
    if not 1970 <= value.year <= 9998:
        raise ValueError("a time lies in the years 1970 to 9998, so that every zone can show it")
    return value.astimezone(UTC)


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShardName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._/+@-]{1,200}$"),
    AfterValidator(_check_shard_name),
]
SizeBytes = Annotated[int, Field(ge=0, le=1 << 40)]
Count = Annotated[int, Field(ge=0, le=1 << 40)]
Text = Annotated[str, StringConstraints(max_length=4000)]
Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A time with its zone; kept in UTC, so that equal times are equal bytes."""


class Value(BaseModel):
    """A frozen value with a strict JSON form."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    def to_json(self) -> bytes:
        """The JSON form: UTF-8, keys sorted, a newline: equal values are equal bytes."""
        plain = self.model_dump(mode="json")
        return json.dumps(plain, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


_ValueT = TypeVar("_ValueT", bound=Value)


class Shard(Value):
    """One file of a set, named by the SHA-256 of its content."""

    name: ShardName
    kind: ShardKind
    sha256: Sha256
    size_bytes: SizeBytes
    """Of the content."""
    object_bytes: SizeBytes
    """Of the zstd frame that carries it."""
    signatures: Count


class Patch(Value):
    """What turns the shard content ``old`` into ``new``: a zstd frame with ``old`` as prefix."""

    old: Sha256
    new: Sha256
    size_bytes: SizeBytes


class Gate(Value):
    """One test of the publisher's, and what came out."""

    name: Text
    passed: bool
    detail: Text = ""
    culprits: tuple[Text, ...] = ()


class Level(StrEnum):
    """How hard a set was tested: basic opens rapid, stringent opens certified."""

    BASIC = "basic"
    STRINGENT = "stringent"


class QualityReport(Value):
    """The evidence for a set: signed along with it, shown by agents."""

    level: Level
    checked_at: Moment
    gates: tuple[Gate, ...]
    not_run: tuple[Text, ...] = ()
    """Tests that had nothing to test, ``gate: why``: they neither passed nor failed."""
    forced: Text | None = None
    """Why it was published although a gate failed, in the publisher's words."""

    @property
    def passed(self) -> bool:
        """Whether there was a gate and none failed."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)


class Manifest(Value):
    """A set's shards and patches with sizes and hashes, what it needs, and the evidence for it."""

    version: Version
    channel: Channel
    built_at: Moment
    engine_level: Annotated[int, Field(ge=1, le=1 << 31)]
    shards: Annotated[tuple[Shard, ...], Field(max_length=10_000)]
    patches: Annotated[tuple[Patch, ...], Field(max_length=100_000)] = ()
    report: QualityReport | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ValueError("two shards have the same name")
        return self

    @property
    def signatures(self) -> int:
        """How many signatures the set carries; probes and exclusions are none."""
        return sum(s.signatures for s in self.shards if s.kind not in NO_SIGNATURES)

    @property
    def size_bytes(self) -> int:
        """Of the contents of all shards together."""
        return sum(s.size_bytes for s in self.shards)

    @classmethod
    def from_json(cls, raw: bytes) -> "Manifest":
        """Read a manifest. Raises FormatError; needs no trust in ``raw``."""
        return read_value(cls, raw, MANIFEST_MAX_BYTES, "manifest")


class RefusedSignature(Value):
    """A signature that was left out of a set on this computer, and why (S3)."""

    signature: Text
    shard: Text
    line: int | None
    reason: Text


class EngineTrial(Value):
    """What one engine made of a set."""

    engine: Text
    fingerprint: Text
    signatures: Count
    refused_count: Count
    refused: tuple[RefusedSignature, ...] = ()
    """The first of them: enough to act on, bounded."""
    kinds: dict[str, int] = {}
    """Active signatures by kind, if the engine reads several formats."""
    unsupported: dict[str, int] = {}
    """Sound signatures that it cannot use, by reason; neither active nor refused."""
    prepare_ms: float
    load_ms: float


class Measured(Value):
    """What a set costs a worker, as measured with known-good mail."""

    load_ms: float
    memory_bytes: Count
    """Private to each worker; mapped tables are shared and not counted."""
    message_ms: float
    """Of processor time for a message."""


class Trial(Value):
    """The proof of a set before it may be activated (S2): kept beside it as ``trial.json``."""

    version: Version
    passed: bool
    at: Moment
    problems: tuple[Text, ...] = ()
    """Why it failed; empty if it passed."""
    engines: tuple[EngineTrial, ...] = ()
    unused_signatures: Count = 0
    """Signatures in shards that no engine of this release reads: carried, counted, not used."""
    probes_found: Count = 0
    known_good_scanned: Count = 0
    measured: Measured | None = None
    """By a second process, that loaded the prepared files as a worker does."""
    measured_before: Measured | None = None
    """The set that was in use then, measured in the same way; None: there was none to compare."""
    confinement: dict[str, Text] = {}
    """What kept the child from its ``network``, ``files``, ``processes``; ``none``: nothing did."""
    duration_ms: float = 0.0

    @classmethod
    def from_json(cls, raw: bytes) -> "Trial":
        """Read a trial. Raises FormatError."""
        return read_value(cls, raw, MANIFEST_MAX_BYTES, "trial.json")


class Rollout(Value):
    """From when, and over how many hours, installations take a set by a stable hash of theirs."""

    start: Moment
    hours: Annotated[float, Field(ge=0, le=24 * 30)]


class Current(Value):
    """``<channel>/current.json``: what a channel offers at the moment."""

    channel: Channel
    version: Version | None
    """None while every set of the channel is withdrawn, or none was published yet."""
    published_at: Moment
    engine_level: Annotated[int, Field(ge=1, le=1 << 31)]
    withdrawn: dict[str, Text] = {}
    """Version to the publisher's reason."""
    rollout: Rollout | None = None
    license_required: bool = False

    @classmethod
    def from_json(cls, raw: bytes) -> "Current":
        """Read a channel's current.json. Raises FormatError."""
        return read_value(cls, raw, CURRENT_MAX_BYTES, "current.json")


def require_readable(engine_level: int, what: str) -> None:
    """Refuse what needs a newer release. Raises FormatError."""
    if engine_level > ENGINE_LEVEL:
        raise FormatError(
            f"{what} needs engine level {engine_level}, this release reads level {ENGINE_LEVEL}: "
            "update Mailward; the active set goes on scanning"
        )


def read_value(kind: type[_ValueT], raw: bytes, max_bytes: int, what: str) -> _ValueT:
    """Read a value's JSON form. Raises FormatError; needs no trust in ``raw``."""
    if len(raw) > max_bytes:
        raise FormatError(f"{what}: {len(raw)} bytes, more than the {max_bytes} allowed")
    try:
        return kind.model_validate_json(raw)
    except ValidationError as e:
        require_readable(_level_of(raw), what)
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(piece) for piece in first["loc"]) or "document"
        raise FormatError(f"{what}: {where}: {first['msg']}") from e


class _Needs(Value):
    engine_level: int = 0


def _level_of(raw: bytes) -> int:
    """What a document that cannot be read needs: the best explanation, if it is a newer one."""
    try:
        return _Needs.model_validate_json(raw).engine_level
    except ValidationError:
        return 0
