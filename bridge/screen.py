"""What the demo shows: what came in, what went out, and one record; as a screen of a terminal, or as lines.

Pure: `Meter` is fed with counts and the time, `screen` turns what it says into text that fits, `line` into one line for
where no terminal is.
"""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.text import Text

from bridge.panel import LEVELS
from bridge.status import plain

#: Seconds over which a rate is taken: short enough to follow, long enough to be calm.
SPAN: Final = 5.0

_HEADING: Final = "bold"
_DIM: Final = "dim"
_NUMBER: Final = "cyan"
#: Lines of the record with its head, and all others but those of the topics and the foot.
_RECORD_LINES: Final = 5
_OTHERS: Final = 11
#: Below so many columns the numbers have shorter names; below so many there is one in a line.
_ROOMY: Final = 75
_TIGHT: Final = 57
_MINUTE: Final = 60


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers since the start. topics: records by topic, as a consumer has counted them."""

    frames: int = 0
    records: int = 0
    duplicates: int = 0
    unchanged: int = 0
    dead_letters: int = 0
    waiting: int = 0
    topics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is shown. seconds: since the start. rates: a second, by the names of `Counts` and by topic.

    state: of the bridge, a sentence; level: how well that is (`bridge.panel.LEVELS`). record: (title, one line of text) of a record, or None before the first.
    foot: the last lines, one each.
    """

    seconds: float
    state: str
    level: str
    page: str | None
    counts: Counts
    rates: Mapping[str, float]
    record: tuple[str, str] | None
    path: str
    foot: Sequence[str]


class Meter:
    """Turns counts into rates over the last `SPAN` seconds."""

    def __init__(self) -> None:
        """Nothing measured yet."""
        self._past: deque[tuple[float, Counts]] = deque()

    def rates(self, counts: Counts, now: float) -> dict[str, float]:
        """Take the counts at `now` (s); return frames, records and each topic's records a second."""
        self._past.append((now, counts))
        while len(self._past) > 2 and now - self._past[1][0] >= SPAN:  # noqa: PLR2004 - a span has two ends
            self._past.popleft()
        began, before = self._past[0]
        span = now - began
        if span <= 0:
            return {}
        rates = {
            "frames": (counts.frames - before.frames) / span,
            "records": (counts.records - before.records) / span,
        }
        return rates | {topic: (count - before.topics.get(topic, 0)) / span for topic, count in counts.topics.items()}


def screen(facts: Facts, *, width: int, height: int) -> Text:
    """Return the screen: never more lines than `height`, none longer than `width` (both at least 40 and 16)."""
    foot = [part for text in facts.foot for part in textwrap.wrap(text, width)]
    numbers = _numbers(facts, width)
    state = _state(facts, width)
    room = height - _OTHERS - (len(state) - 1) - (len(numbers) - 3) - _RECORD_LINES - len(foot)
    lines = [
        _head(facts),
        *state,
        Text(facts.path, _DIM),
        Text(),
        *numbers,
        Text(),
        *_topics(facts, max(room, 2), width),
        Text(),
        *_record(facts, width),
        Text(),
        *(Text(text, _DIM) for text in foot),
    ]
    for each in lines:
        each.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True).join(lines[:height])


def line(facts: Facts) -> str:
    """Return the numbers in one line."""
    counts, rates = facts.counts, facts.rates
    page = f"  {facts.page}" if facts.page else ""
    return (
        f"{clock(facts.seconds)}  {facts.state}{page}  frames in {counts.frames:,} ({rates.get('frames', 0):,.0f}/s)  "
        f"records out {counts.records:,} ({rates.get('records', 0):,.0f}/s)  duplicates dropped {counts.duplicates:,}  "
        f"unchanged dropped {counts.unchanged:,}  dead letters {counts.dead_letters:,}"
    )


def clock(seconds: float) -> str:
    """Return minutes and seconds: ``1:07``."""
    return f"{int(seconds) // _MINUTE}:{int(seconds) % _MINUTE:02d}"


def _head(facts: Facts) -> Text:
    page = f" · {facts.page}" if facts.page else ""
    return Text.assemble(("feedbridge demo", _HEADING), f" · {clock(facts.seconds)}{page}")


def _state(facts: Facts, width: int) -> list[Text]:
    """Return the sentence in at most two lines."""
    sign, style = LEVELS.get(facts.level, ("-", ""))
    first, *more = textwrap.wrap(plain(facts.state), width - 2, break_on_hyphens=False) or [""]
    return [Text(f"{sign} {first}", style), *([Text(f"  {' '.join(more)}", style)] if more else [])]


def _numbers(facts: Facts, width: int) -> list[Text]:
    counts, rates = facts.counts, facts.rates
    rows = (
        (("frames in", counts.frames, rates.get("frames", 0.0)), ("duplicates dropped", counts.duplicates)),
        (("records out", counts.records, rates.get("records", 0.0)), ("unchanged dropped", counts.unchanged)),
        (("dead letters", counts.dead_letters, None), ("waiting in the journal", counts.waiting)),
    )
    left = [
        Text.assemble(
            f"  {name:<13}", (f"{number:>11,}", _NUMBER), (f"{f'{rate:,.0f}/s' if rate is not None else '':>9}", _DIM)
        )
        for (name, number, rate), _ in rows
    ]
    others = [other for _, other in rows]
    if width < _TIGHT:
        return left + [
            Text.assemble(f"  {name.split()[0]:<13}", (f"{number:>11,}", _NUMBER)) for name, number in others
        ]
    if width < _ROOMY:
        right = [Text.assemble(f"  {name.split()[0]:<11}", (f"{number:>9,}", _NUMBER)) for name, number in others]
    else:
        right = [Text.assemble(f"     {name:<22}", (f"{number:>11,}", _NUMBER)) for name, number in others]
    return [one.append_text(other) for one, other in zip(left, right, strict=True)]


def _topics(facts: Facts, room: int, width: int) -> list[Text]:
    """Return a head and `room` rows: the busiest topics, by name so that they keep their places; the last row: the rest."""
    busiest = sorted(facts.counts.topics.items(), key=lambda item: (-item[1], item[0]))
    shown = busiest if len(busiest) <= room else busiest[: room - 1]
    wide = max(width - 26, 10)
    lines = [Text(f"  {'topic':<{wide}}{'records':>11}{'':>9}", _HEADING)]
    for topic, count in sorted(shown):
        rate = facts.rates.get(topic, 0.0)
        lines.append(
            Text.assemble(
                f"  {plain(topic)[: wide - 1]:<{wide}}", (f"{count:>11,}", _NUMBER), (f"{f'{rate:,.0f}/s':>9}", _DIM)
            )
        )
    rest = busiest[len(shown) :]
    if rest:
        name = f"and {len(rest)} more topics"
        lines.append(Text(f"  {name:<{wide}}{sum(count for _, count in rest):>11,}", _DIM))
    return lines + [Text()] * (room + 1 - len(lines))


def _record(facts: Facts, width: int) -> list[Text]:
    if facts.record is None:
        lines = [Text("  no record yet", _DIM)]
    else:
        title, text = facts.record
        wrapped = textwrap.wrap(plain(text), width - 2, break_on_hyphens=False)
        if len(wrapped) > _RECORD_LINES - 1:
            wrapped = wrapped[: _RECORD_LINES - 1]
            wrapped[-1] = wrapped[-1][: width - 4] + " …"
        lines = [Text(f"  {plain(title)}", _HEADING), *(Text(f"  {part}") for part in wrapped)]
    return lines + [Text()] * (_RECORD_LINES - len(lines))
