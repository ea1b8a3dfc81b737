"""What PredictStreet has of a time that was missed of wallets: orders and fills (contract 5.2).

Of what happens on chain (fills, failures, vaults, pauses) REST has no row that names what identifies the stream's frame: order
hashes, reasons and blocks are on the stream alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from bridge.errors import Refused
from bridge.gateways.hole import ALL, Basin, Filled, Hole, RecoverySettings
from bridge.gateways.orderbook import Markets
from bridge.gateways.portfolio import CANCELLED, Order, Portfolio, cancelled, filled, placed
from bridge.gateways.rest import Rest
from bridge.gateways.subscriber import Subscriber
from bridge.gateways.subscriptions import Generation

_ORDERS: Final = frozenset({"user_activity", "user_orders"})
_FILLS: Final = frozenset({"user_activity", "user_fills"})
#: What of a channel can't be had.
_LOST: Final = {
    "user_activity": "events of chain and vaults",
    "vault_activity": "events of vaults",
    "vault_positions": "changes of positions",
}


class UserRecoverer:
    """See `bridge.gateways.hole.Recoverer`.

    rest: for what is about no wallet. subscribers: by connection. owner: connection → its wallet, "" where the key serves
    one. acting: wallet → REST that acts for it, to be closed.
    """

    interval: float | None = None

    def __init__(
        self,
        settings: RecoverySettings,
        rest: Rest,
        subscribers: Mapping[str, Subscriber],
        *,
        owner: Callable[[str], str],
        acting: Callable[[str], Rest],
    ) -> None:
        """See the class."""
        self.settings = settings
        self._rest = rest
        self._subscribers = subscribers
        self._owner = owner
        self._acting = acting
        self._markets = Markets(rest)

    async def recover(self, hole: Hole, basin: Basin) -> Filled:
        """See `Recoverer`."""
        chosen = {name: each for name, each in self._subscribers.items() if hole.connection in {ALL, name}}
        if not chosen:
            return Filled("lost", "nothing is subscribed to over that connection any more")
        if all(each.generation is None for each in chosen.values()):
            return Filled("lost", "the generation of the protocol is not known: nothing was ever connected")
        await self._markets.read()
        wallets: dict[str, tuple[Generation, set[str]]] = {}
        for name, subscriber in chosen.items():
            if subscriber.generation is not None:
                _, channels = wallets.setdefault(self._owner(name), (subscriber.generation, set()))
                channels.update(each.channel for each in subscriber.granted)
        told: dict[str, None] = {}
        for wallet, (generation, channels) in wallets.items():
            rest = self._acting(wallet)
            try:
                notes = await self._wallet(hole, basin, Portfolio(rest), generation, channels)
            finally:
                await rest.close()
            told.update(dict.fromkeys(notes))
        channels = {each for _, those in wallets.values() for each in those}
        return _verdict(hole, channels, list(told))

    async def close(self) -> None:
        """See `Recoverer`."""
        await self._rest.close()

    async def keep_up(self, cursors: Mapping[str, str], basin: Basin, *, floor: int) -> None:
        """There are no cursors."""

    async def _wallet(
        self, hole: Hole, basin: Basin, portfolio: Portfolio, generation: Generation, channels: set[str]
    ) -> list[str]:
        """Pour what there is of one wallet; returns what can't be had, in words."""
        orders: dict[str, Order] = {}
        async for page in portfolio.orders():
            orders.update((each.id, each) for each in page)
        if channels & _ORDERS:
            await _pour_orders(hole, basin, orders.values(), generation)
        if not channels & _FILLS:
            return []
        notes: dict[str, None] = {}
        trades = [each async for some in portfolio.trades(hole.begin) for each in some if hole.covers(each.created)]
        have = {(each.id, each.order, each.side) for each in trades}
        try:
            async for part in portfolio.partner_trades(hole.begin):
                # Fills whose settlement failed stand here alone.
                trades += [
                    each
                    for each in part
                    if each.order in orders
                    and hole.covers(each.created)
                    and (each.id, each.order, each.side) not in have
                ]
        except Refused:
            notes["fills that failed to settle: the key lacks partner:trades:read"] = None
        frames = []
        for trade in sorted(trades, key=lambda each: each.created):
            frame = filled(trade, orders.get(trade.order), self._markets, generation)
            if frame is None:
                notes["matches that mint"] = None
            else:
                frames.append(frame)
        await basin.pour(frames)
        return list(notes)


async def _pour_orders(hole: Hole, basin: Basin, orders: Iterable[Order], generation: Generation) -> None:
    """Pour the placements and cancellations of that time, in their order."""
    happened: list[tuple[int, int, bytes]] = []
    for order in orders:
        if order.created is not None and hole.covers(order.created):
            happened.append((order.created, 0, placed(order, generation)))
        if order.status == CANCELLED and order.updated is not None and hole.covers(order.updated):
            happened.append((order.updated, 1, cancelled(order, generation)))
    happened.sort(key=lambda each: each[:2])
    await basin.pour([frame for _, _, frame in happened])


def _verdict(hole: Hole, channels: set[str], notes: list[str]) -> Filled:
    told = []
    if channels & _ORDERS:
        told.append("orders placed and cancelled over REST")
    if channels & _FILLS:
        told.append("fills over REST")
    if not told:
        return Filled("lost", f"can't be had: {', '.join(sorted(channels))}")
    missing = [*notes, *(_LOST[each] for each in sorted(channels) if each in _LOST)]
    if hole.floor > hole.since:
        missing.append("what is so old that nobody can tell whether it is published")
    if missing:
        told.append(f"can't be had: {', '.join(missing)}")
    return Filled("partly" if missing else "filled", "; ".join(told))
