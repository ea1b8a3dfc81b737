"""Which records of a sequence are out of place."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from bridge.sequence import longest


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True), max_size=8))
def test_no_larger_set_is_in_order(choices: list[list[int]]) -> None:
    """What is kept can ascend, and nothing larger can: tried against all subsets."""

    def ascends(positions: tuple[int, ...]) -> bool:
        last = -1
        for position in positions:
            fitting = [each for each in choices[position] if each > last]
            if not fitting:
                return False
            last = min(fitting)
        return True

    kept = longest(list(enumerate(choices)))
    most = max(
        size for size in range(len(choices) + 1) for each in combinations(range(len(choices)), size) if ascends(each)
    )
    assert len(kept) == most
    assert ascends(tuple(sorted(kept)))
