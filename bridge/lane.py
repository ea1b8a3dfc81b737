"""A lane: one ledger partition, one transactional id, one active publisher.

A lane belongs to a plan (`bridge.plan`): it begins with what the lanes of older plans have left, and ends for good when it
reads that a newer plan has begun.

The lane's thread ties the pure parts to Kafka. Its life is a loop of three stages:

*stand by*: read the ledger, tick off the own frames that it shows, until its owner resigns, falls silent, lacks a gateway
or has missed frames (`bridge.standby`). *take over*: fence the owner (``init_transactions``), write a first entry, and
read the ledger up to that entry, so that nothing the owner ever committed is unknown. *publish*: group commit from the
journal. As soon as one transaction is committed, the next takes all that has arrived meanwhile.

Whatever ends a stage leads back to the first: the ledger and the journal hold all there is to know.
"""

from __future__ import annotations

import threading
import uuid
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Final

import structlog

from bridge import aside
from bridge.batch import Undisposed
from bridge.beginning import begin
from bridge.errors import BridgeError, Fenced, LaneError
from bridge.frame import Record
from bridge.ledger import ENTRY, FIRST, HEARTBEAT, RESIGN, Memory
from bridge.link import LINK_BYTES
from bridge.pipeline import STAGE
from bridge.plan import Course, Outdated
from bridge.publisher import Aborted, GivenUp
from bridge.refusal import Means
from bridge.standby import Pending, Watch

if TYPE_CHECKING:
    from bridge.batch import Batch
    from bridge.ledger import Gap
    from bridge.ledger_reader import LedgerReader
    from bridge.parts import Parts
    from bridge.publisher import Publisher

ACTIVE: Final = "active"
STANDBY: Final = "standby"
RECOVERING: Final = "recovering"

#: An active without frames writes an entry this often (s).
HEARTBEAT_EVERY: Final = 0.5
#: The cap of one transaction, so that it stays short.
MAX_FRAMES: Final = 4000
MAX_BYTES: Final = 8 << 20
#: Frames after which their records are handed over, while the rest of the transaction is still encoded: one stage of the
#: pipeline, whose records are still in the processor's caches.
CHUNK: Final = STAGE
#: After a batch that was too large only as a whole, larger ones are tried again in steps of so many seconds.
CRAMPED: Final = 60.0
#: A producer that lived shorter (s) died of something that will not pass at once.
SHORT_LIFE: Final = 5.0
#: Longest wait (s) for an entry of the ledger.
POLL: Final = 0.05
#: A standby whose frames never match the active's waits no longer (s) for the ledger to show them.
STRANGE: Final = 60.0
#: Between tries after something that only a person or time can mend (s).
RETRY: Final = 1.0

log = structlog.get_logger(__name__)


class Poisoned(LaneError):
    """Kafka refused a record. It is known by now which frame becomes a dead letter; the ledger must be read again."""


class Lane:
    """One lane; see the module. `start` its thread, then `stop` it with a time limit."""

    def __init__(self, parts: Parts) -> None:
        """Nothing is sent before `start`."""
        self._parts = parts
        self.number = parts.lane
        self._clock = parts.clock
        self._thread = threading.Thread(target=self.run, name=f"lane-{parts.lane}", daemon=True)
        self.role = RECOVERING
        #: What keeps the lane from going on, in one line; None when all is well.
        self.trouble: str | None = None
        #: An error that no waiting mends; the lane has ended.
        self.failed: BridgeError | None = None
        #: By the clock, the time of the last sign of life, and of the last commit.
        self.beat = self._clock()
        self.committed_at: float | None = None
        self._last_commit: int | None = None
        self.since = parts.now()
        self._memory = self._read = parts.memory()
        self._outages = parts.outages(self._memory)
        self._position = 0
        #: Frames in one transaction at most, and when (monotonic) more may be tried.
        self._most = MAX_FRAMES
        self._more_at = 0.0
        self._watch = Watch(
            instance=parts.instance, takeover_after=parts.takeover_after, chance=parts.chance, covers=parts.covers
        )
        self._course = Course(generation=parts.generation, lanes=parts.lanes)
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._log = log.bind(lane=parts.lane)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until it has ended, for so many seconds at most."""
        self._thread.join(timeout)

    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout: float) -> None:
        """Publish what the journal holds, resign and end, all within `timeout` (s). Returns at once; `join` waits."""
        self._deadline = self._clock() + timeout
        self._stopping.set()
        self._parts.journal.wake()

    def status(self) -> dict[str, Any]:
        """What `/api/status` says of the lane; read from any thread."""
        ago = None if self.committed_at is None else round(self._clock() - self.committed_at, 3)
        return {
            "lane": self._parts.lane,
            "role": self.role,
            "generation": self._parts.generation,
            "since": self.since,
            "trouble": self.trouble,
            "last_commit_seconds_ago": ago,
            "last_commit": self._last_commit,
            "active": self._active(),
            "identities": len(self._memory.window),
            "position": self._position,
            "behind": max(self._parts.journal.end - self._position, 0),
            "refusals": self._parts.refusals.status(),
        }

    def gaps(self) -> list[Gap]:
        """The gaps that it knows of; read from any thread."""
        return self._outages.gaps() if self.role == ACTIVE else list(self._read.gaps.values())

    def _active(self) -> str | None:
        """The instance that publishes the lane, as far as is known."""
        last = self._read.last
        if self.role == ACTIVE:
            return self._parts.instance
        return last.instance if last is not None and last.kind != RESIGN else None

    def run(self) -> None:
        """Stand by, take over, publish; again and again."""
        parts = self._parts
        while not self._ended():
            born = self._clock()
            try:
                self._live()
            except GivenUp:
                break
            except Outdated as outdated:
                # Nothing but a start with another configuration mends it; frames go on into the journal.
                self._become(RECOVERING, str(outdated))
                while not self._ended():
                    self.beat = self._clock()
                    parts.pause(self._stopping, RETRY)
            except Fenced as fenced:
                self._watch.fenced(self._clock())
                parts.tally.fenced()
                self._become(STANDBY, str(fenced))
            except LaneError as error:
                self._become(RECOVERING, str(error))
                waits = self._clock() - born < SHORT_LIFE and not isinstance(error, Undisposed | Poisoned)
                parts.pause(self._stopping, RETRY if waits else 0.0)
            except BridgeError as error:
                # Refused, unreachable, a missing topic: a person or time mends it; frames go on into the journal.
                self._become(RECOVERING, str(error))
                parts.pause(self._stopping, RETRY)
            except Exception as error:  # told, then raised again
                # A bug of ours, told to the service before the thread ends: it must not end in silence.
                self.failed = BridgeError(f"lane {self._parts.lane} failed: {type(error).__name__}: {error}")
                self._log.exception("lane_failed")
                raise
        self._become(RECOVERING, None)

    def _live(self) -> None:
        """One life of a producer."""
        parts = self._parts
        with ExitStack() as life:
            # Connected long before it is wanted: a cold producer needs up to a second to fence.
            publisher = life.enter_context(closing(parts.publisher(self._wait, self._give_up)))
            with closing(parts.reader()) as reader:
                taken = self._stand_by(reader)
                if taken is None:
                    return
                self._become(RECOVERING, None)
                self._take_over(reader, publisher, *taken)
            try:
                self._publish(publisher)
            finally:
                parts.desk.leave()

    def _stand_by(self, reader: LedgerReader) -> tuple[Memory, Pending] | None:
        """Read the ledger, tick off the own frames that it shows, until it is ours to take; None when stopped before.

        Returns what the ledger tells and what it has not shown.
        """
        parts, watch, journal = self._parts, self._watch, self._parts.journal
        memory = self._read = parts.memory()
        since = self._seek(reader, memory)
        self._course = Course(generation=parts.generation, lanes=parts.lanes)
        begin(parts, self._course, reader, memory, since=since, alive=self._alive)
        watch.begin(self._clock(), memory.last)
        pending: Pending | None = None
        looked = 0
        while not self._ended():
            self.beat = self._clock()
            self._hear(reader, memory, pending)
            if not reader.at_end():
                watch.blind(self._clock())  # silence counts only while it can be told from being cut off
                continue
            if pending is None:
                looked = memory.resume(journal.id, first=journal.first, openings=journal.openings)
                pending = Pending(memory, looked)
            now = self._clock()
            for gateway, up in parts.connected().items():
                watch.gateway(gateway, own=up, active=memory.connected(gateway), now=now)
            reason = watch.decide(
                now, journal=journal.id, missed_since=pending.missed_since(), alike=not pending.strange
            )
            if reason is not None:
                self._log.info("lane_taken_over", reason=reason)
                parts.tally.taken_over(reason)
                return memory, pending
            first, frames = journal.read(looked, max_frames=MAX_FRAMES, max_bytes=MAX_BYTES)
            looked = first + len(frames)
            pending.receive(parts.pipeline.observe(first, frames, memory), looked, now)
            parts.tally.observed(parts.pipeline)
            if pending.strange and (lost := pending.forget(now - STRANGE)):
                self._log.warning("frames_never_match", frames=lost, mend="see `feedbridge check --overlap`")
            journal.trim(pending.first)
            self._position = pending.first
            if self.role != STANDBY or self.trouble is not None:
                self._become(STANDBY, None)
        return None

    def _seek(self, reader: LedgerReader, memory: Memory) -> int:
        """Begin to read the ledger a window before the oldest frame that may have to be published.

        Returns from when on (ms).
        """
        now, oldest = self._parts.now(), self._parts.journal.oldest()
        since = min(now, oldest if oldest is not None else now) - memory.window.span
        if reader.seek(since):
            # No retention of the ledger is shorter than the window: younger entries are all there.
            memory.known_since = now - memory.window.span
        return since

    def _hear(self, reader: LedgerReader, memory: Memory, pending: Pending | None) -> None:
        """Take what has come of this plan since its beginning. Raises `Outdated` where a newer one has begun."""
        for entry, at in reader.poll(POLL):
            if self._course.begins(entry):
                raise LaneError("where the plan begins was not there to be read at first")
            if self._course.hear(entry):
                memory.take(entry, at)
                self._watch.hear(entry, self._clock())
                if pending is not None:
                    pending.show(entry, self._clock())

    def _followed(self, memory: Memory) -> bool:
        """Whether another process published something of what this lane may have in its journal."""
        return bool(memory.positions.keys() - {self._parts.journal.id, *self._parts.former})

    def _take_over(
        self,
        reader: LedgerReader,
        publisher: Publisher,
        memory: Memory,
        pending: Pending,
    ) -> None:
        """Fence, write the first entry, read up to it."""
        parts = self._parts
        publisher.fence()
        nonce = uuid.uuid4().hex
        publisher.commit([], self._parts.entry(kind=FIRST, nonce=nonce), parts.lane)
        wrote = self._clock()
        while memory.last is None or memory.last.nonce != nonce:
            self.beat = self._clock()
            self._hear(reader, memory, pending)
            if self._clock() - wrote > HEARTBEAT_EVERY:
                publisher.commit([], self._parts.entry(kind=HEARTBEAT, nonce=nonce), parts.lane)
                wrote = self._clock()
            if self._give_up():
                raise GivenUp("stopped while reading the ledger", where="kafka")
        self._watch.taken()
        journal = parts.journal
        followed, until = self._followed(memory), journal.end
        while followed and pending.end < until:
            # Frames that came while others published, which the ledger may have passed by.
            self.beat = self._clock()
            first, frames = journal.read(pending.end, max_frames=MAX_FRAMES, max_bytes=MAX_BYTES)
            pending.receive(parts.pipeline.observe(first, frames, memory), first + len(frames), self.beat)
            parts.tally.observed(parts.pipeline)
            if self.beat - wrote > HEARTBEAT_EVERY:
                publisher.commit([], self._parts.entry(kind=HEARTBEAT, nonce=nonce), parts.lane)
                wrote = self._clock()
        self._memory = memory
        self._outages = parts.outages(memory)
        handover = pending.handover() if followed else None
        parts.pipeline.adopt(memory, self._outages, handover, journal=journal.id)
        self._position = pending.first
        journal.trim(self._position)
        self._become(
            ACTIVE,
            None,
            entries=memory.entries,
            identities=len(memory.window),
            position=self._position,
            behind=journal.end - self._position,
        )

    def _publish(self, publisher: Publisher) -> None:
        """Group commit until stopped."""
        parts = self._parts
        journal, pipeline = parts.journal, parts.pipeline
        wrote = self._clock()
        while True:
            self.beat = self._clock()
            if parts.refusals.look(self.beat):
                pipeline.limit(parts.refusals.limits)
            if pipeline.settled:
                parts.desk.look(self._outages, self._memory, parts.now)
            if pipeline.settles(self._position) or journal.wait(
                self._position, max(wrote + HEARTBEAT_EVERY - self.beat, 0.0)
            ):
                if self._clock() >= self._deadline:
                    raise GivenUp("stopped with frames left in the journal", where="lane")
                batch = self._next_batch(publisher)
                if batch or self._outages.changed:
                    self._commit(publisher, batch)
                    wrote = self._committed()
                self._position = batch.position
                journal.trim(self._position)
                parts.tally.batch(pipeline, self._outages, batch, parts.now())
                if batch.refused:
                    parts.refusals.count(batch.refused, parts.now(), self._clock())
            elif self._ended():
                break
            if self._clock() - wrote >= HEARTBEAT_EVERY:
                # Also where frames came that needed no transaction, such as duplicates only.
                publisher.commit([], self._said(HEARTBEAT), parts.lane)
                wrote = self._committed()
        publisher.commit([], self._said(RESIGN), parts.lane)
        self._log.info("lane_resigned", position=self._position)

    def _committed(self) -> float:
        """Note that a transaction is committed; returns when (monotonic, s)."""
        self.committed_at = self._clock()
        self._parts.journal.confirm()
        self._last_commit = self._parts.now()
        self._parts.tally.committed(self._last_commit)
        return self.committed_at

    def _next_batch(self, publisher: Publisher) -> Batch:
        """What has arrived since the last transaction, up to its cap; all but the last records are handed over already."""
        parts, pipeline = self._parts, self._parts.pipeline
        most = min(self._most, parts.refusals.most)
        first, frames = parts.journal.read(self._position, max_frames=most, max_bytes=MAX_BYTES)
        if first != self._position:
            self._log.error("journal_damaged", frames_lost=first - self._position)
        batch = pipeline.begin(first, frames, parts.now())
        try:
            for start in range(0, len(frames), CHUNK):
                publisher.send(batch.records)
                self._link(batch)
                pipeline.proceed(batch, frames[start : start + CHUNK])
            pipeline.finish(batch)
        except Undisposed as undisposed:
            # A bug of ours must not stop the feed: the frame becomes a dead letter once the ledger is read again.
            self._log.exception("frame_failed", position=undisposed.position)
            pipeline.poisoned[undisposed.position] = ("internal_error", undisposed.what)
            publisher.abort()
            raise
        for gateway, count in pipeline.drain_orphans().items():
            self._log.error("frames_dropped", gateway=gateway, frames=count, reason="not in the configuration")
        return batch

    def _link(self, batch: Batch) -> None:
        """Make the links of the records that have none yet."""
        batch.links += self._parts.links(batch.records[len(batch.links) // LINK_BYTES :])

    def _commit(self, publisher: Publisher, batch: Batch) -> None:
        """Commit one batch, however often it takes."""
        parts = self._parts
        aside.keep(parts.oversize, batch)
        if batch.expired:
            self._log.error("frames_expired", frames=len(batch.expired), kept=batch.kept)
        self._link(batch)
        entry = self._parts.entry(
            kind=ENTRY,
            position=batch.position,
            codes=bytes(batch.codes),
            hashes=bytes(batch.hashes),
            orders=bytes(batch.orders),
            learned=batch.learned,
            connections=self._outages.drain(batch.position, batch.now),
            gaps=self._outages.drain_gaps(),
            cursors=self._cursors(batch.now),
            chains=batch.chains,
            links=bytes(batch.links),
        )
        while True:
            try:
                seconds = publisher.commit(batch.records, entry, parts.lane)
            except Aborted as aborted:
                if aborted.poison:
                    self._poisoned(batch, aborted)
                self._wait(str(aborted.error))
                self._log.warning("transaction_aborted", reason=str(aborted.error), records=len(batch.records))
                if self._give_up():
                    raise GivenUp("stopped while a transaction was aborted", where="kafka") from aborted
                parts.pause(self._stopping, 0.1)
                continue
            if self.trouble is not None:
                self._wait(None)
            parts.tally.transaction(seconds)
            if self._most < MAX_FRAMES and self._clock() >= self._more_at:
                self._most = min(self._most * 2, MAX_FRAMES)
                self._more_at = self._clock() + CRAMPED
            return

    def _poisoned(self, batch: Batch, aborted: Aborted) -> None:
        """Find out what Kafka will never take; those frames become dead letters on the next reading.

        Always raises: the window has taken the frames for published, so the ledger must be read again.
        """
        parts = self._parts
        search = lambda: closing(parts.publisher(self._wait, self._give_up))  # noqa: E731
        if not parts.refusals.meet(batch, aborted, Means(parts.pipeline, search, self._clock())):
            if batch.frames > 1:
                # Something that grows with the batch: the ledger entry.
                self._most = max(batch.frames // 8, 1)
                self._more_at = self._clock() + CRAMPED
                self._log.warning("batch_refused", frames=batch.frames, next=self._most, reason=str(aborted.error))
            elif batch.records:
                parts.pipeline.condemn({batch.owners[0]: aborted.error.what}, batch.records[0].topic)
        raise Poisoned(str(aborted.error)) from aborted

    def _said(self, kind: str) -> Record:
        """An entry without frames: how far the journal is disposed of, and what there is to say of connections."""
        now = self._parts.now()
        connections = self._outages.drain(self._position, now)
        gaps = self._outages.drain_gaps()
        cursors = self._cursors(now)
        return self._parts.entry(
            kind=kind, position=self._position, connections=connections, gaps=gaps, cursors=cursors
        )

    def _cursors(self, now: int) -> dict[str, str]:
        """The cursors that a ledger entry must say."""
        return self._memory.cursors.drain(now, self._memory.window.span)

    def _wait(self, reason: str | None) -> None:
        """Kafka keeps the lane waiting, or no longer does. Logged once for each change."""
        self.beat = self._clock()
        if reason != self.trouble:
            if reason is None:
                self._log.info("kafka_answers")
            elif self.trouble is None:
                self._log.warning("kafka_waiting", reason=reason)
            self.trouble = reason

    def _become(self, role: str, trouble: str | None, **facts: Any) -> None:
        if role != self.role:
            self._log.info("lane_role", role=role, **({"reason": trouble} if trouble else {}), **facts)
            self.since = self._parts.now()
        elif trouble is not None and trouble != self.trouble:
            self._log.warning("lane_waiting", role=role, reason=trouble)
        self.role = role
        self.trouble = trouble
        self._parts.tally.role(active=role == ACTIVE, standby=role == STANDBY and trouble is None)

    def _alive(self) -> bool:
        """Show a sign of life; whether to go on."""
        self.beat = self._clock()
        return not self._ended()

    def _ended(self) -> bool:
        return self._stopping.is_set()

    def _give_up(self) -> bool:
        self.beat = self._clock()
        return self._stopping.is_set() and self._clock() >= self._deadline
