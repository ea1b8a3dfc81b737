"""bridge.gateways.settlements: the log of settlements is read whole, in order, from a cursor."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bridge.errors import BadData
from bridge.gateways.settlements import Page, Settlements, frame


class Log:
    """Answers as TickTock's REST does, from a list of entries. desc: newest first in a page."""

    def __init__(self, entries: list[dict[str, Any]], *, desc: bool = False, stuck: bool = False) -> None:
        self.entries = entries
        self.asked: list[dict[str, str | int]] = []
        self._desc = desc
        self._stuck = stuck

    async def get(self, _path: str, **query: str | int) -> bytes:
        """Answer."""
        self.asked.append(query)
        limit = int(query["limit"])
        since = query.get("since_id")
        if since is None:
            rows = self.entries[-limit:]
        else:
            at = next(n for n, each in enumerate(self.entries) if str(each["id"]) == since)
            rows = self.entries[at if self._stuck else at + 1 :][:limit]
        return json.dumps({"data": rows[::-1] if self._desc else rows, "meta": {"count": len(rows)}}).encode()


def numbered(count: int) -> list[dict[str, Any]]:
    """Entries whose ids are numbers, of which several fall into one second."""
    return [{"id": 481234 + n, "created_at": f"2026-05-10T13:42:{n // 4:02d}+00:00", "n": n} for n in range(count)]


def named(count: int) -> list[dict[str, Any]]:
    """Entries whose ids are names without an order."""
    return [
        {"id": f"{(n * 7919) % 1000:03d}-x", "created_at": f"2026-05-10T13:42:{n:02d}+00:00", "n": n}
        for n in range(count)
    ]


async def read(log: Log, cursor: str, *, page: int) -> list[Page]:
    """All pages after a cursor."""
    return [each async for each in Settlements(log, page=page).after(cursor)]  # type: ignore[arg-type]


def told(pages: list[Page]) -> list[int]:
    """Which entries the frames hold, in order."""
    return [json.loads(raw)["data"]["n"] for page in pages for raw in page.frames]


@pytest.mark.parametrize("desc", [False, True])
@pytest.mark.parametrize("entries", [numbered, named])
@pytest.mark.parametrize("count", [3, 12, 13, 40])
async def test_every_entry_after_the_cursor_comes_once_and_in_order(
    entries: Callable[[int], list[dict[str, Any]]], count: int, *, desc: bool
) -> None:
    """Whatever the kind of id, the order within a page, and how many pages there are."""
    log = Log(entries(count), desc=desc)
    pages = await read(log, str(log.entries[2]["id"]), page=10)
    assert told(pages) == list(range(3, count))
    assert not pages or pages[-1].cursor == str(log.entries[-1]["id"])


async def test_a_page_that_begins_with_the_cursor_itself_is_no_trouble() -> None:
    """Whether `since_id` is exclusive is documented in words only."""
    log = Log(numbered(25), stuck=True)
    assert told(await read(log, "481236", page=10)) == list(range(3, 25))


async def test_a_log_that_never_moves_on_is_reported() -> None:
    """A page that repeats the one before would be asked for without end."""
    log = Log(numbered(2), stuck=True)
    with pytest.raises(BadData, match="repeats"):
        await read(log, "481235", page=1)


async def test_the_beginning_is_behind_the_newest_entry() -> None:
    """A bridge that never read the log begins at its end: what was before it came is nobody's gap."""
    assert await Settlements(Log(numbered(5), desc=True)).newest() == "481238"  # type: ignore[arg-type]
    assert await Settlements(Log([])).newest() is None  # type: ignore[arg-type]


def test_an_entry_keeps_the_text_of_its_values() -> None:
    """Numbers are not read and written again."""
    assert frame(b'{"id":1,"price":1.10}') == b'{"type":"bet_settlement","data":{"id":1,"price":1.10}}'
