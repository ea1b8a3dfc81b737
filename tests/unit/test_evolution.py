"""A change of schema is named field by field, and it is known whom it breaks."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.catalog import Catalog
from bridge.evolution import changes, unreadable

INNER = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": ["null", "long"], "default": None}]}
BASE: dict[str, Any] = {
    "type": "record",
    "name": "T",
    "namespace": "n",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "seq", "type": ["null", "long"], "default": None, "doc": "a number"},
        {"name": "inner", "type": ["null", INNER], "default": None},
        {"name": "list", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "map", "type": {"type": "map", "values": "string"}, "default": {}},
        {"name": "again", "type": ["null", "Inner"], "default": None},
    ],
}


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The field of that name."""
    found: dict[str, Any] = next(each for each in schema["fields"] if each["name"] == name)
    return found


def with_field(**new: Any) -> dict[str, Any]:
    """BASE with one more field."""
    schema = copy.deepcopy(BASE)
    schema["fields"].append(new)
    return schema


def with_type(name: str, new: Any) -> dict[str, Any]:
    """BASE with another type of one field."""
    schema = copy.deepcopy(BASE)
    field(schema, name)["type"] = new
    return schema


def without(name: str) -> dict[str, Any]:
    """BASE without one field."""
    schema = copy.deepcopy(BASE)
    schema["fields"].remove(field(schema, name))
    return schema


def test_no_change_is_no_change() -> None:
    """The same schema twice differs in nothing."""
    assert changes(BASE, copy.deepcopy(BASE)) == []


@pytest.mark.parametrize(
    ("new", "path", "words"),
    [
        (with_field(name="more", type=["null", "string"], default=None), "more", "added, null or string"),
        (with_type("seq", ["null", "long"]) | {"doc": "x"}, None, ""),
        (without("seq"), "seq", "removed, was null or long"),
    ],
)
def test_what_breaks_nobody_is_told_and_passes(new: dict[str, Any], path: str | None, words: str) -> None:
    """Nullable fields with a default come and go."""
    found = changes(BASE, new)
    assert [(each.path, each.text, each.breaks) for each in found] == ([] if path is None else [(path, words, None)])


def test_docs_and_defaults_are_told() -> None:
    """A new doc or default breaks nobody, and is another schema to a registry."""
    new = copy.deepcopy(BASE)
    field(new, "seq")["doc"] = "another"
    field(new, "list")["default"] = ["x"]
    assert [str(each) for each in changes(BASE, new)] == ['list: default changed from [] to ["x"]', "seq: doc changed"]


@pytest.mark.parametrize(
    ("new", "path"),
    [
        (with_field(name="more", type="string"), "more"),
        (without("id"), "id"),
        (with_type("id", "long"), "id"),
        (with_type("id", ["null", "string"]), "id"),
        (with_type("seq", ["null", "long", "string"]), "seq"),
        (with_type("seq", ["null", "string"]), "seq"),
        (with_type("list", {"type": "array", "items": "long"}), "list[]"),
        (with_type("map", {"type": "map", "values": ["null", "string"]}), "map{}"),
        (
            with_type(
                "inner", ["null", {**INNER, "fields": [{"name": "x", "type": ["null", "string"], "default": None}]}]
            ),
            "inner.x",
        ),
        ({**BASE, "name": "Other"}, ""),
    ],
)
def test_what_breaks_somebody_names_the_field(new: dict[str, Any], path: str) -> None:
    """In both directions: new readers of old records, and old readers of new ones."""
    broken = [each for each in changes(BASE, new) if each.breaks]
    assert path in [each.path for each in broken]
    assert [each.path for each in changes(new, BASE) if each.breaks] == [each.path for each in broken]


def test_a_promotion_breaks_only_old_readers() -> None:
    """An int may become a long for new readers; old ones can't read a long."""
    old, new = with_field(name="n", type="int"), with_field(name="n", type="long")
    assert unreadable(new, old) == []
    assert unreadable(old, new) == [("n", "long written, int expected")]


def test_a_record_that_holds_itself_ends() -> None:
    """A tree is compared once."""
    tree = {
        "type": "record",
        "name": "Tree",
        "fields": [{"name": "below", "type": {"type": "array", "items": "Tree"}, "default": []}],
    }
    assert changes(tree, copy.deepcopy(tree)) == []


def test_every_schema_of_the_package_reads_itself() -> None:
    """The comparison knows all of the language that our schemas use."""
    catalog = Catalog.load()
    for kind in catalog.kinds.values():
        for frame_type in (*kind.types.values(), kind.unknown):
            assert changes(frame_type.schema, copy.deepcopy(frame_type.schema)) == []
    for schema in catalog.records.values():
        assert changes(schema, copy.deepcopy(schema)) == []


TYPES: dict[str, Any] = {"null": None, "boolean": True, "long": 3, "string": "x", "double": 1.5}


@given(
    writer=st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3, unique=True),
    reader=st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3, unique=True),
)
def test_the_verdict_on_unions_is_that_of_fastavro(writer: list[str], reader: list[str]) -> None:
    """What we call unreadable fails in fastavro for some value, and what we call readable never does."""
    write, read = (
        {"type": "record", "name": "R", "fields": [{"name": "f", "type": types[0] if len(types) == 1 else types}]}
        for types in (writer, reader)
    )
    fails = False
    for branch in writer:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, json.loads(json.dumps(write)), {"f": TYPES[branch]})
        out.seek(0)
        try:
            fastavro.schemaless_reader(out, json.loads(json.dumps(write)), json.loads(json.dumps(read)))
        except fastavro.read.SchemaResolutionError:
            fails = True
    assert bool(unreadable(read, write)) == fails
