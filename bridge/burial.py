"""The frames of a lane that become dead letters: why, how many, and those that Kafka refused."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import xxhash

from bridge import dedupe
from bridge.dead_letter import Buried, dead_letter
from bridge.dedupe import TRIPLE
from bridge.frame import Disposition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.batch import Batch
    from bridge.cloudevents import Events
    from bridge.errors import BadFrame
    from bridge.frame import Frame
    from bridge.ledger import Memory
    from bridge.route import Ways

#: So many dead letters are remembered to be shown.
BURIED: Final = 20


class Burial:
    """Of one lane's pipeline, see there."""

    def __init__(self, events: Events | None = None) -> None:
        """events: adds CloudEvents headers."""
        self._events = events
        #: position → (reason, detail): frames that can't be published whatever they hold, see `bridge.lane`.
        self.poisoned: dict[int, tuple[str, str]] = {}
        #: Positions whose dead letter Kafka refused too: it goes without the bytes, which are kept aside.
        self._unfit: set[int] = set()
        #: position → the topic that refuses its record.
        self._refusing: dict[int, str] = {}
        self._dead: dict[tuple[str, str], int] = {}
        self._buried: deque[Buried] = deque(maxlen=BURIED)

    def condemn(self, positions: Mapping[int, str], topic: str) -> None:
        """Frames whose record a topic refuses become dead letters when their batch is made again.

        positions: with Kafka's reason. A frame that is one already goes without its bytes, which are kept aside.
        """
        for position, why in positions.items():
            if position in self.poisoned:
                self._unfit.add(position)
            self.poisoned[position] = ("refused_by_kafka", why)
            self._refusing[position] = topic

    def dispose(self, first: int) -> None:
        """Frames before this position are disposed of."""
        for position in [each for each in self.poisoned if each < first]:
            del self.poisoned[position]
            self._unfit.discard(position)
            self._refusing.pop(position, None)

    def forget(self) -> None:
        """Forget what was counted: it was of a batch that was not committed."""
        self._dead.clear()
        self._buried.clear()

    def drain_dead(self) -> dict[tuple[str, str], int]:
        """Return (gateway, reason) → dead letters since the last call and begin anew."""
        dead, self._dead = self._dead, {}
        return dead

    def drain_buried(self) -> list[Buried]:
        """Return the last dead letters since the last call and begin anew."""
        buried = list(self._buried)
        self._buried.clear()
        return buried

    def bury(  # noqa: PLR0917 - as the pipeline calls its other parts
        self, batch: Batch, gateway: Ways, frame: Frame, position: int, bad: BadFrame, memory: Memory
    ) -> None:
        """Make the dead letter of one frame; equal bytes make one in a window."""
        raw = frame.raw
        known, own = gateway.about(frame)
        identity = xxhash.xxh3_64_intdigest(raw, gateway.dead_seed)
        code = memory.window.admit(dedupe.IDENTIFIED, identity, 0, 0, batch.now)
        if code & dedupe.DISPOSITION_MASK == dedupe.DUPLICATE:
            gateway.lost.counts.duplicates += 1
            return
        batch.codes.append(dedupe.IDENTIFIED | Disposition.DEAD_LETTER)
        batch.hashes += TRIPLE.pack(identity, 0, 0)
        learned = memory.learned.get(gateway.gateway, own or "")
        limit = 0 if position in self._unfit else gateway.max_dead_letter
        record, digest = dead_letter(
            frame,
            bad,
            topic=gateway.dead_letters,
            key=frame.hint or learned or own or gateway.gateway,
            frame_type=known,
            limit=limit,
        )
        if self._events is not None:
            self._events.dead_letter(record, frame)
        if digest is not None:
            batch.oversize.append((digest, raw))
        batch.records.append(record)
        batch.owners.append(position)
        self._dead[gateway.gateway, bad.reason] = self._dead.get((gateway.gateway, bad.reason), 0) + 1
        topic = bad.topic or self._refusing.get(position)
        if topic is not None:
            batch.refused[topic] = batch.refused.get(topic, 0) + 1
        counts = gateway.called(known).counts
        counts.dead += 1
        self._buried.append(Buried(frame.received, gateway.gateway, counts.type, bad.reason, bad.path))
