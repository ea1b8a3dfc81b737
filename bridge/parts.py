"""What a lane is made of; the service puts it together, and the model of the tests does."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from bridge.filling import Desk
from bridge.frame import Record
from bridge.ledger import Entry
from bridge.refusal import Refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bridge.journal import Journal
    from bridge.ledger import EntryCodec, Memory
    from bridge.ledger_reader import LedgerReader
    from bridge.ops.tally import Tally
    from bridge.pipeline import Pipeline
    from bridge.publisher import Publisher
    from bridge.recovery import Outages


@dataclass(frozen=True)
class Parts:
    """What a lane is made of. The callables make fresh ones, since producers and consumers wear out.

    memory: an empty one. outages: from a memory. now: ms since the epoch. takeover_after: s.
    refusals: what Kafka does not take. desk: where gaps are handed in to be filled. connected: gateway → whether it is up
    here. chance: uniform in [0, 1). clock: monotonic, s. pause: sleeps so many seconds, or until the event is set.
    generation: of the plan; its READY is in the ledger. covers: the lane is another's,
    this process only stands by. others: readers of all other partitions of the ledger. former: journals of older plans
    whose frames were moved into this one.
    """

    lane: int
    lanes: int
    instance: str
    ledger_topic: str
    journal: Journal
    pipeline: Pipeline
    codec: EntryCodec
    links: Callable[[Sequence[Record]], bytes]
    memory: Callable[[], Memory]
    outages: Callable[[Memory], Outages]
    publisher: Callable[[Callable[[str | None], None], Callable[[], bool]], Publisher]
    reader: Callable[[], LedgerReader]
    now: Callable[[], int]
    takeover_after: float
    connected: Callable[[], Mapping[str, bool]]
    chance: Callable[[], float]
    oversize: Path
    tally: Tally
    clock: Callable[[], float] = monotonic
    pause: Callable[[threading.Event, float], object] = threading.Event.wait
    generation: int = 1
    covers: bool = False
    others: Callable[[], Mapping[int, LedgerReader]] = dict
    former: frozenset[str] = frozenset()
    desk: Desk = field(default_factory=Desk)
    refusals: Refusals = field(default_factory=Refusals)

    def entry(self, *, kind: str, **fields: Any) -> Record:
        """An entry of the ledger, as a record. fields: those of `Entry` that are not the same in all of the lane's."""
        now = self.now()
        entry = Entry(
            kind=kind,
            instance=self.instance,
            at=now,
            generation=self.generation,
            lanes=self.lanes,
            journal=self.journal.id,
            **fields,
        )
        return Record(self.ledger_topic, str(self.lane).encode(), self.codec.encode(entry), self.codec.headers, now)
