"""What ``feedbridge status`` shows: a status as lines that fit a terminal, the worst first. Pure.

The status is that of ``/api/status``, read tolerantly: a bridge of another version may say more or less than this one
knows. Whether all is well it says itself, in one sentence (``well``).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from bridge.status import age, moment, plain

#: Narrower than this (columns) nothing is made; lines are cut then.
NARROW: Final = 40

_BOLD: Final = "bold"
_DIM: Final = "dim"
_BAD: Final = "bold red"
#: How a finding's level (`bridge.sentence`) looks; the sign is told apart without colours too.
LEVELS: Final = {"good": ("●", "green"), "wait": ("○", "cyan"), "warning": ("▲", "yellow"), "bad": ("✖", _BAD)}
_GOOD_STATES: Final = frozenset({"active", "connected", "live", "standby"})
_STATES: Final = {"filled": "green", "open": "yellow", "partly": "yellow", "lost": _BAD}
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
#: Findings, connections that are not up, gaps and dead letters that are shown.
_FINDINGS: Final = 6
_CONNECTIONS: Final = 8
_EVENTS: Final = 5
#: Columns of a name and of a sparkline.
_NAME: Final = 24
_SPARK: Final = 20
_GAP: Final = 2
_MILLION: Final = 1_000_000
_YEAR_10000: Final = 253_402_300_800_000


def well(status: Mapping[str, Any]) -> bool:
    """Whether the bridge says that all is well, or that frames flow and something is to be looked at some time."""
    return level(status) in {"good", "warning"}


def level(status: Mapping[str, Any]) -> str:
    """Return how well: a key of `LEVELS`, or a word that this version does not know."""
    return _findings(status)[0][0]


def verdict(status: Mapping[str, Any]) -> str:
    """Return the one sentence."""
    return plain(_findings(status)[0][1])


def panel(status: Mapping[str, Any], *, now: int, width: int, height: int | None = None, types: bool = False) -> Text:
    """Return the lines, none longer than `width`, no more than `height`. now: ms since the epoch. types: a table of them too."""
    width = max(width, NARROW)
    lines = [
        *_verdict(status, width),
        *_head(status, now),
        *_reload(status, now, width),
        *_lanes(status, now, width),
        *_gateways(status, now, width),
        *_numbers(status, width),
        *_gaps(status, now),
        *_letters(status, now),
        *(_types(status, width) if types else ()),
    ]
    if height is not None and len(lines) > height:
        left = len(lines) - height + 1
        lines = [*lines[: height - 1], Text(f"… {left} more lines: make the window taller", _DIM)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True).join(lines)


# --- the sentence -----------------------------------------------------------------------------------------------------


def _findings(status: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    """(level, text, runbook) of all there is to say; of a bridge that says none, whether it is ready."""
    told = [(plain(each.get("level")), each.get("text"), each.get("runbook")) for each in _rows(status.get("well"))]
    if told:
        return told
    if status.get("ready") is True:
        return [("good", f"Ready: {plain(status.get('reason'))}.", None)]
    return [("bad", f"Not ready: {plain(status.get('reason'))}.", None)]


def _verdict(status: Mapping[str, Any], width: int) -> Iterator[Text]:
    found = _findings(status)
    for number, (rank, text, runbook) in enumerate(found[:_FINDINGS]):
        sign, style = LEVELS.get(rank, ("-", ""))
        parts = _wrapped(plain(text), width - _GAP)
        if runbook and rank == "bad":
            parts += [f"What to do: docs/runbooks/{plain(runbook)}.md"]
        for place, part in enumerate(parts):
            yield Text(f"{sign if place == 0 else ' '} {part}", style if number == 0 or place == 0 else "")
    if len(found) > _FINDINGS:
        yield Text(f"  and {len(found) - _FINDINGS} more", _DIM)
    yield Text()


def _head(status: Mapping[str, Any], now: int) -> Iterator[Text]:
    began = status.get("started")
    since = f" · started {age(began, now)}" if isinstance(began, int) else ""
    ready = status.get("ready")
    state = f" · {'ready' if ready else 'not ready'}: {plain(status.get('reason'))}" if isinstance(ready, bool) else ""
    yield Text.assemble(
        (plain(status.get("name")), _BOLD),
        (f" · {plain(status.get('version'))} · {plain(status.get('instance'))[:8]}{since}", _DIM),
        (state, _DIM if ready else _BAD),
    )


def _reload(status: Mapping[str, Any], now: int, width: int) -> Iterator[Text]:
    reload = status.get("reload")
    if not isinstance(reload, Mapping):
        return
    changed = reload.get("changed")
    told = reload.get("error") or ", ".join(map(plain, changed if isinstance(changed, list) else []))
    text = f"configuration {plain(reload.get('outcome'))} {age(reload.get('at'), now)}{': ' if told else ''}{plain(told or '')}"
    yield from (Text(part, _BAD if reload.get("error") else "") for part in _wrapped(text, width))


# --- tables -----------------------------------------------------------------------------------------------------------


class _Cell(NamedTuple):
    """full: as it is; short: where there is no room for that."""

    full: str
    short: str
    style: str = ""


class _Column(NamedTuple):
    """weight: the columns of the greatest one go first where there is no room; 0: never."""

    head: str
    weight: int
    cells: list[_Cell]
    right: bool = False


def _text(value: object, style: str = "") -> _Cell:
    text = plain(value)
    return _Cell(text, text, style)


def _count(value: object) -> _Cell:
    text = plain(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return _Cell(text, text)
    short = (
        text if value < _MILLION // 10 else f"{value / 1000:,.0f}k" if value < _MILLION else f"{value / _MILLION:,.1f}M"
    )
    return _Cell(text, short)


def _state(state: object, *, good: bool) -> _Cell:
    return _text(state, "green" if good else _BAD)


def _table(columns: Sequence[_Column], width: int) -> list[list[Text]]:
    """Return heads and rows, each as a list of one line, to which more may be added."""
    kept, short = [column for column in columns if any(cell.full not in {"", "-"} for cell in column.cells)], False
    while _wide(kept, short=short) > width:
        droppable = [column for column in kept if column.weight]
        if not short:
            short = True
        elif droppable:
            kept.remove(max(droppable, key=lambda column: column.weight))
        else:
            break
    rows: list[list[Text]] = [[Text()] for _ in range(1 + max((len(column.cells) for column in kept), default=0))]
    for place, column in enumerate(kept):
        size = _size(column, short=short)
        if place == 0 and (over := _wide(kept, short=short) - width) > 0:
            size = max(size - over, 4)
        last = place == len(kept) - 1
        for row, cell in zip(rows, (_Cell(column.head, column.head, _BOLD), *column.cells), strict=False):
            text = cell.short if short else cell.full
            shown = _fitted(text, size, right=column.right)
            row[0].append(shown.rstrip() if last else shown + " " * _GAP, cell.style)
    return rows


def _size(column: _Column, *, short: bool) -> int:
    found = max([cell_len(column.head), *(cell_len(cell.short if short else cell.full) for cell in column.cells)])
    return found if column.right else min(found, _NAME)


def _wide(columns: Sequence[_Column], *, short: bool) -> int:
    return sum(_size(column, short=short) + _GAP for column in columns) - _GAP


def _fitted(text: str, size: int, *, right: bool) -> str:
    over = cell_len(text) - size
    if over > 0:
        return set_cell_size(text, size - 1) + "…"
    return " " * -over + text if right else text + " " * -over


def _below(text: str, width: int, style: str = _DIM) -> list[Text]:
    return [Text(f"  {part}", style) for part in _wrapped(text, width - _GAP)]


def _lanes(status: Mapping[str, Any], now: int, width: int) -> Iterator[Text]:
    lanes = _rows(status.get("lanes"))
    if not lanes:
        return
    columns = [
        _Column("lane", 0, [_text(lane.get("lane")) for lane in lanes]),
        _Column("role", 0, [_state(lane.get("role"), good=lane.get("role") in _GOOD_STATES) for lane in lanes]),
        _Column("since", 1, [_text(age(lane["since"], now) if "since" in lane else "") for lane in lanes]),
        _Column("last commit", 2, [_text(_commit(lane, now)) for lane in lanes]),
        _Column("waiting", 3, [_count(lane.get("behind")) for lane in lanes], right=True),
        _Column("identities", 4, [_count(lane.get("identities")) for lane in lanes], right=True),
        _Column("active", 5, [_text(plain(lane.get("active"))[:8]) for lane in lanes]),
    ]
    head, *rows = _table(columns, width)
    yield Text()
    yield from head
    for lane, row in zip(lanes, rows, strict=False):
        yield from row
        if lane.get("trouble"):
            yield from _below(plain(lane["trouble"]), width, _BAD)


def _commit(lane: Mapping[str, Any], now: int) -> str:
    ago = lane.get("last_commit_seconds_ago")
    return age(now - int(ago * 1000), now) if isinstance(ago, int | float) else ""


#: Counts of a gateway or a type, what their columns are called, and what may go first.
_COUNTS: Final = (
    ("received", "processed", 0),
    ("published", "records out", 2),
    ("duplicates", "duplicates", 5),
    ("unchanged", "unchanged", 6),
    ("dead_letters", "dead", 3),
)


def _counts(rows: Sequence[Mapping[str, Any]]) -> list[_Column]:
    return [
        _Column(head, weight, [_count(row.get(name)) for row in rows], right=True) for name, head, weight in _COUNTS
    ]


def _gateways(status: Mapping[str, Any], now: int, width: int) -> Iterator[Text]:
    gateways = _rows(status.get("gateways"))
    if not gateways:
        return
    frames, *others = _counts(gateways)
    columns = [
        _Column("gateway", 0, [_text(each.get("name")) for each in gateways]),
        _Column("state", 0, [_gateway_state(each) for each in gateways]),
        _Column("last frame", 1, [_text(age(each.get("last_frame"), now)) for each in gateways]),
        frames,
        _Column("/s", 4, [_text(_rate(each)) for each in gateways], right=True),
        *others,
        _Column("the last 2 min", 7, [_text(_spark(each)) for each in gateways]),
    ]
    head, *rows = _table(columns, width)
    yield Text()
    yield from head
    for gateway, row in zip(gateways, rows, strict=False):
        yield from row
        yield from _connections(gateway, now, width)


def _gateway_state(gateway: Mapping[str, Any]) -> _Cell:
    good = gateway.get("connected") is True
    return _state(gateway.get("state") or ("connected" if good else "down"), good=good)


def _connections(gateway: Mapping[str, Any], now: int, width: int) -> Iterator[Text]:
    connections = _rows(gateway.get("connections"))
    facts = []
    if connections:
        facts.append(f"{len(connections)} connection{'s' * (len(connections) != 1)}")
        for name, word in (("reconnects", "reconnect"), ("turns", "turn")):
            count = sum(each.get(name) or 0 for each in connections)
            facts += [f"{count:,} {word}{'s' * (count != 1)}"] if count else []
    filling = gateway.get("filling")
    if isinstance(filling, Mapping) and (filling.get("waiting") or filling.get("gap")):
        count = filling.get("waiting")
        facts.append("1 gap to fill" if count == 1 else f"{plain(count)} gaps to fill")
    if gateway.get("lacks"):
        facts.append(f"the key may not see {', '.join(map(plain, _list(gateway['lacks'])))}")
    if facts:
        yield from _below(", ".join(facts), width)
    down = [each for each in connections if each.get("state") not in _GOOD_STATES or each.get("turning")]
    for each in down[:_CONNECTIONS]:
        why = plain(each.get("detail") or each.get("turning") or "")
        text = f"{plain(each.get('name'))}: {plain(each.get('state'))} since {age(each.get('since'), now)}".replace(
            " ago", ""
        )
        yield from _below(f"{text}{': ' if why else ''}{why}", width, _BAD if each.get("state") == "refused" else "")
    if len(down) > _CONNECTIONS:
        yield from _below(f"and {len(down) - _CONNECTIONS} more connections that are not up", width)
    if gateway.get("detail") and not any(each.get("detail") == gateway["detail"] for each in down):
        yield from _below(plain(gateway["detail"]), width, "" if gateway.get("connected") else _BAD)
    for each in _rows(gateway.get("rejected")):
        where = f"{plain(each['connection'])}: " if each.get("connection") else ""
        yield from _below(f"{where}{plain(each.get('channel'))} rejected: {plain(each.get('message'))}", width, _BAD)


def _rates(gateway: Mapping[str, Any]) -> list[float]:
    rate = gateway.get("rate")
    frames = _list(rate.get("frames")) if isinstance(rate, Mapping) else []
    return [float(each) for each in frames if isinstance(each, int | float)]


def _rate(gateway: Mapping[str, Any]) -> str:
    """Of the last ten seconds."""
    last = _rates(gateway)[-5:]
    return f"{sum(last) / len(last):,.0f}" if last else ""


def _spark(gateway: Mapping[str, Any]) -> str:
    """Return the rates as blocks."""
    rates = _rates(gateway)
    top = max(rates, default=0.0)
    if top <= 0:
        return ""
    size = -(-len(rates) // _SPARK)
    heights = [max(rates[start : start + size]) / top for start in range(0, len(rates), size)]
    return "".join(_BLOCKS[round(each * (len(_BLOCKS) - 1))] for each in heights)


def _types(status: Mapping[str, Any], width: int) -> Iterator[Text]:
    types = _rows(status.get("types"))
    if not types:
        return
    columns = [
        _Column("type", 0, [_text(each.get("type")) for each in types]),
        _Column("gateway", 1, [_text(each.get("gateway")) for each in types]),
        *_counts(types),
    ]
    yield Text()
    for row in _table(columns, width):
        yield from row


# --- the rest ---------------------------------------------------------------------------------------------------------


def _numbers(status: Mapping[str, Any], width: int) -> Iterator[Text]:
    parts = []
    minute = status.get("last_minute")
    for name in ("latency", "transaction"):
        times = minute.get(name) if isinstance(minute, Mapping) else None
        if isinstance(times, Mapping) and isinstance(times.get("p50"), int | float):
            parts.append(f"{name} {_seconds(times['p50'])} (99 %: {_seconds(times.get('p99'))})")
    journal = status.get("journal")
    if isinstance(journal, Mapping):
        full = "full, " if journal.get("full") else ""
        parts.append(
            f"journal {full}{plain(journal.get('frames'))} frames, {_bytes(journal.get('bytes'))} of {_bytes(journal.get('max_bytes'))}"
        )
    if parts:
        yield Text()
        line = " · ".join(parts)
        for part in [line] if cell_len(line) <= width else parts:
            yield Text(part, _BAD if part.startswith("journal full") or "journal full," in part else "")


def _seconds(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value * 1000:,.3g} ms" if value < 1 else f"{value:,.3g} s"


def _bytes(value: object) -> str:
    if not isinstance(value, int):
        return "-"
    size, units = float(value), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:  # noqa: PLR2004 - the units' own
        size /= 1024
        units.pop(0)
    return f"{size:,.0f} {units[0]}" if units[0] == "B" or size >= 10 else f"{size:,.1f} {units[0]}"  # noqa: PLR2004 - two digits


def _gaps(status: Mapping[str, Any], now: int) -> Iterator[Text]:
    gaps = _rows(status.get("gaps"))
    if not gaps:
        return
    yield from _heading("gaps", len(gaps))
    for each in gaps[:_EVENTS]:
        until, since = each.get("until"), each.get("since")
        lasted = ""
        if isinstance(since, int):
            lasted = f"{((until if isinstance(until, int) else now) - since) / 1000:,.1f} s"
        words = f"{plain(each.get('cause')).replace('_', ' ')} {lasted}{'' if until else ' so far'}, "
        place = f"{plain(each.get('gateway'))}/{plain(each.get('connection'))}"
        line = Text(f"  {_when(since, now)}  {place}  {words}")
        line.append(plain(each.get("state")), _STATES.get(plain(each.get("state")), ""))
        if each.get("recovered"):
            line.append(f", {plain(each['recovered'])} records had")
        yield line


def _letters(status: Mapping[str, Any], now: int) -> Iterator[Text]:
    letters = _rows(status.get("dead_letters"))
    if not letters:
        return
    counted = [each.get("dead_letters") for each in _rows(status.get("gateways"))]
    yield from _heading("dead letters", max(len(letters), sum(each for each in counted if isinstance(each, int))))
    for each in letters[:_EVENTS]:
        where = f" at {plain(each['path'])}" if each.get("path") else ""
        kind = f" {plain(each['type'])}" if each.get("type") else ""
        text = f"{plain(each.get('gateway'))}{kind}: {plain(each.get('reason')).replace('_', ' ')}{where}"
        yield Text(f"  {_when(each.get('at'), now)}  {text}")


def _heading(name: str, count: int) -> Iterator[Text]:
    yield Text()
    more = f", the last {_EVENTS} of {count}" if count > _EVENTS else ""
    yield Text.assemble((name, _BOLD), (f"  UTC{more}", _DIM))


def _when(at: object, now: int) -> str:
    """Return the time of a day, or the date of an earlier one, equally wide."""
    if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < _YEAR_10000:
        return f"{'-':8}"
    text = moment(at)
    return text[11:19] if text[:10] == moment(now)[:10] else f"{text[5:10]:8}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in _list(value) if isinstance(row, Mapping)]
