"""The servers of `tests.kafka`, for tests that kill and cut."""

from tests.kafka.conftest import broker, cluster3, kafka, registry, topic_prefix

__all__ = ["broker", "cluster3", "kafka", "registry", "topic_prefix"]
