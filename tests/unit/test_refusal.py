"""What is refused teaches what not to try, in few transactions, and only for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from confluent_kafka import KafkaError

from bridge import refusal
from bridge.batch import Batch
from bridge.errors import Unreachable
from bridge.frame import Record
from bridge.publisher import Aborted, Refusal
from bridge.refusal import Means, Refusals, room
from bridge.route import MAX_VALUE

LARGE = KafkaError.MSG_SIZE_TOO_LARGE
WHY = "Broker: Message size too large"


class Piping:
    """The pipeline, as far as it is told. own: topics whose sizes it does not heed."""

    def __init__(self, *own: str) -> None:
        self.own = own
        self.condemned: dict[int, str] = {}
        self.limited: Mapping[str, int] = {}

    def limits(self, topic: str) -> bool:
        """Whether it heeds sizes."""
        return topic not in self.own

    def limit(self, limits: Mapping[str, int]) -> None:
        """Take them."""
        self.limited = dict(limits)

    def condemn(self, positions: Mapping[int, str], _topic: str) -> None:
        """Take positions."""
        self.condemned |= positions


class Searching:
    """A publisher to a topic that takes values of `takes` bytes alone, and none that say `bad`. It counts its transactions."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.transactions = 0
        self.sent = 0

    def fence(self) -> None:
        """A fresh one."""

    def first_refused(self, records: Sequence[Record]) -> int | None:
        """Send one after the other."""
        self.transactions += 1
        for index, each in enumerate(records):
            self.sent += 1
            if len(each.value) > self.takes:
                return index
        return None

    def refusals(self, records: Iterable[Record]) -> list[Refusal]:
        """Send them together."""
        self.transactions += 1
        return [
            Refusal(each.topic, each.key, each.value, KafkaError.INVALID_RECORD, "", certain=True)
            for each in records
            if b"bad" in each.value
        ]


def batch(*values: bytes, topic: str = "t") -> Batch:
    """Records of frames from position 100 on."""
    return Batch(
        0,
        0,
        records=[Record(topic, b"k", value, [], 0) for value in values],
        owners=list(range(100, 100 + len(values))),
    )


def sizes(*of: int) -> Batch:
    """Records of these sizes."""
    return batch(*(bytes(size) for size in of))


def refused(made: Batch, code: int = LARGE, *, certain: bool = False) -> Aborted:
    """All of the batch was refused."""
    why = WHY if code == LARGE else "Broker: Invalid timestamp"
    found = [Refusal(each.topic, each.key, each.value, code, why, certain=certain) for each in made.records]
    return Aborted(Unreachable("text"), code, found)


def meet(  # noqa: PLR0917
    refusals: Refusals, made: Batch, publisher: Searching, piping: Piping, aborted: Aborted | None = None, at: float = 0
) -> bool:
    """Learn from the refusal of a batch."""
    search: Any = lambda: closed(publisher)  # noqa: E731
    pipeline: Any = piping
    return refusals.meet(made, aborted or refused(made), Means(pipeline, search, at))


def closed(publisher: Searching) -> AbstractContextManager[Searching]:
    """As `contextlib.closing`."""
    return nullcontext(publisher)


@pytest.mark.parametrize("limit", [0, 1, 500, 600, 2_000, 65_536, 1_000_000, 16 << 20, 1 << 30])
def test_what_fits_leaves_room_for_key_and_headers(limit: int) -> None:
    """At least half a kilobyte, at most what any record may have."""
    assert 0 <= room(limit) <= max(min(limit - 512, MAX_VALUE), 0)


def test_a_topic_that_says_how_much_it_takes_is_believed() -> None:
    """Nothing is searched for, and no batch is larger."""
    refusals = Refusals({"t": 16 << 20}, ask=lambda topics: dict.fromkeys(topics, 8000))
    publisher, piping = Searching(0), Piping()
    assert refusals.largest is None
    assert meet(refusals, sizes(10, 20_000), publisher, piping)
    assert publisher.transactions == 0
    assert piping.limited == refusals.limits == {"t": 6000}
    assert refusals.largest == 7500


@pytest.mark.parametrize(("limit", "most"), [(2_000, 500), (32_768, 1_920), (900_000, 52_734), (16 << 20, sys.maxsize)])
def test_small_batches_make_small_transactions(limit: int, most: int) -> None:
    """Kafka takes long for many batches, and the standby must not wait for a commit for longer than it has patience."""
    assert Refusals({"t": limit}).most == most


@pytest.mark.parametrize("takes", [*range(0, 4000, 371), 3998])
def test_the_limit_is_found_in_few_transactions(takes: int) -> None:
    """Of thousands of sizes the smallest that is refused; larger ones are not tried from then on."""
    refusals, publisher, piping = Refusals(), Searching(takes), Piping()
    assert meet(refusals, sizes(*range(1, 4001)), publisher, piping)
    assert refusals.limits == piping.limited == {"t": takes}
    assert publisher.transactions <= 3
    assert publisher.sent <= 250


def test_records_that_are_taken_alone_go_in_smaller_batches() -> None:
    """None of them is refused for that."""
    refusals, piping = Refusals(), Piping()
    before = 1 << 30
    for _ in range(3):
        assert meet(refusals, sizes(*[1000] * 50), Searching(9999), piping)
        assert refusals.largest is not None
        assert refusals.largest < before
        before = refusals.largest
    assert not refusals.limits
    assert not piping.condemned


def test_what_is_no_frames_record_is_buried_one_by_one() -> None:
    """A topic whose sizes nobody heeds, such as that of the gaps."""
    refusals, piping = Refusals(), Piping("t")
    assert meet(refusals, sizes(10, 90, 20, 80), Searching(50), piping)
    assert piping.condemned == {101: WHY, 103: WHY}


def test_a_ledger_entry_teaches_nothing() -> None:
    """It is no record of the batch: that must be smaller."""
    aborted = Aborted(Unreachable("text"), LARGE, [Refusal("ledger", b"", b"", LARGE, WHY, certain=True)])
    assert not meet(Refusals(), sizes(10), Searching(0), Piping(), aborted)
    assert not meet(Refusals(), sizes(10), Searching(0), Piping(), Aborted(Unreachable("text"), LARGE))


@pytest.mark.parametrize("certain", [True, False])
def test_invalid_records_are_buried_in_one_go(*, certain: bool) -> None:
    """Where Kafka blames a whole batch they are found in one more transaction."""
    made = batch(b"1", b"bad 2", b"3", b"bad 4")
    bad = batch(b"bad 2", b"bad 4")
    publisher, piping = Searching(9999), Piping()
    aborted = refused(bad if certain else made, KafkaError.INVALID_TIMESTAMP, certain=certain)
    assert meet(Refusals(), made, publisher, piping, aborted)
    assert piping.condemned == dict.fromkeys((101, 103), "Broker: Invalid timestamp")
    assert publisher.transactions == (0 if certain else 1)


class TestAgain:
    """Who raised a limit need not restart the bridge."""

    def test_a_topic_that_refused_is_asked_again(self) -> None:
        """Not before its time, and only if it refused something."""
        told = {"t": 8000}
        asked = []

        def ask(topics: Iterable[str]) -> Mapping[str, int]:
            asked.append(sorted(topics))
            return told

        refusals = Refusals({"t": 8000, "other": 9000}, ask=ask)
        assert not refusals.look(1e9)
        refusals.count({"t": 3}, 1234, 10.0)
        assert not refusals.look(10.0 + refusal.AGAIN - 1)
        assert not refusals.look(10.0 + refusal.AGAIN)
        told["t"] = 16 << 20
        assert refusals.look(10.0 + 2 * refusal.AGAIN)
        assert asked == [["t"], ["t"]]
        assert refusals.limits["t"] == MAX_VALUE
        [status] = refusals.status()
        assert status == {"topic": "t", "why": WHY, "limit": 16 << 20, "size": True, "frames": 3, "at": 1234}

    def test_where_it_can_not_be_asked_larger_records_are_tried_again(self) -> None:
        """After a while; a broker that does not answer is no reason to."""

        def ask(_topics: Iterable[str]) -> Mapping[str, int]:
            raise Unreachable("away", where="kafka")

        refusals = Refusals(ask=ask)
        assert meet(refusals, sizes(10, 90), Searching(50), Piping(), at=5.0)
        refusals.count({"t": 1}, 1234, 5.0)
        assert not refusals.look(5.0 + refusal.AGAIN)
        assert refusals.limits == {"t": 89}
        assert refusals.look(5.0 + refusal.BLIND + refusal.AGAIN)
        assert not refusals.limits
