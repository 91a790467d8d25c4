from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailward.definitions.history import Event
from mailward.definitions.model import Channel, Version
from mailward.definitions.pointer import BEFORE_MAX, REFUSED_MAX, Pointer, recovered, trace
from mailward.definitions.store import Store
from mailward.errors import FormatError, MailwardError, StoreError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def v(number: int) -> Version:
    return Version(20260101, number)


def activate(pointer: Pointer, number: int, *, by_administrator: bool = False) -> Pointer:
    return pointer.activating(v(number), Channel.RAPID, NOW, by_administrator=by_administrator)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["activate", "activate-by-administrator", "back", "refuse"]),
        st.integers(1, 8),
    ),
    max_size=30,
)


def take(pointer: Pointer, step: tuple[str, int]) -> Pointer:
    verb, number = step
    match verb:
        case "back":
            return pointer.going_back(v(number), Channel.RAPID, NOW, "rolled back")
        case "refuse":
            return pointer.refusing(v(number), "refused")
        case _:
            return activate(pointer, number, by_administrator=verb != "activate")


@given(STEPS)
@settings(max_examples=300)
def test_whatever_is_done_the_way_back_goes_down_and_never_to_a_refused_set(
    steps: list[tuple[str, int]],
) -> None:
    pointer = Pointer()
    for step in steps:
        old = pointer
        try:
            pointer = take(pointer, step)
        except MailwardError:
            assert pointer == old
            continue
        path = [*([pointer.version] if pointer.version else []), *pointer.before]
        assert path == sorted(set(path), reverse=True)
        assert not any(pointer.refusal(version) for version in pointer.before)
        assert Pointer.from_json(pointer.to_json()) == pointer
        if step[0] == "activate" and old.version:
            assert pointer.version is not None
            assert pointer.version >= old.version, "by itself it never goes back (S7)"
            assert old.refusal(pointer.version) is None or pointer.version == old.version


@given(STEPS)
@settings(max_examples=300)
def test_the_history_tells_the_pointer(steps: list[tuple[str, int]]) -> None:
    pointer = Pointer()
    events = []
    for step in steps:
        try:
            new = take(pointer, step)
        except MailwardError:
            continue
        if new != pointer:
            events.append(Event(NOW, step[0], v(step[1]), "", {"pointer": trace(pointer, new)}))
        pointer = new
    told = recovered(events)
    if not events:
        assert told is None
    else:
        assert told is not None
        assert told.model_copy(update={"refused": set(told.refused)}) == pointer.model_copy(
            update={"refused": set(pointer.refused)}
        )


def test_the_newest_refusals_are_remembered_and_the_way_back_is_bounded() -> None:
    pointer = Pointer()
    for number in range(REFUSED_MAX + 10):
        pointer = pointer.refusing(v(number), "x" * 5000)
    assert list(pointer.refused) == [str(v(n)) for n in range(10, REFUSED_MAX + 10)]
    pointer = pointer.refusing(v(10), "again")
    assert list(pointer.refused)[-1] == str(v(10))
    for number in range(2000, 2000 + BEFORE_MAX + 10):
        pointer = activate(pointer, number)
    assert len(pointer.before) == BEFORE_MAX
    assert Pointer.from_json(pointer.to_json()) == pointer, "at its largest it can be read"


def test_the_order_of_refusal_survives_the_file() -> None:
    pointer = Pointer().refusing(v(9), "first").refusing(v(2), "second")
    assert list(Pointer.from_json(pointer.to_json()).refused) == [str(v(9)), str(v(2))]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        b"[]",
        b"null",
        b'{"version": "20260101.001"}',
        b'{"version": "../../etc", "channel": "rapid", "activated_at": "2026-01-01T00:00:00Z"}',
        b'{"version": "20260101.001", "channel": "other", "activated_at": "2026-01-01T00:00:00Z"}',
        b'{"version": "20260101.001", "channel": "rapid", "activated_at": "2026-01-01T00:00:00"}',
        b'{"refused": {"..": "x"}}',
        b'{"refused": ["20260101.001"]}',
        b'{"before": ["1.1"]}',
        b'{"refused": ' + b"[" * 100_000,
        b" " * (5 * 1024 * 1024),
    ],
)
def test_a_damaged_pointer_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        Pointer.from_json(raw)


@pytest.mark.parametrize("raw", [b"", b"garbage", b'{"version": "20260101.001"}', b"\0" * 4096])
def test_a_pointer_edited_to_garbage_is_made_good_from_the_history(
    activated: Callable[..., Store], raw: bytes
) -> None:
    store = activated("20260101.001", "20260101.002", "20260101.003")
    with store.writer("test") as writer:
        writer.rollback(None, "false alarms")
    whole = store.pointer()
    assert whole is not None
    (store.folder / "active").write_bytes(raw)
    active = store.active()
    assert active is not None
    assert active.version == v(2)
    assert store.pointer() == whole
    with store.writer("test") as writer:
        with pytest.raises(StoreError, match="refused"):
            writer.activate(v(3), "update")
        writer.activate(v(2), "mended", by_administrator=True)
    assert (store.folder / "active").read_bytes() == whole.to_json()


def test_a_damaged_pointer_without_history_stops_every_change_but_loses_nothing(
    activated: Callable[..., Store],
) -> None:
    store = activated("20260101.001", "20260101.002")
    (store.folder / "active").write_text("garbage")
    (store.folder / "history.jsonl").unlink()
    with store.writer("test") as writer:
        for change in (
            lambda: writer.activate(v(2), "test", by_administrator=True),
            lambda: writer.rollback(None, "test"),
            lambda: writer.refuse(v(2), "test"),
            lambda: writer.prune(),
            lambda: writer.stage(store.get(v(2)).manifest),
        ):
            with pytest.raises(StoreError, match="damaged"):
                change()
    assert store.versions() == [v(2), v(1)]
    assert [problem.version for problem in store.verify() if problem.version is None] == [None]
    (store.folder / "active").unlink()
    with store.writer("test") as writer:
        writer.activate(v(2), "test", by_administrator=True)
    assert store.verify() == []
