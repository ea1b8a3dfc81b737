"""Errors of validation in the words of a file's author."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from bridge.settings import Duration, Settings
from bridge.source import Problem, parse
from bridge.wording import annotation_at, kind_of, problems


class Leaf(Settings):
    """The innermost."""

    size: int = Field(default=1, ge=1, alias="the.size")
    wait: Duration = 1.0


class Tree(Settings):
    """All ways to hold something."""

    one: Leaf | None = None
    many: tuple[Leaf, ...] = ()
    named: dict[str, Leaf] = Field(default={})
    either: Literal["all"] | list[int] | Leaf = "all"


def told(text: str) -> list[Problem]:
    """Return the problems of a text that is a `Tree`."""
    document = parse(text, environ={}, folder=Path())
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate(document.data)
    return problems(caught.value, document, lambda path: annotation_at(Tree, path))


@pytest.mark.parametrize(
    ("text", "line", "path", "what", "mend"),
    [
        ("one:\n  the.sise: 1", 2, "one.the.sise", "unknown key", "did you mean `the.size`?"),
        ("many:\n  - {}\n  - {wat: 1}", 3, "many[1].wat", "unknown key", "did you mean `wait`?"),
        ("named:\n  x:\n    wat: 1", 3, "named.x.wat", "unknown key", "did you mean `wait`?"),
        ("one: {size: 1}", 1, "one.size", "unknown key", "did you mean `the.size`?"),
        ("one: {the.size: 0}", 1, "one.the.size", "must be at least 1", None),
        ("many: 5", 1, "many", "expected a list, found a number", None),
        ("named: []", 1, "named", "expected a mapping (`key: value`), found a list", None),
        ("either: 5", 1, "either", "expected `all`, a list or a mapping (`key: value`), found a number", None),
        ("either: [1, x]", 1, "either[1]", "expected a whole number, found text", None),
        ("either:\n  wat: 1", 2, "either.wat", "unknown key", "did you mean `wait`?"),
        ("either: {wait: []}", 1, "either.wait", "expected a duration such as 250ms, 1.5s or 6h, found a list", None),
    ],
)
def test_a_problem_has_place_words_and_advice(text: str, line: int, path: str, what: str, mend: str | None) -> None:
    """One for each fault: the alternatives of a union are one, and the one that was meant decides."""
    assert told(text) == [Problem(line, path, what, mend)]


def test_a_stand_in_is_not_blamed() -> None:
    """Where a variable is missing, its absence is the problem, not the empty text in its place."""
    document = parse("one: {the.size: '${MISSING}', wait: x}", environ={}, folder=Path())
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate(document.data)
    found = problems(caught.value, document, lambda path: annotation_at(Tree, path))
    assert [problem.path for problem in found] == ["one.wait"]


def test_every_kind_of_value_has_a_word() -> None:
    """Saying what was found must not say the value."""
    values: list[Any] = [None, True, 1, 1.5, "x", "", [], {}]
    words = ["nothing", "true or false", "a number", "a number", "text", "empty text", "a list", "a mapping"]
    assert [kind_of(value) for value in values] == words


def test_an_annotation_is_found_through_all_that_holds_something() -> None:
    """Unions, lists, mappings and aliases; None where nothing is known."""
    assert annotation_at(Tree, ("many", 3, "the.size")) is int
    assert annotation_at(Tree, ("named", "x")) is Leaf
    assert annotation_at(Tree, ("one", "nothing")) is None
    assert annotation_at(None, ("one",)) is None


def test_other_messages_lose_their_jargon() -> None:
    """A rule of a model's own speaks for itself; what follows a semicolon is advice."""

    class Ruled(BaseModel):
        a: int

        def model_post_init(self, _: object) -> None:
            raise ValueError("a is never right; leave it out")

    document = parse("a: 1", environ={}, folder=Path())
    with pytest.raises(ValidationError) as caught:
        Ruled.model_validate(document.data)
    assert problems(caught.value, document, lambda _: None) == [Problem(1, "", "a is never right", "leave it out")]
