"""A schema file: whatever nobody would read, or could only fail once frames come, is refused when it is read."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.avsc import EACH, SCALAR, TEXT, SchemaFile, nearest, registered
from bridge.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "schemas"
#: A file with most of the language in it, to be broken in every way.
MATCH = json.loads((SHIPPED / "ticktock" / "match.updated.avsc").read_text(encoding="utf-8"))
BOOK = json.loads((SHIPPED / "predictstreet-market" / "book_snapshot.avsc").read_text(encoding="utf-8"))
UNKNOWN = json.loads((SHIPPED / "ticktock" / "unknown.avsc").read_text(encoding="utf-8"))
JSON_ANY = {"type": "string", "json": "any"}
NUMBER = {"type": "string", "json": "number"}

Schema = dict[str, Any]
Change = Callable[[Schema], object]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("[!b]*/*.avsc")), ids=lambda path: path.stem)
def test_what_ships_is_read(path: Path) -> None:
    """Every shipped file is in the language; what is registered is the file without its attribute."""
    file = SchemaFile(path)

    assert file.type == path.stem
    assert file.registered == registered(file.schema)
    assert "Meta" in file.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bridge"), r"bridge: the attribute is missing"),
        (lambda s: s.update(bridge=[]), r"bridge: expected an object"),
        (lambda s: s["bridge"].pop("key"), r"bridge\.key: the attribute is missing"),
        (lambda s: s["bridge"].pop("event_time"), r"bridge\.event_time: the attribute is missing"),
        (lambda s: s["bridge"].update(knd=1), r"bridge\.knd: no such attribute; did you mean 'kind'"),
        (lambda s: s["bridge"].update(private=True), r"bridge\.private: .* write it into unknown\.avsc"),
        (lambda s: s["bridge"].update(envelope="flat"), r"bridge\.envelope: .* write it into unknown\.avsc"),
        (lambda s: s["bridge"].update(why="because"), r"bridge\.why: expected a list of lines"),
        (lambda s: s["bridge"].update(type="match.changed"), r"bridge\.type: 'match\.changed' and the file's name"),
        (lambda s: s["bridge"].update(type="match/updated"), r"bridge\.type: expected words"),
        (lambda s: s["bridge"].update(type=7), r"bridge\.type: expected words"),
        (lambda s: s.update(type="enum"), r"type: expected 'record', found \"enum\""),
        (lambda s: s.update(name="MatchChanged"), r"name: expected 'MatchUpdated', found \"MatchChanged\""),
        (lambda s: s.update(namespace="feedbridge.tt"), r"namespace: expected 'feedbridge\.ticktock'"),
        (lambda s: s.update(doc=" "), r"MatchUpdated: the doc is missing"),
        (lambda s: s.update(aliases=["Old"]), r"MatchUpdated: no such attribute: 'aliases'"),
        (lambda s: s["fields"].reverse(), r"fields: expected two fields, meta and data"),
        (lambda s: s.update(fields={}), r"fields: expected two fields, meta and data"),
        (lambda s: s["fields"][1].pop("doc"), r"data: the doc is missing"),
        (lambda s: s["fields"][1].update(type="string"), r"data: expected a record MatchUpdatedData"),
        (lambda s: _data(s).update(name="Match"), r"data: expected a record MatchUpdatedData"),
        (lambda s: _data(s).pop("doc"), r"data: the doc is missing"),
        (lambda s: _data(s).update(namespace="x"), r"data: no such attribute: 'namespace'"),
        (lambda s: _data(s).update(fields="none"), r"data: the record needs a list of fields"),
        (lambda s: _data(s)["fields"].pop(), r"data: the last field must be extensions"),
        (lambda s: _data(s)["fields"].reverse(), r"data: the last field must be extensions"),
        (lambda s: _data(s)["fields"].insert(0, _data(s)["fields"][0]), r"data: there are two fields id"),
        (lambda s: _field(s, "extensions").pop("default"), r"data\.extensions: expected .* with default"),
        (lambda s: _field(s, "extensions")["type"].update(values="long"), r"data\.extensions: expected"),
        (lambda s: _field(s, "status").pop("doc"), r"data\.status: the doc is missing"),
        (lambda s: _field(s, "status").pop("default"), r"data\.status: a nullable field has default null"),
        (lambda s: _field(s, "status").update(default="live"), r"data\.status: a nullable field has default null"),
        (lambda s: _field(s, "status").update(defualt=None), r"data\.status: .*'defualt'; did you mean 'default'"),
        (lambda s: _field(s, "status").update(type="string"), r"data\.status: a field that is not nullable has no"),
        (lambda s: _field(s, "status").update(name="the status"), r"data: \"the status\" is no field name"),
        (lambda s: s["fields"][0]["type"]["fields"][1].update(type=["null", "string"]), r"meta\.seq: expected"),
        (lambda s: s["fields"][0]["type"]["fields"].pop(1), r"meta\.seq: expected .*; it stays null"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    """The error names the file and the attribute or field to blame, and what to do where that is not plain."""
    _refused(tmp_path, MATCH, change, message)


@pytest.mark.parametrize(
    ("avro", "message"),
    [
        ("double", r'"double" is no type that a gateway\'s schema may have'),
        ("float", "is no type"),
        ("int", "is no type"),
        ("bytes", "is no type"),
        ("null", "is no type"),
        ("Level", "is no type"),
        ("MatchUpdatedData", "is no type"),
        (7, "is no type"),
        (None, "is no type"),
        ({}, "is no type"),
        ({"type": "string"}, "is no type"),
        ({"type": "string", "json": "decimal"}, "is no type"),
        ({"type": "string", "json": ["any"]}, "is no type"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "is no type"),
        ({"type": "enum", "name": "Side", "symbols": ["CT", "T"]}, "is no type"),
        ({"type": "array"}, "is no type"),
        ({"type": "array", "items": "double"}, '"double" is no type'),
        ({"type": "map", "values": ["string", "null"]}, "a union is"),
        ({"type": "record", "name": "Meta", "doc": "x", "fields": []}, "there is a record Meta already; refer to it"),
        ({"type": "record", "name": "No Name", "doc": "x", "fields": []}, "the record needs a name"),
        ({"type": "record", "name": "Empty", "doc": "x", "fields": []}, "the last field must be extensions"),
        ([], "a union is"),
        (["null"], "a union is"),
        (["string", "null"], "a union is"),
        (["null", "string", "string"], "two branches of the union take a JSON string"),
        (["null", "long", NUMBER], "two branches of the union take a JSON number"),
        (["null", {"type": "map", "values": "string"}, "Meta"], "two branches of the union take a JSON object"),
        (["null", "string", JSON_ANY], "json any takes every value"),
        (["null", "string", NUMBER], "two branches of the union are Avro strings"),
        (["null", ["null", "string"]], "is no type"),
    ],
)
def test_a_type_outside_the_language_is_refused(tmp_path: Path, avro: object, message: str) -> None:
    """No type that would round a number or that JSON could not be told apart for gets into a schema."""
    _refused(tmp_path, MATCH, lambda s: _field(s, "status").update(type=avro), rf"data\.status: .*{message}")


@pytest.mark.parametrize(
    "avro",
    [
        "string",
        {"type": "array", "items": ["null", "Meta", {"type": "array", "items": NUMBER}]},
        {"type": "map", "values": {"type": "map", "values": JSON_ANY}},
        ["null", "string", "long", "boolean", {"type": "array", "items": JSON_ANY}, "Meta"],
        ["null", "boolean", NUMBER, {"type": "map", "values": "boolean"}],
    ],
)
def test_a_type_of_the_language_is_taken(tmp_path: Path, avro: object) -> None:
    """What the language has may be combined, also where no shipped schema does."""

    def change(schema: Schema) -> None:
        _field(schema, "status").update(type=avro)
        if not isinstance(avro, list):
            del _field(schema, "status")["default"]

    file = _written(tmp_path, MATCH, change)

    assert SchemaFile(file).type == "match.updated"


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("key", "data.id", "expected a list of paths"),
        ("key", [["data.id"]], "expected a list of paths"),
        ("key", ["data.ids"], r"'data\.ids' leads nowhere; did you mean 'id'"),
        ("key", ["meta.sequence"], r"'meta\.sequence' leads nowhere"),
        ("key", ["data.status.x"], "leads nowhere"),
        ("key", ["data"], "is no path"),
        ("key", ["id"], "is no path"),
        ("key", ["data..id"], "is no path"),
        ("key", ["data.markets[].id"], "is no path"),
        ("key", ["data.markets"], "leads to a value of type array"),
        ("key", ["data.scoreboard"], "leads to a value of type any"),
        ("key", ["data.extensions"], "leads to a value of type map"),
        ("entity", ["data.suspended"], "leads to a value of type boolean"),
        ("event_time", ["data.demo_url"], "leads to a value of type array"),
        ("identity", "meta.seq", "expected a list of paths, or"),
        ("identity", [[]], "expected a list of paths, or"),
        ("identity", ["meta.seq", ["data.id"]], "expected a list of paths, or"),
        ("identity", [["data.id"], ["data.nothing"]], "leads nowhere"),
        ("identity", ["data.maps"], "leads to a value of type array"),
        ("learn", ["data.id", "data.id"], "expected a list of pairs"),
        ("learn", [["data.id"]], "expected a list of pairs"),
        ("learn", [["data.id", "data.markets[].id"]], "is no path"),
        ("learn", [["data.id[].x", "data.id"]], "leads nowhere"),
        ("learn", [["data.markets[]", "data.id"]], "leads to a value of type any"),
    ],
)
def test_a_path_that_can_not_work_is_refused(tmp_path: Path, attribute: str, value: object, message: str) -> None:
    """A path must lead to a value that can be a key, an identity or a time; the attribute is named."""
    file = SchemaFile(_written(tmp_path, MATCH, lambda s: s["bridge"].update({attribute: value})))

    with pytest.raises(ConfigError, match=rf"match\.updated\.avsc: bridge\.{attribute}: .*{message}"):
        _ask(file, attribute)


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("key", [], ()),
        ("key", ["data.id", "meta.ts"], (("data", "id"), ("meta", "ts"))),
        ("key", ["data.scoreboard.match.id"], (("data", "scoreboard", "match", "id"),)),
        ("key", ["data.extensions.match_id"], (("data", "extensions", "match_id"),)),
        ("event_time", ["data.started_at"], (("data", "started_at"),)),
        ("identity", [], ()),
        ("identity", ["meta.seq", "data.suspended"], ((("meta", "seq"), ("data", "suspended")),)),
        ("identity", [["meta.seq"], ["data.scoreboard"]], ((("meta", "seq"),), (("data", "scoreboard"),))),
        ("learn", [["data.markets[].id", "data.id"]], ((("data", "markets", EACH, "id"), ("data", "id")),)),
    ],
)
def test_a_path_is_compiled_to_its_steps(tmp_path: Path, attribute: str, value: object, expected: object) -> None:
    """Paths come as tuples; below JSON text, and among what is not known, any path is allowed."""
    file = SchemaFile(_written(tmp_path, MATCH, lambda s: s["bridge"].update({attribute: value})))

    assert _ask(file, attribute) == expected


def test_a_path_goes_through_named_records_and_arrays(tmp_path: Path) -> None:
    """A record that is referred to by its name is as good as one that stands in place."""
    pair = ["data.asks[].price", "data.tokenId"]
    file = SchemaFile(_written(tmp_path, BOOK, lambda s: s["bridge"].update(learn=[pair])))

    assert file.pairs("learn") == ((("data", "asks", EACH, "price"), ("data", "tokenId")),)


def test_paths_of_the_generic_type_are_those_of_the_frame(tmp_path: Path) -> None:
    """Below data anything may be asked of a frame whose type nobody knows; meta is known."""
    file = SchemaFile(_written(tmp_path, UNKNOWN, lambda s: s["bridge"].update(key=["data.a.b"], entity=["meta.x"])))

    assert file.paths("key", TEXT) == (("data", "a", "b"),)
    with pytest.raises(ConfigError, match=r"unknown\.avsc: bridge\.entity: 'meta\.x' leads nowhere"):
        file.paths("entity", TEXT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["bridge"].pop("envelope"), r"bridge\.envelope: the attribute is missing"),
        (lambda s: _data(s)["fields"].pop(), r"data: expected two fields of type string: type and json"),
        (lambda s: _data(s)["fields"][0].update(type=["null", "string"]), r"data: expected two fields"),
        (lambda s: _data(s)["fields"][0].pop("doc"), r"data\.type: the doc is missing"),
        (lambda s: _data(s).pop("doc"), r"data: the doc is missing"),
        (lambda s: _data(s).pop("fields"), r"data: expected two fields"),
    ],
)
def test_a_broken_generic_type_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    """unknown.avsc holds the frame's type and its text, which the bridge fills in, and speaks for its folder."""
    _refused(tmp_path, UNKNOWN, change, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"match\.updated\.avsc:1: not JSON"),
        ('{\n "type": "record",\n}', r"match\.updated\.avsc:3: not JSON"),
        ("[]", r"match\.updated\.avsc: not a JSON object"),
        ('{"name": 1, "name": 2}', r"match\.updated\.avsc: an object has two members 'name'"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """What can't be parsed is named by file and line."""
    path = tmp_path / "match.updated.avsc"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=message):
        SchemaFile(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Other encodings, and files that can't be read, are errors of the configuration."""
    path = tmp_path / "match.updated.avsc"
    path.write_bytes(b'{"doc": "\xff"}')

    with pytest.raises(ConfigError, match=r"match\.updated\.avsc: can't be read"):
        SchemaFile(path)
    with pytest.raises(ConfigError, match=r"gone\.avsc: can't be read"):
        SchemaFile(tmp_path / "gone.avsc")


@pytest.mark.parametrize("seed", range(20))
def test_no_mistake_is_answered_with_anything_but_a_config_error(tmp_path: Path, seed: int) -> None:
    """Whatever stands in the place of whatever, the file is read or refused with its name; nothing else is raised."""
    chance = random.Random(seed)
    wrong: list[Any] = [
        None,
        True,
        7,
        "",
        "data.id",
        "record",
        [],
        [[]],
        ["null"],
        {},
        {"type": "record"},
        {"type": []},
    ]
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = _written(folder, chance.choice([MATCH, BOOK, UNKNOWN]), lambda schema: _break(schema, chance, wrong))
        blamed = str(path)
        try:
            file = SchemaFile(path)
            for attribute in ("key", "identity", "learn"):
                _ask(file, attribute)
        except ConfigError as error:
            blamed = error.where or ""
        assert str(path) in blamed


def test_the_nearest_name_is_offered() -> None:
    """A near miss is answered with one name, anything else with all of them."""
    assert nearest("entty", ("entity", "identity")) == "did you mean 'entity'?"
    assert nearest("zzz", ("entity", "identity")) == "known: entity, identity"


def _break(schema: Schema, chance: random.Random, wrong: list[Any]) -> None:
    """Put something wrong in one random place."""
    node: Any = schema
    while True:
        place = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        deeper = node[place]
        if not deeper or not isinstance(deeper, (dict, list)) or chance.random() < 0.1:
            node[place] = chance.choice(wrong)
            return
        node = deeper


def _written(folder: Path, schema: Schema, change: Change) -> Path:
    changed = copy.deepcopy(schema)
    kind = changed["namespace"].partition(".")[2].replace("_", "-")
    path = Path(folder, kind, f"{changed['bridge']['type']}.avsc")
    change(changed)
    path.parent.mkdir()
    path.write_text(json.dumps(changed), encoding="utf-8")
    return path


def _refused(folder: Path, schema: Schema, change: Change, message: str) -> None:
    path = _written(folder, schema, change)
    with pytest.raises(ConfigError, match=rf"{path.name}: {message}"):
        SchemaFile(path)


def _data(schema: Schema) -> Schema:
    found: Schema = schema["fields"][1]["type"]
    return found


def _field(schema: Schema, name: str) -> Schema:
    found: Schema = next(each for each in _data(schema)["fields"] if each["name"] == name)
    return found


def _ask(file: SchemaFile, attribute: str) -> object:
    if attribute == "identity":
        return file.alternatives(attribute, SCALAR)
    if attribute == "learn":
        return file.pairs(attribute)
    return file.paths(attribute, TEXT)
