"""ClamAV's containers, whole, broken and hostile."""

import gzip
import hashlib
import random
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailward.errors import FormatError, TrustError
from mailward.publish.feeds.clamav_container import Container, read_container, read_header

MEMBERS = {
    "main.ndb": b"A:0:*:616263646566\nB:0:*:616263646567\n",
    "main.hdb": b"%b:5:C\n" % (b"1" * 32),
}


@pytest.fixture
def read(signer: Any) -> Callable[..., Container]:
    def reading(raw: bytes, suffix: str = ".cvd") -> Container:
        return read_container(raw, suffix, "main", signer.keys)

    return reading


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    ("suffix", "md5"),
    [(".cvd", None), (".cld", None), (".cld", "X"), (".cud", "X"), (".cud", None)],
)
def test_databases_come_out_as_they_went_in(
    container: Any, read: Any, suffix: str, md5: str | None, compress: bool
) -> None:
    found = read(container(MEMBERS, md5=md5, compress=compress), suffix)
    assert found.databases == MEMBERS
    assert found.signed
    assert found.whole
    assert (found.header.version, found.header.signatures) == (7, 3)


def test_a_gzip_of_several_pieces_is_one(container: Any, read: Any) -> None:
    plain = gzip.decompress(container(MEMBERS)[512:])
    payload = gzip.compress(plain[:700]) + gzip.compress(plain[700:])
    assert read(container(MEMBERS, payload=payload)).databases == MEMBERS


def test_a_header_without_its_last_field_is_an_old_one(container: Any, read: Any) -> None:
    raw = container(MEMBERS, info=None)
    header = raw[:512].rstrip().rpartition(b":")[0]
    assert read(header.ljust(512) + raw[512:]).databases == MEMBERS


def test_an_unsigned_container_has_to_be_called_so(container: Any, read: Any) -> None:
    raw = container(MEMBERS, info=None, signature=b"X")
    for suffix in (".cvd", ".cld"):
        with pytest.raises(TrustError, match=r"call it \.cud"):
            read(raw, suffix)
    assert not read(raw, ".cud").signed


def test_somebody_elses_signature_is_refused(container: Any) -> None:
    with pytest.raises(TrustError, match="not ClamAV's"):
        read_container(container(MEMBERS), ".cvd", "main")


def test_a_changed_payload_is_refused(container: Any, read: Any) -> None:
    raw = bytearray(container(MEMBERS))
    raw[-20] ^= 1
    for suffix in (".cvd", ".cud"):
        with pytest.raises(TrustError, match="MD5"):
            read(bytes(raw), suffix)


def test_flipped_bits_anywhere_never_give_other_databases(container: Any, read: Any) -> None:
    good = container(MEMBERS)
    noise = random.Random(3)
    refused = 0
    for _ in range(300):
        raw = bytearray(good)
        raw[noise.randrange(len(raw))] ^= 1 << noise.randrange(8)
        try:
            assert read(bytes(raw)).databases == MEMBERS  # spaces behind the header, say
        except (FormatError, TrustError):
            refused += 1
    assert refused > 100


def test_cut_off_anywhere_it_never_gives_other_databases(container: Any, read: Any) -> None:
    for compress in (True, False):
        # No digest in the header, so that the container itself has to notice.
        raw = container(MEMBERS, md5="X", compress=compress)
        refused = 0
        for length in range(0, len(raw), 29):
            try:
                assert read(raw[:length], ".cld").databases == MEMBERS  # behind the last of them
            except (FormatError, TrustError):
                refused += 1
        assert refused > 20


@pytest.mark.parametrize(
    "payload", [b"", b"\x1f\x8b", b"\0" * 4096, b"no tar at all" * 100, gzip.compress(b"")]
)
def test_a_payload_that_is_none_is_refused(container: Any, read: Any, payload: bytes) -> None:
    with pytest.raises(FormatError):
        read(container(MEMBERS, payload=payload))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"", "empty file"),
        (b"ClamAV-VDB:", "cut off in its header"),
        (b"ClamAV-VDA:".ljust(600), "not a ClamAV container"),
        (b"<html>".ljust(600), "not a ClamAV container"),
        (b"ClamAV-VDB:a:1:1:1:X:X".ljust(600), "7 fields"),
        (b"ClamAV-VDB:a:1:1:1:X:X:b:1:2".ljust(600), "10 fields"),
        (b"ClamAV-VDB:a:-1:1:1:X:X:b:1".ljust(600), "version in its header"),
        (b"ClamAV-VDB:a:1:many:1:X:X:b:1".ljust(600), "number of signatures"),
        (b"ClamAV-VDB:a:1:%b:1:X:X:b:1" % (b"9" * 400), "number of signatures"),
        (b"ClamAV-VDB:a:1:1:x:X:X:b:1".ljust(600), "functionality level"),
        (b"ClamAV-VDB:a:1:1:1:abc:X:b:1".ljust(600), "no MD5"),
        (b"ClamAV-VDB:\xff:1:1:1:X:X:b:1".ljust(600), "not ASCII"),
    ],
)
def test_headers_that_are_none_are_refused_in_words(header: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        read_header(header.ljust(512) if len(header) > 100 else header, "main.cvd")


def test_a_bomb_is_not_unpacked(container: Any, read: Any) -> None:
    bomb = container({"main.ndb": bytes(200 << 20)}, info=None)
    assert len(bomb) < 1 << 20
    with pytest.raises(FormatError, match="unpacks to more than"):
        read(bomb)


def test_a_stated_size_is_not_believed(container: Any, read: Any) -> None:
    plain = bytearray(gzip.decompress(container(MEMBERS, info=None)[512:]))
    plain[124:136] = b"777777777777"
    with pytest.raises(FormatError):
        read(container(MEMBERS, payload=_with_checksum(plain)))


def test_too_many_members_are_refused(container: Any, read: Any) -> None:
    many = {f"{n}.cbc": b"" for n in range(5001)}
    with pytest.raises(FormatError, match="5000 members"):
        read(container(many, info=None))


@pytest.mark.parametrize(
    "name", ["../main.ndb", "/etc/passwd", "a/b.ndb", "..", ".hidden", "a\\b", "a b", "\x1b[31m"]
)
def test_a_name_that_leads_elsewhere_is_refused(container: Any, read: Any, name: str) -> None:
    with pytest.raises(FormatError, match="is called"):
        read(container({name: b"x\n"}, info=None))


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"5", b"6", b"L", b"x", b"S"])
def test_links_devices_and_folders_are_refused(container: Any, read: Any, kind: bytes) -> None:
    plain = bytearray(gzip.decompress(container(MEMBERS, info=None)[512:]))
    plain[156:157] = kind
    with pytest.raises(FormatError, match="not a plain file"):
        read(container(MEMBERS, payload=_with_checksum(plain)))


def test_two_members_of_one_name_are_refused(container: Any, read: Any) -> None:
    plain = gzip.decompress(container(MEMBERS, info=None)[512:])
    first = plain[1024:2048]  # main.ndb, behind COPYING
    with pytest.raises(FormatError, match="two members"):
        read(container(MEMBERS, payload=gzip.compress(first + first + bytes(1024))))


def _with_checksum(plain: bytearray) -> bytes:
    plain[148:156] = b" " * 8
    plain[148:156] = b"%06o\0 " % sum(plain[:512])
    return gzip.compress(bytes(plain))


# --- the list of members --------------------------------------------------------------------------


def _list(container: Any, members: dict[str, bytes], version: int = 7, **more: Any) -> bytes:
    first = f"ClamAV-VDB:23 Nov 2026 10-00 +0000:{version}:3:90:X:X:tests:1795428000"
    info: bytes = container.info(members, first, **more)
    return info


def test_a_member_that_is_not_as_listed_is_refused(container: Any, read: Any) -> None:
    other = MEMBERS | {"main.ndb": b"A:0:*:616263646566\nB:0:*:616263646568\n"}
    with pytest.raises(TrustError, match=r"member main\.ndb is not what"):
        read(container(MEMBERS, info=_list(container, other)))


def test_a_member_that_is_missing_or_not_listed_is_refused(container: Any, read: Any) -> None:
    fewer = {"main.ndb": MEMBERS["main.ndb"]}
    with pytest.raises(TrustError, match=r"main\.hdb is missing"):
        read(container(fewer, count=3, info=_list(container, MEMBERS)))
    with pytest.raises(TrustError, match=r"main\.hdb is not on the list"):
        read(container(MEMBERS, info=_list(container, fewer)))


def test_an_old_container_cannot_be_given_a_new_number(container: Any, read: Any) -> None:
    with pytest.raises(TrustError, match="the header says version 9, the list of members 7"):
        read(container(MEMBERS, version=9, info=_list(container, MEMBERS)))


def test_a_list_that_was_changed_is_refused(container: Any, read: Any) -> None:
    listed, _, signature = _list(container, MEMBERS).partition(b"DSIG:")
    extra = {"more.ndb": b"Z:0:*:00\n"}
    line = b"more.ndb:%d:%b\n" % (9, hashlib.sha256(extra["more.ndb"]).hexdigest().encode())
    raw = container(MEMBERS | extra, count=3, md5="X", info=listed + line + b"DSIG:" + signature)
    with pytest.raises(TrustError, match="list of members is not ClamAV's"):
        read(raw, ".cld")
    assert not read(raw, ".cud").signed


@pytest.mark.parametrize("line", [b"main.ndb", b"main.ndb:x:" + b"0" * 64, b"a:1:short"])
def test_a_list_that_is_none_is_refused(container: Any, read: Any, line: bytes) -> None:
    info = _list(container, MEMBERS, sign=False) + line + b"\n"
    with pytest.raises(FormatError, match="name:size:sha256"):
        read(container(MEMBERS, info=info))


def test_random_payloads_are_refused(container: Any, read: Any) -> None:
    noise = random.Random(4)
    for size in (1, 512, 5000):
        for payload in (noise.randbytes(size), b"\x1f\x8b\x08" + noise.randbytes(size)):
            with pytest.raises((FormatError, zlib.error)):
                read(container(MEMBERS, payload=payload))


@pytest.mark.real
def test_what_sigtool_builds_is_read(tmp_path: Path) -> None:
    if not shutil.which("sigtool"):
        pytest.skip("sigtool is not installed (Debian: apt-get install clamav)")
    for name, content in MEMBERS.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "COPYING").write_text("a licence\n")
    subprocess.run(
        ["sigtool", "--build=main.cud", "--unsigned", "--cvd-version=12", f"--datadir={tmp_path}"],
        cwd=tmp_path, env={"SIGNDUSER": "tests", "PATH": "/usr/bin:/bin"}, check=True,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
    )  # fmt: skip
    found = read_container((tmp_path / "main.cud").read_bytes(), ".cud", "main.cud")
    assert found.databases == MEMBERS
    assert found.header.version == 12
    assert not found.signed
    assert found.whole
