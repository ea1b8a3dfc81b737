"""Bars are for people: on standard error, on a terminal, and never where they could spoil an output."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.progress import progress_bar

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize(
    ("err", "out", "options", "environ", "shown"),
    [
        (Terminal, Terminal, {}, {}, True),
        (Terminal, io.StringIO, {}, {}, True),
        (io.StringIO, Terminal, {}, {}, False),
        (Terminal, io.StringIO, {"as_json": True}, {}, False),
        (Terminal, Terminal, {"beside_output": True}, {}, False),
        (Terminal, io.StringIO, {"beside_output": True}, {}, True),
        (Terminal, Terminal, {}, {"TERM": "dumb"}, False),
    ],
)
def test_a_bar_is_shown_where_a_person_sees_it(
    err: type[io.StringIO],
    out: type[io.StringIO],
    options: dict[str, Any],
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    shown: bool,
) -> None:
    """Not where standard error is no terminal, with --json, or beside lines of output that show how far it is."""
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    drawn = err()
    monkeypatch.setattr("sys.stderr", drawn)
    monkeypatch.setattr("sys.stdout", out())
    with progress_bar(**options) as tell:
        assert (tell is not None) == shown
        if tell is not None:
            tell("ledger", 5, 10)
    text = drawn.getvalue()
    assert ("ledger" in text and "50%" in text) == shown


#: Writes a line to standard output while a bar is shown.
PROGRAM = """
from bridge.commands.progress import progress_bar
with progress_bar() as tell:
    assert tell is not None
    tell("[1/2] a description that is longer than there is room for it", 1, 2)
    print("a record that goes into the pipe")
"""


def test_what_goes_into_a_pipe_goes_into_the_pipe() -> None:
    """With a bar on a real terminal of 60 columns beside it: no line of it is longer, and no record is drawn there."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "60"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        out, _ = process.communicate(timeout=30)
    drawn = os.read(ours, 100_000).decode()
    os.close(ours)
    assert process.returncode == 0
    assert out == b"a record that goes into the pipe\n"
    assert "[1/2] a description" in drawn
    assert "50%" in drawn
    assert "record" not in drawn
