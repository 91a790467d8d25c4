"""Prepared with the help of an earlier set, files are the same byte for byte as without."""

import hashlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Preparation, Source
from mailward.scan.engines.signatures import SignaturesEngine
from mailward.scan.signatures import reading
from mailward.scan.signatures.reading import Line, Tally
from mailward.scan.signatures.signature import Signature

Shards = Mapping[str, str]

BASE: Shards = {
    "a.ndb": "One:0:*:6f6e65206f6620616c6c\nTwo:3:*:74776f{-9}6f6620616c6c\nThree:4:10,5:746872\n"
    "Member:0:$3:6d656d626572\nOdd:0:nowhere:00\nWide:1:EP+0:e8??????00aabbccdd\n",
    "b.ldb": "L/ike;/;Engine:1-255,Target:0;0;6c696b65\n"
    "Both;Engine:81-255,Target:0,Container:CL_TYPE_ZIP;0&1;626f7468;7468652070617274::i\n"
    "Either;Engine:81-255,Target:7;0|1;656974686572;6f72::w\n"
    "Regex;Engine:81-255,Target:0;0&1;7265676578;0/re+gex/i\n"
    "Macro;Engine:81-255,Target:0;0&1;736f75726365;${0-20}3$\n"
    "Icon;Engine:81-255,Target:1,IconGroup1:ICON;0;69636f6e\n",
    "c.hdb": "0123456789abcdef0123456789abcdef:17:Digest\n",
    "d.ndu": "Unwanted:0:*:756e77616e746564\n",
    "e.pdb": "H:imitated.example\n",
    "f.db": "Old=6f6c6420666f726d6174\n",
}


def prepare(
    folder: Path, shards: Shards, earlier: Path | None = None
) -> tuple[Path, Preparation, dict[str, bytes]]:
    into = folder / f"prepared-{len(list(folder.iterdir()))}"
    into.mkdir()
    sources = []
    for name, content in shards.items():
        path = folder / hashlib.sha256(content.encode()).hexdigest()
        path.write_text(content, encoding="latin-1")
        sources.append(Source(name, ShardKind.CLAMAV, path))
    preparation = SignaturesEngine().prepare(sources, into, earlier)
    return into, preparation, {path.name: path.read_bytes() for path in into.iterdir()}


def require_same(folder: Path, shards: Shards, earlier: Path) -> None:
    _, said, made = prepare(folder, shards, earlier)
    _, expected_said, expected = prepare(folder, shards)
    assert made == expected
    assert (said, said.kinds, said.unsupported) == (
        expected_said,
        expected_said.kinds,
        expected_said.unsupported,
    )


def _without(shards: Shards, name: str, start: str) -> Shards:
    lines = [line for line in shards[name].split("\n") if not line.startswith(start)]
    return {**shards, name: "\n".join(lines)}


def _with(name: str, more: str) -> Shards:
    return {**BASE, name: BASE.get(name, "") + more + "\n"}


CHANGES: dict[str, Shards] = {
    "nothing": BASE,
    "a line in the middle": _with("a.ndb", "New:0:*:6e6577206c696e65"),
    "a line before all": {**BASE, "0.ndb": "First:3:*:66697273746c79\n"},
    "a piece that another has too": _with("a.ndb", "Alike:0:4:6f6e65206f6620616c6c"),
    "a scope that was not there": _with("a.ndb", "Pdf:10:*:706466646f63"),
    "the only line of a scope gone": _without(BASE, "a.ndb", "Three"),
    "a line of several in a scope gone": _without(BASE, "a.ndb", "One"),
    "a member of a macro group gone": _without(BASE, "a.ndb", "Member"),
    "a member of another macro group": _with("a.ndb", "Mate:0:$4:6d617465"),
    "a digest": _with("c.hdb", "0123456789abcdef0123456789abcdee:17:Other"),
    "a link": _with("e.pdb", "H:other.example"),
    "a whole shard gone": {name: text for name, text in BASE.items() if name != "b.ldb"},
    "a shard renamed": {name.replace("b.", "z."): text for name, text in BASE.items()},
    "lines in another order": {
        name: "\n".join(sorted(text.split("\n"), reverse=True)) for name, text in BASE.items()
    },
    "the same line, now unwanted": {
        **_without(BASE, "a.ndb", "One"),
        "d.ndu": BASE["d.ndu"] + "One:0:*:6f6e65206f6620616c6c\n",
    },
    "switched off by name": {**BASE, "g.ign2": "One\nMember\nDigest\n"},
    "switched off by a name with a semicolon": {**BASE, "g.ign2": "L/ike;/\n"},
    "switched off by line": {
        **BASE,
        "g.ign2": f"Two:{hashlib.md5(b'Two:3:*:74776f{-9}6f6620616c6c').hexdigest()}\n",
    },
    "another pattern": {**BASE, "a.ndb": BASE["a.ndb"].replace("616c6c", "6e6f6e65")},
    "nothing left": {},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_gives_what_preparing_anew_gives(tmp_path: Path, change: Shards) -> None:
    earlier, *_ = prepare(tmp_path, BASE)
    require_same(tmp_path, change, earlier)


def test_changes_upon_changes_give_what_preparing_anew_gives(tmp_path: Path) -> None:
    chance = random.Random(7)
    words = [chance.randbytes(chance.choice((2, 4, 12, 30))).hex() for _ in range(12)]
    several = [f"N{n}:{n % 5}:{n % 3}:{words[n % 12]}" for n in range(30)]
    several += [
        f"L{n};Engine:81-255,Target:{n % 3};0|1;{words[n % 12]};{words[n % 7]}::i"
        for n in range(30)
    ]
    earlier, *_ = prepare(tmp_path, {})
    for _ in range(8):
        lines = chance.sample(several, chance.randrange(5, len(several)))
        shards = {
            f"s.{kind}": "\n".join(line for line in lines if separator in line)
            for kind, separator in (("ndb", ":*"), ("ldb", ";"))
        }
        shards["s.ndb"] = "\n".join(line for line in lines if line.startswith("N"))
        require_same(tmp_path, shards, earlier)
        earlier, *_ = prepare(tmp_path, shards, earlier)


def test_lines_that_are_known_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, *_ = prepare(tmp_path, BASE)
    asked: list[str] = []
    body = reading.body

    def noting(line: Line, tally: Tally) -> Signature | None:
        asked.append(line.text)
        return body(line, tally)

    monkeypatch.setattr(reading, "body", noting)
    prepare(tmp_path, _with("a.ndb", "New:0:*:6e6577206c696e65"), earlier)
    assert sorted(line.partition(":")[0].partition(";")[0] for line in asked) == [
        "Icon",
        "New",
        "Odd",
    ]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        _flip,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(bytes(100)),
    ],
)
def test_damaged_earlier_files_cost_time_and_nothing_else(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    earlier, _, files = prepare(tmp_path, BASE)
    for name, content in files.items():
        damage(earlier / name)
        require_same(tmp_path, CHANGES["a line in the middle"], earlier)
        (earlier / name).write_bytes(content)


@pytest.mark.shared
def test_a_line_in_a_real_set_gives_what_preparing_anew_gives(tmp_path: Path, shared: Path) -> None:
    daily = (shared / "definitions/clamav/daily.ldb").read_text(encoding="latin-1")
    lines = daily.split("\n")
    cut, more = len(lines) // 2, "New;Engine:81-255,Target:4;0&1;6e6577206c696e65;74686174206973"
    earlier, *_ = prepare(tmp_path, {"daily.ldb": daily})
    changed = "\n".join([*lines[:cut], more, *lines[cut + 1 :]])
    require_same(tmp_path, {"daily.ldb": changed}, earlier)
