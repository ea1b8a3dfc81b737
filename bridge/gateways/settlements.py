"""TickTock's settlement log over REST, read page by page from a cursor (contract 5.3).

The log is append-only and each entry has a durable id, the same that its frame on the stream has. So what was missed can
be had again exactly, and what was not missed is known by its id. The cursor is the id of the newest entry of a page; only
pages move it: a live frame says nothing of the entries before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from bridge.errors import BadData
from bridge.gateways.rest import decode

if TYPE_CHECKING:
    from bridge.gateways.rest import Rest

_PATH: Final = "/cs2/v1/settlements"
#: Entries of one page at most (contract 5.3).
PAGE: Final = 200


class Page(msgspec.Struct, frozen=True):
    """Entries as frames, oldest first, and the cursor behind them. times: when each was made, ms; None: it does not say."""

    frames: list[bytes]
    cursor: str
    times: list[int | None] = []

    def since(self, at: int) -> list[bytes]:
        """Return those made at `at` (ms) or later, or nobody knows when."""
        return [each for each, made in zip(self.frames, self.times, strict=True) if made is None or made >= at]


class Settlements:
    """The log behind `rest`."""

    def __init__(self, rest: Rest, *, page: int = PAGE) -> None:
        """page: entries asked for at once."""
        self._rest = rest
        self._page = page

    async def newest(self) -> str | None:
        """Return the cursor behind the newest entry, where a log that was never read begins; None while it is empty.

        Raises as `Rest.get` does.
        """
        page, _ = await self.last()
        return None if page is None else page.cursor

    async def last(self) -> tuple[Page | None, bool]:
        """Return the newest entries, as many as one answer holds, and whether they are all there are. Raises as `Rest.get`."""
        rows = await self._read(limit=self._page)
        return (_page(rows, rows[-1].id) if rows else None), len(rows) < self._page

    async def after(self, cursor: str) -> AsyncIterator[Page]:
        """Yield the pages after a cursor until there is no more.

        Raises as `Rest.get` does, and BadData for a page that does not move the cursor: asking again would never end.
        """
        seen = {cursor}
        while True:
            rows = await self._read(limit=self._page, since_id=cursor)
            if not rows:
                return
            # A page may begin with the entry asked for, or with others that came before.
            fresh = [row for row in rows if row.id not in seen]
            if not fresh:
                raise BadData("a page of settlements repeats the one before", where=_PATH)
            cursor = fresh[-1].id
            seen = {row.id for row in rows}
            yield _page(fresh, cursor)
            if len(rows) < self._page:
                return

    async def _read(self, **query: str | int) -> list[_Row]:
        rows = [_row(text) for text in decode(await self._rest.get(_PATH, **query), _Answer).data]
        # Which end of a page is the newer is not documented: numbers count up, else the times tell.
        if all(row.number is not None for row in rows):
            rows.sort(key=lambda row: row.number or 0)
        elif len(rows) > 1 and rows[0].at > rows[-1].at:
            rows.reverse()
        return rows


def frame(entry: bytes) -> bytes:
    """Return an entry of the log as the stream's frame; its values keep their text."""
    return b'{"type":"bet_settlement","data":%b}' % entry


def _page(rows: list[_Row], cursor: str) -> Page:
    return Page([frame(row.text) for row in rows], cursor, [round(row.at * 1000) if row.at else None for row in rows])


class _Row(msgspec.Struct, frozen=True):
    """An entry. id: as a query takes it. number: the same where it is one. at: seconds since the epoch."""

    text: bytes
    id: str
    number: int | None
    at: float


class _Entry(msgspec.Struct):
    id: int | str
    created_at: str = ""


class _Answer(msgspec.Struct):
    data: list[Raw]


def _row(text: Raw) -> _Row:
    entry = decode(bytes(text), _Entry)
    try:
        at = datetime.fromisoformat(entry.created_at).timestamp()
    except ValueError:
        at = 0.0
    return _Row(bytes(text), str(entry.id), entry.id if isinstance(entry.id, int) else None, at)
