"""Which way a frame goes: what is to blame where several things are wrong, what counts as a collision, what fits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.catalog import Catalog
from bridge.dedupe import Window
from bridge.errors import BadFrame
from bridge.frame import STREAM, Frame, Record
from bridge.ledger import Memory
from bridge.pipeline import Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import Route, Ways

CATALOG = Catalog.load()
NOW = 1_779_000_000_000


def route(gateway: str, kind: str) -> Route:
    """Topics named after gateway and type."""
    types = [*CATALOG.kind(kind).types, "unknown"]
    topics = {name: [(f"{gateway}.{name}", b"")] for name in types}
    return Route(gateway, CATALOG.kind(kind), frozenset(), topics, f"{gateway}.dead-letters")


def ticktock(text: str) -> Frame:
    """A frame of TickTock's list stream."""
    return Frame("cs2", "list", NOW, STREAM, text.encode())


def sight(text: str) -> Any:
    """What is made of one frame."""
    return Ways(route("cs2", "ticktock"), seq_scope="global", max_value=1 << 20).sight(ticktock(text))


def published(gateway: Route, *raws: bytes, **limits: int) -> list[Record]:
    """The records of frames that came in this order."""
    memory = Memory(Window(span=3_600_000, max_identities=1000))
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me", connections={})
    named = {name.replace("_", "."): limit for name, limit in limits.items()}
    pipeline = Pipeline([gateway], memory=memory, outages=outages, limits=named)
    frames = [Frame(gateway.gateway, "c", NOW, STREAM, raw) for raw in raws]
    return pipeline.process(0, frames, NOW).records


@pytest.mark.parametrize(
    "text",
    [
        # The last of both is read, and that is wrong in its own way: a market is no match.
        '{"type":"market.updated","data":{"id":"o","status":1},"meta":{"seq":1},"type":"match.updated"}',
        '{"type":"match.updated","data":{"id":"m","id":["m"]},"meta":{"seq":1}}',
        '{"type":"match.updated","data":{"id":"m","score_a":1,"score_a":1},"meta":{"seq":1}}',
    ],
)
def test_members_of_one_name_are_to_blame_before_their_values(text: str) -> None:
    """Nobody can say which of them was meant, so nobody can say that a type is wrong."""
    with pytest.raises(BadFrame) as bad:
        sight(text)
    assert (bad.value.reason, bad.value.path) == ("duplicate_key", None)


def test_a_wrong_type_names_its_field() -> None:
    """Where no name comes twice."""
    with pytest.raises(BadFrame) as bad:
        sight('{"type":"match.updated","data":{"id":"m","status":1},"meta":{"seq":1}}')
    assert (bad.value.reason, bad.value.path) == ("wrong_type", "data.status")


def test_only_a_sequence_number_collides() -> None:
    """Two candles of one moment are two candles; two deltas of one number are a collision (design 6.3)."""

    def push(kind: str, data: dict[str, Any], **envelope: Any) -> bytes:
        return json.dumps({"type": kind, "id": "7", **envelope, "data": {"tokenId": "7", "tsMs": NOW, **data}}).encode()

    gateway = route("markets", "predictstreet-market")
    candles = [push("ohlc_update", {"interval": "s5", "close": close}) for close in ("0.5", "0.6")]
    deltas = [push("book_delta", {"bids": bids, "asks": []}, seq=5) for bids in ([], [{"price": "0.5"}])]
    records = published(gateway, *candles, *deltas)
    assert ["collision" in dict(record.headers) for record in records] == [
        False,
        False,
        False,
        True,
    ]


def test_each_topic_has_its_own_limit() -> None:
    """What one topic can't take is whole in the dead letters' topic, and other topics take it all the same."""
    padding = "x" * 5000
    board, match = (
        json.dumps({"type": kind, "data": {"id": "m", "x": padding}, "meta": {"seq": 1}}).encode()
        for kind in ("scoreboard.frame", "match.updated")
    )
    first, second = published(route("cs2", "ticktock"), board, match, cs2_scoreboard_frame=3000)
    assert (first.topic, first.value, dict(first.headers)["reason"]) == ("cs2.dead-letters", board, b"too_large")
    assert second.topic == "cs2.match.updated"
