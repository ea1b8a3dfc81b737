"""What is put into a spool comes out again, part by part, also from files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.spool import PARTS, Spool

U64 = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(U64, U64), max_size=60), st.integers(1, 20))
def test_all_pairs_of_a_part_in_their_order(pairs: list[tuple[int, int]], limit: int) -> None:
    """Wherever they were kept, and also when asked in between and twice."""
    with Spool(limit=limit) as spool:
        for number, (first, second) in enumerate(pairs):
            spool.put(first, second)
            assert len(spool) == number + 1
        for _ in range(2):
            for part in {first % PARTS for first, _ in pairs} | {0}:
                firsts, seconds = spool.part(part)
                expected = [pair for pair in pairs if pair[0] % PARTS == part]
                assert list(zip(firsts, seconds, strict=True)) == expected
