"""The pure middle: route, dedupe and encode.

Frames go in, in the order received; a `Batch` comes out: the records and dead letters of one transaction and what its
ledger entry must say. No socket, no clock, no Kafka: the same frames, window and time give the same batch.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge import dedupe, native
from bridge.batch import Batch, Undisposed
from bridge.burial import Burial
from bridge.cursors import REQUESTS
from bridge.dedupe import ORDER, TRIPLE
from bridge.encoder import Encoder, Fresh
from bridge.errors import BadFrame
from bridge.following import follow
from bridge.frame import EVENT, STANDBY, STREAM, Disposition, Frame, Record, fills
from bridge.lessons import Lessons
from bridge.native import UNUSUAL
from bridge.observation import arrived, observe
from bridge.presence import Presence
from bridge.recovery import Outages
from bridge.revival import EVENTS as REVIVING
from bridge.revival import Means, Revival
from bridge.route import MAX_VALUE, AnySighting, Counts, Route, Ways
from bridge.standby import Handover, Outage, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge.cloudevents import Events
    from bridge.dead_letter import Buried
    from bridge.dedupe import Window
    from bridge.ledger import Memory
    from bridge.receipt import Outcome

#: Frames that go through one stage before the first of them goes through the next.
STAGE: Final = 200
#: So much earlier (ms) than it came here another process may have published a frame: its line was quicker, or its clock.
LAG: Final = 2000
#: For so long (ms) after a takeover, frames may still arrive that are older than what the process before published: a
#: line may be slow. Not longer: a gateway whose clock was set back must not be held back by what it said before.
WARY: Final = 10_000
#: What stands in place of a sighting.
_UNREAD: Final = (BadFrame, NoneType)


class Pipeline:
    """Route, dedupe and encode for one lane. Owned by the lane's thread."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        memory: Memory,
        outages: Outages,
        seq_scope: str = "global",
        max_value: int = MAX_VALUE,
        limits: Mapping[str, int] | None = None,
        events: Events | None = None,
        revival: Revival | None = None,
    ) -> None:
        """Compile the codecs. max_value: largest record value (bytes) that a topic takes; limits: that of some topics.

        events: adds CloudEvents headers. revival: replays dead letters.
        """
        self._revival = revival or Revival()
        self._memory = memory
        self._outages = outages
        self._encoder = Encoder(self._late, events)
        self._compile: Callable[[Mapping[str, int]], dict[str, Ways]] = lambda limits: {
            route.gateway: Ways(route, seq_scope=seq_scope, max_value=max_value, limits=limits) for route in routes
        }
        self._ways = self._compile(limits or {})
        self._burial = Burial(events)
        self._handover = Handover()
        #: Position at which the handover ends, until it has.
        self._settles = -1
        #: Frames received before (ms) may be older than what the process before published, see `WARY`; whether any is.
        self._wary_until = 0
        self._wary = False
        self._presence = Presence()
        self._journal = ""
        self._own_numbers = seq_scope == "connection"
        self._lessons = Lessons()
        self.orphans: dict[str, int] = {}
        outages.said = self._said

    def adopt(self, memory: Memory, outages: Outages, handover: Handover | None = None, *, journal: str = "") -> None:
        """Go on with what another reading of the ledger gave; the compiled codecs stay.

        handover: what this process knows of its own journal, where it was a standby before. journal: id of the own one.
        """
        self._burial.forget()
        self._memory = memory
        self._outages = outages
        self._revival.adopt(memory, self.poisoned)
        self._handover = handover or Handover()
        self._settles = handover.until if handover is not None else -1
        self._journal = journal
        outages.said = self._said
        self._wary_until = memory.last.at + WARY if handover is not None and memory.last is not None else 0
        self._wary = False
        self._lessons.forget(0, memory.window.span)
        if handover is not None and self._own_numbers:
            memory.chains.clear()
        self.drain()

    def limit(self, limits: Mapping[str, int]) -> None:
        """Go by other sizes of what topics take. Between two batches, or where one is made again: its counts are gone."""
        self._ways = self._compile(limits)

    def limits(self, topic: str) -> bool:
        """Whether it heeds how large a record a topic takes: one of frames or of dead letters."""
        return any(ways.heeds(topic) for ways in self._ways.values())

    def condemn(self, positions: Mapping[int, str], topic: str) -> None:
        """Frames whose record a topic refuses become dead letters when their batch is made again. positions: with the reason."""
        self._burial.condemn(positions, topic)

    @property
    def poisoned(self) -> dict[int, tuple[str, str]]:
        """position → (reason, detail): frames that can't be published whatever they hold, see `bridge.lane`."""
        return self._burial.poisoned

    def settles(self, position: int) -> bool:
        """Whether the handover ends at this position, so that `process` has something to do even without a frame."""
        return position == self._settles

    @property
    def settled(self) -> bool:
        """Whether what stood in the own journal before a takeover is disposed of."""
        return self._settles < 0

    def observe(self, first: int, frames: Sequence[Frame], memory: Memory | None = None) -> list[Seen | Outage]:
        """Read frames as a standby does: what the window must know of each, nothing is judged or remembered.

        memory: what the standby has read; by it a frame that was moved here from another journal may be disposed of.
        """
        return observe(self._ways, self._presence, first, frames, memory or self._memory)

    @property
    def window(self) -> Window:
        """The window it judges by."""
        return self._memory.window

    def drain(self) -> list[Counts]:
        """Return the counts since the last call and begin anew."""
        found = []
        for gateway in self._ways.values():
            for way in gateway.all():
                counts = way.counts
                # Frames of a handover were received before.
                if counts.received or counts.published or counts.superseded or counts.unchanged or counts.duplicates:
                    found.append(counts)
                    way.counts = Counts(counts.gateway, counts.type)
        return found

    def drain_dead(self) -> dict[tuple[str, str], int]:
        """Return (gateway, reason) → dead letters since the last call and begin anew."""
        return self._burial.drain_dead()

    def drain_replayed(self) -> Mapping[tuple[str, Outcome], int]:
        """Return (gateway, outcome) → dead letters replayed since the last call and begin anew."""
        return self._revival.drain()

    def drain_buried(self) -> list[Buried]:
        """Return the last dead letters since the last call and begin anew."""
        return self._burial.drain_buried()

    def drain_orphans(self) -> dict[str, int]:
        """Return gateway → frames passed over since the last call, because the configuration no longer has it."""
        orphans, self.orphans = self.orphans, {}
        return orphans

    def process(self, first: int, frames: Sequence[Frame], now: int) -> Batch:
        """Dispose of frames at the positions from `first` on. now: ms since the epoch.

        Raises `Undisposed` where a frame meets a bug; window and batch are then of no more use.
        """
        batch = self.begin(first, frames, now)
        self.proceed(batch, frames)
        self.finish(batch)
        return batch

    def begin(self, first: int, frames: Sequence[Frame], now: int) -> Batch:
        """Make an empty batch for frames at the positions from `first` on.

        `proceed` fills it with some of them after others, `finish` ends it.
        """
        batch = Batch(first, now)
        if now >= self._lessons.until:
            self._lessons.forget(now, self._memory.window.span)
        self._burial.dispose(first)
        if 0 <= self._settles < first:  # what lay before was damaged
            self._settle(batch, first)
        if frames:
            self._wary = frames[0].received < self._wary_until
            self._memory.window.expire(min(now, frames[0].received))
            blind = self._memory.blind(self._journal, len(frames))
            batch.provable = 0 if blind is None else blind + LAG
        return batch

    def proceed(self, batch: Batch, frames: Sequence[Frame]) -> None:
        """Dispose of the next frames of a batch. Raises `Undisposed`, see `process`.

        Some hundred frames go through one stage, then all of them through the next: each stage's code then stays in the
        processor's first cache, which is worth a quarter of the time.
        """
        for start in range(0, len(frames), STAGE):
            some = [*frames[start : start + STAGE]]
            if any(frame.source == EVENT for frame in some):
                some = [arrived(each, self._memory) if each.source == EVENT else each for each in some]
            sightings = self._sight(batch, some)
            fresh = self._judge(batch, some, sightings)
            self._encoder.encode(batch, fresh, self._handover.until)

    def finish(self, batch: Batch) -> None:
        """After the last frame of a batch: what is said of all of them."""
        if batch.expired:
            self._expire(batch)
        if batch.position == self._settles:
            self._settle(batch, batch.position)
        elif self._settles >= 0 or self._wary:
            self._add(batch, self._outages.progress(batch.now), batch.position)
        self._add(batch, self._revival.receipts(batch.now), batch.position)
        batch.chains = self._memory.chains.drain()

    def _settle(self, batch: Batch, position: int) -> None:
        """The handover ends: what the own journal held before is disposed of, and the own connections count from now on."""
        self._settles = -1
        records = self._outages.settle(self._presence, self._ways, batch.now, proved=self._handover.proved)
        self._add(batch, records, position)

    def _add(self, batch: Batch, records: Sequence[Record], position: int) -> None:
        """Add records that are no frame's."""
        batch.records.extend(records)
        batch.owners.extend([position] * len(records))

    def _expire(self, batch: Batch) -> None:
        """Record the gaps of frames that are set aside, one for each connection."""
        batch.kept = f"{self._journal[:8]}-{batch.expired[0][0]}.jsonl"
        connections: dict[tuple[str, str], list[int]] = {}
        for _, frame in batch.expired:
            connections.setdefault((frame.gateway, frame.connection), []).append(frame.received)
        for (gateway, connection), times in connections.items():
            position = batch.expired[0][0]
            gap = self._outages.expired(
                gateway, connection, since=min(times), until=max(times), position=position, kept=f"expired/{batch.kept}"
            )
            self._add(batch, [gap], position)

    def _sight(self, batch: Batch, frames: list[Frame]) -> list[AnySighting | BadFrame | None]:
        """Read frames; None for what is none, none of ours or set aside, a `BadFrame` for what must be a dead letter."""
        ways, poisoned, provable, until = self._ways, self.poisoned, batch.provable, self._handover.until
        found: list[AnySighting | BadFrame | None] = []
        #: From which index on frames may be read natively, many in one call.
        usual = 0 if not poisoned and not provable else len(frames)
        index = 0
        try:
            while index < len(frames):
                frame, position = frames[index], batch.position + index
                gateway = ways.get(frame.gateway)
                if frame.source == EVENT or gateway is None or frame.received < provable:
                    found.append(None)
                elif position < until and position not in self._handover.waiting:
                    found.append(None)  # the ledger has shown it
                elif position in poisoned:
                    gateway.lost.counts.received += 1
                    found.append(BadFrame(*poisoned[position]))
                else:
                    if index >= usual and position >= until and gateway.run is not None:
                        end = gateway.run(frames, index, frame.gateway, STREAM, found)
                        usual = end + (1 if end > index else UNUSUAL)
                        if end > index:
                            index = end
                            continue
                    try:
                        found.append(gateway.sight(frame))
                    except BadFrame as bad:
                        found.append(bad)
                index += 1
        except Exception as error:  # whatever our code raises is about this frame, see `Undisposed`
            raise Undisposed(batch.position + len(found), error) from error
        return found

    def _judge(  # noqa: C901, PLR0912, PLR0915 - a call for each frame would cost more than it tidied
        self, batch: Batch, frames: list[Frame], sightings: list[AnySighting | BadFrame | None]
    ) -> list[Fresh]:
        """Have the window judge frames, in order, and note them for the ledger; dead letters and events are dealt with.

        Returns what is to be published.
        """
        fresh: list[Fresh] = []
        index, position, settles = 0, batch.position, self._settles
        window, now, wary = self._memory.window, batch.now, self._wary
        admit, seen, lookup = window.admit, self._outages.seen, self._memory.learned.get
        codes, hashes, taught, until = batch.codes, batch.hashes, self._lessons.taught, self._handover.until
        #: From which index on frames may be judged natively, many in one call.
        usual = 0 if native.available() and settles < 0 and not wary else len(frames)
        learn = lambda gateway, pair: self._learn(batch, gateway, (pair,), now)  # noqa: E731 - of this batch
        #: The last frame of the connection whose turn it is, and what was read: of each run of frames one is noted.
        last: Frame | None = None
        told: Any = None
        try:
            while index < len(frames):
                frame, sighting, position = frames[index], sightings[index], batch.position + index
                gateway = frame.gateway
                if last is not None and (
                    position == settles
                    or isinstance(sighting, _UNREAD)
                    or frame.connection != last.connection
                    or gateway != last.gateway
                ):
                    seen(last.gateway, last.connection, last.received, told.meta)
                    last = None
                if index >= usual and position >= until and type(sighting) in native.SIGHTINGS:
                    before = len(fresh)
                    try:
                        end = native.extension.judge(
                            window, batch, frames, sightings, index, position, now, STREAM, taught, lookup, learn, fresh
                        )
                    except Exception:  # told below, as of the frame that it is about
                        position += len(fresh) - before  # one for each frame
                        raise
                    usual = end + (1 if end > index else UNUSUAL)
                    if end > index:
                        index = end
                        last, told = frames[end - 1], sightings[end - 1]
                        continue
                index += 1
                if position == settles:
                    self._flush(batch, fresh)
                    self._settle(batch, position)
                if isinstance(sighting, _UNREAD):
                    self._flush(batch, fresh)
                    self._judge_other(batch, frame, sighting, position)
                    continue
                if frame.source == STREAM or not fills(frame):
                    last, told = frame, sighting
                way, identity, content, entity = sighting.way, sighting.identity, sighting.content, sighting.entity
                if (wary or position < until) and self._superseded(sighting, position, frame.received):
                    self._outages.late(gateway, frame.connection, None, frame.received, superseded=True)
                    code = (sighting.traits & ~dedupe.STATE) | Disposition.SUPERSEDED
                    window.remember(code, identity, content, entity, now)
                else:
                    code = admit(sighting.traits, identity, content, entity, now)
                disposition = code & dedupe.DISPOSITION_MASK
                if disposition != dedupe.DUPLICATE or code & dedupe.FROM_REST:
                    codes.append(code)
                    hashes += TRIPLE.pack(identity, content, entity)
                    if code & dedupe.STATE:
                        batch.orders += ORDER.pack(sighting.order(frame.received))
                if disposition == dedupe.DUPLICATE:
                    way.counts.duplicates += 1
                elif disposition != Disposition.SUPERSEDED:
                    if way.learns:
                        for pair in way.learn(sighting.meta, sighting.data):
                            if taught.get((gateway, pair[0])) != pair[1]:
                                self._learn(batch, gateway, (pair,), now)
                    if disposition == dedupe.UNCHANGED:
                        way.counts.unchanged += 1
                    else:
                        own = sighting.own
                        key = way.key(sighting.meta, sighting.data) or frame.hint or lookup(gateway, own or "") or own
                        collides = window.collision
                        behind = self._chained(batch, fresh, sighting, frame, position) if way.continuity else None
                        fresh.append((position, frame, sighting, key or gateway, collides, behind))
            if last is not None:
                seen(last.gateway, last.connection, last.received, told.meta)
        except Exception as error:  # whatever our code raises is about this frame, see `Undisposed`
            raise Undisposed(position, error) from error
        batch.position += len(frames)
        batch.frames += len(frames)
        return fresh

    def _flush(self, batch: Batch, fresh: list[Fresh]) -> None:
        """Encode what waits, before something else joins the batch: records stay in the order received."""
        self._encoder.encode(batch, fresh, self._handover.until)
        fresh.clear()

    def _chained(
        self, batch: Batch, fresh: list[Fresh], sighting: AnySighting, frame: Frame, position: int
    ) -> str | None:
        """Record the gap that a frame opens or closes, before it; returns its entity where it is late, see `bridge.following`."""
        late = position < self._handover.until
        gaps, behind = follow(self._memory.chains, self._outages, sighting, frame, late=late)
        if gaps:
            self._flush(batch, fresh)
            self._add(batch, gaps, position)
        return behind

    def _said(self, gateway: str, meta: Any) -> tuple[int | None, int | None]:
        """What an envelope says of its connection; see `bridge.recovery.Outages`."""
        ways = self._ways.get(gateway)
        return ways.said(meta) if ways is not None else (None, None)

    def _judge_other(self, batch: Batch, frame: Frame, sighting: BadFrame | AnySighting | None, position: int) -> None:
        """Deal with what is no frame that could be read."""
        gateway = self._ways.get(frame.gateway)
        if frame.source == EVENT:
            self._event(batch, frame, position)
        elif gateway is None:
            self.orphans[frame.gateway] = self.orphans.get(frame.gateway, 0) + 1
        elif frame.received < batch.provable and self._waits(position):
            batch.expired.append((position, frame))
        else:
            if not fills(frame):
                self._outages.seen(frame.gateway, frame.connection, frame.received)
            if isinstance(sighting, BadFrame):
                self._bury(batch, gateway, frame, position, sighting)

    def _waits(self, position: int) -> bool:
        """Whether a frame is not disposed of: what the ledger showed of it while it was observed holds."""
        return position >= self._handover.until or position in self._handover.waiting

    def _superseded(self, sighting: AnySighting, position: int, received: int) -> bool:
        """Whether a process before showed something newer than a frame, observed before the takeover or soon after. Counts it."""
        counts = sighting.way.counts
        if position < self._handover.until:
            counts.received -= 1  # counted when it was observed
            superseded = position in self._handover.superseded
        else:
            traits, window = sighting.traits, self._memory.window
            superseded = bool(
                traits & dedupe.STATE
                and received < self._wary_until
                and 0 < sighting.order(received) < window.newest(sighting.entity)
                and window.judge(traits, sighting.identity, sighting.content, sighting.entity) & dedupe.DISPOSITION_MASK
                == dedupe.PUBLISHED
            )
        counts.superseded += superseded
        return superseded

    def _late(self, frame: Frame, behind: str | None) -> str:
        """Count a record that is published later than its time; returns its source. behind: see `bridge.following`."""
        if frame.source == STREAM:
            self._outages.late(frame.gateway, frame.connection, behind, frame.received)
            return STANDBY
        if fills(frame):
            self._outages.recovered(frame.connection)
        return frame.source

    def _event(self, batch: Batch, frame: Frame, position: int) -> None:
        """Take an event of a connection, see `bridge.intake`, or a frame that was moved, see `bridge.lanes`."""
        facts = msgspec.json.decode(frame.raw)
        event = facts.pop("event")
        if event == "seen":
            self._outages.seen(frame.gateway, frame.connection, frame.received)
            return
        if event in REVIVING:
            if position not in self.poisoned:  # one that ended a life is of that life
                means = Means(self._ways, self._memory, self._encoder, self._learn)
                self._revival.take(batch, frame, event, facts, position, means)
            return
        self._presence.event(position, frame, event, facts)
        if event == "learn":
            self._learn(batch, frame.gateway, list(facts["pairs"].items()), frame.received)
            return
        if position < self._handover.until and position not in self._handover.outages:
            return  # the active's own connection had no such outage
        if event == "cursor":
            self._memory.cursors.move(facts["name"], facts["value"])
        elif event == "request":
            self._add(batch, self._requested(facts, frame.received), position)
        elif event == "recovered":
            self._add(batch, self._outages.judge(facts["gap"], facts["state"], facts["how"], frame.received), position)
        else:
            records = self._outages.event(frame.gateway, frame.connection, event, facts, frame.received)
            self._add(batch, records, position)

    def _requested(self, facts: Mapping[str, Any], at: int) -> Sequence[Record]:
        """Take a request, once: the cursor that passes it stands in the ledger entry that opens its gap."""
        cursors, offset = self._memory.cursors, facts["offset"]
        if offset < int(cursors.get(REQUESTS, "0")):
            return ()
        cursors.move(REQUESTS, str(offset + 1))
        return self._outages.request(facts["request"], str(offset), at)

    def _learn(self, batch: Batch, gateway: str, pairs: Sequence[tuple[str, str]], now: int) -> None:
        self._lessons.learn(batch, self._memory, gateway, pairs, now)

    def _bury(self, batch: Batch, gateway: Ways, frame: Frame, position: int, bad: BadFrame) -> None:
        """Make the dead letter of one frame; equal bytes make one in a window."""
        self._burial.bury(batch, gateway, frame, position, bad, self._memory)
