"""bridge.gateways.splice and bridge.gateways.gist: what a successor hands on, frame by frame."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from bridge.gateways.gist import flat, nested
from bridge.gateways.splice import Splice


def cs2(kind: str, seq: int, **data: Any) -> bytes:
    """A frame of TickTock."""
    return json.dumps({"type": kind, "data": data, "meta": {"seq": seq, "ts": str(seq)}}).encode()


def book(kind: str, seq: int, *, sid: int = 1, ident: str = "7", **more: Any) -> bytes:
    """A book frame of PredictStreet."""
    frame = {"type": kind, "sid": sid, "channel": "token_book", "id": ident, "seq": seq, "serverTs": random.random()}
    return json.dumps({**frame, "data": {"bids": [seq]}, **more}).encode()


def test_what_only_a_connection_adds_is_no_part_of_the_gist() -> None:
    """Subscription id and server time. Numbers are, where connections agree on them; TickTock's may be each one's own."""
    assert flat(book("book_delta", 5, sid=1)) == flat(book("book_delta", 5, sid=9))
    assert flat(book("book_delta", 5)) != flat(book("book_delta", 6))
    one, other = nested(cs2("match.updated", 5, id="m")), nested(cs2("match.updated", 6, id="m"))
    assert one.exact != other.exact
    assert one.content == other.content
    assert one.content != nested(cs2("match.updated", 5, id="m", score=1)).content


@pytest.mark.parametrize(
    ("raw", "entity", "whole"),
    [
        (cs2("match.updated", 1, id="m"), "match m", True),
        (cs2("market.updated", 1, id="k", match_id="m"), "market k", True),
        (cs2("scoreboard.frame", 1, match_id="m"), "scoreboard m", True),
        (cs2("event.kill", 1, match_id="m"), None, False),
        (cs2("bet_settlement", 1, id=3, match_id="m"), None, False),
        (b"rubbish", None, False),
        (b"\xff", None, False),
        (b'{"data": 5}', None, False),
    ],
)
def test_states_of_ticktock_name_what_they_are_of_and_events_stand_for_themselves(
    raw: bytes, *, entity: str | None, whole: bool
) -> None:
    """An event must never be left out because something else was told of the same match."""
    assert nested(raw)[3:] == (entity, whole)


@pytest.mark.parametrize(
    ("raw", "entity", "whole"),
    [
        (book("book_snapshot", 1), "book 7", True),
        (book("book_delta", 1), "book 7", False),
        (book("trade_matched", 1), None, False),
        (b'{"type": "platform_status", "id": "platform_status", "data": {}}', "platform platform_status", True),
        (b"[]", None, False),
    ],
)
def test_states_of_predictstreet_name_what_they_are_of(raw: bytes, *, entity: str | None, whole: bool) -> None:
    """A delta is a change of a book and never the begin of one."""
    assert flat(raw)[3:] == (entity, whole)


def handed_on(splice: Splice, new: list[bytes]) -> list[bytes]:
    """What is left of the new connection's frames."""
    return [new[index] for index in splice.remainder()]


def test_a_snapshot_that_the_old_connection_has_gone_beyond_is_left_out() -> None:
    """Behind the old one's deltas it would turn the book back."""
    splice = Splice(flat)
    new = [book("book_snapshot", 5, sid=2), book("book_delta", 6, sid=2), book("book_delta", 7, sid=2)]
    splice.old(book("book_delta", 6))
    for raw in new:
        splice.new(raw)
    assert splice.overlaps
    assert handed_on(splice, new) == new[2:]


def test_a_snapshot_of_what_the_old_connection_did_not_tell_of_goes_on() -> None:
    """It turns nothing back, and dedupe knows whether it is news."""
    splice = Splice(flat)
    new = [book("book_snapshot", 5, ident="8"), book("book_delta", 6)]
    splice.old(book("book_delta", 6))
    for raw in new:
        splice.new(raw)
    assert handed_on(splice, new) == new[:1]


def test_without_a_frame_over_both_everything_goes_on() -> None:
    """Nothing proves that the old connection was as far."""
    splice = Splice(nested)
    new = [cs2("match.updated", 5, id="m", score=2)]
    splice.old(cs2("match.updated", 4, id="m", score=1))
    splice.new(new[0])
    assert not splice.overlaps
    assert handed_on(splice, new) == new


def test_equal_frames_are_taken_off_once_for_each_time_that_they_were_told() -> None:
    """Pause, unpause, pause, with numbers of each connection's own: who has seen two of three hands on the third."""
    splice = Splice(nested)
    kinds = ("market.suspended", "market.unsuspended", "market.suspended")
    new = [cs2(kind, seq, id="k") for seq, kind in enumerate(kinds)]
    for raw in new:
        splice.new(raw)
    for seq, kind in enumerate(kinds[:2], 100):
        splice.old(cs2(kind, seq, id="k"))
    assert handed_on(splice, new) == new[2:]


def test_what_was_said_before_the_new_connection_began_may_be_said_again() -> None:
    """Without a number that proves it is the same, nothing is taken off for it."""
    splice = Splice(flat)
    paused = b'{"type": "market_paused", "id": "0x1", "data": {}}'
    splice.old(paused)
    splice.new(paused)
    assert handed_on(splice, [paused]) == [paused]


def test_what_was_told_before_the_new_connection_began_anew_counts_no_more() -> None:
    """Its frames have a hole where it was lost."""
    splice = Splice(nested)
    splice.old(cs2("event.kill", 1, match_id="m"))
    splice.new(cs2("event.kill", 1, match_id="m"))
    splice.again()
    assert not splice.overlaps
    assert splice.remainder() == []


@pytest.mark.parametrize("seed", range(200))
@pytest.mark.parametrize("shared", [True, False], ids=["numbers shared", "numbers of each"])
def test_at_any_place_the_stream_goes_on_whole(seed: int, *, shared: bool) -> None:
    """Old and new begin and end anywhere with one frame in common, one is ahead of the other, both interleave in any way.

    With shared numbers nothing comes twice and nothing is left out. Without, frames that say the same are one frame to
    dedupe too (`seq_scope: connection`), and all that is said is there.
    """
    chance = random.Random(seed)
    said = [chance.randrange(4) for _ in range(60)]
    start = chance.randrange(40)  # of the new connection
    old_end, new_end = sorted((chance.randrange(start + 1, 61), chance.randrange(start + 1, 61)))[
        :: chance.choice((1, -1))
    ]
    numbers = range(chance.randrange(start + 1), old_end)
    old = [cs2("event.kill", n, match_id="m", n=said[n]) for n in numbers]
    new = [cs2("event.kill", n if shared else n + 1000, match_id="m", n=said[n]) for n in range(start, new_end)]
    splice = Splice(nested)
    turns = [list(old), list(new)]
    for side in chance.sample([0] * len(old) + [1] * len(new), len(old) + len(new)):
        (splice.new if side else splice.old)(turns[side].pop(0))
    found = handed_on(splice, new)
    wanted = new[max(0, old_end - start) :]
    if shared:
        assert found == wanted
    else:
        assert set(map(content, wanted)) <= {*map(content, found), *map(content, old)}
        assert set(found) <= set(new)


def content(raw: bytes) -> int:
    """What a frame of the test says."""
    found: int = json.loads(raw)["data"]["n"]
    return found
