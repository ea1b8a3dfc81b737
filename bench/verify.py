"""How long `feedbridge verify` takes, and the memory it needs, on records as a bridge writes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Final

from bench import feed
from bridge import kafka, topics
from bridge.catalog import Catalog
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.config import Config, load
from bridge.dedupe import Window
from bridge.frame import STREAM, Frame, Record
from bridge.gateways import kinds
from bridge.ledger import ENTRY, Entry, EntryCodec, Memory
from bridge.link import Linker
from bridge.pipeline import Pipeline
from bridge.publisher import Publisher
from bridge.recovery import GapWriter, Outages
from bridge.route import Route
from bridge.topics import Role

_KB: Final = 1024
_MB: Final = 1e6
#: Frames in one transaction, as of a busy feed.
_EACH: Final = 1000
#: Different frames; they come again and again with other sequence numbers.
_FRAMES: Final = 20_000
_SEQ: Final = re.compile(rb'(?<="seq":)(\d+)(?=\}\}$)')
_LAPS: Final = 1_000_000_000


def measure(folder: Path, bootstrap: str, *, records: int) -> dict[str, float]:
    """Return ``seconds`` that the command took, ``mb`` of memory at most, and ``records`` that it read."""
    path = folder / f"verify-{records}.yaml"
    gateway = {"kind": "ticktock", "url": "wss://gateway.invalid", "api_key": "bench"}
    path.write_text(
        json.dumps(
            {
                "name": "bench",
                "gateways": {"cs2": gateway},
                "kafka": {"bootstrap.servers": bootstrap},
                "topics": {"prefix": f"verify-{records}."},
            }
        )
    )
    fill(load(path, environ={}), records)
    began = time.monotonic()
    command = [sys.executable, "-m", "bridge.cli", "verify", "-c", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        proof = json.load(process.stdout)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    assert process.returncode == 0, proof
    assert proof["linked"] == proof["records"] >= records, proof
    return {"seconds": seconds, "mb": used.ru_maxrss * _KB / _MB, "records": float(proof["records"])}


def fill(config: Config, records: int) -> None:
    """Publish so many records or a few more: the bridge's own pipeline and transactions, without gateway and journal."""
    catalog = Catalog.load()
    plan = topics.plan(config, catalog)
    topics.apply(kafka.Admin(config), plan)
    kind = catalog.kind("ticktock")
    types = {**kind.types, kind.unknown.type: kind.unknown}
    route = Route(
        "cs2",
        kind,
        kinds()["ticktock"].control,
        {
            name: [(topic.name, SINGLE_OBJECT + fingerprint(types[name].schema))]
            for topic in plan
            if topic.role is Role.DATA
            for name in topic.types
        },
        topics.dead_letters_name(config, "cs2"),
    )
    gap = catalog.own("gap")
    writer = GapWriter(topics.own_name(config, Role.GAPS), SINGLE_OBJECT + fingerprint(gap), gap)
    instance, ledger = uuid.uuid4().hex, topics.own_name(config, Role.LEDGER)
    memory = Memory(Window(span=round(config.dedupe.window * 1000), max_identities=config.dedupe.max_identities))
    pipeline = Pipeline([route], memory=memory, outages=Outages(writer, lane=0, instance=instance))
    codec, linker = EntryCodec(catalog.own("ledger")), Linker(config.topics.prefix)
    reports, name = kafka.Reports(), topics.transactional_id(config, 0)
    publisher = Publisher(
        kafka.producer(config, transactional_id=name, reports=reports),
        transactional_id=name,
        reports=reports,
        waiting=lambda _reason: None,
        give_up=lambda: False,
    )
    publisher.fence()
    raws, position, done = _endless(feed.frames(_FRAMES)), 0, 0
    while done < records:
        now = time.time_ns() // 1_000_000
        frames = [Frame("cs2", "list", now, STREAM, raw) for raw in islice(raws, _EACH)]
        batch = pipeline.process(position, frames, now)
        entry = Entry(
            kind=ENTRY,
            instance=instance,
            at=now,
            journal=instance,
            position=batch.position,
            codes=bytes(batch.codes),
            hashes=bytes(batch.hashes),
            learned=batch.learned,
            links=linker.links(batch.records),
        )
        publisher.commit(batch.records, Record(ledger, b"0", codec.encode(entry), [], now), 0)
        position = batch.position
        done += len(batch.records)
    publisher.close()


def _endless(raws: Sequence[bytes]) -> Iterator[bytes]:
    """The frames again and again, each lap with sequence numbers of its own."""
    for lap in count():
        for raw in raws:
            yield _SEQ.sub(lambda found: b"%d" % (int(found[1]) + lap * _LAPS), raw) if lap else raw  # noqa: B023
