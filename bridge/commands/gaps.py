"""The command ``gaps list``, and how commands read the gaps that are recorded."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.commands.command import Group, config_option, json_option, load
from bridge.commands.reading import gap_decoder_of, span_of, width
from bridge.commands.waiting import waiting

if TYPE_CHECKING:
    from bridge.config import Config


@click.group(cls=Group)
def gaps() -> None:
    """Look at the times for which frames may be missing."""


@gaps.command(
    "list",
    short_help="List gaps: when, how long, why, what became of them.",
    examples=["feedbridge gaps list -c feedbridge.yaml", "feedbridge gaps list -c feedbridge.yaml cs2 --since 24h"],
)
@click.argument("gateways", metavar="[GATEWAY]...", nargs=-1)
@config_option
@click.option("--since", metavar="WHERE", help="Only those that were not over by then: 24h ago, or a time.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not closed yet.")
@json_option
def gaps_list(*, gateways: tuple[str, ...], path: Path, since: str | None, only_open: bool, as_json: bool) -> None:
    """List gaps: when, how long, why, what became of them.

    A gap is a time for which frames of a connection may be missing. Its latest record counts. Times are UTC. The id
    names gateway, connection and lane, and is what `gaps fill` takes. Below it stands what filled it and what can't be
    had.
    """
    from bridge import terminal

    config = load(path)
    unknown = [name for name in gateways if name not in config.gateways]
    if unknown:
        raise click.UsageError(f"there is no gateway {unknown[0]!r}, known: {', '.join(config.gateways)}")
    bound, now = span_of(since, None).since, time.time_ns() // 1_000_000
    recorded = Recorded.read(config)
    chosen = []
    for gap in sorted(recorded.gaps.values(), key=lambda each: (each["from"], each["id"])):
        over = now if gap["to"] is None else gap["to"]
        outside = (gateways and gap["gateway"] not in gateways) or (bound is not None and over < bound)
        if not outside and (not only_open or gap["state"] == "open"):
            chosen.append(gap | {"seconds": (over - gap["from"]) / 1000})
    if as_json:
        for each in chosen:
            terminal.row(each)
    else:
        for line in _listed(chosen, recorded):
            terminal.line(line)
    if recorded.unread:
        click.echo(f"{len(recorded.unread):,} records can't be read, the first is {recorded.unread[0]}", err=True)


@dataclass(slots=True)
class Recorded:
    """The last record of each gap by its id, times in ms since the epoch; the greatest offset; what can't be read, and why."""

    gaps: dict[str, dict[str, Any]] = field(default_factory=dict)
    last: int = -1
    unread: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, config: Config) -> Recorded:
        """Read the topic of gaps whole. Raises what Kafka's refusal means."""
        from bridge import tail, topics

        found = cls()
        topic = topics.own_name(config, topics.Role.GAPS)
        with waiting(f"waiting for Kafka at {config.kafka['bootstrap.servers']}"):
            for record in tail.tail(config, [topic], gap_decoder_of(config), start="beginning", follow=False):
                found.last = max(found.last, record.offset)
                if record.data is not None:
                    found.gaps[record.data["id"]] = plain(record.data)
                elif record.error is not None:
                    found.unread.append(f"{topic}[{record.partition}]@{record.offset}: {record.error}")
        return found


def plain(data: dict[str, Any]) -> dict[str, Any]:
    """A gap record with its times in ms since the epoch."""
    times = {name: data[name] and round(data[name].timestamp() * 1000) for name in ("from", "to")}
    return {**data, **times}


def _listed(gaps: Sequence[dict[str, Any]], recorded: Recorded) -> Iterator[str]:
    """A row for each gap under heads, the id last, so that it is never cut; below it what became of it."""
    if not gaps:
        yield f"none of {len(recorded.gaps):,} recorded gaps fits" if recorded.gaps else "no gaps are recorded"
        return
    rows = [("from", "to", "lasted", "cause", "state", "id"), *map(_row, gaps)]
    sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row, gap in zip(rows, (None, *gaps), strict=True):
        yield "  ".join([*(cell.ljust(size) for cell, size in zip(row, sizes, strict=False)), row[-1]])
        if gap is not None and (outcome := _outcome(gap)):
            yield from textwrap.wrap(outcome, width(), initial_indent="  ", subsequent_indent="  ")


def _row(gap: dict[str, Any]) -> tuple[str, ...]:
    begin, end = _clock(gap["from"]), "" if gap["to"] is None else _clock(gap["to"])
    if end[:6] == begin[:6]:
        end = end[6:]
    return begin, end, _duration(round(gap["seconds"] * 1000)), str(gap["cause"]), str(gap["state"]), str(gap["id"])


def _outcome(gap: dict[str, Any]) -> str:
    """What was published late, and what filled the gap or can't be had; a book's connection, which its id does not tell."""
    told = [
        f"connection {gap['connection']}" if gap["entity"] is not None else "",
        f"{gap['recovered']:,} records published late" if gap["recovered"] else "",
        f"{gap['superseded']:,} superseded" if gap["superseded"] else "",
        gap["how"] or "",
    ]
    return "; ".join(each for each in told if each)


def _clock(at: int) -> str:
    """``05-10 13:42:11`` of a time in ms since the epoch, UTC: the date takes six characters."""
    return time.strftime("%m-%d %H:%M:%S", time.gmtime(at / 1000))


def _duration(ms: int) -> str:
    """``0.4s``, ``2m05s``, ``3h12m``, ``2d07h``."""
    seconds = max(ms, 0) / 1000
    if seconds < _MINUTE:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


_MINUTE: Final = 60
