"""Every process sends a frame to the same lane, by what the frame itself says; what concerns all lanes reaches all."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.catalog import Catalog
from bridge.dedupe import Window
from bridge.errors import BadData
from bridge.frame import EVENT, STREAM, Frame
from bridge.lanes import SEEN_EVERY, Origin, Router, lane_of, moved, murmur2, unwrap, wrap
from bridge.ledger import Memory
from bridge.pipeline import Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import Route, Ways
from bridge.sim import PredictStreetKnobs, play
from tests.audit.frames import FAULTS

CATALOG = Catalog.load()
NOW = 1_779_000_000_000


def route(gateway: str, kind: str) -> Route:
    """Topics named after gateway and type."""
    topics = {name: [(f"{gateway}.{name}", b"")] for name in [*CATALOG.kind(kind).types, "unknown"]}
    return Route(gateway, CATALOG.kind(kind), frozenset(), topics, f"{gateway}.dead-letters")


def ways() -> dict[str, Ways]:
    """One gateway of TickTock."""
    return {"cs2": Ways(route("cs2", "ticktock"), seq_scope="global", max_value=1 << 20)}


def router(count: int = 2, held: tuple[int, ...] | None = None) -> Router:
    """Lanes of a process."""
    return Router(count=count, held=held or tuple(range(count)), ways=ways(), span=3_600_000)


def frame(raw: Any, at: int = NOW, *, connection: str = "list") -> Frame:
    """A frame of TickTock; not text: made JSON."""
    return Frame("cs2", connection, at, STREAM, raw if isinstance(raw, bytes) else json.dumps(raw).encode())


def kill(match: str, seq: int = 1) -> dict[str, Any]:
    """A frame that carries its key."""
    return {"type": "event.kill", "data": {"match_id": match}, "meta": {"ts": "2026-05-17T06:39:59Z", "seq": seq}}


def market(market_id: str, match: str | None = None, seq: int = 1) -> dict[str, Any]:
    """A frame that may or may not carry its key."""
    data = {"id": market_id} | ({"match_id": match} if match else {})
    return {"type": "market.updated", "data": data, "meta": {"ts": "2026-05-17T06:39:59Z", "seq": seq}}


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, signed: int) -> None:
    """The values of Kafka's own tests (UtilsTest.testMurmur2), made positive as the partitioner does."""
    assert murmur2(key) == signed & 0x7FFFFFFF


@given(st.text(), st.integers(1, 1000))
def test_every_key_has_a_lane(key: str, count: int) -> None:
    """Any text at all, lone surrogates included."""
    assert 0 <= lane_of(key, count) < count


@pytest.mark.parametrize(
    ("gateway", "kind", "world"), [("cs2", "ticktock", "ticktock"), ("pm", "predictstreet-market", "predictstreet")]
)
@pytest.mark.parametrize("knobs", [None, PredictStreetKnobs(generation=1)])
def test_a_frame_goes_by_the_key_that_its_record_has(gateway: str, kind: str, world: Any, knobs: Any) -> None:
    """For all types and faults: the lane's key is the record's, dead letters included, where nothing is looked up.

    So are the ids that it teaches those that the lane learns.
    """
    placed = Ways(route(gateway, kind), seq_scope="global", max_value=1 << 20)
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me")
    pipeline = Pipeline([route(gateway, kind)], memory=empty(), outages=outages)
    if world == "ticktock":
        knobs = None
    for sent in islice(play(world, seed=3, faults=FAULTS, knobs=knobs, start=NOW, rate=1000.0), 800):
        pipeline.adopt(empty(), outages)
        batch = pipeline.process(0, [Frame(gateway, "list", NOW, STREAM, sent.raw)], NOW)
        key, pairs = placed.place(sent.raw)
        for record in batch.records:
            # The record's own lesson may already have been applied to its key.
            own = key or gateway
            assert record.key.decode(errors="replace") in {own, dict(pairs).get(own, own)}
            if not record.topic.endswith("dead-letters"):
                assert {(each.id, each.key) for each in batch.learned} == set(pairs)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"type":"event.kill","data":{{"match_id":{value}}}}}'
        for value in (
            '"m"',
            '"\\u006d"',
            '"é"',
            "12",
            "-0",
            "1.5",
            "1e3",
            "null",
            "true",
            '""',
            "[1]",
            '{"a":1}',
            "123456789012345678901",
        )
    ]
    + [
        '{"type":"market.updated","data":{"id":"a","match_id":""}}',
        '{"type":"never.heard.of","data":{"id":7}}',
        '{"type":"event.kill","data":[]}',
        '{"type":"event.kill","data":{"match_id":"a","match_id":"b"}}',
        '{"type":7,"data":{"match_id":"a"}}',
        '{"type":"event.kill"}',
        '{"type":"event.kill","data":{"match_id":"a"}',
        "[]",
        "",
    ],
)
def test_the_short_reading_finds_what_the_long_one_does(text: str) -> None:
    """Whatever JSON allows in the place of a key."""
    placed = ways()["cs2"]
    assert placed.place(text.encode())[0] == placed.guess(text.encode())[1]


def empty() -> Memory:
    """Nothing published, nothing learned."""
    return Memory(Window(span=3_600_000, max_identities=1000))


def test_a_hint_or_what_was_learned_moves_no_frame() -> None:
    """Another process may have neither."""
    plain, hinted = frame(market("offer-1")), Frame("cs2", "detail", NOW, STREAM, frame(market("offer-1")).raw, "match")
    first = router(8)
    alone = first.spread([plain])
    first.spread([frame(market("offer-1", "match"))])
    for later in ([plain], [hinted]):
        found = first.spread(later)
        assert [lane for lane, part in found.items() if later[0] in part] == [
            lane for lane, part in alone.items() if plain in part
        ]


def test_frames_of_lanes_that_are_not_held_are_dropped() -> None:
    """The others keep their order."""
    frames = [frame(kill(f"match-{number % 5}", number)) for number in range(40)]
    whole = router(3).spread(frames)
    assert sum(map(len, whole.values())) >= len(frames)
    held = router(3, held=(1,)).spread(frames)
    assert set(held) == {1}
    assert held[1] == whole[1] == [each for each in frames if each in whole[1]]


def test_events_reach_every_lane() -> None:
    """A connection that goes down may miss frames of any."""
    event = Frame("cs2", "list", NOW, EVENT, b'{"event":"down"}')
    assert router(3).spread([event]) == {0: [event], 1: [event], 2: [event]}


def test_ids_that_a_frame_teaches_are_told_to_the_other_lanes_once() -> None:
    """A frame without its key may be another lane's than the one that teaches it."""
    first = router(4)
    found = first.spread([frame(market("offer-1", "match-1"))])
    home = lane_of("match-1", 4)
    for lane, part in found.items():
        told = [msgspec.json.decode(each.raw) for each in part if each.source == EVENT and b"learn" in each.raw]
        assert told == ([] if lane == home else [{"event": "learn", "pairs": {"offer-1": "match-1"}}])
    again = first.spread([frame(market("offer-1", "match-1", seq=2))])
    assert not [each for part in again.values() for each in part if b"learn" in each.raw]


def test_lanes_without_frames_hear_now_and_then_that_a_connection_flows() -> None:
    """Not each time: a quiet lane would be as busy as the others."""
    first = router(2)
    home, other = lane_of("m", 2), 1 - lane_of("m", 2)
    found = first.spread([frame(kill("m"))])
    assert [each.raw for each in found[other]] == [b'{"event":"seen"}']
    assert len(found[home]) == 1
    assert first.spread([frame(kill("m", 2), NOW + SEEN_EVERY - 1)])[other] == []
    assert len(first.spread([frame(kill("m", 3), NOW + SEEN_EVERY)])[other]) == 1


def test_a_moved_frame_keeps_where_it_stood_and_goes_by_what_it_is() -> None:
    """However often it is moved."""
    original = frame(kill("match-7"))
    once = wrap(original, Origin("old", 5, ((0, "me"),)))
    twice = wrap(once, Origin("older", 9, ((3, "you"),)))
    assert unwrap(twice) == original
    assert moved(twice.raw).origin == Origin("older", 9, ((3, "you"),))
    assert moved(moved(twice.raw).frame.raw).origin.journal == "old"
    assert router(8).spread([twice])[lane_of("match-7", 8)] == [twice]
    with pytest.raises(BadData):
        moved(b'{"event":"down"}')


def test_bytes_that_are_no_text_survive_being_moved() -> None:
    """Rubbish becomes a dead letter with its own bytes."""
    rubbish = frame(b"\xff\xfe\x00rubbish")
    assert unwrap(wrap(rubbish, Origin("old", 1))) == rubbish
