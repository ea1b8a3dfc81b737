"""Secrets that would make logs unreadable are named, and not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.blots import blots
from bridge.config import known_kinds, parse

CONFIG = """\
name: matches-of-cs2
gateways:
  cs2-stream: {{kind: ticktock, url: "wss://host.example", api_key: "{key}", {more}}}
kafka: {{bootstrap.servers: "localhost:9092", sasl.password: "{password}"}}
"""


def found(*, key: str = "a-long-and-rare-key", login: str = "another-long-and-rare-one", more: str = "") -> list[str]:
    """What is said of a configuration with these secrets."""
    text = CONFIG.format(key=key, password=login, more=more)
    return blots(parse(text, where="f", environ={}, folder=Path(), kinds=known_kinds()))


def test_nothing_is_said_of_good_ones() -> None:
    """Long, and nothing else."""
    assert found() == []


@pytest.mark.parametrize("key", ["matches-of-cs2", "cs2-stream", "host.example", "localhost:9092"])
def test_one_that_is_a_word_of_the_configuration(key: str) -> None:
    """Its name, a gateway's, a host: each log line has them. Which one it equals is not told."""
    [line] = found(key=key)
    assert line.startswith(
        "gateways.cs2-stream.api_key is also the text of a setting or name that is no secret: masked"
    )
    assert key not in line.removeprefix("gateways.cs2-stream.api_key")


def test_one_that_is_short() -> None:
    """Wherever it lies: also in a URL, or among Kafka's properties."""
    url = 'rest: {url: "https://host"}, recovery: {amqp: {url: "amqps://user:guest@host/x", exchange: e}}'
    told = found(key="abc", login="secret", more=url)
    assert [line.split(":")[0] for line in told] == [
        "gateways.cs2-stream.api_key has only 3 characters",
        "gateways.cs2-stream.recovery.amqp.url has only 5 characters",
        "kafka.sasl.password has only 6 characters",
    ]
    assert "abc" not in "".join(told)
