"""How soon a bridge is live again that finds many identities in its ledger, and what memory they take."""

from __future__ import annotations

import os
import struct
import time
import uuid
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from bench.processes import Bridge, write_config
from bench.sender import Sender
from bridge import dedupe, kafka, topics
from bridge.catalog import Catalog
from bridge.config import Config
from bridge.ledger import ENTRY, RESIGN, Connection, Entry, EntryCodec
from bridge.topics import Role

_MB: Final = 1e6
#: Of the identities so many are states of an entity, which has had so many states; the others are events.
_STATES: Final = 0.8
_STATES_EACH: Final = 50
#: Frames that flow before memory is read, and how fast.
_FLOW: Final = 3000
_RATE: Final = 1000.0


def measure(
    folder: Path, sender: Sender, bootstrap: str, *, identities: int, frames_per_entry: int, name: str
) -> dict[str, float]:
    """Return ``seconds`` from the start of the process until it is live, and ``mb`` of resident memory with some flow."""
    path, config = write_config(folder, name=name, url=sender.url, bootstrap=bootstrap)
    fill(config, identities=identities, frames_per_entry=frames_per_entry)
    with Bridge(path) as bridge:
        seconds = bridge.until_live()
        found = bridge.status()["lanes"][0]["identities"]
        assert found >= identities, f"only {found} identities were read"
        before = bridge.received()
        sender.pace(0, _FLOW, _RATE)
        sender.times()
        bridge.until_done(before + _FLOW)
        return {"seconds": seconds, "mb": bridge.rss() / _MB}


def fill(config: Config, *, identities: int, frames_per_entry: int) -> None:
    """Write a ledger as a bridge would have that saw so many frames."""
    catalog = Catalog.load()
    topics.apply(kafka.Admin(config), topics.plan(config, catalog))
    codec = EntryCodec(catalog.own("ledger"))
    topic = topics.own_name(config, Role.LEDGER)
    instance, now = uuid.uuid4().hex, time.time_ns() // 1_000_000
    producer = Producer(
        {
            "bootstrap.servers": str(config.kafka["bootstrap.servers"]),
            "message.max.bytes": kafka.MESSAGE_BYTES,
            "compression.type": "lz4",
            "linger.ms": 50,
        }
    )
    state, event = (
        (dedupe.STATE | dedupe.IDENTIFIED | dedupe.CONTENT),
        (dedupe.IDENTIFIED | dedupe.CONTENT | dedupe.MATCHED),
    )
    states = int(frames_per_entry * _STATES)
    codes = bytes([state] * states + [event] * (frames_per_entry - states))
    entities = max(1, identities // _STATES_EACH)
    number = 0
    for done in range(0, identities, frames_per_entry):
        hashes = bytearray(os.urandom(dedupe.TRIPLE.size * frames_per_entry))
        for at in range(16, len(hashes), dedupe.TRIPLE.size):
            number += 1
            _ENTITY.pack_into(hashes, at, number * 2654435761 % entities + 1)
        entry = Entry(
            kind=ENTRY,
            instance=instance,
            at=now,
            generation=1,
            journal=instance,
            position=done + frames_per_entry,
            codes=codes,
            hashes=bytes(hashes),
            connections=[Connection("cs2", "list", up=True, last_frame=now, position=done)],
        )
        _produce(producer, topic, codec.encode(entry))
    _produce(
        producer, topic, codec.encode(Entry(kind=RESIGN, instance=instance, at=now, generation=1, position=identities))
    )
    assert producer.flush(60) == 0


_ENTITY: Final = struct.Struct("<Q")


def _produce(producer: Producer, topic: str, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, b"0", partition=0)
            return
        except BufferError:
            producer.poll(0.1)
