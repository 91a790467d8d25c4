"""What every engine does: the suite that each one's examples are put through.

A subclass names the engine and gives examples in the engine's own formats. Whoever writes an engine
adds such a subclass to ``test_engines.py``.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import pytest

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan import excluded
from mailward.scan.engine import Detector, Engine, Preparation, Source
from mailward.scan.part import Part, Role
from mailward.scan.prepared import LoadedSet, prepare

_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Good:
    """A signature with what it must find and what it must leave alone."""

    line: bytes
    """A line of a shard, without its end."""
    name: str
    finds: bytes
    leaves: tuple[bytes, ...]


@dataclass(frozen=True)
class Bad:
    """A signature that must be left out, by what its refusal names."""

    line: bytes
    names: str


def part(data: bytes) -> Part:
    return Part("file", data, Role.FILE)


def names(detector: Detector, data: bytes) -> list[str]:
    return sorted(hit.name for hit in detector.scan(part(data), _TIMEOUT_S))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class EngineContract:
    """Subclass it, set what is declared here, and pytest runs it all."""

    engine: ClassVar[Engine]
    kind: ClassVar[ShardKind]
    suffix: ClassVar[str] = ""
    """Of the shards' names, where it says which format they have."""
    good: ClassVar[Sequence[Good]]
    """At least three, of different content."""
    bad: ClassVar[Sequence[Bad]]
    bad_shards: ClassVar[Sequence[bytes]] = ()
    """Contents for which ``prepare`` must raise FormatError."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.prepared = 0

    def prepare(self, *shards: bytes, order: int = 1) -> tuple[Path, Preparation]:
        self.prepared += 1
        into = self.folder / f"prepared-{self.prepared}"
        into.mkdir()
        sources = []
        for number, content in enumerate(shards):
            path = self.folder / f"shard-{self.prepared}-{number}"
            path.write_bytes(content)
            sources.append(Source(f"shard-{number}{self.suffix}", self.kind, path))
        return into, self.engine.prepare(sources[::order], into)

    def shard(self, *lines: bytes) -> bytes:
        return b"".join(line + b"\n" for line in sorted(lines))

    def all_good(self) -> bytes:
        return self.shard(*(good.line for good in self.good))

    @pytest.fixture
    def detector(self, _folder: None) -> Iterator[Detector]:
        into, _ = self.prepare(self.all_good())
        detector = self.engine.load(into)
        yield detector
        detector.close()

    # --- finding ---

    def test_finds_what_its_signatures_describe(self, detector: Detector) -> None:
        assert [names(detector, good.finds) for good in self.good] == [
            [good.name] for good in self.good
        ]

    def test_finds_nothing_in_near_misses(self, detector: Detector) -> None:
        assert [miss for good in self.good for miss in good.leaves]
        for good in self.good:
            for miss in good.leaves:
                assert names(detector, miss) == []

    def test_hits_name_the_signatures_that_made_them(self, detector: Detector) -> None:
        for good in self.good:
            (hit,) = detector.scan(part(good.finds), _TIMEOUT_S)
            assert len(hit.signatures) == 1
            assert hit.signatures[0].isprintable()

    def test_counts_the_active_signatures(self) -> None:
        assert self.prepare(self.all_good())[1] == Preparation(len(self.good))

    def test_the_order_of_parts_does_not_matter(self, detector: Detector) -> None:
        parts = [data for good in self.good for data in (good.finds, *good.leaves)]
        expected = {data: names(detector, data) for data in parts}
        shuffled = parts * 5
        random.Random(1).shuffle(shuffled)
        assert all(names(detector, data) == expected[data] for data in shuffled)

    @pytest.mark.parametrize(
        "data",
        [b"", b"\0", b"a", b"\xff", b"\0" * 4096, bytes(range(256)) * 64],
        ids=["empty", "NUL", "one byte", "0xff", "NULs", "every byte"],
    )
    def test_scans_odd_parts(self, detector: Detector, data: bytes) -> None:
        assert names(detector, data) == []

    def test_scans_a_part_of_50_megabytes(self, detector: Detector) -> None:
        assert names(detector, bytes(50 * 1024 * 1024)) == []

    def test_scans_parts_with_odd_names(self, detector: Detector) -> None:
        for name in ("\udcff", "a\0b", "é" * 100_000, "..", "a/../b", "x" * 1000 + ".exe"):
            odd = Part("file", self.good[0].finds, Role.FILE, name, name, depth=17)
            assert [hit.name for hit in detector.scan(odd, _TIMEOUT_S)] == [self.good[0].name]

    def test_scanning_hits_for_long_takes_no_more_memory(self, detector: Detector) -> None:
        def scan(times: int) -> None:
            for _ in range(times):
                for good in self.good:
                    detector.scan(part(good.finds), _TIMEOUT_S)

        scan(200)
        before = resident_bytes()
        scan(2000)
        assert resident_bytes() - before < 4 * 1024 * 1024

    # --- excluded signatures ---

    def test_a_hit_names_its_signatures_so_that_they_can_be_excluded(
        self, detector: Detector
    ) -> None:
        for good in self.good:
            (hit,) = detector.scan(part(good.finds), _TIMEOUT_S)
            assert hit.signatures
            for signature in hit.signatures:
                assert not excluded.problem(f"{self.engine.name}:{signature}")

    def test_an_excluded_signature_finds_nothing_and_the_others_go_on(
        self, detector: Detector
    ) -> None:
        (hit,) = detector.scan(part(self.good[0].finds), _TIMEOUT_S)
        lines = [f"{self.engine.name}:{signature}".encode() for signature in hit.signatures]
        contents = ((self.kind, self.all_good()), (ShardKind.EXCLUDED, self.shard(*lines)))
        sources = []
        for kind, content in contents:
            path = self.folder / f"with-{kind}"
            path.write_bytes(content)
            sources.append(Source(f"with-{kind}{self.suffix}", kind, path))
        prepare(sources, [self.engine], self.folder / "with-exclusions")
        loaded = LoadedSet.load("test", self.folder / "with-exclusions", [self.engine])
        assert [
            [risk.name for risk in loaded.scan(part(good.finds), _TIMEOUT_S)] for good in self.good
        ] == [[], *([good.name] for good in self.good[1:])]
        loaded.close()

    # --- bad signatures and shards ---

    def test_bad_signatures_are_left_out_and_named(self) -> None:  # S3
        lines = [good.line for good in self.good] + [bad.line for bad in self.bad]
        into, preparation = self.prepare(self.shard(*lines))
        assert preparation.signatures == len(self.good)
        assert preparation.refused_count == len(self.bad)
        for bad in self.bad:
            (refused,) = [r for r in preparation.refused if bad.names in r.signature]
            assert refused.reason
            assert refused.shard == f"shard-0{self.suffix}"
        detector = self.engine.load(into)
        assert [names(detector, good.finds) for good in self.good] == [[g.name] for g in self.good]
        detector.close()

    def test_bad_shards_are_refused(self) -> None:
        for content in self.bad_shards:
            with pytest.raises(FormatError, match="shard-1"):
                self.prepare(self.all_good(), content)

    def test_no_shard_at_all_finds_nothing(self) -> None:
        self.check_finds_nothing()

    def test_empty_shards_find_nothing(self) -> None:
        self.check_finds_nothing(b"", b"")

    def check_finds_nothing(self, *shards: bytes) -> None:
        into, preparation = self.prepare(*shards)
        assert preparation == Preparation(0)
        detector = self.engine.load(into)
        assert all(names(detector, data) == [] for data in (b"", *(g.finds for g in self.good)))
        detector.close()

    def test_several_shards_are_one_set(self) -> None:
        shards = [self.shard(good.line) for good in self.good]
        for order in (1, -1):
            into, preparation = self.prepare(*shards, order=order)
            assert preparation.signatures == len(self.good)
            detector = self.engine.load(into)
            assert [names(detector, good.finds) for good in self.good] == [
                [good.name] for good in self.good
            ]
            detector.close()

    # --- prepared files ---

    def test_loading_and_scanning_leave_the_prepared_files_alone(self) -> None:
        into, _ = self.prepare(self.all_good())
        before = {p.name: (sha256(p.read_bytes()), p.stat()) for p in into.iterdir()}
        detector = self.engine.load(into)
        names(detector, self.good[0].finds)
        detector.close()
        after = {p.name: (sha256(p.read_bytes()), p.stat()) for p in into.iterdir()}
        assert {n: (h.digest(), s.st_mtime_ns) for n, (h, s) in before.items()} == {
            n: (h.digest(), s.st_mtime_ns) for n, (h, s) in after.items()
        }

    def test_any_missing_file_is_noticed(self) -> None:
        into, _ = self.prepare(self.all_good())
        for path in into.iterdir():
            content = path.read_bytes()
            path.unlink()
            with pytest.raises(FormatError):
                self.engine.load(into)
            path.write_bytes(content)
        self.engine.load(into).close()

    def test_a_missing_folder_is_noticed(self) -> None:
        with pytest.raises(FormatError):
            self.engine.load(self.folder / "nothing")

    def test_any_truncation_is_noticed(self) -> None:
        into, _ = self.prepare(self.all_good())
        for path in into.iterdir():
            content = path.read_bytes()
            for length in {0, 1, 7, 8, 40, len(content) // 2, len(content) - 1}:
                if length >= len(content):
                    continue
                path.write_bytes(content[:length])
                with pytest.raises(FormatError):
                    self.engine.load(into)
            path.write_bytes(content + b"\0")
            with pytest.raises(FormatError):
                self.engine.load(into)
            path.write_bytes(content)

    def test_flipped_bits_are_noticed_or_do_no_harm(self) -> None:
        into, _ = self.prepare(self.all_good())
        chance = random.Random(2)
        noticed = 0
        for path in into.iterdir():
            content = path.read_bytes()
            for _ in range(60):
                damaged = bytearray(content)
                damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
                path.write_bytes(damaged)
                try:
                    detector = self.engine.load(into)
                except FormatError:
                    noticed += 1
                    continue
                for good in self.good:
                    names(detector, good.finds)
                    assert all(names(detector, miss) == [] for miss in good.leaves)
                detector.close()
            path.write_bytes(content)
        assert noticed

    def test_junk_in_place_of_prepared_files_is_noticed(self) -> None:
        into, _ = self.prepare(self.all_good())
        for path in into.iterdir():
            content = path.read_bytes()
            path.write_bytes(random.Random(3).randbytes(len(content)))
            with pytest.raises(FormatError):
                self.engine.load(into)
            path.write_bytes(content)

    # --- life ---

    def test_closing_twice_is_fine(self) -> None:
        into, _ = self.prepare(self.all_good())
        detector = self.engine.load(into)
        detector.close()
        detector.close()

    def test_two_sets_at_once_do_not_meet(self) -> None:
        first, second = self.good[0], self.good[1]
        old = self.engine.load(self.prepare(self.shard(first.line))[0])
        new = self.engine.load(self.prepare(self.shard(second.line))[0])
        for _ in range(3):
            assert names(old, first.finds) == [first.name]
            assert names(new, first.finds) == []
            assert names(new, second.finds) == [second.name]
            assert names(old, second.finds) == []
        old.close()
        assert names(new, second.finds) == [second.name]
        new.close()

    def test_what_is_known_of_one_part_is_not_known_of_the_next(self, detector: Detector) -> None:
        plain = part(self.good[0].leaves[0])
        before = detector.scan(plain, _TIMEOUT_S)
        detector.scan(replace(plain, data=self.good[0].finds, name="a.exe", depth=3), _TIMEOUT_S)
        assert detector.scan(plain, _TIMEOUT_S) == before

    def test_the_fingerprint_can_be_part_of_a_folder_name(self) -> None:
        fingerprint = self.engine.fingerprint()
        assert re.fullmatch(r"[a-z0-9.]{1,40}", fingerprint)
        assert type(self.engine)().fingerprint() == fingerprint
