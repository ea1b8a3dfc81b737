"""Ledger entries survive their encoding, and add up to what a successor must know."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import msgspec
import pytest

from bridge.catalog import Catalog, parsing_canonical_form
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.dedupe import CONTENT, IDENTIFIED, ORDER, TRIPLE, Window
from bridge.errors import BadData
from bridge.frame import Headers
from bridge.ledger import ENTRY, EXTENDS, FIRST, HEARTBEAT, Connection, Entry, EntryCodec, Gap, Keys, Learned, Memory

CATALOG = Catalog.load()
SCHEMA = json.loads(json.dumps(CATALOG.own("ledger")))
OLDER = CATALOG.older("ledger")
CODEC = EntryCodec(SCHEMA, OLDER)

FULL = Entry(
    kind=ENTRY,
    instance="a",
    at=1_700_000_000_123,
    generation=2,
    lanes=4,
    journal="j",
    position=17,
    codes=bytes([0x30, 0x3A]),
    hashes=TRIPLE.pack(1, 2, 3) + TRIPLE.pack(2**64 - 1, 5, 6),
    cursors={"cs2/settlements": "481234"},
    learned=[Learned("cs2", "ofr_1", "match")],
    connections=[Connection("cs2", "list", up=True, last_frame=5, position=17, last_seq="9", gone=True)],
    gaps=[
        Gap("g1", "cs2", "list", 5, "silence"),
        Gap("g2", "m", "s1", 5, "book_sequence", "token", 9, "4", "filled", 3, 2, "snapshot"),
    ],
    chains=bytes(range(24)),
    orders=ORDER.pack(1_700_000_000_000),
)


EMPTY = Entry(kind=ENTRY, instance="", at=0)


def memory() -> Memory:
    """An empty one."""
    return Memory(Window(span=1000, max_identities=100))


@pytest.mark.parametrize("entry", [FULL, Entry(kind=FIRST, instance="a", at=1, nonce="n")])
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    """Every field, also the empty ones."""
    assert CODEC.decode(CODEC.encode(entry)) == entry


def test_an_entry_can_be_read_by_anybody_with_the_schema() -> None:
    """Plain Avro behind ten bytes of single-object framing; times are timestamps."""
    schema = json.loads(json.dumps(Catalog.load().own("ledger")))
    found = fastavro.schemaless_reader(io.BytesIO(CODEC.encode(FULL)[10:]), schema, None)
    assert isinstance(found, dict)
    assert found["instance"] == "a"
    assert found["at"].isoformat() == "2023-11-14T22:13:20.123000+00:00"


@pytest.mark.parametrize("value", [b"", b"rubbish", CODEC.encode(FULL)[:12], b"\xc3\x01" + bytes(20)])
def test_what_is_no_entry_is_refused(value: bytes) -> None:
    """A lane must never go on from a ledger it could not read."""
    with pytest.raises(BadData):
        CODEC.decode(value)


def former(version: int) -> EntryCodec:
    """The codec of an older version of feedbridge: it knows nothing of what came after."""
    return EntryCodec(OLDER[version - 1], OLDER[: version - 1])


def written(schema: Any, entry: Entry) -> bytes:
    """An entry as a process of another version writes it, which knows only the fields of its schema."""
    names = {field["name"] for field in schema["fields"]}
    plain = {name: value for name, value in msgspec.to_builtins(entry, builtin_types=[bytes]).items() if name in names}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, plain)
    return SINGLE_OBJECT + fingerprint(schema) + out.getvalue()


@pytest.mark.parametrize("version", range(1, len(OLDER) + 1))
def test_an_entry_of_an_older_version_is_read(version: int) -> None:
    """The processes of an installation are upgraded one after the other, on one ledger."""
    schema: Any = json.loads(json.dumps(OLDER[version - 1]))
    found = CODEC.decode(written(schema, FULL))
    names = {field["name"] for field in schema["fields"]}
    assert {name: getattr(found, name) for name in names} == {name: getattr(FULL, name) for name in names}
    assert all(getattr(found, name) == getattr(EMPTY, name) for name in set(Entry.__struct_fields__) - names)


@pytest.mark.parametrize("version", range(1, len(OLDER) + 1))
def test_an_older_version_reads_our_entries(version: int) -> None:
    """It passes over the fields that it does not know; the header says that there is nothing else new."""
    codec = former(version)
    known = {field["name"] for field in OLDER[version - 1]["fields"]}
    found = codec.decode(CODEC.encode(FULL), CODEC.headers)
    assert all(getattr(found, name) == getattr(FULL, name) for name in known)
    assert all(getattr(found, name) == getattr(EMPTY, name) for name in set(Entry.__struct_fields__) - known)


def test_an_entry_of_a_newer_version_is_read() -> None:
    """One that adds a field to ours; without the header that says so nobody knows what it is."""
    newer = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "more", "type": "string", "default": "news"}]}
    theirs = EntryCodec(SCHEMA, OLDER)
    value = written(newer, FULL)
    bases = theirs.headers[0][1] if theirs.headers else b""
    assert isinstance(bases, bytes)
    assert CODEC.decode(value, [(EXTENDS, bases + fingerprint(SCHEMA))]) == FULL
    # Ours is not among them: only what the older ones have is sure.
    assert CODEC.decode(value, [(EXTENDS, bases)]).orders == b""
    wrong: list[Headers | None] = [None, [], [(EXTENDS, b"12345678")], [(EXTENDS, b"")], [(EXTENDS, None)]]
    for headers in wrong:
        with pytest.raises(BadData, match="unknown schema"):
            CODEC.decode(value, headers)


def test_schemas_of_the_ledger_only_grow_at_their_end() -> None:
    """An older version reads the fields it knows, and passes over what follows."""
    before: list[Any] = []
    for schema in (*OLDER, SCHEMA):
        fields = json.loads(parsing_canonical_form(schema))["fields"]
        assert fields[: len(before)] == before
        assert len(fields) > len(before)
        before = fields
    assert fingerprint(OLDER[0]).hex() == "4d212f29f80dfdf8"


def test_entries_add_up() -> None:
    """Window, ids, cursors, connections, positions: the last word on each."""
    adding = memory()
    adding.take(FULL, 10)
    adding.take(Entry(kind=HEARTBEAT, instance="a", at=1, journal="j", position=20, lanes=4, generation=1), 20)
    assert len(adding.window) == 2
    assert adding.window.admit(IDENTIFIED | CONTENT, 1, 2, 0, 21) & 7 == 4
    assert adding.learned.get("cs2", "ofr_1") == "match"
    assert adding.cursors == {"cs2/settlements": "481234"}
    assert adding.connections["cs2", "list"].up
    assert (adding.generation, adding.lanes, adding.entries) == (2, 4, 2)
    assert adding.last is not None
    assert adding.last.kind == HEARTBEAT


def test_ids_are_said_again_before_a_successor_would_miss_them() -> None:
    """Once per half window while they are seen; forgotten a window after the last time."""
    keys = Keys()
    said = [at for at in range(0, 1000, 50) if keys.learn("cs2", "o1", "m1", at, span=400)]
    assert said == [0, 200, 400, 600, 800]
    assert keys.learn("cs2", "o1", "m2", 810, span=400)
    assert keys.get("cs2", "o1") == "m2"
    keys.learn("cs2", "o2", "m2", 1300, span=400)
    assert keys.get("cs2", "o1") is None
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("position", "writer", "first", "openings", "expected"),
    [
        pytest.param(None, "", 5, [(50, "me")], 5, id="nothing known: all that the journal holds"),
        pytest.param(20, "before", 5, [(50, "me")], 20, id="an earlier process of this journal committed so far"),
        pytest.param(20, "before", 30, [(50, "me")], 30, id="older frames are gone already"),
        pytest.param(60, "before", 5, [(50, "me")], 50, id="the machine lost what was committed: new frames are new"),
        pytest.param(60, "me", 5, [(50, "me")], 60, id="this process committed them itself"),
        pytest.param(60, "dead", 5, [(50, "dead"), (70, "me")], 60, id="it died before it noted that it had committed"),
        pytest.param(90, "dead", 5, [(50, "dead"), (70, "me")], 70, id="and the machine lost some of that"),
        pytest.param(60, "before", 5, [(50, "dead"), (55, "me")], 50, id="what the dead one received is new too"),
        pytest.param(60, "before", 5, [(50, "dead"), (40, "me")], 40, id="and was lost with what stood before"),
        pytest.param(60, "before", 5, [], 60, id="all who opened it have committed since"),
    ],
)
def test_a_journal_goes_on_where_the_ledger_says(
    position: int | None, writer: str, first: int, openings: list[tuple[int, str]], expected: int
) -> None:
    """Neither skips a frame nor takes one twice."""
    adding = memory()
    if position is not None:
        adding.take(Entry(kind=ENTRY, instance=writer, at=1, journal="j", position=position), 1)
    adding.take(Entry(kind=FIRST, instance="me", at=1, journal="j"), 2)
    assert adding.resume("j", first=first, openings=openings) == expected


def test_a_connection_that_is_gone_does_not_make_its_gateway_down() -> None:
    """A match that is over has no socket; else a standby would take over for it, again and again."""
    adding = memory()
    assert not adding.connected("cs2")
    adding.connections["cs2", "m1"] = Connection("cs2", "m1", up=False, gone=True)
    assert not adding.connected("cs2")
    adding.connections["cs2", "list"] = Connection("cs2", "list", up=True)
    assert adding.connected("cs2")
    adding.connections["cs2", "m2"] = Connection("cs2", "m2", up=False, gap="g")
    assert not adding.connected("cs2")


def test_gaps_are_known_until_they_are_filled() -> None:
    """The last word on each; a successor has nothing to add to one that is filled."""
    adding = memory()
    adding.take(FULL, 1)
    assert list(adding.gaps) == ["g1"]
    lost = Gap("g1", "cs2", "list", 5, "silence", until=9, state="lost")
    adding.take(Entry(kind=HEARTBEAT, instance="a", at=1, gaps=[lost]), 2)
    assert list(adding.gaps.values()) == [lost]
    filled = Gap("g1", "cs2", "list", 5, "silence", until=9, state="filled")
    adding.take(Entry(kind=HEARTBEAT, instance="a", at=1, gaps=[filled]), 3)
    assert not adding.gaps


class TestBlind:
    """Frames of a time of which the ledger does not tell what others published can't be proved unpublished."""

    def entry(self, journal: str, *identities: int) -> Entry:
        """An entry that published these."""
        hashes = b"".join(TRIPLE.pack(each, 0, 0) for each in identities)
        return Entry(
            kind=ENTRY, instance=journal, at=1, journal=journal, codes=b"\x10" * len(identities), hashes=hashes
        )

    def test_a_ledger_that_is_whole_proves_everything(self) -> None:
        """However much others published."""
        adding = memory()
        adding.take(self.entry("theirs", 1, 2), 100)
        assert adding.blind("mine", 50) is None

    def test_entries_deleted_by_the_retention_prove_nothing(self) -> None:
        """The first entry that is left begins what is known; without any, nothing is."""
        adding = memory()
        adding.known_since = 9000
        assert adding.blind("mine", 0) == 9000
        adding.take(self.entry("mine", 1), 500)
        adding.take(self.entry("mine", 2), 600)
        assert adding.blind("mine", 0) == 500

    def test_what_the_window_forgot_of_others_proves_nothing(self) -> None:
        """Up to their last entry, or to where the window reaches; also what is about to be forgotten."""
        adding = Memory(Window(span=64_000, max_identities=3 * 4096))
        for at in range(5):
            adding.take(self.entry("theirs", *range(at * 4096, (at + 1) * 4096)), 1000 * (at + 1))
        assert adding.blind("mine", 0) == 3000
        assert adding.blind("mine", 1) == 4000
        assert adding.blind("mine", 90_000) == 5000
        assert adding.blind("theirs", 0) is None

    def test_what_the_window_forgot_of_ourselves_is_told_by_the_position(self) -> None:
        """A backlog larger than the window is published, not set aside."""
        adding = Memory(Window(span=64_000, max_identities=100))
        adding.take(self.entry("theirs", 1), 500)
        for at in range(5):
            adding.take(self.entry("mine", *range(at * 4096, (at + 1) * 4096)), 1000 * (at + 1))
        assert adding.blind("mine", 5000) == 500


def test_the_shipped_schema_is_what_the_code_writes() -> None:
    """A field that one of the two lacks would be lost."""
    names = [field["name"] for field in Catalog.load().own("ledger")["fields"]]
    assert sorted(names) == sorted(Entry.__struct_fields__)
