"""What a record costs by layout and with CloudEvents headers: the bridge's own pipeline, links and transactions on a real broker.

All forms take turns, round by round, so that a slow moment hits each of them. A form's cost is that of its quickest round, its
ratio to layout ``type`` the median of the rounds' own. CPU is that of all threads of the process, the Kafka client's included.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench import feed
from bridge import config, kafka, topics
from bridge.catalog import Catalog
from bridge.cloudevents import Events
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.config import Config, known_kinds
from bridge.dedupe import Window
from bridge.frame import STREAM, Frame, Record
from bridge.gateways import kinds
from bridge.grounds import topics_of
from bridge.ledger import ENTRY, Entry, EntryCodec, Memory
from bridge.link import Linker
from bridge.pipeline import Pipeline
from bridge.publisher import Publisher
from bridge.recovery import GapWriter, Outages
from bridge.route import Route
from bridge.topics import Role

#: Name of each form → its settings of topics.
FORMS: Final[Mapping[str, Mapping[str, object]]] = {
    "type": {"layout": ["type"]},
    "gateway": {"layout": ["gateway"]},
    "both": {"layout": ["type", "gateway"]},
    "cloudevents": {"layout": ["type"], "headers": "cloudevents"},
}
#: Frames in one transaction, as of a busy feed.
_EACH: Final = 2000


class Cost(msgspec.Struct, frozen=True):
    """CPU µs a frame: made is up to the records, whole with their links and the transaction. records: of each frame.

    ratio: of whole to that of layout ``type``.
    """

    made: float
    whole: float
    records: float
    ratio: float = 1.0


def measure(bootstrap: str, *, frames: int, rounds: int) -> dict[str, Cost]:
    """Form → its cost. frames: of each round."""
    raws = feed.frames(frames)
    lines = {form: _Line(form, settings, bootstrap) for form, settings in FORMS.items()}
    found: dict[str, list[Cost]] = {form: [] for form in FORMS}
    for _ in range(rounds + 1):
        for form, line in lines.items():
            found[form].append(line.run(raws))
    for line in lines.values():
        line.close()
    # The first round warms up: topics are opened, codecs meet their first unknown members.
    return {
        form: Cost(
            made=min(each.made for each in costs[1:]),
            whole=min(each.whole for each in costs[1:]),
            records=costs[0].records,
            ratio=median(each.whole / plain.whole for each, plain in zip(costs[1:], found["type"][1:], strict=True)),
        )
        for form, costs in found.items()
    }


class _Line:
    """A lane without gateway and journal."""

    def __init__(self, form: str, settings: Mapping[str, object], bootstrap: str) -> None:
        self._config = installation = _configuration(form, settings, bootstrap)
        catalog = Catalog.load()
        plan = topics.plan(installation, catalog)
        topics.apply(kafka.Admin(installation), plan)
        framing = {(each.topic, each.type): SINGLE_OBJECT + fingerprint(each.schema) for each in topics.subjects(plan)}
        route = Route(
            "cs2",
            catalog.kind("ticktock"),
            kinds()["ticktock"].control,
            topics_of("cs2", plan, framing),
            topics.dead_letters_name(installation, "cs2"),
        )
        self._gaps = GapWriter(topics.own_name(installation, Role.GAPS), b"", catalog.own("gap"))
        memory, outages = self._fresh()
        self._pipeline = Pipeline([route], memory=memory, outages=outages, events=Events.of(installation))
        self._codec, self._linker = EntryCodec(catalog.own("ledger")), Linker(installation.topics.prefix)
        self._ledger = topics.own_name(installation, Role.LEDGER)
        reports, name = kafka.Reports(), topics.transactional_id(installation, 0)
        self._publisher = Publisher(
            kafka.producer(installation, transactional_id=name, reports=reports),
            transactional_id=name,
            reports=reports,
            waiting=lambda _reason: None,
            give_up=lambda: False,
        )
        self._publisher.fence()

    def run(self, raws: Sequence[bytes]) -> Cost:
        """Publish the frames as if none was ever seen."""
        self._pipeline.adopt(*self._fresh())
        instance = uuid.uuid4().hex
        records, made = 0, 0.0
        began = time.process_time()
        for first in range(0, len(raws), _EACH):
            now = time.time_ns() // 1_000_000
            start = time.process_time()
            frames = [Frame("cs2", "list", now, STREAM, raw) for raw in raws[first : first + _EACH]]
            batch = self._pipeline.process(first, frames, now)
            made += time.process_time() - start
            entry = Entry(
                kind=ENTRY,
                instance=instance,
                at=now,
                journal=instance,
                position=batch.position,
                codes=bytes(batch.codes),
                hashes=bytes(batch.hashes),
                learned=batch.learned,
                links=self._linker.links(batch.records),
            )
            self._publisher.commit(batch.records, Record(self._ledger, b"0", self._codec.encode(entry), [], now), 0)
            records += len(batch.records)
        whole = time.process_time() - began
        return Cost(made / len(raws) * 1e6, whole / len(raws) * 1e6, records / len(raws))

    def _fresh(self) -> tuple[Memory, Outages]:
        memory = Memory(
            Window(span=round(self._config.dedupe.window * 1000), max_identities=self._config.dedupe.max_identities)
        )
        return memory, Outages(self._gaps, lane=0, instance="bench")

    def close(self) -> None:
        """Close the producer."""
        self._publisher.close()


def _configuration(form: str, settings: Mapping[str, object], bootstrap: str) -> Config:
    document = {
        "name": "bench",
        "gateways": {"cs2": {"kind": "ticktock", "url": "wss://gateway.invalid", "api_key": "bench"}},
        "kafka": {"bootstrap.servers": bootstrap},
        "topics": {"prefix": f"layouts-{form}.", **settings},
    }
    text = msgspec.json.encode(document).decode()
    return config.parse(text, where="bench", environ={}, folder=Path(), kinds=known_kinds())
