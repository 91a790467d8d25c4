"""Random scripts: their normalised form is what clamscan writes into its temporary files."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from mailward.scan.signatures.filetype import Target, identify
from mailward.scan.signatures.normalise import views

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed"),
]
NAMES = ("a", "b1", "X", "document", "i")
VALUES = ("1", "1.5", "007", '"s t"', "'q'", '"a\\x41\\n"', '""', "'it\\'s'", '"%41"', '"a"+"b"')
OPERATORS = ("+", " + ", "-", "==", "&&", " < ")


def expression(random_: random.Random, depth: int = 0) -> str:
    kind = random_.randrange(8 if depth < 3 else 4)
    if kind < 2:
        return random_.choice(NAMES)
    if kind < 4:
        return random_.choice(VALUES)
    one, other = expression(random_, depth + 1), expression(random_, depth + 1)
    return (
        f"{one}{random_.choice(OPERATORS)}{other}",
        f"({one})",
        f"{random_.choice(('g', 'document.write', 'a.b'))}({one})",
        f"[{one},{other}]",
    )[kind - 4]


def statement(random_: random.Random, depth: int = 0) -> str:
    kind = random_.randrange(8 if depth < 2 else 4)
    if kind < 4:
        value, name = expression(random_), random_.choice(NAMES[:3])
        return (f"var {name}={value};", f"{name} = {value};", f"{value};", "/* note */\n")[kind]
    inner = statement(random_, depth + 1)
    return (
        f"if ({expression(random_)}) {{ {inner} }}",
        f"function f(a, b1) {{ {inner} return a; }}",
        f"for (var i=0;i<9;i++) {{ {inner} }}",
        f"{inner}\n{statement(random_, depth + 1)}",
    )[kind - 4]


def test_scripts_come_out_as_they_do_for_clamscan(tmp_path: Path) -> None:
    random_ = random.Random(2)
    for folder in ("files", "temporary"):
        (tmp_path / folder).mkdir()
    (tmp_path / "any.ndb").write_text("Any:0:*:71717171717171717171\n")
    expected = {}
    for number in range(150):
        script = "\n".join(statement(random_) for _ in range(random_.randrange(1, 4)))
        page = f"<html><script>{script}</script><p>x y z".encode()
        (tmp_path / f"files/page{number}").write_bytes(page)
        [made] = [v.data for v in views(page, identify(page)) if v.target is Target.TEXT]
        expected[f"page{number}"] = made
    command = ["clamscan", "--disable-cache", "--leave-temps", "-r", str(tmp_path / "files")]
    command += ["-d", str(tmp_path / "any.ndb"), "--tempdir", str(tmp_path / "temporary")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = (tmp_path / "temporary").glob("*/*/html-tmp*/javascript")
    theirs = {path.parent.parent.name.partition(".")[0]: path.read_bytes() for path in found}
    differing = {
        (tmp_path / "files" / name).read_bytes(): (theirs.get(name), made)
        for name, made in expected.items()
        if theirs.get(name) != made
    }
    assert differing == {}
