"""Links in mail, as people write them, given to clamscan and to Mailward."""

import random
import shutil
from pathlib import Path

import pytest

from benchmarks import parity

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed"),
]
IMITATED = "H:example.com\nH:bank.co.uk\nR:.+\\.regex[0-9]\\.org([/?].*)?\n"
ALLOWED = "M:good.net:www.example.com\nX:.+\\.fine\\.net([/?].*)?:.+\\.example\\.com([/?].*)?\n"
HOSTS = (
    *("example.com", "www.example.com", "login.example.com", "bank.co.uk", "www.bank.co.uk"),
    *("x.regex1.org", "evil.net", "good.net", "www.good.net", "a.fine.net", "notexample.com"),
    *("1.2.3.4", "localhost", "example.com.evil.net"),
)
PATHS = ("", "/", "/y", "/a/b.html", "?q=1", "/x?y=http://z", "/www.example.com")


def mail(random_: random.Random) -> str:
    real = random_.choice(("http://", "https://")) + random_.choice(HOSTS) + random_.choice(PATHS)
    address = random_.choice(("http://", "https://", "")) + random_.choice(HOSTS)
    address += random_.choice(PATHS[:3])
    shown = random_.choice(("{}", "{}", "<b>{}</b>", '<img src="{}">', "{} now")).format(address)
    return (
        "From: a@example.org\nTo: b@example.org\nSubject: x\nMIME-Version: 1.0\n"
        "Content-Type: text/html\n\n"
        f'<html><p>Hi</p><a class=b href="{real}">{shown}</a><p>bye</p></html>\n'
    )


def test_clamscan_finds_the_same_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [one for one in parity.OPTIONS if "phishing" not in one and "heuristic" not in one]
    monkeypatch.setattr(parity, "OPTIONS", asked)
    random_ = random.Random(7)
    for made in ("definitions", "files"):
        (tmp_path / made).mkdir()
    (tmp_path / "definitions/a.pdb").write_text(IMITATED)
    (tmp_path / "definitions/a.wdb").write_text(ALLOWED)
    paths = [tmp_path / f"files/{number}" for number in range(400)]
    for path in paths:
        path.write_text(mail(random_))
    theirs = parity.clamscan(tmp_path / "definitions", paths)
    ours = parity.Ours(tmp_path / "definitions", tmp_path / "prepared")
    found = {path: ours.scan(path.read_bytes(), path.name)[0] for path in paths}
    differing = {
        path.read_text().partition("<p>Hi</p>")[2]: (found[path], theirs.get(path, set()))
        for path in paths
        if found[path] != theirs.get(path, set())
    }
    assert differing == {}
    assert sum(map(bool, found.values())) > 80
