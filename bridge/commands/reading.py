"""What commands that read a stretch of topics share: the span, the bar that shows how far they are, the decoder."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.commands.command import load_catalog

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.proof import Progress
    from bridge.tail import Decoder
    from bridge.verdict import Span


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns: Sequence[Any] = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, done, whole: bar.update(task, description=what, completed=done, total=whole or None)


def span_of(since: str | None, until: str | None) -> Span:
    """The stretch of time that ``--since`` and ``--until`` mean. Raises ConfigError."""
    from bridge.tail import parse_start
    from bridge.verdict import Span

    now = time.time_ns() // 1_000_000

    def moment(text: str | None) -> int | None:
        found = None if text is None else parse_start(text, now=now)
        return found if isinstance(found, int) else None

    return Span(since=moment(since), until=moment(until))


def decoder_of(config: Config) -> Decoder:
    """What reads the values of an installation: by the schemas that are installed, and its registry."""
    from bridge.registry import Registry
    from bridge.tail import Decoder

    return Decoder.of(load_catalog(), registry=Registry(config.registry) if config.registry else None)
