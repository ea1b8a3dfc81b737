"""What a consumer is told of a type is what the bridge does with a frame of it."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest

from bridge import portrait
from bridge.catalog import Catalog
from bridge.codec import SINGLE_OBJECT
from bridge.example import NAMES, Examples
from bridge.frame import AMQP, STREAM
from bridge.markup import to_json
from bridge.tail import Decoder
from bridge.topics import topic_name

CATALOG = Catalog.load()
EXAMPLES = Examples(CATALOG)
TYPES = [
    (kind.name, each.type)
    for kind in CATALOG.kinds.values()
    for each in (*kind.types.values(), kind.unknown)
    if each.publish
]


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_every_published_type_has_an_example(kind: str, name: str) -> None:
    """A frame of the simulated gateway and its record: decodable, of that type, with the key that the frame carries."""
    example = EXAMPLES.of(kind, name)
    assert example is not None
    raw = example.frame.encode()
    frame = msgspec.json.decode(to_json(raw) if example.headers["source"] == AMQP else raw)
    assert example.headers["source"] in {AMQP, STREAM}
    assert example.headers["type"] == frame["type"]
    assert name in {frame["type"], "unknown"}
    assert example.topic == topic_name("", NAMES[kind], name)
    assert example.wire.startswith(SINGLE_OBJECT)
    schema, value = Decoder.of(CATALOG).decode(example.wire)
    known = CATALOG.kind(kind)
    assert schema == known.types.get(name, known.unknown).schema
    assert value.keys() == {"meta", "data"}
    assert example.key


def test_the_same_example_every_time() -> None:
    """Documents are made of it."""
    assert Examples(CATALOG).of("ticktock", "bet_settlement") == EXAMPLES.of("ticktock", "bet_settlement")


def test_what_is_only_consumed_has_none() -> None:
    """A keep-alive goes to no topic."""
    found = portrait.of(CATALOG, "ticktock/alive")
    assert found["topic"] is None
    assert "example" not in found


def test_facts_of_a_type() -> None:
    """Topic, key, identity and kind, in words; and the example as data."""
    found = portrait.of(CATALOG, "ticktock/market.updated")
    assert found["topic"] == "cs2.market.updated"
    assert found["key"].startswith("data.match_id, else what data.id belongs to")
    assert found["identity"] == "meta.seq, and the content of data"
    assert found["kind"] == "state: dropped where the last published market of its entity says the same"
    assert found["example"]["value"]["data"]["id"] == json.loads(found["example"]["frame"])["data"]["id"]
    assert portrait.of(CATALOG, "ticktock/bet_settlement")["identity"] == "data.id"
    assert portrait.of(CATALOG, "predictstreet-user/user_fill")["private"] is True


def test_lines_are_short_but_for_the_example() -> None:
    """All but the frame as it was sent fits a wide terminal, in the order of reading."""
    lines = list(portrait.lines(portrait.of(CATALOG, "predictstreet-market/book_update")))
    facts = lines[: lines.index("")]
    assert max(map(len, facts)) <= 100
    heads = [line.split()[0] for line in facts if not line.startswith(" ")]
    assert heads == ["record", "doc", "topic", "key", "identity", "kind", "timestamp", "fingerprint"]
    assert all(one != other for one, other in pairwise(lines) if one)


def test_own_records() -> None:
    """The gap topic is for consumers too."""
    assert portrait.of(CATALOG, "bridge/gap")["topic"] == "feedbridge.<name>.gaps"
