"""The prediction market's world is consistent: books, trades, settlements, statuses."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random
from typing import Any

from bridge.sim.change import Change
from bridge.sim.exchange import ExchangeWorld
from bridge.sim.stamps import START_MS


def told(world: ExchangeWorld, steps: int) -> list[Change]:
    """What happens in that many steps."""
    return [change for step in range(steps) for change in world.step(START_MS + step * 25)]


def world(seed: int = 1, **options: Any) -> ExchangeWorld:
    """A world of that seed."""
    return ExchangeWorld(Random(seed), **options)


def test_a_seed_gives_one_story() -> None:
    """The same seed gives the same changes; another gives others."""
    assert told(world(1), 500) == told(world(1), 500)
    assert told(world(1), 500) != told(world(2), 500)


def test_ids_are_uint256_and_bytes32() -> None:
    """Token ids exceed 64 bits and fit 256, without leading zeroes; condition ids are 0x and 64 hex digits."""
    for market in world().markets:
        assert all(2**64 < int(token) < 2**256 and str(int(token)) == token for token in market.tokens)
        assert len(market.condition) == 66
        assert int(market.condition, 16)


def test_books_are_never_crossed_and_never_empty() -> None:
    """The best bid lies below the best ask in every book at every step."""
    each = world(3)
    for step in range(5000):
        each.step(START_MS + step)
        for market in each.markets:
            for book in market.books:
                assert book.bids
                assert book.asks
                assert max(book.bids) < min(book.asks)
                assert min(book.bids) >= 1
                assert max(book.asks) <= 999


def test_book_numbers_are_a_chain_per_token() -> None:
    """prevSeq is the seq before, for deltas and updates alike; updates carry a hash, deltas none."""
    last: dict[str, int] = {}
    kinds: Counter[str | None] = Counter()
    for change in told(world(4), 8000):
        if change.channel == "token_book":
            if change.entity in last:
                assert change.prev_seq == last[change.entity]
            assert change.seq is not None
            last[change.entity] = change.seq
            kinds[change.type] += 1
            assert (change.hash is not None) is (change.type == "book_update")
    assert min(kinds["book_delta"], kinds["book_update"]) > 100


def test_trades_are_matched_once_per_token_and_settled_later() -> None:
    """A trade id comes once per token (twice over both tokens of a mint), and settles after it matched, in shared transactions."""
    matched: set[tuple[str, str]] = set()
    settled: set[tuple[str, str]] = set()
    by_tx: dict[str, set[str]] = defaultdict(set)
    for change in told(world(5), 12_000):
        pair = (str(change.data.get("tradeId")), change.entity)
        if change.type == "trade_matched":
            assert pair not in matched
            matched.add(pair)
        elif change.type == "trade_settled":
            assert pair in matched
            assert pair not in settled
            settled.add(pair)
            by_tx[change.data["txHash"]].add(pair[0])
    assert len(settled) > 0.9 * len(matched)
    assert max(len(trades) for trades in by_tx.values()) > 1
    assert len({trade for trade, _ in matched}) < len(matched)


def test_only_open_markets_move() -> None:
    """Between pause and reopening a market's books and tape rest."""
    closed: set[str] = set()
    each = world(6, markets=3)
    each.restless = 0.05
    seen = set()
    for change in told(each, 40_000):
        if change.type.startswith("market_"):
            (closed.discard if change.data["newStatus"] == "OPEN" else closed.add)(change.entity)
            seen.add(change.type)
        elif change.type in {"book_delta", "book_update", "trade_matched"}:
            assert change.data["conditionId"] not in closed
    assert seen == {"market_paused", "market_unpaused", "market_resolved", "market_status"}


def test_a_resolved_market_is_replaced_and_half_never_resolve() -> None:
    """The first half of the markets can be subscribed to for ever."""
    each = world(7, markets=4)
    each.restless = 0.05
    lasting = [market.condition for market in each.markets[:2]]
    told(each, 20_000)
    assert [market.condition for market in each.markets[:2]] == lasting
    assert each.ended
    assert len(each.markets) == 4
    assert each.find(each.ended[0].slug) is each.ended[0]


def test_a_silent_book_says_nothing() -> None:
    """Books move all the same: REST shows it."""
    each = world(8, generation=1, silent_book=True)
    before = [book.seq for market in each.markets for book in market.books]
    assert not [change for change in told(each, 2000) if change.channel == "token_book"]
    assert before != [book.seq for market in each.markets for book in market.books]
