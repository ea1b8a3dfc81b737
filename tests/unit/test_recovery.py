"""Every span in which frames may be missing becomes one gap record, opened once and closed once."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest

from bridge.catalog import Catalog
from bridge.dedupe import Window
from bridge.frame import EVENT, Frame, Record
from bridge.ledger import ENTRY, MAX_CLOSED, Connection, Entry, EntryCodec, Memory
from bridge.presence import MARGIN, Presence
from bridge.recovery import CAUSES, OWN_TIME, REMIND, GapWriter, Outages

SCHEMA = Catalog.load().own("gap")


def outages(connections: dict[tuple[str, str], Connection] | None = None) -> Outages:
    """A tracker that writes unframed records to the topic ``gaps``."""
    return Outages(GapWriter("gaps", b"", SCHEMA), lane=0, instance="me", connections=connections)


HOUR = 3_600_000
KEY = ("cs2", "list")
CODEC = EntryCodec(Catalog.load().own("ledger"))


def ledger(*trackers: Outages, known: Memory | None = None, now: int | None = None) -> Memory:
    """What a successor knows when each has written an entry, by way of its bytes."""
    known = known or Memory(Window(span=HOUR, max_identities=1000))
    for tracker in trackers:
        entry = Entry(
            kind=ENTRY, instance="me", at=1, connections=tracker.drain(7, now), gaps=tracker.drain_gaps(), journal="j"
        )
        known.take(CODEC.decode(CODEC.encode(entry)), 1)
    return known


def successor(known: Memory, span: int | None = None) -> Outages:
    """The tracker of a process that goes on from a ledger."""
    return Outages(
        GapWriter("gaps", b"", SCHEMA),
        lane=0,
        instance="other",
        connections=known.connections,
        gaps=known.gaps,
        span=span,
    )


def presence(*events: tuple[int, str], heard: int | None = None) -> Presence:
    """That of the own connection, from (time, event)."""
    found = Presence()
    for position, (at, event) in enumerate(events):
        found.event(position, Frame(*KEY, at, EVENT, b""), event, {})
    if heard is not None:
        found.heard(*KEY, heard)
    return found


def settle(tracker: Outages, own: Presence, at: int, *, proved: bool = True) -> list[dict[str, Any]]:
    """The gaps that a takeover records."""
    return list(map(read, tracker.settle(own, {"cs2"}, at, proved=proved)))


def facts(gap: Mapping[str, Any]) -> tuple[Any, ...]:
    """What matters of a gap beside its id."""
    return gap["from"], gap["to"], gap["state"], gap["recovered"], gap["superseded"], gap["how"]


def read(record: Record) -> dict[str, Any]:
    """The gap in a record, times in ms."""
    found: Any = fastavro.schemaless_reader(io.BytesIO(record.value), dict(SCHEMA), None)
    assert record.key.decode() == found["id"]
    for name in ("from", "to"):
        if found[name] is not None:
            found[name] = round(found[name].timestamp() * 1000)
    return dict(found)


def test_a_disconnect_opens_a_gap_at_the_last_frame_and_up_closes_it() -> None:
    """The same id, so that the later record replaces the earlier."""
    tracker = outages()
    tracker.event("cs2", "list", "up", {}, 1000)
    tracker.seen("cs2", "list", 2000)
    [opened] = map(read, tracker.event("cs2", "list", "down", {"cause": "silence"}, 5000))
    assert (opened["from"], opened["to"], opened["cause"], opened["state"]) == (2000, None, "silence", "open")
    assert (opened["gateway"], opened["connection"], opened["lane"], opened["instance"]) == ("cs2", "list", 0, "me")
    [closed] = map(read, tracker.event("cs2", "list", "up", {}, 9000))
    assert closed["id"] == opened["id"]
    assert (closed["from"], closed["to"], closed["state"]) == (2000, 9000, "lost")
    assert tracker.open_gaps() == []
    assert tracker.drain_opened() == {("cs2", "silence"): 1}


def test_the_first_connect_is_no_gap() -> None:
    """Nothing was promised before the first frame."""
    tracker = outages()
    assert tracker.event("cs2", "list", "down", {"cause": "disconnect"}, 1) == []
    assert tracker.event("cs2", "list", "up", {}, 2) == []


def test_failed_attempts_stay_one_gap() -> None:
    """A second outage before the first ended is the same gap."""
    tracker = outages()
    tracker.event("cs2", "list", "up", {}, 1)
    assert len(tracker.event("cs2", "list", "down", {"cause": "disconnect"}, 10)) == 1
    assert tracker.event("cs2", "list", "down", {"cause": "refused"}, 20) == []
    [closed] = map(read, tracker.event("cs2", "list", "up", {}, 30))
    assert (closed["from"], closed["to"], closed["cause"]) == (1, 30, "disconnect")


def test_the_gateways_own_time_may_be_earlier() -> None:
    """`since` counts where it lies before the last frame's time of arrival."""
    tracker = outages()
    tracker.event("cs2", "list", "up", {}, 1)
    tracker.seen("cs2", "list", 2000)
    [opened] = map(read, tracker.event("cs2", "list", "down", {"cause": "disconnect", "since": 1500}, 5000))
    assert opened["from"] == 1500


def test_a_crash_is_a_gap_of_every_connection_that_was_up() -> None:
    """A new process finds the connections in the ledger and its own ``start`` in the journal."""
    before = outages()
    for name in ("list", "detail"):
        before.event("cs2", name, "up", {}, 1)
        before.seen("cs2", name, 3000)
    before.event("cs2", "detail", "gone", {}, 3100)
    known = {(each.gateway, each.connection): each for each in before.drain(7)}
    after = outages(known)
    [opened] = map(read, after.event("", "", "start", {}, 9000))
    assert (opened["connection"], opened["from"], opened["cause"]) == ("list", 3000, "crash")
    [closed] = map(read, after.event("cs2", "list", "up", {}, 9500))
    assert (closed["id"], closed["to"]) == (opened["id"], 9500)


def test_a_crash_before_the_first_frame_is_a_gap_from_when_it_came_up() -> None:
    """It was well until then; when the process died nobody knows."""
    before = outages()
    before.event("cs2", "list", "up", {}, 1000)
    after = outages({(each.gateway, each.connection): each for each in before.drain(7)})
    [opened] = map(read, after.event("", "", "start", {}, 9000))
    assert (opened["from"], opened["cause"]) == (1000, "crash")


def test_a_stop_stays_one_gap_through_the_restart() -> None:
    """The gap that the stopping process opened is closed by the next."""
    before = outages()
    before.event("cs2", "list", "up", {}, 1)
    [opened] = map(read, before.event("cs2", "list", "down", {"cause": "stopped"}, 50))
    after = outages({(each.gateway, each.connection): each for each in before.drain(7)})
    assert after.event("", "", "start", {}, 90) == []
    [closed] = map(read, after.event("cs2", "list", "up", {}, 99))
    assert (closed["id"], closed["cause"], closed["to"]) == (opened["id"], "stopped", 99)


def test_a_connection_that_comes_up_while_the_ledger_has_it_up_was_cut_without_a_word() -> None:
    """Its holder died, and nobody received between that one's last frame and now: one gap, opened and closed."""
    tracker = outages({("cs2", "list"): Connection("cs2", "list", up=True, last_frame=3000)})
    opened, closed = map(read, tracker.event("cs2", "list", "up", {}, 9000))
    assert opened["id"] == closed["id"]
    assert (closed["from"], closed["to"], closed["cause"], closed["state"]) == (3000, 9000, "crash", "lost")


def test_the_ledger_learns_of_changes_once() -> None:
    """Each drain holds what changed since the one before."""
    tracker = outages()
    tracker.event("cs2", "list", "up", {}, 1)
    tracker.seen("cs2", "list", 2000)
    [known] = tracker.drain(5)
    assert known == Connection("cs2", "list", up=True, last_frame=2000, position=5)
    assert tracker.drain(6) == []


@pytest.mark.parametrize("cause", [*CAUSES, "something new"])
def test_every_cause_can_be_written(cause: str) -> None:
    """One the schema does not know is written as a disconnect."""
    tracker = outages()
    tracker.event("cs2", "list", "up", {}, 1)
    [opened] = map(read, tracker.event("cs2", "list", "down", {"cause": cause}, 50))
    assert opened["cause"] == (cause if cause in CAUSES else "disconnect")


class TestNotRead:
    """A socket that is not read, because the journal takes nothing, is a gap of its own cause."""

    def test_from_the_last_frame_to_the_first_after_it(self) -> None:
        """Also without a disconnect: the server may have dropped frames. The connection stays up all the time."""
        tracker = outages()
        tracker.event(*KEY, "up", {}, 1000)
        tracker.seen(*KEY, 2000)
        [opened] = map(read, tracker.event(*KEY, "unread", {"since": 2000}, 2100))
        assert (opened["cause"], opened["state"]) == ("journal_full", "open")
        [known] = tracker.drain(1)
        assert (known.up, known.gap) == (True, opened["id"])
        [closed] = map(read, tracker.event(*KEY, "read", {}, 9000))
        assert closed["id"] == opened["id"]
        assert facts(closed) == (2000, 9000, "lost", 0, 0, None)
        assert tracker.drain_opened() == {("cs2", "journal_full"): 1}

    def test_a_disconnect_meanwhile_is_the_same_gap(self) -> None:
        """One interval, one record."""
        tracker = outages()
        tracker.event(*KEY, "up", {}, 1000)
        tracker.seen(*KEY, 2000)
        [opened] = map(read, tracker.event(*KEY, "unread", {}, 2100))
        assert tracker.event(*KEY, "down", {"cause": "disconnect"}, 5000) == []
        [closed] = map(read, tracker.event(*KEY, "up", {}, 6000))
        assert (closed["id"], closed["cause"], closed["to"]) == (opened["id"], "journal_full", 6000)

    def test_a_crash_meanwhile_is_the_same_gap(self) -> None:
        """The next process finds it open."""
        before = outages()
        before.event(*KEY, "up", {}, 1000)
        [opened] = map(read, before.event(*KEY, "unread", {}, 2100))
        after = successor(ledger(before))
        assert after.event("", "", "start", {}, 5000) == []
        [closed] = map(read, after.event(*KEY, "up", {}, 6000))
        assert (closed["id"], closed["cause"], closed["to"]) == (opened["id"], "journal_full", 6000)


class TestTakeover:
    """A standby that takes over closes what it filled, and says so only where that is proved."""

    def cut(self) -> tuple[Memory, str]:
        """The active was cut from 20 to 21 s; its gap is closed as lost."""
        active = outages()
        active.event(*KEY, "up", {}, 1000)
        active.seen(*KEY, 20_000)
        active.event(*KEY, "down", {"cause": "disconnect"}, 20_100)
        [closed] = map(read, active.event(*KEY, "up", {}, 21_000))
        assert closed["state"] == "lost"
        return ledger(active), closed["id"]

    def test_a_gap_that_is_closed_already_is_filled_with_counts(self) -> None:
        """The 0.3 s cut: five seconds later the standby publishes what the active missed."""
        known, gap = self.cut()
        tracker = successor(known)
        for at in (20_200, 20_400, 20_900):
            tracker.late(*KEY, None, at)
        tracker.late(*KEY, None, 20_500, superseded=True)
        [filled] = settle(tracker, presence((1000, "up"), heard=26_000), 26_000)
        assert (filled["id"], filled["cause"]) == (gap, "disconnect")
        assert facts(filled) == (20_000, 21_000, "filled", 3, 1, "received by a standby")

    def test_it_is_said_once(self) -> None:
        """A third process finds it filled and has nothing to add."""
        known, _ = self.cut()
        tracker = successor(known)
        tracker.late(*KEY, None, 20_200)
        own = presence((1000, "up"), heard=26_000)
        assert len(settle(tracker, own, 26_000)) == 1
        assert settle(successor(ledger(tracker, known=known)), own, 40_000) == []

    def test_nothing_missed_is_proved_too(self) -> None:
        """Every own frame of that time was shown by the ledger: nothing is left to publish."""
        known, gap = self.cut()
        [filled] = settle(successor(known), presence((1000, "up"), heard=26_000), 26_000)
        assert filled["id"] == gap
        assert facts(filled)[2:] == ("filled", 0, 0, "received by a standby")

    @pytest.mark.parametrize(
        ("own", "proved"),
        [
            pytest.param(presence((1000, "up"), (20_500, "down"), (20_600, "up"), heard=26_000), True, id="cut too"),
            pytest.param(presence((20_000 - MARGIN + 1, "up"), heard=26_000), True, id="came up too late"),
            pytest.param(presence((1000, "up"), heard=20_999), True, id="not heard since"),
            pytest.param(presence((1000, "up"), heard=26_000), False, id="own frames given up"),
        ],
    )
    def test_partly_where_the_own_line_is_no_proof(self, own: Presence, proved: bool) -> None:  # noqa: FBT001
        """What was published late is counted, and no more is claimed; where there was none it stays lost, unsaid."""
        known, gap = self.cut()
        tracker = successor(known)
        tracker.late(*KEY, None, 20_200)
        [partly] = settle(tracker, own, 26_000, proved=proved)
        assert partly["id"] == gap
        assert facts(partly) == (20_000, 21_000, "partly", 1, 0, "received by a standby")
        assert settle(successor(self.cut()[0]), own, 26_000, proved=proved) == []

    def test_an_open_gap_is_closed(self) -> None:
        """The active's gateway is down: from now on the frames flow here."""
        active = outages()
        active.event(*KEY, "up", {}, 1000)
        active.seen(*KEY, 20_000)
        active.event(*KEY, "down", {"cause": "silence"}, 50_000)
        known = ledger(active)
        tracker = successor(known)
        tracker.late(*KEY, None, 51_000)
        [filled] = settle(tracker, presence((1000, "up")), 52_000)
        assert facts(filled) == (20_000, 52_000, "filled", 1, 0, "received by a standby")
        [connection] = tracker.drain(9)
        assert (connection.up, connection.gap) == (True, None)

    def test_what_is_down_here_opens_a_gap(self) -> None:
        """While the other process received, an own outage was none; now it is, with its own cause."""
        active = outages()
        active.event(*KEY, "up", {}, 1000)
        active.seen(*KEY, 20_000)
        tracker = successor(ledger(active))
        [opened] = settle(tracker, presence((1000, "up"), (15_000, "down")), 22_000)
        assert (opened["from"], opened["to"], opened["cause"]) == (20_000, None, "disconnect")

    def test_a_connection_that_never_was_up_here_opens_a_gap(self) -> None:
        """Nobody receives it now."""
        active = outages()
        active.event(*KEY, "up", {}, 1000)
        active.seen(*KEY, 20_000)
        [opened] = settle(successor(ledger(active)), Presence(), 22_000)
        assert (opened["from"], opened["to"], opened["cause"]) == (20_000, None, "crash")

    @pytest.mark.parametrize("own", [presence((1000, "up"), (15_000, "gone")), None], ids=["gone", "not configured"])
    def test_what_is_gone_here_is_no_gap(self, own: Presence | None) -> None:
        """The match is over, or the gateway is no longer in the configuration; the ledger forgets it."""
        active = outages()
        active.event("cs2" if own else "old", "list", "up", {}, 1000)
        active.seen("cs2" if own else "old", "list", 20_000)
        tracker = successor(ledger(active))
        assert settle(tracker, own or Presence(), 22_000) == []
        [connection] = tracker.drain(9)
        assert (connection.up, connection.gone) == (False, True)

    def test_late_frames_are_counted_over_several_transactions_and_processes(self) -> None:
        """Each transaction says how far it is; whoever goes on counts on from there."""
        known, gap = self.cut()
        first = successor(known)
        first.late(*KEY, None, 20_200)
        [partly] = map(read, first.progress(26_000))
        assert (partly["id"], *facts(partly)[2:4]) == (gap, "partly", 1)
        assert first.progress(26_000) == []
        second = successor(ledger(first, known=known))
        second.late(*KEY, None, 20_300)
        [filled] = settle(second, presence((1000, "up"), heard=27_000), 27_000)
        assert facts(filled)[2:4] == ("filled", 2)

    def test_late_frames_outside_of_every_gap_are_no_gaps(self) -> None:
        """A killed active leaves a backlog to its standby: nobody missed anything."""
        known, _ = self.cut()
        tracker = successor(known)
        tracker.late(*KEY, None, 21_000 + MARGIN + 1)
        tracker.late("cs2", "other", None, 20_500)
        assert tracker.progress(26_000) == []


class TestBooks:
    """A broken chain is a gap of its entity."""

    def test_the_next_snapshot_closes_it(self) -> None:
        """Opened once, filled by what the stream itself says."""
        tracker = outages()
        [opened] = map(read, tracker.broken("m", "s1", "token", seq=5, since=50, at=80))
        assert (opened["entity"], opened["connection"], opened["last_seq"]) == ("token", "s1", "5")
        assert (opened["from"], opened["to"], opened["cause"], opened["state"]) == (50, None, "book_sequence", "open")
        assert tracker.broken("m", "s1", "token", seq=9, since=90, at=95) == []
        assert tracker.whole("m", "other", "snapshot", 99) == []
        [closed] = map(read, tracker.whole("m", "token", "snapshot of the stream", 100))
        assert closed["id"] == opened["id"]
        assert facts(closed) == (50, 100, "filled", 0, 0, "snapshot of the stream")
        assert tracker.whole("m", "token", "snapshot of the stream", 101) == []
        assert tracker.drain_opened() == {("m", "book_sequence"): 1}

    def test_a_successor_closes_what_it_finds_open(self) -> None:
        """And opens none beside it."""
        before = outages()
        [opened] = map(read, before.broken("m", "s1", "token", seq=5, since=50, at=80))
        after = successor(ledger(before))
        assert after.broken("m", "s1", "token", seq=9, since=90, at=95) == []
        [closed] = map(read, after.whole("m", "token", "snapshot of the stream", 100))
        assert closed["id"] == opened["id"]

    def test_late_deltas_of_the_token_count(self) -> None:
        """The book stays uncertain for whoever applies deltas in order; it stays open until a snapshot."""
        tracker = outages()
        tracker.broken("m", "s1", "token", seq=5, since=50, at=80)
        tracker.late("m", "s1", "token", 60)
        [told] = map(read, tracker.progress(99))
        assert (told["state"], told["recovered"]) == ("open", 1)


def test_frames_set_aside_are_a_gap_that_says_where_they_are() -> None:
    """Closed at once: nothing will fill it."""
    record = read(outages().expired(*KEY, since=5, until=9, position=40, kept="expired/40.jsonl"))
    assert (record["cause"], *facts(record)) == (
        "expired", 5, 9, "lost", 0, 0, "not published, kept in expired/40.jsonl",
    )  # fmt: skip


def test_the_gap_tells_the_last_number_and_the_gateways_own_time() -> None:
    """From the envelope of the last frame; a time far off is no time of this frame."""
    for sent, expected in ((1900, 1900), (2000 - OWN_TIME - 1, 2000), (2500, 2000), (None, 2000)):
        tracker = outages()
        tracker.said = lambda _gateway, meta: (meta.seq, meta.sent)
        tracker.event(*KEY, "up", {}, 1)
        tracker.seen(*KEY, 2000, SimpleNamespace(seq=17, sent=sent))
        [opened] = map(read, tracker.event(*KEY, "down", {}, 5000))
        assert (opened["from"], opened["last_seq"]) == (expected, "17")
        [known] = tracker.drain(3)
        assert (known.last_frame, known.last_seq) == (expected, "17")


def test_a_frame_that_tells_no_time_was_under_way_as_long_as_the_one_before() -> None:
    """The last one was no frame that could be read, or is disposed of: by then the gateway still sent, over a slow line."""
    tracker = outages()
    tracker.said = lambda _gateway, meta: (meta, 1500)
    tracker.event(*KEY, "up", {}, 1)
    tracker.seen(*KEY, 1600, 17)
    tracker.seen(*KEY, 2000)
    [known] = tracker.drain(3)
    assert (known.last_frame, known.last_seq) == (1900, "17")
    tracker.seen(*KEY, 3000)
    assert [known.last_frame for known in tracker.drain(4)] == [2900]


def test_a_crash_counts_from_what_the_ledger_knows_where_the_journal_is_lost() -> None:
    """Number and time of the last frame that was committed."""
    before = outages()
    before.said = lambda _gateway, meta: (meta, None)
    before.event(*KEY, "up", {}, 1)
    before.seen(*KEY, 2000, 17)
    [opened, closed] = map(read, successor(ledger(before)).event(*KEY, "up", {}, 9000))
    assert (opened["from"], opened["last_seq"], opened["cause"]) == (2000, "17", "crash")
    assert (closed["to"], closed["id"]) == (9000, opened["id"])


def test_what_ends_for_good_closes_its_gap() -> None:
    """A match that was over before the line came back: no gap stays open for ever."""
    tracker = outages()
    tracker.event(*KEY, "up", {}, 1)
    tracker.event(*KEY, "down", {}, 50)
    [closed] = map(read, tracker.event(*KEY, "gone", {}, 70))
    assert (closed["to"], closed["state"]) == (70, "lost")
    known = ledger(tracker)
    assert known.connections[KEY].gone
    assert successor(known).event("", "", "start", {}, 90) == []


def test_a_successor_of_one_window_later_still_knows() -> None:
    """A quiet connection and a gap open for hours are said again before the ledger's window forgets them."""
    tracker = successor(Memory(Window(span=HOUR, max_identities=10)), span=HOUR)
    for name in ("quiet", "cut", "over"):
        tracker.event("cs2", name, "up", {}, 1)
    tracker.event("cs2", "cut", "down", {}, 50)
    tracker.event("cs2", "over", "gone", {}, 60)
    ledger(tracker, now=100)
    said = {}
    for now in range(100, 2 * HOUR, REMIND):
        later = ledger(tracker, now=now)
        if later.connections:
            said[now] = later
    times = sorted(said)
    assert len(times) <= 5
    assert max(b - a for a, b in zip([100, *times], [*times, 2 * HOUR], strict=True)) <= HOUR // 2 + 2 * REMIND
    last = said[times[-1]]
    assert {name: known.up for (_, name), known in last.connections.items()} == {"quiet": True, "cut": False}
    [closed] = map(read, successor(last).event("cs2", "cut", "up", {}, 3 * HOUR))
    assert (closed["from"], closed["to"], closed["cause"]) == (1, 3 * HOUR, "disconnect")


def test_gaps_that_are_closed_are_remembered_in_number() -> None:
    """A line that flaps for ever takes no more memory, here or at a successor."""
    tracker = outages()
    known = ledger(tracker)
    for at in range(0, 1000 * MAX_CLOSED, 500):
        tracker.event(*KEY, "up", {}, at)
        tracker.seen(*KEY, at + 1)
        tracker.event(*KEY, "down", {}, at + 2)
        ledger(tracker, known=known)
    assert len(known.gaps) == MAX_CLOSED + 1
    assert [gap.state for gap in known.gaps.values()].count("open") == 1


class TestAsked:
    """A gap whose gateway can be asked stays open until that was done, whoever is active by then."""

    @staticmethod
    def asking(known: Memory | None = None, *, lane: int = 0) -> Outages:
        """A tracker of a gateway that can be asked."""
        return Outages(
            GapWriter("gaps", b"", SCHEMA),
            lane=lane,
            instance="me",
            connections=known.connections if known else None,
            gaps=known.gaps if known else None,
            fillable={"cs2"},
        )

    def cut(self, *, lane: int = 0) -> tuple[Outages, str]:
        """One that has had an outage from 1000 to 5000, and the gap's id."""
        tracker = self.asking(lane=lane)
        tracker.event(*KEY, "up", {}, 500)
        tracker.seen(*KEY, 1000)
        tracker.event(*KEY, "down", {"cause": "disconnect"}, 2000)
        [closed] = map(read, tracker.event(*KEY, "up", {}, 5000))
        assert facts(closed) == (1000, 5000, "open", 0, 0, "the gateway is being asked")
        return tracker, closed["id"]

    def test_what_was_found_is_counted_and_the_gap_judged(self) -> None:
        """Counts stand in the ledger beside the records, so that they go on after a crash."""
        tracker, ident = self.cut()
        assert [gap.id for gap in tracker.unjudged] == [ident]
        tracker.recovered(f"fill:{ident}")
        after = self.asking(ledger(tracker))
        assert [(gap.id, gap.recovered) for gap in after.unjudged] == [(ident, 1)]
        after.recovered(f"fill:{ident}")
        [judged] = map(read, after.judge(ident, "partly", "settlements", 9000))
        assert facts(judged) == (1000, 5000, "partly", 2, 0, "settlements")
        assert not after.unjudged
        assert after.judge(ident, "lost", "late", 9001) == []

    def test_lost_with_records_is_partly(self) -> None:
        """The gateway gave up after some had come."""
        tracker, ident = self.cut()
        tracker.recovered(f"fill:{ident}")
        [judged] = map(read, tracker.judge(ident, "lost", "given up", 9000))
        assert facts(judged) == (1000, 5000, "partly", 1, 0, "given up")

    def test_what_another_lane_asked_for_counts_for_the_own_gap_of_that_connection(self) -> None:
        """Each lane's gap begins with its own last frame."""
        tracker, ident = self.cut(lane=1)
        tracker.recovered("fill:cs2/list/900/0")
        tracker.recovered("fill:cs2/other/900/0")
        tracker.recovered("fill:")
        assert [(gap.id, gap.recovered) for gap in tracker.unjudged] == [(ident, 1)]

    def test_a_connection_that_breaks_again_before_anything_came_has_one_gap(self) -> None:
        """It is asked for when it is over."""
        tracker, ident = self.cut()
        tracker.event(*KEY, "down", {"cause": "disconnect", "since": 1000}, 5000)
        tracker.drain(1)
        assert not [gap for gap in tracker.unjudged if gap.until is None]
        tracker.event(*KEY, "up", {}, 7000)
        assert ident in {gap.id for gap in tracker.unjudged}

    def test_a_standby_that_received_all_of_it_leaves_nothing_to_ask(self) -> None:
        """Its own connection was up: every frame is published."""
        tracker, ident = self.cut()
        taking = self.asking(ledger(tracker))
        own = presence((0, "up"), heard=6000)
        assert facts(settle(taking, own, 7000)[-1])[2] == "filled"
        assert not taking.unjudged
        assert taking.judge(ident, "partly", "rest", 8000) == []

    def test_other_gaps_are_judged_as_before(self) -> None:
        """Of a gateway that can't be asked, and of a book, which its snapshot heals."""
        tracker = self.asking()
        tracker.event("other", "list", "up", {}, 500)
        tracker.seen("other", "list", 1000)
        tracker.event("other", "list", "down", {}, 2000)
        [closed] = map(read, tracker.event("other", "list", "up", {}, 5000))
        assert closed["state"] == "lost"
        tracker.broken("cs2", "list", "token", seq=5, since=1000, at=1500)
        assert not tracker.unjudged
        [healed] = map(read, tracker.whole("cs2", "token", "snapshot", 1600))
        assert healed["state"] == "filled"

    def test_a_recorded_gap_is_asked_for_again_by_hand_once_over(self) -> None:
        """By the lane that recorded it, also where the ledger no longer knows it; not one that is open."""
        tracker, ident = self.cut()
        [lost] = tracker.judge(ident, "lost", "given up", 9000)
        assert read(lost)["state"] == "lost"
        gap = {"id": ident, "gateway": "cs2", "connection": "list", "since": 1000, "cause": "disconnect", "until": 5000}
        request = {"gateway": "cs2", "gap": {**gap, "state": "lost"}}
        for lane, count in ((1, 0), (0, 1)):
            assert len(self.asking(lane=lane).request(request, "3", 10_000)) == count
        [again] = map(read, tracker.request(request, "3", 10_000))
        assert (again["id"], again["state"]) == (ident, "open")
        assert tracker.request(request, "4", 10_001) == []
        tracker.judge(ident, "partly", "rest", 11_000)
        tracker.event(*KEY, "down", {"cause": "disconnect"}, 12_000)
        still = tracker.open_gaps()[0].gap
        assert tracker.request({"gateway": "cs2", "gap": {**gap, "id": still}}, "5", 13_000) == []

    def test_a_time_that_is_asked_for_is_a_gap_of_its_own(self) -> None:
        """Of the whole gateway, named by the request."""
        tracker = self.asking()
        [asked] = map(read, tracker.request({"gateway": "cs2", "since": 1000, "until": 2000}, "7", 9000))
        assert (asked["id"], asked["connection"], asked["cause"]) == ("cs2/*/1000/requested/7/0", "*", "requested")
        assert [gap.id for gap in self.asking(ledger(tracker)).unjudged] == [asked["id"]]

    def test_what_waits_to_be_asked_for_is_never_forgotten(self) -> None:
        """However many gaps there are: only those that were judged are dropped."""
        tracker = self.asking()
        for number in range(2 * MAX_CLOSED):
            tracker.request({"gateway": "cs2", "since": 1 + number, "until": 2000}, str(number), 9000)
        assert len(ledger(tracker).gaps) == 2 * MAX_CLOSED
