"""The stringent tests, timed: a false positive among thousands of clean documents is caught, named,
excluded, rebuilt and promoted without a person.

    python benchmarks/stringent.py [--documents 5000] [--clean FOLDER …]

Documents are generated: text, HTML, CSV, messages, zip archives, Office files. ``--clean`` adds
folders of harmless files of your own. Everything happens in a temporary folder.
"""

import argparse
import hashlib
import io
import random
import tempfile
import time
import zipfile
from pathlib import Path

import structlog

from mailward.definitions.model import Level, QualityReport
from mailward.publish.build import build
from mailward.publish.feeds import parse_spec
from mailward.publish.gates.means import Means
from mailward.publish.quality import check, check_excluding
from mailward.publish.repository import Publisher
from mailward.testing import Attachment, message

_PLANTED = "Reference AX-4711 of your esteemed order"


class Steps:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._gate = ""
        self._began = self._gate_began = time.perf_counter()

    def said(self, what: str) -> None:
        now = time.perf_counter()
        print(f"{now - self._began:8.2f} s  {what}", flush=True)
        self._began = now

    def progress(self, gate: str, done: int, total: int) -> None:
        if gate == self._gate:
            return
        now = time.perf_counter()
        if self._gate:
            print(f"{now - self._gate_began:15.2f} s  {self._gate}", flush=True)
        self._gate, self._gate_began = gate, now


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--clean", type=Path, action="append", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailward-benchmark-") as name:
        run(Path(name), options.documents, options.clean)


def run(folder: Path, count: int, more: list[Path]) -> None:
    steps = Steps()
    clean, rules = folder / "clean", folder / "rules"
    planted = documents(clean, count)
    steps.said(f"{count} documents generated, the planted words in {len(planted)} of them")
    publisher = Publisher(folder / "publisher")
    publisher.init()
    home, means = publisher.home, Means(known_good=(clean, *more), progress=steps.progress)

    starter = parse_spec("starter")
    first = build(home, [starter]).version
    report = check(home, first, Level.STRINGENT, means)
    print_report(report)
    steps.said(f"{first} checked: {'passed' if report.passed else 'FAILED'}")
    if not report.passed:
        excluded = check_excluding(home, first, Level.STRINGENT, means)
        print_report(excluded.report)
        steps.said(f"without {', '.join(excluded.excluded)}: {excluded.version}")
        first = excluded.version
    publisher.publish(first)
    publisher.promote(first)

    rules.mkdir()
    (rules / "new.yar").write_text(
        f'rule Planted {{ strings: $a = "{_PLANTED}" condition: $a }}\n'
        'rule Good { strings: $a = "something that no document has" condition: $a }\n'
    )
    one = planted[0].read_bytes()
    (folder / "hashes.txt").write_text(
        f"{hashlib.sha256(one).hexdigest()}:{len(one)}:Planted.Hash\n{'a' * 64}:*:Good.Hash\n"
    )
    feeds = [starter, parse_spec(f"yara={rules}"), parse_spec(f"hashes={folder / 'hashes.txt'}")]
    broad = build(home, feeds).version
    began = time.perf_counter()
    checked = check_excluding(home, broad, Level.STRINGENT, means)
    print_report(checked.report)
    publisher.publish(checked.version)
    publisher.promote(checked.version)
    steps.said(
        f"{broad} caught, {', '.join(checked.excluded)} excluded, {checked.version} promoted"
    )
    print(f"from build to promotion: {time.perf_counter() - began:.1f} s")
    check(home, checked.version, Level.STRINGENT, means)
    steps.said("checked once more: nothing is scanned twice")
    repeat = build(home, feeds)
    print("the next build leaves them out too" if not repeat.new else "UNEXPECTED: a new set")


def print_report(report: QualityReport) -> None:
    for gate in report.gates:
        print(f"    {'passed' if gate.passed else 'FAILED':8}{gate.name}: {gate.detail}")
        for culprit in gate.culprits[:5]:
            print(f"            {culprit}")
    for each in report.not_run:
        print(f"    not run {each}")


def documents(folder: Path, count: int) -> list[Path]:
    """Write them; those that hold the planted words."""
    chance = random.Random(1)
    words = [
        "".join(chance.choices("abcdefghijklmnoprstuvwz", k=chance.randint(2, 9)))
        for _ in range(4000)
    ]
    folder.mkdir()
    planted = []
    for number in range(count):
        text = "\n".join(
            " ".join(chance.choices(words, k=12)) for _ in range(chance.randint(5, 120))
        )
        holds = number % 997 == 7
        if holds:
            text += f"\n{_PLANTED}\n"
        suffix, content = document(number % 6, text)
        path = folder / f"{number:05}.{suffix}"
        path.write_bytes(content)
        if holds:
            planted.append(path)
    return planted


def document(kind: int, text: str) -> tuple[str, bytes]:
    match kind:
        case 0:
            return "txt", text.encode()
        case 1:
            return "html", f"<!DOCTYPE html><html><body><p>{text}</p></body></html>".encode()
        case 2:
            return "csv", text.replace(" ", ";").encode() + f"\n{text[-60:]}".encode()
        case 3:
            return "eml", message(Attachment("notes.txt", text.encode(), "text/plain"))
        case 4:
            return "zip", archive({"notes.txt": text, "more/notes.txt": text[:200]})
        case _:
            xml = f"<w:document><w:body><w:t>{text}</w:t></w:body></w:document>"
            return "docx", archive({"[Content_Types].xml": "<Types/>", "word/document.xml": xml})


def archive(members: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return file.getvalue()


if __name__ == "__main__":
    main()
