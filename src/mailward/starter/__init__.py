"""The definitions that Mailward brings along: the common shapes of attacks by mail.

They are source texts, so that a publisher builds, checks and signs them like any other feed. Every
rule is explained in ``docs/starter-definitions.md``.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_EICAR_ROT13 = b"K5B!C%@NC[4\\CMK54(C^)7PP)7}$RVPNE-FGNAQNEQ-NAGVIVEHF-GRFG-SVYR!$U+U*"
"""The test file of https://www.eicar.org/download-anti-malware-testfile/, not to be found here."""

_ROT13 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"NOPQRSTUVWXYZABCDEFGHIJKLM",
)


@dataclass(frozen=True, slots=True)
class Probe:
    """Content in which a set must find something, or it is not used (S2)."""

    name: str
    """File name; it is scanned as an attachment called so."""
    expect: str
    """Name of the signature that must match."""
    content: bytes


def eicar() -> bytes:
    """The 68 bytes of the EICAR test file: harmless, and found by every scanner."""
    return _EICAR_ROT13.translate(_ROT13)


def rules() -> list[tuple[str, str]]:
    """Namespace and source text of each YARA file, by name."""
    folder = files(__package__) / "rules"
    return sorted(
        (f"starter.{entry.name.removesuffix('.yar')}", entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".yar")
    )


def hashes() -> list[str]:
    """Lines ``digest:size:name`` for the hash engine."""
    content = eicar()
    return [f"{hashlib.sha256(content).hexdigest()}:{len(content)}:Mailward.Test.EICAR.SHA256"]


def probes() -> list[Probe]:
    """What must be found: something of several rule files, and the test file twice."""
    return [
        Probe("eicar.com", "Mailward.Test.EICAR", eicar()),
        Probe("eicar.txt", "Mailward.Test.EICAR.SHA256", eicar()),
        Probe("invoice.pdf", "Mailward.Attachment.DisguisedExecutable", _empty_program()),
        Probe("picture.svg", "Mailward.Svg.Script", b"<svg><script>/* nothing */</script></svg>"),
        Probe("scan.pdf.exe", "Mailward.Name.DoubleExtension", b"nothing"),
        Probe("order.pdf", "Mailward.Pdf.ScriptOnOpening", _pdf_with_empty_script()),
    ]


def _empty_program() -> bytes:
    """MZ and PE headers of a program without a section: no system runs it."""
    return b"MZ".ljust(0x3C, b"\0") + (0x40).to_bytes(4, "little") + b"PE\0\0".ljust(64, b"\0")


def _pdf_with_empty_script() -> bytes:
    return b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(var nothing;)>>>>endobj
2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj
trailer<</Root 1 0 R>>
%%EOF
"""
