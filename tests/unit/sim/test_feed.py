"""What the simulated TickTock publishes over AMQP is of the contract's shape, and spoilt as told."""

from __future__ import annotations

from collections import Counter
from random import Random
from xml.etree import ElementTree as ET

import pytest

from bridge.sim.cs2 import Cs2World
from bridge.sim.feed import FeedKnobs, Message, alive, replay
from bridge.sim.stamps import START_MS

LATER = START_MS + 60_000


def world() -> Cs2World:
    """A world in which things have happened."""
    made = Cs2World(Random(3))
    for _ in range(3000):
        made.step(START_MS + 1000)
    return made


def answer(knobs: FeedKnobs, *, after: int = START_MS) -> list[Message]:
    """A replay of that world."""
    return list(replay(world(), after=after, request_id="42", now=LATER, knobs=knobs))


def test_a_replay_is_what_the_contract_says() -> None:
    """For each match its active markets, what was settled and what was void since; the end comes last (3.5)."""
    messages = answer(FeedKnobs())
    roots = [ET.fromstring(message.body) for message in messages]  # noqa: S314 - ours

    counts = Counter(root.tag for root in roots)
    assert counts.keys() == {"odds_change", "bet_settlement", "bet_cancel", "fixture_change", "snapshot_complete"}
    assert roots[-1].tag == "snapshot_complete"
    assert roots[-1].attrib == {"request_id": "42", "product": "2", "timestamp": str(LATER)}
    for message, root in zip(messages[:-1], roots[:-1], strict=True):
        assert root.get("event_id", "").startswith("od:match:")
        assert root.get("tt_match_id")
        parts = message.key.split(".")
        assert len(parts) == 8
        assert (parts[0], parts[3]) == ("hi" if root.tag == "fixture_change" else "lo", root.tag)


def test_only_what_came_after_is_replayed() -> None:
    """Settlements before `after` are not; active markets always are."""
    counts = Counter(message.key.split(".")[3] for message in answer(FeedKnobs(), after=LATER))
    assert counts["bet_settlement"] == counts["bet_cancel"] == 0
    assert counts["odds_change"]


def test_the_same_world_gives_the_same_replay() -> None:
    """Nothing is left to chance."""
    knobs = FeedKnobs(extra=50, live=10, malformed=3, bombs=2, strange=4, unknown=2, duplicates=5)
    assert answer(knobs) == answer(knobs)


def test_faults_are_strewn_in_as_many_as_wanted() -> None:
    """They are frames of their own: no healthy message is lost by them, and none but the duplicates is there twice."""
    plain = answer(FeedKnobs(extra=50, live=10))
    spoilt = answer(FeedKnobs(extra=50, live=10, malformed=3, bombs=2, strange=4, unknown=2, duplicates=5))
    counts = Counter(message.fault for message in spoilt)
    assert [message for message in spoilt if message.fault is None] == plain
    assert counts == {None: len(plain), "malformed": 3, "bomb": 2, "strange": 4, "unknown": 2, "duplicate": 5}
    assert len({message.body for message in spoilt}) == len(spoilt) - 5
    assert spoilt[5].fault is None


@pytest.mark.parametrize(("knobs", "ends"), [(FeedKnobs(complete=False), 0), (FeedKnobs(stray_complete=True), 2)])
def test_the_end_may_be_missing_or_follow_another(knobs: FeedKnobs, ends: int) -> None:
    """A stray one is of another request."""
    found = [message.body for message in answer(knobs) if b"snapshot_complete" in message.body]
    assert len(found) == ends
    assert sum(b'request_id="42"' in body for body in found) == min(ends, 1)


def test_alive_says_whether_the_producer_is_subscribed() -> None:
    """Contract 4.3."""
    assert b'subscribed="1"' in alive(1).body
    assert b'subscribed="0"' in alive(1, subscribed=False).body
