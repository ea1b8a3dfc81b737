"""Each kind of schema change is judged alike by `feedbridge schemas check` offline and by a real registry."""

from __future__ import annotations

import copy
import io
import itertools
import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from fastavro.read import SchemaResolutionError
from fastavro.utils import generate_many

from bridge import history
from bridge.evolution import changes
from bridge.registry import Registry
from bridge.topics import Role, SubjectPlan, TopicPlan
from tests.installation import installation
from tests.kafka.conftest import Registry as Server

#: Servers may have to be fetched and started first, and the machine may be busy.
pytestmark = pytest.mark.timeout(240)

DOCUMENT = Path(__file__).parents[2] / "docs" / "schemas.md"
SIDE = {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}
OPEN = {**SIDE, "name": "State", "symbols": ["BUY", "SELL", "OTHER"], "default": "OTHER"}
BASE: dict[str, Any] = {
    "type": "record",
    "name": "Tick",
    "namespace": "feedbridge.test",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "count", "type": "int", "default": 0},
        {"name": "size", "type": "long"},
        {"name": "side", "type": SIDE, "default": "BUY"},
        {"name": "state", "type": OPEN, "default": "OTHER"},
        {"name": "open", "type": ["null", "long", "string"], "default": None},
        {"name": "levels", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}},
    ],
}
NEW = {"name": "more", "type": ["null", "string"], "default": None}


def having(which: str, **new: Any) -> dict[str, Any]:
    """BASE with one field changed."""
    schema = copy.deepcopy(BASE)
    next(field for field in schema["fields"] if field["name"] == which).update(new)
    return schema


def without(name: str) -> dict[str, Any]:
    """BASE without one field."""
    return {**BASE, "fields": [field for field in BASE["fields"] if field["name"] != name]}


def plus(**field: Any) -> dict[str, Any]:
    """BASE with one field more."""
    return {**BASE, "fields": [*BASE["fields"], field]}


def without_default(which: str) -> dict[str, Any]:
    """BASE without the default of one field."""
    schema = copy.deepcopy(BASE)
    del next(field for field in schema["fields"] if field["name"] == which)["default"]
    return schema


@dataclass(frozen=True)
class Case:
    """A kind of change. good: Avro's rules let it pass in both directions. path: that is named where they do not."""

    what: str
    new: dict[str, Any]
    good: bool
    path: str = ""


CASES = [
    Case("add a field with a default", plus(**NEW), good=True),
    Case("add a field without a default", plus(name="more", type="string"), good=False, path="more"),
    Case("remove a field with a default", without("note"), good=True),
    Case("remove a field without a default", without("size"), good=False, path="size"),
    Case("rename a field with a default", having("note", name="remark"), good=True),
    Case("rename a field without a default", having("size", name="amount"), good=False, path="size"),
    Case(
        "rename a field, the old name as an alias",
        having("size", name="amount", aliases=["size"]),
        good=False,
        path="size",
    ),
    Case("widen int to long", having("count", type="long"), good=False, path="count"),
    Case("narrow long to int", having("size", type="int"), good=False, path="size"),
    Case("string to bytes", having("id", type="bytes"), good=True),
    Case("another type", having("size", type="string"), good=False, path="size"),
    Case("make a field nullable", having("size", type=["null", "long"]), good=False, path="size"),
    Case("make a field not nullable", having("note", type="string", default=""), good=False, path="note"),
    Case("add a branch to a union", having("note", type=["null", "string", "long"]), good=False, path="note"),
    Case("remove a branch of a union", having("open", type=["null", "long"]), good=False, path="open"),
    Case("change the order of a union", having("open", type=["null", "string", "long"]), good=True),
    Case(
        "add a symbol to an enum",
        having("side", type={**SIDE, "symbols": ["BUY", "SELL", "NONE"]}),
        good=False,
        path="side",
    ),
    Case("remove a symbol of an enum", having("side", type={**SIDE, "symbols": ["BUY"]}), good=False, path="side"),
    Case(
        "add a symbol to an enum with a default",
        having("state", type={**OPEN, "symbols": [*OPEN["symbols"], "NONE"]}),
        good=True,
    ),
    Case(
        "change the values of a map",
        having("extensions", type={"type": "map", "values": "long"}),
        good=False,
        path="extensions{}",
    ),
    Case(
        "change the elements of an array",
        having("levels", type={"type": "array", "items": "long"}),
        good=False,
        path="levels[]",
    ),
    Case("change a default", having("count", default=1), good=True),
    Case("remove a default", without_default("count"), good=True),
    Case("add a default", having("size", default=0), good=True),
    Case("change a doc", having("id", doc="Which one."), good=True),
    Case("rename the record", {**BASE, "name": "Tock"}, good=False),
    Case("change the namespace", {**BASE, "namespace": "feedbridge.other"}, good=True),
]


EVERY = [pytest.param(each, id=each.what) for each in CASES]
#: What Avro lets pass and `make check` does not, since a consumer would lose what it asks for.
STRICTER = {"remove a field with a default", "rename a field with a default"}


@pytest.mark.parametrize("case", EVERY)
def test_judged_alike_here_and_there(case: Case, registry: Server, topic_prefix: str) -> None:
    """By the rules of Avro, offline with the field named, by `schemas check`, and by the registry held to FULL_TRANSITIVE."""
    broken = [each for each in changes(BASE, case.new) if each.breaks]
    assert (not broken) is case.good
    assert case.good or case.path in {each.path for each in broken}
    found = installation(registry={"url": registry.url}).registry
    assert found is not None
    subject = f"{topic_prefix}tick-value"
    with SchemaRegistryClient({"url": registry.url}) as client, Registry(found) as ours:
        client.register_schema(subject, Schema(json.dumps(BASE), "AVRO"))
        client.set_compatibility(subject, "FULL_TRANSITIVE")
        [finding] = ours.check([topic(f"{topic_prefix}tick", case.new)])
        assert finding.ok is case.good
        assert case.good or all(words in finding.text for words in ("cs2 tick", case.path, "the registry says"))
        assert taken(client, subject, case.new) is case.good


@pytest.mark.parametrize("case", EVERY)
def test_records_bear_the_judgement_out(case: Case) -> None:
    """What one version wrote the other reads, in both directions, or some record is not read: by another implementation."""
    both = [fastavro.parse_schema(copy.deepcopy(each)) for each in (BASE, case.new)]
    readable = all(read(*pair) for pair in itertools.permutations(both, 2))
    assert readable is case.good


def read(writer: Any, reader: Any) -> bool:
    """Whether all that is written with the one schema can be read with the other."""
    for record in generate_many(writer, 40):
        out = io.BytesIO()
        # Bytes that are no text can't be read as a string, whatever the rules say.
        text = {name: b"text" if isinstance(value, bytes) else value for name, value in dict(record).items()}
        fastavro.schemaless_writer(out, writer, text)
        out.seek(0)
        try:
            fastavro.schemaless_reader(out, writer, reader)
        except (SchemaResolutionError, ValueError):
            return False
    return True


@pytest.mark.parametrize("case", EVERY)
def test_the_history_judges_alike_offline(case: Case, tmp_path: Path) -> None:
    """As `make check` does: with the field named, and stricter where a field would vanish."""
    for path, schema in (("kind/tick.avsc", case.new), ("history/kind/tick/1.avsc", BASE)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(json.dumps(schema))
    breaches = history.check(tmp_path)
    assert (not breaches) is (case.good and case.what not in STRICTER)
    assert case.good or case.path in {each.path for each in breaches}


def topic(name: str, schema: dict[str, Any]) -> TopicPlan:
    """One topic with that schema."""
    subject = SubjectPlan(subject=f"{name}-value", topic=name, gateway="cs2", type="tick", schema=schema)
    return TopicPlan(
        name=name, role=Role.DATA, gateway="cs2", partitions=1, replication=None, config={}, subjects=(subject,)
    )


def taken(client: SchemaRegistryClient, subject: str, schema: dict[str, Any]) -> bool:
    """Whether the registry takes it as a next version."""
    try:
        client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
    except SchemaRegistryError as error:
        if error.http_status_code != HTTPStatus.CONFLICT:
            raise
        return False
    return True


def test_the_document_has_the_same_table() -> None:
    """What is written for schema authors is what is judged here, kind by kind."""
    rows = [line.strip("| ").split(" | ") for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    judged = {row[0]: row[1] for row in rows if row[1:2] and row[1] in {"yes", "no"}}
    assert judged == {case.what: "yes" if case.good else "no" for case in CASES}
