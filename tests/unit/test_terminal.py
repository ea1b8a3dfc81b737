"""Output: tables and JSON that are right, errors that are one line, nothing that steers a terminal."""

from __future__ import annotations

import json

import pytest

from bridge import terminal
from bridge.errors import ConfigError, Refused, Unreachable
from bridge.ops.redaction import redactor

NASTY = "a\x1b[2Jb\x9bc\u202ed\u2028e"


def test_table_is_whole_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe no cell is cut, whatever the width; empty heads print no line."""
    terminal.table(["name", "text"], [["cs2", "x" * 500], [None, 1234]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "text"]
    assert lines[1].split() == ["cs2", "x" * 500]
    assert lines[2].split() == ["1,234"]
    terminal.table(["", ""], [["a", "b"]])
    assert capsys.readouterr().out.split() == ["a", "b"]


def test_nothing_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and turns of direction are escaped in tables, lines and JSON; JSON stays the same value."""
    terminal.table(["x"], [[NASTY]])
    terminal.line(NASTY)
    out = capsys.readouterr().out
    terminal.row({"x": NASTY})
    terminal.json_line(json.dumps({"x": NASTY}, ensure_ascii=False).encode())
    rows = capsys.readouterr().out
    for char in "\x1b\x9b\u202e\u2028":
        assert char not in out + rows
    assert [json.loads(line) for line in rows.split("\n") if line] == [{"x": NASTY}] * 2


def test_document_keeps_text_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON for people and programs: indented, letters of all scripts as they are."""
    terminal.document({"market": "Победитель"})
    assert capsys.readouterr().out == '{\n  "market": "Победитель"\n}\n'


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            ConfigError("x is\nunknown", where="f.yaml:3", mend="remove it"),
            78,
            "feedbridge: f.yaml:3: x is unknown; remove it\n",
        ),
        (Refused("no"), 77, "feedbridge: no\n"),
        (ExceptionGroup("g", [ValueError("v"), ExceptionGroup("h", [Unreachable("away")])]), 69, "feedbridge: away\n"),
        (
            ValueError("v"),
            70,
            "feedbridge: unexpected ValueError: v; this is a bug, --log-level debug shows where\n",
        ),
        (ConfigError("GET /s?api_key=abc"), 78, "feedbridge: GET /s?api_key=***\n"),
        (ConfigError(NASTY), 78, "feedbridge: a\\x1b[2Jb\\x9bc\\u202ed e\n"),
    ],
)
def test_error_is_one_line_and_a_code(
    error: Exception, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where, what, what to do; of a group the first error of ours; secrets masked; no traceback."""
    assert terminal.fail(error, debug=False) == code
    assert capsys.readouterr().err == text


def test_debug_adds_a_redacted_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback comes before the line, and holds no secret."""
    redactor.add("terminal-secret-value")
    try:
        raise ConfigError("bad: terminal-secret-value")  # noqa: TRY301
    except ConfigError as error:
        terminal.fail(error, debug=True)
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("feedbridge: bad: ***\n")
    assert "terminal-secret-value" not in err
