"""A set as other products read it: a folder of files, made from shards alone.

==========  ====================================================================================
clamd       ClamAV's databases as they came (hard links), hashes as ``.hdb`` and ``.hsb``, YARA
            sources as ``.yar``, what is ignored as ``.ign2``, and a marker: a signature for a text
            that names the set, by which anybody can ask clamd what it uses
rspamd      ``md5.map``, ``sha1.map``, ``sha256.map``: a digest a line
yara        a ``.yar`` file for each source; ignored rules are made private
files       ``md5.txt``, ``sha1.txt``, ``sha256.txt``: lines ``digest:size:name``
==========  ====================================================================================

ClamAV's formats: its manual, "Signatures". Names are the same from set to set.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mailward.definitions.model import Shard, ShardKind, Version
from mailward.definitions.products import Product, ProductKind
from mailward.errors import FormatError

FORMAT = 1
"""Counted up when exports come to look different: they are all made anew then."""

MARKER_NAME = "Mailward.Set"

_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
"""By the length of a digest in hexadecimal."""

_ANY_SIZE_LEVEL = b":73"
"""The level from which ClamAV reads hashes of files of any size."""

_CLAMAV_SIZE_MAX = 2**32 - 2
"""ClamAV keeps sizes in 32 bits."""

_RULE_NAME = re.compile(r'^\s*name\s*=\s*"([^"\\\n]{1,300})"', re.MULTILINE)
_RULE = re.compile(r"^(\s*)((?:(?:global|private)\s+)*)rule\s+([A-Za-z_]\w*)", re.MULTILINE)

Files = list[tuple[Shard, Path]]


@dataclass(frozen=True, slots=True)
class Content:
    """What an export is made from."""

    version: Version
    shards: Files
    ignored: frozenset[str]
    """Entries of the local list."""

    def name(self, product: Product) -> str:
        """Of the export's folder: another content, another name."""
        taken = sorted(
            f"{shard.kind}:{shard.name}:{shard.sha256}:{_inode(shard, path)}"
            for shard, path in self.shards
            if shard.kind in (*product.takes, ShardKind.EXCLUDED)
        )
        text = json.dumps([FORMAT, product.kind, taken, sorted(self.ignored)])
        return f"{self.version}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _inode(shard: Shard, path: Path) -> int:
    """Of what a hard link leads to: a damaged shard that was mended is another file."""
    if shard.kind is not ShardKind.CLAMAV:
        return 0
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def marker(export: str) -> bytes:
    """The text that only clamd with that export calls a risk."""
    return f"mailward set {export}\n".encode()


def write(product: Product, content: Content, into: Path) -> None:
    """Fill an empty folder. Raises FormatError, OSError (a shard went away meanwhile, say)."""
    entries = content.ignored | set(_excluded(content.shards))
    shards = [(s, p) for s, p in content.shards if s.kind in product.takes]
    hashes = [path for shard, path in shards if shard.kind is ShardKind.HASHES]
    sources = [s for shard, path in shards if shard.kind is ShardKind.YARA for s in _sources(path)]
    if product.kind is ProductKind.CLAMD:
        _write_hashes(hashes, entries, into, _clamav_line, "mailward.hdb", "mailward.hsb")
        _write_sources(sources, into, "mailward-yara-", frozenset())
        _link_databases(shards, into)
        _write_ignored(entries, sources, into / "mailward.ign2")
        name = content.name(product)
        line = (
            f"{hashlib.sha256(marker(name)).hexdigest()}:{len(marker(name))}:{MARKER_NAME}.{name}"
        )
        (into / "mailward-marker.hsb").write_text(f"{line}\n", encoding="ascii")
    elif product.kind is ProductKind.RSPAMD:
        _write_hashes(hashes, entries, into, _map_line, "md5.map", "sha1.map", "sha256.map")
    elif product.kind is ProductKind.FILES:
        _write_hashes(hashes, entries, into, _plain_line, "md5.txt", "sha1.txt", "sha256.txt")
    elif product.kind is ProductKind.YARA:
        _write_sources(sources, into, "", entries)


def _excluded(shards: Files) -> Iterator[str]:
    for shard, path in shards:
        if shard.kind is ShardKind.EXCLUDED:
            yield from path.read_text(encoding="utf-8").splitlines()


# --- hashes ---------------------------------------------------------------------------------------

Line = Callable[[bytes, bytes, bytes], bytes]


def _write_hashes(
    paths: Iterable[Path], entries: Collection[str], into: Path, line: Line, *names: str
) -> None:
    """All lists as one file for each algorithm; two names: MD5 apart from the others."""
    digests = {e.partition(":")[2].encode() for e in entries if e.startswith("hashes:")}
    ignored = digests | {entry.encode() for entry in entries}
    by_length = dict(
        zip((32, 40, 64), names if len(names) == 3 else (*names, names[1]), strict=True)
    )
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {
            name: stack.enter_context((into / name).open("wb")) for name in names
        }
        for path in paths:
            with path.open("rb") as shard:
                for raw in shard:
                    digest, _, rest = raw.rstrip(b"\n").partition(b":")
                    size, _, name = rest.partition(b":")
                    if len(digest) not in _ALGORITHMS or not name:
                        raise FormatError(f"{path.name}: a line that is no digest:size:name")
                    if digest in ignored or name in ignored:
                        continue
                    files[by_length[len(digest)]].write(line(digest, size, name))


def _clamav_line(digest: bytes, size: bytes, name: bytes) -> bytes:
    """Nothing for sizes that ClamAV does not take: one such line, and it loads none of the set."""
    if size == b"*":
        return b"%b:*:%b%b\n" % (digest, name, _ANY_SIZE_LEVEL)
    if not 0 < int(size) <= _CLAMAV_SIZE_MAX:
        return b""
    return b"%b:%b:%b\n" % (digest, size, name)


def _map_line(digest: bytes, _size: bytes, _name: bytes) -> bytes:
    """Alone: Rspamd takes what follows for a symbol and a score."""
    return digest + b"\n"


def _plain_line(digest: bytes, size: bytes, name: bytes) -> bytes:
    return b"%b:%b:%b\n" % (digest, size, name)


# --- YARA -----------------------------------------------------------------------------------------


def _sources(path: Path) -> Iterator[tuple[str, str]]:
    """Namespace and source of each line of a shard."""
    with path.open("rb") as shard:
        for raw in shard:
            try:
                plain = json.loads(raw)
                yield str(plain["namespace"]), str(plain["source"])
            except (ValueError, KeyError, TypeError) as e:
                raise FormatError(f"{path.name}: a line that is no YARA source") from e


def _write_sources(
    sources: Iterable[tuple[str, str]], into: Path, prefix: str, ignored: Collection[str]
) -> None:
    for namespace, source in sources:
        name = _flat(prefix + namespace.removesuffix(".yar").removesuffix(".yara"), ".yar", into)
        (into / name).write_text(_without(namespace, source, ignored), encoding="utf-8")


def _without(namespace: str, source: str, ignored: Collection[str]) -> str:
    """Ignored rules made private: they report nothing, and others may go on referring to them."""
    if not ignored:
        return source
    rules = list(_RULE.finditer(source))
    for rule, end in reversed(
        list(zip(rules, [r.start() for r in rules[1:]] + [len(source)], strict=True))
    ):
        named = _RULE_NAME.search(source, rule.end(), end)
        names = {rule[3], f"yara:{rule[3]}", f"yara:{namespace}:{rule[3]}"}
        if named is not None:
            names |= {named[1], f"yara:{named[1]}"}
        if not names.isdisjoint(ignored) and "private" not in rule[2]:
            at = rule.end(1)
            source = f"{source[:at]}private {source[at:]}"
    return source


# --- ClamAV's own ---------------------------------------------------------------------------------


def _link_databases(shards: Files, into: Path) -> None:
    for shard, path in shards:
        if shard.kind is not ShardKind.CLAMAV:
            continue
        stem, dot, extension = shard.name.rpartition(".")
        name = _flat(stem, f"{dot}{extension}", into)
        try:
            os.link(path, into / name)  # it costs no room, and is never written to
        except OSError:
            shutil.copyfile(path, into / name)


def _write_ignored(entries: Iterable[str], sources: Iterable[tuple[str, str]], path: Path) -> None:
    """ClamAV ignores by name alone, and calls a rule ``YARA.`` and its name."""
    names: set[str] = set()
    for entry in entries:
        engine, _, signature = entry.partition(":")
        if engine == "yara":
            names.add(f"YARA.{signature.rpartition(':')[2]}")
        elif engine == "signatures":
            names.add(signature)
        elif engine != "hashes" or not signature:
            names |= {entry, f"YARA.{entry}"}
    wanted = frozenset(entries)
    for namespace, source in sources:
        private = {m[3] for m in _RULE.finditer(source) if "private" in m[2]}
        changed = _without(namespace, source, wanted)
        now = {m[3] for m in _RULE.finditer(changed) if "private" in m[2]}
        names |= {f"YARA.{name}" for name in now - private}
    lines = sorted(name for name in names if name.isascii() and ":" not in name)
    path.write_text("".join(f"{name}\n" for name in lines), encoding="ascii")


def _flat(name: str, suffix: str, into: Path) -> str:
    """A shard's or source's name as a file's; the same each time."""
    plain = re.sub(r"[^A-Za-z0-9_+@-]+", ".", name).strip(".")[:150] or "unnamed"
    if (into / f"{plain}{suffix}").exists():
        plain = f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{plain}{suffix}"
