"""`check` against a real broker that asks for passwords and rights, and a real registry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from bridge import kafka as clients
from bridge.catalog import Catalog
from bridge.check import check, check_kafka
from bridge.config import Config
from bridge.errors import Refused
from bridge.finding import Finding
from bridge.kafka import Admin
from bridge.registry import Registry
from bridge.settings import Secret
from bridge.tail import Decoder, tail
from bridge.topics import TopicState, apply, dead_letters_name, plan, transactional_id
from tests.installation import installation
from tests.kafka.conftest import Kafka
from tests.kafka.conftest import Registry as Server
from tests.servers.kafka import KafkaCluster
from tests.servers.process import Port

#: Servers may have to be fetched and started first, and the machine may be busy.
pytestmark = pytest.mark.timeout(240)

CATALOG = Catalog.load()
PASSWORD: Final = "s3cr3t-marker"
LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"


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


class Guarded:
    """A broker that asks for a password and checks rights; ``bridge`` is the user, ``admin`` may do all."""

    def __init__(self, directory: Path) -> None:
        self.cluster = KafkaCluster(directory)
        self.port = Port()
        plain = self.cluster.address(1)
        settings = self.cluster.directory / "node-1.properties"
        controller = next(
            part
            for part in settings.read_text().split("listeners=")[1].splitlines()[0].split(",")
            if "CONTROLLER" in part
        )
        users = f'user_bridge="{PASSWORD}" user_admin="admin"'
        with settings.open("a") as file:
            file.write(
                f"listeners=PLAINTEXT://{plain},SASL://127.0.0.1:{self.port.number},{controller}\n"
                f"advertised.listeners=PLAINTEXT://{plain},SASL://127.0.0.1:{self.port.number}\n"
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n"
                "inter.broker.listener.name=PLAINTEXT\n"
                "sasl.enabled.mechanisms=PLAIN\n"
                f"listener.name.sasl.plain.sasl.jaas.config={LOGIN} {users};\n"
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
                "super.users=User:ANONYMOUS;User:admin\n"
            )

    def config(self, prefix: str, *, password: str = PASSWORD, user: str = "bridge", **given: Any) -> Config:
        """An installation that logs in."""
        properties = {
            "bootstrap.servers": f"127.0.0.1:{self.port.number}",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": Secret(password),
        }
        return installation(kafka=properties, prefix=prefix, **given)

    def grant(self, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        """Rights of ``bridge`` on all things of that kind whose names begin so."""
        pattern = ResourcePatternType.LITERAL if kind is ResourceType.BROKER else ResourcePatternType.PREFIXED
        allow = AclPermissionType.ALLOW
        wanted = [AclBinding(kind, name, pattern, "User:bridge", "*", each, allow) for each in operations]
        client = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        for answer in client.create_acls(wanted).values():
            answer.result(timeout=20)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One such broker for the tests here."""
    broker = Guarded(tmp_path_factory.mktemp("guarded") / "kafka")
    with broker.cluster:
        broker.cluster.start()
        yield broker
    broker.port.close()


def test_a_wrong_password_is_refused(guarded: Guarded) -> None:
    """Exit 77, with the broker's words and without the password."""
    config = guarded.config("w.", password="wrong-marker")
    with pytest.raises(Refused, match="Invalid username or password") as caught:
        check_kafka(config, plan(config, CATALOG), timeout=3.0)
    assert "wrong-marker" not in str(caught.value)


async def test_without_rights_each_lack_is_named(guarded: Guarded) -> None:
    """Topics that can't be seen count as missing; the transactional id is named."""
    found = await check(guarded.config("none."), CATALOG)
    assert any(
        "topics missing" in text and "if it may create topics" in text for text in texts(found, name="kafka", ok=True)
    )
    (fault,) = texts(found, name="kafka", ok=False)
    assert "'none.feedbridge.main.check'" in fault
    assert "not authorized for transactional id" in fault


def test_topics_that_may_not_be_made_are_refused(guarded: Guarded) -> None:
    """Exit 77, naming the first topic and the right."""
    config = guarded.config("none.")
    with pytest.raises(Refused, match=r"'none\.cs2\..*Create"):
        apply(Admin(config), plan(config, CATALOG))


async def test_a_right_that_lacks_on_a_topic_is_named(guarded: Guarded) -> None:
    """Each topic that may be seen but not written to, and nothing of those that may."""
    admin = guarded.config("some.", user="admin", password="admin")
    apply(Admin(admin), plan(admin, CATALOG))
    guarded.grant(ResourceType.TOPIC, "some.", AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    guarded.grant(ResourceType.TOPIC, "some.cs2", AclOperation.WRITE)
    guarded.grant(ResourceType.TRANSACTIONAL_ID, "some.feedbridge.", AclOperation.WRITE, AclOperation.DESCRIBE)
    found = await settled(guarded.config("some."), faults=3)
    faults = sorted(texts(found, name="kafka", ok=False))
    assert [fault.split(";")[0] for fault in faults] == [
        "topic some.feedbridge.main.gaps: the user may not Write",
        "topic some.feedbridge.main.ledger: the user may not Read, Write",
        "topic some.feedbridge.main.requests: the user may not Read",
    ]


async def test_the_least_rights_are_enough(guarded: Guarded) -> None:
    """By prefix: topics can be made, nothing is amiss, and reading needs no right to a group."""
    guarded.grant(
        ResourceType.TOPIC,
        "least.",
        AclOperation.CREATE,
        AclOperation.DESCRIBE,
        AclOperation.DESCRIBE_CONFIGS,
        AclOperation.READ,
        AclOperation.WRITE,
    )
    guarded.grant(ResourceType.TRANSACTIONAL_ID, "least.feedbridge.", AclOperation.WRITE, AclOperation.DESCRIBE)
    config = guarded.config("least.")
    made = applied(config)
    assert {state.state for state in made} == {"created"}
    assert any("default replication factor can't be seen" in note for note in made[0].notes)
    assert texts(await settled(config, faults=0), name="kafka", ok=False) == []
    producer = clients.producer(config, transactional_id=transactional_id(config, 0))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(dead_letters_name(config, "cs2"), b"x", b"k")
    producer.commit_transaction(30)
    seen = list(tail(config, [dead_letters_name(config, "cs2")], Decoder([]), start="beginning", follow=False))
    assert [record.value for record in seen] == [b"x"]


def applied(config: Config) -> list[TopicState]:
    """`apply` once the broker has taken in what was granted."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return apply(Admin(config), plan(config, CATALOG))
        except Refused:
            if time.monotonic() > deadline:
                raise


async def settled(config: Config, *, faults: int) -> list[Finding]:
    """A check once the broker has taken in what was granted."""
    deadline = time.monotonic() + 10
    while True:
        found = await check(config, CATALOG)
        if len(texts(found, name="kafka", ok=False)) == faults or time.monotonic() > deadline:
            return found
