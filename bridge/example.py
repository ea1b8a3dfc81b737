"""One frame of a type and the record that it becomes, for people who have to read such records.

The frame is a simulated gateway's, the record is made by the pipeline that runs in production, so an example can't say
anything else than what is published.
"""

from __future__ import annotations

from itertools import chain, islice
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge import tail, topics
from bridge.cloudevents import Events, is_header
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.dedupe import Window
from bridge.frame import AMQP, STREAM, Frame
from bridge.ledger import Memory
from bridge.markup import to_json
from bridge.pipeline import Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import UNKNOWN, Route
from bridge.sim import FeedKnobs, PredictStreetKnobs, play, play_private
from bridge.sim.cs2 import Cs2World
from bridge.sim.feed import replay
from bridge.sim.stamps import START_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.catalog import Catalog, FrameType, Kind

#: The name that a gateway of each kind has in examples, as in the documentation.
NAMES: Final = {"ticktock": "cs2", "predictstreet-market": "markets", "predictstreet-user": "wallet"}
#: Frames looked through for one of a type, from each of the simulated feeds that may have it.
_FRAMES: Final = 16_000
_UNKNOWN: Final = {"unknown_type": 0.01}


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A frame and its record.

    cloudevents: the headers that it has besides where these are asked for. timestamp: ms since the epoch. value: decoded,
    as `tail` shows it. wire: the bytes.
    """

    frame: str
    topic: str
    key: str
    headers: dict[str, str]
    cloudevents: dict[str, str]
    timestamp: int
    value: dict[str, Any]
    wire: bytes


class Examples:
    """Finds examples; simulates each feed once, and only as far as it has to."""

    def __init__(self, catalog: Catalog) -> None:
        """Nothing is simulated yet."""
        self._catalog = catalog
        self._decoder = tail.Decoder.of(catalog)
        self._found: dict[str, dict[str, tuple[str, bytes]]] = {}
        self._played = {name: self._types(kind) for name, kind in catalog.kinds.items()}

    def of(self, kind: str, frame_type: str) -> Example | None:
        """The first frame of the type that the simulated gateway sends; None where it never does, or nobody simulates it."""
        found = self._found.setdefault(kind, {})
        while frame_type not in found:
            following = next(self._played[kind], None)
            if following is None:
                return None
            name, source, raw = following
            found.setdefault(name, (source, raw))
        return self._made(self._catalog.kind(kind), frame_type, *found[frame_type])

    @staticmethod
    def _types(kind: Kind) -> Iterator[tuple[str, str, bytes]]:
        """(type of ours, source, frame) of all that is simulated."""
        for source, raw in _FEEDS.get(kind.name, lambda: iter(()))():
            name = msgspec.json.decode(to_json(raw) if source == AMQP else raw)["type"]
            yield (name if name in kind.types else UNKNOWN), source, raw

    def _made(self, kind: Kind, name: str, source: str, raw: bytes) -> Example:
        gateway = NAMES[kind.name]
        frame_type: FrameType = kind.types.get(name, kind.unknown)
        topic = topics.topic_name("", gateway, frame_type.type)
        framing = SINGLE_OBJECT + fingerprint(frame_type.schema)
        route = Route(gateway, kind, frozenset(), {frame_type.type: [(topic, framing)]}, f"{gateway}.dead-letters")
        memory = Memory(Window(span=3_600_000, max_identities=1000))
        gaps = GapWriter("feedbridge.main.gaps", b"", self._catalog.own("gap"))
        pipeline = Pipeline(
            [route], memory=memory, outages=Outages(gaps, lane=0, instance="example"), events=Events("main")
        )
        received = START_MS + 60_000
        [record] = pipeline.process(0, [Frame(gateway, "example", received, source, raw)], received).records
        schema, value = self._decoder.decode(record.value)
        every = {key: text.decode() if isinstance(text, bytes) else text or "" for key, text in record.headers}
        headers = {key: text for key, text in every.items() if not is_header(key)}
        seen = tail.Seen(
            topic=topic,
            partition=0,
            offset=0,
            timestamp=record.timestamp,
            key=record.key,
            headers=headers,
            value=record.value,
            schema=schema,
            data=value,
        )
        return Example(
            frame=raw.decode(),
            topic=topic,
            key=record.key.decode(),
            headers=headers,
            cloudevents={key: text for key, text in every.items() if is_header(key)},
            timestamp=record.timestamp,
            value=tail.readable(seen),
            wire=record.value,
        )


def _stream(raws: Iterator[Any]) -> Iterator[tuple[str, bytes]]:
    return ((STREAM, sent.raw) for sent in islice(raws, _FRAMES))


def _ticktock() -> Iterator[tuple[str, bytes]]:
    world = Cs2World(Random(0))
    for _ in range(_FRAMES):
        world.step(START_MS + 1)
    feed = replay(world, after=START_MS, request_id="1", now=START_MS, knobs=FeedKnobs())
    return chain(_stream(play("ticktock", faults=_UNKNOWN)), ((AMQP, message.body) for message in feed))


def _market() -> Iterator[tuple[str, bytes]]:
    both = (PredictStreetKnobs(generation=generation, snapshot_failures=0.1) for generation in (2, 1))
    return chain.from_iterable(_stream(play("predictstreet", faults=_UNKNOWN, knobs=knobs)) for knobs in both)


def _user() -> Iterator[tuple[str, bytes]]:
    both = (PredictStreetKnobs(generation=generation) for generation in (2, 1))
    return chain.from_iterable(_stream(play_private(faults=_UNKNOWN, knobs=knobs)) for knobs in both)


_FEEDS: Final[dict[str, Callable[[], Iterator[tuple[str, bytes]]]]] = {
    "ticktock": _ticktock,
    "predictstreet-market": _market,
    "predictstreet-user": _user,
}
