"""The pure middle: route, dedupe and encode.

Frames go in, in the order received; a `Batch` comes out: the records and dead letters of one transaction and what its
ledger entry must say. No socket, no clock, no Kafka: the same frames, window and time give the same batch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import xxhash

from bridge import dedupe
from bridge.dedupe import TRIPLE
from bridge.errors import BadFrame, LaneError
from bridge.frame import EVENT, STANDBY, STREAM, Disposition, Frame, Record
from bridge.lanes import MOVED
from bridge.lanes import moved as read_moved
from bridge.ledger import Learned
from bridge.recovery import Outages
from bridge.route import Counts, Route, Sighting, Ways
from bridge.standby import Handover, Outage, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.dedupe import Window
    from bridge.frame import Headers
    from bridge.ledger import Memory

#: An event time is the record's timestamp if it lies within these bounds of now (ms), design 6.3.
OLDEST_EVENT: Final = 7 * 24 * 3600 * 1000
NEWEST_EVENT: Final = 5 * 60 * 1000
#: Headers, key and framing need some of what a topic takes (bytes).
HEADROOM: Final = 128 << 10
#: Largest value (bytes) of a record, where topics are made with max.message.bytes 16 MiB.
MAX_VALUE: Final = (16 << 20) - HEADROOM
#: Longest `detail` of a dead letter, in characters.
DETAIL: Final = 500


@dataclass
class Batch:
    """What one transaction holds.

    position: all frames of the journal before it are disposed of with it. now: when it was made, ms since the epoch.
    """

    position: int
    now: int
    records: list[Record] = field(default_factory=list)
    #: For each record the position of its frame.
    owners: list[int] = field(default_factory=list)
    codes: bytearray = field(default_factory=bytearray)
    hashes: bytearray = field(default_factory=bytearray)
    learned: list[Learned] = field(default_factory=list)
    #: When (ms) the published frames were received, for the latency.
    received: list[int] = field(default_factory=list)
    #: (sha256, bytes) of frames that not even a dead letter can hold.
    oversize: list[tuple[str, bytes]] = field(default_factory=list)
    frames: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything that only a transaction can settle."""
        return bool(self.codes or self.records or self.learned)


class Undisposed(LaneError):
    """Our own code failed on a frame. position: of the frame in the journal."""

    def __init__(self, position: int, error: Exception) -> None:
        """error: what was raised; its text may quote the frame, so only its type is told."""
        super().__init__(f"{type(error).__name__} on the frame at {position}")
        self.position = position


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
    ) -> None:
        """Compile the codecs. max_value: largest record value (bytes) that a topic takes; limits: that of some topics."""
        self._memory = memory
        self._outages = outages
        self._ways = {
            route.gateway: Ways(route, seq_scope=seq_scope, max_value=max_value, limits=limits) for route in routes
        }
        #: position → (reason, detail): frames that can't be published whatever they hold, see `bridge.lane`.
        self.poisoned: dict[int, tuple[str, str]] = {}
        #: Positions whose dead letter Kafka refused too: it goes without the bytes, which are kept aside.
        self.unfit: set[int] = set()
        self.dead: dict[tuple[str, str], int] = {}
        self._handover = Handover()
        self.orphans: dict[str, int] = {}

    def adopt(self, memory: Memory, outages: Outages, handover: Handover | None = None) -> None:
        """Go on with what another reading of the ledger gave; the compiled codecs stay.

        handover: what this process knows of its own journal, where it was a standby before.
        """
        self._memory = memory
        self._outages = outages
        self._handover = handover or Handover()
        self.drain()

    def observe(self, first: int, frames: Sequence[Frame], memory: Memory | None = None) -> list[Seen | Outage]:
        """Read frames as a standby does: what the window must know of each, nothing is judged or remembered.

        memory: what the standby has read; by it a frame that was moved here from another journal may be disposed of.
        """
        found: list[Seen | Outage] = []
        for position, each in enumerate(frames, first):
            frame = (each if each.source != EVENT else _arrived(each, memory or self._memory)) or _NOTHING
            gateway = self._ways.get(frame.gateway)
            if frame.source == EVENT:
                if msgspec.json.decode(frame.raw)["event"] in {"down", "up"}:
                    found.append(Outage(position, frame.gateway, frame.connection, frame.received))
            elif gateway is not None:
                try:
                    sighting = gateway.sight(frame)
                except Exception:  # noqa: BLE001 - the active too makes a dead letter of a frame that meets a bug
                    identity = xxhash.xxh3_64_intdigest(frame.raw, gateway.dead_seed)
                    found.append(Seen(position, identity, 0, 0, dedupe.IDENTIFIED))
                    continue
                if sighting is not None:
                    found.append(Seen(position, sighting.identity, sighting.content, sighting.entity, sighting.traits))
        return found

    @property
    def window(self) -> Window:
        """The window it judges by."""
        return self._memory.window

    def drain(self) -> list[Counts]:
        """Return the counts since the last call and begin anew."""
        found = []
        for gateway in self._ways.values():
            for way in gateway.all():
                if way.counts.received:
                    found.append(way.counts)
                    way.counts = Counts(way.counts.gateway, way.counts.type)
        return found

    def drain_dead(self) -> dict[tuple[str, str], int]:
        """Return (gateway, reason) → dead letters since the last call and begin anew."""
        dead, self.dead = self.dead, {}
        return dead

    def drain_orphans(self) -> dict[str, int]:
        """Return gateway → frames passed over since the last call, because the configuration no longer has it."""
        orphans, self.orphans = self.orphans, {}
        return orphans

    def process(self, first: int, frames: Sequence[Frame], now: int) -> Batch:
        """Dispose of frames at the positions from `first` on. now: ms since the epoch.

        Raises `Undisposed` where a frame meets a bug; window and batch are then of no more use.
        """
        batch = Batch(first + len(frames), now, frames=len(frames))
        ways = self._ways
        position = first
        if frames:
            self._memory.window.expire(min(now, frames[0].received))
        for frame in frames:
            gateway = ways.get(frame.gateway)
            if frame.source == EVENT:
                self._event(batch, frame, position)
            elif gateway is None:
                self.orphans[frame.gateway] = self.orphans.get(frame.gateway, 0) + 1
            else:
                self._outages.seen(frame.gateway, frame.connection, frame.received)
                self._frame(batch, gateway, frame, position)
            position += 1
        return batch

    def _frame(self, batch: Batch, gateway: Ways, frame: Frame, position: int) -> None:
        """The way of one frame."""
        if position in self.poisoned:
            gateway.lost.counts.received += 1
            self._bury(batch, gateway, frame, position, BadFrame(*self.poisoned[position]))
            return
        try:
            sighting = gateway.sight(frame)
            if sighting is None:
                return
            if position < self._handover.until:
                sighting.way.counts.received -= 1  # counted when it was observed
            if position in self._handover.superseded:
                code = (sighting.traits & ~dedupe.STATE) | Disposition.SUPERSEDED
                self._note(batch, code, sighting)
                sighting.way.counts.superseded += 1
            elif self._judge(batch, sighting):
                self._publish(batch, sighting, frame, position)
        except BadFrame as bad:
            self._bury(batch, gateway, frame, position, bad)
        except Exception as error:
            raise Undisposed(position, error) from error

    def _judge(self, batch: Batch, sighting: Sighting) -> bool:
        """Have the window judge a frame, and note it for the ledger; whether it is to be published."""
        code = self._memory.window.admit(
            sighting.traits, sighting.identity, sighting.content, sighting.entity, batch.now
        )
        disposition = code & dedupe.DISPOSITION_MASK
        if disposition != dedupe.DUPLICATE or code & dedupe.FROM_REST:
            batch.codes.append(code)
            batch.hashes += TRIPLE.pack(sighting.identity, sighting.content, sighting.entity)
        way = sighting.way
        if disposition == dedupe.DUPLICATE:
            way.counts.duplicates += 1
            return False
        if way.learns:
            self._learn(batch, way.counts.gateway, way.learn(sighting.meta, sighting.data), batch.now)
        if disposition == dedupe.UNCHANGED:
            way.counts.unchanged += 1
            return False
        return True

    def _note(self, batch: Batch, code: int, sighting: Sighting) -> None:
        """Have ledger and window know of a frame that is not published."""
        self._memory.window.remember(code, sighting.identity, sighting.content, sighting.entity, batch.now)
        batch.codes.append(code)
        batch.hashes += TRIPLE.pack(sighting.identity, sighting.content, sighting.entity)

    def _publish(self, batch: Batch, sighting: Sighting, frame: Frame, position: int) -> None:
        """Make the records of one frame, one for each layout."""
        way, meta, data, own = sighting.way, sighting.meta, sighting.data, sighting.own
        value = way.encode(meta, data)
        late = frame.source == STREAM and position < self._handover.until
        headers: Headers = [
            ("type", way.type),
            ("source", (STANDBY if late else frame.source).encode()),
            ("received", b"%d" % frame.received),
        ]
        if meta.seq is not None:
            headers.append(("seq", b"%d" % meta.seq))
            if self._memory.window.collision:
                headers.append(("collision", b"1"))
                way.counts.collisions += 1
        at = way.event_time(meta, data)
        if at is None or not batch.now - OLDEST_EVENT <= at <= batch.now + NEWEST_EVENT:
            at = frame.received
        key = (
            way.key(meta, data)
            or frame.hint
            or self._memory.learned.get(frame.gateway, own or "")
            or own
            or frame.gateway
        ).encode()
        for topic, framing in way.topics:
            batch.records.append(Record(topic, key, framing + value, headers, at))
            batch.owners.append(position)
        batch.received.append(frame.received)
        way.counts.published += 1

    def _event(self, batch: Batch, frame: Frame, position: int) -> None:
        """Take an event of a connection, see `bridge.intake`, or a frame that was moved, see `bridge.lanes`."""
        facts = msgspec.json.decode(frame.raw)
        event = facts.pop("event")
        if event == "moved":
            arrived = _arrived(frame, self._memory)
            if arrived is None:
                return
            if arrived.source == EVENT:
                self._event(batch, arrived, position)
            elif (gateway := self._ways.get(arrived.gateway)) is None:
                self.orphans[arrived.gateway] = self.orphans.get(arrived.gateway, 0) + 1
            else:
                self._outages.seen(arrived.gateway, arrived.connection, arrived.received)
                self._frame(batch, gateway, arrived, position)
            return
        if event == "seen":
            self._outages.seen(frame.gateway, frame.connection, frame.received)
            return
        if event == "learn":
            self._learn(batch, frame.gateway, list(facts["pairs"].items()), frame.received)
            return
        if position < self._handover.until and position not in self._handover.outages:
            return  # the active's own connection had no such outage
        for record in self._outages.event(frame.gateway, frame.connection, event, facts, frame.received):
            batch.records.append(record)
            batch.owners.append(position)

    def _learn(self, batch: Batch, gateway: str, pairs: Sequence[tuple[str, str]], now: int) -> None:
        learned, span = self._memory.learned, self._memory.window.span
        for known, key in pairs:
            if learned.learn(gateway, known, key, now, span=span):
                batch.learned.append(Learned(gateway, known, key))

    def _bury(self, batch: Batch, gateway: Ways, frame: Frame, position: int, bad: BadFrame) -> None:
        """Make the dead letter of one frame; equal bytes make one in a window."""
        raw = frame.raw
        known, own = gateway.guess(raw)
        identity = xxhash.xxh3_64_intdigest(raw, gateway.dead_seed)
        code = self._memory.window.admit(dedupe.IDENTIFIED, identity, 0, 0, batch.now)
        if code & dedupe.DISPOSITION_MASK == dedupe.DUPLICATE:
            gateway.lost.counts.duplicates += 1
            return
        batch.codes.append(dedupe.IDENTIFIED | Disposition.DEAD_LETTER)
        batch.hashes += TRIPLE.pack(identity, 0, 0)
        headers: Headers = [
            ("gateway", gateway.gateway.encode()),
            ("reason", bad.reason.encode()),
            ("detail", bad.detail[:DETAIL].encode(errors="replace")),
            ("received", b"%d" % frame.received),
        ]
        if bad.path:
            headers.append(("path", bad.path[:DETAIL].encode(errors="replace")))
        if known:
            headers.append(("type", known.encode(errors="replace")))
        value = raw
        limit = 0 if position in self.unfit else gateway.max_dead_letter
        if len(raw) > limit:
            digest = hashlib.sha256(raw).hexdigest()
            headers += [("size", b"%d" % len(raw)), ("sha256", digest.encode())]
            batch.oversize.append((digest, raw))
            value = raw[:limit]
        learned = self._memory.learned.get(gateway.gateway, own or "")
        key = (frame.hint or learned or own or gateway.gateway).encode(errors="replace")
        batch.records.append(Record(gateway.dead_letters, key, value, headers, frame.received))
        batch.owners.append(position)
        self.dead[gateway.gateway, bad.reason] = self.dead.get((gateway.gateway, bad.reason), 0) + 1


def _arrived(frame: Frame, memory: Memory) -> Frame | None:
    """The frame that an event brings from the journal of another plan, None if it is disposed of; any other is itself."""
    while frame.raw.startswith(MOVED):
        moved = read_moved(frame.raw)
        if moved.origin.position < memory.resume(
            moved.origin.journal, moved.origin.instance, first=0, opened_at=moved.origin.opened
        ):
            return None
        frame = moved.frame
        if frame.source != EVENT:
            break
    return frame


#: What stands in place of a frame that is disposed of.
_NOTHING: Final = Frame("", "", 0, EVENT, b'{"event":"nothing"}')
