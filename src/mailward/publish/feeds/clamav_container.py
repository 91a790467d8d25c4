"""ClamAV's containers: a header of 512 bytes, then a tar of databases, mostly gzipped.

``.cvd`` as ClamAV distributes it, ``.cld`` as freshclam makes it of a ``.cvd`` and differences,
``.cud`` unsigned as ``sigtool --build --unsigned`` makes it. The format is that of
https://docs.clamav.net/manual/Signatures/DatabaseInfo.html and ``libclamav/cvd.c``. Nothing touches
the disk, and everything is bounded: what comes in is the network's.
"""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from mailward.errors import FormatError, TrustError
from mailward.publish.feeds.base import FILE_MAX_BYTES, MIB
from mailward.publish.feeds.clamav_signature import CLAMAV, Keys, signs_members, signs_payload

SUFFIXES = frozenset({".cvd", ".cld", ".cud"})

_MAGIC = b"ClamAV-VDB"
_HEADER_BYTES = 512
_BLOCK_BYTES = 512
"""Of tar."""

_MEMBERS_MAX = 5_000
"""bytecode.cvd has about a hundred, and each becomes a shard; a manifest takes 10,000."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,99}")
"""ClamAV's have no folders either. Nothing is ever written under them."""

_RATIO_MAX = 100
_RATIO_FREE_BYTES = 16 * MIB
"""Unpacked to packed, beyond the first 16 MiB: signatures shrink to a third or a fifth."""

_NOT_DATABASES = frozenset({"COPYING"})


@dataclass(frozen=True, slots=True)
class Header:
    """What a container says of itself. Signed only as far as ``.info`` repeats it."""

    built_at: str
    version: int
    signatures: int
    level: int
    """ClamAV's functionality level."""
    md5: str
    """Of the payload, in hex; empty if it gives none."""
    signature: bytes
    """Empty if it gives none."""
    builder: str
    stime: str
    """Seconds since 1970; empty in old ones."""

    @property
    def repeated(self) -> tuple[object, ...]:
        """What ``.info`` says again."""
        return (self.built_at, self.version, self.signatures, self.level, self.builder)


@dataclass(frozen=True, slots=True)
class Container:
    """An unpacked container that passed its checks."""

    header: Header
    databases: Mapping[str, bytes]
    """By name, without the licence and the list of members."""
    signed: bool
    whole: bool
    """A digest says that nothing is missing; otherwise only the header's count can."""


def read_container(raw: bytes, suffix: str, where: str, keys: Keys = CLAMAV) -> Container:
    """Unpack and check a container.

    A ``.cvd`` or ``.cld`` has to be signed, as for ClamAV itself; a ``.cud`` need not be. Raises
    FormatError if it is none, TrustError if a digest or signature is wrong.
    """
    header = read_header(raw, where)
    payload = raw[_HEADER_BYTES:]
    if header.md5 and hashlib.md5(payload, usedforsecurity=False).hexdigest() != header.md5:
        raise TrustError(f"{where}: the MD5 of its payload is not the header's: download it again")
    payload_signed = bool(header.md5) and signs_payload(header.md5, header.signature, keys.payload)
    must_be_signed = suffix != ".cud"
    if must_be_signed and header.signature and not payload_signed:
        raise TrustError(f"{where}: its signature is not ClamAV's{_UNSIGNED}")
    members = _members(payload, where)
    listing = _Listing.of(members, where)
    if listing is not None:
        listing.require(header, members, where)
    members_signed = listing is not None and listing.is_signed(keys)
    if must_be_signed and listing is not None and listing.signature and not members_signed:
        raise TrustError(
            f"{where}: the signature of its list of members is not ClamAV's{_UNSIGNED}"
        )
    if must_be_signed and not payload_signed and not members_signed:
        raise TrustError(f"{where}: not signed{_UNSIGNED}")
    return Container(
        header,
        {n: content for n, content in members.items() if _is_database(n)},
        signed=payload_signed or members_signed,
        whole=bool(header.md5) or listing is not None,
    )


_UNSIGNED = ": get it from where ClamAV says, or, if you trust whoever made it, call it .cud"


def read_header(raw: bytes, where: str) -> Header:
    """The first 512 bytes. Raises FormatError."""
    if not raw:
        raise FormatError(f"{where}: an empty file, not a ClamAV container")
    if not raw.startswith(_MAGIC + b":"):
        raise FormatError(f"{where}: not a ClamAV container (it should begin with ClamAV-VDB:)")
    if len(raw) < _HEADER_BYTES:
        raise FormatError(f"{where}: cut off in its header, after {len(raw)} bytes")
    return _parse_header(raw[:_HEADER_BYTES], where)


def _parse_header(line: bytes, where: str) -> Header:
    try:
        fields = line.decode("ascii").rstrip(" \r\n\0").split(":")
    except UnicodeDecodeError as e:
        raise FormatError(f"{where}: its header is not ASCII") from e
    if not 8 <= len(fields) <= 9:
        raise FormatError(f"{where}: its header has {len(fields)} fields, 8 or 9 expected")
    md5 = "" if fields[5] in ("", "X") else fields[5].lower()
    if md5 and not re.fullmatch("[0-9a-f]{32}", md5):
        raise FormatError(f"{where}: the digest in its header is no MD5")
    return Header(
        built_at=fields[1],
        version=_number(fields[2], "version", where),
        signatures=_number(fields[3], "number of signatures", where),
        level=_number(fields[4], "functionality level", where),
        md5=md5,
        signature=b"" if fields[6] in ("", "X") else fields[6].encode(),
        builder=fields[7],
        stime="".join(fields[8:]),
    )


def _number(text: str, what: str, where: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text):
        raise FormatError(f"{where}: the {what} in its header is no number")
    return int(text)


def _is_database(name: str) -> bool:
    return name not in _NOT_DATABASES and not name.lower().endswith(".info")


# --- tar ------------------------------------------------------------------------------------------


def _members(payload: bytes, where: str) -> dict[str, bytes]:
    """Every member by its name: plain files only, as ClamAV itself has it."""
    limit = min(FILE_MAX_BYTES, len(payload) * _RATIO_MAX + _RATIO_FREE_BYTES)
    stream: BinaryIO = io.BytesIO(payload)
    if payload.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=stream)  # type: ignore[assignment]  # it reads like one
    members: dict[str, bytes] = {}
    total = 0
    try:
        while (block := stream.read(_BLOCK_BYTES)) and block.strip(b"\0"):
            name, size = _entry(block, where)
            total += size
            if total > limit or len(members) == _MEMBERS_MAX:
                raise FormatError(
                    f"{where}: unpacks to more than {limit} bytes or {_MEMBERS_MAX} members"
                )
            if name in members:
                raise FormatError(f"{where}: two members are called {name}")
            content = stream.read(size)
            padding = stream.read(-size % _BLOCK_BYTES)
            if len(content) < size or len(padding) < -size % _BLOCK_BYTES:
                raise FormatError(f"{where}: cut off in its member {name}")
            members[name] = content
    except (EOFError, OSError, zlib.error) as e:
        raise FormatError(f"{where}: damaged or cut off: {e}") from e
    if not members:
        raise FormatError(f"{where}: no member in it")
    return members


def _entry(block: bytes, where: str) -> tuple[str, int]:
    """Name and size from a tar header (POSIX.1-1988 ustar and before)."""
    if len(block) < _BLOCK_BYTES:
        raise FormatError(f"{where}: cut off in the header of a member")
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if _octal(block[148:156]) != checksum:
        raise FormatError(f"{where}: no tar inside, or a damaged one")
    name = block[:100].split(b"\0")[0].decode("latin-1")
    if not _NAME.fullmatch(name):
        raise FormatError(f"{where}: a member is called {name!r}, which no database is")
    if block[156:157] not in (b"0", b"\0"):
        raise FormatError(f"{where}: its member {name} is not a plain file")
    size = _octal(block[124:136])
    if size is None:
        raise FormatError(f"{where}: the size of its member {name} is no number")
    return name, size


def _octal(field: bytes) -> int | None:
    text = field.strip(b" \0")
    return int(text, 8) if re.fullmatch(b"[0-7]{1,12}", text) else None


# --- .info ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Listing:
    """A container's list of its members, with sizes and SHA-256."""

    header: Header
    members: Mapping[str, tuple[int, str]]
    listed: bytes
    signature: bytes

    @classmethod
    def of(cls, members: Mapping[str, bytes], where: str) -> "_Listing | None":
        names = [name for name in members if name.lower().endswith(".info")]
        if len(names) > 1:
            raise FormatError(f"{where}: two lists of members, {names[0]} and {names[1]}")
        if not names:
            return None
        inside = f"{where}: {names[0]}"
        listed, _, signature = members[names[0]].partition(b"DSIG:")
        first, *lines = listed.splitlines() or [b""]
        found: dict[str, tuple[int, str]] = {}
        for line in lines:
            entry = re.fullmatch(rb"([^:]{1,100}):([0-9]{1,12}):([0-9a-f]{64})", line)
            if entry is None:
                raise FormatError(f"{inside}: a line that is not name:size:sha256")
            found[entry[1].decode("latin-1")] = int(entry[2]), entry[3].decode()
        return cls(_parse_header(first, inside), found, listed, signature.strip())

    def require(self, header: Header, members: Mapping[str, bytes], where: str) -> None:
        """Raises TrustError unless the container is as its list says."""
        if self.header.repeated != header.repeated:
            raise TrustError(
                f"{where}: the header says version {header.version}, the list of members"
                f" {self.header.version} (or they differ in date, counts or builder)"
            )
        databases = {name for name in members if _is_database(name)}
        if missing := self.members.keys() - members.keys():
            raise TrustError(f"{where}: its member {min(missing)} is missing")
        if unlisted := databases - self.members.keys():
            raise TrustError(f"{where}: its member {min(unlisted)} is not on the list of members")
        for name, (size, sha256) in self.members.items():
            content = members[name]
            if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
                raise TrustError(f"{where}: its member {name} is not what the list of members says")

    def is_signed(self, keys: Keys) -> bool:
        return signs_members(self.listed, self.signature, keys.members)
