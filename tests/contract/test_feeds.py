"""What every Feed does, whatever the format: one suite, each implementation in turn."""

import functools
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailward import starter
from mailward.definitions.model import Shard, ShardKind
from mailward.errors import FormatError, UsageError
from mailward.publish.feeds import Feed, parse_spec, read_spec, remembered
from mailward.publish.feeds.base import LINE_MAX_BYTES
from mailward.publish.home import Home


@dataclass(frozen=True)
class Format:
    """One feed format and pieces of it."""

    kind: str
    file: str
    other_file: str
    good: bytes
    """Three signatures."""
    other: bytes
    """Two more."""
    broken_line: bytes
    nul_line: bytes
    """A signature spoilt by a NUL byte."""
    not_utf8: bytes
    """One signature with a byte that is not UTF-8."""


FORMATS = [
    Format(
        "hashes",
        "list.txt",
        "sub/more.sha1",
        b"%b\n%b:68:Test.One\n%b:*\n" % (b"1" * 32, b"2" * 40, b"3" * 64),
        b"%b  setup.exe\n%b\n" % (b"4" * 40, b"5" * 40),
        b"not a digest at all",
        b"6" * 16 + b"\0" + b"6" * 15,
        b"7" * 64 + b":12:Caf\xe9.A\n",
    ),
    Format(
        "yara",
        "rules.yar",
        "sub/more.yara",
        b"rule A { condition: true }\nprivate rule B { condition: A }\nrule C{condition: false}\n",
        b'/* rule no */ rule D : tag { strings: $a = "rule no" condition: $a } global rule E\n'
        b"{ condition: true } // rule no",
        b"rul X",
        b"rule F { condition: \0true }",
        b'rule G { strings: $a = "caf\xe9" condition: $a }\n',
    ),
    Format(
        "clamav",
        "main.ndb",
        "sub/daily.ldb",
        b"# comment\nB:0:*:6162\nA:0:*:6163\nC:1:0:6164\n",
        b"Y;Target:0;0;6162\nX;Target:0;0;6163\n",
        b"# only a comment",
        b"N:0:*:61\0",
        b"Caf\xe9:0:*:6162\n",
    ),
]


by_line = pytest.mark.parametrize(
    "form", [f for f in FORMATS if f.kind != "yara"], ids=lambda f: f.kind, indirect=True
)


@pytest.fixture(params=FORMATS, ids=lambda f: f.kind)
def form(request: pytest.FixtureRequest) -> Format:
    assert isinstance(request.param, Format)
    return request.param


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of ``tmp_path``."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


OpenFile = Callable[[bytes], Feed]
OpenFolder = Callable[..., Feed]


def _remembered(tmp_path: Path, spec: str) -> Feed:
    return remembered(Home(tmp_path / "publisher"), [read_spec(spec)])[0]


@pytest.fixture(params=["path", "address", "remembered path", "remembered address"])
def open_file(form: Format, tmp_path: Path, request: pytest.FixtureRequest) -> OpenFile:
    """A feed of one file, on disk or at an address, with memory and without."""

    def make(content: bytes) -> Feed:
        (tmp_path / form.file).write_bytes(content)
        place = str(tmp_path / form.file)
        if "address" in request.param:
            place = f"{request.getfixturevalue('web')}/{form.file}"
        spec = f"{form.kind}:test={place}"
        return _remembered(tmp_path, spec) if "remembered" in request.param else parse_spec(spec)

    return make


@pytest.fixture(params=["path", "remembered path"])
def open_folder(form: Format, tmp_path: Path, request: pytest.FixtureRequest) -> OpenFolder:
    """A feed of a folder of files."""

    def make(**files: bytes) -> Feed:
        for name, piece in files.items():
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(piece)
        spec = f"{form.kind}:test={tmp_path / 'folder'}"
        return _remembered(tmp_path, spec) if "remembered" in request.param else parse_spec(spec)

    return make


def _signatures(feed: Feed) -> int:
    return sum(draft.signatures for draft in feed.read().drafts)


def test_a_file_is_read(form: Format, open_file: OpenFile) -> None:
    assert _signatures(open_file(form.good)) == 3


def test_a_folder_is_read_with_those_below_it(form: Format, open_folder: OpenFolder) -> None:
    feed = open_folder(**{form.file: form.good, form.other_file: form.other})
    assert _signatures(feed) == 5


def test_windows_line_ends_make_no_difference(form: Format, open_file: OpenFile) -> None:
    plain = open_file(form.good).read().drafts
    assert open_file(form.good.replace(b"\n", b"\r\n")).read().drafts == plain


def test_a_byte_order_mark_makes_no_difference(form: Format, open_file: OpenFile) -> None:
    plain = open_file(form.good).read().drafts
    assert open_file(b"\xef\xbb\xbf" + form.good).read().drafts == plain
    utf16 = form.good.decode().encode("utf-16")
    assert open_file(utf16).read().drafts == plain


def test_the_same_content_gives_the_same_drafts(form: Format, open_folder: OpenFolder) -> None:
    feed = open_folder(**{form.file: form.good, form.other_file: form.other})
    once = feed.read()
    assert feed.read() == once
    assert [draft.content for draft in once.drafts]


def test_names_and_counts_make_valid_shards(form: Format, open_folder: OpenFolder) -> None:
    feed = open_folder(**{form.file: form.good, "a b/ü/" + form.other_file: form.other})
    drafts = feed.read().drafts
    assert len({draft.name for draft in drafts}) == len(drafts)
    for draft in drafts:
        Shard(
            name=draft.name,
            kind=draft.kind,
            sha256="0" * 64,
            size_bytes=len(draft.content),
            object_bytes=0,
            signatures=draft.signatures,
        )


def test_a_place_that_is_not_there_is_said(form: Format, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        parse_spec(f"{form.kind}={tmp_path / 'nothing'}{Path(form.file).suffix}").read()


def test_an_empty_file_is_a_feed_without_signatures(open_file: OpenFile) -> None:
    assert _signatures(open_file(b"")) == 0


def test_an_empty_folder_is_a_feed_without_signatures(form: Format, tmp_path: Path) -> None:
    assert _signatures(parse_spec(f"{form.kind}={tmp_path}")) == 0


@pytest.mark.parametrize(
    "page",
    [b"<!DOCTYPE html><html>", b"\n\n <HTML><body>404</body>", b"<?xml version='1.0'?><html>"],
)
def test_an_html_page_is_no_feed(form: Format, open_file: OpenFile, page: bytes) -> None:
    with pytest.raises(FormatError, match="an HTML page"):
        open_file(page + form.good).read()


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"7z\xbc\xaf\x27\x1c"])
def test_an_archive_is_not_taken_for_an_empty_list(open_file: OpenFile, start: bytes) -> None:
    with pytest.raises(FormatError, match="an archive: unpack it"):
        open_file(start + bytes(100)).read()


def test_a_link_out_of_the_folder_publishes_nothing(
    form: Format, open_folder: OpenFolder, tmp_path: Path
) -> None:
    feed = open_folder(**{form.file: form.good})
    private = tmp_path / f"private{Path(form.file).suffix}"
    private.write_bytes(form.other)
    (tmp_path / "folder" / f"leak{Path(form.file).suffix}").symlink_to(private)
    reading = feed.read()
    assert sum(draft.signatures for draft in reading.drafts) == 3
    assert any("leads out" in piece.reason for piece in reading.left_out)


def test_one_bad_file_does_not_lose_the_rest(form: Format, open_folder: OpenFolder) -> None:
    bad = f"bad{Path(form.file).suffix}"
    feed = open_folder(**{form.file: form.good, bad: b"<html>Service unavailable</html>"})
    reading = feed.read()
    assert sum(draft.signatures for draft in reading.drafts) == 3
    assert any(bad in piece.where and "HTML" in piece.reason for piece in reading.left_out)


def test_files_of_other_kinds_are_left_out_by_name(form: Format, open_folder: OpenFolder) -> None:
    reading = open_folder(**{form.file: form.good, "photo.jpeg": b"\xff\xd8\xff"}).read()
    assert sum(draft.signatures for draft in reading.drafts) == 3
    assert any("photo.jpeg" in piece.where for piece in reading.left_out)


def test_devices_and_pipes_are_left_out(
    form: Format, open_folder: OpenFolder, tmp_path: Path
) -> None:
    feed = open_folder(**{form.file: form.good})
    os.mkfifo(tmp_path / "folder" / f"pipe{Path(form.file).suffix}")
    assert _signatures(feed) == 3


@by_line  # the same YARA rule twice is a mistake that the compiler names
def test_duplicates_count_once(form: Format, open_file: OpenFile) -> None:
    reading = open_file(form.good * 50).read()
    assert reading.drafts == open_file(form.good).read().drafts


def test_nul_bytes_cost_what_they_are_in(form: Format, open_folder: OpenFolder) -> None:
    spoilt = f"spoilt{Path(form.file).suffix}"
    reading = open_folder(**{form.file: form.good, spoilt: form.nul_line + b"\n"}).read()
    assert sum(draft.signatures for draft in reading.drafts) == 3
    assert any(spoilt in piece.where for piece in reading.left_out)
    assert not any(b"\0" in draft.content for draft in reading.drafts)


def test_bytes_that_are_not_utf8_are_carried(form: Format, open_file: OpenFile) -> None:
    assert _signatures(open_file(form.good + form.not_utf8)) == 4


@by_line  # a YARA source is limited as a whole
def test_a_gigantic_line_costs_itself(form: Format, open_file: OpenFile) -> None:
    reading = open_file(form.good + b"A" * (LINE_MAX_BYTES + 1) + b"\n").read()
    assert sum(draft.signatures for draft in reading.drafts) == 3
    assert any("longer than" in piece.reason for piece in reading.left_out)


def test_a_million_broken_lines_are_counted_not_listed(form: Format, open_file: OpenFile) -> None:
    reading = open_file(form.good + (form.broken_line + b"\n") * 1_000_000).read()
    assert sum(draft.signatures for draft in reading.drafts) == 3
    assert len(reading.left_out) <= 1
    if form.kind == "hashes":
        assert reading.left_out_count == 1_000_000


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_random_bytes_are_no_signatures(open_file: OpenFile, size: int) -> None:
    noise = bytes((n * n * 31 + n) % 251 for n in range(size)).replace(b"\n", b"\0")
    assert _signatures(open_file(noise + b"\0")) == 0


# --- what is particular to one format -------------------------------------------------------------


def _hash_lines(tmp_path: Path, name: str, content: bytes) -> list[str]:
    (tmp_path / name).write_bytes(content)
    (draft,) = parse_spec(f"hashes:list={tmp_path / name}").read().drafts
    assert draft.kind is ShardKind.HASHES
    return draft.content.decode().splitlines()


MD5, SHA1, SHA256 = "a1" * 16, "b2" * 20, "c3" * 32


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.txt", MD5.upper(), [f"{MD5}:*:list"]),
        ("a.txt", f"{MD5}:68:Win.Test.EICAR_HDB-1", [f"{MD5}:68:Win.Test.EICAR_HDB-1"]),
        ("a.hsb", f"{SHA256}:*:Name:73:255", [f"{SHA256}:*:Name"]),
        ("a.txt", f"{SHA1} *C:\\bad name.exe", [f"{SHA1}:*:list"]),
        ("a.adoc", f"|`{SHA1}` | `index.html` | JS/Agent | Fake.", [f"{SHA1}:*:list"]),
        ("a.md", f"* {MD5}, {SHA256}\n# {SHA1}", [f"{MD5}:*:list", f"{SHA256}:*:list"]),
        ("a.txt", f"# {MD5}\n; {MD5}\n// {MD5}\n", []),
        ("a.txt", f"{SHA256}{SHA256} {MD5}f x{SHA1} {SHA1}_", [f"{SHA1}:*:list"]),
        ("a.csv", f"sha256,md5\n{SHA256},{MD5}\n", [f"{MD5}:*:list", f"{SHA256}:*:list"]),
        (
            "a.csv",
            f'"Seen";"MD5-Hash";"File size";"Signature"\n"2026";"{MD5}";"17";"Agent: Tesla"\n',
            [f"{MD5}:17:Agent_Tesla"],
        ),
        (
            "a.csv",
            f'# comment\n# "first_seen", "sha256_hash", "signature"\n"x", "{SHA256}", "n/a"\n',
            [f"{SHA256}:*:list"],
        ),
        ("a.csv", f"md5,size\n{MD5},big\n", [f"{MD5}:*:list"]),
        ("a.csv", f"{MD5},5,name\n", [f"{MD5}:*:list"]),  # no header: no guess at the columns
        (
            "a.csv",
            f'md5,name\n{MD5},"open quote\n{SHA1},b\n',
            [f"{MD5}:*:open_quote", f"{SHA1}:*:b"],
        ),
        ("a.tsv", f"hash\tname\n{SHA1}\tB\n", [f"{SHA1}:*:B"]),
        ("a.txt", f"{MD5}:5:B\n{MD5}:5:A\n{MD5}:6:C\n", [f"{MD5}:5:A", f"{MD5}:6:C"]),
        ("a.txt", f"{MD5}:5:\x1b[31mred\u00e9", [f"{MD5}:5:_[31mred_"]),
        ("a.txt", f"{MD5}:{'9' * 5000}:huge", [f"{MD5}:*:list"]),
    ],
)
def test_hash_lists_come_in_many_shapes(
    tmp_path: Path, name: str, content: str, lines: list[str]
) -> None:
    assert _hash_lines(tmp_path, name, content.encode()) == lines


def test_the_digest_of_the_empty_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.md5").write_text(f"d41d8cd98f00b204e9800998ecf8427e\n{MD5}\n")
    reading = parse_spec(f"hashes={tmp_path}").read()
    assert reading.drafts[0].signatures == 1
    assert "empty file" in reading.left_out[0].reason


def test_hashes_without_a_name_are_called_after_their_folder(tmp_path: Path) -> None:
    (tmp_path / "Lazarus group").mkdir()
    (tmp_path / "Lazarus group" / "samples.md5").write_text(MD5)
    (draft,) = parse_spec(f"hashes:eset={tmp_path}").read().drafts
    assert draft.content.decode() == f"{MD5}:*:eset.Lazarus_group\n"


def test_yara_files_become_json_lines_sorted_by_namespace(tmp_path: Path) -> None:
    (tmp_path / "b.yar").write_bytes(b'rule B { strings: $a = "\xe9\\\\" condition: $a }')
    (tmp_path / "a.yara").write_bytes(b"rule A { condition: true }")
    (draft,) = parse_spec(f"yara:mine={tmp_path}").read().drafts
    first, second = (json.loads(line) for line in draft.content.splitlines())
    assert first == {"namespace": "mine/a.yara", "source": "rule A { condition: true }"}
    assert second["namespace"] == "mine/b.yar"
    assert '"\\xe9\\\\"' in second["source"]  # the byte as an escape that YARA reads


def test_clamav_files_are_sorted_unless_their_order_matters(tmp_path: Path) -> None:
    (tmp_path / "x.ndb").write_bytes(b"B:0:*:00\n#c\n\nA:0:*:00\n")
    (tmp_path / "x.ftm").write_bytes(b"0:0:ff:B:A:B\n#c\n0:0:aa:A:A:A\n")
    drafts = {d.name: d for d in parse_spec(f"clamav:c={tmp_path}").read().drafts}
    assert drafts["clamav/c/x.ndb"].content == b"A:0:*:00\nB:0:*:00\n"
    assert drafts["clamav/c/x.ftm"].content == b"0:0:ff:B:A:B\n#c\n0:0:aa:A:A:A\n"
    assert drafts["clamav/c/x.ftm"].signatures == 2


def test_the_starter_feed_brings_rules_hashes_and_probes() -> None:
    reading = parse_spec("starter").read()
    assert {draft.kind for draft in reading.drafts} == {ShardKind.YARA, ShardKind.HASHES}
    assert all(draft.signatures for draft in reading.drafts)
    assert len(reading.probes) == len(starter.probes())
    assert reading == parse_spec("starter").read()


# --- other people's feeds -------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize(
    ("spec", "signatures", "shards"),
    [("yara", 7461, 1), ("hashes", 27_500, 1), ("clamav", 187_000, 155)],
)
def test_real_feeds_are_read_whole(
    shared: Path, spec: str, signatures: int, shards: int, record_property: Callable[..., None]
) -> None:
    reading = parse_spec(f"{spec}={shared / 'definitions' / spec}").read()
    counts = {draft.name: draft.signatures for draft in reading.drafts}
    record_property("signatures", counts)
    assert len(counts) == shards
    assert sum(counts.values()) >= signatures
