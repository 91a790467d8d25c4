import os
from pathlib import Path

import pytest

from mailward.errors import FetchError
from mailward.update.fetch.file import FileFetcher


def _get(url: str) -> bytes:
    return b"".join(FileFetcher().fetch(url, 1000))


def test_escaped_characters_name_the_real_file(tmp_path: Path) -> None:
    (tmp_path / "a b%c").write_bytes(b"content")
    assert _get((tmp_path / "a b%c").as_uri()) == b"content"


def test_a_pipe_that_would_never_end_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FetchError, match="not a regular file"):
        _get((tmp_path / "pipe").as_uri())


def test_a_device_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), tmp_path):
        with pytest.raises(FetchError):
            _get(path.as_uri())


@pytest.mark.parametrize("url", ["file://server/share/x", "file:relative", "file:///a%00b"])
def test_addresses_that_name_no_local_file_are_refused(url: str) -> None:
    with pytest.raises(FetchError):
        _get(url)
