"""The canonical form: equal where the JSON says the same, different where it does not."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.canonical import canonical, repeats_a_name
from bridge.errors import BadFrame
from tests.unit.json_texts import exact, json_texts


class _Number(int):
    """Its text is written as it was read."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        members = [(name, _shuffled(member, chance)) for name, member in value.items()]
        chance.shuffle(members)
        return dict(members)
    return [_shuffled(element, chance) for element in value] if isinstance(value, list) else value


def _rewritten(text: str, chance: random.Random) -> str:
    """The same JSON with other order, white space and escapes."""
    numbers: dict[str, str] = {}

    def keep(number: str) -> str:
        marker = f"\ue000{len(numbers)}\ue001"
        numbers[marker] = number
        return marker

    value = _shuffled(json.loads(text, parse_int=keep, parse_float=keep), chance)
    made = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1]))
    for marker, number in numbers.items():
        for written in (json.dumps(marker), json.dumps(marker, ensure_ascii=False)):
            made = made.replace(written, number)
    return made


@given(json_texts().filter(lambda text: "\ue000" not in text), st.integers(0, 1000))
def test_order_space_and_escapes_do_not_matter(text: str, seed: int) -> None:
    """What says the same is the same."""
    other = _rewritten(text, random.Random(seed))
    assert canonical(text.encode()) == canonical(other.encode())


@given(json_texts())
def test_nothing_else_is_lost(text: str) -> None:
    """What says something else is different: the canonical form still says it all."""
    assert exact(canonical(text.encode()).decode()) == exact(text)


def test_examples() -> None:
    """Numbers keep their text, `-0` aside; an empty text has no value."""
    raw = b' { "b" : 1.10, "a":[ 1e400,-0 , 18446744073709551616, -0.0 ],"\\u0061b":"\\u00e9\\/" } '
    assert canonical(raw) == '{"a":[1e400,0,18446744073709551616,-0.0],"ab":"é/","b":1.10}'.encode()
    assert canonical(b"") == b""
    assert canonical(b'{"a":1,"a":2}') == b'{"a":2}'


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not_json"),
        (b"NaN", "not_json"),
        (b'"\\ud800"', "not_json"),
        (b'"\xff"', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"9" * 5000, "out_of_range"),
    ],
)
def test_what_has_no_canonical_form(raw: bytes, reason: str) -> None:
    """It is refused by name."""
    with pytest.raises(BadFrame) as caught:
        canonical(raw)
    assert caught.value.reason == reason


def test_names_are_compared_as_they_read() -> None:
    """Escapes do not hide a repetition; a name may occur in several objects."""
    assert repeats_a_name(b'{"a":1,"\\u0061":2}', 0)
    assert not repeats_a_name(b'[{"a":1},{"a":{"a":2}}]', 0)
    with pytest.raises(BadFrame):
        repeats_a_name(b"[" * 100_000, 1)
