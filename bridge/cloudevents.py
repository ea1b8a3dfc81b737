"""Headers by which a record is a CloudEvent too: ``topics.headers: cloudevents``.

Source: CloudEvents 1.0.2 and its Kafka protocol binding, binary content mode: attributes are headers ``ce_<name>``, the value
stays as it is. They stand behind the bridge's own headers, never in their place.

`HEADERS` says what each holds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import xxhash
from msgspec.structs import replace

from bridge.codec import SINGLE_OBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.config import Config
    from bridge.encoder import Fresh
    from bridge.frame import Frame, Headers, Record
    from bridge.route import AnySighting, Way

AVRO: Final = "application/avro"
BYTES: Final = "application/octet-stream"
#: What a dead letter's ``ce_type`` is, and a gap record's.
DEAD_LETTER: Final = "feedbridge.dead-letter"
GAP: Final = "feedbridge.gap"
#: What each header of a record holds, for those who read the documentation.
HEADERS: Final = {
    "ce_id": "What tells the frame from all others of its source: a digest of its identity, with that of its content where both "
    "count; the same whichever process publishes it. Of a frame that names nothing to tell it by, and of a dead letter: a "
    "digest of its content, a dash, its time in ms.",
    "ce_time": "The record's timestamp, RFC 3339 with milliseconds: the event time, else when it was received.",
    "ce_subject": "What the frame is about: its own entity, such as the market or the token, else the record's key.",
    "ce_specversion": "`1.0`.",
    "ce_source": "`/feedbridge/<name>/<gateway>`; of gap records `/feedbridge/<name>`.",
    "ce_type": "The record's namespace and the type: `feedbridge.ticktock.match.updated`; frames without a schema of their own end in "
    "`.unknown`. Else `feedbridge.dead-letter` or `feedbridge.gap`.",
    "content-type": "`application/avro`, framed as without these headers; `application/octet-stream` of dead letters.",
    "ce_dataschema": "The schema that wrote the value: `<registry>/schemas/ids/<id>`; without a registry "
    "`urn:feedbridge:schema:<fingerprint>`. Absent of dead letters.",
}
_VERSION: Final = ("ce_specversion", b"1.0")
#: Seconds whose text is remembered.
_SECONDS: Final = 1000
_FRACTIONS: Final = [b".%03dZ" % part for part in range(1000)]


class Events:
    """Adds the headers, for all gateways of an installation.

    ``ce_id`` is 128 bits, as hexadecimal digits, of what tells frames apart: of the identity, or of identity and content where
    both count. So whichever process publishes a frame gives it the same id, and no other frame of its gateway has it. Where
    a frame names nothing to tell it by, content and entity stand for it, and its time follows after a dash (ms: the gateway's
    own, else when it was received): a market may be paused, unpaused and paused again in the same words.
    """

    def __init__(self, name: str, *, registry: str | None = None) -> None:
        """name: of the installation. registry: its URL, without credentials."""
        self._name = name
        self._registry = registry
        self._fixed: dict[Way, tuple[Headers, Headers]] = {}
        self._times: dict[int, bytes] = {}

    @classmethod
    def of(cls, config: Config) -> Events | None:
        """What a configuration asks for; None: the bridge's own headers alone."""
        if config.topics.headers != "cloudevents":
            return None
        if config.registry is None:
            return cls(config.name)
        url = config.registry.url[0]
        return cls(config.name, registry=(url.origin + url.path).rstrip("/"))

    def add(self, records: list[Record], first: int, fresh: Sequence[Fresh]) -> None:
        """Add the headers of frames whose records, one for each layout, are those from `first` on. See `bridge.encoder`."""
        fixed_of = self._fixed
        for _, frame, sighting, key, _, _ in fresh:
            way = sighting.way
            common, schemas = fixed_of.get(way) or self._fix(way)
            record = records[first]
            headers = record.headers  # one list for all layouts
            headers += (
                ("ce_id", _id(sighting, frame.received)),
                ("ce_time", self._time(record.timestamp)),
                ("ce_subject", (sighting.own or key).encode()),
                *common,
            )
            for number in range(first, first + len(schemas)):  # ids that differ from topic to topic
                records[number] = replace(records[number], headers=[*headers, schemas[number - first]])
            first += len(way.topics)

    def dead_letter(self, record: Record, frame: Frame) -> None:
        """Add those of a dead letter: its id is a digest of the frame's bytes, and when it was received."""
        digest = xxhash.xxh3_128_hexdigest(frame.raw)
        record.headers.extend(
            [
                ("ce_id", b"%s-%d" % (digest.encode(), frame.received)),
                ("ce_time", self._time(record.timestamp)),
                ("ce_subject", record.key),
                _VERSION,
                ("ce_source", self._source(frame.gateway)),
                ("ce_type", DEAD_LETTER.encode()),
                ("content-type", BYTES.encode()),
            ]
        )

    def gap(self, record: Record) -> None:
        """Add those of a gap's record: each state of a gap is an event of its own."""
        framing, body = _split(record.value)
        record.headers.extend(
            [
                ("ce_id", b"%s-%s" % (record.key, xxhash.xxh3_64_hexdigest(body).encode())),
                ("ce_time", self._time(record.timestamp)),
                ("ce_subject", record.key),
                _VERSION,
                ("ce_source", self._source()),
                ("ce_type", GAP.encode()),
                ("content-type", AVRO.encode()),
                *(("ce_dataschema", each) for each in self._schema(framing)),
            ]
        )

    def _fix(self, way: Way) -> tuple[Headers, Headers]:
        """What all records of a type have in common, and what each topic has for itself, where they do not agree."""
        common: Headers = [
            _VERSION,
            ("ce_source", self._source(way.counts.gateway)),
            ("ce_type", f"{way.name.rpartition('.')[0]}.{way.counts.type}".encode()),
            ("content-type", AVRO.encode()),
        ]
        schemas: Headers = [("ce_dataschema", each) for _, framing in way.topics for each in self._schema(framing)]
        if len(set(schemas)) == 1:
            common.append(schemas[0])
            schemas = []
        found = self._fixed[way] = common, schemas
        return found

    def _source(self, *gateway: str) -> bytes:
        return "/".join(["/feedbridge", self._name, *gateway]).encode()

    def _schema(self, framing: bytes) -> list[bytes]:
        """The URI of a schema, by what goes before the Avro bytes."""
        if framing.startswith(SINGLE_OBJECT):
            return [f"urn:feedbridge:schema:{framing[2:].hex()}".encode()]
        if framing.startswith(b"\0") and self._registry is not None:
            return [f"{self._registry}/schemas/ids/{int.from_bytes(framing[1:], 'big')}".encode()]
        return []

    def _time(self, at: int) -> bytes:
        """RFC 3339, in UTC. at: ms since the epoch."""
        second = at // 1000
        text = self._times.get(second)
        if text is None:
            if len(self._times) >= _SECONDS:
                self._times.clear()
            text = self._times[second] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return text + _FRACTIONS[at - second * 1000]


def is_header(name: str) -> bool:
    """Whether a header is one of CloudEvents'."""
    return name in HEADERS


def _id(sighting: AnySighting, received: int) -> bytes:
    way: Any = sighting.way
    if not sighting.named:
        at = sighting.at or way.event_time(sighting.meta, sighting.data) or received
        return b"%016x%016x-%d" % (sighting.identity, sighting.content, at)
    if way.by_content:
        return b"%016x%016x" % (sighting.identity, sighting.content)
    return xxhash.xxh3_128_hexdigest(way.identity(sighting.meta, sighting.data), way.seed).encode()


def _split(value: bytes) -> tuple[bytes, bytes]:
    """What goes before the Avro bytes of a value, and these."""
    size = 10 if value.startswith(SINGLE_OBJECT) else 5
    return value[:size], value[size:]
