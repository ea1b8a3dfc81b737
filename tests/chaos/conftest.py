"""The servers of `tests.kafka`, for tests that kill and cut, and some that are worse off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.conftest import broker, cluster3, java_partitions, kafka, registry, topic_prefix
from tests.servers.kafka import KafkaCluster

__all__ = ["broker", "cluster3", "detoured", "java_partitions", "kafka", "registry", "topic_prefix", "trio"]


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three nodes with small heaps, of the module's own; a test leaves all of them running."""
    with KafkaCluster(tmp_path_factory.mktemp("trio"), nodes=3, heap="256m", quick=True) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def detoured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One node with a detour, of the module's own."""
    with KafkaCluster(tmp_path_factory.mktemp("detoured"), detour=True, quick=True) as cluster:
        cluster.start()
        yield cluster
