"""What PredictStreet has of a time that was missed of public markets: trades, on the tape (contract 5.2).

A book needs nothing here: its snapshot comes with every subscription. Of candles, lifecycle, platform status and settlements on
chain REST has no row from which the stream's frame could be made with the same identity: the tape names no
transaction, and the shapes of the others are not public.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.errors import BadData
from bridge.gateways.hole import ALL, Basin, Filled, Hole, RecoverySettings
from bridge.gateways.orderbook import Markets
from bridge.gateways.rest import Rest
from bridge.gateways.subscriber import Subscriber
from bridge.gateways.subscriptions import BOOK, Generation
from bridge.gateways.tape import Market, Tape

#: Channels whose trades the tape has.
_TRADES: Final = frozenset({"token_trades", "token_trade_matches"})


class MarketRecoverer:
    """See `bridge.gateways.hole.Recoverer`. subscribers: by connection."""

    interval: float | None = None

    def __init__(
        self, settings: RecoverySettings, rest: Rest, markets: Markets, subscribers: Mapping[str, Subscriber]
    ) -> None:
        """See the class."""
        self.settings = settings
        self._rest = rest
        self._markets = markets
        self._subscribers = subscribers

    async def recover(self, hole: Hole, basin: Basin) -> Filled:
        """See `Recoverer`."""
        chosen = [each for name, each in self._subscribers.items() if hole.connection in {ALL, name}]
        if not chosen:
            return Filled("lost", "nothing is subscribed to over that connection any more")
        if all(each.generation is None for each in chosen):
            return Filled(
                "lost", "the generation of the protocol is not known: nothing was ever connected, set `protocol`"
            )
        channels: set[str] = set()
        asked = unknown = 0
        for subscriber in chosen:
            granted = subscriber.granted
            channels.update(each.channel for each in granted)
            tokens = [token for each in granted if each.channel in _TRADES for token in each.ids]
            if subscriber.generation is not None and tokens:
                asked += len(tokens)
                unknown += await self._trades(hole, basin, tokens, subscriber.generation)
        return _verdict(hole, channels, asked, unknown)

    async def close(self) -> None:
        """See `Recoverer`."""
        await self._rest.close()

    async def keep_up(self, cursors: Mapping[str, str], basin: Basin, *, floor: int) -> None:
        """There are no cursors."""

    async def _trades(self, hole: Hole, basin: Basin, tokens: list[str], generation: Generation) -> int:
        """Pour the trades of these tokens; returns of how many no market is known."""
        if self._markets.unknown(tokens):
            await self._markets.read()
        markets: dict[str, Market] = {}
        unknown = 0
        for token in tokens:
            place = self._markets.place(token)
            if place is None:
                unknown += 1
                continue
            market = markets.setdefault(place.symbol, Market(place.symbol, {}, place.condition))
            market.tokens[place.outcome] = token
        tape = Tape(self._rest, generation=generation)
        bad: BadData | None = None
        for market in markets.values():
            try:
                pages = [page async for page in tape.between(market, hole.begin, hole.end)]
            except BadData as error:
                bad = error  # of one market: the others need not wait for it
                continue
            for page in reversed(pages):  # the newest page comes first
                await basin.pour(page, hint=market.condition)
        if bad is not None:
            raise bad
        return unknown


def _verdict(hole: Hole, channels: set[str], asked: int, unknown: int) -> Filled:
    told = []
    if asked:
        told.append("trades over REST")
        if unknown:
            told.append(f"but for {unknown} of {asked} tokens of which REST lists no market")
        if hole.floor > hole.since:
            told.append("but for those so old that nobody can tell whether they are published")
        told.append("of a mint or merge the tape has one token")
    if BOOK in channels:
        told.append("books by their snapshots")
    lost = sorted(channels - _TRADES - {BOOK})
    if lost:
        told.append(f"can't be had: {', '.join(lost)}")
    good = asked > unknown or BOOK in channels
    return Filled("partly" if good and (asked or lost) else "filled" if good else "lost", "; ".join(told))
