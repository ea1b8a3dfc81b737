"""Frames become records, duplicates or dead letters by design sections 6.3 and 7, and nothing else happens."""

from __future__ import annotations

import hashlib
import io
import json
from itertools import pairwise
from typing import Any

import fastavro
import pytest

from bridge import native
from bridge.batch import Batch, Undisposed
from bridge.catalog import Catalog
from bridge.dedupe import TRIPLE, Window
from bridge.frame import AMQP, EVENT, REPLAY, REST, STREAM, Frame, Record
from bridge.lanes import Origin, wrap
from bridge.ledger import ENTRY, FIRST, Connection, Entry, Memory
from bridge.pipeline import LAG, WARY, Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import AnySighting, Route, Ways
from bridge.standby import Handover, Outage, Pending, Seen

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
    return Outages(writer, lane=0, instance="me", connections=known.connections, gaps=known.gaps)


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

    def test_an_id_that_is_still_seen_is_said_again(self) -> None:
        """Before the window has passed, so that whoever reads no more than that of the ledger knows it; no oftener."""
        known = memory()
        piping, span, minutes = pipeline(known), known.window.span, 60_000
        said = []
        for seq, now in enumerate(range(NOW, NOW + 3 * span, minutes), 1):
            content = raw("market.updated", {"id": "o1", "match_id": "m1", "status": seq}, seq=seq)
            if piping.process(seq, [frame(content)], now).learned:
                said.append(now)
        assert all(span // 2 <= after - before < span for before, after in pairwise(said))
        assert len(said) > span // minutes // 20

    def test_an_id_whose_key_changes_is_learned_anew(self) -> None:
        """And again where it changes back."""
        piping = pipeline()
        for seq, match in enumerate(["m1", "m2", "m1"], 1):
            content = raw("market.updated", {"id": "o1", "match_id": match}, seq=seq)
            assert [each.key for each in piping.process(seq, [frame(content)], NOW).learned] == [match]

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
        """The lane names the position, which is forgotten once that is behind; the reason is in the header."""
        piping = pipeline()
        piping.poisoned[4] = ("refused_by_kafka", "Broker: Message size too large")
        batch = piping.process(4, [frame(raw("match.updated", {"id": "m"}))], NOW)
        assert one(batch).topic == "cs2.dead-letters"
        assert headers(one(batch))["reason"] == b"refused_by_kafka"
        assert piping.poisoned, "the batch may have to be made again"
        piping.process(5, [], NOW)
        assert not piping.poisoned

    def test_a_dead_letter_of_a_batch_that_was_aborted_is_counted_once(self) -> None:
        """The batch is made again when the ledger was read again."""
        piping = pipeline()
        for _ in range(2):
            known = memory()
            piping.adopt(known, outages(known), None, journal="mine")
            piping.process(0, [frame(b"no frame")], NOW)
        assert list(piping.drain_dead().values()) == [1]
        assert len(piping.drain_buried()) == 1

    def test_a_bug_of_ours_costs_one_frame_its_record_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The position is told; named as poisoned, the frame is a dead letter and the rest goes on."""
        monkeypatch.setattr(native, "extension", None)
        piping = pipeline()
        good, bad = frame(raw("match.updated", {"id": "m"})), frame(raw("match.updated", {"id": "n"}, seq=2))
        sight = Ways.sight

        def broken(ways: Ways, each: Frame) -> AnySighting | None:
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
        piping.adopt(known, outages(known), Handover(2, frozenset({0, 1}), frozenset({0})))
        batch = piping.process(0, frames, NOW)
        assert [(record.topic, headers(record)["source"]) for record in batch.records] == [
            ("cs2.event.kill", b"standby"),
            ("cs2.match.updated", b"stream"),
        ]
        assert batch.codes[0] & 7 == 3
        assert piping.process(3, frames[:1], NOW).records == []

    def ours(self, score: int, seq: int, sent: int, *, received: int = NOW) -> Frame:
        """A state of the match m that the gateway sent so many ms after NOW."""
        ts = f"2026-05-17T06:40:{sent / 1000:06.3f}Z"
        return Frame(
            "cs2", "list", received, STREAM, raw("match.updated", {"id": "m", "score_a": score}, seq=seq, ts=ts)
        )

    def taken(self, theirs: list[Frame], mine: list[Frame], *, at: int = NOW) -> tuple[Pipeline, Handover]:
        """Take over at a time (ms) from a process that published those frames, with others that wait."""
        other, known = pipeline(), memory()
        batch = other.process(0, theirs, NOW)
        told: dict[str, Any] = {
            "codes": bytes(batch.codes),
            "hashes": bytes(batch.hashes),
            "orders": bytes(batch.orders),
        }
        piping, pending = pipeline(known), Pending(known, 0)
        pending.receive(piping.observe(0, mine, known), len(mine), 0.0)
        for entry in (
            Entry(kind=ENTRY, instance="they", at=NOW, journal="theirs", position=len(theirs), **told),
            Entry(kind=FIRST, instance="me", at=at, journal="mine"),
        ):
            known.take(entry, NOW)
            pending.show(entry, 0.0)
        handover = pending.handover()
        piping.adopt(known, outages(known), handover, journal="mine")
        return piping, handover

    def test_a_state_older_than_what_another_process_published_is_superseded(self) -> None:
        """Although this one never received the newer: the ledger tells when the gateway made it."""
        older, newer = self.ours(1, 1, 100), self.ours(2, 2, 200)
        piping, handover = self.taken([newer], [older])
        assert handover.superseded == {0}
        batch = piping.process(0, [older, self.ours(3, 3, 300)], NOW)
        assert [headers(each)["seq"] for each in batch.records] == [b"3"]
        assert [(each.published, each.superseded) for each in piping.drain()] == [(1, 1)]
        assert [code & 7 for code in batch.codes] == [3, 0]
        assert len(batch.orders) == 8

    def test_a_late_record_is_counted_when_it_is_published(self) -> None:
        """Its frame was counted as received when the standby saw it."""
        waiting = frame(raw("event.kill", {"match_id": "m"}, seq=7))
        piping, _ = self.taken([self.ours(2, 2, 200)], [waiting])
        piping.process(0, [waiting], NOW)
        assert [(each.received, each.published) for each in piping.drain()] == [(0, 1)]

    def test_so_is_one_that_comes_soon_after_the_takeover(self) -> None:
        """The own line may be slower than that of the process before; a gateway's clock set back holds nothing up for long."""
        newer, at = self.ours(2, 2, 200), NOW + 5000
        piping, _ = self.taken([newer], [], at=at)
        late = self.ours(1, 1, 100, received=at + WARY - 1)
        batch = piping.process(0, [late], at + WARY - 1)
        assert (batch.records, [code & 7 for code in batch.codes]) == ([], [3])
        assert [each.superseded for each in piping.drain()] == [1]
        much_later = self.ours(5, 5, 100, received=at + WARY)
        assert len(piping.process(1, [much_later], at + WARY).records) == 1

    def test_what_this_process_published_is_ordered_by_its_journal(self) -> None:
        """After its own first state of an entity, the order received counts, whatever the gateway's clock says."""
        piping, _ = self.taken([self.ours(2, 2, 200)], [])
        frames = [self.ours(3, 3, 300), self.ours(4, 4, 250), self.ours(5, 5, 10)]
        assert [headers(each)["seq"] for each in piping.process(0, frames, NOW).records] == [b"3", b"4", b"5"]

    def test_a_time_beyond_belief_orders_nothing(self) -> None:
        """A gateway that once says next year must not supersede all that follows."""
        mad = raw("match.updated", {"id": "m", "score_a": 9}, seq=9, ts="2027-05-17T06:40:00.000Z")
        older = self.ours(1, 1, 100)
        piping, handover = self.taken([frame(mad)], [older])
        assert handover.superseded == frozenset()
        assert len(piping.process(0, [older], NOW).records) == 1

    def test_what_a_standby_has_disposed_of_is_not_judged_again(self) -> None:
        """It was unchanged when it came; now that its entity is another, it would go out as something new."""
        known = memory()
        piping = pipeline(known)
        first, second = raw("match.updated", {"id": "m", "score_a": 1}), raw("match.updated", {"id": "m"}, seq=2)
        run(piping, frame(first), frame(second))
        piping.adopt(known, outages(known), Handover(until=3))
        frames = [frame(raw("match.updated", {"id": "m", "score_a": 1}, seq=3)), frame(second)]
        assert piping.process(1, frames, NOW).records == []

    def test_outages_that_the_active_lived_through_make_no_gap(self) -> None:
        """Only those that are handed over do."""

        def event(name: str) -> Frame:
            return Frame("cs2", "list", NOW, EVENT, json.dumps({"event": name}).encode())

        known = memory()
        known.connections["cs2", "list"] = Connection("cs2", "list", up=True, last_frame=NOW - 5)
        piping = pipeline(known)
        piping.adopt(known, outages(known), Handover(3, frozenset(range(3)), outages=frozenset({2})))
        batch = piping.process(0, [event("down"), event("up"), event("down")], NOW)
        assert batch.owners == [2]


class TestMoved:
    """Frames that waited in the journal of another plan of lanes."""

    def moved(self, content: Frame, position: int) -> Frame:
        """As it stands in the journal of the new lane."""
        return wrap(content, Origin("old", position))

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
            twice = wrap(self.moved(kill, first), Origin("between", second))
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


def event(name: str, at: int = NOW, *, gateway: str = "cs2", **told: Any) -> Frame:
    """An event of a connection."""
    return Frame(gateway, "list", at, EVENT, json.dumps({"event": name, **told}).encode())


def gaps(batch: Batch) -> list[dict[str, Any]]:
    """The gap records of a batch; times in ms."""
    found = []
    for record in batch.records:
        if record.topic == "gaps":
            gap: Any = fastavro.schemaless_reader(io.BytesIO(record.value), dict(CATALOG.own("gap")), None)
            times = {name: gap[name] and round(gap[name].timestamp() * 1000) for name in ("from", "to")}
            found.append({**gap, **times})
    return found


class Committed:
    """A lane's pure parts with their ledger: what is committed is what a successor reads."""

    def __init__(self, **options: Any) -> None:
        """An empty ledger."""
        self.options = options
        self.entries: list[Entry] = []
        self.position = 0
        self.another()

    def another(self) -> None:
        """Go on as another process, from what the ledger holds."""
        self.piping = pipeline(**self.options)
        self.read_again()

    def read_again(self) -> None:
        """Go on from what the ledger holds, as the same process."""
        self.memory = memory()
        for entry in self.entries:
            self.memory.take(entry, entry.at)
        self.outages = outages(self.memory)
        self.piping.adopt(self.memory, self.outages, journal="j")

    def run(self, *frames: Frame, commit: bool = True) -> Batch:
        """Process a batch at the position reached; uncommitted, a successor does not know of it."""
        batch = self.piping.process(self.position, frames, NOW)
        if commit:
            self.position = batch.position
            self.entries.append(
                Entry(
                    kind=ENTRY,
                    instance="me",
                    at=NOW,
                    journal="j",
                    codes=bytes(batch.codes),
                    hashes=bytes(batch.hashes),
                    connections=self.outages.drain(batch.position),
                    gaps=self.outages.drain_gaps(),
                    chains=batch.chains,
                )
            )
        return batch


def delta(seq: int, previous: int | None, *, book_of: str = "t1", at: int = NOW, where: str = "envelope") -> Frame:
    """A change of a book."""
    envelope: dict[str, Any] = {"type": "book_delta", "id": book_of, "seq": seq}
    data: dict[str, Any] = {"bids": [], "note": str(seq)}
    (envelope if where == "envelope" else data)["prevSeq"] = previous
    return Frame("markets", "s1", at, STREAM, json.dumps({**envelope, "data": data}).encode())


def book(kind: str, seq: int | None, *, book_of: str = "t1", at: int = NOW, source: str = STREAM) -> Frame:
    """A whole book, or an update."""
    data = {"bids": [], "asks": [], "tsMs": at + (seq or 0)}
    return Frame(
        "markets", "s1", at, source, json.dumps({"type": kind, "id": book_of, "seq": seq, "data": data}).encode()
    )


class TestBooks:
    """A delta that does not follow the one before is a gap of its token, until a snapshot comes."""

    @pytest.mark.parametrize("where", ["envelope", "data"])
    def test_a_break_and_the_snapshot_after_it(self, where: str) -> None:
        """From the last good frame to the snapshot; the place of prevSeq is not documented."""
        lane = Committed()
        lane.run(book("book_snapshot", 5, at=NOW - 90), delta(6, 5, at=NOW - 80, where=where))
        [opened] = gaps(lane.run(delta(9, 8, at=NOW - 50, where=where), delta(10, 9, where=where)))
        assert (opened["entity"], opened["cause"], opened["state"]) == ("t1", "book_sequence", "open")
        assert (opened["from"], opened["to"], opened["last_seq"]) == (NOW - 80, None, "6")
        [closed] = gaps(lane.run(delta(12, 11), book("book_snapshot", 12, at=NOW - 10), delta(13, 12)))
        assert (closed["id"], closed["to"], closed["state"]) == (opened["id"], NOW - 10, "filled")
        assert closed["how"] == "snapshot of the stream"

    def test_the_record_of_the_gap_stands_before_the_frame_that_shows_it(self) -> None:
        """A consumer of both topics in one transaction finds them together."""
        batch = Committed().run(delta(5, 4), delta(8, 7))
        assert [record.topic for record in batch.records] == ["markets.book_delta", "gaps", "markets.book_delta"]
        assert batch.owners == [0, 1, 1]

    def test_tokens_are_chains_of_their_own(self) -> None:
        """And a repetition is none of any."""
        lane = Committed()
        batch = lane.run(
            delta(5, 4), delta(50, 49, book_of="t2"), delta(5, 4), delta(6, 5), delta(51, 50, book_of="t2")
        )
        assert gaps(batch) == []

    def test_an_update_carries_the_chain_on(self) -> None:
        """Whether it holds the whole book is not stated, so it closes nothing."""
        lane = Committed()
        [opened] = gaps(
            lane.run(delta(5, 4), book("book_update", 6), delta(7, 6), delta(9, 8), book("book_update", 10))
        )
        assert opened["state"] == "open"

    def test_a_book_over_rest_closes_the_gap_and_its_number_is_nobodys(self) -> None:
        """It need not be one of the stream's."""
        lane = Committed()
        batch = lane.run(
            delta(5, 4), delta(8, 7), book("book_snapshot", 900, source=REST), delta(11, 10), delta(12, 11)
        )
        assert [(gap["state"], gap["how"]) for gap in gaps(batch)] == [
            ("open", None),
            ("filled", "snapshot over REST"),
        ]

    def test_the_ledger_read_again_finds_the_same(self) -> None:
        """Between any two frames, with or without a transaction that was lost: each break once."""
        frames = [delta(5, 4), delta(8, 7), delta(9, 8), book("book_snapshot", 9), delta(12, 11), delta(13, 12)]
        whole = [gap["id"] for gap in gaps(Committed().run(*frames))]
        assert len(whole) == 3
        for lost in (False, True):
            lane, found = Committed(), []
            for each in frames:
                if lost:
                    lane.run(each, commit=False)
                    lane.read_again()
                found += gaps(lane.run(each))
                lane.read_again()
            assert [gap["id"] for gap in found] == whole

    def test_late_deltas_are_no_break_and_count(self) -> None:
        """What only the standby received, behind what the active published."""
        active = Committed()
        active.run(delta(5, 4), delta(8, 7))
        active.read_again()
        late = [delta(6, 5), delta(7, 6), delta(8, 7), delta(9, 8)]
        active.piping.adopt(
            active.memory,
            active.outages,
            Handover(active.position + 4, frozenset(range(active.position + 4))),
            journal="mine",
        )
        [told] = [gap for gap in gaps(active.run(*late)) if gap["entity"]]
        assert (told["state"], told["recovered"]) == ("open", 2)

    def test_numbers_that_are_a_connections_own_begin_anew_with_another_process(self) -> None:
        """seq_scope connection: the standby's numbers do not follow the active's."""
        lane = Committed(seq_scope="connection")
        lane.run(delta(5, 4))
        lane.read_again()
        lane.piping.adopt(
            lane.memory, lane.outages, Handover(lane.position, frozenset(range(lane.position))), journal="mine"
        )
        assert not [gap for gap in gaps(lane.run(delta(90, 89), delta(91, 90))) if gap["entity"]]


class TestExpired:
    """A frame of a time of which nobody knows what was published is set aside, never published."""

    def test_frames_older_than_what_the_ledger_can_prove(self) -> None:
        """Set aside and recorded; what is young enough is published, and events count as ever."""
        known = memory()
        known.known_since = NOW
        piping, tracker = pipeline(known), outages(known)
        piping.adopt(known, tracker, journal="mine")
        old = Frame("cs2", "list", NOW - 10, STREAM, raw("match.updated", {"id": "m"}))
        older = Frame("cs2", "list", NOW - 20, STREAM, b"rubbish")
        young = Frame("cs2", "list", NOW + LAG, STREAM, raw("match.updated", {"id": "n"}, seq=2))
        batch = piping.process(40, [event("up", NOW - 30), older, old, young], NOW + LAG)
        assert batch.expired == [(41, older), (42, old)]
        assert batch.position == 44
        assert [record.topic for record in batch.records] == ["cs2.match.updated", "gaps"]
        [gap] = gaps(batch)
        assert (gap["cause"], gap["state"], gap["from"], gap["to"]) == ("expired", "lost", NOW - 20, NOW - 10)
        assert gap["how"] == "not published, kept in expired/mine-41.jsonl"
        assert piping.process(44, [young], NOW + LAG).expired == []

    def test_a_backlog_of_ones_own_is_published_whatever_the_window_forgot(self) -> None:
        """No other process had the lane: the position in the ledger is proof enough."""
        known = Memory(Window(span=3_600_000, max_identities=10))
        piping = pipeline(known)
        piping.adopt(known, outages(known), journal="mine")
        for number in range(20):
            frames = [frame(raw("event.kill", {"match_id": "m"}, seq=number * 1000 + each)) for each in range(1000)]
            batch = piping.process(number * 1000, frames, NOW + number)
            assert (len(batch.records), batch.expired) == (1000, [])


class TestFills:
    """A takeover says what it filled, in the transaction that does."""

    def cut(self) -> Committed:
        """The active's line was cut from NOW - 500 to NOW - 200."""
        active = Committed()
        active.run(
            event("up", NOW - 60_000),
            Frame("cs2", "list", NOW - 500, STREAM, raw("match.updated", {"id": "m"}, ts="")),
            event("down", NOW - 490, cause="disconnect"),
            event("up", NOW - 200),
        )
        active.another()
        return active

    def standby(self, lane: Committed, *frames: Frame) -> None:
        """Another process with a journal of its own, looked through up to its end."""
        lane.piping.observe(0, frames)
        states = frozenset(at for at, each in enumerate(frames) if b'"superseded"' in each.raw)
        lane.piping.adopt(
            lane.memory, lane.outages, Handover(len(frames), frozenset(range(len(frames))), states), journal="mine"
        )
        lane.position = 0

    def test_what_the_active_missed_fills_its_gap(self) -> None:
        """Published and superseded frames are counted where they lie in the gap, and the gap is filled."""
        lane = self.cut()
        frames = [
            event("start", NOW - 70_000),
            event("up", NOW - 65_000),
            Frame("cs2", "list", NOW - 400, STREAM, raw("event.kill", {"match_id": "m"}, seq=2)),
            Frame("cs2", "list", NOW - 300, STREAM, raw("match.updated", {"id": "n", "event": "superseded"}, seq=3)),
            Frame("cs2", "list", NOW - 100, STREAM, raw("match.updated", {"id": "m"}, ts="")),
        ]
        self.standby(lane, *frames)
        batch = lane.run(*frames)
        [gap] = gaps(batch)
        assert (gap["state"], gap["recovered"], gap["superseded"]) == ("filled", 1, 1)
        assert (gap["from"], gap["to"], gap["last_seq"]) == (NOW - 500, NOW - 200, "1")
        assert [record.topic for record in batch.records] == ["cs2.event.kill", "gaps"]

    def test_several_transactions_tell_how_far_it_is(self) -> None:
        """And a process that dies between two leaves a true word."""
        lane = self.cut()
        frames = [
            event("start", NOW - 70_000),
            event("up", NOW - 65_000),
            Frame("cs2", "list", NOW - 400, STREAM, raw("event.kill", {"match_id": "m"}, seq=2)),
            Frame("cs2", "list", NOW - 100, STREAM, raw("event.kill", {"match_id": "m"}, seq=3)),
        ]
        self.standby(lane, *frames)
        assert gaps(lane.run(*frames[:2])) == []
        [first] = gaps(lane.run(frames[2]))
        [second] = gaps(lane.run(frames[3], frame(raw("event.kill", {"match_id": "m"}, seq=4))))
        assert [(gap["state"], gap["recovered"]) for gap in (first, second)] == [("partly", 1), ("filled", 2)]

    def test_it_is_settled_without_a_frame(self) -> None:
        """An open gap is closed as soon as another process has the lane, also on a quiet feed."""
        lane = self.cut()
        lane.run(event("down", NOW - 100, cause="silence"))
        lane.another()
        own = [event("start", NOW - 70_000), event("up", NOW - 65_000)]
        self.standby(lane, *own)
        lane.run(*own[:1])
        lane.position = 2
        assert lane.piping.settles(2)
        batch = lane.run()
        assert {(gap["cause"], gap["state"], gap["to"]) for gap in gaps(batch)} >= {("silence", "filled", NOW)}
        assert not lane.piping.settles(2)
        lane.read_again()
        known = lane.memory.connections["cs2", "list"]
        assert (known.up, known.gap) == (True, None)
        assert not [gap for gap in lane.memory.gaps.values() if gap.until is None]

    def test_a_gap_that_this_process_did_not_live_through_is_not_filled(self) -> None:
        """Its connection came up when the gap was open already: what was before that nobody has."""
        lane = self.cut()
        lane.run(event("down", NOW - 100, cause="silence"))
        lane.another()
        own = [event("start", NOW - 70_000), event("up", NOW - 20)]
        self.standby(lane, *own)
        lane.run(*own[:1])
        lane.position = 2
        found = {(gap["cause"], gap["state"], gap["to"]) for gap in gaps(lane.run())}
        assert ("silence", "lost", NOW) in found
        assert "filled" not in {state for _, state, _ in found}

    def test_a_journal_that_was_damaged_there_is_settled_all_the_same(self) -> None:
        """Positions may be skipped."""
        lane = self.cut()
        self.standby(lane, event("start", NOW - 70_000), event("up", NOW - 65_000))
        lane.position = 9
        lane.run(frame(raw("event.kill", {"match_id": "m"}, seq=9)))
        assert not lane.piping.settles(2)

    def test_events_of_a_standby_that_was_not_read_are_outages(self) -> None:
        """unread and read stand beside down and up."""
        found = pipeline().observe(3, [event("unread"), event("read"), event("learn", pairs={}), event("gone")])
        assert [(type(each), each.position) for each in found] == [(Outage, 3), (Outage, 4)]


class TestXml:
    """Messages of the AMQP replay are frames whose raw bytes are XML."""

    ODDS = (
        b'<odds_change product="2" event_id="od:match:1" tt_match_id="m1" timestamp="%d" node="n1">'
        b'<odds margin="1.10"><market id="7" status="1"><outcome id="1" odds="1.10"/></market></odds><new x="1"/>'
        b"</odds_change>" % (NOW - 1000)
    )

    def test_a_message_is_a_record_of_its_own_type(self) -> None:
        """Topic, key, time and headers as for any frame; unknown attributes and elements are in the extensions."""
        piping = pipeline()
        record = one(piping.process(0, [frame(self.ODDS, source=AMQP)], NOW))
        assert (record.topic, record.key, record.timestamp) == ("cs2.feed.odds_change", b"m1", NOW - 1000)
        assert headers(record) == {"type": b"feed.odds_change", "source": b"amqp", "received": str(NOW).encode()}
        schema = CATALOG.kind("ticktock").types["feed.odds_change"].schema
        value: Any = fastavro.schemaless_reader(io.BytesIO(record.value[1:]), schema, None)
        data = value["data"]
        assert data["extensions"] == {"node": '"n1"', "new": '[{"x":"1"}]'}
        assert data["odds"]["extensions"] == {"margin": '"1.10"'}
        assert data["odds"]["market"][0]["outcome"][0]["odds"] == "1.10"

    def test_a_message_that_is_delivered_again_is_a_duplicate(self) -> None:
        """Also after others of its match; one with another timestamp is another message."""
        later = self.ODDS.replace(b"1.10", b"1.20")
        anew = self.ODDS.replace(str(NOW - 1000).encode(), str(NOW).encode())
        frames = [frame(each, source=AMQP) for each in (self.ODDS, later, self.ODDS, later, anew)]
        assert len(run(pipeline(), *frames)) == 3

    def test_a_match_is_found_by_its_event(self) -> None:
        """Where a message lacks the match id, another one has told it."""
        change = b'<fixture_change product="2" event_id="od:match:1" change_type="1"/>'
        known, unknown = self.ODDS, b'<bet_stop event_id="od:match:1" groups="all"/>'
        records = run(pipeline(), *(frame(each, source=AMQP) for each in (known, change, unknown)))
        assert [(each.topic, each.key) for each in records] == [
            ("cs2.feed.odds_change", b"m1"),
            ("cs2.feed.fixture_change", b"m1"),
            ("cs2.unknown", b"m1"),
        ]
        assert headers(records[2])["type"] == b"feed.bet_stop"

    @pytest.mark.parametrize(
        ("message", "reason", "key"),
        [
            (b"<odds_change", b"not_xml", b"cs2"),
            (b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", b"doctype", b"cs2"),
            (b'{"type":"match.created","data":{}}', b"not_xml", b"cs2"),
            (b'<odds_change tt_match_id="m1"><odds/><odds/></odds_change>', b"wrong_type", b"m1"),
        ],
    )
    def test_a_dead_letter_holds_the_xml_as_it_came(self, message: bytes, reason: bytes, key: bytes) -> None:
        """Byte for byte, with reason, type and key as far as they can be told."""
        record = one(pipeline().process(0, [frame(message, source=AMQP)], NOW))
        assert (record.topic, record.value, record.key) == ("cs2.dead-letters", message, key)
        assert headers(record)["reason"] == reason

    def test_a_dead_letter_can_be_replayed(self) -> None:
        """It says nowhere that it was XML, but that is plain to see."""
        record = one(pipeline().process(0, [frame(self.ODDS, source=REPLAY)], NOW))
        assert (record.topic, headers(record)["source"]) == ("cs2.feed.odds_change", b"dead-letter")

    def test_a_queue_has_no_outages(self) -> None:
        """What is not acknowledged comes again: after a crash there is no gap to record."""
        known = memory()
        gaps = outages(known)
        piping = pipeline(known)
        piping.adopt(known, gaps)
        piping.process(0, [frame(self.ODDS, source=AMQP)], NOW)
        assert gaps.drain(1) == []


class TestAskedFor:
    """What the gateway was asked for goes the way of any frame, counts for its gap, and moves the cursors."""

    GAP = "cs2/list/1000/0"

    def asked(self, known: Memory) -> tuple[Pipeline, Outages]:
        """A pipeline with a gap that is being asked for."""
        tracker = outages(known)
        tracker.request({"gateway": "cs2", "gap": self.facts()}, "0", NOW)
        piping = pipeline(known)
        piping.adopt(known, tracker)
        return piping, tracker

    def facts(self) -> dict[str, Any]:
        """The gap as its last record has it."""
        return {
            "id": self.GAP, "gateway": "cs2", "connection": "list", "since": 1000, "until": 2000, "cause": "disconnect",
            "state": "lost",
        }  # fmt: skip

    def test_records_count_for_their_gap_and_repetitions_do_not(self) -> None:
        """One of two rows came over the stream before; nothing is taken for a sign of life of a connection."""
        known = memory()
        piping, tracker = self.asked(known)
        rows = [raw("bet_settlement", {"id": number, "match_id": "m"}, seq=None) for number in (1, 2)]
        found = [Frame("cs2", f"fill:{self.GAP}", NOW, REST, row) for row in rows]
        judged = event("recovered", gap=self.GAP, state="partly", how="settlements")
        batch = piping.process(0, [frame(rows[0]), *found, judged], NOW)
        assert [headers(record)["source"] for record in batch.records if record.topic != "gaps"] == [b"stream", b"rest"]
        assert [(gap["state"], gap["recovered"], gap["how"]) for gap in gaps(batch)] == [("partly", 1, "settlements")]
        assert {each.connection for each in tracker.drain(4, NOW)} == {"list"}

    def test_a_cursor_moves_with_its_event(self) -> None:
        """The next ledger entry says so."""
        known = memory()
        moved = json.dumps({"event": "cursor", "name": "cs2/settlements", "value": "7"}).encode()
        pipeline(known).process(0, [Frame("cs2", "", NOW, EVENT, moved)], NOW)
        assert known.cursors.drain(NOW, 3_600_000) == {"cs2/settlements": "7"}

    def test_a_request_is_taken_once(self) -> None:
        """Also where the topic is read again from its beginning."""
        known = memory()
        piping = pipeline(known)
        span = {"gateway": "cs2", "since": 1000, "until": 2000}
        batch = piping.process(0, [event("request", offset=4, request=span)], NOW)
        assert [gap["cause"] for gap in gaps(batch)] == ["requested"]
        again = [event("request", offset=offset, request=span) for offset in (3, 4)]
        assert not piping.process(1, again, NOW).records
        assert known.cursors == {"requests": "5"}
