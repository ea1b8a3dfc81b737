"""The AsyncAPI document is valid, and says of each topic what the plan and the schemas say."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bridge import topics
from bridge.asyncapi import document
from bridge.catalog import Catalog
from bridge.config import Config, known_kinds, parse
from bridge.topics import Role

CATALOG = Catalog.load()
PARSER = Path(__file__).parents[2] / ".cache" / "asyncapi"
GATEWAYS = """
name: main
gateways:
  cs2: {kind: ticktock, url: wss://gateway.invalid, api_key: a-secret-key}
  markets: {kind: predictstreet-market, url: wss://gateway.invalid, api_key: a-secret-key, subscribe: [{channel: system, ids: [platform_status]}]}
  wallet: {kind: predictstreet-user, url: wss://gateway.invalid, api_key: a-secret-key, subscribe: [{channel: user_orders}]}
kafka: {bootstrap.servers: "kafka.invalid:9093", security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: u, sasl.password: a-secret-key}
"""
REGISTRY = "registry: {url: 'https://me:a-secret-key@registry.invalid/apis/ccompat/v7'}\n"


def config(more: str = "") -> Config:
    """An installation with all kinds of gateways."""
    return parse(GATEWAYS + more, where="test", environ={}, folder=Path(), kinds=known_kinds())


@pytest.mark.parametrize(
    "more",
    [
        "",
        "topics: {headers: cloudevents}\n",
        REGISTRY,
        REGISTRY + "topics: {prefix: t., layout: [type, gateway], headers: cloudevents, replication_factor: 3}\n",
    ],
)
def test_the_official_parser_finds_it_valid(tmp_path: Path, more: str) -> None:
    """With every schema in it read as Avro, and without a warning."""
    path = tmp_path / "asyncapi.json"
    found = document(config(more), CATALOG)
    path.write_text(json.dumps(found))
    done = subprocess.run(
        ["node", PARSER / "validate.js", path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "channels": len(found["channels"]),
        "messages": len(found["components"]["messages"]),
        "warnings": [],
    }


def test_the_parser_finds_what_is_wrong(tmp_path: Path) -> None:
    """A schema that is none, and a channel that leads nowhere."""
    found = document(config(), CATALOG)
    found["channels"]["cs2-match-updated"]["messages"]["x"] = {"$ref": "#/components/messages/nowhere"}
    found["components"]["messages"]["cs2-trade"] = {
        "payload": {"schemaFormat": "application/vnd.apache.avro", "schema": {"type": "wrong"}}
    }
    path = tmp_path / "asyncapi.json"
    path.write_text(json.dumps(found))
    done = subprocess.run(
        ["node", PARSER / "validate.js", path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "nowhere" in done.stderr


def test_every_topic_for_consumers_is_there() -> None:
    """Data, dead letters and gaps, each with the messages of its types; ledger and requests are the bridge's own."""
    settings = config(REGISTRY + "topics: {layout: [type, gateway]}\n")
    plan = topics.plan(settings, CATALOG)
    found = document(settings, CATALOG)
    addresses = {each["address"]: each for each in found["channels"].values()}
    assert addresses.keys() == {each.name for each in plan if each.role not in {Role.LEDGER, Role.REQUESTS}}
    for topic in plan:
        if topic.name in addresses:
            channel = addresses[topic.name]
            assert channel["bindings"]["kafka"]["topic"] == topic.name
            assert len(channel["messages"]) == max(len(topic.subjects), 1)
            assert ("Private" in channel["description"]) is topic.private
            schemas = [schema_of(found, each) for each in channel["messages"].values()]
            assert [each for each in schemas if each] == [each.schema for each in topic.subjects]


def schema_of(found: dict[str, Any], reference: dict[str, str]) -> Any:
    """The Avro schema of a message; None for bytes."""
    return found["components"]["messages"][reference["$ref"].rpartition("/")[2]]["payload"].get("schema")


def test_no_secret_and_no_gateway_address() -> None:
    """It may be put on a wall."""
    text = json.dumps(document(config(REGISTRY), CATALOG))
    assert "a-secret-key" not in text
    assert "gateway.invalid" not in text
    assert "https://registry.invalid/apis/ccompat/v7" in text
    assert '"protocol": "kafka-secure"' in text
