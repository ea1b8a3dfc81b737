"""Dead letters are published exactly once, whoever dies, takes over or asks again, and however long it lasts."""

from __future__ import annotations

import copy
import functools
import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest

from bridge import dedupe
from bridge.batch import Batch
from bridge.catalog import Catalog
from bridge.cursors import REPLAYS
from bridge.dedupe import TRIPLE, Window
from bridge.frame import EVENT, STREAM, Frame, Record
from bridge.ledger import ENTRY, FIRST, Entry, Memory
from bridge.pipeline import Pipeline
from bridge.receipt import MARGIN, Outcome, Place, Receipts, decode, is_receipt
from bridge.recovery import GapWriter, Outages
from bridge.revival import BEGIN, END, HOME, Letter, Revival, event, narrow
from bridge.route import Route, Ways
from bridge.witness import Laid, Witness

CATALOG = Catalog.load()
START = 1_779_000_000_000
SPAN = 4_000
REQUESTS = "feedbridge.main.requests"


def route() -> Route:
    """TickTock, one topic for each type."""
    kind = CATALOG.kind("ticktock")
    topics = {name: [(f"cs2.{name}", b"T")] for name in [*kind.types, "unknown"]}
    return Route("cs2", kind, frozenset(), topics, "cs2.dead-letters")


@functools.cache
def ways() -> Ways:
    """Compiled once; they keep nothing that matters."""
    return Ways(route(), seq_scope="global", max_value=1 << 20)


@functools.cache
def pipeline_of(name: str) -> Pipeline:
    """Compiled once for each process; what it keeps is adopted anew."""
    memory = Memory(Window(span=SPAN, max_identities=100_000))
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance=name)
    return Pipeline([route()], memory=memory, outages=outages)


def frame_of(number: int) -> bytes:
    """Every third a state of one of two matches, the others events; all different."""
    ts = f"2026-05-17T06:40:{number // 1000:02d}.{number % 1000:03d}Z"
    kind, data = "event.kill", {"match_id": f"m{number % 2}", "weapon": f"w{number}"}
    if number % 3 == 0:
        kind, data = "match.updated", {"id": f"m{number % 2}", "score_a": number}  # type: ignore[dict-item]
    return json.dumps({"type": kind, "data": data, "meta": {"ts": ts, "seq": number}}).encode()


def laid(number: int, *, received: int, value: bytes | None = None, **headers: str) -> Laid:
    """The dead letter of a frame, at an offset that is its number."""
    raw = frame_of(number) if value is None else value
    told = {"received": str(received), **headers}
    return Laid(place=Place("cs2", 0, number), value=raw, key="cs2", headers=told)


class Installation:
    """Kafka's side of one lane: what is committed. And the dead letters."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = START
        self.ledger: list[tuple[Entry, int]] = []
        self.records: list[Record] = []
        self.receipts = Receipts()
        self.requests: list[list[int]] = []
        self.letters = {number: laid(number, received=START - 10_000 + number) for number in range(1, 25)}

    def commit(self, records: list[Record], entry: Entry) -> None:
        """One transaction."""
        self.ledger.append((copy.deepcopy(entry), self.now))
        for each in records:
            if is_receipt(each.headers):
                self.receipts.take(decode(each.value))
            else:
                self.records.append(each)

    def published(self) -> Counter[int]:
        """How often each frame is."""
        return Counter(int(dict(each.headers)["seq"] or 0) for each in self.records if each.topic != "gaps")


class Process:
    """A journal, a pipeline and a replayer, that may be active, dead, or neither."""

    def __init__(self, name: str, installation: Installation) -> None:
        self.name, self.there = name, installation
        self.journal: list[Frame] = []
        self.position = 0
        self.life = ""
        self.memory = Memory(Window(span=SPAN, max_identities=100_000))
        self.pipeline = pipeline_of(name)
        self.errand: Iterator[None] | None = None

    def _outages(self) -> Outages:
        writer = GapWriter("gaps", b"", CATALOG.own("gap"))
        return Outages(writer, lane=0, instance=self.name, connections=self.memory.connections)

    def take_over(self, *, fresh: bool) -> None:
        """Fence, and read the ledger. fresh: as a new process, which has forgotten all but its journal."""
        there = self.there
        self.life = f"{self.name}-{there.chance.random()}"
        there.commit([], Entry(kind=FIRST, instance=self.name, at=there.now, nonce=self.life, journal=self.name))
        self.memory = Memory(Window(span=SPAN, max_identities=100_000))
        left = self.journal[self.position :]
        since = min(there.now, left[0].received if left else there.now) - SPAN
        for entry, at in there.ledger:
            if at >= since:
                self.memory.take(entry, at)
        if fresh:
            self.pipeline._revival = Revival(topic=REQUESTS, lane=0, lanes=1)
        self.pipeline.adopt(self.memory, self._outages(), journal=self.name)
        self.position = self.memory.resume(self.name, first=self.position, openings=[])
        self.errand = None

    def work(self, *, dies: bool) -> None:
        """One transaction with some of the journal; dies: before it is committed."""
        some = self.journal[self.position : self.position + self.there.chance.randrange(1, 12)]
        if not some:
            return
        batch: Batch = self.pipeline.process(self.position, some, self.there.now)
        if dies:
            return
        entry = Entry(
            kind=ENTRY,
            instance=self.name,
            at=self.there.now,
            journal=self.name,
            position=batch.position,
            codes=bytes(batch.codes),
            hashes=bytes(batch.hashes),
            orders=bytes(batch.orders),
            cursors=self.memory.cursors.drain(self.there.now, SPAN),
        )
        if batch:
            self.there.commit(batch.records, entry)
        self.position = batch.position

    def replay(self) -> None:
        """Go a step further with the requests."""
        if self.errand is None:
            self.errand = self._errand()
        next(self.errand, None)

    def _errand(self) -> Iterator[None]:
        """As `bridge.replayer` does it, step by step."""
        there = self.there
        done = int(self.memory.cursors.get(REPLAYS, "0"))
        while True:
            for number in range(done, len(there.requests)):
                done = number + 1
                if there.receipts.whole(number):
                    continue
                token = f"{self.life}/{number}"
                self._put(BEGIN, token=token, request=number, lives=[self.life])
                yield from self._committed()
                receipts = copy.deepcopy(there.receipts)
                skip = receipts.of(number)
                letters = [there.letters[each] for each in sorted(there.requests[number])]
                witness = Witness([each for each in letters if each.place not in skip], receipts, ways())
                for entry, at in list(there.ledger):
                    witness.take(entry, at)
                witness.judge(0)
                for letter in letters:
                    if letter.place in skip:
                        continue
                    verdict = witness.verdicts.get(letter.place)
                    told = Letter(
                        token=token, partition=0, offset=letter.place.offset, received=letter.received,
                        raw=letter.value or b"", verdict=verdict,
                    )  # fmt: skip
                    self.journal.append(event("cs2", told, lane=0, now=there.now))
                    if there.chance.random() < 0.3:
                        yield
                yield from self._committed()
                self._put(END, token=token)
                yield from self._committed()
            yield

    def _committed(self) -> Iterator[None]:
        end = len(self.journal)
        while self.position < end:
            yield

    def _put(self, name: str, **facts: Any) -> None:
        raw = msgspec.json.encode({"event": name, **facts})
        self.journal.append(Frame("cs2", "", self.there.now, EVENT, raw))


@pytest.mark.parametrize("seed", range(25))
def test_each_frame_is_published_once_among_faults(  # noqa: C901, PLR0912 - one step after the other
    seed: int,
) -> None:
    """Live frames, the same as dead letters and others; requests that overlap; processes that die before or after they
    commit, take over from one another, come back with an old journal; windows that pass meanwhile.
    """  # noqa: D205
    there = Installation(seed)
    chance, processes = there.chance, [Process("a", there), Process("b", there)]
    active = processes[0]
    active.take_over(fresh=True)
    shown: dict[int, int] = {}
    for _ in range(300):
        there.now += chance.choice((1, 20, 200, 2000))
        for number in there.published():
            shown.setdefault(number, there.now)
        match chance.randrange(12):
            case 0:
                there.requests.append(chance.sample(sorted(there.letters), chance.randrange(1, 12)))
            case 1 | 2:
                # What comes again within the window; what comes later than that nobody promises to know.
                number = chance.randrange(1, 40)
                if there.now - shown.get(number, there.now) < SPAN / 4:
                    active.journal.append(Frame("cs2", "list", there.now, STREAM, frame_of(number)))
            case 3:
                active.work(dies=True)
                active = chance.choice(processes)
                active.take_over(fresh=chance.random() < 0.5)
            case 4 if chance.random() < 0.3:
                active = chance.choice(processes)
                active.take_over(fresh=chance.random() < 0.5)
            case 5 | 6 | 7:
                active.work(dies=False)
            case _:
                active.replay()
    there.requests.append(sorted(there.letters))
    for _ in range(2000):
        there.now += 1
        active.replay()
        active.work(dies=False)
        if all(there.receipts.whole(number) for number in range(len(there.requests))):
            break
    else:
        pytest.fail("not carried out")
    found = there.published()
    twice = {
        number: [source(each) for each in there.records if dict(each.headers)["seq"] == b"%d" % number]
        for number, times in found.items()
        if times > 1
    }
    assert not twice
    last = there.receipts.of(len(there.requests) - 1)
    assert last.keys() == {each.place for each in there.letters.values()}
    for number, letter in there.letters.items():
        outcome = last[letter.place].outcome
        assert outcome in {Outcome.PUBLISHED, Outcome.THERE, Outcome.SUPERSEDED}
        assert outcome is not Outcome.SUPERSEDED or number % 3 == 0
        if number % 3:
            assert found[number] == 1, (number, outcome)
    for match in ("m0", "m1"):
        replayed = [
            int(dict(each.headers)["seq"] or 0)
            for each in there.records
            if each.topic == "cs2.match.updated" and each.key == match.encode() and source(each) == b"dead-letter"
        ]
        assert replayed == sorted(replayed), "no state behind a newer one"


def source(record: Record) -> bytes | str | None:
    """The header."""
    return dict(record.headers)["source"]


class TestWitness:
    """What can't be proved unpublished is not published."""

    @staticmethod
    def verdict(
        letter: Laid, *, receipts: Receipts | None = None, known: int = 0, entries: Any = (), older: bool = False
    ) -> Outcome | None:
        """What is said of one letter."""
        witness = Witness([letter], receipts or Receipts(), ways())
        for entry, at in entries:
            witness.take(entry, at)
        witness.judge(known, older=older)
        return witness.verdicts.get(letter.place)

    @staticmethod
    def told(number: int, *, at: int, order: int = 0) -> tuple[Entry, int]:
        """An entry that publishes a frame."""
        sighting = ways().sight(Frame("cs2", "list", at, STREAM, frame_of(number)))
        assert sighting is not None
        state = bool(sighting.traits & dedupe.STATE)
        return Entry(
            kind=ENTRY,
            instance="x",
            at=at,
            codes=bytes([sighting.traits]),
            hashes=TRIPLE.pack(sighting.identity, sighting.content, sighting.entity),
            orders=dedupe.ORDER.pack(order) if state else b"",
        ), at

    def test_what_the_ledger_shows_is_there(self) -> None:
        """However long ago: also where the window has forgotten it."""
        old = START - 30 * 24 * 3_600_000
        assert self.verdict(laid(1, received=old), entries=[self.told(1, at=old + 5)]) is Outcome.THERE
        assert self.verdict(laid(1, received=old), entries=[self.told(2, at=old + 5)]) is None

    def test_older_than_the_ledger_is_too_old(self) -> None:
        """It may have been published since, and nobody knows any more."""
        assert self.verdict(laid(1, received=START), known=START) is Outcome.OLD
        assert self.verdict(laid(1, received=START + 2 * MARGIN), known=START) is None
        # Whoever asks for it takes the risk for events; a state of so long ago is of no use.
        assert self.verdict(laid(1, received=START), known=START, older=True) is None
        assert self.verdict(laid(3, received=START), known=START, older=True) is Outcome.OLD

    def test_older_than_the_receipts_is_too_old(self) -> None:
        """It may have been replayed before."""
        assert self.verdict(laid(1, received=START), receipts=Receipts(START)) is Outcome.OLD
        assert self.verdict(laid(1, received=START + 2 * MARGIN), receipts=Receipts(START)) is None
        assert self.verdict(laid(1, received=0)) is Outcome.OLD

    @pytest.mark.parametrize(
        ("order", "at", "superseded"),
        [(2, -1, True), (1, 1, True), (1, -1, False), (0, 1, True), (0, -1, False)],
        ids=["newer by its own time", "as new, later", "as new, before", "no time, later", "no time, before"],
    )
    def test_a_state_behind_a_newer_one_is_superseded(self, order: int, at: int, *, superseded: bool) -> None:
        """By the gateway's own times; where they don't tell, by when it was published."""
        letter = laid(3, received=START)
        sighting = ways().sight(letter.frame())
        assert sighting is not None
        own = sighting.order(letter.received)
        assert own
        entry = self.told(9, at=START + at, order=own + order - 1 if order else 0)
        assert self.verdict(letter, entries=[entry]) is (Outcome.SUPERSEDED if superseded else None)

    def test_letters_of_one_request_are_foretold_together(self) -> None:
        """Each as if those before it were published: the second of one frame, or of one state, would be there already."""
        again, same = frame_of(3), frame_of(3).replace(b'"seq": 3', b'"seq": 99')
        letters = [laid(number, received=START, value=value) for number, value in enumerate([again, again, same], 1)]
        witness = Witness(letters, Receipts(), ways())
        witness.judge(0)
        assert witness.verdicts == {}
        assert [witness.next(each.place) for each in letters] == [None, Outcome.THERE, Outcome.THERE]

    def test_a_letter_that_is_cut_or_gone(self) -> None:
        """Nothing can be made of it here."""
        assert self.verdict(laid(1, received=START, sha256="x", size="9")) is Outcome.CUT
        assert self.verdict(Laid(place=Place("cs2", 0, 1), value=None)) is Outcome.GONE


def test_a_letter_is_for_one_lane_alone() -> None:
    """Events stand in all journals; what is for one lane does not."""
    letter = event("cs2", Letter(token="t", partition=0, offset=1), lane=1, now=START)
    other = Frame("cs2", "", START, EVENT, b'{"event":"replay"}')
    live = Frame("cs2", f"{HOME}0", START, STREAM, b"{}")
    assert narrow({0: [letter, other, live], 1: [letter, other]}) == {0: [other, live], 1: [letter, other]}


def begun(
    number: int, raw: bytes, pipeline: Pipeline, memory: Memory, *, received: int = START, first: int = 0
) -> Batch:
    """A batch with a run of one letter."""
    assert memory.last is not None
    told = Letter(token="t", partition=0, offset=number, received=received, raw=raw)
    begin = {"event": BEGIN, "token": "t", "request": 7, "lives": [memory.last.nonce]}
    frames = [
        Frame("cs2", "", START, EVENT, msgspec.json.encode(begin)),
        event("cs2", told, lane=0, now=START),
        Frame("cs2", "", START, EVENT, msgspec.json.encode({"event": END, "token": "t"})),
    ]
    return pipeline.process(first, frames, START)


def active() -> tuple[Pipeline, Memory]:
    """A pipeline within a life."""
    memory = Memory(Window(span=SPAN, max_identities=1000))
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me")
    pipeline = pipeline_of("me")
    pipeline._revival = Revival(topic=REQUESTS)
    memory.take(Entry(kind=FIRST, instance="me", at=START, nonce="life"), START)
    pipeline.adopt(memory, outages)
    return pipeline, memory


def test_a_record_looks_as_promised() -> None:
    """Source and time received of the original; the time of an old record is that of the replay, or retention would take it."""
    pipeline, memory = active()
    old = START - 30 * 24 * 3_600_000
    raw = frame_of(1).replace(b"2026-05-17", b"2026-04-17")
    record, receipt = begun(1, raw, pipeline, memory, received=old).records
    assert record.topic == "cs2.event.kill"
    assert record.key == b"m1"
    assert dict(record.headers)["source"] == b"dead-letter"
    assert dict(record.headers)["received"] == str(old).encode()
    assert record.timestamp == START
    assert receipt.topic == REQUESTS
    told = decode(receipt.value)
    assert (told.request, told.done, [each.outcome for each in told.lines]) == (7, True, [Outcome.PUBLISHED])
    assert memory.cursors[REPLAYS] == "8"


def test_what_is_still_wrong_makes_no_second_dead_letter() -> None:
    """Also where the window of equal bytes has passed: the receipt says why, and the ledger nothing."""
    pipeline, memory = active()
    batch = begun(1, b'{"type": "event.kill", "data": {"match_id": 5}}', pipeline, memory)
    [receipt] = batch.records
    [line] = decode(receipt.value).lines
    assert (line.outcome, line.why) == (Outcome.DEAD, "wrong_type data.match_id")
    assert not batch.codes
    assert pipeline.drain_dead() == {}
    assert pipeline.drain_replayed() == {("cs2", Outcome.DEAD): 1}


def test_what_an_earlier_life_left_is_not_taken_up() -> None:
    """Another process may have replayed it since."""
    pipeline, memory = active()
    memory.take(Entry(kind=FIRST, instance="me", at=START, nonce="next"), START)
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me")
    begin = {"event": BEGIN, "token": "t", "request": 7, "lives": ["life"]}
    left = [
        Frame("cs2", "", START, EVENT, msgspec.json.encode(begin)),
        event("cs2", Letter(token="t", partition=0, offset=1, received=START, raw=frame_of(1)), lane=0, now=START),
    ]
    pipeline.adopt(memory, outages)
    assert pipeline.process(0, left, START).records == []


def test_a_record_that_kafka_refuses_stays_dead() -> None:
    """It ends one life of the lane, not one after the other."""
    pipeline, memory = active()
    begun(1, frame_of(1), pipeline, memory)
    pipeline.poisoned[1] = ("refused_by_kafka", "too large")
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me")
    memory = Memory(Window(span=SPAN, max_identities=1000))
    memory.take(Entry(kind=FIRST, instance="me", at=START, nonce="next"), START)
    pipeline.adopt(memory, outages)
    # What ended that life is passed over; the request is carried out again.
    left = begun(1, frame_of(1), pipeline, memory)
    assert [decode(each.value).lines for each in left.records] == [[]]
    [receipt] = begun(1, frame_of(1), pipeline, memory, first=3).records
    [line] = decode(receipt.value).lines
    assert (line.outcome, line.why) == (Outcome.DEAD, "refused_by_kafka")
