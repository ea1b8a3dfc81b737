"""A believable prediction market: what PredictStreet's market gateway would see. Pure: chance and time come from outside.

Conditions with two outcome tokens each, order books, trades that are matched and later settled on chain, five-second
candles, pauses and resolutions, the platform's state. `step(now)` lets one thing happen.
"""

# ruff: noqa: PLR2004 - chances are plain numbers
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any, Final, Literal, Protocol
from uuid import UUID

import msgspec

from bridge.sim.book import Book, Edit, price_text, quantity_text
from bridge.sim.change import Change
from bridge.sim.cs2 import TEAMS
from bridge.sim.stamps import START_MS, iso_millis

PLATFORM: Final = "platform_status"
_CANDLE_MS: Final = 5000
#: Every so many changes of a book come as a book_update with a hash instead of a book_delta.
_UPDATE_EVERY: Final = 16
#: Chance that a market at rest opens again when its turn comes.
_REOPENS: Final = 0.05
_KEPT_TRADES: Final = 2000
_KEPT_CANDLES: Final = 2000


class Trade(msgspec.Struct, gc=False):
    """A row of the public tape; settled and tx come later."""

    id: str
    price: int
    quantity: int
    side: str
    maker: str
    taker: str
    outcome: int
    created: int
    settled: int | None = None
    tx: str | None = None


class Market:
    """One condition: `tokens` are uint256 as decimal text; outcome 0 is YES."""

    def __init__(self, rng: Random, serial: int, now: int) -> None:
        """An open market of a made-up match."""
        one, two = rng.sample(TEAMS, 2)
        self.id = _uuid(rng)
        self.event_id = _uuid(rng)
        self.symbol = f"CS2-{_short(one[0])}-{_short(two[0])}-{serial}"
        self.slug = f"{_dashed(one[0])}-beats-{_dashed(two[0])}-{serial}"
        self.title = f"Will {one[0]} beat {two[0]}?"
        self.condition = f"0x{rng.getrandbits(256):064x}"
        self.question = f"0x{rng.getrandbits(256):064x}"
        # The top bit set: every token id is longer than any 64-bit integer.
        self.tokens = tuple(str(rng.getrandbits(255) | 1 << 255) for _ in range(2))
        self.created = now
        self.status = "OPEN"
        self.paused_at: int | None = None
        self.resolved_at: int | None = None
        fair = rng.randrange(200, 800)
        start = rng.randrange(10_000, 99_999)
        self.books = (Book(rng, fair, seq=start), Book(rng, 1000 - fair, seq=start + rng.randrange(1, 5000)))
        self.trades: deque[Trade] = deque(maxlen=_KEPT_TRADES)
        self.candles: tuple[deque[dict[str, Any]], ...] = (deque(maxlen=_KEPT_CANDLES), deque(maxlen=_KEPT_CANDLES))


class Witness(Protocol):
    """Who has more to say of public trades, to those who made them."""

    def matched(self, market: Market, trade: Trade, now: int) -> list[Change]:
        """A trade was made."""

    def settled(self, trade: Trade, block: int, now: int) -> list[Change]:
        """It is on chain."""


class ExchangeWorld:
    """Markets and what happens in them.

    generation: the names of channels and events (contract 3): 1 has `trade` and no candles, 2 has `trade_matched`,
    `trade_settled`, `ohlc_update`, `book_update`. markets: how many are open at a time; the first half is never resolved.
    silent_book: books move, but nothing is said of it (generation 1 "under repair").
    """

    def __init__(
        self,
        rng: Random,
        *,
        now: int = START_MS,
        generation: Literal[1, 2] = 2,
        markets: int = 8,
        silent_book: bool = False,
    ) -> None:
        """A world of open markets."""
        self.rng = rng
        self.second = generation != 1
        self.silent_book = silent_book
        #: Chance per step of a change of status, of a market or the platform.
        self.restless = 0.0012
        self.markets = [Market(rng, serial, now) for serial in range(1, markets + 1)]
        self.ended: deque[Market] = deque(maxlen=200)
        self.platform = "operational"
        self.platform_at = now
        self._serial = markets
        self._pending: deque[tuple[Market, Trade, tuple[int, ...]]] = deque()
        self._block = rng.randrange(1_000_000, 2_000_000)
        #: Addresses of those who trade.
        self.traders = [f"0x{rng.getrandbits(160):040x}" for _ in range(24)]
        self.witness: Witness | None = None

    def step(self, now: int) -> list[Change]:
        """One thing happens at `now` (ms); what the gateway says of it, in order. Empty where it says nothing."""
        rng = self.rng
        market = self.markets[int(rng.random() * len(self.markets))]
        draw = rng.random()
        if draw < self.restless * 0.3:
            return self._platform(now)
        if market.status != "OPEN":
            return self._unpause(market, now) if rng.random() < _REOPENS else []
        if draw < self.restless:
            return self._lifecycle(market, now)
        if draw < self.restless + 0.04 and self._pending:
            return self._settle(now)
        outcome = int(rng.random() * 2)
        if draw < self.restless + 0.16:
            return self._trade(market, outcome, now)
        return self._booked(market, outcome, market.books[outcome].edit(now), now)

    def seat(self, wallets: Sequence[str], rng: Random) -> None:
        """Have these wallets make most trades. rng: for the addresses of more strangers, where there are too few."""
        while len(self.traders) < 2 * len(wallets):
            self.traders.append(f"0x{rng.getrandbits(160):040x}")
        for place in range(0, len(self.traders), 2):
            self.traders[place] = wallets[place // 2 % len(wallets)]

    def find(self, name: str) -> Market | None:
        """A market by symbol, slug or condition id, open or ended."""
        return next(
            (each for each in (*self.markets, *self.ended) if name in {each.symbol, each.slug, each.condition}), None
        )

    def by_token(self, token: str) -> tuple[Market, int] | None:
        """The market of a token, and its outcome."""
        for market in (*self.markets, *self.ended):
            if token in market.tokens:
                return market, market.tokens.index(token)
        return None

    def snapshot(self, token: str) -> Change | None:
        """The book as it is, depth 100; None for a token that nobody knows."""
        found = self.by_token(token)
        if found is None:
            return None
        market, outcome = found
        book = market.books[outcome]
        data = self._common(market, outcome, book.at or market.created) | book.sides(100, counts=True)
        return Change(
            "book_snapshot", token, data, "token_book", seq=book.seq, hash=book.hash() if self.second else None
        )

    def reset_seq(self) -> None:
        """The matcher starts anew: every book counts from 0."""
        for market in self.markets:
            for book in market.books:
                book.seq = 0

    def _booked(self, market: Market, outcome: int, edit: Edit, now: int) -> list[Change]:
        if self.silent_book:
            return []
        token = market.tokens[outcome]
        level = [{"price": price_text(edit.price), "quantity": quantity_text(edit.quantity)}]
        data = self._common(market, outcome, now)
        data["bids"] = level if edit.side == "bids" else []
        data["asks"] = level if edit.side == "asks" else []
        if self.second and edit.seq % _UPDATE_EVERY == 0:
            digest = market.books[outcome].hash()
            return [Change("book_update", token, data, "token_book", seq=edit.seq, prev_seq=edit.prev_seq, hash=digest)]
        return [Change("book_delta", token, data, "token_book", seq=edit.seq, prev_seq=edit.prev_seq)]

    def _trade(self, market: Market, outcome: int, now: int) -> list[Change]:
        done = market.books[outcome].trade(now)
        if done is None:
            return self._booked(market, outcome, market.books[outcome].edit(now), now)
        price, quantity, side, edit = done
        rng = self.rng
        maker, taker = rng.sample(self.traders, 2)
        trade = Trade(_uuid(rng), price, quantity, side, maker, taker, outcome, now)
        market.trades.append(trade)
        # A mint or merge touches both tokens: one trade id under two of them.
        outcomes = (outcome, 1 - outcome) if rng.random() < 0.05 else (outcome,)
        self._pending.append((market, trade, outcomes))
        self._candle(market, outcome, price, quantity, now)
        changes = [
            Change(
                "trade_matched" if self.second else "trade", market.tokens[each],
                self._traded(market, trade, each, now), "token_trade_matches" if self.second else "token_trades",
            )
            for each in outcomes
        ]  # fmt: skip
        changes += self._booked(market, outcome, edit, now)
        if self.second:
            candle = self._common(market, outcome, now) | {"interval": "s5"} | market.candles[outcome][-1]
            changes.append(Change("ohlc_update", market.tokens[outcome], candle, "token_ohlc"))
        if self.witness is not None:
            changes += self.witness.matched(market, trade, now)
        return changes

    def _settle(self, now: int) -> list[Change]:
        """A batch of trades is indexed from the chain: several of them share one transaction."""
        rng = self.rng
        tx = f"0x{rng.getrandbits(256):064x}"
        self._block += 1
        changes: list[Change] = []
        for _ in range(min(len(self._pending), rng.randrange(1, 9))):
            market, trade, outcomes = self._pending.popleft()
            trade.settled, trade.tx = now, tx
            if self.second:
                for each in outcomes:
                    data = self._traded(market, trade, each, now)
                    data |= {"txHash": tx, "blockNumber": self._block, "orderHash": f"0x{rng.getrandbits(256):064x}"}
                    changes.append(Change("trade_settled", market.tokens[each], data, "token_trade_settlements"))
            if self.witness is not None:
                changes += self.witness.settled(trade, self._block, now)
        return changes

    def _traded(self, market: Market, trade: Trade, outcome: int, now: int) -> dict[str, Any]:
        mirrored = outcome != trade.outcome
        data = {
            "tradeId": trade.id,
            "price": price_text(1000 - trade.price if mirrored else trade.price),
            "quantity": quantity_text(trade.quantity),
            "side": trade.side,
            "maker": trade.maker,
            "taker": trade.taker,
        }
        if not self.second:
            return data | {
                "symbol": market.symbol,
                "outcome": "NO" if outcome else "YES",
                "createdAt": iso_millis(trade.created),
            }
        return data | self._common(market, outcome, now)

    def _candle(self, market: Market, outcome: int, price: int, quantity: int, now: int) -> None:
        start = now - now % _CANDLE_MS
        candles = market.candles[outcome]
        text = price_text(price)
        if not candles or candles[-1]["startMs"] != start:
            candles.append(
                {
                    "startMs": start,
                    "open": text,
                    "high": text,
                    "low": text,
                    "close": text,
                    "volume": quantity_text(quantity),
                    "trades": 1,
                }
            )
            return
        last = dict(candles[-1])
        last["high"] = max(last["high"], text, key=float)
        last["low"] = min(last["low"], text, key=float)
        last["close"] = text
        whole, cents = last["volume"].split(".")
        last["volume"] = quantity_text(int(whole) * 100 + int(cents) + quantity)
        last["trades"] += 1
        candles[-1] = last

    def _lifecycle(self, market: Market, now: int) -> list[Change]:
        rng = self.rng
        draw = rng.random()
        if draw < 0.8:
            market.paused_at = now
            return self._status(market, "market_paused", "PAUSED", rng.choice(("tactical_timeout", "score_check")), now)
        # Resolutions are rare: a client that subscribed once shall have something to hear for long.
        if draw < 0.97 or self.markets.index(market) < (len(self.markets) + 1) // 2:
            return self._status(market, "market_status", "SUSPENDED", "feed_delay", now)
        market.resolved_at = now
        changes = self._status(market, "market_resolved", "RESOLVED", "final_score", now)
        winner = rng.randrange(2)
        changes[0].data["payoutNumerators"] = ["1", "0"] if winner == 0 else ["0", "1"]
        self._serial += 1
        self.ended.append(market)
        self.markets[self.markets.index(market)] = Market(rng, self._serial, now)
        return changes

    def _unpause(self, market: Market, now: int) -> list[Change]:
        kind = "market_unpaused" if market.status == "PAUSED" else "market_status"
        market.paused_at = None
        return self._status(market, kind, "OPEN", "play_continues", now)

    def _status(self, market: Market, kind: str, status: str, reason: str, now: int) -> list[Change]:
        data: dict[str, Any] = {
            "conditionId": market.condition, "symbol": market.symbol, "oldStatus": market.status, "newStatus": status, "reason": reason,
        }  # fmt: skip
        data |= {"tsMs": now} if self.second else {"at": iso_millis(now)}
        market.status = status
        return [Change(kind, market.condition, data, "condition_lifecycle" if self.second else "condition_status")]

    def _platform(self, now: int) -> list[Change]:
        self.platform = {"operational": "degraded", "degraded": "operational"}[self.platform]
        self.platform_at = now
        return [Change("platform_status", PLATFORM, self.platform_data(), "system")]

    def platform_data(self) -> dict[str, Any]:
        """The platform's state, as pushed and as REST gives it."""
        data: dict[str, Any] = {"status": self.platform, "trading": self.platform == "operational"}
        return data | ({"tsMs": self.platform_at} if self.second else {"at": iso_millis(self.platform_at)})

    def _common(self, market: Market, outcome: int, now: int) -> dict[str, Any]:
        """What every public event of generation 2 has (2.2); generation 1 has none of it."""
        if not self.second:
            return {}
        return {
            "tokenId": market.tokens[outcome],
            "conditionId": market.condition,
            "outcomeIndex": outcome,
            "tsMs": now,
        }


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _short(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isascii() and letter.isalpha())[:4]


def _dashed(name: str) -> str:
    return "-".join(
        "".join(c for c in word if c.isascii() and c.isalnum()) for word in name.lower().split() if word != "&"
    )
