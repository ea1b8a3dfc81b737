"""The third stage of the pipeline: frames that the window let through become records.

One frame makes a record for each layout that its type has. What is usual goes through `bridge.native`, many frames in one
call; all else, and all where that is missing, through `Encoder._encode_exactly`, which says what is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from bridge import native
from bridge.batch import Undisposed
from bridge.frame import AMQP, REPLAY, REST, STANDBY, STREAM, Frame, Record
from bridge.native import UNUSUAL
from bridge.route import NEWEST_EVENT, OLDEST_EVENT, AnySighting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.batch import Batch
    from bridge.cloudevents import Events
    from bridge.frame import Headers

#: The header of each source.
_SOURCES: Final = {source: ("source", source.encode()) for source in (STREAM, REST, AMQP, STANDBY, REPLAY)}

#: Of a frame that is to be published: its position, itself, as it was read, its key, whether it collides, and its entity
#: where it is late in a chain.
Fresh: TypeAlias = "tuple[int, Frame, AnySighting, str, bool, str | None]"


class Encoder:
    """Makes records. late: called for each that comes later than its time, with its entity where it is late in a chain;
    returns its source. events: adds CloudEvents headers.
    """  # noqa: D205

    def __init__(self, late: Callable[[Frame, str | None], str], events: Events | None = None) -> None:
        """Nothing is remembered from batch to batch but what frames of one burst share."""
        self._late = late
        self._events = events
        #: The time that they share, and the header that says it.
        self._received = (0, ("received", b"0"))

    def encode(self, batch: Batch, fresh: Sequence[Fresh], until: int) -> None:
        """Add the records of frames to a batch, in their order. until: frames at positions before are late.

        Raises `Undisposed` where a frame meets a bug.
        """
        if not native.available():
            self._encode_exactly(batch, fresh, until)
            return
        oldest, newest = batch.now - OLDEST_EVENT, batch.now + NEWEST_EVENT
        records, owners, times = batch.records, batch.owners, batch.received
        index = 0
        while index < len(fresh):
            before, first, end = len(times), len(records), 0
            try:
                end = native.extension.publish(
                    records, owners, times, fresh, index, oldest, newest, until, STREAM, Record, _SOURCES[STREAM]
                )
                if self._events is not None:
                    self._events.add(records, first, fresh[index:end])
            except Exception as error:  # one time stands there for each frame that was encoded
                place = index + len(times) - before - bool(end)
                raise Undisposed(fresh[place][0], error) from error
            index = end + (1 if end > index else UNUSUAL)
            self._encode_exactly(batch, fresh[end:index], until)

    def _encode_exactly(  # noqa: C901 - a call for each frame would cost more than it tidied
        self, batch: Batch, fresh: Sequence[Fresh], until: int
    ) -> None:
        """As `encode`, whatever the frames are."""
        values: list[bytes] = []
        position = 0
        oldest, newest = batch.now - OLDEST_EVENT, batch.now + NEWEST_EVENT
        records, owners, times = batch.records, batch.owners, batch.received
        first = len(records)
        try:
            for position, _, sighting, _, _, _ in fresh:  # noqa: B007 - the position is for the error
                values.append(sighting.way.encode(sighting.meta, sighting.data))
            for (position, frame, sighting, key, collides, behind), value in zip(fresh, values, strict=True):
                way, meta, received, source = sighting.way, sighting.meta, frame.received, frame.source
                if received != self._received[0]:
                    self._received = received, ("received", b"%d" % received)
                if source != STREAM or position < until:
                    source = self._late(frame, behind)
                seq = meta.seq
                if seq is None:
                    headers: Headers = [way.header, _SOURCES[source], self._received[1]]
                else:
                    headers = [way.header, _SOURCES[source], self._received[1], ("seq", b"%d" % seq)]
                    if collides:
                        headers.append(("collision", b"1"))
                        way.counts.collisions += 1
                at = sighting.at or way.event_time(meta, sighting.data)
                if at is None or not oldest <= at <= newest:
                    at = received
                encoded = key.encode()
                for topic, framing in way.topics:
                    records.append(Record(topic, encoded, framing + value, headers, at))
                    owners.append(position)
                times.append(received)
                way.counts.published += 1
            if self._events is not None:
                self._events.add(records, first, fresh)
        except Exception as error:  # whatever our code raises is about this frame, see `Undisposed`
            raise Undisposed(position, error) from error
