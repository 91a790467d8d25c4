"""The engine ``yara``: YARA rules on YARA-X.

What a rule can say in its ``meta`` section, all optional:

- ``name``: the risk's name, instead of the rule's;
- ``severity``: low, medium, high or critical; or ``score``, 0 to 100, as for LOKI and THOR;
- ``description``: for people, up to 300 characters;
- ``verdict = "suspicious"``: it merely looks like trouble.

What a condition can ask of the part: ``yara_compile.GLOBALS``. Private rules are not reported.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import yara_x

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan.engine import Hit, Preparation, ScanTimeoutError, Source
from mailward.scan.engines.yara_compile import compile_sources, namespace_of
from mailward.scan.part import Part
from mailward.scan.processor import processor

_FORMAT = 2
"""Raised with any change to the prepared file or to the globals."""

_FILE = "rules"
_MAGIC = b"MWYARA1\n"
_DIGEST_BYTES = 32

_MATCHES_MAX = 100_000
"""Of one pattern in one part: 10 times fewer than YARA-X would note by itself."""

_NAME_MAX = 200
_DESCRIPTION_MAX = 300
_SEVERITIES = frozenset({"low", "medium", "high", "critical"})
_SCORES = ((80, "critical"), (60, "high"), (40, "medium"), (0, "low"))
"""THOR reports from 40 as notice, from 60 as warning and from 81 as alert."""


class YaraEngine:
    """Reads ``yara`` shards."""

    name = "yara"
    kinds = frozenset({ShardKind.YARA})

    def fingerprint(self) -> str:
        """YARA-X, the file's format, and the processor that YARA-X compiles conditions for."""
        return f"{version('yara-x')}.{_FORMAT}.{processor()}"

    def prepare(
        self, sources: Sequence[Source], into: Path, earlier: Path | None = None
    ) -> Preparation:
        """Compile all rules into one file, with a checksum before it."""
        rules, preparation = compile_sources(sources)
        compiled = io.BytesIO()
        rules.serialize_into(compiled)
        payload = compiled.getbuffer()
        with (into / _FILE).open("wb") as file:
            file.write(_MAGIC + hashlib.sha256(payload).digest())
            file.write(payload)
        return preparation

    def load(self, prepared: Path) -> "YaraDetector":
        """Read the compiled rules: about 0.1 ms a rule, as conditions are compiled anew."""
        path = prepared / _FILE
        try:
            with path.open("rb") as file:
                magic = file.read(len(_MAGIC))
                digest = file.read(_DIGEST_BYTES)
                payload = file.read()
            # YARA-X trusts what it reads back, so nothing damaged may reach it.
            if magic != _MAGIC or digest != hashlib.sha256(payload).digest():
                raise FormatError(f"{path}: checksum wrong")
            return YaraDetector(yara_x.Rules.deserialize_from(io.BytesIO(payload)))
        except (OSError, FormatError) as e:
            raise FormatError(
                f"prepared YARA rules are missing or damaged, prepare the set again: {e}"
            ) from e


class YaraDetector:
    """One scanner. YARA-X looks at the clock in loops, patterns and modules alike."""

    def __init__(self, rules: yara_x.Rules) -> None:
        self._scanner: yara_x.Scanner | None = yara_x.Scanner(rules)
        self._is_empty = next(iter(rules), None) is None
        # Whether a rule matches is the question, not where: the same answer, with less to note.
        self._scanner.fast_scan(True)
        self._scanner.max_matches_per_pattern(_MATCHES_MAX)

    def scan(self, part: Part, timeout_s: float) -> Sequence[Hit]:
        """All rules that match. The time limit is rounded up to whole seconds."""
        if self._scanner is None:
            raise ValueError("this detector is closed")
        if self._is_empty:
            return []
        for name, value in _globals(part).items():
            self._scanner.set_global(name, value)
        self._scanner.set_timeout(max(1, math.ceil(timeout_s)))
        try:
            results = self._scanner.scan(part.data)
        except yara_x.TimeoutError as e:
            raise ScanTimeoutError(f"YARA rules took longer than {timeout_s:g} s") from e
        found: dict[Hit, tuple[str, ...]] = {}
        for rule in results.matching_rules:
            hit = _hit(rule.identifier, dict(rule.metadata))
            signature = f"{namespace_of(rule.namespace)}:{rule.identifier}"
            found[hit] = (*found.get(hit, ()), signature)
        return [replace(hit, signatures=rules) for hit, rules in found.items()]

    def close(self) -> None:
        """Let go of the rules. May be repeated."""
        self._scanner = None


def _globals(part: Part) -> dict[str, str | int]:
    """What is known about a part; the rest of ``GLOBALS`` stays as defined."""
    name = _unicode(part.name)
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    return {
        "filename": name,
        "filepath": _unicode(part.path),
        "extension": suffix,
        "mailward_role": part.role.value,
        "mailward_name": name,
        "mailward_extension": suffix.removeprefix("."),
        "mailward_type": _unicode(part.content_type),
        "mailward_depth": part.depth,
    }


def _unicode(text: str) -> str:
    # Names out of broken messages can have lone surrogates, which are not UTF-8.
    return text.encode(errors="replace").decode()


def _hit(identifier: str, meta: dict[str, Any]) -> Hit:
    return Hit(
        name=_text(meta, "name", _NAME_MAX) or identifier,
        suspicious=_text(meta, "verdict", 20) == "suspicious",
        severity=_severity(meta),
        description=_text(meta, "description", _DESCRIPTION_MAX),
    )


def _text(meta: dict[str, Any], key: str, length: int) -> str:
    """A text for listings, logs and mail headers: what cannot be printed becomes a space."""
    value = meta.get(key)
    if isinstance(value, bytes):  # what YARA-X makes of any text with an escape in it
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in value[:length]).strip()


def _severity(meta: dict[str, Any]) -> str:
    named = _text(meta, "severity", 20).lower()
    if named in _SEVERITIES:
        return named
    score = meta.get("score")
    if isinstance(score, bool) or not isinstance(score, int):
        return ""
    return next((severity for least, severity in _SCORES if score >= least), "")
