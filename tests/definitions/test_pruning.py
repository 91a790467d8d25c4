from mailward.definitions.model import Version
from mailward.definitions.pruning import Weight, superfluous

NOTHING: frozenset[Version] = frozenset()


def v(number: int) -> Version:
    return Version(20260101, number)


def weight(number: int, own_bytes: int = 10, *shared: str, wanted: bool = True) -> Weight:
    return Weight(v(number), own_bytes, dict.fromkeys(shared, 100), wanted)


def test_within_the_limits_nothing_goes() -> None:
    assert superfluous([weight(1), weight(2)], NOTHING, keep_sets=2, max_bytes=20) == []
    assert superfluous([], NOTHING, keep_sets=1, max_bytes=1) == []


def test_the_oldest_go_first_and_no_more_than_needed() -> None:
    weights = [weight(3), weight(1), weight(2)]
    assert superfluous(weights, NOTHING, keep_sets=2, max_bytes=1000) == [v(1)]
    assert superfluous(weights, NOTHING, keep_sets=3, max_bytes=10) == [v(1), v(2)]


def test_the_unwanted_go_before_the_oldest() -> None:
    weights = [weight(1), weight(2), weight(3, wanted=False)]
    assert superfluous(weights, NOTHING, keep_sets=2, max_bytes=1000) == [v(3)]


def test_the_protected_stay_whatever_the_limits_say() -> None:
    weights = [weight(1), weight(2, wanted=False), weight(3)]
    gone = superfluous(weights, frozenset({v(1), v(2)}), keep_sets=1, max_bytes=1)
    assert gone == [v(3)]


def test_shared_shards_weigh_once() -> None:
    weights = [weight(1, 10, "a"), weight(2, 10, "a"), weight(3, 10, "a", "b")]
    assert superfluous(weights, NOTHING, keep_sets=9, max_bytes=230) == []
    assert superfluous(weights, NOTHING, keep_sets=9, max_bytes=229) == [v(1)]
