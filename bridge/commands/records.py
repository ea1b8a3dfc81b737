"""Commands that read topics: ``tail``, ``dead-letters list|show``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.commands.command import Command, Group, config_option, json_option, load, load_catalog
from bridge.commands.progress import progress_bar
from bridge.errors import BadData

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.tail import Decoder, Seen


@click.command(
    cls=Command,
    examples=[
        "feedbridge tail -c feedbridge.yaml",
        "feedbridge tail -c feedbridge.yaml cs2 --from 15m",
        "feedbridge tail -c feedbridge.yaml cs2.match.updated --last 10 --no-follow",
        "feedbridge tail -c feedbridge.yaml --json | head -5",
    ],
)
@click.argument("words", metavar="[TOPIC]...", nargs=-1)
@config_option
@click.option(
    "--from",
    "start",
    metavar="WHERE",
    default="end",
    show_default=True,
    help="beginning, end, how long ago (15m), or a time.",
)
@click.option("--last", type=click.IntRange(min=0), metavar="N", help="Begin with the last so many records instead.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many records.")
@click.option("--no-follow", is_flag=True, help="End where the topics end, don't wait for more.")
@json_option
def tail(
    *,
    words: tuple[str, ...],
    path: Path,
    start: str,
    last: int | None,
    count: int | None,
    no_follow: bool,
    as_json: bool,
) -> None:
    """Show records as a consumer sees them: committed and decoded.

    TOPIC is a topic or a pattern of topics, a gateway or a frame type; all data topics where none is named. What is
    null or empty is left out, except with --json.
    """
    from bridge import tail as reading
    from bridge import terminal, topics

    config = load(path)
    begin = reading.parse_start(start, now=time.time_ns() // 1_000_000)
    chosen = topics.select(topics.plan(config, load_catalog()), words)
    records = reading.tail(
        config,
        [topic.name for topic in chosen],
        _decoder(config),
        start=begin,
        last=last,
        count=count,
        follow=not no_follow,
        skip_missing=not words,
    )
    with progress_bar(as_json=as_json or count is None, beside_output=True) as tell:
        for number, record in enumerate(records, 1):
            if as_json:
                terminal.json_line(reading.line(record))
            else:
                terminal.line(reading.pretty(record))
            if tell is not None:
                tell(f"{number:,} of {count:,} records", number, count or 0)


@click.group("dead-letters", cls=Group)
def dead_letters() -> None:
    """Look at frames that could not become records."""


@dead_letters.command(
    "list",
    short_help="List dead letters and their reasons.",
    examples=[
        "feedbridge dead-letters list -c feedbridge.yaml",
        "feedbridge dead-letters list -c feedbridge.yaml cs2 --from 24h",
    ],
)
@click.argument("gateways", metavar="[GATEWAY]...", nargs=-1)
@config_option
@click.option(
    "--from",
    "start",
    metavar="WHERE",
    default="beginning",
    show_default=True,
    help="beginning, how long ago (24h), or a time.",
)
@json_option
def dead_letters_list(*, gateways: tuple[str, ...], path: Path, start: str, as_json: bool) -> None:
    """List dead letters with the reason, the field to blame and where they lie."""
    from bridge import status, terminal

    rows = []
    for record in _dead(load(path), gateways, start):
        facts = _facts(record)
        if as_json:
            terminal.row(facts)
        else:
            rows.append(
                [
                    facts["place"],
                    status.moment(record.timestamp),
                    facts["type"],
                    facts["reason"],
                    facts["path"],
                    facts["detail"],
                ]
            )
    if not as_json:
        terminal.table(["place", "received", "type", "reason", "field", "detail"], rows)


@dead_letters.command(
    "show",
    examples=[
        "feedbridge dead-letters show -c feedbridge.yaml 'cs2.dead-letters[0]@12'",
        "feedbridge dead-letters show -c feedbridge.yaml 'cs2.dead-letters[0]@12' --raw",
    ],
)
@click.argument("place")
@config_option
@click.option("--raw", is_flag=True, help="Only the original bytes, exactly as they came.")
@json_option
def dead_letters_show(*, place: str, path: Path, raw: bool, as_json: bool) -> None:
    """Show one dead letter whole.

    PLACE is what the list calls it: the topic, its partition and the offset.
    """
    from bridge import tail as reading
    from bridge import terminal

    for record in _dead(load(path), (), "beginning"):
        if _place(record) != place:
            continue
        if raw:
            sys.stdout.buffer.write(record.value or b"")
            sys.stdout.buffer.flush()
        elif as_json:
            terminal.json_line(reading.line(record))
        else:
            for name, text in record.headers.items():
                terminal.line(f"{name}: {text}")
            terminal.line((record.value or b"").decode(errors="backslashreplace"))
        return
    raise BadData(f"there is no dead letter at {place!r}", mend="`feedbridge dead-letters list` lists them")


def _dead(config: Config, gateways: tuple[str, ...], start: str) -> Iterator[Seen]:
    """Yield the dead letters there are, of these gateways or of all."""
    from bridge import tail as reading
    from bridge import topics

    unknown = [name for name in gateways if name not in config.gateways]
    if unknown:
        raise click.UsageError(f"there is no gateway {unknown[0]!r}, known: {', '.join(config.gateways)}")
    return reading.tail(
        config,
        [topics.dead_letters_name(config, name) for name in gateways or config.gateways],
        _decoder(config),
        start=reading.parse_start(start, now=time.time_ns() // 1_000_000),
        follow=False,
    )


def _facts(record: Seen) -> dict[str, Any]:
    known = {name: record.headers.get(name) for name in ("gateway", "reason", "detail", "path", "type", "received")}
    return {"place": _place(record), "timestamp": record.timestamp, **known, "bytes": len(record.value or b"")}


def _place(record: Seen) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"


def _decoder(config: Config) -> Decoder:
    from bridge.registry import Registry
    from bridge.tail import Decoder

    return Decoder.of(load_catalog(), registry=Registry(config.registry) if config.registry else None)
