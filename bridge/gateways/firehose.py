"""Everything of a channel that has no firehose of its own: the ids of all markets that the list has. Pure.

No firehose channel is documented but for a name that begins with ``all_`` (contract 3.2). What is subscribed to "all" ids
is therefore subscribed to those of every market in the list, and follows it: markets come and go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

from bridge.gateways.subscriptions import SUBSCRIPTIONS_PER_CONNECTION, Subscription, normal, plan

if TYPE_CHECKING:
    from bridge.gateways.market_list import Market

#: In place of ids: those of all markets.
ALL: Final = "all"
#: Seconds for which a market is kept after it has left the list: its last trades are settled later.
LINGER: Final = 600.0
#: Connections that one gateway opens at most: how many a key may have is not documented (contract 8.7).
MOST_CONNECTIONS: Final = 32
_TOKENS: Final = "token_"
_CONDITIONS: Final = "condition_"


def follows(channel: str) -> bool:
    """Whether a channel takes ids that the list of markets has."""
    return channel.startswith((_TOKENS, _CONDITIONS))


class Firehose:
    """The ids of all markets. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        """Know no market yet."""
        self._tokens: dict[str, float] = {}
        self._conditions: dict[str, float] = {}

    def listed(self, markets: Iterable[Market], now: float, *, cut: bool) -> None:
        """Take the list of markets. cut: it may not be whole, so that who is not in it may be there all the same."""
        for market in markets:
            if market.conditionId:
                self._conditions[market.conditionId.lower()] = now
            for token in (market.yesTokenId, market.noTokenId):
                if token:
                    self._tokens[normal(_TOKENS, token)] = now
        if not cut:
            for ids in (self._tokens, self._conditions):
                for gone in [entity for entity, seen in ids.items() if now - seen > LINGER]:
                    del ids[gone]

    def subscription(self, channel: str) -> list[Subscription]:
        """Return what subscribes to all of a channel; nothing while no market is known."""
        ids = tuple(self._tokens if channel.startswith(_TOKENS) else self._conditions)
        return [Subscription(channel, ids)] if ids else []


def connections(wanted: Iterable[Subscription], protocol: Literal["auto", 1, 2]) -> int:
    """Return how many connections a plan takes, whichever generation answers."""
    return len(plan(wanted, generation=None if protocol == "auto" else protocol))


def within(planned: list[list[Subscription]]) -> tuple[list[list[Subscription]], int]:
    """Return the connections that may be opened, and how many subscriptions are left out."""
    out = planned[MOST_CONNECTIONS:]
    return planned[:MOST_CONNECTIONS], sum(min(len(each), SUBSCRIPTIONS_PER_CONNECTION) for each in out)
