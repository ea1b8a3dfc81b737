"""How a lane publishes dead letters that a request names: the part of the pipeline that is not asked while nothing is replayed.

`bridge.replayer` hands in, by way of the journal, for each request: the event ``replay``, a ``letter`` for each place, ``replayed``.
Each letter is judged once, by the window and by what the replayer found out (`bridge.witness`), and what came of it is told
by a receipt in the same transaction (`bridge.receipt`).

What stands in the journal counts only in the *life* of the lane for which it was handed in, from one takeover to the next:
whoever takes the lane carries the request out anew, from the receipts that are there by then. So no letter that an earlier
life has left in a journal, and that another process may have published since, is ever taken up.

Pure.
"""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from bridge import dedupe
from bridge.batch import Undisposed
from bridge.cursors import REPLAYS
from bridge.dedupe import ORDER, TRIPLE
from bridge.errors import BadFrame
from bridge.frame import EVENT, REPLAY, Frame, Record
from bridge.receipt import RECEIPT, Line, Outcome, Place, Receipt, encode
from bridge.route import OLDEST_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge.batch import Batch
    from bridge.encoder import Encoder
    from bridge.ledger import Memory
    from bridge.route import AnySighting, Ways

#: Events: a request begins for the lives that are named; one dead letter; the request ends.
BEGIN: Final = "replay"
LETTER: Final = "letter"
END: Final = "replayed"
EVENTS: Final = frozenset({BEGIN, LETTER, END})
#: How the connection of an event begins that is for one lane alone; its number follows.
HOME: Final = "lane:"
#: Longest `why` of a receipt, in characters.
WHY: Final = 200


class Letter(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="event", tag=LETTER):
    """The event ``letter``. token: of the run. verdict: what came of it, where that is known already.

    received: ms since the epoch. hint: its key, where the frame itself may carry none.
    """

    token: str
    partition: int
    offset: int
    received: int = 0
    raw: bytes = b""
    hint: str | None = None
    verdict: Outcome | None = None


class Means(NamedTuple):
    """What the pipeline lends."""

    ways: Mapping[str, Ways]
    memory: Memory
    encoder: Encoder
    learn: Callable[[Batch, str, Sequence[tuple[str, str]], int], None]


def event(gateway: str, letter: Letter, *, lane: int, now: int) -> Frame:
    """A letter as it stands in the journal. lane: whose it is. now: ms since the epoch."""
    return Frame(gateway, f"{HOME}{lane}", now, EVENT, msgspec.json.encode(letter))


def narrow(spread: dict[int, list[Frame]]) -> dict[int, list[Frame]]:
    """Events stand in the journals of all lanes; keep those for one lane from the others."""
    return {
        lane: [
            each
            for each in frames
            if each.source != EVENT or not each.connection.startswith(HOME) or each.connection == f"{HOME}{lane}"
        ]
        for lane, frames in spread.items()
    }


def traits(sighting: AnySighting) -> int:
    """What the window must know of a frame whose source is forgotten: a row of REST has no number, and is told by content."""
    found = sighting.traits
    return found | dedupe.FROM_REST if found & dedupe.MATCHED and not sighting.named else found


class Revival:
    """Of one lane. topic: of requests. lanes: of the plan."""

    def __init__(self, *, topic: str = "", lane: int = 0, lanes: int = 1) -> None:
        """Nothing is replayed."""
        self._topic = topic
        self._lane = lane
        self._lanes = lanes
        self._life = ""
        #: The run of the replayer that counts, and its request; empty: none.
        self._token = ""
        self._request = -1
        #: Since when (ms, by batches) the window alone tells what is published.
        self._since = 0
        self._gateway = ""
        #: entity → (content, when) of the last state of it that this run has published.
        self._mine: dict[int, tuple[int, int]] = {}
        #: (request, gateway) → what is to be told of it with this batch.
        self._lines: dict[tuple[int, str], list[Line]] = {}
        self._ended = False
        self._counts: Counter[tuple[str, Outcome]] = Counter()
        #: position → the place whose letter stands there, of this life.
        self._places: dict[int, Place] = {}
        #: Places whose frame ended a life, since Kafka or our own code refused it → why. Not tried again for that request.
        self._refused: dict[Place, str] = {}

    def adopt(self, memory: Memory, poisoned: Mapping[int, tuple[str, str]]) -> None:
        """A life of the lane begins. poisoned: see `bridge.pipeline.Pipeline`."""
        self._life = memory.last.nonce if memory.last is not None else ""
        self._token, self._request, self._ended = "", -1, False
        self._refused |= {self._places[at]: reason for at, (reason, _) in poisoned.items() if at in self._places}
        self._places.clear()
        self._lines.clear()
        self._counts.clear()

    def take(  # noqa: PLR0917 - as the pipeline calls its other parts
        self, batch: Batch, frame: Frame, name: str, facts: Mapping[str, Any], position: int, means: Means
    ) -> None:
        """Take an event of `EVENTS`. Raises `Undisposed` where a letter meets a bug."""
        if name == BEGIN:
            self._places.clear()
            self._mine.clear()
            mine = bool(self._life) and self._life in facts["lives"]
            self._token, self._request = (facts["token"], facts["request"]) if mine else ("", -1)
            self._since, self._gateway = batch.now, frame.gateway
        elif name == LETTER:
            self._letter(batch, frame, facts, position, means)
        elif facts["token"] == self._token:
            self._ended = True
            self._lines.setdefault((self._request, self._gateway), [])
            means.memory.cursors.move(REPLAYS, str(self._request + 1))

    def receipts(self, now: int) -> list[Record]:
        """What the transaction of this batch must tell. now: ms since the epoch."""
        if not self._lines:
            return []
        found = [
            Record(
                self._topic,
                gateway.encode(),
                encode(
                    Receipt(
                        request=request,
                        gateway=gateway,
                        lane=self._lane,
                        lanes=self._lanes,
                        lines=lines,
                        done=self._ended and request == self._request,
                    )
                ),
                [*RECEIPT],
                now,
            )
            for (request, gateway), lines in self._lines.items()
        ]
        if self._ended:
            self._token, self._request, self._ended = "", -1, False
        self._lines.clear()
        return found

    def drain(self) -> Counter[tuple[str, Outcome]]:
        """Return (gateway, outcome) → letters since the last call."""
        counts, self._counts = self._counts, Counter()
        return counts

    def _letter(self, batch: Batch, frame: Frame, facts: Mapping[str, Any], position: int, means: Means) -> None:
        if facts["token"] != self._token or frame.connection != f"{HOME}{self._lane}":
            return
        outcome, why = Outcome(facts["verdict"]) if facts.get("verdict") else None, ""
        place = self._places[position] = Place(frame.gateway, facts["partition"], facts["offset"])
        if place in self._refused:
            outcome, why = Outcome.DEAD, self._refused.pop(place)
        if outcome is None:
            inner = Frame(
                frame.gateway,
                frame.connection,
                facts.get("received", 0),
                REPLAY,
                base64.b64decode(facts.get("raw", "")),
                facts.get("hint"),
            )
            try:
                outcome, why = self._revive(batch, inner, position, means)
            except Undisposed:
                raise
            except Exception as error:  # whatever our code raises is about this frame, see `Undisposed`
                raise Undisposed(position, error) from error
        self._tell(frame.gateway, Line(facts["partition"], facts["offset"], outcome, why))

    def _revive(self, batch: Batch, frame: Frame, position: int, means: Means) -> tuple[Outcome, str]:
        """Publish a frame that became a dead letter, if it is one that can be and is not; and what came of it."""
        ways = means.ways.get(frame.gateway)
        if ways is None:
            return Outcome.DEAD, "no such gateway"
        try:
            sighting = ways.sight(frame)
        except BadFrame as bad:
            return Outcome.DEAD, f"{bad.reason} {bad.path or ''}".rstrip()[:WHY]
        if sighting is None:
            return Outcome.DEAD, "not published"
        way, window, known = sighting.way, means.memory.window, traits(sighting)
        last = window.last(sighting.entity) if known & dedupe.STATE else None
        if last is not None and last[1] >= self._since and last != self._mine.get(sighting.entity):
            way.counts.superseded += 1
            return Outcome.SUPERSEDED, ""
        code = window.admit(known, sighting.identity, sighting.content, sighting.entity, batch.now)
        disposition = code & dedupe.DISPOSITION_MASK
        if disposition == dedupe.DUPLICATE and not code & dedupe.FROM_REST:
            way.counts.duplicates += 1
            return Outcome.THERE, ""
        batch.codes.append(code)
        batch.hashes += TRIPLE.pack(sighting.identity, sighting.content, sighting.entity)
        if code & dedupe.STATE:
            batch.orders += ORDER.pack(sighting.order(frame.received))
        if disposition != dedupe.PUBLISHED:
            way.counts.unchanged += disposition == dedupe.UNCHANGED
            way.counts.duplicates += disposition == dedupe.DUPLICATE
            return Outcome.THERE, ""
        self._publish(batch, frame, position, sighting, means)
        if code & dedupe.STATE:
            self._mine[sighting.entity] = sighting.content, batch.now
        return Outcome.PUBLISHED, ""

    def _publish(self, batch: Batch, frame: Frame, position: int, sighting: AnySighting, means: Means) -> None:
        way, own, gateway = sighting.way, sighting.own, frame.gateway
        collides = means.memory.window.collision
        if way.learns:
            means.learn(batch, gateway, way.learn(sighting.meta, sighting.data), batch.now)
        learned = means.memory.learned.get(gateway, own or "")
        key = way.key(sighting.meta, sighting.data) or learned or frame.hint or own or gateway
        first, timed = len(batch.records), len(batch.received)
        means.encoder.encode(batch, [(position, frame, sighting, key, collides, None)], 0)
        del batch.received[timed:]  # how long it lay among the dead letters says nothing of the bridge's latency
        for number in range(first, len(batch.records)):
            # Else a topic's retention would delete at once what was just published.
            if batch.records[number].timestamp < batch.now - OLDEST_EVENT:
                batch.records[number] = replace(batch.records[number], timestamp=batch.now)

    def _tell(self, gateway: str, line: Line) -> None:
        self._counts[gateway, line.outcome] += 1
        self._lines.setdefault((self._request, gateway), []).append(line)
