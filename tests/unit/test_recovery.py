"""Every span in which frames may be missing becomes one gap record, opened once and closed once."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest

from bridge.catalog import Catalog
from bridge.frame import Record
from bridge.ledger import Connection
from bridge.recovery import CAUSES, GapWriter, Outages

SCHEMA = Catalog.load().own("gap")


def outages(connections: dict[tuple[str, str], Connection] | None = None) -> Outages:
    """A tracker that writes unframed records to the topic ``gaps``."""
    return Outages(GapWriter("gaps", b"", SCHEMA), lane=0, instance="me", connections=connections)


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
