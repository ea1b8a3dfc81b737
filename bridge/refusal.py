"""What Kafka refuses of a lane's records, and what follows: those that it will never take become dead letters, all others flow.

A transaction that holds a refused record is aborted, and the records of the batch are judged again. So that this is done once
for a batch, or for a topic, and not for each record:

*too large*: the topic is asked for its ``max.message.bytes`` (it may have been changed); where that can't be seen, or explains
nothing, some of the batch's records are sent alone, the smallest first, in a transaction that is aborted. From then on what is
larger is not even tried (`limits`), and no batch of records is made larger than the topic takes (`largest`). Kafka is asked
again from time to time, since a limit may be raised.

*invalid* (its time, its key): Kafka says of each record of a batch whether it was to blame. They are buried in one go.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog

from bridge.errors import BridgeError
from bridge.kafka import BATCH_SIZE, TOPIC_BYTES
from bridge.publisher import SIZES
from bridge.route import HEADROOM, MAX_VALUE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import closing

    from bridge.batch import Batch
    from bridge.frame import Record
    from bridge.pipeline import Pipeline
    from bridge.publisher import Aborted, Publisher, Refusal

#: What key and headers of a record need at least of what a topic takes (bytes), see `room`.
LEAST: Final = 512
#: Topics with less room (bytes) hold up no others: that batches are made small for them is done when it is needed.
WORTHWHILE: Final = 1024
#: Where batches of records are small (bytes), a transaction has one frame for so many bytes, and never fewer than these.
SHARE: Final = 16
FEW: Final = 500
#: Records sent alone in one search.
RUNGS: Final = 64
#: So often (s) a topic that refuses records is asked whether it takes more by now.
AGAIN: Final = 60.0
#: Where it can't be asked, larger records are tried again after so long (s).
BLIND: Final = 600.0

log = structlog.get_logger(__name__)


def room(limit: int) -> int:
    """Largest value (bytes) of a record that a topic with this ``max.message.bytes`` takes, whatever its key and headers."""
    return max(min(limit - max(min(HEADROOM, limit // 4), LEAST), MAX_VALUE), 0)


class Refusing(msgspec.Struct):
    """A topic that refuses records. frames: that became dead letters for it. at: when the last did, ms since the epoch.

    why: in Kafka's words. limit: its max.message.bytes, None where it can't be seen or is not to blame. size: whether what
    is refused is too large.
    """

    topic: str
    why: str
    limit: int | None
    size: bool
    frames: int = 0
    at: int = 0


class Means(NamedTuple):
    """What a search needs. search: makes publishers that are not fenced. clock: now, monotonic, s."""

    pipeline: Pipeline
    search: Callable[[], closing[Publisher]]
    clock: float


class Refusals:
    """Of one lane. Owned by the lane's thread; `status` may be called from any.

    limits: topic → its ``max.message.bytes``, where that is known. ask: the same for some topics, as it is now; blocks, and may raise
    a `BridgeError`.
    """

    def __init__(
        self,
        limits: Mapping[str, int] | None = None,
        *,
        ask: Callable[[Collection[str]], Mapping[str, int]] = lambda _topics: {},
    ) -> None:
        """Nothing is refused yet."""
        self._ask = ask
        #: max.message.bytes, as last seen.
        self._told: dict[str, int] = {}
        self._values: dict[str, int] = {}
        #: Bytes of records that go in one batch.
        self._batches: dict[str, int] = {}
        self._topics: dict[str, Refusing] = {}
        #: When (monotonic, s) topics are asked again, and since when one of them is limited by a search alone.
        self._due = math.inf
        self._blind: dict[str, float] = {}
        for topic, limit in (limits or {}).items():
            self._tell(topic, limit)

    @property
    def limits(self) -> Mapping[str, int]:
        """Topic → largest value (bytes) of a record that is tried."""
        return self._values

    @property
    def largest(self) -> int | None:
        """Bytes of records that all topics take in one batch; None: there is no topic that takes few."""
        return min(self._batches.values(), default=None)

    @property
    def most(self) -> int:
        """How many frames one transaction may have: Kafka takes long for many batches, and the standby waits for the commit."""
        return sys.maxsize if self.largest is None else max(self.largest // SHARE, FEW)

    def status(self) -> list[dict[str, Any]]:
        """The topics that have refused records."""
        return [msgspec.to_builtins(each) for each in list(self._topics.values()) if each.frames]

    def count(self, frames: Mapping[str, int], now: int, clock: float) -> None:
        """Take how many frames of a committed batch are dead letters for a topic. now: ms since the epoch. clock: monotonic, s."""
        for topic, number in frames.items():
            found = self._topics.get(topic)
            if found is None:
                found = self._name(topic, "Broker: Message size too large", size=True)
            found.frames += number
            found.at = now
        if frames and self._due == math.inf:
            self._due = clock + AGAIN

    def meet(
        self,
        batch: Batch,
        aborted: Aborted,
        means: Means,
    ) -> bool:
        """Learn from an aborted transaction what must become dead letters, and tell the pipeline.

        Returns whether anything was learned; else the batch is too large as a whole. Raises what publishers raise.
        """
        learned = False
        large = {each.topic: each for each in aborted.refused if each.code in SIZES}
        told = self._asked(large)
        for topic, refusal in large.items():
            records = [(each, at) for each, at in zip(batch.records, batch.owners, strict=True) if each.topic == topic]
            if topic in told and told[topic] < self._told.get(topic, TOPIC_BYTES):
                self._tell(topic, told[topic])
            elif not self._search(topic, records, refusal.why, means):
                continue
            learned = True
            self._name(topic, refusal.why, size=True)
            log.error(
                "topic_refuses",
                topic=topic,
                reason=refusal.why,
                max_message_bytes=told.get(topic),
                largest=self._values.get(topic),
                together=self._batches.get(topic),
                mend="raise its max.message.bytes",
            )
        if large:
            means.pipeline.limit(self._values)
        rest = [each for each in aborted.refused if each.code not in SIZES]
        return bool(rest and self._condemn(batch, rest, means)) or learned

    def look(self, clock: float) -> bool:
        """Ask again, when it is time, whether topics that refuse take more; whether `limits` have changed."""
        if clock < self._due:
            return False
        self._due = clock + AGAIN
        topics = [each.topic for each in self._topics.values() if each.size]
        told = self._asked(topics)
        changed = False
        for topic in topics:
            if topic in told and told[topic] != self._told.get(topic):
                self._tell(topic, told[topic])
                log.info("topic_asked", topic=topic, max_message_bytes=told[topic])
            elif topic not in told and clock >= self._blind.get(topic, math.inf) + BLIND:
                del self._values[topic], self._blind[topic]
                self._batches.pop(topic, None)
            else:
                continue
            changed = True
        return changed

    def _name(self, topic: str, why: str, *, size: bool) -> Refusing:
        """Note that a topic refuses records."""
        limit = self._told.get(topic) if size and topic not in self._blind else None
        found = self._topics.setdefault(topic, Refusing(topic, why, limit, size))
        found.why, found.limit, found.size = why, limit, size
        return found

    def _asked(self, topics: Collection[str]) -> Mapping[str, int]:
        """As `ask`; nothing where there is no answer."""
        try:
            return self._ask(topics) if topics else {}
        except BridgeError as error:
            log.warning("topic_not_asked", topics=sorted(topics), reason=str(error))
            return {}

    def _tell(self, topic: str, limit: int) -> None:
        """Go by the ``max.message.bytes`` of a topic."""
        self._told[topic], self._values[topic] = limit, room(limit)
        self._batches.pop(topic, None)
        self._blind.pop(topic, None)
        if topic in self._topics:
            self._topics[topic].limit = limit
        if room(limit) >= WORTHWHILE and limit < BATCH_SIZE:
            # The client counts what goes around the records roughly.
            self._batches[topic] = limit - limit // 16

    def _search(
        self,
        topic: str,
        records: Sequence[tuple[Record, int]],
        why: str,
        means: Means,
    ) -> bool:
        """Find out by trying which records of a batch are too large for a topic, each alone; whether it was of use.

        records: of the topic, with the positions of their frames. why: in Kafka's words.
        """
        if not records:
            return False  # the ledger entry
        ordered = sorted(records, key=lambda each: len(each[0].value))
        taken, refused = -1, len(ordered)
        while refused - taken > 1:
            step = max((refused - taken) // RUNGS, 1)
            rungs = [*range(taken + 1, refused - 1, step), refused - 1]
            with means.search() as publisher:
                publisher.fence()
                found = publisher.first_refused([ordered[each][0] for each in rungs])
            if found is None:
                taken = rungs[-1]
            else:
                taken, refused = rungs[found - 1] if found else taken, rungs[found]
        together = self._batches.get(topic, BATCH_SIZE)
        if refused == len(ordered):  # each alone is taken
            self._batches[topic] = max(min(len(ordered[-1][0].value), together) // 4, 1)
            return together > 1
        if taken >= 0:
            # It takes as much as the largest that was taken, and most likely more.
            likely = max(len(ordered[taken][0].value), len(ordered[refused][0].value) // 4, 1)
            self._batches[topic] = min(together, likely)
        if means.pipeline.limits(topic):
            before = self._values.get(topic, MAX_VALUE)
            self._values[topic] = max(len(ordered[refused][0].value) - 1, 0)
            self._blind[topic] = means.clock
            return self._values[topic] < before
        means.pipeline.condemn({at: why for _, at in ordered[refused:]}, topic)
        return True

    def _condemn(self, batch: Batch, suspects: Sequence[Refusal], means: Means) -> bool:
        """Bury the frames of records that Kafka refuses for what they are; whether it refuses any."""
        guilty = {(each.topic, each.key, each.value): each.why for each in suspects if each.certain}
        if doubtful := {(each.topic, each.key, each.value) for each in suspects if not each.certain}:
            records = [each for each in batch.records if (each.topic, each.key, each.value) in doubtful]
            with means.search() as publisher:
                publisher.fence()
                found = publisher.refusals(records)
            named = {(each.topic, each.key, each.value) for each in found if each.code not in SIZES}
            guilty |= dict.fromkeys(named, next(each.why for each in suspects if not each.certain))
        blamed: dict[str, dict[int, str]] = {}
        for record, position in zip(batch.records, batch.owners, strict=True):
            if (told := guilty.get((record.topic, record.key, record.value))) is not None:
                blamed.setdefault(record.topic, {})[position] = told
        for topic, positions in blamed.items():
            why = next(iter(positions.values()))
            self._name(topic, why, size=False)
            means.pipeline.condemn(positions, topic)
            log.error("records_refused", topic=topic, reason=why, frames=len(positions))
        return bool(blamed)
