"""One writer per store (S8)."""

import os

import pytest

from mailward.definitions.store import Store
from mailward.errors import BusyError


def test_a_second_writer_is_told_at_once_who_is_writing(store: Store) -> None:
    with store.writer("update certified"):
        with (
            pytest.raises(BusyError, match=rf"process {os.getpid()} \(update certified\) since 20"),
            store.writer("other"),
        ):
            raise AssertionError("two writers")
        assert store.sets() == [], "readers never wait"
    with store.writer("other"):
        pass


def test_a_writer_that_fails_gives_the_lock_back(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writer("test"):
        raise ZeroDivisionError
    with store.writer("test"):
        pass


def test_the_lock_works_with_damaged_details_of_its_owner(store: Store) -> None:
    with store.writer("test"):
        (store.folder / "lock").write_text('{"pid": ')
        with pytest.raises(BusyError, match="another process"), store.writer("other"):
            raise AssertionError("two writers")
