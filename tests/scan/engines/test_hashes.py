"""Hash signatures by the hundred thousand, in any mixture."""

import hashlib
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.scan.engine import NAMED_MAX, Preparation, Source
from mailward.scan.engines.hash_table import NAMES_FILE, Names, Table, table_file
from mailward.scan.engines.hashes import HashesEngine
from mailward.scan.part import Part, Role

Prepare = Callable[..., tuple[Path, Preparation]]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    made = 0

    def prepare(*shards: bytes) -> tuple[Path, Preparation]:
        nonlocal made
        made += 1
        into = tmp_path / f"prepared-{made}"
        into.mkdir()
        sources = []
        for number, content in enumerate(shards):
            path = tmp_path / f"shard-{made}-{number}"
            path.write_bytes(content)
            sources.append(Source(f"shard-{number}", ShardKind.HASHES, path))
        random.Random(made).shuffle(sources)
        return into, HashesEngine().prepare(sources, into)

    return prepare


def found(prepared: Path, data: bytes) -> list[str]:
    detector = HashesEngine().load(prepared)
    hits = detector.scan(Part("file", data, Role.FILE), 1.0)
    detector.close()
    return [hit.name for hit in hits]


def md5(data: bytes, size: object, name: str) -> bytes:
    return f"{hashlib.md5(data).hexdigest()}:{size}:{name}\n".encode()


def sha256(data: bytes, size: object, name: str) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}:{size}:{name}\n".encode()


def test_all_names_of_a_digest_are_reported_once(prepare: Prepare) -> None:
    first = md5(b"abc", 3, "One") + md5(b"abc", "*", "Two") + sha256(b"abc", 3, "One")
    second = md5(b"abc", 3, "Three") + md5(b"abc", 3, "One") + md5(b"abc", 4, "Other.Size")
    prepared, preparation = prepare(first, second)
    assert sorted(found(prepared, b"abc")) == ["One", "Three", "Two"]
    assert preparation.signatures == 5


def test_duplicates_are_folded(prepare: Prepare) -> None:
    prepared, preparation = prepare(md5(b"abc", 3, "One") * 1000, md5(b"abc", 3, "One"))
    assert preparation == Preparation(1)
    assert found(prepared, b"abc") == ["One"]


def test_a_digest_with_endless_names_reports_some(prepare: Prepare) -> None:
    prepared, preparation = prepare(b"".join(md5(b"abc", 3, f"Name.{n}") for n in range(5000)))
    assert preparation.signatures == 5000
    assert 1 <= len(found(prepared, b"abc")) <= 100


def test_the_same_shards_in_any_order_make_the_same_files(prepare: Prepare) -> None:
    chance = random.Random(4)
    shards = [
        b"".join(
            b"%s:%d:Name.%d\n" % (chance.randbytes(width).hex().encode(), n, n % 7)
            for n in range(2000)
            for width in (16, 20, 32)
        )
        for _ in range(4)
    ]
    folders = [prepare(*shards)[0] for _ in range(4)]
    contents = [{p.name: p.read_bytes() for p in sorted(f.iterdir())} for f in folders]
    assert all(content == contents[0] for content in contents)
    assert set(contents[0]) == {NAMES_FILE, "md5.table", "sha1.table", "sha256.table"}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 70_000])
def test_every_hash_is_found_and_no_other(prepare: Prepare, count: int) -> None:
    chance = random.Random(count)
    wanted = {chance.randbytes(20): chance.randrange(1 << 20) for _ in range(count)}
    lines = [f"{d.hex()}:{size}:Name.{d.hex()[:9]}\n".encode() for d, size in wanted.items()]
    prepared, preparation = prepare(b"".join(lines))
    assert preparation == Preparation(count)
    names = Names(prepared / NAMES_FILE)
    table = Table(prepared / table_file(20), 20, names)
    for digest, size in wanted.items():
        assert table.find(digest, size) == [f"Name.{digest.hex()[:9]}"]
    for digest, size in list(wanted.items())[:1000]:
        assert table.may_hold(size)
        assert table.find(digest, size + 1) == []
        for other in (digest[:-1] + b"\0", digest[:-1] + b"\xff", chance.randbytes(20)):
            assert other in wanted or table.find(other, size) == []
    assert table.find(bytes(20), 1) == []
    assert table.find(b"\xff" * 20, 1) == []
    table.close()
    names.close()


def test_digests_that_end_in_zeros_stay_apart(prepare: Prepare) -> None:
    lines = [f"{'00' * n + 'ab' + '00' * (15 - n)}:1:Name.{n}\n".encode() for n in range(16)]
    prepared, preparation = prepare(b"".join(lines))
    assert preparation == Preparation(16)
    names = Names(prepared / NAMES_FILE)
    table = Table(prepared / table_file(16), 16, names)
    for n in range(16):
        assert table.find(bytes(n) + b"\xab" + bytes(15 - n), 1) == [f"Name.{n}"]
    table.close()
    names.close()


def test_parts_of_sizes_that_no_hash_has_are_not_hashed(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, _ = prepare(md5(b"abc", 3, "Md5") + sha256(b"abcd", 4, "Sha256"))
    hashed: list[str] = []
    real = hashlib.new

    def counted(name: str, *args: bytes, usedforsecurity: bool) -> object:
        hashed.append(name)
        return real(name, *args, usedforsecurity=usedforsecurity)

    monkeypatch.setattr(hashlib, "new", counted)
    for data, algorithms in ((b"", []), (b"xyz", ["md5"]), (b"abcd", ["sha256"]), (b"12345", [])):
        hashed.clear()
        found(prepared, data)
        assert hashed == algorithms


def test_refusals_are_named_up_to_a_bound_and_counted_beyond(prepare: Prepare) -> None:  # S3
    junk = b"".join(b"junk %d\n" % n for n in range(NAMED_MAX + 500))
    _, preparation = prepare(junk + md5(b"abc", 3, "Good"), b"more junk\n")
    assert preparation.signatures == 1
    assert preparation.refused_count == NAMED_MAX + 501
    assert len(preparation.refused) == NAMED_MAX
    first = preparation.refused[0]
    assert (first.signature, first.shard, first.line) == ("junk 0", "shard-0", 1)


@pytest.mark.parametrize(
    "junk",
    [bytes(30_000_000), b"a" * 30_000_000, b"\n" * 3_000_000, b":" * 3_000_000],
    ids=["NULs", "one line", "empty lines", "colons"],
)
def test_a_shard_of_junk_takes_bounded_memory(prepare: Prepare, junk: bytes) -> None:
    tracemalloc.start()
    prepared, preparation = prepare(junk, md5(b"abc", 3, "Good"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert preparation.signatures == 1
    assert preparation.refused_count == (0 if junk.startswith(b"\n") else 1)
    assert all(len(refused.signature) <= 100 for refused in preparation.refused)
    assert found(prepared, b"abc") == ["Good"]
    assert peak < 300_000_000


def test_prepared_files_of_two_sets_cannot_be_mixed(prepare: Prepare) -> None:
    one, _ = prepare(md5(b"abc", 3, "One"))
    two, _ = prepare(md5(b"abc", 3, "Two"))
    (one / NAMES_FILE).write_bytes((two / NAMES_FILE).read_bytes())
    with pytest.raises(Exception, match="belongs to other files"):
        HashesEngine().load(one)


def test_a_damaged_name_is_replaced_not_reported(prepare: Prepare) -> None:
    prepared, _ = prepare(md5(b"abc", 3, "Original"))
    path = prepared / NAMES_FILE
    path.write_bytes(path.read_bytes().replace(b"Original", b"\r\nX: y\0\xff"))
    assert found(prepared, b"abc") == [f"md5.{hashlib.md5(b'abc').hexdigest()}"]


@pytest.mark.shared
def test_clamavs_main_hashes_are_all_there(prepare: Prepare, shared: Path) -> None:
    content = (shared / "definitions/clamav/main.hdb").read_bytes()
    prepared, preparation = prepare(content)
    lines = [line.split(b":") for line in content.splitlines()]
    assert preparation == Preparation(len({tuple(line) for line in lines}))
    names = Names(prepared / NAMES_FILE)
    table = Table(prepared / table_file(16), 16, names)
    for digest, size, name in lines:
        assert name.decode() in table.find(bytes.fromhex(digest.decode()), int(size))
    table.close()
    names.close()
