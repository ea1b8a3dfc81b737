"""PredictStreet's public tape over REST: the trades of a span of time, as frames of the stream (contract 5.2, 5.3).

The tape is per market and the streams are per token, so a row's outcome tells its token. Rows of one moment may be split
between pages, and both bounds of a query are exclusive: pages overlap by a millisecond, and the rows' ids tell them apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from bridge.errors import BadData
from bridge.gateways.rest import decode

if TYPE_CHECKING:
    from bridge.gateways.rest import Rest
    from bridge.gateways.subscriptions import Generation

#: Rows of one page at most (contract 5.3).
PAGE: Final = 200
#: Type and channel of the frame that a row becomes, by generation of the protocol.
_FRAMES: Final[dict[Generation, tuple[str, str]]] = {
    1: ("trade", "token_trades"),
    2: ("trade_matched", "token_trade_matches"),
}


class Market(msgspec.Struct, frozen=True):
    """A market whose tape is read. tokens: outcome → token id, of those that are wanted."""

    symbol: str
    tokens: dict[int, str]
    condition: str | None = None


class Tape:
    """The tapes behind `rest`. generation: of the frames that rows become."""

    def __init__(self, rest: Rest, *, generation: Generation, page: int = PAGE) -> None:
        """page: rows asked for at once."""
        self._rest = rest
        self._frames = _FRAMES[generation]
        self._page = page

    async def between(self, market: Market, begin: int, end: int) -> AsyncIterator[list[bytes]]:
        """Yield the trades from `begin` to `end` (ms since the epoch, both included) as frames, newest page first.

        Raises as `Rest.get` does, and BadData where one moment has more trades than a page: they can't be had.
        """
        seen: set[str] = set()
        before = end + 1
        while True:
            path = f"/api/markets/{market.symbol}/trades"
            body = await self._rest.get(path, limit=self._page, after=_iso(begin - 1), before=_iso(before))
            rows = decode(body, _Answer).trades
            fresh = [row for row in map(_row, rows) if row.id not in seen and begin <= row.at <= end]
            seen.update(row.id for row in fresh)
            yield [
                frame(row.text, row.id, market, row.outcome, self._frames)
                for row in sorted(fresh, key=lambda row: row.at)
                if row.outcome in market.tokens
            ]
            if len(rows) < self._page:
                return
            if not fresh:
                raise BadData(f"more than {self._page} trades in one millisecond", where=path)
            before = min(row.at for row in fresh) + 1


def frame(row: bytes, ident: str, market: Market, outcome: int, named: tuple[str, str]) -> bytes:
    """Return a row of the tape as the stream's frame: what it says under the stream's names, its values as they are."""
    data = decode(row, dict[str, Raw])
    data.pop("id")
    token = market.tokens[outcome]
    ours: dict[str, object] = {"tradeId": ident, "tokenId": token}
    if market.condition is not None:
        ours["conditionId"] = market.condition
    kind, channel = named
    return msgspec.json.encode({"type": kind, "channel": channel, "id": token, "data": {**ours, **data}})


class _Row(msgspec.Struct, frozen=True):
    text: bytes
    id: str
    at: int
    outcome: int


class _Trade(msgspec.Struct):
    id: str
    createdAt: str  # noqa: N815 - the gateway's name
    outcomeIndex: int = 0  # noqa: N815 - the gateway's name


class _Answer(msgspec.Struct):
    trades: list[Raw]


def _row(text: Raw) -> _Row:
    trade = decode(bytes(text), _Trade)
    try:
        at = datetime.fromisoformat(trade.createdAt)
    except ValueError as error:
        raise BadData(f"a trade's createdAt is no time: {error}") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return _Row(bytes(text), trade.id, round(at.timestamp() * 1000), trade.outcomeIndex)


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
