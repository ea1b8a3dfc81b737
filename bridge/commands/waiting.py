"""Says what a command waits for, where that takes longer than somebody expects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

#: Seconds after which somebody wonders.
AFTER: Final = 2.0


@contextmanager
def waiting(what: str, *, after: float = AFTER) -> Iterator[None]:
    """Say `what` on standard error, once, where the block is not over `after` seconds later."""
    timer = threading.Timer(after, click.echo, (f"{what} ...",), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
