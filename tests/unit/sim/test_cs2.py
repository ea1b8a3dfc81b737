"""The CS2 world tells a consistent story."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from random import Random

from bridge.sim.change import Change
from bridge.sim.cs2 import Cs2World
from bridge.sim.stamps import START_MS


def story(
    seed: int, steps: int, *, at: int = START_MS, every: int = 40, chatter: float = 4.0, rounds: int = 13
) -> list[Change]:
    """What happens in a small world, one step every `every` ms."""
    world = Cs2World(Random(seed), now=at, matches=4, chatter=chatter, rounds_to_win=rounds)
    return [change for step in range(steps) for change in world.step(at + step * every)]


def test_a_seed_gives_one_story() -> None:
    """The same seed gives the same changes; another gives others."""
    assert story(1, 500) == story(1, 500)
    assert story(1, 500) != story(2, 500)


def test_time_changes_no_event() -> None:
    """At another time and speed the same things happen, only the times differ."""
    slow, fast = story(3, 800), story(3, 800, at=START_MS + 9_999_999, every=1)
    assert [(change.type, change.entity, change.state) for change in slow] == [
        (c.type, c.entity, c.state) for c in fast
    ]


def test_every_frame_type_happens() -> None:
    """All fifteen types of the contract come up."""
    assert {change.type for change in story(1, 8000, chatter=1.0, rounds=3)} == {
        "match.created", "match.updated", "match.finished", "round.started", "round.finished",
        "event.kill", "event.bomb_planted", "event.bomb_defused", "event.bomb_exploded",
        "market.created", "market.updated", "market.suspended", "market.unsuspended", "bet_settlement", "scoreboard.frame",
    }  # fmt: skip


def test_a_state_is_never_said_twice() -> None:
    """A match or market frame always says something new: the gateway sends changes only."""
    last: dict[str, tuple[str, object]] = {}
    for change in story(4, 6000, chatter=2.0):
        if change.state is not None and change.type != "scoreboard.frame":
            assert last.get(change.state) != (change.type, change.data)
            last[change.state] = (change.type, change.data)


def test_markets_live_from_created_to_settlement() -> None:
    """No odds for a market that was not created or is settled; each new one begins active; a resettlement follows a settlement."""
    known: set[str] = set()
    settled: Counter[str] = Counter()
    for change in story(5, 8000, chatter=2.0):
        if change.type == "market.created":
            assert change.data["status"] == 1
            known.add(change.data["id"])
        elif change.type.startswith("market.") and change.data["id"] in known:
            assert settled[change.data["id"]] == 0
        elif change.type == "bet_settlement":
            assert change.data["is_resettlement"] is (
                settled[change.data["market_offer_id"]] > 0 or change.data["previous_status"] != "pending"
            )
            settled[change.data["market_offer_id"]] += 1
    assert known
    assert max(settled.values()) > 1


def test_settlements_have_rising_ids_all_outcomes_and_both_orders() -> None:
    """Log ids rise; won, lost and void occur; a settlement may come before its round's end."""
    changes = story(6, 20_000, chatter=0.5)
    entries = [change.data for change in changes if change.type == "bet_settlement"]
    assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
    assert {entry["outcome"] for entry in entries} == {"won", "lost", "void"}
    assert {entry["is_resettlement"] for entry in entries} == {True, False}
    pairs = {(one.type, two.type) for one, two in pairwise(changes) if one.entity == two.entity}
    assert ("bet_settlement", "round.finished") in pairs
    assert ("match.updated", "bet_settlement") in pairs


def test_rounds_count_up_and_scores_add_up() -> None:
    """Within a map rounds come in order, started before finished, and the score is the number of rounds."""
    rounds: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
    for change in story(7, 20_000, chatter=0.5, rounds=5):
        if change.type.startswith("round."):
            rounds[change.entity, change.data["map_number"]].append((change.type, change.data["round_number"]))
            if change.type == "round.finished":
                assert change.data["score_a"] + change.data["score_b"] == change.data["round_number"]
                assert change.data["winner_side"] in {"CT", "T"}
    whole = [each for each in rounds.values() if each[0] == ("round.started", 1)]
    assert whole
    for each in whole:
        assert (
            each
            == [(kind, number) for number in range(1, len(each) + 1) for kind in ("round.started", "round.finished")][
                : len(each)
            ]
        )


def test_a_finished_match_makes_room() -> None:
    """As many matches are live as before, the finished one stays to be asked for, and a new one is announced."""
    world = Cs2World(Random(8), matches=3, upcoming=2, chatter=0.1, rounds_to_win=2)
    kinds = Counter(change.type for _ in range(4000) for change in world.step(START_MS))
    assert kinds["match.finished"] > 3
    assert kinds["match.created"] == kinds["match.finished"]
    assert (len(world.live), len(world.upcoming)) == (3, 2)
    assert world.find(world.finished[-1].id) is world.finished[-1]


def test_prices_are_two_decimals_above_one() -> None:
    """Odds are JSON numbers with exactly two decimals, as 1.10, and never below 1.05."""
    for change in story(9, 3000):
        for odd in change.data.get("odds", ()):
            text = bytes(odd["price"]).decode()
            assert text.partition(".")[2].isdigit()
            assert len(text.partition(".")[2]) == 2
            assert float(text) >= 1.05
