"""Fixtures with real servers; see `tests.conftest` for how to keep them running between runs.

``kafka`` and ``registry`` are shared by all tests and all processes of the run: use `topic_prefix`, and never stop or
kill them. ``secured`` is shared too, and has TLS, users and rights. ``broker`` (one node) and ``cluster3`` (three) are a test's own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers import murmur2
from tests.servers.kafka import KafkaCluster
from tests.servers.secured import SecuredKafka
from tests.servers.shared import use


class Kafka(msgspec.Struct, frozen=True):
    """The shared broker: ``kafka.bootstrap``, named as in `KafkaCluster`, so that functions can take either."""

    bootstrap: str


class Registry(msgspec.Struct, frozen=True):
    """The shared registry: ``registry.url``, named as in `Apicurio`."""

    url: str


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker for the whole run, or that of FEEDBRIDGE_TEST_KAFKA."""
    if given := os.environ.get("FEEDBRIDGE_TEST_KAFKA"):
        yield Kafka(given)
        return
    with use("kafka") as running:
        yield Kafka(running.address)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """One schema registry for the whole run, or that of FEEDBRIDGE_TEST_REGISTRY."""
    if given := os.environ.get("FEEDBRIDGE_TEST_REGISTRY"):
        yield Registry(given.rstrip("/"))
        return
    with use("registry") as running:
        yield Registry(running.address)


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One broker with TLS, users and rights for all tests that need one: use `topic_prefix`, and never stop it."""
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaCluster]:
    """One running node of the test's own, to be stopped, killed and frozen."""
    with KafkaCluster(tmp_path / "broker", quick=True) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def cluster3(tmp_path: Path) -> Iterator[KafkaCluster]:
    """Three running nodes of the test's own."""
    with KafkaCluster(tmp_path / "cluster", nodes=3, quick=True) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a prefix for topics, groups, subjects and transactional ids that no other test has.

    Its topics on the shared broker are deleted after the test.
    """
    prefix = f"t{uuid.uuid4().hex[:12]}."
    shared: Kafka | None = request.getfixturevalue("kafka") if "kafka" in request.fixturenames else None
    yield prefix
    if shared is not None:
        admin = AdminClient({"bootstrap.servers": shared.bootstrap})
        mine = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
        for deleted in (admin.delete_topics(mine) if mine else {}).values():
            try:
                deleted.result(timeout=30)
            except KafkaException:
                # The test may have deleted it itself; a topic left behind harms nobody
                continue


@pytest.fixture(scope="session")
def java_partitions() -> Callable[[Sequence[bytes], int], list[int]]:
    """Return the function that asks Kafka's Java client for the partitions of keys."""
    return murmur2.java_partitions
