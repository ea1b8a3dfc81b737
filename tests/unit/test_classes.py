"""The typed records of `bridge.records` are what the schemas say, and go on reading when those grow."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fastavro
import msgspec
import pytest
from fastavro.utils import generate_many

from bridge import classes, records
from bridge.catalog import Catalog
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.example import Examples
from bridge.history import released
from bridge.records import CLASSES, Decoder, NoRecord, by_fingerprint, by_registry, ticktock

ROOT = Path(__file__).parents[2]
CATALOG = Catalog.load()
EXAMPLES = Examples(CATALOG)
TYPES = [
    (kind.name, each.type)
    for kind in CATALOG.kinds.values()
    for each in (*kind.types.values(), kind.unknown)
    if each.publish
]


def test_the_modules_are_up_to_date() -> None:
    """What is in the repository is what the schemas yield."""
    made = classes.modules(CATALOG)
    for name, text in made.items():
        assert (classes.FOLDER / f"{name}.py").read_text() == text, "make them again: python -m bridge.classes"
    assert {path.stem for path in classes.FOLDER.glob("*.py")} == {*made, "__init__", "text"}
    assert CLASSES.keys() == {
        name for module in made for name in importlib.import_module(f"bridge.records.{module}").RECORDS
    }


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_every_type_is_read_into_its_class(kind: str, name: str) -> None:
    """With what fastavro reads, no field more and none less."""
    example = EXAMPLES.of(kind, name)
    assert example is not None
    record: Any = Decoder(by_fingerprint()).decode(example.wire)
    known = CATALOG.kind(kind).types.get(name, CATALOG.kind(kind).unknown)
    assert type(record) is CLASSES[known.name]
    assert CLASSES[known.name].__dict__["TYPE"] == name
    schema: Any = fastavro.parse_schema(dict(known.schema))
    assert msgspec.to_builtins(record) == fastavro.schemaless_reader(io.BytesIO(example.wire[10:]), schema, None)


def test_a_field_that_python_can_not_name_has_a_dash_below() -> None:
    """``from`` of a gap; times are times."""
    schema = CATALOG.own("gap")
    at = datetime(2026, 5, 10, 13, 42, tzinfo=UTC)
    gap = {
        "id": "g1", "gateway": "cs2", "connection": "list", "lane": 0, "instance": "me", "from": at, "cause": "crash",
        "state": "open", "recovered": 0, "superseded": 0,
    }  # fmt: skip
    record = Decoder(by_fingerprint()).decode_as(records.feedbridge.Gap, framed(schema, gap))
    assert (record.from_, record.to, record.state) == (at, None, "open")


def test_every_released_version_is_read() -> None:
    """What older versions of feedbridge wrote; the fingerprint finds its schema."""
    decoder = Decoder(by_fingerprint())
    seen = 0
    for versions in released(ROOT / "schemas").values():
        for version in versions.values():
            schema = {key: value for key, value in version.items() if key != "bridge"}
            if f"{schema['namespace']}.{schema['name']}" in CLASSES:
                content = sample(schema)
                decoder.decode(framed(schema, content))
                seen += 1
    assert seen >= len(TYPES)


def test_older_classes_read_newer_records() -> None:
    """A field that the class does not know is passed over, in nested records too."""
    newer = grown()
    content = {"meta": {"seq": 7}, "data": {"id": "m1", "venue": {"city": "Katowice"}, "extensions": {}}}
    record = Decoder(lambda _: newer).decode_as(ticktock.MatchUpdated, framed(newer, content))
    assert (record.meta.seq, record.data.id) == (7, "m1")


def test_newer_classes_read_older_records(tmp_path: Path) -> None:
    """What was not written is None."""
    shutil.copytree(ROOT / "schemas" / "ticktock", tmp_path / "ticktock")
    path = tmp_path / "ticktock" / "match.updated.avsc"
    attribute = json.loads(path.read_text())["bridge"]
    path.write_text(json.dumps(grown() | {"bridge": attribute}))
    module = execute(classes.modules(Catalog.load(tmp_path))["ticktock"])
    older = CATALOG.kind("ticktock").types["match.updated"].schema
    decoder = Decoder(lambda _: older, module.RECORDS)
    record: Any = decoder.decode(framed(older, {"meta": {}, "data": {"id": "m1"}}))
    assert (record.data.id, record.data.venue) == ("m1", None)
    newer: Any = Decoder(lambda _: grown(), module.RECORDS).decode(
        framed(grown(), {"meta": {}, "data": {"id": "m1", "venue": {"city": "Katowice"}}})
    )
    assert newer.data.venue.city == "Katowice"


def test_another_packages_schemas_become_classes() -> None:
    """``python -m bridge.classes FOLDER`` prints them; they go into the decoder."""
    folder = ROOT / "examples" / "gateway" / "tally_feed" / "schemas"
    done = subprocess.run(
        [sys.executable, "-m", "bridge.classes", folder], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("# tally.py\n")
    module = execute(done.stdout)
    assert {"feedbridge.tally.Trade", "feedbridge.tally.Unknown"} < module.RECORDS.keys()
    trade = Catalog.load(folder).kind("tally").types["trade"]
    content = sample(trade.schema)
    record: Any = Decoder(lambda _: trade.schema, module.RECORDS).decode(framed(trade.schema, content))
    assert record.TYPE == "trade"


def test_what_is_no_record_is_named() -> None:
    """A dead letter, a record without a class, one of another class, a value of the other wire format."""
    wire = EXAMPLES.of("ticktock", "match.updated")
    assert wire is not None
    decoder = Decoder(by_fingerprint())
    with pytest.raises(NoRecord, match="dead letter"):
        decoder.decode(b"{}")
    with pytest.raises(NoRecord, match="a MatchUpdated, not a MatchCreated"):
        decoder.decode_as(ticktock.MatchCreated, wire.wire)
    with pytest.raises(NoRecord, match=r"no class for feedbridge\.ticktock\.MatchUpdated"):
        Decoder(by_fingerprint(), {}).decode(wire.wire)
    with pytest.raises(NoRecord, match="written with a registry"):
        decoder.decode(b"\0\0\0\0\7x")
    with pytest.raises(NoRecord, match="no schema has the fingerprint"):
        decoder.decode(SINGLE_OBJECT + bytes(9))
    with pytest.raises(NoRecord, match="without a registry"):
        Decoder(by_registry(Client())).decode(wire.wire)


def test_a_registry_is_asked_once_for_each_schema() -> None:
    """Not for each record."""
    client, wire = Client(), EXAMPLES.of("ticktock", "match.updated")
    assert wire is not None
    decoder = Decoder(by_registry(client))
    for _ in range(3):
        decoder.decode_as(ticktock.MatchUpdated, b"\0\0\0\0\7" + wire.wire[10:])
    assert client.asked == [7]


class Client:
    """A registry with one schema."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def get_schema(self, schema_id: int) -> Any:
        """What confluent-kafka's client returns has ``schema_str``."""
        self.asked.append(schema_id)
        schema = CATALOG.kind("ticktock").types["match.updated"].schema_json
        return SimpleNamespace(schema_str=schema)


def grown() -> dict[str, Any]:
    """``match.updated`` with one record more in its data."""
    schema: dict[str, Any] = json.loads(CATALOG.kind("ticktock").types["match.updated"].schema_json)
    data = next(field for field in schema["fields"] if field["name"] == "data")["type"]
    extensions = {"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}, "doc": "Others."}
    city = {"name": "city", "type": ["null", "string"], "default": None, "doc": "Which. [unknown]"}
    venue = {"type": "record", "name": "Venue", "doc": "Where.", "fields": [city, extensions]}
    data["fields"].insert(-1, {"name": "venue", "type": ["null", venue], "default": None, "doc": "Where. [unknown]"})
    return schema


def sample(schema: Any) -> Any:
    """Contents that the schema allows."""
    [content] = generate_many(fastavro.parse_schema(dict(schema)), 1)
    return content


def framed(schema: Any, content: Any) -> bytes:
    """A value as it is without a registry."""
    out = io.BytesIO(SINGLE_OBJECT + fingerprint(schema))
    out.seek(10)
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(schema)), content)
    return out.getvalue()


def execute(text: str) -> ModuleType:
    """A module that was just made."""
    module = ModuleType("made")
    sys.modules["made"] = module
    exec(compile(text, "made", "exec"), vars(module))  # noqa: S102 - our own text
    return module
