"""Avro's integers, over all 64 bits."""

from __future__ import annotations

import io

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.varint import Longs, varint

LONGS = Longs()
BRANCH = Longs(b"\x04")


def written(value: int) -> bytes:
    """What fastavro writes."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "long"}, value)
    return out.getvalue()


@given(st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-20_000, 20_000)))
@example(-(1 << 63))
@example((1 << 63) - 1)
def test_every_integer_is_written_as_fastavro_writes_it(value: int) -> None:
    """Looked up or computed, with or without a prefix."""
    assert LONGS[value] == varint(value) == written(value)
    assert BRANCH[value] == b"\x04" + written(value)


def test_the_edges_of_chunks_and_tables() -> None:
    """Where the number of bytes changes, and where the table ends."""
    for bits in range(63):
        for value in ((1 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1):
            assert LONGS[value] == written(value)
    for value in (Longs.LEAST - 1, Longs.LEAST, Longs.END - 1, Longs.END):
        assert LONGS[value] == written(value)


def test_more_than_64_bits_are_refused() -> None:
    """Nothing is cut off in silence."""
    for value in (1 << 63, -(1 << 63) - 1, 1 << 100):
        with pytest.raises(OverflowError):
            LONGS[value]
