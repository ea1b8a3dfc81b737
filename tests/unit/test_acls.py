"""Rights as commands and as Strimzi's KafkaUser."""

from __future__ import annotations

import shlex
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import yaml

from bridge import acls
from bridge.catalog import Catalog
from bridge.rights import Right, Use, rights
from bridge.topics import plan
from tests.installation import installation

CONFIG = installation({"cs2": "ticktock", "wallet": "predictstreet-user"}, create=True)
RIGHTS = rights(CONFIG, plan(CONFIG, Catalog.load()), [Use.RUN])


def pairs(found: list[Right]) -> Counter[tuple[str, str, str]]:
    """(kind, name, operation) of each right."""
    return Counter((each.kind.value, each.name, one.value) for each in found for one in each.operations)


def read(text: str) -> Counter[tuple[str, str, str]]:
    """What Kafka's tool would make of the lines."""
    kinds = {"--topic": "topic", "--transactional-id": "transactionalId", "--group": "group"}
    found: Counter[tuple[str, str, str]] = Counter()
    for line in text.replace("\\\n", "").splitlines():
        words = shlex.split(line, comments=True)
        operations = [words[at + 1] for at, word in enumerate(words) if word == "--operation"]
        names = [(kinds[word], words[at + 1]) for at, word in enumerate(words) if word in kinds]
        names += [("cluster", "")] if "--cluster" in words else []
        found.update((kind, name, operation) for kind, name in names for operation in operations)
    return found


def test_commands_grant_every_right_once() -> None:
    """And mark the private ones, which have commands of their own."""
    text = acls.commands(RIGHTS, user="CN=feed bridge", bootstrap="a:1,b:2")
    assert read(text) == pairs(RIGHTS)
    lines = text.replace("\\\n", "").splitlines()
    assert all("--allow-principal 'User:CN=feed bridge'" in line for line in lines if not line.startswith("#"))
    private = {line for mark, line in pairwise(lines) if mark.startswith("# private")}
    assert private == {line for line in lines if "wallet." in line or " feedbridge.main.gaps" in line or "ledger" in line or "requests" in line}  # fmt: skip
    assert ["prefixed" in line for line in lines if "--transactional-id" in line] == [True]


def test_a_kafka_user_grants_every_right_once() -> None:
    """The same rights; a name only where Strimzi takes one."""
    text = acls.strimzi(RIGHTS, user="feedbridge", cluster="events", authentication="tls")
    user: dict[str, Any] = yaml.safe_load(text)
    assert user["metadata"] == {"name": "feedbridge", "labels": {"strimzi.io/cluster": "events"}}
    assert user["spec"]["authentication"] == {"type": "tls"}
    rules = user["spec"]["authorization"]["acls"]
    given = Counter((r["resource"]["type"], r["resource"].get("name", ""), o) for r in rules for o in r["operations"])
    assert given == pairs(RIGHTS)
    assert {(r["resource"]["type"], r["resource"].get("patternType")) for r in rules} == {
        ("topic", "literal"),
        ("transactionalId", "prefix"),
        ("cluster", None),
    }
    assert text.count("# private") == sum(each.private for each in RIGHTS) > 0


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, None),
        ({"security.protocol": "SSL"}, "tls"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "SCRAM-SHA-512"}, "scram-sha-512"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanisms": "SCRAM-SHA-512"}, "scram-sha-512"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"}, None),
    ],
)
def test_how_the_user_logs_in_follows_from_the_configuration(properties: dict[str, str], expected: str | None) -> None:
    """Strimzi makes users for client certificates and SCRAM; for others it only keeps their rights."""
    assert acls.authentication(properties) == expected


def test_facts_are_the_rights() -> None:
    """For programs."""
    facts = list(acls.facts(RIGHTS))
    assert len(facts) == len(RIGHTS)
    assert facts[0] == {
        "resource": "topic",
        "name": "cs2.bet-settlement",
        "pattern": "literal",
        "operations": ["Write", "Create", "DescribeConfigs"],
        "private": False,
    }
