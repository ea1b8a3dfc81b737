"""What wallets do on the simulated exchange, and what their owners are told of it. Pure: chance and time come from outside.

A wallet that somebody listens to (or asks REST about) is *adopted*: it then has a vault, places and cancels orders, and
is maker or taker of public trades, so that its fills and settlements agree with the public ones. What fails to settle is on
no public tape (contract 4.7). Contract: 4.2 to 4.5 (private events), 4.10 (orders), 5.3 (rows of REST).
"""

# ruff: noqa: PLR2004 - chances are plain numbers
from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from bridge.sim.book import price_text, quantity_text
from bridge.sim.change import Change
from bridge.sim.exchange import ExchangeWorld, Market, Trade
from bridge.sim.stamps import iso_millis

#: Channels whose pushes name no id: the wallet is the socket's (contract 2.2).
WALLET_CHANNELS: Final = frozenset({"user_activity", "user_orders", "user_fills"})
#: A type that no contract names.
NOTICE: Final = "account_notice"
#: A token on chain has six decimals, its price and quantity here two or three.
_ON_CHAIN: Final = 10_000
_KEPT: Final = 5000
_MOST_OPEN: Final = 40
_COLLATERAL: Final = "0x" + "c0" * 20
#: OrderExpired(), the commonest reason of a failure (contract 4.4).
_EXPIRED: Final = ("0xc56873ba", "OrderExpired()")


class Terms(NamedTuple):
    """What is bought or sold: price in thousandths, quantity in hundredths."""

    market: Market
    outcome: int
    side: str
    price: int
    quantity: int


class Order(msgspec.Struct, gc=False):
    """An order of a wallet. price in thousandths, quantities in hundredths, times in ms since the epoch."""

    id: str
    wallet: str
    vault: str
    market: Market
    outcome: int
    side: str
    price: int
    quantity: int
    created: int
    updated: int
    client_id: str | None = None
    filled: int = 0
    status: str = "OPEN"

    @property
    def open(self) -> bool:
        """Whether it can be filled or cancelled."""
        return self.status in {"OPEN", "PARTIAL"}

    def suits(self, terms: Terms) -> bool:
        """Whether it can be filled on these terms, whatever the price."""
        same = (self.market, self.outcome, self.side) == (terms.market, terms.outcome, terms.side)
        return same and self.quantity - self.filled >= terms.quantity

    def row(self) -> dict[str, Any]:
        """As REST shows it (4.10), and as far as anybody knows the exchange's own payload too."""
        row: dict[str, Any] = {
            "id": self.id, "userWallet": self.wallet, "vault": self.vault, "marketId": self.market.symbol, "side": self.side,
            "outcome": str(self.outcome), "price": price_text(self.price), "quantity": quantity_text(self.quantity),
            "filledQty": quantity_text(self.filled), "remainingQty": quantity_text(self.quantity - self.filled), "expiry": 0,
            "type": "limit", "timeInForce": "gtc", "status": self.status,
        }  # fmt: skip
        if self.client_id is not None:
            row["clientOrderId"] = self.client_id
        return row | {"createdAt": iso_millis(self.created), "updatedAt": iso_millis(self.updated)}


class Fill(msgspec.Struct, gc=False):
    """A wallet's side of a match. role: maker or taker. adjustment: NONE or MINT."""

    trade: str
    order: Order
    role: str
    price: int
    quantity: int
    created: int
    adjustment: str = "NONE"
    status: str = "matched"
    tx: str | None = None
    settled: int | None = None

    @property
    def modified(self) -> int:
        """When it was last heard of: the later of matched and settled."""
        return max(self.created, self.settled or 0)

    def row(self) -> dict[str, Any]:
        """As ``/api/me/trades`` shows it (5.3)."""
        return {
            "id": self.trade, "orderId": self.order.id, "userWallet": self.order.wallet, "vaultAddress": self.order.vault,
            "marketId": self.order.market.symbol, "price": price_text(self.price), "quantity": quantity_text(self.quantity),
            "fee": "0" if self.role == "maker" else "0.01", "side": self.order.side, "createdAt": iso_millis(self.created),
            "status": self.status, "txHash": self.tx, "settledAt": None if self.settled is None else iso_millis(self.settled),
            "adjustment": self.adjustment,
        }  # fmt: skip


class Wallet:
    """One wallet with its vault, orders and fills."""

    def __init__(self, address: str) -> None:
        """An empty wallet; its vault follows from its address."""
        self.address = address
        self.vault = f"0x{Random(f'{address}:vault').getrandbits(160):040x}"
        self.cash = 10_000_000
        self.paused = False
        self.orders: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.fills: deque[Fill] = deque(maxlen=_KEPT)
        #: token → hundredths
        self.positions: dict[str, int] = {}

    def balances(self) -> list[dict[str, Any]]:
        """As ``/api/me/balances`` shows them."""
        locked = sum(order.price * (order.quantity - order.filled) // 1000 for order in self.open.values())
        return [
            {"token": _COLLATERAL, "available": quantity_text(max(0, self.cash - locked)), "unsettled": "0",
             "locked": quantity_text(locked), "quarantined": "0"}
        ]  # fmt: skip

    def holdings(self) -> list[dict[str, Any]]:
        """As ``/api/me/positions`` shows them: only what is documented of a row, and the token."""
        return [
            {"tokenId": token, "quantity": quantity_text(held), "availableQuantity": quantity_text(held),
             "encumberedQuantity": "0", "avgCost": "0.5", "currentPrice": "0.5", "realizedPnl": "0", "unrealizedPnl": "0"}
            for token, held in self.positions.items()
        ]  # fmt: skip


class Portfolio:
    """All adopted wallets of one world. rng: its own, so that the world is the same with and without them."""

    def __init__(self, rng: Random, world: ExchangeWorld) -> None:
        """Nobody is adopted yet."""
        self.rng = rng
        self.wallets: dict[str, Wallet] = {}
        #: All fills, oldest first, of all wallets.
        self.fills: deque[Fill] = deque(maxlen=4 * _KEPT)
        self._world = world
        self._second = world.second
        self._unsettled: dict[str, list[Fill]] = {}
        self._failing: deque[Fill] = deque()
        self._due: deque[Change] = deque()
        self._block = rng.randrange(1_000_000, 2_000_000)
        self._notices = 0

    @property
    def first(self) -> str:
        """The wallet that a key acts for which names none."""
        return self._world.traders[0]

    def adopt(self, address: str) -> Wallet:
        """The wallet of that address (lower case); from now on things happen to it."""
        wallet = self.wallets.get(address)
        if wallet is None:
            wallet = self.wallets[address] = Wallet(address)
            self._world.seat(list(self.wallets), self.rng)
            self._world.witness = self
            data = {"vaultAddress": wallet.vault, "txHash": self._hash(), "blockNumber": self._next_block()}
            if not self._second:
                self._due += self._vaulted(wallet, "vault.deploy_confirmed", data)
        return wallet

    def owner(self, vault: str) -> Wallet | None:
        """The wallet of a vault."""
        return next((wallet for wallet in self.wallets.values() if wallet.vault == vault), None)

    def order(self, ident: str) -> Order | None:
        """An order of any wallet."""
        return next((found for wallet in self.wallets.values() if (found := wallet.orders.get(ident))), None)

    def step(self, now: int) -> list[Change]:
        """One thing happens to one wallet at `now` (ms); nothing where nobody is adopted."""
        if not self.wallets:
            return []
        if self._due:
            return [self._due.popleft()]
        rng = self.rng
        wallet = rng.choice(list(self.wallets.values()))
        draw = rng.random()
        if draw < 0.03:
            return self._notice()
        if draw < 0.07 and self._failing:
            return self._failed(now)
        if draw < 0.10:
            return self._match_that_fails(wallet, now)
        if draw < 0.15 and not self._second:
            return self._deposit(wallet)
        if draw < 0.18 and not self._second:
            return self._pause(wallet)
        if wallet.open and (draw < 0.45 or len(wallet.open) > _MOST_OPEN):
            return self._cancel(rng.choice(list(wallet.open.values())), now)
        terms = Terms(
            rng.choice(self._world.markets),
            rng.randrange(2),
            rng.choice(("buy", "sell")),
            rng.randrange(1, 1000),
            rng.randrange(1, 500) * 100,
        )
        return [self._place(wallet, terms, now)[1]]

    # What the world tells of public trades

    def matched(self, market: Market, trade: Trade, now: int) -> list[Change]:
        """A public trade: what its maker and its taker are told, as far as they are ours."""
        # Where a match mints, both buy: one this outcome, the other that one.
        mint = self.rng.random() < 0.1
        other = "buy" if mint or trade.side == "sell" else "sell"
        sides = {"taker": "buy" if mint else trade.side, "maker": other}
        changes: list[Change] = []
        for role, address in (("maker", trade.maker), ("taker", trade.taker)):
            wallet = self.wallets.get(address)
            if wallet is not None:
                outcome = 1 - trade.outcome if mint and role == "maker" else trade.outcome
                terms = Terms(market, outcome, sides[role], trade.price, trade.quantity)
                order, placed = self._order_for(wallet, terms, now)
                changes += placed
                fill = Fill(trade.id, order, role, trade.price, trade.quantity, now, "MINT" if mint else "NONE")
                changes.append(self._filled(fill, now))
                self._unsettled.setdefault(trade.id, []).append(fill)
        return changes

    def settled(self, trade: Trade, block: int, now: int) -> list[Change]:
        """A public trade is on chain."""
        changes: list[Change] = []
        for fill in self._unsettled.pop(trade.id, ()):
            fill.status, fill.settled, fill.tx = "settled", now, trade.tx
            changes += self._on_chain(fill, trade, block, now)
        return changes

    # What happens to a wallet

    def _order_for(self, wallet: Wallet, terms: Terms, now: int) -> tuple[Order, list[Change]]:
        """The order that a trade fills: an open one, or one placed a moment before."""
        for order in wallet.open.values():
            if order.suits(terms):
                return order, []
        more = self.rng.choice((1, 1, 2, 3))
        order, placed = self._place(wallet, terms._replace(quantity=terms.quantity * more), now)
        return order, [placed]

    def _place(self, wallet: Wallet, terms: Terms, now: int) -> tuple[Order, Change]:
        client_id = f"c-{self.rng.randrange(1_000_000)}" if self._second and self.rng.random() < 0.5 else None
        order = Order(self._uuid(), wallet.address, wallet.vault, *terms, now, now, client_id)
        while len(wallet.orders) >= _KEPT:
            oldest = next(iter(wallet.orders))
            wallet.open.pop(oldest, None)
            del wallet.orders[oldest]
        wallet.orders[order.id] = wallet.open[order.id] = order
        return order, Change("order_placed", wallet.address, order.row(), self._orders)

    def _cancel(self, order: Order, now: int) -> list[Change]:
        order.status, order.updated = "CANCELLED", now
        self.wallets[order.wallet].open.pop(order.id, None)
        row = order.row()
        data = {"orderId": row.pop("id"), **row}
        return [Change("order_cancelled", order.wallet, data, self._orders)]

    def _filled(self, fill: Fill, now: int) -> Change:
        order = fill.order
        wallet = self.wallets[order.wallet]
        order.filled += fill.quantity
        order.updated = now
        order.status = "FILLED" if order.filled >= order.quantity else "PARTIAL"
        if not order.open:
            wallet.open.pop(order.id, None)
        wallet.fills.append(fill)
        self.fills.append(fill)
        if not self._second:
            return Change("trade_matched", wallet.address, self._matched_data(fill), "user_activity")
        data: dict[str, Any] = {
            "walletAddress": wallet.address, "side": order.side, "tradeId": fill.trade, "orderId": order.id,
            "tokenId": order.market.tokens[order.outcome], "conditionId": order.market.condition, "outcomeIndex": order.outcome,
            "price": price_text(fill.price), "quantity": quantity_text(fill.quantity), "source": "matcher", "tsMs": now,
        }  # fmt: skip
        if order.client_id is not None:
            data["clientOrderId"] = order.client_id
        return Change("user_fill", wallet.address, data, "user_fills")

    def _matched_data(self, fill: Fill) -> dict[str, Any]:
        """The exchange's payload and the recipient's side (4.4). Of a mint it names neither order nor wallet."""
        data: dict[str, Any] = {
            "tradeId": fill.trade, "marketId": fill.order.market.symbol, "price": price_text(fill.price),
            "quantity": quantity_text(fill.quantity), "status": "matched", "createdAt": iso_millis(fill.created),
            "side": fill.order.side,
        }  # fmt: skip
        if fill.adjustment == "NONE":
            data |= {
                "orderId": fill.order.id,
                "userWallet": fill.order.wallet,
                "tokenId": fill.order.market.tokens[fill.order.outcome],
            }
        return data

    def _on_chain(self, fill: Fill, trade: Trade, block: int, now: int) -> list[Change]:
        order = fill.order
        wallet = self.wallets[order.wallet]
        token = order.market.tokens[order.outcome]
        held = wallet.positions.get(token, 100_000)
        held = wallet.positions[token] = max(0, held + (fill.quantity if order.side == "buy" else -fill.quantity))
        if self._second:
            data: dict[str, Any] = {
                "vaultAddress": wallet.vault, "tokenId": token, "conditionId": order.market.condition,
                "outcomeIndex": order.outcome, "balanceAfter": quantity_text(held), "reason": "trade_settled",
                "txHash": trade.tx, "blockNumber": block, "tsMs": now,
            }  # fmt: skip
            return [Change("vault_position_balance_changed", wallet.vault, data, "vault_positions")]
        vaults = {one: self._vault(address) for one, address in (("maker", trade.maker), ("taker", trade.taker))}
        sells = order.side == "sell"
        assets = [token, "0"] if sells == (fill.role == "maker") else ["0", token]
        amounts = [
            str(fill.quantity * _ON_CHAIN if asset != "0" else fill.quantity * fill.price * 10) for asset in assets
        ]
        data = {
            "side": fill.role, "orderHash": f"0x{Random(order.id).getrandbits(256):064x}", "makerVault": vaults["maker"],
            "takerVault": vaults["taker"], "makerAssetId": assets[0], "takerAssetId": assets[1], "makerAmount": amounts[0],
            "takerAmount": amounts[1], "fee": "0" if fill.role == "maker" else "10000", "blockNumber": block, "txHash": trade.tx,
        }  # fmt: skip
        return self._vaulted(wallet, "trade_fill", data)

    def _match_that_fails(self, wallet: Wallet, now: int) -> list[Change]:
        """A match on no public tape; see `_failed`."""
        market, outcome = self.rng.choice(self._world.markets), self.rng.randrange(2)
        order, placed = self._place(wallet, Terms(market, outcome, "buy", self.rng.randrange(1, 1000), 2500), now)
        fill = Fill(self._uuid(), order, "taker", order.price, order.quantity, now)
        self._failing.append(fill)
        return [placed, self._filled(fill, now)]

    def _failed(self, now: int) -> list[Change]:
        """It does not settle. Generation 2 tells nobody: only the partners' feed does (4.2)."""
        fill = self._failing.popleft()
        fill.status, fill.settled, fill.tx = "settlement_failed", now, self._hash()
        fill.order.status, fill.order.updated = "SETTLEMENT_FAILED", now
        if self._second:
            return []
        reason, text = _EXPIRED
        data = {"orderId": fill.order.id, "reason": reason, "reasonText": text, "txHash": fill.tx}
        return [Change("trade_failed", fill.order.wallet, data, "user_activity")]

    def _deposit(self, wallet: Wallet) -> list[Change]:
        amount = self.rng.randrange(1, 1000) * 100
        wallet.cash += amount
        data = {
            "vaultAddress": wallet.vault, "token": _COLLATERAL, "amount": quantity_text(amount),
            "ledgerAfter": quantity_text(wallet.cash), "txHash": self._hash(),
        }  # fmt: skip
        return self._vaulted(wallet, "vault.deposit_confirmed", data)

    def _pause(self, wallet: Wallet) -> list[Change]:
        wallet.paused = not wallet.paused
        block = self._next_block()
        data: dict[str, Any] = {"user": wallet.address, "txHash": self._hash(), "blockNumber": block}
        if wallet.paused:
            data["untilBlock"] = block + 100
        return [Change("user_paused" if wallet.paused else "user_unpaused", wallet.address, data, "user_activity")]

    def _notice(self) -> list[Change]:
        """The same words to every wallet, in a type that no contract names: only the socket tells whose they are."""
        self._notices += 1
        data = {"notice": self._notices, "text": "maintenance at midnight"}
        return [Change(NOTICE, address, data, self._orders) for address in self.wallets]

    def _vaulted(self, wallet: Wallet, kind: str, data: dict[str, Any]) -> list[Change]:
        """Generation 1 tells the wallet's channel and the vault's, both in the same words (3.1)."""
        return [Change(kind, wallet.address, data, "user_activity"), Change(kind, wallet.vault, data, "vault_activity")]

    def _vault(self, address: str) -> str:
        wallet = self.wallets.get(address)
        return wallet.vault if wallet is not None else f"0x{Random(f'{address}:vault').getrandbits(160):040x}"

    @property
    def _orders(self) -> str:
        return "user_orders" if self._second else "user_activity"

    def _next_block(self) -> int:
        self._block += 1
        return self._block

    def _hash(self) -> str:
        return f"0x{self.rng.getrandbits(256):064x}"

    def _uuid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))
