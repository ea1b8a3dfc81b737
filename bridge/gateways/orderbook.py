"""PredictStreet's markets over REST: which condition a token belongs to, and the book where the channel is silent.

Contract 5.3. `token_book` of generation 1 is accepted and pushes nothing (contract 3.1): then the book is polled, and
each answer becomes a frame such as the channel would have sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from bridge.errors import BadData, Refused, Unreachable
from bridge.frame import REST, Frame
from bridge.gateways.gateway import Intake, Outside
from bridge.gateways.market_list import Market, MarketList
from bridge.gateways.rest import Rest, decode
from bridge.gateways.retry import SLOW
from bridge.gateways.subscriptions import BOOK, normal

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

#: `Frame.connection` of what is polled.
CONNECTION: Final = "orderbook"
#: Levels asked for, as many as a pushed snapshot has (contract 3.2).
_DEPTH: Final = 100
#: Seconds between looks for a book to poll.
_TICK: Final = 0.25
_ENVELOPE: Final = ("seq", "hash", "ts")


class Place(msgspec.Struct, frozen=True):
    """Where a token belongs. outcome: its index in the market."""

    symbol: str
    outcome: int
    condition: str | None


class Markets:
    """Token id → place, from the list of markets."""

    def __init__(self, rest: Rest) -> None:
        """Know nothing yet."""
        self._list = MarketList(rest)
        #: What the last `read` has found, and whether there may be more.
        self.listed: list[Market] = []
        self.cut = False
        self._places: dict[str, Place] = {}

    async def read(self) -> dict[str, str]:
        """Read the list and return token id → condition id. Raises as `Rest.get` does."""
        self.listed, self.cut = await self._list.read(), self._list.cut
        for row in self.listed:
            condition = row.conditionId.lower() if row.conditionId else None
            for outcome, token in enumerate((row.yesTokenId, row.noTokenId)):
                if token:
                    self._places[normal(BOOK, token)] = Place(row.symbol, outcome, condition)
        return {token: place.condition for token, place in self._places.items() if place.condition}

    def place(self, token: str) -> Place | None:
        """Return where a token belongs; the list is capped and leaves out late states, so it may not be known."""
        return self._places.get(token)

    def token(self, symbol: str, outcome: int) -> tuple[str, Place] | None:
        """Return the token of a market's outcome, and where it belongs."""
        return next(
            (
                (token, place)
                for token, place in self._places.items()
                if (place.symbol, place.outcome) == (symbol, outcome)
            ),
            None,
        )

    def unknown(self, tokens: Iterable[str]) -> list[str]:
        """Return those tokens that the list does not have."""
        return [token for token in tokens if token not in self._places]


class BookPoller:
    """Polls the books of silent tokens. silent: returns them. interval: s between two polls of one book."""

    def __init__(
        self,
        gateway: str,
        rest: Rest,
        markets: Markets,
        *,
        silent: Callable[[float], list[str]],
        interval: float,
        intake: Intake,
        outside: Outside,
        log: FilteringBoundLogger,
    ) -> None:
        """See the class."""
        self._gateway = gateway
        self._rest = rest
        self._markets = markets
        self._silent = silent
        self._interval = interval
        self._intake = intake
        self._outside = outside
        self._log = log
        self._next: dict[str, float] = {}
        self._up = False

    async def run(self) -> None:
        """Poll until cancelled; the pace is that of `Rest`."""
        try:
            while True:
                now = self._outside.monotonic()
                silent = self._silent(now)
                if not silent:
                    self._gone()
                    self._next.clear()
                due = [token for token in silent if self._next.get(token, 0.0) <= now]
                for token in due:
                    await self._poll(token)
                await self._outside.sleep(_TICK)
        finally:
            self._gone()

    async def _poll(self, token: str) -> None:
        place = self._markets.place(token)
        self._next[token] = self._outside.monotonic() + (self._interval if place else SLOW)
        if place is None:
            self._log.warning("gateway_book_unknown", token=token, reason="REST lists no market with this token")
            return
        try:
            body = await self._rest.get(f"/api/markets/{place.symbol}/orderbook", outcome=place.outcome, depth=_DEPTH)
            raw = book_frame(token, place, body)
        except (Refused, BadData) as error:
            self._next[token] += SLOW
            self._log.warning("gateway_book_not_served", token=token, reason=str(error))
        except Unreachable as error:
            self._log.warning("gateway_book_unreachable", token=token, reason=str(error))
        else:
            if token in self._silent(self._outside.monotonic()):
                await self._hand_on(raw, place)

    async def _hand_on(self, raw: bytes, place: Place) -> None:
        while self._intake.full:
            await self._intake.room()
        if not self._up:
            self._up = True
            self._intake.event(self._gateway, CONNECTION, "up")
            self._log.info("gateway_polls_books")
        self._intake.put(Frame(self._gateway, CONNECTION, self._outside.wall(), REST, raw, place.condition))

    def _gone(self) -> None:
        if self._up:
            self._up = False
            self._intake.event(self._gateway, CONNECTION, "gone")


def book_frame(token: str, place: Place, body: bytes) -> bytes:
    """Return an order book of REST as a `book_snapshot` of the channel; every value keeps its text.

    `seq` and `hash` stand in the envelope, as in a pushed snapshot. So does `ts`: it may be the time of asking, and what is
    in the envelope is no content; else each poll of a book that did not change would be news.
    """
    book = decode(body, dict[str, Raw])
    envelope: dict[str, object] = {"type": "book_snapshot", "channel": BOOK, "id": token}
    envelope |= {name: book.pop(name) for name in _ENVELOPE if name in book}
    data: dict[str, object] = {**book, "tokenId": token, "outcomeIndex": place.outcome}
    if place.condition is not None:
        data["conditionId"] = place.condition
    return msgspec.json.encode({**envelope, "data": data})
