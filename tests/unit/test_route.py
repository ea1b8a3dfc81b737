"""Which way a frame goes: what is to blame where several things are wrong, what counts as a collision, what fits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.catalog import Catalog
from bridge.dedupe import Window
from bridge.errors import BadFrame
from bridge.frame import STREAM, Frame, Record
from bridge.gateways.predictstreet import PredictStreetUser
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


ONE, TWO = "wallet:0x" + "a1" * 20 + ":1", "wallet:0x" + "b2" * 20 + ":1"
VAULT, OTHER = "0x" + "c3" * 20, "0x" + "d4" * 20
#: One of each private event, as the contract has it.
EVENTS: dict[str, dict[str, Any]] = {
    "order_placed": {"id": "o1", "userWallet": "0xa1", "price": "0.5"},
    "order_cancelled": {"orderId": "o1", "status": "CANCELLED"},
    "user_fill": {"walletAddress": "0xa1", "tradeId": "t1", "orderId": "o1", "side": "buy", "tsMs": NOW},
    "trade_matched": {"tradeId": "t1", "orderId": "o1", "side": "buy"},
    "trade_fill": {"txHash": "0x1", "orderHash": "0x2", "side": "maker", "makerAmount": "1", "takerAmount": "2"},
    "trade_failed": {"orderId": "o1", "txHash": "0x1", "reason": "0xc56873ba"},
    "vault.deploy_confirmed": {"vaultAddress": VAULT, "txHash": "0x1"},
    "vault.deposit_confirmed": {"vaultAddress": VAULT, "token": "0x3", "txHash": "0x1", "ledgerAfter": "10"},
    "user_paused": {"user": "0xa1", "txHash": "0x1"},
    "user_unpaused": {"user": "0xa1", "txHash": "0x1"},
    "vault_position_balance_changed": {"vaultAddress": VAULT, "tokenId": "7", "txHash": "0x1", "balanceAfter": "3"},
}


def told(*frames: tuple[str, str, dict[str, Any]], **envelope: Any) -> list[Record]:
    """The records of private frames, each (connection, type, data or envelope with data)."""
    gateway = route("wallet", "predictstreet-user")
    gateway = Route(
        "wallet", gateway.kind, frozenset(), gateway.topics, "wallet.dead-letters", owner=PredictStreetUser.owner
    )
    memory = Memory(Window(span=3_600_000, max_identities=1000))
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me", connections={})
    pipeline = Pipeline([gateway], memory=memory, outages=outages)
    found = []
    for sid, (connection, kind, data) in enumerate(frames, 1):
        whole = data if "data" in data else {"data": data}
        raw = json.dumps({"type": kind, "sid": sid, "serverTs": NOW + sid, **envelope, **whole}).encode()
        found += pipeline.process(sid, [Frame("wallet", connection, NOW, STREAM, raw)], NOW).records
    return found


def test_every_private_event_has_its_example() -> None:
    """Else the tests below would say little."""
    assert EVENTS.keys() == CATALOG.kind("predictstreet-user").types.keys()


@pytest.mark.parametrize("kind", EVENTS)
def test_a_private_event_is_one_record_however_often_it_comes(kind: str) -> None:
    """On the wallet's channel and the vault's, over two sockets of a wallet, and over those of two that share a vault."""
    data = EVENTS[kind]
    again = {"id": VAULT, "channel": "vault_activity", "data": data}
    assert len(told((ONE, kind, data), (ONE, kind, again), (ONE[:-1] + "2", kind, data), (TWO, kind, again))) == 1


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("user_fill", {}, {"walletAddress": "0xb2"}),
        ("user_fill", {}, {"side": "sell"}),
        ("user_fill", {}, {"orderId": "o2"}),
        ("trade_matched", {}, {"orderId": "o2"}),
        ("trade_matched", {}, {"side": "sell"}),
        ("trade_fill", {}, {"side": "taker"}),
        ("trade_fill", {}, {"takerAmount": "3"}),
        ("trade_fill", {}, {"blockNumber": 5}),
        ("trade_failed", {}, {"txHash": "0x2"}),
        ("trade_failed", {}, {"tradeId": "t2"}),
        ("vault.deploy_confirmed", {}, {"vaultAddress": OTHER}),
        ("vault.deposit_confirmed", {}, {"ledgerAfter": "20"}),
        ("vault.deposit_confirmed", {"ledgerAfter": None, "amount": "1"}, {"ledgerAfter": None, "amount": "2"}),
        ("user_paused", {}, {"txHash": "0x2"}),
        ("vault_position_balance_changed", {}, {"balanceAfter": "4"}),
        ("vault_position_balance_changed", {"txHash": None, "tsMs": NOW}, {"txHash": None, "tsMs": NOW + 1}),
    ],
)
def test_private_events_that_differ_are_two(kind: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    """In what identifies them or, where that may be shared, in anything; over one socket or two."""
    for connection in (ONE, TWO):
        assert len(told((ONE, kind, EVENTS[kind] | one), (connection, kind, EVENTS[kind] | other))) == 2


#: What remains of some events when the contract's unseen tables turn out otherwise than thought.
NAMELESS: dict[str, dict[str, Any]] = {
    "trade_matched": {"tradeId": "t1", "side": "buy", "price": "0.5"},
    "order_placed": {"price": "0.5"},
    "trade_failed": {"reason": "0xc56873ba"},
    "user_paused": {"untilBlock": 7},
    "account_notice": {"text": "maintenance"},
}


@pytest.mark.parametrize("kind", NAMELESS)
def test_equal_words_to_two_wallets_are_two_records(kind: str) -> None:
    """A frame that does not say enough of itself belongs to its socket's wallet; a repetition of it is still none."""
    data = NAMELESS[kind]
    second = ONE[:-1] + "2"
    assert (
        len(told((ONE, kind, data), (TWO, kind, data), (ONE, kind, data), (second, kind, data), (TWO, kind, data))) == 2
    )


@pytest.mark.parametrize("kind", NAMELESS)
def test_equal_words_of_two_vaults_are_two_records(kind: str) -> None:
    """The envelope's id tells them apart, and tells that two sockets brought the same."""
    one, other = ({"id": vault, "data": NAMELESS[kind] | {"tokenId": "7"}} for vault in (VAULT, OTHER))
    assert len(told((ONE, kind, one), (ONE, kind, other), (TWO, kind, one), (TWO, kind, other))) == 2


def test_an_order_is_placed_and_cancelled_once() -> None:
    """Whatever the words: its id tells. Placing and cancelling are two events."""
    data = EVENTS["order_placed"]
    again = data | {"status": "OPEN"}
    cancelled = {"orderId": "o1", "id": "o1"}
    records = told((ONE, "order_placed", data), (TWO, "order_placed", again), (ONE, "order_cancelled", cancelled))
    assert [record.topic for record in records] == ["wallet.order_placed", "wallet.order_cancelled"]


def test_a_private_match_and_the_public_one_never_meet() -> None:
    """`trade_matched` means two things in two generations, on two gateways: other identities, topics and schemas."""
    data = {"tradeId": "t1", "tokenId": "7", "orderId": "o1", "side": "buy"}
    public = route("markets", "predictstreet-market")
    private = route("wallet", "predictstreet-user")
    text = json.dumps({"type": "trade_matched", "id": "7", "data": data}).encode()
    sightings = [
        Ways(each, seq_scope="global", max_value=1 << 20).sight(Frame(each.gateway, "c", NOW, STREAM, text))
        for each in (public, private)
    ]
    assert sightings[0] is not None
    assert sightings[1] is not None
    assert sightings[0].identity != sightings[1].identity
    names = [CATALOG.kind(kind).types["trade_matched"].name for kind in ("predictstreet-market", "predictstreet-user")]
    assert names == ["feedbridge.predictstreet_market.TradeMatched", "feedbridge.predictstreet_user.TradeMatched"]


def test_private_keys_are_conditions_else_what_the_frame_is_about() -> None:
    """Condition, what was learned of the token, token, order, vault, wallet; at last the gateway."""
    fill = EVENTS["user_fill"] | {"tokenId": "7", "conditionId": "0xc"}
    later = EVENTS["trade_matched"] | {"tokenId": "7"}
    frames = [(ONE, "user_fill", fill), (ONE, "trade_matched", later)]
    frames += [(ONE, kind, data) for kind, data in EVENTS.items() if kind not in {"user_fill", "trade_matched"}]
    frames += [(ONE, "account_notice", {"n": 1}), (ONE, "account_notice", {"id": VAULT, "data": {"n": 1}})]
    keys = [record.key.decode() for record in told(*frames)]
    assert keys == ["0xc", "0xc", "o1", "o1", "0x2", "o1", VAULT, VAULT, "0xa1", "0xa1", "0xc", "wallet", VAULT]
