"""Prepared files are told apart by their format: whoever changes their layout has to say so."""

import hashlib
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Source
from mailward.scan.engines import hash_table
from mailward.scan.engines.signatures import SignaturesEngine
from mailward.scan.signatures import sealed

LINES = {
    # Shorter than a piece may be, so that which piece is chosen has no part in it.
    "a.ndb": b"One:0:*:6f6e65\nTwo:3:7,3:74776f\nMember:0:$3:6d656d\nLike.One:0:*:6f6e65\n",
    "b.ldb": b"Both;Engine:81-255,Target:0,Container:CL_TYPE_ZIP;0|1;626f7468::i;7468652070::w\n"
    b"Macro;Engine:81-255,Target:0;0&1;736f75726365;${0-20}3$\n",
    "c.hdb": b"0123456789abcdef0123456789abcdef:17:Digest\n",
    "d.hsu": b"0123456789abcdef0123456789abcdef01234567:*:Digest.Unwanted:73\n",
    "e.mdb": b"512:0123456789abcdef0123456789abcdef:Section\n",
    "f.pdb": b"H:imitated.example\n",
    "g.cdb": b"Member:CL_TYPE_ZIP:*:exe$:*:*:0:1-2:*:*\n",
    "h.ftm": b"0:0:4d5a:MS-EXE:CL_TYPE_ANY:CL_TYPE_MSEXE\n",
}

LAYOUTS = {
    (3, 1): "447a866f5f83480f",
}
"""What LINES were prepared to, by ``sealed.FORMAT`` and ``hash_table.FORMAT``: a digest of all
files but Vectorscan's own, which its version and the processor tell apart."""


def layout(folder: Path) -> str:
    into = folder / "prepared"
    into.mkdir()
    sources = []
    for name, content in LINES.items():
        path = folder / name
        path.write_bytes(content)
        sources.append(Source(name, ShardKind.CLAMAV, path))
    SignaturesEngine().prepare(sources, into)
    digest = hashlib.sha256()
    for path in sorted(into.iterdir()):
        digest.update(path.name.encode())
        if path.suffix != ".vectorscan":
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def test_a_layout_has_a_format_of_its_own(tmp_path: Path) -> None:
    """If this fails, the layout is another: raise sealed.FORMAT (or hash_table.FORMAT for the
    tables), and put a line for it in place of the one above."""
    formats = sealed.FORMAT, hash_table.FORMAT
    assert {formats: layout(tmp_path)} == LAYOUTS


def test_the_fingerprint_has_every_format() -> None:
    fields = SignaturesEngine().fingerprint().split(".")
    assert fields[-3:-1] == [str(sealed.FORMAT), str(hash_table.FORMAT)]
