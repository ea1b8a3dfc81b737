"""The order book of one outcome token: absolute quantities per price, a sequence number per change, a hash per state."""

# ruff: noqa: PLR2004 - chances are plain numbers
from __future__ import annotations

import hashlib
from random import Random
from typing import Any, Final, NamedTuple

#: Prices are whole thousandths of a dollar, between these.
LOWEST, HIGHEST = 1, 999
DEPTH: Final = 100
_SPREAD: Final = 35


class Edit(NamedTuple):
    """One level set to an absolute quantity in hundredths (0: gone); prev_seq and seq around it."""

    side: str
    price: int
    quantity: int
    prev_seq: int
    seq: int


class Book:
    """Bids and asks around a fair price that walks. Never crossed, never empty for long."""

    def __init__(self, rng: Random, fair: int, *, seq: int) -> None:
        """A book with some levels on each side; `fair` in thousandths."""
        self._rng = rng
        self.fair = fair
        self.seq = seq
        self.at = 0
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        for offset in range(1, 13):
            self._set(self.bids, fair - offset * 2, self._quantity())
            self._set(self.asks, fair + offset * 2, self._quantity())

    def edit(self, now: int) -> Edit:
        """A level changes: a new quantity at a random price near the middle, or an old level gone."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.05:
            self.fair = min(max(self.fair + (1 if draw < 0.025 else -1), LOWEST + _SPREAD), HIGHEST - _SPREAD)
        bid = rng.random() < 0.5
        levels, others = (self.bids, self.asks) if bid else (self.asks, self.bids)
        price = self.fair - 1 - int(rng.random() * _SPREAD) if bid else self.fair + 1 + int(rng.random() * _SPREAD)
        crossing = bool(others) and (price >= min(others) if bid else price <= max(others))
        if crossing:
            # Somebody's old level stands in the way: it goes first, the book is never crossed.
            price = min(others) if bid else max(others)
            return self._apply("asks" if bid else "bids", others, price, 0, now)
        gone = price in levels and len(levels) > 6 and rng.random() < 0.4
        quantity = 0 if gone else self._quantity()
        if levels.get(price) == quantity:
            quantity += 100
        return self._apply("bids" if bid else "asks", levels, price, quantity, now)

    def trade(self, now: int) -> tuple[int, int, str, Edit] | None:
        """Somebody takes from the best level: price, quantity, the taker's side, and the level's change."""
        buy = self._rng.random() < 0.5
        levels = self.asks if buy else self.bids
        if len(levels) < 2:  # the last level stays
            return None
        price = min(levels) if buy else max(levels)
        there = levels[price]
        quantity = there if self._rng.random() < 0.3 else max(1, int(there * self._rng.random()))
        return (
            price,
            quantity,
            "buy" if buy else "sell",
            self._apply("asks" if buy else "bids", levels, price, there - quantity, now),
        )

    def sides(self, depth: int, *, counts: bool = False) -> dict[str, list[dict[str, Any]]]:
        """``{"bids": [best first], "asks": [best first]}`` with decimal strings; `counts` adds the number of orders."""
        return {
            "bids": [
                self._level(price, self.bids[price], counts=counts) for price in sorted(self.bids, reverse=True)[:depth]
            ],
            "asks": [self._level(price, self.asks[price], counts=counts) for price in sorted(self.asks)[:depth]],
        }

    def hash(self) -> str:
        """16 hex digits of SHA-256 over price and quantity of all levels, best first.

        The canonical form is our own: the contract leaves it open, so a client can only compare hashes, never recompute.
        """
        text = "|".join(
            ";".join(f"{price}:{levels[price]}" for price in sorted(levels, reverse=best))
            for levels, best in ((self.bids, True), (self.asks, False))
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _apply(self, side: str, levels: dict[int, int], price: int, quantity: int, now: int) -> Edit:
        self._set(levels, price, quantity)
        previous, self.seq, self.at = self.seq, self.seq + 1, now
        return Edit(side, price, quantity, previous, self.seq)

    def _set(self, levels: dict[int, int], price: int, quantity: int) -> None:
        if quantity:
            levels[price] = quantity
        else:
            levels.pop(price, None)

    def _quantity(self) -> int:
        return 100 + int(self._rng.random() * 50_000)

    def _level(self, price: int, quantity: int, *, counts: bool) -> dict[str, Any]:
        level: dict[str, Any] = {"price": price_text(price), "quantity": quantity_text(quantity)}
        if counts:
            level["count"] = 1 + quantity % 7
        return level


def price_text(price: int) -> str:
    """Thousandths as a decimal string, without trailing zeroes: ``0.52``, ``0.523``."""
    return _PRICES[price]


def quantity_text(quantity: int) -> str:
    """Hundredths as a decimal string: ``120.50``; a level that is gone is ``0``."""
    return f"{quantity // 100}.{quantity % 100:02d}" if quantity else "0"


_PRICES: Final = tuple(f"{price / 1000:.3f}".rstrip("0").rstrip(".") for price in range(1001))
