"""How far a long command is: a bar on standard error, where a person sees it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bridge.proof import Progress

#: Columns of the bar itself: with what stands beside it, it fits 60.
_BAR: Final = 16


@contextmanager
def progress_bar(
    *, as_json: bool = False, beside_output: bool = False, what: str = "asking Kafka"
) -> Iterator[Progress | None]:
    """Yield what is told (what is done, how much of it, how much there is; 0: unknown), None where nobody would see it.

    That is: standard error is no terminal, the output is for a program, or (beside_output) lines of output appear on a
    terminal while it runs and show by themselves how far it is. what: until something is told. The bar is gone at the end.
    """
    dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    if as_json or dumb or not sys.stderr.isatty() or (beside_output and sys.stdout.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=26), markup=False),
        BarColumn(bar_width=_BAR), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    # What a pipe or a file is to have must never be drawn beside the bar instead.
    both = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=both) as bar:
        task = bar.add_task(what, total=None)
        yield lambda what, done, whole: bar.update(task, description=what, completed=done, total=whole or None)
