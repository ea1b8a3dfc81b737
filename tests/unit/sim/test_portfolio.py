"""Wallets of the simulated exchange: their events agree with the public trades, with themselves and with the contract (4.2 to 4.5)."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from random import Random
from typing import Any, Literal

import pytest

from bridge.sim.change import Change
from bridge.sim.exchange import ExchangeWorld
from bridge.sim.portfolio import Portfolio
from bridge.sim.stamps import START_MS

ONE, TWO = "0x" + "a1" * 20, "0x" + "b2" * 20


@cache
def lived(generation: Literal[1, 2], steps: int = 8000) -> tuple[Portfolio, list[Change]]:
    """Two wallets after so many steps, and everything that was said."""
    world = ExchangeWorld(Random(1), generation=generation)
    portfolio = Portfolio(Random(2), world)
    portfolio.adopt(ONE)
    portfolio.adopt(TWO)
    changes: list[Change] = []
    for step in range(steps):
        changes += world.step(START_MS + step)
        changes += portfolio.step(START_MS + step)
    return portfolio, changes


def by_type(changes: list[Change]) -> dict[str, list[Change]]:
    """Changes of the private channels by type."""
    found = defaultdict(list)
    for change in changes:
        if change.channel.startswith(("user_", "vault_")):
            found[change.type].append(change)
    return found


def test_the_same_seed_gives_the_same_life() -> None:
    """And the public world's own course does not depend on who listens: its trades have the same ids and prices."""
    assert lived.__wrapped__(2, 500)[1] == lived(2, 500)[1]
    alone = ExchangeWorld(Random(1), generation=2)
    public = [change for step in range(2000) for change in alone.step(START_MS + step)]
    watched = [change for change in lived(2, 2000)[1] if not change.channel.startswith(("user_", "vault_"))]
    assert [_bare(each) for each in watched] == [_bare(each) for each in public]


def _bare(change: Change) -> tuple[str, str, dict[str, Any]]:
    data = {name: value for name, value in change.data.items() if name not in {"maker", "taker"}}
    return change.type, change.entity, data


@pytest.mark.parametrize(
    ("generation", "types"),
    [
        (
            1,
            {
                *("order_placed", "order_cancelled", "trade_matched", "trade_fill", "trade_failed", "account_notice"),
                *("vault.deploy_confirmed", "vault.deposit_confirmed", "user_paused", "user_unpaused"),
            },
        ),
        (2, {"order_placed", "order_cancelled", "user_fill", "vault_position_balance_changed", "account_notice"}),
    ],
)
def test_every_private_event_comes(generation: Literal[1, 2], types: set[str]) -> None:
    """Of its generation and of no other."""
    assert set(by_type(lived(generation)[1])) == types


def test_fills_are_of_orders_that_were_placed_and_of_public_trades() -> None:
    """Maker and taker of a public trade are told of it; an order is filled up to its quantity and once done never again."""
    portfolio, changes = lived(2)
    private, public = by_type(changes), {c.data["tradeId"]: c.data for c in changes if c.type == "trade_matched"}
    placed = {change.data["id"]: change.data for change in private["order_placed"]}
    filled: Counter[str] = Counter()
    cancelled = [change.data["orderId"] for change in private["order_cancelled"]]
    assert max(Counter(cancelled).values()) == 1
    tapeless = 0
    for change in private["user_fill"]:
        data = change.data
        order = placed[data["orderId"]]
        assert order["userWallet"] == data["walletAddress"] == change.entity
        assert order["side"] == data["side"]
        filled[data["orderId"]] += _hundredths(data["quantity"])
        if data["tradeId"] in public:
            trade = public[data["tradeId"]]
            assert change.entity in {trade["maker"], trade["taker"]}
            assert data["price"] in {trade["price"], f"{1 - float(trade['price']):.3f}".rstrip("0")}
        else:
            tapeless += 1
    assert all(total <= _hundredths(placed[order]["quantity"]) for order, total in filled.items())
    assert 0 < tapeless < len(private["user_fill"]) / 2
    told = {change.data["tradeId"] for change in private["user_fill"]}
    ours = {ident for ident, trade in public.items() if {trade["maker"], trade["taker"]} & {ONE, TWO}}
    assert ours <= told
    assert {fill.status for fill in portfolio.fills} == {"matched", "settled", "settlement_failed"}


def _hundredths(text: str) -> int:
    return round(float(text) * 100)


def test_a_vaults_channel_says_the_same_as_its_wallets() -> None:
    """Generation 1: twice the same words, under the wallet and under the vault."""
    portfolio, changes = lived(1)
    vaults = {wallet.vault: wallet.address for wallet in portfolio.wallets.values()}
    for kind in ("trade_fill", "vault.deposit_confirmed", "vault.deploy_confirmed"):
        told = by_type(changes)[kind]
        own = [(each.entity, each.data) for each in told if each.channel == "user_activity"]
        vault = [(vaults[each.entity], each.data) for each in told if each.channel == "vault_activity"]
        assert own == vault


def test_what_failed_was_matched_and_stays_off_the_public_tape() -> None:
    """Its order is told of, and the partners' feed keeps it."""
    portfolio, changes = lived(1)
    private = by_type(changes)
    failed = {change.data["orderId"] for change in private["trade_failed"]}
    assert failed == {fill.order.id for fill in portfolio.fills if fill.status == "settlement_failed"}
    tape = {trade.id for market in portfolio._world.markets for trade in market.trades}
    assert not tape & {fill.trade for fill in portfolio.fills if fill.order.id in failed}


def test_balances_are_absolute_and_deposits_add_up() -> None:
    """The last word on a position is what REST shows; each deposit's balance is the last one's and the amount."""
    portfolio, changes = lived(2)
    last: dict[tuple[str, str], str] = {}
    for change in by_type(changes)["vault_position_balance_changed"]:
        last[change.entity, change.data["tokenId"]] = change.data["balanceAfter"]
    shown = {
        (wallet.vault, row["tokenId"]): row["quantity"]
        for wallet in portfolio.wallets.values()
        for row in wallet.holdings()
    }
    assert last == shown
    cash: dict[str, int] = {}
    for change in by_type(lived(1)[1])["vault.deposit_confirmed"]:
        if change.channel == "vault_activity":
            after = _hundredths(change.data["ledgerAfter"])
            assert after == cash.get(change.entity, 10_000_000) + _hundredths(change.data["amount"])
            cash[change.entity] = after


def test_some_frames_name_nobody() -> None:
    """A notice says the same to both wallets; a mint's match names no order and no wallet."""
    private = by_type(lived(1)[1])
    notices = Counter(change.data["notice"] for change in private["account_notice"])
    assert set(notices.values()) == {2}
    bare = [change.data for change in private["trade_matched"] if "orderId" not in change.data]
    assert bare
    assert max(Counter(str(sorted(data.items())) for data in bare).values()) == 2
