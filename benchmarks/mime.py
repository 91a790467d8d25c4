"""MIME parsers on the collection of real mail: time, and what each finds that another misses.

Ours beside the standard library, and ``fast-mail-parser`` if it is installed (``uv pip install
fast-mail-parser``; the project does not need it). Alternately, three rounds, the best of each.
What is compared is decoded content: a part is missed if no part of that parser has it, but for
blanks at its ends. A second, small collection is made here: mail with two readings, each of which
hides the EICAR string from some client.
"""

import base64
import email
import email.policy
import importlib
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mailward.scan import message
from mailward.scan.budget import Budget
from mailward.scan.contents import Piece
from mailward.scan.part import Role
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR

SHARED = Path(__file__).resolve().parent.parent.parent / "shared/data/mail"
ROUNDS = 3
SETTINGS = ScanSettings()
Parser = Callable[[bytes], list[bytes]]

HEAD = b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
BASE64 = base64.encodebytes(EICAR)
PROGRAM = b"Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + BASE64
TEXT = b"Content-Type: text/plain\r\n\r\nHello\r\n"


def mixed(fields: bytes, *sections: bytes) -> bytes:
    return HEAD + fields + b"\r\n\r\n" + b"".join(b"--b\r\n" + s for s in sections) + b"--b--\r\n"


MIXED = b"Content-Type: multipart/mixed; boundary=b"
TWO_READINGS = {
    "two Content-Types, text last": mixed(MIXED + b"\r\nContent-Type: text/plain", PROGRAM),
    "two Content-Types, text first": mixed(b"Content-Type: text/plain\r\n" + MIXED, PROGRAM),
    "two transfer encodings": mixed(
        MIXED, b"Content-Transfer-Encoding: 7bit\r\n" + PROGRAM.partition(b"\r\n")[2]
    ),
    "a comment in the boundary": mixed(MIXED.replace(b"=b", b"=(x)b"), PROGRAM),
    "no semicolon": mixed(b"Content-Type: multipart/mixed boundary=b", PROGRAM),
    "two boundaries": mixed(MIXED + b"; boundary=c", TEXT) + b"--c\r\n" + PROGRAM + b"--c--",
    "a line that is no field": mixed(MIXED, b"X: y\r\nno field\r\n" + PROGRAM),
    "a longer boundary": mixed(MIXED, TEXT + b"--bb\r\n" + PROGRAM),
    "a delimiter at a bare CR": mixed(MIXED, b"X: y\r\n\r\nHello\r--b\r" + PROGRAM),
    "behind the end": mixed(MIXED, TEXT) + b"--b\r\n" + PROGRAM + b"--b--\r\n",
    "declared as text": mixed(b"Content-Type: text/plain", PROGRAM),
    "no boundary named": mixed(b"Content-Type: multipart/mixed", PROGRAM),
    "a multipart in base64": HEAD
    + MIXED
    + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"--b\r\n" + PROGRAM + b"--b--\r\n"),
    "base64 behind padding": mixed(
        MIXED, PROGRAM.replace(BASE64, base64.b64encode(b"junk") + b"\r\n" + BASE64)
    ),
    "an encoding in words": mixed(MIXED, PROGRAM.replace(b": base64", b": (7bit) base64")),
    "a forwarded message in base64": mixed(
        MIXED,
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(b"Subject: y\r\n\r\n" + EICAR),
    ),
}


def ours(data: bytes) -> list[bytes]:
    """With what is in forwarded messages, as the others give it."""
    found: list[bytes] = []
    waiting = [data]
    budget = Budget(SETTINGS)
    while waiting:
        for piece in message.read(waiting.pop(), budget):
            if isinstance(piece, Piece):
                found.append(piece.data)
                if piece.role is Role.MESSAGE:
                    waiting.append(piece.data)
    return found


def standard_library(policy: "email.policy.Policy[Any]") -> Parser:
    def parse(data: bytes) -> list[bytes]:
        walked = email.message_from_bytes(data, policy=policy).walk()
        decoded = (part.get_payload(decode=True) for part in walked)
        return [content for content in decoded if isinstance(content, bytes)]

    return parse


def fast_mail_parser() -> Parser:
    parse_email = importlib.import_module("fast_mail_parser").parse_email

    def parse(data: bytes) -> list[bytes]:
        mail = parse_email(data)
        texts = chain(mail.text_plain, mail.text_html)
        return [*(a.content for a in mail.attachments), *(text.encode() for text in texts)]

    return parse


def parsers() -> dict[str, Parser]:
    found = {
        "ours": ours,
        "email, compat32": standard_library(email.policy.compat32),
        "email, default": standard_library(email.policy.default),
    }
    try:
        found["fast-mail-parser"] = fast_mail_parser()
    except ImportError:
        print("(fast-mail-parser is not installed)")
    return found


def tried(parse: Parser, data: bytes) -> list[bytes] | None:
    try:
        return parse(data)
    except Exception:  # noqa: BLE001 (that they raise is what is counted)
        return None


def same(parts: Iterable[bytes]) -> set[bytes]:
    """Without what parsers do to texts: line ends, charsets."""
    return {part.replace(b"\r\n", b"\n").strip() for part in parts if part.isascii()} - {b""}


def compare(name: str, messages: Sequence[bytes], all_parsers: dict[str, Parser]) -> None:
    size = sum(map(len, messages)) / len(messages) / 1024
    print(f"{name}: {len(messages)} messages of {size:.1f} KiB")
    best = dict.fromkeys(all_parsers, float("inf"))
    for _ in range(ROUNDS):
        for parser, parse in all_parsers.items():
            began = time.process_time()
            for data in messages:
                tried(parse, data)
            best[parser] = min(best[parser], time.process_time() - began)
    found = {p: [tried(parse, data) for data in messages] for p, parse in all_parsers.items()}
    for parser, outcomes in found.items():
        raised = sum(outcome is None for outcome in outcomes)
        missed = sum(
            bool(same(mine or ()) - set().union(*map(same, (theirs or (),))))
            for mine, theirs in zip(found["email, compat32"], outcomes, strict=True)
        )
        print(
            f"  {parser:18} {best[parser] / len(messages) * 1000:7.3f} ms, raised for {raised}, "
            f"in {missed} without a part that compat32 has"
        )


def main() -> None:
    all_parsers = parsers()
    for name, pattern in (
        ("SpamAssassin", "spamassassin/*/*.txt"),
        ("phishing", "phishing/**/*.eml"),
        ("odd", "m*/**/*"),
    ):
        files = [path for path in sorted(SHARED.glob(pattern)) if path.is_file()][::3]
        if files:
            compare(name, [path.read_bytes() for path in files], all_parsers)
    print(f"{len(TWO_READINGS)} messages that some client reads otherwise, EICAR found in")
    for parser, parse in all_parsers.items():
        missed = [
            name
            for name, data in TWO_READINGS.items()
            if not any(EICAR in part for part in tried(parse, data) or ())
        ]
        print(f"  {parser:18} {len(TWO_READINGS) - len(missed):2}; missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
