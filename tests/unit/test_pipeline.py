"""Frames become records, duplicates or dead letters by design sections 6.3 and 7, and nothing else happens."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from bridge.catalog import Catalog
from bridge.dedupe import TRIPLE, Window
from bridge.frame import EVENT, REST, STREAM, Frame, Record
from bridge.lanes import Origin, wrap
from bridge.ledger import Connection, Memory
from bridge.pipeline import Batch, Pipeline, Undisposed
from bridge.recovery import GapWriter, Outages
from bridge.route import Route, Sighting, Ways
from bridge.standby import Handover, Seen

CATALOG = Catalog.load()
NOW = 1_779_000_000_000
TS = "2026-05-17T06:39:59.500Z"  # half a second before NOW


def route(gateway: str, kind: str, *, layouts: tuple[str, ...] = ("type",)) -> Route:
    """Topics named after gateway and type, framed with a byte that tells the layout."""
    types = [*CATALOG.kind(kind).types, "unknown"]
    topics = {
        name: [(f"{gateway}.{name}", b"T") if layout == "type" else (gateway, b"G") for layout in layouts]
        for name in types
    }
    return Route(gateway, CATALOG.kind(kind), frozenset({"pong"}), topics, f"{gateway}.dead-letters")


def memory() -> Memory:
    """An empty one."""
    return Memory(Window(span=3_600_000, max_identities=100_000))


def outages(known: Memory) -> Outages:
    """A tracker that goes on from `known`."""
    writer = GapWriter("gaps", b"", CATALOG.own("gap"))
    return Outages(writer, lane=0, instance="me", connections=known.connections)


def pipeline(known: Memory | None = None, **options: Any) -> Pipeline:
    """One TickTock and one PredictStreet gateway."""
    known = known or memory()
    routes = [
        route("cs2", "ticktock", layouts=options.pop("layouts", ("type",))),
        route("markets", "predictstreet-market"),
    ]
    return Pipeline(routes, memory=known, outages=outages(known), **options)


def raw(kind: str, data: Any, *, seq: Any = 1, ts: str = TS) -> bytes:
    """A TickTock frame."""
    return json.dumps({"type": kind, "data": data, "meta": {"ts": ts, "seq": seq}}).encode()


def frame(content: bytes, *, gateway: str = "cs2", source: str = STREAM, hint: str | None = None) -> Frame:
    """A frame received now."""
    return Frame(gateway, "list", NOW, source, content, hint)


def one(batch: Batch) -> Record:
    """The only record of a batch."""
    [record] = batch.records
    return record


def run(piping: Pipeline, *frames: Frame) -> list[Record]:
    """The records that frames make, processed one batch each."""
    return [record for position, each in enumerate(frames) for record in piping.process(position, [each], NOW).records]


def headers(record: Record) -> dict[str, Any]:
    """The headers as a mapping; none comes twice."""
    found = dict(record.headers)
    assert len(found) == len(record.headers)
    return found


class TestRecords:
    """What is published looks as consumers were told."""

    def test_topic_key_headers_and_time(self) -> None:
        """Design 6.3, all of it for one frame."""
        record = one(pipeline().process(7, [frame(raw("market.updated", {"id": "o1", "match_id": "m1"}, seq=9))], NOW))
        assert record.topic == "cs2.market.updated"
        assert record.key == b"m1"
        assert headers(record) == {
            "type": b"market.updated",
            "source": b"stream",
            "received": str(NOW).encode(),
            "seq": b"9",
        }
        assert record.timestamp == NOW - 500

    def test_each_layout_gets_the_record_with_its_own_framing(self) -> None:
        """Several layouts: the same Avro bytes, in one transaction."""
        piping = pipeline(layouts=("type", "gateway"))
        first, second = piping.process(0, [frame(raw("match.updated", {"id": "m1"}))], NOW).records
        assert (first.topic, second.topic) == ("cs2.match.updated", "cs2")
        assert first.value[:1] == b"T"
        assert second.value == b"G" + first.value[1:]

    @pytest.mark.parametrize(
        ("ts", "expected"),
        [
            pytest.param("2026-05-10T06:41:00Z", 1_778_395_260_000, id="almost seven days back"),
            pytest.param("2026-05-10T06:39:00Z", NOW, id="older: the time received"),
            pytest.param("2026-05-17T06:44:59Z", 1_779_000_299_000, id="almost five minutes ahead"),
            pytest.param("2026-05-17T06:45:01Z", NOW, id="further ahead: the time received"),
            pytest.param("yesterday", NOW, id="no time"),
        ],
    )
    def test_the_timestamp_is_the_event_time_where_it_is_sane(self, ts: str, expected: int) -> None:
        """Within seven days back and five minutes ahead."""
        assert one(pipeline().process(0, [frame(raw("match.updated", {"id": "m"}, ts=ts))], NOW)).timestamp == expected

    def test_a_frame_without_seq_has_no_seq_header(self) -> None:
        """Absent, not empty."""
        content = json.dumps({"type": "match.updated", "data": {"id": "m"}}).encode()
        assert "seq" not in headers(one(pipeline().process(0, [frame(content)], NOW)))

    def test_a_settlement_takes_the_time_it_was_created(self) -> None:
        """Design 7: bet_settlement `data.created_at`."""
        data = {"id": 5, "match_id": "m", "created_at": "2026-05-17T06:00:00+00:00"}
        assert one(pipeline().process(0, [frame(raw("bet_settlement", data))], NOW)).timestamp == NOW - 2_400_000


class TestKeys:
    """Where a frame carries no key, it is looked up, and never waited for."""

    def test_the_connections_hint_fills_in(self) -> None:
        """A detail socket knows its match."""
        [record] = run(pipeline(), frame(raw("market.updated", {"id": "o1"}), hint="m9"))
        assert record.key == b"m9"

    def test_what_other_frames_taught_fills_in(self) -> None:
        """Market id → match id, also for later batches, and it is in the batch for the ledger."""
        piping = pipeline()
        taught = piping.process(0, [frame(raw("market.created", {"id": "o1", "match_id": "m1"}))], NOW)
        assert [(each.id, each.key) for each in taught.learned] == [("o1", "m1")]
        again = piping.process(1, [frame(raw("market.updated", {"id": "o1", "status": 2}, seq=2))], NOW)
        assert one(again).key == b"m1"
        assert again.learned == []

    def test_ids_found_over_rest_fill_in(self) -> None:
        """They come through the journal as events."""
        event = Frame("cs2", "", NOW, EVENT, json.dumps({"event": "learn", "pairs": {"o1": "m1"}}).encode())
        piping = pipeline()
        batch = piping.process(0, [event, frame(raw("market.updated", {"id": "o1"}))], NOW)
        assert one(batch).key == b"m1"
        assert [each.key for each in batch.learned] == ["m1"]

    def test_the_own_entity_is_the_last_resort(self) -> None:
        """Never null: a key keeps the order of one entity."""
        [record] = run(pipeline(), frame(raw("market.updated", {"id": "o1"})))
        assert record.key == b"o1"

    def test_a_gateway_does_not_learn_from_another(self) -> None:
        """Equal ids of two gateways mean different things."""
        known = memory()
        piping = Pipeline([route("a", "ticktock"), route("b", "ticktock")], memory=known, outages=outages(known))
        run(piping, frame(raw("market.created", {"id": "o1", "match_id": "m1"}), gateway="a"))
        [record] = run(piping, frame(raw("market.updated", {"id": "o1"}), gateway="b"))
        assert record.key == b"o1"


class TestRouting:
    """Which way a frame goes, in the order of design 7."""

    def test_control_frames_and_alive_are_consumed(self) -> None:
        """They make neither records nor ledger entries."""
        batch = pipeline().process(
            0,
            [
                frame(b'{"type":"pong","id":1}', gateway="markets"),
                frame(b'{"type":"alive","data":{"status":"ok","timestamp":"2026-05-10T13:42:11.123Z"}}'),
                frame(b'{"data":{"status":"ok","timestamp":"2026-05-10T13:42:11.123Z"}}'),
            ],
            NOW,
        )
        assert not batch
        assert (batch.position, batch.frames) == (3, 3)

    def test_an_unknown_type_is_a_record_of_its_raw_text(self) -> None:
        """Nothing is lost; the header names the type as sent."""
        content = raw("match.exploded", {"id": "m1", "match_id": "m1"})
        [record] = run(pipeline(), frame(content))
        assert record.topic == "cs2.unknown"
        assert content in record.value
        assert headers(record)["type"] == b"match.exploded"

    @pytest.mark.parametrize(
        ("content", "reason", "path"),
        [
            (b"not json", "not_json", None),
            (b"\xff\xfe", "not_json", None),
            (b"", "not_json", None),
            (b"[1]", "not_object", None),
            (b'{"type":5,"data":{}}', "no_type", "type"),
            (b'{"type":"match.updated"}', "no_data", "data"),
            (b'{"type":"match.updated","data":[]}', "no_data", "data"),
            (raw("market.updated", {"id": "o", "suspended": "yes"}), "wrong_type", "data.suspended"),
            (raw("market.updated", {"id": "o"}, seq=2**63), "out_of_range", "meta.seq"),
            (b'{"type":"match.updated","data":{"id":"m","id":"m"}}', "duplicate_key", None),
        ],
    )
    def test_bad_input_becomes_a_dead_letter_with_its_bytes(
        self, content: bytes, reason: str, path: str | None
    ) -> None:
        """Reason, path and the original bytes; the feed goes on."""
        piping = pipeline()
        letter, record = run(piping, frame(content), frame(raw("match.updated", {"id": "fine"})))
        assert letter.topic == "cs2.dead-letters"
        assert letter.value == content
        found = headers(letter)
        assert found["reason"] == reason.encode()
        assert found["gateway"] == b"cs2"
        assert found["received"] == str(NOW).encode()
        assert found.get("path") == (path.encode() if path else None)
        assert b"\n" not in found["detail"]
        assert record.topic == "cs2.match.updated"

    def test_a_dead_letter_keeps_the_entity_key_where_it_can_be_made_out(self) -> None:
        """So that it can be found with the other records of its match; else it is keyed by the gateway."""
        bad = frame(raw("market.updated", {"id": "o", "match_id": "m1", "suspended": 5}))
        letter, other = run(pipeline(), bad, frame(b"rubbish"))
        assert (letter.key, other.key) == (b"m1", b"cs2")
        assert headers(letter)["type"] == b"market.updated"

    def test_equal_bad_bytes_make_one_dead_letter(self) -> None:
        """Once per window."""
        assert len(run(pipeline(), frame(b"x"), frame(b"x"), frame(b"y"))) == 2

    def test_a_record_too_large_for_kafka_is_a_dead_letter_and_cut_where_it_must_be(self) -> None:
        """The whole frame is kept aside under its digest."""
        content = raw("match.updated", {"id": "m", "event": "x" * 5000})
        batch = pipeline(max_value=3000).process(0, [frame(content)], NOW)
        letter = one(batch)
        assert letter.value == content[:3000]
        found = headers(letter)
        assert found["reason"] == b"too_large"
        assert found["size"] == str(len(content)).encode()
        assert found["sha256"] == hashlib.sha256(content).hexdigest().encode()
        assert batch.oversize == [(hashlib.sha256(content).hexdigest(), content)]

    def test_what_kafka_refused_becomes_a_dead_letter(self) -> None:
        """The lane names the position; the reason is in the header."""
        piping = pipeline()
        piping.poisoned[4] = ("refused_by_kafka", "Broker: Message size too large")
        batch = piping.process(4, [frame(raw("match.updated", {"id": "m"}))], NOW)
        assert one(batch).topic == "cs2.dead-letters"
        assert headers(one(batch))["reason"] == b"refused_by_kafka"

    def test_a_bug_of_ours_costs_one_frame_its_record_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The position is told; named as poisoned, the frame is a dead letter and the rest goes on."""
        piping = pipeline()
        good, bad = frame(raw("match.updated", {"id": "m"})), frame(raw("match.updated", {"id": "n"}, seq=2))
        sight = Ways.sight

        def broken(ways: Ways, each: Frame) -> Sighting | None:
            if each is bad:
                raise ZeroDivisionError("the frame says n")
            return sight(ways, each)

        monkeypatch.setattr(Ways, "sight", broken)
        with pytest.raises(Undisposed) as undisposed:
            piping.process(0, [good, bad], NOW)
        assert undisposed.value.position == 1
        assert "says" not in str(undisposed.value)
        known = memory()
        piping.adopt(known, outages(known))
        piping.poisoned[1] = ("internal_error", "ZeroDivisionError")
        record, letter = piping.process(0, [good, bad], NOW).records
        assert record.topic == "cs2.match.updated"
        assert headers(letter)["reason"] == b"internal_error"
        assert letter.value == bad.raw


class TestDedupe:
    """The window's answers carried out."""

    def test_a_collision_is_published_with_a_header(self) -> None:
        """Same seq, other content."""
        first, second = run(
            pipeline(),
            frame(raw("round.finished", {"match_id": "m", "round_number": 1})),
            frame(raw("round.finished", {"match_id": "m", "round_number": 2})),
        )
        assert "collision" not in headers(first)
        assert headers(second)["collision"] == b"1"

    def test_content_is_compared_without_regard_to_order_space_or_meta(self) -> None:
        """A redelivery may be written otherwise."""
        first = b'{"type":"round.finished","data":{"match_id":"m","round_number":1},"meta":{"seq":1,"ts":"a"}}'
        again = (
            b'{ "meta" : {"ts":"b", "seq":1}, "data": {"round_number": 1, "match_id": "m"}, "type":"round.finished"}'
        )
        assert len(run(pipeline(), frame(first), frame(again))) == 1

    def test_number_texts_are_content(self) -> None:
        """1.10 and 1.1 are not the same message."""
        frames = [
            frame(b'{"type":"event.kill","data":{"match_id":"m","time_offset_seconds":%s},"meta":{"seq":1}}' % text)
            for text in (b"1.10", b"1.1")
        ]
        assert len(run(pipeline(), *frames)) == 2

    def test_states_are_compared_over_their_family(self) -> None:
        """suspended, unsuspended, suspended are three records; only a repetition is dropped."""
        kinds = ["market.suspended", "market.unsuspended", "market.suspended", "market.suspended"]
        frames = [frame(raw(kind, {"id": "o1"}, seq=number)) for number, kind in enumerate(kinds)]
        assert [record.topic for record in run(pipeline(), *frames)] == [f"cs2.{kind}" for kind in kinds[:3]]

    def test_seq_scope_connection_leaves_seq_out(self) -> None:
        """Two connections with their own counters: equal content is one record."""
        frames = [frame(raw("event.kill", {"match_id": "m", "weapon": "awp"}, seq=seq)) for seq in (1, 2)]
        assert len(run(pipeline(), *frames)) == 2
        assert len(run(pipeline(seq_scope="connection"), *frames)) == 1

    def test_a_rest_row_and_its_live_frame_are_one_record(self) -> None:
        """Whichever comes first; the header tells the source."""
        live = frame(raw("event.kill", {"match_id": "m", "weapon": "awp"}, seq=5))
        row = frame(b'{"type":"event.kill","data":{"weapon":"awp","match_id":"m"}}', source=REST)
        [first] = run(pipeline(), live, row)
        assert headers(first)["source"] == b"stream"
        [other] = run(pipeline(), row, live)
        assert headers(other)["source"] == b"rest"

    def test_two_gateways_never_meet(self) -> None:
        """The same frame from two gateways is two records."""
        known = memory()
        piping = Pipeline([route("a", "ticktock"), route("b", "ticktock")], memory=known, outages=outages(known))
        content = raw("match.updated", {"id": "m"})
        assert len(run(piping, frame(content, gateway="a"), frame(content, gateway="b"))) == 2

    def test_what_the_ledger_shows_is_not_published_again(self) -> None:
        """A second pipeline that read the first one's entries publishes nothing of the same frames."""
        frames = [
            frame(raw("match.updated", {"id": "m", "score_a": 1}, seq=1)),
            frame(raw("match.updated", {"id": "m", "score_a": 1}, seq=2)),
            frame(raw("event.kill", {"match_id": "m"}, seq=1)),
            frame(raw("event.kill", {"match_id": "m", "weapon": "awp"}, seq=1)),
            frame(b"rubbish"),
            frame(raw("new.type", {"id": 1}, seq=4)),
        ]
        batch = pipeline().process(0, frames, NOW)
        assert len(batch.records) == 5
        successor = memory()
        successor.window.replay(bytes(batch.codes), bytes(batch.hashes), NOW)
        again = pipeline(successor).process(0, frames, NOW)
        assert again.records == []
        assert not again.codes

    def test_counts_tell_what_became_of_the_frames(self) -> None:
        """Drained once, per gateway and type."""
        piping = pipeline()
        same = frame(raw("match.updated", {"id": "m"}, seq=1))
        run(piping, same, same, frame(raw("match.updated", {"id": "m"}, seq=2)), frame(b"x"))
        counts, lost = piping.drain()
        assert (lost.type, lost.received, lost.published) == ("unknown", 1, 0)
        assert (counts.type, counts.received, counts.published, counts.duplicates, counts.unchanged) == (
            "match.updated",
            3,
            1,
            1,
            1,
        )
        assert piping.drain() == []
        assert piping.drain_dead() == {("cs2", "not_json"): 1}


class TestTakeover:
    """What a standby does with its own journal when the lane becomes its."""

    def test_it_sees_what_it_would_have_judged(self) -> None:
        """The hashes that a standby looks for are those that an active writes, dead letters included."""
        frames = [
            frame(raw("match.updated", {"id": "m"})),
            frame(raw("event.kill", {"match_id": "m"}, seq=2)),
            frame(b"rubbish"),
            frame(b'{"type":"pong"}', gateway="markets"),
        ]
        batch = pipeline().process(0, frames, NOW)
        seen = [each for each in pipeline().observe(0, frames) if isinstance(each, Seen)]
        assert b"".join(TRIPLE.pack(each.identity, each.content, each.entity) for each in seen) == batch.hashes
        assert [each.position for each in seen] == [0, 1, 2]

    def test_late_frames_say_so_and_superseded_states_are_not_published(self) -> None:
        """An older state behind a newer one that the ledger shows is counted, remembered and dropped."""
        known = memory()
        piping = pipeline(known)
        frames = [
            frame(raw("match.updated", {"id": "m", "score_a": 1})),
            frame(raw("event.kill", {"match_id": "m"}, seq=2)),
            frame(raw("match.updated", {"id": "n"}, seq=3)),
        ]
        piping.observe(0, frames[:2])
        piping.adopt(known, outages(known), Handover(until=2, superseded=frozenset({0})))
        batch = piping.process(0, frames, NOW)
        assert [(record.topic, headers(record)["source"]) for record in batch.records] == [
            ("cs2.event.kill", b"standby"),
            ("cs2.match.updated", b"stream"),
        ]
        assert batch.codes[0] & 7 == 3
        assert piping.process(3, frames[:1], NOW).records == []

    def test_outages_that_the_active_lived_through_make_no_gap(self) -> None:
        """Only those that are handed over do."""

        def event(name: str) -> Frame:
            return Frame("cs2", "list", NOW, EVENT, json.dumps({"event": name}).encode())

        known = memory()
        known.connections["cs2", "list"] = Connection("cs2", "list", up=True, last_frame=NOW - 5)
        piping = pipeline(known)
        piping.adopt(known, outages(known), Handover(until=3, outages=frozenset({2})))
        batch = piping.process(0, [event("down"), event("up"), event("down")], NOW)
        assert batch.owners == [2]


class TestMoved:
    """Frames that waited in the journal of another plan of lanes."""

    def moved(self, content: Frame, position: int) -> Frame:
        """As it stands in the journal of the new lane."""
        return wrap(content, Origin("old", position, 0, "writer"))

    def known(self) -> Memory:
        """The ledger tells that all before 5 of that journal is disposed of."""
        found = memory()
        found.positions["old"] = (5, "writer")
        return found

    def test_what_was_disposed_of_there_is_not_looked_at_again(self) -> None:
        """Not even a state without a number, which the window could not tell from a new one; events neither."""
        state = frame(json.dumps({"type": "match.updated", "data": {"id": "m"}}).encode())
        down = Frame("cs2", "list", NOW, EVENT, b'{"event":"down"}')
        known = self.known()
        known.connections["cs2", "list"] = Connection("cs2", "list", up=True, last_frame=NOW - 5)
        batch = pipeline(known).process(0, [self.moved(state, 4), self.moved(down, 4)], NOW)
        assert (batch.records, bytes(batch.codes), batch.position) == ([], b"", 2)
        batch = pipeline(known).process(0, [self.moved(state, 5), self.moved(down, 6)], NOW)
        assert [record.topic for record in batch.records] == ["cs2.match.updated", "gaps"]

    def test_a_standby_sees_the_same(self) -> None:
        """By what it has read itself."""
        kill = frame(raw("event.kill", {"match_id": "m"}))
        moved = [
            self.moved(kill, 4),
            self.moved(kill, 5),
            self.moved(Frame("cs2", "list", NOW, EVENT, b'{"event":"up"}'), 6),
        ]
        seen = pipeline().observe(0, moved, self.known())
        assert [each.position for each in seen] == [1, 2]
        assert isinstance(seen[0], Seen)

    def test_twice_moved_is_disposed_of_where_either_journal_says_so(self) -> None:
        """1 to 2 to 4 lanes while the frame waited."""
        kill = frame(raw("event.kill", {"match_id": "m"}))
        known = self.known()
        for first, second, records in ((4, 9, 0), (9, 4, 0), (9, 9, 1)):
            twice = wrap(self.moved(kill, first), Origin("between", second, 0, "writer"))
            known.positions["between"] = (5, "writer")
            assert len(pipeline(known).process(0, [twice], NOW).records) == records

    def test_a_frame_of_a_gateway_that_is_gone_is_counted(self) -> None:
        """As any other."""
        piping = pipeline()
        piping.process(0, [self.moved(frame(b"{}", gateway="gone"), 5)], NOW)
        assert piping.drain_orphans() == {"gone": 1}


def test_a_connection_that_flows_without_frames_for_this_lane_is_noted() -> None:
    """A gap of this lane begins there and not at its own last frame."""
    known = memory()
    tracked = outages(known)
    piping = pipeline(known)
    piping.adopt(known, tracked)
    batch = piping.process(0, [Frame("cs2", "list", NOW, EVENT, b'{"event":"seen"}')], NOW)
    assert not batch
    assert [each.last_frame for each in tracked.drain(1)] == [NOW]


def test_frames_of_a_gateway_that_is_gone_are_counted() -> None:
    """The journal may hold frames of a gateway that the configuration no longer has: said, and the rest goes on."""
    piping = pipeline()
    batch = piping.process(0, [frame(b"{}", gateway="gone"), frame(raw("match.updated", {"id": "m"}))], NOW)
    assert one(batch).topic == "cs2.match.updated"
    assert piping.drain_orphans() == {"gone": 1}
    assert piping.drain_orphans() == {}


def test_events_of_connections_become_gap_records_in_the_same_batch() -> None:
    """In their place between the frames."""

    def event(name: str, **facts: Any) -> Frame:
        return Frame("cs2", "list", NOW, EVENT, json.dumps({"event": name, **facts}).encode())

    batch = pipeline().process(
        0,
        [
            event("up"),
            frame(raw("match.updated", {"id": "m"})),
            event("down", cause="silence"),
            frame(raw("match.updated", {"id": "n"}, seq=2)),
        ],
        NOW,
    )
    assert [record.topic for record in batch.records] == ["cs2.match.updated", "gaps", "cs2.match.updated"]
    assert batch.owners == [1, 2, 3]
