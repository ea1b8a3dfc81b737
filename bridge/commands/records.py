"""The command ``tail``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge.commands.command import Command, config_option, json_option, load, load_catalog
from bridge.commands.progress import progress_bar

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.tail import Decoder


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


def _decoder(config: Config) -> Decoder:
    from bridge.registry import Registry
    from bridge.tail import Decoder

    return Decoder.of(load_catalog(), registry=Registry(config.registry) if config.registry else None)
