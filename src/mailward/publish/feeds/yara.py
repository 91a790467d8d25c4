"""YARA rules: a source file, or a folder of them, with what they include."""

from dataclasses import dataclass
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.publish.feeds.base import (
    Draft,
    Omissions,
    Reading,
    yara_lines,
)
from mailward.publish.feeds.files import files_below, read_file, readable, relative
from mailward.publish.feeds.yara_includes import resolve_includes
from mailward.scan.engines.yara_compile import SOURCE_MAX_BYTES
from mailward.scan.engines.yara_text import declared_rules

_SUFFIXES = frozenset({".yar", ".yara"})


@dataclass(frozen=True, slots=True)
class YaraFeed:
    """One shard; each file is a namespace of its own, so that rule names need not be unique."""

    name: str
    place: Path

    def read(self) -> Reading:
        """See Feed.read."""
        omissions = Omissions()
        sources: list[tuple[str, str]] = []
        rules = 0
        for path, source in self._texts(omissions).items():
            count = count_rules(source)
            if count == 0:
                omissions.add(str(path), "no rule in it")
                continue
            sources.append((f"{self.name}/{self._called(path)}", source))
            rules += count
        draft = Draft(f"yara/{self.name}.jsonl", ShardKind.YARA, yara_lines(sources), rules)
        return Reading((draft,), (), tuple(omissions.named), omissions.count)

    def _texts(self, omissions: Omissions) -> dict[Path, str]:
        texts = {}
        paths = files_below(self.place, _SUFFIXES, omissions)
        for path, raw in readable(self.place, paths, omissions, SOURCE_MAX_BYTES):
            if b"\0" in raw:
                omissions.add(str(path), "not text: it holds NUL bytes")
            else:
                texts[path] = _decode(raw)
        return resolve_includes(self._folder(), texts, _read_included, omissions)

    def _folder(self) -> Path:
        return self.place if self.place.is_dir() else self.place.resolve().parent

    def _called(self, path: Path) -> str:
        if path in (self.place, self.place.resolve()):
            return self.place.name
        return relative(self._folder().resolve(), path.resolve())


def count_rules(source: str) -> int:
    """How many rules a source declares; how many of them are good is the engine's to say."""
    return sum(1 for _ in declared_rules(source.encode()))


def _read_included(path: Path) -> str:
    raw = read_file(path, SOURCE_MAX_BYTES)
    if b"\0" in raw:
        raise FormatError(f"{path}: not text: it holds NUL bytes")
    return _decode(raw)


def _decode(raw: bytes) -> str:
    # YARA matches bytes: one that is not UTF-8 becomes the escape \xNN, which means the same byte
    # in strings and regular expressions and nothing in comments.
    return raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
