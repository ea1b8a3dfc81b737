"""Configuration files as plain values with places."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.source import MAX_BYTES, Document, nearest, parse, read, shown

MARKER = "HUNTER2"


def taken(text: str, environ: dict[str, str] | None = None, folder: Path = Path("/nowhere")) -> Document:
    """Parse a text; no problem may repeat the marker."""
    document = parse(text, environ=environ or {}, folder=folder)
    assert MARKER not in str(document.problems)
    return document


def value(text: str, environ: dict[str, str] | None = None, folder: Path = Path("/nowhere")) -> object:
    """Return what `a` is in a file without faults."""
    document = taken(text, environ, folder)
    assert document.problems == []
    assert isinstance(document.data, dict)
    return document.data["a"]


def problem(text: str, environ: dict[str, str] | None = None, folder: Path = Path("/nowhere")) -> tuple[int, str, str]:
    """Return line, path and words of the only problem."""
    (found,) = taken(text, environ, folder).problems
    return found.line, found.path, found.what


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 12", 12),
        ("a: -3", -3),
        ("a: 1.5", 1.5),
        ("a: true", True),
        ("a:", None),
        ("a: ~", None),
        ("a: no", "no"),
        ("a: on", "on"),
        ("a: 0x1f", "0x1f"),
        ("a: 010", "010"),
        ("a: 1:30", "1:30"),
        ("a: 2026-01-01", "2026-01-01"),
        ("a: 1.10", "1.10"),
        ("a: 1e5", "1e5"),
        ("a: .5", ".5"),
        ("a: .inf", ".inf"),
        ('a: "12"', "12"),
        ("a: '~'", "~"),
        ("a: !!str 12", "12"),
        ("a: |\n  x\n  y\n", "x\ny\n"),
        ('{"a": [1, {"b": null}]}', [1, {"b": None}]),
        ("x: &x {p: 1, q: 2}\na: {<<: *x, q: 3}", {"p": 1, "q": 3}),
        ("x: &x [1]\na: *x", [1]),
        ('{"a": "\\ud83d\\ude00"}', "\U0001f600"),
        (f"a: {'9' * 78}", int("9" * 78)),
        (f"a: {'9' * 5000}", "9" * 5000),
    ],
)
def test_plain_values(text: str, expected: object) -> None:
    """YAML 1.2's, and nothing that would be written differently becomes a number."""
    made = value(text)
    assert made == expected
    assert type(made) is type(expected)


@given(st.one_of(st.integers(-(10**99), 10**99), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_is_written_again_as_it_was(number: float) -> None:
    """A number of the file gives back the file's text exactly, so nothing is lost where text is wanted."""
    assert str(value(f"a: {number}")) == str(number)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\tb: 1", 2, "a tab"),
        (f"a: *{MARKER}", 1, "an alias"),
        (f"a: !{MARKER} x", 1, "a YAML tag"),
        (f"a: !!int {MARKER}", 1, "a YAML tag"),
        (f"a: !{MARKER}!x y", 1, "a YAML tag"),
        ("b: 1\na: x: y", 2, "a `:` where none can be"),
        (f"a: '{MARKER}", 1, "in quotes"),
        (f'a: "{MARKER}\\q"', 1, "in quotes"),
        (f"a: [{MARKER}", 1, "a bracket"),
        ("a: {b: ${X}}", 1, "a bracket"),
        (f"a: @{MARKER}", 1, "a character YAML keeps"),
        (f"a: %{MARKER}", 1, "a character YAML keeps"),
        (f"a: |{MARKER}", 1, "text behind a `|`"),
        (f"a: }}{MARKER}", 1, "where a value belongs"),
        ("a:\n  b: 1\n c: 2", 3, "does not fit"),
        ("a: 1\n---\nb: 2", 2, "more than one document"),
        (f"a: x\n{MARKER}\x07", 2, "a control character"),
        ("[" * 5000, 1, "nested too deeply"),
        ("a: &a [*a]", 1, "contains itself"),
        ("a: &a {<<: &b {<<: *b}}", 1, "nested too deeply"),
        ("", 1, "is empty"),
        ("# nothing\n", 1, "is empty"),
        ('a: "\\ud83d"', 1, "half of a character"),
        ("? [x]\n: 1", 1, "a key must be text"),
        ("a: {<<: 5}", 1, "merges mappings only"),
    ],
)
def test_what_is_no_yaml_is_told_plainly_with_its_line(text: str, line: int, words: str) -> None:
    """In our words: the parser's quote the text, which may be a secret."""
    found = problem(text)
    assert found[0] == line
    assert words in found[2]


def test_aliases_of_aliases_end() -> None:
    """A few lines that would be billions of values are refused at once."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert problem("\n".join(lines))[2] == "holds too many values"
    merges = ["b0: &b0 {x: 1}"]
    merges += [f"b{n}: &b{n} {{<<: [{','.join([f'*b{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    assert problem("\n".join(merges))[2] == "holds too many values"


def test_a_duplicate_key_names_both_lines() -> None:
    """The last would win silently; what is meant is not ours to guess."""
    assert problem("a:\n  k: 1\n  x: 2\n  k: 3") == (4, "a.k", "duplicate key, first in line 2")


def test_every_value_knows_its_line() -> None:
    """The key's line for members, the item's own in lists, also through aliases; else the nearest around."""
    document = taken("a:\n  - x\n  - k: 1\nb: {c: 2}\n")
    assert document.line(("a", 1, "k")) == 3
    assert document.line(("b", "c")) == 4
    assert document.line(("b", "missing", "deeper")) == 4
    assert document.line(("nowhere",)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: ${X}", "1"),
        ("a: pre-${X}-${Y}-post", "pre-1-two words-post"),
        ("a: '${X}'", "1"),
        ("a: ${MISSING:-default}", "default"),
        ("a: ${EMPTY:-default}", "default"),
        ("a: ${EMPTY}", ""),
        ("a: ${MISSING:-}", ""),
        ("a: ${X:-default}", "1"),
        ("a: $$", "$"),
        ("a: $${X}", "${X}"),
        ("a: $$$${X}", "$${X}"),
        ("a: $$${X}", "$1"),
        ("a: cash$only$", "cash$only$"),
        ("a: ${MISSING:-pa$$word}", "pa$word"),
        ("a: ${MISSING:-a:-b}", "a:-b"),
        ('a: ["${X}"]', ["1"]),
    ],
)
def test_variables_are_filled_in(text: str, expected: object) -> None:
    """In every scalar, after parsing: a value can't change the structure of the file."""
    assert value(text, {"X": "1", "Y": "two words", "EMPTY": ""}) == expected


@pytest.mark.parametrize("text", ["x: y", "- a", "'", "${X}", "$$", "!", "a\nb: c", "*", "{}"])
def test_what_is_filled_in_is_text_as_it_is(text: str) -> None:
    """Neither YAML nor another variable: what stands in the environment is the value."""
    assert value("a: ${X}", {"X": text}) == text


def test_a_missing_variable_is_named_with_its_place() -> None:
    """All of them at once, and nothing of the text around."""
    document = taken(f"a: {MARKER}${{ONE}}\nb:\n  - ${{TWO}}\n")
    assert [(found.line, found.path) for found in document.problems] == [(1, "a"), (3, "b[0]")]
    assert "ONE" in document.problems[0].what
    assert "TWO" in document.problems[1].what
    assert document.broken == {("a",), ("b", 0)}


@pytest.mark.parametrize(
    "text", ["a: ${", f"a: ${{{MARKER}", "a: ${X-y}", "a: ${}", "a: ${1X}", "a: ${X:-${Y}}", "a: ${file:}", "a: ${ X }"]
)
def test_a_malformed_variable_is_one_problem(text: str) -> None:
    """It is never taken for text: a key with `${` in it would be refused by the gateway much later."""
    assert "this `${` is no" in problem(text, {"X": "1", "Y": "2"})[2]


def test_a_variable_that_is_no_text_is_refused() -> None:
    """Bytes that are no UTF-8 arrive as lone surrogates, which no client can send."""
    assert problem("a: ${X}", {"X": f"{MARKER}\udcff"})[2] == "the environment variable X is not UTF-8 text"


def test_a_mounted_file_is_its_text_without_the_last_line_break(tmp_path: Path) -> None:
    """Secrets are mounted as files, most end in a line break; only one is taken off."""
    for raw, expected in (
        (b"k\n", "k"),
        (b"k\r\n", "k"),
        (b"k", "k"),
        (b"k\n\n", "k\n"),
        (b" k ", " k "),
        (b"\xef\xbb\xbfk", "k"),
    ):
        (tmp_path / "key").write_bytes(raw)
        assert value("a: ${file:key}", folder=tmp_path) == expected
        assert value(f"a: x-${{file:{tmp_path}/key}}") == f"x-{expected}"


def test_a_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    """Absent, a folder, too large, no text: named with its place, never with its content."""
    (tmp_path / "large").write_bytes(MARKER.encode() * 10_000)
    (tmp_path / "binary").write_bytes(MARKER.encode() + b"\xff")
    for name, words in (
        ("absent", "No such file"),
        (".", "directory"),
        ("large", "over 64 KiB"),
        ("binary", "not UTF-8"),
    ):
        line, path, what = problem(f"b: 1\na: ${{file:{name}}}", folder=tmp_path)
        assert (line, path) == (2, "a")
        assert words in what
        assert f"the file {name} " in what


def test_origins_name_what_a_text_came_from() -> None:
    """So that an error about the text can say where to look."""
    assert taken("a: ${X:-1}-${file:/dev/null}").origins == {("a",): "${X}, ${file:/dev/null}"}


def test_a_file_is_read(tmp_path: Path) -> None:
    """UTF-8, with or without a byte order mark."""
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: \xc3\xa4\n")
    assert read(file) == "a: ä\n"


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """Absent, a folder, too large, another encoding: where and why."""
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "latin").write_bytes(f"a: 1\nb: {MARKER}".encode() + b"\xe4\n")
    (tmp_path / "utf16").write_text("a: 1", encoding="utf-16")
    for name, words in (
        ("absent", "absent: can't be read: No such file"),
        (".", "can't be read: Is a directory"),
        ("large", "over 1 MiB"),
        ("latin", "latin:2: is not UTF-8"),
        ("utf16", "utf16:1: is not UTF-8"),
    ):
        with pytest.raises(ConfigError) as caught:
            read(tmp_path / name)
        assert words in str(caught.value)
        assert MARKER not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_path_shows_plain_words_only() -> None:
    """`{password:x}` is a key without a value to YAML, and a secret to its author."""
    assert shown(("kafka", "bootstrap.servers", 0)) == "kafka.bootstrap.servers[0]"
    assert MARKER not in shown(("a", f"password:{MARKER}"))
    assert shown(("a b", "c")) == "(a key that is no plain word).c"


def test_the_nearest_name_is_offered() -> None:
    """One that is near, else all where they are few."""
    assert nearest("api_kye", ["url", "api_key"]) == "did you mean `api_key`?"
    assert nearest("zzz", ["url", "api_key"]) == "known: api_key, url"
    assert nearest("zzz", [f"key{n}" for n in range(50)]) == "no known key is near it"
    assert nearest("zzz", []) == "nothing can be set here"


@given(st.text(alphabet="ab:-[]{}'\"|>&*!%@`#$?,\n\t \\0", max_size=60))
def test_any_text_is_data_or_a_problem(text: str) -> None:
    """No text, however broken, ends in another exception."""
    document = parse(text, environ={}, folder=Path("/nowhere"))
    assert document.problems or document.data is not None or text.strip()
