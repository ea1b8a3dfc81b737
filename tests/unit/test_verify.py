"""Ledger and records held against each other: what is right is never blamed, and each kind of wrong is told apart."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.dedupe import CONTENT, IDENTIFIED, STATE, TRIPLE
from bridge.frame import Disposition, Record
from bridge.ledger import ENTRY, Entry
from bridge.link import Linker
from bridge.verdict import TOLD, Kind, Span, Verdict
from bridge.verify import Verifier

HOUR = 3_600_000
#: Partitions that are read, with records or without.
KNOWN = (("t", 0), ("u", 0))
#: (topic, key, value)
Row = tuple[str, str, str]


def record(row: Row) -> Record:
    """The record of a row."""
    topic, key, value = row
    return Record(topic, key.encode(), value.encode(), [], 0)


class Installation:
    """Entries and records as Kafka would give them."""

    def __init__(
        self, *, window: int = HOUR, span: Span | None = None, limit: int = 1000, identities: int = 10**6
    ) -> None:
        self.verifier = Verifier(
            ledger="ledger", linker=Linker(""), window=window, identities=identities, span=span, limit=limit
        )
        self.topics: dict[tuple[str, int], list[tuple[str, str, int]]] = {}
        self.deleted: set[tuple[str, int]] = set()
        self.compacted = False
        self._offsets = 0
        self._hashes = 0

    def entry(
        self,
        *rows: Row,
        at: int = 1000,
        lane: int = 0,
        frames: Sequence[tuple[int, int, int]] | None = None,
        links: bool = True,
        edge: bool = False,
    ) -> None:
        """An entry that names these rows. frames: (code, identity, content); None: a new one for each row."""
        if frames is None:
            frames = []
            for _ in rows:
                self._hashes += 1
                frames.append((IDENTIFIED | CONTENT, self._hashes, self._hashes))
        entry = Entry(
            kind=ENTRY,
            instance="i",
            at=at,
            codes=bytes(code for code, _, _ in frames),
            hashes=b"".join(TRIPLE.pack(identity, content, 0) for _, identity, content in frames),
            links=Linker("").links(map(record, rows)) if links else b"",
        )
        self._offsets += 1
        self.verifier.entry(lane, self._offsets, at, entry, edge=edge)

    def write(self, *rows: Row, received: int = 1000, partition: int = 0) -> None:
        """Records, whoever wrote them."""
        for topic, key, value in rows:
            self.topics.setdefault((topic, partition), []).append((key, value, received))

    def transaction(self, *rows: Row, **options: Any) -> None:
        """What a bridge does."""
        self.entry(*rows, **options)
        self.write(*rows)

    def judge(self, begin: int | None = None) -> Verdict:
        """The verdict, with all that the tests do not ask for closed."""
        with self.verifier as verifier:
            places = {
                place: verifier.place(*place, timed=True, deleted=place in self.deleted, compacted=self.compacted)
                for place in sorted({*self.topics, *self.deleted, *KNOWN})
            }
            # Partitions are read mixed.
            for at in range(max(map(len, self.topics.values()), default=0)):
                for place, rows in self.topics.items():
                    if at < len(rows):
                        key, value, received = rows[at]
                        places[place].record(at * 2, key.encode(), value.encode(), received)
            return verifier.judge(begin=begin)


def found(verdict: Verdict) -> list[tuple[str, str, int, int]]:
    """What is blamed: kind, topic, partition, offset."""
    return [(str(each.kind), each.topic, each.partition, each.offset) for each in verdict.violations]


def rows(text: str, topic: str = "t", key: str = "k") -> list[Row]:
    """A record for each letter."""
    return [(topic, key, letter) for letter in text]


@pytest.mark.parametrize(
    ("told", "written", "blamed"),
    [
        ("abcdef", "abcdef", []),
        ("", "", []),
        ("abaab", "abaab", []),  # equal records, published as often as the ledger says
        ("abcdef", "abcdeff", [("duplicate", 6)]),
        ("abcdef", "abcdefc", [("duplicate", 6)]),
        ("abcdef", "fabcdef", [("duplicate", 0)]),  # the one out of place is the copy
        ("abcdef", "aebcdef", [("duplicate", 1)]),
        ("abcdef", "abccccdef", [("duplicate", 3), ("duplicate", 4), ("duplicate", 5)]),
        ("abab", "ababa", [("duplicate", 4)]),
        ("abcdef", "abdcef", [("order", 2)]),
        ("abcdef", "afbcde", [("order", 1)]),  # moved forwards: one, not four
        ("abcdef", "bcdefa", [("order", 5)]),
        ("abcdef", "abcxdef", [("outside", 3)]),
        ("abcdef", "abdef", [("missing", None)]),
        ("abcdef", "abdefccx", [("order", 5), ("duplicate", 6), ("outside", 7)]),
        ("abcdef", "", [("missing", None)] * 6),
    ],
)
def test_each_wrong_is_told_apart_and_nothing_else_is_blamed(
    told: str, written: str, blamed: list[tuple[str, int | None]]
) -> None:
    """The fewest records that explain what lies there. The number is that of the record, from 0."""
    case = Installation()
    case.entry(*rows(told[:2]))
    case.entry(*rows(told[2:]))
    case.write(*rows(written))
    verdict = case.judge()
    offsets = [(kind, offset // 2 if kind != "missing" else None) for kind, _, _, offset in found(verdict)]
    assert sorted(offsets, key=repr) == sorted(blamed, key=repr) or (
        # Of two neighbours that were swapped either may be called displaced.
        [kind for kind, _ in offsets] == [kind for kind, _ in blamed] == ["order"]
    )
    assert verdict.good == (not blamed)


@given(st.data())
def test_any_doctoring_is_counted_right(data: st.DataObject) -> None:
    """However many keys, topics, transactions and lanes: copies, strange and removed records are counted exactly."""
    rng = Random(data.draw(st.integers(0, 2**32)))
    case = Installation(limit=rng.choice([1, 7, 1000]))
    stream = [(rng.choice("tu"), rng.choice("abc"), str(number)) for number in range(rng.randint(1, 60))]
    at = 0
    while at < len(stream):
        size = rng.randint(1, 9)
        case.entry(*stream[at : at + size], at=at)
        at += size
    copies, strange, gone = (rng.randint(0, 4) for _ in range(3))
    removed = set(rng.sample(range(len(stream)), min(gone, len(stream))))
    written = [row for number, row in enumerate(stream) if number not in removed]
    for _ in range(copies if written else 0):
        written.insert(rng.randint(0, len(written)), rng.choice(written))
    for number in range(strange):
        written.insert(rng.randint(0, len(written)), ("t", "a", f"strange {number}"))
    case.write(*written)
    verdict = case.judge()
    expected = {
        Kind.DUPLICATE: copies if len(removed) < len(stream) else 0,  # of nothing there is no copy
        Kind.OUTSIDE: strange,
        Kind.MISSING: len(removed),
    }
    assert dict(verdict.counts) == {kind: count for kind, count in expected.items() if count}
    assert verdict.records == len(written)


def test_topics_and_keys_are_apart() -> None:
    """One frame in two layouts is two records; a record under another key or in another topic is none of the ledger's."""
    case = Installation()
    both: list[Row] = [("cs2.x", "k", "v"), ("cs2", "k", "v")]
    case.transaction(*both)
    assert case.judge().good
    case = Installation()
    case.entry(*both)
    case.write(("cs2.x", "other", "v"), ("cs2", "k", "v"))
    assert {kind for kind, *_ in found(case.judge())} == {"outside", "missing"}


def test_lanes_have_no_order_among_each_other() -> None:
    """Two ledger partitions may name records of one key in any order, each its own in its own."""
    case = Installation()
    case.entry(*rows("ab"), lane=0)
    case.entry(*rows("cd"), lane=1)
    case.write(*rows("cadb"))
    verdict = case.judge()
    assert verdict.good
    case = Installation()
    case.entry(*rows("ab"), lane=0)
    case.entry(*rows("cd"), lane=1)
    case.write(*rows("dacb"))
    assert [kind for kind, *_ in found(case.judge())] == ["order"]


class TestTheLedgerItself:
    """A frame that the ledger has published twice."""

    @pytest.mark.parametrize(
        ("one", "two", "again"),
        [
            ((IDENTIFIED | CONTENT, 1, 10), (IDENTIFIED | CONTENT, 1, 10), True),
            ((IDENTIFIED | CONTENT, 1, 10), (IDENTIFIED | CONTENT, 1, 11), False),  # a collision
            ((IDENTIFIED | CONTENT, 1, 10), (IDENTIFIED | CONTENT, 2, 10), False),  # a state that comes back
            ((IDENTIFIED, 1, 10), (IDENTIFIED, 1, 11), True),
            ((STATE | CONTENT, 1, 10), (STATE | CONTENT, 1, 10), False),  # no usable number
            ((IDENTIFIED | CONTENT, 1, 10), (IDENTIFIED | CONTENT | Disposition.UNCHANGED, 1, 10), False),
            ((IDENTIFIED | CONTENT, 1, 10), (IDENTIFIED | CONTENT | Disposition.DUPLICATE, 1, 10), False),
            ((IDENTIFIED | Disposition.DEAD_LETTER, 1, 0), (IDENTIFIED | Disposition.DEAD_LETTER, 1, 0), True),
        ],
    )
    def test_by_identity_and_content(self, one: tuple[int, int, int], two: tuple[int, int, int], again: bool) -> None:  # noqa: FBT001
        """As dedupe would have judged; the second record is to blame."""
        case = Installation()
        case.transaction(*rows("a"), frames=[one])
        published = two[0] & 0b111 in {Disposition.PUBLISHED, Disposition.DEAD_LETTER}
        case.transaction(*rows("b" if published else ""), frames=[two], at=1000 + HOUR // 2)
        assert found(case.judge()) == ([("duplicate", "t", 0, 2)] if again else [])

    def test_not_beyond_the_window(self) -> None:
        """What was forgotten may come again."""
        frame = (IDENTIFIED | CONTENT, 1, 10)
        case = Installation()
        case.transaction(*rows("a"), frames=[frame])
        case.transaction(*rows("b"), frames=[frame], at=1000 + HOUR)
        assert case.judge().good

    def test_not_beyond_the_number_of_identities(self) -> None:
        """Nor where so many others lie between that it was forgotten."""
        frame = (IDENTIFIED | CONTENT, 1, 10)
        for count, good in ((10, False), (120, True)):
            case = Installation(identities=8192 + 100)
            case.transaction(*rows("a"), frames=[frame])
            case.entry(frames=[(IDENTIFIED | CONTENT, 100 + n, 5) for n in range(count)], links=False)
            case.transaction(*rows("b"), frames=[frame])
            assert case.judge().good is good

    def test_across_lanes(self) -> None:
        """A change of the number of lanes must not publish again."""
        frame = (IDENTIFIED | CONTENT, 1, 10)
        case = Installation()
        case.transaction(*rows("a"), frames=[frame], lane=0)
        case.transaction(*rows("b"), frames=[frame], lane=1, at=2000)
        assert found(case.judge()) == [("duplicate", "t", 0, 2)]

    def test_the_entry_is_named_where_the_record_cannot_be_told(self) -> None:
        """With two layouts a frame has two records."""
        frame = (IDENTIFIED | CONTENT, 1, 10)
        case = Installation()
        for value in "ab":
            case.transaction(("t", "k", value), ("u", "k", value), frames=[frame])
        assert found(case.judge()) == [("duplicate", "ledger", 0, 2)]


class TestEdges:
    """What can't be judged is said, and not blamed."""

    def test_records_older_than_the_ledger(self) -> None:
        """Its beginning was deleted."""
        case = Installation()
        case.transaction(*rows("a"))
        case.write(*rows("b"), received=400)
        case.write(*rows("c"), received=600)
        verdict = case.judge(begin=500)
        assert (found(verdict), verdict.older) == ([("outside", "t", 0, 4)], 1)

    def test_records_that_a_topic_no_longer_holds(self) -> None:
        """Missing only from the first one on that is still there."""
        case = Installation()
        case.deleted = {("t", 0), ("gone", 0)}
        case.entry(*rows("ab"), ("gone", "k", "g"), at=1)
        case.entry(*rows("c"), ("u", "k", "u"), at=2)
        case.entry(*rows("def"), at=3)
        case.write(*rows("df"), ("u", "k", "u"))
        verdict = case.judge()
        assert dict(verdict.deleted) == {"t": 4, "gone": 1}
        case = Installation()
        case.deleted = {("t", 0)}
        case.entry(*rows("ab"), at=1)
        case.entry(*rows("cd"), at=2)
        case.entry(*rows("e"), at=3)
        case.write(*rows("cd"))
        verdict = case.judge()
        assert (dict(verdict.deleted), found(verdict)) == ({"t": 2}, [("missing", "ledger", 0, 3)])

    def test_a_compacted_topic_holds_the_last_of_a_key(self) -> None:
        """What else is not there is not missing; what is there is judged as ever."""
        case = Installation()
        case.compacted = True
        case.entry(*rows("abc"))
        case.write(*rows("cx"))
        verdict = case.judge()
        assert (dict(verdict.deleted), found(verdict)) == ({"t": 2}, [("outside", "t", 0, 2)])

    def test_entries_at_the_edge_excuse_and_do_not_accuse(self) -> None:
        """A running bridge goes on while it is proved."""
        case = Installation()
        case.transaction(*rows("a"))
        case.entry(*rows("bc"), edge=True)
        case.write(*rows("b"))
        verdict = case.judge()
        assert verdict.good
        assert verdict.entries == 1

    def test_a_span_judges_its_own_entries_only(self) -> None:
        """By the broker's time of the entry, and for strange records by when they were received."""
        for span, blamed in (
            (Span(), {"missing", "order", "outside", "duplicate"}),
            (Span(since=2000), set()),
            (Span(until=999), set()),
            (Span(since=1000, until=1000), {"missing", "order", "outside", "duplicate"}),
        ):
            case = Installation(span=span)
            case.transaction(*rows("a", key="0"), at=1000)
            case.entry(*rows("bcde"), at=1000)
            case.write(*rows("cbxdd"))
            assert {kind for kind, *_ in found(case.judge())} == blamed, span

    def test_entries_of_a_version_without_links(self) -> None:
        """They are counted, and how far they reach is told, so that their records can be excused."""
        case = Installation()
        case.entry(*rows("ab"), links=False, at=700)
        case.transaction(*rows("c"), at=900)
        case.write(*rows("ab"), received=600)
        assert case.verifier.unlinked_until == 700
        verdict = case.judge(begin=700)
        assert (found(verdict), verdict.unlinked, verdict.older) == ([], 1, 2)

    def test_topics_that_are_not_read(self) -> None:
        """A gateway that left the configuration: its records are not missing."""
        case = Installation()
        case.entry(("elsewhere", "k", "v"))
        verdict = case.judge()
        assert (verdict.good, verdict.strange) == (True, 1)

    def test_only_the_first_are_told(self) -> None:
        """All are counted."""
        case = Installation()
        case.write(*rows("x" * (TOLD + 5)))
        verdict = case.judge()
        assert (verdict.counts[Kind.OUTSIDE], len(verdict.violations)) == (TOLD + 5, TOLD)


def test_frames_are_counted_by_what_became_of_them() -> None:
    """As the ledger says."""
    case = Installation()
    codes = [IDENTIFIED, IDENTIFIED | Disposition.UNCHANGED, IDENTIFIED | Disposition.DEAD_LETTER]
    case.transaction(*rows("ab"), frames=[(code, number, 0) for number, code in enumerate(codes)])
    verdict = case.judge()
    assert verdict.frames == {Disposition.PUBLISHED: 1, Disposition.UNCHANGED: 1, Disposition.DEAD_LETTER: 1}
    assert (verdict.linked, verdict.keys, verdict.entries) == (2, 1, 1)
