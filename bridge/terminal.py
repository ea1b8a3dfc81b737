"""How commands speak: tables and JSON on standard output, one line for an error on standard error.

All text may hold what a gateway sent: what would steer a terminal is escaped. Errors are redacted too.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.errors import BridgeError
from bridge.ops.redaction import redactor
from bridge.status import plain

#: sysexits' "internal software error": a bug of ours, told apart from a check that failed.
BUG: Final = 70

_WIDE: Final = 10_000


def console() -> Console:
    """Return a console on standard output: as wide as the terminal, unlimited where there is none (a pipe, a file)."""
    out = Console(markup=False, highlight=False, soft_wrap=False)
    return out if out.is_terminal else Console(markup=False, highlight=False, width=_WIDE)


def is_live(out: Console) -> bool:
    """Whether what stands there can be written over: a terminal, and not one that knows no moves (``TERM=dumb``)."""
    return out.is_terminal and not out.is_dumb_terminal


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under heads. Cells are text, numbers, None or rich's own `Text`."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(heads))
    for head in heads:
        made.add_column(head, overflow="fold")
    for row in rows:
        made.add_row(
            *(cell if isinstance(cell, Text) else Text(plain(cell) if cell is not None else "") for cell in row)
        )
    out = console()
    with out.capture() as printed:
        out.print(made)
    # The last column is padded: of no use to anyone who copies it.
    sys.stdout.write("".join(f"{text.rstrip()}\n" for text in printed.get().splitlines()))
    sys.stdout.flush()


def verdict(*, ok: bool) -> Text:
    """Return the word for a result, in its colour."""
    return Text("ok", style="green") if ok else Text("FAILED", style="bold red")


def line(text: str) -> None:
    """Print one line of plain text."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def document(value: Any) -> None:
    """Print a value as indented JSON, for programs and for reading."""
    sys.stdout.write(_json(value, indent=2) + "\n")
    sys.stdout.flush()


def row(value: Any) -> None:
    """Print a value as JSON on one line: one of a stream of them."""
    sys.stdout.write(_json(value) + "\n")
    sys.stdout.flush()


def json_line(text: bytes) -> None:
    """Print JSON that is made already, on one line."""
    sys.stdout.write(_harmless(text.decode()) + "\n")
    sys.stdout.flush()


def fail(error: BaseException, *, debug: bool) -> int:
    """Say on standard error what went wrong and return the exit code.

    One line, whatever the error; with debug also its traceback, redacted.
    """
    from bridge.ops import logs  # what it imports takes long, and most commands end well

    told = _told(error)
    if debug:
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(redactor.text(trace).encode("ascii", "backslashreplace").decode())
    if isinstance(told, BridgeError):
        text, code = str(told), told.exit_code
    else:
        code = BUG
        text = f"unexpected {type(told).__name__}: {told}; this is a bug, --log-level debug shows where"
    logs.settle()
    sys.stderr.write(f"feedbridge: {plain(' '.join(redactor.text(text).split()))}\n")
    return code


def _told(error: BaseException) -> BaseException:
    """Return the error to tell of: of a group the first of ours, else the first."""
    while isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(BridgeError)
        error = (ours or error).exceptions[0]
    return error


#: What JSON lets stand raw and a terminal obeys. All of it can only stand within a string, where an escape is the same.
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]")
_STEERS: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _json(value: Any, *, indent: int | None = None) -> str:
    return _harmless(json.dumps(value, indent=indent, ensure_ascii=False, default=str))


def _harmless(text: str) -> str:
    text = _STEERS.sub(_escaped, text)
    # Not all of Unicode fits every encoding of standard output; escapes always do.
    fits = (sys.stdout.encoding or "ascii").lower().startswith("utf")
    return text if fits else _FOREIGN.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]
