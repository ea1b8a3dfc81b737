"""What is seen at a place is counted by JSON type, exactly, and takes no more memory the more there is."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from bridge.values import CROWD, DEPTH, SKETCH, Budget, Values, parse


def taken(*texts: str, places: int = 1000) -> Values:
    """The values that these JSON texts are."""
    found, budget = Values(), Budget(places)
    for text in texts:
        found.take(parse(text), budget)
    return found


def test_json_types_are_told_apart() -> None:
    """An integer is what is written as one; true is no 1."""
    found = taken("1", "1.0", "1e3", "true", '"1"', "null", "[]", "{}")
    assert dict(found.kinds) == {
        "integer": 1, "number": 2, "boolean": 1, "string": 1, "null": 1, "array": 1, "object": 1,
    }  # fmt: skip
    assert found.seen == 7


def test_numbers_stay_exact() -> None:
    """Of any size, with the digits that were sent."""
    found = taken("123456789012345678901234567890", "-0.1000", "7")
    assert (found.least, found.most) == (Decimal("-0.1000"), 123456789012345678901234567890)
    assert str(found.least) == "-0.1000"


def test_few_values_are_told_one_by_one_and_many_counted() -> None:
    """Exactly while they are few, about right beyond."""
    assert taken('"a"', '"b"', '"a"').few == {"a", "b"}
    assert taken('"a"', '"b"', '"a"').differing == 2
    many = taken(*(json.dumps(f"value {number % 5000}") for number in range(20_000)))
    assert many.few is None
    assert many.differing == pytest.approx(5000, rel=0.6)
    assert (many.shortest, many.longest) == (7, 10)


def test_what_is_inside_has_places_of_its_own() -> None:
    """Members by name, elements of arrays together."""
    found = taken('{"a": 1, "b": [1, "x", null]}', '{"a": null}')
    assert dict(found.members["a"].kinds) == {"integer": 1, "null": 1}
    assert found.members["b"].items is not None
    assert dict(found.members["b"].items.kinds) == {"integer": 1, "string": 1, "null": 1}


def test_memory_is_bounded() -> None:
    """By names, by depth, by the budget, and by the sketch."""
    crowded = taken(*(json.dumps({f"id{number}": number}) for number in range(1000)))
    assert len(crowded.members) == CROWD
    assert crowded.others is not None
    assert crowded.others.kinds["integer"] == 1000 - CROWD
    deep: Any = taken("[" * 100 + "]" * 100)
    for _ in range(DEPTH):
        deep = deep.items
    assert deep.items is None
    small = taken('{"a": 1, "b": 2, "c": 3}', places=2)
    assert set(small.members) == {"a", "b"}
    long = taken(json.dumps({"n" * 1000: 1}), "1" * 1000, "0." + "1" * 1000, places=5)
    assert long.members == {}
    assert (long.vast, long.least, long.differing) == (True, None, 0)
    chance = random.Random(1)
    many = taken(*(str(chance.random()) for _ in range(5000)))
    assert len(many._sketch) == SKETCH


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    """Also what lies too deep to be read."""
    with pytest.raises(ValueError, match=r"."):
        parse(text)
