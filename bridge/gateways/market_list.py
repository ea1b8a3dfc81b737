"""PredictStreet's markets over REST, all that can be found of them (contract 5.3).

``GET /api/markets`` is capped at 500 rows, and no page after them is documented. Where it is full, the same list is read for
each status, then the catalogue of events, in which markets are nested. A cursor is followed wherever an answer has one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.errors import BadData
from bridge.gateways.rest import decode

if TYPE_CHECKING:
    from bridge.gateways.rest import Rest

#: Rows of a list at most.
ROWS: Final = 500
#: Statuses of a market that is not over (contract 4.8).
STATUSES: Final = (
    "OPEN", "PAUSED", "SUSPENDED", "PRE_MARKET", "PROPOSED", "CLOSED", "PENDING_RESOLUTION", "DELAYED", "DISPUTED",
)  # fmt: skip
_MARKETS: Final = "/api/markets"
_EVENTS: Final = "/api/events"
#: Pages followed at most, so that a cursor that leads nowhere ends.
_PAGES: Final = 200


class Market(msgspec.Struct, frozen=True):
    """A market, as far as we read it. Ids are null before it is on chain, token ids where it has more than two outcomes."""

    symbol: str
    conditionId: str | None = None  # noqa: N815 - the gateway's name
    yesTokenId: str | None = None  # noqa: N815 - the gateway's name
    noTokenId: str | None = None  # noqa: N815 - the gateway's name


class MarketList:
    """The list behind `rest`."""

    def __init__(self, rest: Rest) -> None:
        """Nothing is read yet."""
        self._rest = rest
        #: Whether there may be more markets than the last `read` has found.
        self.cut = False

    async def read(self) -> list[Market]:
        """Read it, each market once. Raises as `Rest.get` does."""
        found: dict[str, Market] = {}
        full = False
        async for page in self._pages(_MARKETS):
            rows = decode(page, _Markets).markets
            full = len(rows) >= ROWS
            found.update((row.symbol, row) for row in rows)
        self.cut = full and not await self._more(found)
        return list(found.values())

    async def _more(self, found: dict[str, Market]) -> bool:
        """Look for markets beyond a full list; returns whether it can be said that these are all."""
        whole = True
        for status in STATUSES:
            rows: list[Market] = []
            async for page in self._pages(_MARKETS, status=status):
                rows = decode(page, _Markets).markets
                found.update((row.symbol, row) for row in rows)
            whole = whole and len(rows) < ROWS
        if whole:
            return True
        before = len(found)
        try:
            async for page in self._pages(_EVENTS):
                found.update((row.symbol, row) for row in _nested(decode(page, dict[str, Any])))
        except BadData:
            return False  # named in the contract, its shape is not: it may be another, or not there
        return len(found) > before

    async def _pages(self, path: str, **query: str) -> AsyncIterator[bytes]:
        cursor: str | None = None
        seen: set[str] = set()
        while len(seen) < _PAGES:
            body = await self._rest.get(path, **query, **({} if cursor is None else {"cursor": cursor}))
            yield body
            cursor = decode(body, _Paged).nextCursor
            if cursor is None or cursor in seen:
                return
            seen.add(cursor)


def _nested(value: Any) -> Iterator[Market]:
    """Yield the markets anywhere in a value: what has a symbol and a condition."""
    if isinstance(value, list):
        for each in value:
            yield from _nested(each)
    elif isinstance(value, dict):
        if isinstance(value.get("symbol"), str) and "conditionId" in value:
            yield msgspec.convert(value, Market)
        for each in value.values():
            if isinstance(each, list | dict):
                yield from _nested(each)


class _Markets(msgspec.Struct):
    markets: list[Market]


class _Paged(msgspec.Struct):
    nextCursor: str | None = None  # noqa: N815 - the gateway's name
