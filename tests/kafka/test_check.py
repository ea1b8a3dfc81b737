"""`check` against a real broker and a real registry; what it says of rights and faults is in `test_acls` and `test_security`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge import kafka as clients
from bridge.catalog import Catalog
from bridge.check import check
from bridge.config import Config
from bridge.errors import Refused
from bridge.finding import Finding
from bridge.kafka import Admin
from bridge.properties import typed
from bridge.registry import Registry
from bridge.topics import apply, plan, transactional_id
from tests.installation import installation
from tests.kafka.conftest import Kafka
from tests.kafka.conftest import Registry as Server
from tests.servers.secured import SecuredKafka

#: Servers may have to be fetched and started first, and the machine may be busy.
pytestmark = pytest.mark.timeout(240)

CATALOG = Catalog.load()


def texts(findings: list[Finding], *, name: str, ok: bool) -> list[str]:
    """The findings of that name and verdict."""
    return [each.text for each in findings if each.name == name and each.ok is ok]


async def test_before_and_after_topics_and_schemas_are_made(
    kafka: Kafka, registry: Server, topic_prefix: str, tmp_path: Path
) -> None:
    """Missing topics are made by `run`; missing schemas are not, and the command is named. Then all is well."""
    config = installation(
        kafka={"bootstrap.servers": kafka.bootstrap},
        prefix=topic_prefix,
        registry={"url": registry.url},
        journal=tmp_path,
    )
    before = await check(config, CATALOG)
    assert texts(before, name="kafka", ok=False) == []
    assert any("topics missing" in text and "`run` makes them" in text for text in texts(before, name="kafka", ok=True))
    assert any("feedbridge schemas register" in text for text in texts(before, name="registry", ok=False))
    topics = plan(config, CATALOG)
    apply(Admin(config), topics)
    assert config.registry is not None
    with Registry(config.registry) as client:
        client.register(topics)
    after = await check(config, CATALOG)
    assert all(each.ok for each in after)
    assert "all 25 topics are as planned" in texts(after, name="kafka", ok=True)
    assert "all schemas are registered" in texts(after, name="registry", ok=True)


async def test_topics_that_run_may_not_make_are_a_fault(kafka: Kafka, topic_prefix: str) -> None:
    """With `topics.create: false` the command is named."""
    config = installation(kafka={"bootstrap.servers": kafka.bootstrap}, prefix=topic_prefix, create=False)
    found = await check(config, CATALOG)
    assert any("feedbridge topics apply" in text for text in texts(found, name="kafka", ok=False))


async def test_a_ledger_with_too_few_partitions_is_a_fault(kafka: Kafka, topic_prefix: str) -> None:
    """What only differs is not."""
    given: dict[str, Any] = {"kafka": {"bootstrap.servers": kafka.bootstrap}, "prefix": topic_prefix}
    apply(Admin(installation(**given)), plan(installation(**given), CATALOG))
    found = await check(installation(**given, lanes=2, partitions=7), CATALOG)
    (fault,) = texts(found, name="kafka", ok=False)
    assert "lanes.count is 2" in fault
    assert any("partitions: 6, planned 7" in text for text in texts(found, name="kafka", ok=True))


async def test_it_fences_nobody(kafka: Kafka, topic_prefix: str) -> None:
    """A lane with an open transaction commits it after a check."""
    config = installation(kafka={"bootstrap.servers": kafka.bootstrap}, prefix=topic_prefix)
    topics = plan(config, CATALOG)
    apply(Admin(config), topics)
    producer = clients.producer(config, transactional_id=transactional_id(config, 0))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topics[0].name, b"x", b"k")
    assert all(each.ok for each in await check(config, CATALOG))
    producer.commit_transaction(30)


def without_rights(secured: SecuredKafka, prefix: str) -> Config:
    """An installation whose user may do nothing."""
    properties = secured.properties("PLAIN", user="reader")
    return installation(kafka={name: typed(name, value) for name, value in properties.items()}, prefix=prefix)


async def test_without_rights_each_lack_is_named(secured: SecuredKafka, topic_prefix: str) -> None:
    """Topics that can't be seen are not said to be missing; those that lack the same are told together."""
    found = await check(without_rights(secured, topic_prefix), CATALOG)
    assert not any("missing" in each.text for each in found)
    own = f"{topic_prefix}feedbridge.main"
    assert sorted(text.split(";")[0] for text in texts(found, name="kafka", ok=False)) == sorted(
        [
            f"not authorized for transactional id '{own}.check': the user may not Write with it",
            f"topic {own}.ledger: the user may not Read, Write, Create, Alter",
            f"topic {own}.requests: the user may not Read, Write, Create",
            f"topic {topic_prefix}cs2.dead-letters: the user may not Read, Write, Create",
            f"topic {topic_prefix}cs2.bet-settlement and 21 more: the user may not Write, Create",
        ]
    )


def test_topics_that_may_not_be_made_are_refused(secured: SecuredKafka, topic_prefix: str) -> None:
    """Exit 77, naming the first topic and the right."""
    config = without_rights(secured, topic_prefix)
    with pytest.raises(Refused, match=rf"'{topic_prefix}cs2\..*Create"):
        apply(Admin(config), plan(config, CATALOG))
