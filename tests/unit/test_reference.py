"""JSON Schema and reference, made from models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import Field

from bridge import config
from bridge.reference import editor_schema, page
from bridge.settings import HOUR, MIB, Duration, Name, Secret, Settings, Size

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "config.md"


class Feed(Settings):
    """A feed."""

    kind: str
    key: Secret = Field(description="The key.")


class Part(Settings):
    """A part."""

    wait: Duration = Field(default=HOUR, ge=1, description="How long.")
    room: Size = Field(default=MIB, description="How much.")
    count: int = Field(default=3, ge=1, le=5, description="How many.")
    flag: bool = Field(default=True, description="Whether.")
    mode: Literal["a", "b"] | None = Field(default=None, description="Which.")


class Whole(Settings):
    """The file."""

    name: Name = Field(description="What it is called.")
    gateways: dict[Name, Annotated[Any, Field()]] = Field(description="Feeds.")
    kafka: dict[str, str] = Field(description="Properties.")
    part: Part = Field(default=Part(), description="The part.")


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """What an editor would check with."""
    schema = editor_schema(Whole, gateways={"feed": Feed}, properties=["acks", "linger.ms"], refused=["acks"])
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def document(**part: object) -> dict[str, object]:
    """Return a good file with this `part`."""
    gateways = {"a": {"kind": "feed", "key": "k"}}
    return {"name": "n", "gateways": gateways, "kafka": {"bootstrap.servers": "h"}, "part": part}


@pytest.mark.parametrize(
    "part",
    [{"wait": "1h"}, {"wait": 5}, {"room": "2MiB"}, {"count": 5}, {"flag": False}, {"mode": None}, {"mode": "a"}]
    + [{name: "${X}"} for name in ("wait", "room", "count", "flag", "mode")],
)
def test_good_values_pass(validator: jsonschema.Draft202012Validator, part: dict[str, object]) -> None:
    """Each in its forms, and any as a variable."""
    assert validator.is_valid(document(**part))


@pytest.mark.parametrize(
    "part", [{"wait": "soon"}, {"room": -1}, {"count": 6}, {"count": "3"}, {"flag": "yes"}, {"mode": "c"}, {"x": 1}]
)
def test_bad_values_are_underlined(validator: jsonschema.Draft202012Validator, part: dict[str, object]) -> None:
    """Out of limits, of another type, unknown."""
    assert not validator.is_valid(document(**part))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "N"},
        {"gateways": {"a": {"kind": "other", "key": "k"}}},
        {"gateways": {"a": {"key": "k"}}},
        {"gateways": {"a": {"kind": "feed"}}},
        {"gateways": {"A": {"kind": "feed", "key": "k"}}},
        {"kafka": {}},
        {"kafka": {"bootstrap.servers": "h", "acks": "1"}},
    ],
)
def test_gateways_and_properties_are_checked(
    validator: jsonschema.Draft202012Validator, change: dict[str, object]
) -> None:
    """A gateway by its kind, properties by those that are refused."""
    assert validator.is_valid(document())
    assert not validator.is_valid({**document(), **change})


def test_a_page_says_form_limits_default_and_meaning() -> None:
    """A row for each key, a table for each model."""
    rows = page(
        Whole, gateways={"feed": Feed}, refused={"acks": "why"}, limits={"retries": (1, 5, "because")}
    ).splitlines()
    for row in (
        "| `name` | text | required | What it is called. |",
        "| `part` | see below |  | The part. |",
        "## `part`",
        "| `wait` | duration, at least 1s | `1h` | How long. |",
        "| `room` | size | `1MiB` | How much. |",
        "| `count` | whole number, at least 1, at most 5 | `3` | How many. |",
        "| `flag` | `true`, `false` | `true` | Whether. |",
        "| `mode` | `a`, `b` or null | null | Which. |",
        "## Gateway of kind `feed`",
        "| `key` | secret text | required | The key. |",
        "| `acks` | why |",
        "| `retries` | 1 to 5 | because |",
    ):
        assert row in rows, row


def test_the_published_reference_is_up_to_date() -> None:
    """`docs/reference/config.md` is what the settings say today."""
    again = "python -c 'from bridge.config import reference; print(reference(), end=\"\")' > docs/reference/config.md"
    assert PAGE.read_text(encoding="utf-8") == config.reference(), f"make it again: {again}"
