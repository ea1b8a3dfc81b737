"""Records read back by generated code: the same that fastavro reads."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.avro_reader import reader
from bridge.catalog import Catalog
from bridge.errors import BadData, ConfigError
from bridge.ledger import Connection, Entry, Gap, Learned

SCHEMA = Catalog.load().own("ledger")
READ = reader(SCHEMA, {"LedgerEntry": Entry, "Learned": Learned, "Connection": Connection, "Gap": Gap})


def plain(schema: Any) -> Any:
    """The schema without logical types: times stay integers."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key not in {"logicalType", "bridge"}}
    return [plain(value) for value in schema] if isinstance(schema, list) else schema


PARSED: Any = fastavro.parse_schema(plain(SCHEMA))

longs = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
entries = st.builds(
    Entry,
    kind=st.sampled_from(["ENTRY", "FIRST", "HEARTBEAT", "RESIGN"]),
    instance=texts,
    at=longs,
    nonce=texts,
    generation=st.integers(0, 2**31 - 1),
    lanes=st.integers(0, 2**31 - 1),
    journal=texts,
    position=st.none() | longs,
    codes=st.binary(max_size=300),
    hashes=st.binary(max_size=300),
    orders=st.binary(max_size=80),
    cursors=st.dictionaries(texts, texts, max_size=3),
    learned=st.lists(st.builds(Learned, texts, texts, texts), max_size=3),
    connections=st.lists(
        st.builds(
            Connection,
            texts,
            texts,
            up=st.booleans(),
            last_frame=st.none() | longs,
            position=st.none() | longs,
            gap=st.none() | texts,
            gap_from=st.none() | longs,
            gap_cause=st.none() | texts,
            last_seq=st.none() | texts,
            gone=st.booleans(),
        ),
        max_size=3,
    ),
    gaps=st.lists(
        st.builds(
            Gap,
            *(texts, texts, texts, longs, texts),
            entity=st.none() | texts,
            until=st.none() | longs,
            last_seq=st.none() | texts,
            state=texts,
            recovered=longs,
            superseded=longs,
            how=st.none() | texts,
        ),
        max_size=3,
    ),
    chains=st.binary(max_size=100),
)


def written(entry: Entry) -> bytes:
    """The bytes that fastavro makes of an entry."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, msgspec.to_builtins(entry, builtin_types=(bytes,)))
    return out.getvalue()


@given(entries)
@settings(max_examples=300)
def test_what_fastavro_writes_is_read_back(entry: Entry) -> None:
    """Every type of the bridge's own records, at any value."""
    assert READ(b"head" + written(entry), 4) == entry


@given(entries, st.data())
@settings(max_examples=200)
def test_no_part_of_a_record_is_taken_for_a_record(entry: Entry, data: st.DataObject) -> None:
    """Cut short anywhere, or with a byte too many, it is damaged."""
    whole = written(entry)
    with pytest.raises(BadData):
        READ(whole[: data.draw(st.integers(0, len(whole) - 1))], 0)
    with pytest.raises(BadData):
        READ(whole + b"\0", 0)


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_rubbish_is_a_record_or_damaged(rubbish: bytes) -> None:
    """No other error, and no endless loop."""
    try:
        assert isinstance(READ(rubbish, 0), Entry)
    except BadData:
        return


def test_a_schema_beyond_the_language_is_refused() -> None:
    """A union of several types needs JSON to choose; no record of the bridge's own has one."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": ["null", "string", "long"], "default": None}],
    }
    with pytest.raises(ConfigError):
        reader(schema, {"R": dict})
