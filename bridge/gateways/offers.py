"""Which match a TickTock market belongs to, over REST (contract 2.4, 5.2).

A `market.*` frame of the list stream need not say whose market it is. What other frames say is learned by the pipeline;
where that may not be enough, the markets of the live matches are read. A frame never waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from bridge.errors import BadData, Refused, Unreachable
from bridge.gateways.rest import decode

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.gateways.gateway import Outside
    from bridge.gateways.rest import Rest

_MARKET: Final = b'{"type":"market.'
_MATCH_ID: Final = b'"match_id"'


def homeless(raw: bytes) -> bool:
    """Whether a frame is of a market and does not seem to say of which match; wrong now and then, and harmless."""
    return raw.startswith(_MARKET) and _MATCH_ID not in raw


class Offers:
    """Reads the markets of live matches when there is a reason.

    live: returns the ids of the live matches; raises as `Rest.get` does. needed: whether frames have come since it was last
    called that do not say whose they are. learn: is told market id → match id. interval: s between two readings at least.
    """

    def __init__(
        self,
        rest: Rest,
        *,
        live: Callable[[], Awaitable[list[str]]],
        needed: Callable[[], bool],
        learn: Callable[[dict[str, str]], None],
        interval: float,
        outside: Outside,
        log: FilteringBoundLogger,
    ) -> None:
        """See the class."""
        self._rest = rest
        self._live = live
        self._needed = needed
        self._learn = learn
        self._interval = interval
        self._outside = outside
        self._log = log

    async def run(self) -> None:
        """Look up until cancelled, or until REST refuses the key."""
        while True:
            if self._needed():
                try:
                    for match in await self._live():
                        self._learn(await self.of(match))
                except Refused as error:
                    self._log.warning("gateway_markets_unknown", reason=str(error))
                    return
                except (Unreachable, BadData) as error:
                    self._log.warning("gateway_markets_unknown", reason=str(error))
            await self._outside.sleep(self._interval)

    async def of(self, match: str) -> dict[str, str]:
        """Return market id → match id of one match; nothing where the key may not see markets. Raises as `Rest.get` does."""
        data = decode(await self._rest.get(f"/cs2/v1/matches/{quote(match, safe='')}"), _Answer).data
        return {market.id: match for market in data.markets}


class _Market(msgspec.Struct):
    id: str


class _Match(msgspec.Struct):
    markets: list[_Market] = []


class _Answer(msgspec.Struct):
    data: _Match
