"""Schemas in a real registry: looked up, checked, registered once, and never broken."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from bridge.catalog import Catalog
from bridge.errors import CheckFailed, ConfigError, Unreachable
from bridge.registry import Registry
from bridge.topics import Role, SubjectPlan, TopicPlan, plan, subjects
from tests.installation import installation
from tests.kafka.conftest import Registry as Server

#: Servers may have to be fetched and started first, and the machine may be busy.
pytestmark = pytest.mark.timeout(240)

CATALOG = Catalog.load()
MATCH = CATALOG.kind("ticktock").types["match.updated"].schema


def topic(prefix: str, schema: Mapping[str, Any]) -> TopicPlan:
    """One topic with that schema."""
    name = f"{prefix}cs2.match.updated"
    subject = SubjectPlan(subject=f"{name}-value", topic=name, gateway="cs2", type="match.updated", schema=schema)
    return TopicPlan(
        name=name, role=Role.DATA, gateway="cs2", partitions=1, replication=None, config={}, subjects=(subject,)
    )


def connect(registry: Server, cache: Path | None = None, **given: Any) -> Registry:
    """A client of the registry."""
    found = installation(registry={"url": registry.url, **given}).registry
    assert found is not None
    return Registry(found, cache=cache)


def with_status(new: Any, **more: Any) -> dict[str, Any]:
    """The schema of match.updated with another type of `data.status`."""
    schema = copy.deepcopy(MATCH)
    data = next(field for field in schema["fields"] if field["name"] == "data")["type"]
    status = next(field for field in data["fields"] if field["name"] == "status")
    status.clear()
    status.update({"name": "status", "type": new, **more})
    return schema


def test_a_whole_plan_is_registered_once(registry: Server, topic_prefix: str, tmp_path: Path) -> None:
    """Check, register, register again, resolve, and then without the registry."""
    config = installation({"cs2": "ticktock", "markets": "predictstreet-market"}, prefix=topic_prefix)
    topics = plan(config, CATALOG)
    with connect(registry) as client:
        assert all(finding.ok for finding in client.check(topics))
        assert len(client.unregistered(topics)) == len(subjects(topics))
        first = client.register(topics)
        assert {each.what for each in first} == {"new subject"}
        assert {(each.what, each.note) for each in client.register(topics)} == {("unchanged", None)}
    with connect(registry, tmp_path) as client:
        assert client.resolve_all(topics) == {each.subject: each.id for each in first}
        assert client.unregistered(topics) == []
        assert all("registered, id" in finding.text for finding in client.check(topics))
    with connect(Server("http://127.0.0.1:1"), tmp_path) as client, pytest.raises(Unreachable, match="reached"):
        client.resolve_all(topics)
    settings = installation(registry={"url": registry.url, "timeout": 0.001}).registry
    assert settings is not None
    with Registry(settings, cache=tmp_path) as client:
        assert client.resolve_all(topics) == {each.subject: each.id for each in first}


def test_several_may_register_at_once(registry: Server, topic_prefix: str) -> None:
    """As bridges do that are started together: all get the same ids.

    Apicurio may count two versions then, which are one schema.
    """
    topics = plan(installation(prefix=topic_prefix), CATALOG)
    start = threading.Barrier(4)

    def register() -> dict[str, int]:
        with connect(registry) as client:
            start.wait(timeout=60)
            return {each.subject: each.id for each in client.register(topics)}

    with ThreadPoolExecutor(4) as pool:
        found = [each.result() for each in [pool.submit(register) for _ in range(4)]]
    assert len(found[0]) > 20
    assert found[1:] == found[:1] * 3
    with SchemaRegistryClient({"url": registry.url}) as plain:
        assert {plain.get_compatibility(subject) for subject in found[0]} == {"FULL_TRANSITIVE"}
        for subject, schema_id in found[0].items():
            assert {plain.get_version(subject, each).schema_id for each in plain.get_versions(subject)} == {schema_id}


def test_new_subjects_are_full_transitive(registry: Server, topic_prefix: str) -> None:
    """Set once, where nobody has decided otherwise."""
    with connect(registry) as client, SchemaRegistryClient({"url": registry.url}) as plain:
        (made,) = client.register([topic(topic_prefix, MATCH)])
        assert plain.get_compatibility(made.subject) == "FULL_TRANSITIVE"
        plain.set_compatibility(made.subject, "BACKWARD")
        client.register([topic(topic_prefix, MATCH)])
        assert plain.get_compatibility(made.subject) == "BACKWARD"


def test_what_is_registered_is_the_file_without_our_attribute(registry: Server, topic_prefix: str) -> None:
    """Docs and the marks of exact numbers are there for consumers; ``bridge`` is not."""
    with connect(registry) as client:
        (made,) = client.register([topic(topic_prefix, MATCH)])
        assert client.schema(made.id) == MATCH
        assert "bridge" not in client.schema(made.id)
        assert client.schema(made.id)["doc"]


def test_a_missing_subject_and_a_missing_version_say_what_to_do(registry: Server, topic_prefix: str) -> None:
    """A subject that is not there, and one without this schema."""
    plans = [topic(topic_prefix, MATCH)]
    with connect(registry) as client:
        with pytest.raises(ConfigError, match="run `feedbridge schemas register`"):
            client.resolve_all(plans)
        client.register(plans)
        grown = [topic(topic_prefix, with_status(["null", "string"], default=None, doc="another"))]
        with pytest.raises(ConfigError, match="run `feedbridge schemas register`"):
            client.resolve_all(grown)
    with connect(registry, register=True) as client:
        (made,) = client.resolve_all(grown).values()
        assert client.resolve(grown[0].subjects[0].subject, grown[0].subjects[0].schema) == made


def test_a_good_change_becomes_a_new_version(registry: Server, topic_prefix: str) -> None:
    """The difference is told field by field, before and after."""
    schema = copy.deepcopy(MATCH)
    data = next(field for field in schema["fields"] if field["name"] == "data")["type"]
    data["fields"].insert(0, {"name": "fresh", "type": ["null", "string"], "default": None, "doc": "new"})
    with connect(registry) as client:
        client.register([topic(topic_prefix, MATCH)])
        grown = [topic(topic_prefix, schema)]
        (finding,) = client.check(grown)
        assert finding.ok
        assert "compatible" in finding.text
        (difference,) = client.diff(grown)
        assert [(each.path, each.breaks) for each in difference.changes] == [("data.fresh", None)]
        assert [each.what for each in client.register(grown)] == ["new version"]
        assert client.diff(grown)[0].changes == ()
        (older,) = client.check([topic(topic_prefix, MATCH)])
        assert older.ok
        assert "data.fresh" in older.text
        assert "version 2" in older.text


@pytest.mark.parametrize(
    "schema",
    [
        with_status("string"),
        with_status(["null", "long"], default=None),
        with_status(["null", "string", "boolean"], default=None),
    ],
    ids=["no-default", "other-type", "wider"],
)
def test_a_breaking_change_names_type_and_field(registry: Server, topic_prefix: str, schema: dict[str, Any]) -> None:
    """In the check, and in the refusal to register, with what the registry says; nothing is registered."""
    broken = [topic(topic_prefix, schema)]
    with connect(registry) as client:
        client.register([topic(topic_prefix, MATCH)])
        (finding,) = client.check(broken)
        assert not finding.ok
        for words in ("cs2 match.updated", "data.status", "the registry says"):
            assert words in finding.text
        with pytest.raises(CheckFailed, match=r"match\.updated.*data\.status"):
            client.register(broken)
        assert client.diff(broken)[0].version == 1


def test_what_a_lax_registry_lets_pass_is_still_refused(registry: Server, topic_prefix: str) -> None:
    """Where a subject's level is NONE our own comparison holds."""
    with connect(registry) as client, SchemaRegistryClient({"url": registry.url}) as plain:
        (made,) = client.register([topic(topic_prefix, MATCH)])
        plain.set_compatibility(made.subject, "NONE")
        broken = [topic(topic_prefix, with_status("string"))]
        (finding,) = client.check(broken)
        assert not finding.ok
        assert "data.status" in finding.text
        with pytest.raises(CheckFailed, match=r"data\.status"):
            client.register(broken)


def command(file: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", *words, "-c", str(file)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_commands_as_a_pipeline_runs_them(registry: Server, topic_prefix: str, tmp_path: Path) -> None:
    """A subject that our schema breaks: 1 with type, field and rule, nothing registered. Else 0, and again 0 without a change."""
    file = tmp_path / "feedbridge.yaml"
    settings = {
        "name": "main",
        "gateways": {"cs2": {"kind": "ticktock", "url": "ws://127.0.0.1:1", "api_key": "k"}},
        "kafka": {"bootstrap.servers": "127.0.0.1:1"},
        "topics": {"prefix": topic_prefix, "layout": ["type", "gateway"]},
        "registry": {"url": registry.url},
    }
    file.write_text(json.dumps(settings))
    subject = f"{topic_prefix}cs2.match.updated-value"
    with SchemaRegistryClient({"url": registry.url}) as plain:
        plain.register_schema(subject, Schema(json.dumps(with_status(["null", "long"], default=None)), "AVRO"))
        plain.set_compatibility(subject, "FULL_TRANSITIVE")
        code, out, err = command(file, "schemas", "check")
        assert code == 1
        [line] = [each for each in out.splitlines() if each.startswith("FAILED")]
        for words in (
            "cs2 match.updated",
            "data.status: ",
            "long written",
            "breaks readers of the new schema on old records",
        ):
            assert words in line
        assert len(err.splitlines()) == 1
        code, _, err = command(file, "schemas", "register")
        assert code == 1
        assert "data.status" in err
        with pytest.raises(SchemaRegistryError, match=r"[Nn]o "):
            plain.get_versions(subject.replace("updated", "created"))
        assert plain.get_versions(subject) == [1]
        plain.delete_subject(subject)
        plain.delete_subject(subject, permanent=True)
        code, out, _ = command(file, "schemas", "register", "--json")
        first = json.loads(out)
        assert (code, {each["done"] for each in first}) == (0, {"new subject"})
        assert len([each for each in first if each["subject"].startswith(f"{topic_prefix}cs2-feedbridge.")]) > 20
        code, out, _ = command(file, "schemas", "register", "--json")
        assert (code, json.loads(out)) == (0, [each | {"done": "unchanged"} for each in first])
    assert command(file, "schemas", "diff")[:2] == (0, "no difference\n")


def test_another_address_of_the_same_server_is_no_registry(registry: Server) -> None:
    """Exit 78, with the path that is missing."""
    with (
        connect(Server(registry.url.replace("/apis/ccompat/v7", "/nothing"))) as client,
        pytest.raises(ConfigError, match=r"check registry\.url"),
    ):
        client.reach()
