"""Which way a frame goes: its gateway, its type, and what the window must know of it.

`Ways` reads a frame (design section 7, in this order): the gateway's control frames are none of ours; a known type is
read by its schema; any other type becomes the generic record ``unknown``; all else is a `BadFrame`. What comes out is a
`Sighting`: the frame, read, with its three hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import xxhash

from bridge import dedupe, native
from bridge.canonical import repeats_a_name
from bridge.codec import Codec, Envelope, MetaCodec, UnknownCodec, canonical, has_duplicate_keys
from bridge.errors import BadFrame
from bridge.frame import REST, STREAM
from bridge.glance import Glance
from bridge.markup import readable
from bridge.paths import moment
from bridge.placing import Placer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge import _native
    from bridge.catalog import FrameType, Kind
    from bridge.frame import Frame

_hash: Final = xxhash.xxh3_64_intdigest
#: An event time is the record's timestamp if it lies within these bounds of now (ms), design 6.3.
OLDEST_EVENT: Final = 7 * 24 * 3600 * 1000
NEWEST_EVENT: Final = 5 * 60 * 1000
#: A gateway may invent types; each is told apart for dedupe, up to this many.
UNKNOWN_TYPES: Final = 1000
#: Entities of a type whose hash is remembered.
ENTITIES: Final = 4096
#: What all types beyond those are called, and frames whose type can't be made out.
UNKNOWN: Final = "unknown"
#: Headers, key and framing need some of what a topic takes (bytes).
HEADROOM: Final = 128 << 10
#: Largest value (bytes) of a record, where topics are made with max.message.bytes 16 MiB.
MAX_VALUE: Final = (16 << 20) - HEADROOM


@dataclass(frozen=True)
class Route:
    """What the pipeline must know of one gateway of the configuration.

    control: types that the gateway's connections consume and that are never published. topics: the topics of each type,
    with the framing (schema id or fingerprint) that goes before the Avro bytes. dead_letters: its dead-letter topic.
    owner: whose frames come over a connection, see `bridge.gateways.gateway.Gateway.owner`.
    """

    gateway: str
    kind: Kind
    control: frozenset[str]
    topics: Mapping[str, Sequence[tuple[str, bytes]]]
    dead_letters: str
    owner: Callable[[str], str] = lambda _: ""


class Counts(msgspec.Struct):
    """What became of the frames of one gateway and type since the last `bridge.pipeline.Pipeline.drain`."""

    gateway: str
    type: str
    received: int = 0
    published: int = 0
    unchanged: int = 0
    duplicates: int = 0
    collisions: int = 0
    superseded: int = 0
    dead: int = 0


class Sighting(msgspec.Struct, gc=False):
    """A frame that was read. own: its own entity, if it names one. at: its event time (ms), once it was looked for.

    named: whether it has an identity beside its content. The rest is what `dedupe.Window.admit` takes.
    """

    way: Way
    meta: Any
    data: Any
    own: str | None
    traits: int
    identity: int
    content: int
    entity: int
    at: int | None = None
    named: bool = True

    def order(self, received: int) -> int:
        """Return a state's time by the gateway (ms), by which processes tell which is newer; 0: unknown, or beyond belief.

        received: ms since the epoch.
        """
        at = self.at
        if at is None:
            at = self.at = self.way.event_time(self.meta, self.data)
        return at if at is not None and received - OLDEST_EVENT <= at <= received + NEWEST_EVENT else 0


#: What a frame that was read may be: by Python or natively.
AnySighting: TypeAlias = "Sighting | _native.Sighting"


class Ways:
    """The compiled ways of one gateway's types."""

    def __init__(
        self, route: Route, *, seq_scope: str, max_value: int, limits: Mapping[str, int] | None = None
    ) -> None:
        """Compile the codecs. max_value: largest record value (bytes) that a topic takes; limits: that of some topics."""
        self.gateway = route.gateway
        self.dead_letters = route.dead_letters
        self.dead_seed = _seed(route.gateway, "dead-letters")
        self._route = route
        limits = limits or {}
        self.max_dead_letter = limits.get(route.dead_letters, max_value)
        envelope = MetaCodec(route.kind)
        self._decode = envelope.decode
        self._sent = envelope.attribute(route.kind.sent) if route.kind.sent is not None else None
        self._chained = any(each.continuity is not None for each in route.kind.types.values())
        self._private = route.kind.unknown.private
        self._placer = Placer(route.kind)

        def most(frame_type: FrameType) -> tuple[int, str | None]:
            topics = route.topics.get(frame_type.type, ())
            known = [(max(limits[topic] - len(framing), 0), topic) for topic, framing in topics if topic in limits]
            return min((each for each in known if each[0] < max_value), default=(max_value, None))

        self._known = {
            name: Way(
                route,
                frame_type,
                name,
                Codec(frame_type),
                envelope.decode,
                seq_scope=seq_scope,
                most=most(frame_type),
            )
            for name, frame_type in route.kind.types.items()
        }
        codecs = {name: way.codec for name, way in self._known.items() if way.publish}
        self._glance = Glance(
            {name: codec for name, codec in codecs.items() if isinstance(codec, Codec)},
            envelope.shape,
            nested=route.kind.nested,
        )
        reader = native.reader(
            [(route.kind.types[name], way) for name, way in self._known.items() if way.publish],
            envelope.shape,
            {name: codec.shape for name, codec in codecs.items() if isinstance(codec, Codec)},
            nested=route.kind.nested,
            private=self._private,
        )
        self._read = reader.read if reader is not None else None
        #: Reads many usual frames in one call, see native/reader.c; None where they can't be read natively.
        self.run = reader.run if reader is not None else None
        codec = UnknownCodec(route.kind.unknown)
        self._make: Callable[[str], Way] = lambda name: Way(
            route,
            route.kind.unknown,
            name,
            codec,
            envelope.decode,
            seq_scope=seq_scope,
            most=most(route.kind.unknown),
        )
        self._unknown = {UNKNOWN: self._make(UNKNOWN)}

    def all(self) -> list[Way]:
        """The ways of all types seen so far, and of those that the schemas know."""
        return [*self._known.values(), *self._unknown.values()]

    def heeds(self, topic: str) -> bool:
        """Whether it knows how large a record this topic takes: one of its frames, or of its dead letters."""
        return topic == self.dead_letters or any(topic == each for way in self.all() for each, _ in way.topics)

    @property
    def lost(self) -> Way:
        """The way of frames whose type can't be made out."""
        return self._unknown[UNKNOWN]

    def called(self, name: str | None) -> Way:
        """The way of a type of the catalog; that of the lost for any other name."""
        return self._known.get(name or "", self.lost)

    def sight(self, frame: Frame) -> AnySighting | None:
        """Read a frame; None for what is consumed and never published. Raises `BadFrame`. Counts it."""
        if self._read is not None:
            if frame.source == STREAM and (usual := self._read(frame.raw)) is not None:
                usual.way.counts.received += 1
                return usual
            return self._sight_exactly(frame)
        if frame.source == STREAM and (found := self._glance.read(frame.raw)) is not None:
            whole, text = found
            way = self._known[whole.type]
            way.counts.received += 1
            return self._sighting(frame, frame.raw, way, whole.meta, whole.data, text)
        return self._sight_exactly(frame)

    def _sight_exactly(self, frame: Frame) -> Sighting | None:
        raw = frame.raw
        try:
            raw = raw if frame.source == STREAM else readable(frame)
            envelope = self._decode(raw)
        except BadFrame:
            # Members of an acknowledgement or error are not those of a push.
            if self.guess(raw)[0] in self._route.control:
                return None
            self.lost.counts.received += 1
            raise
        way = self._known.get(envelope.type) or self._way(envelope.type)
        if way is None:
            return None
        way.counts.received += 1
        if not way.publish:
            return None
        data, text = way.read(envelope, raw)
        if way.codec.unknown:
            self._glance.renew()
        return self._sighting(frame, raw, way, envelope.meta, data, text)

    def _sighting(  # noqa: PLR0917 - keywords cost
        self, frame: Frame, raw: bytes, way: Way, meta: Any, data: Any, text: bytes
    ) -> Sighting:
        """What the window must know of a frame that was read. text: the canonical form of its payload."""
        if len(raw) > way.large and (size := len(way.encode(meta, data))) > way.max_value:
            what = f"topic {way.smallest}" if way.smallest else "its topic"
            raise BadFrame("too_large", f"a record of {size} bytes is larger than {what} takes", topic=way.smallest)

        content = _hash(text, way.seed)
        own = way.entity(meta, data)
        entity = way.entities.get(own)
        if entity is None:
            entity = way.enter(own)
        traits = way.traits
        named = way.identity(meta, data)
        if named is not None:
            identity = _hash(named, way.seed)
        else:
            # The entity may stand in the envelope alone: equal data of two tokens are two frames.
            identity = content ^ entity ^ (self._owner(frame, meta) if self._private else 0)
            if traits & dedupe.STATE:
                traits &= ~dedupe.IDENTIFIED
        if frame.source == REST:
            traits |= dedupe.FROM_REST
        return Sighting(way, meta, data, own, traits, identity, content, entity, None, named is not None)

    def said(self, meta: Any) -> tuple[int | None, int | None]:
        """(number, when sent in ms) by the envelope of a frame; numbers that count for one entity are left out."""
        sent = moment(getattr(meta, self._sent)) if self._sent is not None else None
        return None if self._chained else meta.seq, sent

    def _owner(self, frame: Frame, meta: Any) -> int:
        """A hash for whom a private frame is meant that does not say enough of itself: the id it matched, else the wallet.

        Without it equal frames of two wallets would be taken for one.
        """
        matched = getattr(meta, "id", None) or self._route.owner(frame.connection)
        return xxhash.xxh3_64_intdigest(f"owner\0{matched}".encode(errors="replace"))

    def place(self, raw: bytes) -> tuple[str | None, Sequence[tuple[str, str]]]:
        """What decides the lane of a frame: the key that it carries itself, else its own entity; and the ids it teaches.

        Judges nothing, so that every process finds the same for equal bytes.
        """
        try:
            found = self._placer.find(raw)
            if found is None:
                return self.guess(raw)[1], ()
            name, key, pairs = found
            return key, self._taught(name, raw) if pairs is None else pairs
        except Exception:  # noqa: BLE001 - the lane makes a dead letter of a frame that meets a bug, and says so
            return None, ()

    def _taught(self, name: str, raw: bytes) -> Sequence[tuple[str, str]]:
        """The ids that a frame teaches, by reading all of it."""
        try:
            way, envelope = self._known[name], self._decode(raw)
            return way.learn(envelope.meta, way.decode(envelope, raw))
        except BadFrame:
            return ()

    def _way(self, name: str) -> Way | None:
        """The way of a type that no schema knows: the generic record, told apart by its name."""
        if name in self._route.control:
            return None
        way = self._unknown.get(name)
        if way is None:
            if len(self._unknown) > UNKNOWN_TYPES:
                return self.lost
            way = self._unknown[name] = self._make(name)
        return way

    def about(self, frame: Frame) -> tuple[str | None, str | None]:
        """(type, entity key) of a frame that became a dead letter, see `guess`."""
        try:
            return self.guess(readable(frame))
        except BadFrame:
            return None, None

    def guess(self, raw: bytes) -> tuple[str | None, str | None]:
        """(type, entity key) of a frame that could not be read by its schema, as far as they can be made out."""
        try:
            whole = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None, None
        if not isinstance(whole, dict):
            return None, None
        name = whole.get("type")
        if not isinstance(name, str):
            return None, None
        frame_type = self._route.kind.types.get(name, self._route.kind.unknown)
        tree = {"data": whole.get("data"), "meta": whole.get("meta") if self._route.kind.nested else whole}
        for path in (*frame_type.key, *frame_type.entity):
            value: Any = tree
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                return name, str(value)
        return name, None


class Way:
    """One type of one gateway: its compiled codec, its topics, its place in the window."""

    def __init__(
        self,
        route: Route,
        frame_type: FrameType,
        name: str,
        codec: Codec | UnknownCodec,
        envelope: Callable[[bytes], Envelope],
        *,
        seq_scope: str,
        most: tuple[int, str | None],
    ) -> None:
        """name: the type as the gateway sends it. envelope: reads that of a frame. most: largest payload (bytes) that its topics take,
        and the one that takes no more.
        """  # noqa: D205
        self.max_value, self.smallest = most
        #: Frames longer than this (bytes) might make a record larger than that.
        self.large = self.max_value // 2
        self.codec = codec
        self.envelope = envelope
        #: Full name of the record; whether frames are told apart by their content too.
        self.name = frame_type.name
        self.by_content = frame_type.content
        self.type = name.encode(errors="replace")
        #: The header that says it.
        self.header = ("type", self.type)
        self.publish = frame_type.publish
        self.topics = tuple(route.topics.get(frame_type.type, ()))
        self.counts = Counts(route.gateway, frame_type.type)
        self.seed = _seed(route.gateway, name)
        self.family = _seed(route.gateway, "family", frame_type.family)
        self.traits = _traits(frame_type, known=isinstance(codec, Codec))
        self.decode = _decoder(codec)
        self.encode: Callable[[Any, Any], bytes] = codec.encode
        self.key: Callable[[Any, Any], str | None] = codec.key
        self.entity: Callable[[Any, Any], str | None] = codec.entity
        self.event_time: Callable[[Any, Any], int | None] = codec.event_time
        self.continuity = frame_type.continuity
        self.seq: Callable[[Any, Any], int | None] = codec.seq
        self.previous: Callable[[Any, Any], int | None] = codec.previous
        self.learns = bool(frame_type.learn)
        #: Own entity → its hash, of those met last.
        self.entities: dict[str | None, int] = {}
        self.learn: Callable[[Any, Any], list[tuple[str, str]]] = codec.learn
        only_seq = all(path == ("meta", "seq") for paths in frame_type.identity for path in paths)
        #: Whether frames may have an identity beside their content.
        self.named = not (seq_scope == "connection" and only_seq)
        self.identity: Callable[[Any, Any], bytes | None] = (
            codec.identity if self.named else (lambda _meta, _data: None)
        )

    def enter(self, own: str | None) -> int:
        """Return the hash of an entity, and remember it."""
        if len(self.entities) >= ENTITIES:
            self.entities.clear()
        entity = self.entities[own] = _hash(own.encode() if own else b"", self.family)
        return entity

    def reread(self, raw: bytes) -> tuple[Any, Any]:
        """(meta, data) of a frame that was read natively."""
        envelope = self.envelope(raw)
        return envelope.meta, self.decode(envelope, raw)

    def read(self, envelope: Any, raw: bytes) -> tuple[Any, bytes]:
        """The payload as a Struct, and its canonical text. Raises `BadFrame`."""
        try:
            data = self.decode(envelope, raw)
        except BadFrame:
            # Of two members of one name the last was read; which of them is to blame nobody can say.
            if repeats_a_name(raw, -1):
                raise _duplicate_key() from None
            raise
        text = canonical(envelope.data)
        if has_duplicate_keys(raw, text, envelope):
            raise _duplicate_key()
        return data, text


def _decoder(codec: Codec | UnknownCodec) -> Callable[[Any, bytes], Any]:
    """How (envelope, raw frame) become the payload's Struct."""
    if isinstance(codec, UnknownCodec):
        return codec.decode
    decode = codec.decode_data
    return lambda envelope, _raw: decode(envelope.data)


def _duplicate_key() -> BadFrame:
    return BadFrame("duplicate_key", "an object has two members of the same name")


def _traits(frame_type: FrameType, *, known: bool) -> int:
    traits = dedupe.IDENTIFIED
    if frame_type.content:
        traits |= dedupe.CONTENT
    if frame_type.kind == "state":
        return traits | dedupe.STATE
    # REST rows carry no sequence number; where one is the only identity, content tells what REST repeats.
    by_seq = [paths for paths in frame_type.identity if paths == (("meta", "seq"),)]
    if known and frame_type.content and by_seq:
        traits |= dedupe.MATCHED
    return traits


def _seed(*names: str) -> int:
    """A seed per gateway and type, so that equal ids of different ones never meet."""
    return xxhash.xxh3_64_intdigest("\0".join(names).encode(errors="replace"))
