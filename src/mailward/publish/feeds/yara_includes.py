"""YARA's ``include "file"``: put in place when a feed is read, as agents have no such files.

A path is relative to the file that it stands in, and stays within the feed's folder. A file that is
included comes with those that include it. One that does nothing but include (an index of a whole
collection) is a list of files, which then stand for themselves as all others do.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailward.errors import FormatError
from mailward.publish.feeds.base import FILES_MAX, Omissions
from mailward.scan.engines.yara_compile import SOURCE_MAX_BYTES
from mailward.scan.engines.yara_text import declared_rules

_DEPTH_MAX = 16
"""Files that include each other; YARA's own limit."""

_TOKEN = re.compile(
    r"""
      //[^\n]*
    | /\*.*?(?:\*/|\Z)
    | \binclude\b[ \t]*"(?P<path>[^"\n]*)"
    | "(?:\\[^\n]|[^"\\\n])*"?
    | (?:=|\(|\bmatches)\s*/(?![/*])(?:\\[^\n]|[^/\\\n])+/      # a regular expression
    """,
    re.VERBOSE | re.DOTALL,
)
"""Comments, strings and regular expressions are tokens so that nothing in them is taken for one."""

_MENTION = re.compile(r'include[ \t]*"')
"""Without this there is none."""


def resolve_includes(
    folder: Path, sources: Mapping[Path, str], read: Callable[[Path], str], omissions: Omissions
) -> dict[Path, str]:
    """The sources that stand for themselves, with what they include in its place.

    ``folder``: includes stay within it. ``read`` gets a file that is not among ``sources``, and
    raises OSError or FormatError. What cannot be included is left out and named; the rules around
    it stay.
    """
    if not any(_MENTION.search(source) for source in sources.values()):
        return dict(sources)
    texts = _Texts(folder.resolve(), {path.resolve(): s for path, s in sources.items()}, read)
    files = _without_indexes(texts, list(sources), omissions)
    included = {target for path in files for _, target in texts.includes(path) if target}
    resolved: dict[Path, str] = {}
    taken: set[Path] = set()
    # Those that nobody includes first: who is left then includes each other in a circle.
    for path in [*(p for p in files if p not in included), *(p for p in files if p in included)]:
        if path not in taken:
            expansion = _Expansion(texts, omissions, {path})
            resolved[path] = expansion.expand(path, 1)
            taken |= expansion.seen
    return {path: resolved[path] for path in files if path in resolved}


def _without_indexes(texts: "_Texts", paths: list[Path], omissions: Omissions) -> list[Path]:
    """All files that have rules, those that indexes name among them, each once."""
    waiting = [path.resolve() for path in paths]
    seen = set(waiting)
    files = []
    for path in waiting:  # it grows meanwhile
        includes = list(texts.includes(path))
        if not includes or any(declared_rules(texts.of(path).encode())):
            files.append(path)
            continue
        for token, target in includes:
            if target is None:
                _leave_out(path, token, "not a readable file of the feed's folder", omissions)
            elif target not in seen and len(seen) < FILES_MAX:
                seen.add(target)
                waiting.append(target)
    return files


@dataclass(slots=True)
class _Texts:
    """The files of a feed, read when they are needed."""

    inside: Path
    known: dict[Path, str]
    read: Callable[[Path], str]

    def of(self, path: Path) -> str:
        return self.known[path]

    def includes(self, path: Path) -> Iterator[tuple[re.Match[str], Path | None]]:
        """Each include statement with the file that it names; None if it must not or cannot be."""
        text = self.known[path]
        if not _MENTION.search(text):
            return  # nearly every file: no need to look at its every token
        for token in _TOKEN.finditer(text):
            if token["path"] is not None:
                yield token, self._target(path, token["path"])

    def _target(self, path: Path, text: str) -> Path | None:
        try:
            target = (path.parent / text).resolve()
            # No way out, neither by .. nor by a symbolic link: the rest of the disk is not ours.
            if not target.is_relative_to(self.inside) or not target.is_file():
                return None
            if target not in self.known:
                self.known[target] = self.read(target)
        except (OSError, RuntimeError, ValueError, FormatError):  # RuntimeError: links in a circle
            return None
        return target


@dataclass(slots=True)
class _Expansion:
    """One source with its includes; each file once, as its rules would clash with themselves."""

    texts: _Texts
    omissions: Omissions
    seen: set[Path]
    size: int = field(default=0)

    def expand(self, path: Path, depth: int) -> str:
        source = self.texts.of(path)
        self.size += len(source)
        pieces, done = [], 0
        for token, target in self.texts.includes(path):
            pieces.append(source[done : token.start()])
            done = token.end()
            if target is None:
                reason = "not a readable file of the feed's folder"
            elif target in self.seen:
                continue
            elif depth == _DEPTH_MAX:
                reason = f"more than {_DEPTH_MAX} files deep"
            elif self.size + len(self.texts.of(target)) > SOURCE_MAX_BYTES:
                reason = f"more than {SOURCE_MAX_BYTES} bytes together"
            else:
                self.seen.add(target)
                pieces.append(self.expand(target, depth + 1) + "\n")
                continue
            _leave_out(path, token, reason, self.omissions)
        return "".join([*pieces, source[done:]])


def _leave_out(path: Path, token: re.Match[str], reason: str, omissions: Omissions) -> None:
    line = token.string.count("\n", 0, token.start()) + 1
    omissions.add(f"{path}, line {line}", f"include {token['path'][:200]!r}: {reason}")
