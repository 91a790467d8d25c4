"""Pages of random tags: both normalised forms are what clamscan writes into its temporary files."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from mailward.scan.signatures import html

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed"),
]
WORDS = (
    *(" ", " ", " ", '"', '"', "'", "=", "=", ">", "<", "x", "Y", "/", "&amp;", "&", "&#65;"),
    *("<a href=", "<img src=", "<b ", "</b>", " data:", "=data:", '="', "='", "\n"),
)
FORMS = ("nocomment.html", "notags.html")


def page(random_: random.Random) -> bytes:
    """A page that ends with text: what becomes of the last letters of a file is an accident."""
    start = random_.choice(("<b c=", '<a href="', "<", "<img src='", "x"))
    text = start + "".join(random_.choices(WORDS, k=random_.randrange(2, 16)))
    return b"<html>" + text.encode() + b">" + b"p q r " * 5


def theirs(folder: Path, pages: dict[str, bytes]) -> dict[str, tuple[bytes, ...]]:
    """What clamscan makes of each page."""
    files, temporary = folder / "files", folder / "temporary"
    for made in (files, temporary):
        made.mkdir()
    for name, data in pages.items():
        (files / name).write_bytes(data)
    (folder / "any.ndb").write_text("Any:0:*:71717171717171717171\n")
    command = ["clamscan", "--leave-temps", "--tempdir", str(temporary), "--disable-cache"]
    command += ["--no-summary", "-d", str(folder / "any.ndb"), "-r", str(files)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    made_of = {}
    for first in temporary.glob(f"*/*/html-tmp*/{FORMS[0]}"):
        name = first.parent.parent.name.partition(".")[0]
        made_of[name] = tuple((first.parent / form).read_bytes() for form in FORMS)
    return made_of


def test_tags_come_out_as_they_do_for_clamscan(tmp_path: Path) -> None:
    random_ = random.Random(1)
    pages = {f"page{number}": page(random_) for number in range(200)}
    made = theirs(tmp_path, pages)
    assert set(made) == set(pages)
    ours = {name: html.normalise(data) for name, data in pages.items()}
    differing = {
        pages[name]: (made[name], (one.nocomment, one.notags))
        for name, one in ours.items()
        if made[name] != (one.nocomment, one.notags)
    }
    assert differing == {}
