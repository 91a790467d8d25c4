"""Hash lists: named columns, and lists that disagree."""

from pathlib import Path

import pytest

from mailward.errors import FormatError
from mailward.publish.feeds.base import Reading
from mailward.publish.feeds.hashes import Columns, HashFeed

MD5, SHA256 = "a1" * 16, "c3" * 32


def _read(path: Path, text: str, columns: Columns | None = None) -> Reading:
    path.write_text(text)
    return HashFeed("list", path, columns).read()


def _lines(reading: Reading) -> list[str]:
    return reading.drafts[0].content.decode().splitlines()


COLUMNS = Columns(digest="File ID", size="Len", name="Campaign")


@pytest.mark.parametrize("name", ["list.csv", "list.txt", "export"])
def test_columns_are_taken_by_their_names(tmp_path: Path, name: str) -> None:
    text = f'# made today\nSHA256,"Campaign","File ID",Len\n{SHA256},Blue,{MD5},17\n'
    assert _lines(_read(tmp_path / name, text, COLUMNS)) == [f"{MD5}:17:Blue"]


def test_without_them_headers_speak_for_themselves(tmp_path: Path) -> None:
    text = f"sha256,campaign,file id,len\n{SHA256},Blue,{MD5},17\n"
    assert _lines(_read(tmp_path / "list.csv", text)) == [f"{SHA256}:*:list"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sha256,size\n", "no column 'File ID'"),
        ("", "no column 'File ID'"),
        ("File ID,Campaign\n", "no column 'Len' beside 'File ID'"),
    ],
)
def test_a_column_that_is_gone_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        _read(tmp_path / "list.csv", f"{text}{MD5}\n" if text else "", COLUMNS)


def test_in_a_folder_a_file_without_the_column_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(f"sha256\n{SHA256}\n")
    (tmp_path / "good.csv").write_text(f"id\n{MD5}\n")
    reading = HashFeed("list", tmp_path, Columns("id")).read()
    assert _lines(reading) == [f"{MD5}:*:list"]
    assert "no column 'id'" in reading.left_out[0].reason


def test_a_digest_with_several_sizes_is_kept_with_each_and_it_is_said(tmp_path: Path) -> None:
    reading = _read(tmp_path / "a.txt", f"{MD5}:5:A\n{MD5}:6:B\n{MD5}:5:A\n")
    assert _lines(reading) == [f"{MD5}:5:A", f"{MD5}:6:B"]
    assert reading.remarks == ("1 digests come again with another size: all are kept",)


def test_of_several_names_the_first_in_the_alphabet_is_kept_and_it_is_said(tmp_path: Path) -> None:
    for text in (f"{MD5}:5:B\n{MD5}:5:A\n", f"{MD5}:5:A\n{MD5}:5:B\n"):
        reading = _read(tmp_path / "a.txt", text)
        assert _lines(reading) == [f"{MD5}:5:A"]
        assert "another name" in reading.remarks[0]


def test_many_conflicts_are_one_remark(tmp_path: Path) -> None:
    lines = (f"{MD5}:{n}:Name\n" for n in range(200_000))
    reading = _read(tmp_path / "a.txt", "".join(lines))
    assert reading.signatures == 200_000
    assert len(reading.remarks) == 1
