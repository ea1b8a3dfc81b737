"""Reads topics as a consumer does: committed records only, decoded, without a consumer group.

`tail` yields records from where it is told to start; `Decoder` makes a value readable, by the registry's schema or, for
single-object encoding, by the schemas of this package; `pretty` and `line` show a record to a person and to a program.
What the gateway sent as a number or as members that no schema knows is shown as it was sent, digit for digit.
"""

from __future__ import annotations

import base64
import io
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import fastavro
import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from bridge.cloudevents import is_header
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.errors import BadData, ConfigError, Unreachable
from bridge.evolution import Names
from bridge.kafka import HARMLESS_TO_READERS, Reports, consumer, hear
from bridge.settings import read_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from confluent_kafka import Consumer, Message

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.registry import Registry

_T = TypeVar("_T")

#: Bytes of the framing of Confluent's wire format: 0 and the id.
CONFLUENT: Final = 5

#: Where to start: all there is, what comes from now on, or a point in time (ms since the epoch).
Start: TypeAlias = Literal["beginning", "end"] | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One committed record.

    timestamp: ms since the epoch. headers: as text. schema and data: the writer's schema and what fastavro made of the
    value by it; both None where the value is no Avro (dead letters) or can't be read, and then `error` says why.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Mapping[str, str]
    value: bytes | None
    schema: Mapping[str, Any] | None = None
    data: Any = None
    error: str | None = None


def tail(
    config: Config,
    topics: Sequence[str],
    decoder: Decoder,
    *,
    start: Start = "end",
    last: int | None = None,
    count: int | None = None,
    follow: bool = True,
    skip_missing: bool = False,
    patience: float = 30.0,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Seen]:
    """Yield the records of `topics`, in order within each partition.

    start: see `Start`. last: begin with the last so many there are instead. count: end after so many. follow: wait for
    more; else end where the topics ended when asked. skip_missing: pass over topics that do not exist. patience: seconds
    without an answer while reading what is there. stop: asked several times a second.

    Raises ConfigError for a missing topic, Unreachable, Refused.
    """
    reports = Reports()
    client = consumer(config, role="tail", reports=reports)
    reader = _Reader(client, reports, decoder, patience=patience, stop=stop, clock=clock)
    try:
        partitions = reader.partitions(topics, skip_missing=skip_missing)
        ends = reader.offsets(partitions, "end")
        if last is None:
            starts = ends if start == "end" else reader.offsets(partitions, start, ends=ends)
            records = reader.until(ends, starts)
        else:
            records = iter(reader.last(last, ends, reader.offsets(partitions, "beginning")))
        left = count
        for record in _both(records, reader.onward(ends) if follow else ()):
            if left == 0:
                return
            yield record
            left = None if left is None else left - 1
            if left == 0:
                return
    finally:
        client.close()


def parse_start(text: str, *, now: int) -> Start:
    """``beginning``, ``end``, a duration back from now (``15m``) or an ISO 8601 time. now: ms since the epoch.

    A time without a zone is UTC. Raises ConfigError.
    """
    if text in {"beginning", "end"}:
        return "beginning" if text == "beginning" else "end"
    seconds = read_duration(text)
    if seconds is not None:
        return now - round(seconds * 1000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no place to start",
            mend="give beginning, end, a duration such as 15m, or a time such as 2026-05-12T18:00:00Z",
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


class Decoder:
    """Makes record values readable.

    schemas: those that single-object encoding may name, e.g. `Decoder.of`. registry: for Confluent's wire format.
    """

    def __init__(self, schemas: Iterable[Mapping[str, Any]], *, registry: Registry | None = None) -> None:
        """Compute the fingerprints; the registry is asked when an id turns up."""
        self._own = {fingerprint(schema): schema for schema in schemas}
        self._registry = registry
        self._parsed: dict[bytes, tuple[Mapping[str, Any], Any]] = {}

    @classmethod
    def of(cls, catalog: Catalog, *, registry: Registry | None = None) -> Self:
        """Knows every schema of the package."""
        kinds = catalog.kinds.values()
        types = (each for kind in kinds for each in (*kind.types.values(), kind.unknown))
        return cls([*(each.schema for each in types), *catalog.records.values()], registry=registry)

    def decode(self, value: bytes) -> tuple[Mapping[str, Any], Any]:
        """(writer's schema, value as fastavro gives it).

        Raises BadData where it is not in one of the wire formats, ConfigError where its schema can't be found, and
        Unreachable or Refused by the registry.
        """
        if value[:2] == SINGLE_OBJECT:
            framing, body = value[:10], value[10:]
        elif value[:1] == b"\0" and len(value) >= CONFLUENT:
            framing, body = value[:CONFLUENT], value[CONFLUENT:]
        else:
            raise BadData(f"neither wire format: it begins with {value[:5].hex() or 'nothing'}")
        schema, parsed = self._schema(framing)
        return schema, read_whole(parsed, body)

    def _schema(self, framing: bytes) -> tuple[Mapping[str, Any], Any]:
        if framing not in self._parsed:
            schema = self._find(framing)
            self._parsed[framing] = schema, fastavro.parse_schema(msgspec.json.decode(msgspec.json.encode(schema)))
        return self._parsed[framing]

    def _find(self, framing: bytes) -> Mapping[str, Any]:
        if framing[:2] == SINGLE_OBJECT:
            if framing[2:] not in self._own:
                raise ConfigError(
                    f"no schema of this version has the fingerprint {framing[2:].hex()}",
                    mend="read it with the version that wrote it",
                )
            return self._own[framing[2:]]
        schema_id = int.from_bytes(framing[1:], "big")
        if self._registry is None:
            raise ConfigError(f"the value names schema id {schema_id}, and no registry is configured")
        return self._registry.schema(schema_id)


def read_whole(parsed: Any, body: bytes) -> Any:
    """What fastavro makes of Avro bytes. parsed: the schema as fastavro has it. Raises BadData where not all of them are by that schema."""
    stream = io.BytesIO(body)
    try:
        data = fastavro.schemaless_reader(stream, parsed, None)
    except (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise BadData(f"not written with the schema it names ({type(error).__name__})") from error
    if stream.tell() != len(body):
        raise BadData(f"{len(body) - stream.tell()} bytes left over after the schema's end")
    return data


def line(record: Seen) -> bytes:
    """One line of JSON. Values that are no Avro are under ``raw``: text, or base64 where they are no UTF-8."""
    shown: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else _text(record.key),
        "headers": record.headers,
    }
    if record.schema is not None:
        shown |= {"schema": _name(record.schema), "value": readable(record)}
    elif record.value is not None:
        shown["raw"] = _text(record.value)
    if record.error is not None:
        shown["error"] = record.error
    return msgspec.json.encode(shown)


def pretty(record: Seen) -> str:
    """One line for a person: time, place, key, headers, then the value without what is null or empty."""
    at = datetime.fromtimestamp(record.timestamp / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    key = "-" if record.key is None else _words(record.key)
    headers = " ".join(f"{name}={value}" for name, value in record.headers.items() if not _is_noise(name))
    if record.schema is not None:
        value = msgspec.json.encode(_without_nothing(readable(record))).decode()
    else:
        value = "(no value)" if record.value is None else _words(record.value)
    if record.error is not None:
        value = f"({record.error}) {value}"
    text = f"{at} {record.topic}[{record.partition}]@{record.offset} {key} {headers} {value}"
    # Control characters would let a frame write to the terminal.
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _is_noise(header: str) -> bool:
    """Whether a header says what the line says anyway, CloudEvents' above all; JSON has them all."""
    return header == "received" or is_header(header)


def readable(record: Seen) -> Any:
    """The decoded value for msgspec's JSON encoder, JSON texts of the gateway (numbers, extensions) as they came."""
    return None if record.schema is None else _readable(record.data, record.schema, Names(record.schema))


# --- reading ----------------------------------------------------------------------------------------------------------

_DEAD_LETTERS: Final = ".dead-letters"
_POLL: Final = 0.2
#: Seconds of one try of a request.
_TRY: Final = 5.0
#: The same for the first request, before which it is not known whether anybody answers at all.
_ASK: Final = 1.0

_Place: TypeAlias = tuple[str, int]


class _Reader:
    """One consumer and where it stands."""

    def __init__(
        self,
        client: Consumer,
        reports: Reports,
        decoder: Decoder,
        *,
        patience: float,
        stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._reports = reports
        self._decoder = decoder
        self._patience = patience
        self._stop = stop
        self._clock = clock

    def partitions(self, topics: Sequence[str], *, skip_missing: bool) -> list[_Place]:
        found = self._call(lambda: self._client.list_topics(timeout=_ASK)).topics
        missing = [topic for topic in topics if topic not in found]
        if missing and (not skip_missing or len(missing) == len(topics)):
            # Of all topics the user is told those that it may see; asked for one by name, whether it may see that.
            told = self._call(lambda: self._client.list_topics(missing[0], timeout=_TRY)).topics[missing[0]].error
            if told is not None and told.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise self._reports.classify(told, name=missing[0])
            raise ConfigError(
                f"topic {missing[0]!r} does not exist", where="kafka", mend="`feedbridge topics apply` makes the topics"
            )
        return [(topic, number) for topic in topics if topic in found for number in found[topic].partitions]

    def offsets(
        self, places: Sequence[_Place], at: Start, *, ends: Mapping[_Place, int] | None = None
    ) -> dict[_Place, int]:
        """The offset at that point of each partition; the end is that of the committed records."""
        logical = {"beginning": OFFSET_BEGINNING, "end": OFFSET_END}.get(str(at))
        moment = at if logical is None else logical
        asked = [TopicPartition(topic, number, int(moment)) for topic, number in places]
        answers = self._call(lambda: self._client.offsets_for_times(asked, timeout=_TRY)) if asked else []
        found = {}
        for answer in answers:
            place = (answer.topic, answer.partition)
            if answer.error is not None:
                raise self._reports.classify(answer.error, name=answer.topic)
            # Later than the last record: its end.
            found[place] = ends[place] if answer.offset < 0 and ends else max(answer.offset, 0)
        return found

    def until(self, ends: Mapping[_Place, int], starts: Mapping[_Place, int]) -> Iterator[Seen]:
        """What lies between; ends by itself. Raises Unreachable after `patience` without an answer."""
        open_places = {place for place, end in ends.items() if starts[place] < end}
        self._assign({place: starts[place] for place in open_places})
        heard = self._clock()
        while open_places and not self._stop():
            message = self._poll()
            if message is None:
                if self._clock() - heard > self._patience:
                    cause = KafkaError(KafkaError._TIMED_OUT, f"no answer in {self._patience:g} s")  # noqa: SLF001
                    raise self._reports.classify(cause)
                continue
            heard = self._clock()
            place, offset, at_end = _place(message)
            # After the last record of a transaction comes its marker, so the last offset below the end is never seen.
            if at_end or offset >= ends[place] - 1:
                open_places.discard(place)
            if not at_end and offset < ends[place]:
                yield self._seen(message)

    def onward(self, starts: Mapping[_Place, int]) -> Iterator[Seen]:
        """What comes from there on, for ever; waits for Kafka where it is away."""
        self._assign(starts)
        while not self._stop():
            message = self._poll()
            if message is not None and message.error() is None:
                yield self._seen(message)

    def last(self, count: int, ends: Mapping[_Place, int], begins: Mapping[_Place, int]) -> list[Seen]:
        """The last so many by timestamp; offsets have holes, so it looks further and further back."""
        back = 2 * count + 16
        while True:
            starts = {place: max(begins[place], end - back) for place, end in ends.items()}
            found = {place: deque[Seen](maxlen=count) for place in ends}
            for record in self.until(ends, starts):
                found[record.topic, record.partition].append(record)
            short = [place for place in ends if len(found[place]) < count and starts[place] > begins[place]]
            if not short or self._stop():
                every = [record for records in found.values() for record in records]
                return sorted(every, key=lambda record: record.timestamp)[-count:] if count else []
            back *= 8

    def _assign(self, starts: Mapping[_Place, int]) -> None:
        self._client.assign([TopicPartition(topic, number, offset) for (topic, number), offset in starts.items()])

    def _poll(self) -> Message | None:
        """A record or the end of a partition; None: nothing now."""
        message = self._client.poll(_POLL)
        if message is None:
            return None
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self._reports.forget()
            return message
        verdict = self._reports.classify(error, name=message.topic())
        if error.code() in HARMLESS_TO_READERS or isinstance(verdict, Unreachable):
            return None  # where Kafka is away, the client goes on trying
        raise verdict

    def _call(self, request: Callable[[], _T]) -> _T:
        """Ask before anything is assigned; again where the answer may pass, such as a leader that has just moved."""
        began = self._clock()
        while True:
            try:
                return request()
            except KafkaException as error:
                hear(self._client, wait=_POLL)
                verdict = self._reports.classify(error)
                tried = self._clock() - began
                if (
                    not isinstance(verdict, Unreachable)
                    or self._reports.enough(tried)
                    or tried >= self._patience
                    or self._stop()
                ):
                    raise verdict from error

    def _seen(self, message: Message) -> Seen:
        topic, value = message.topic() or "", message.value()
        schema, data, error = None, None, None
        if value is not None and not topic.endswith(_DEAD_LETTERS):
            try:
                schema, data = self._decoder.decode(value)
            except (BadData, ConfigError) as reason:
                error = str(reason)
        headers = dict(message.headers() or ())
        return Seen(
            topic=topic,
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            timestamp=message.timestamp()[1],
            key=message.key(),
            headers={
                name: text.decode(errors="replace") if isinstance(text, bytes) else text or ""
                for name, text in headers.items()
            },
            value=value,
            schema=schema,
            data=data,
            error=error,
        )


def _place(message: Message) -> tuple[_Place, int, bool]:
    place = (message.topic() or "", message.partition() or 0)
    return place, message.offset() or 0, message.error() is not None


def _both(first: Iterable[Seen], second: Iterable[Seen]) -> Iterator[Seen]:
    yield from first
    yield from second


# --- showing ----------------------------------------------------------------------------------------------------------


def _readable(data: Any, schema: Any, names: Names) -> Any:
    schema = _branch(data, names.resolve(schema), names)
    if data is None or isinstance(schema, str):
        return _plain(data)
    if isinstance(schema["type"], (dict, list)):
        return _readable(data, schema["type"], names)
    match schema["type"]:
        case "record":
            return {
                field["name"]: {name: _json(text) for name, text in data[field["name"]].items()}
                if field["name"] == _EXTENSIONS
                else _readable(data[field["name"]], field["type"], names)
                for field in schema["fields"]
            }
        case "array":
            return [_readable(each, schema["items"], names) for each in data]
        case "map":
            return {name: _readable(each, schema["values"], names) for name, each in data.items()}
        case "string" if "json" in schema:
            return _json(data)
    return _plain(data)


_EXTENSIONS: Final = "extensions"
#: Avro type → the Python type that fastavro reads it into; our unions have no two of one Python type.
_PYTHON: Final[Mapping[str, type | tuple[type, ...]]] = {
    "null": type(None),
    "boolean": bool,
    "int": (int, datetime),
    "long": (int, datetime),
    "float": float,
    "double": float,
    "string": str,
    "enum": str,
    "bytes": bytes,
    "fixed": bytes,
    "array": list,
    "map": dict,
    "record": dict,
}


def _branch(data: Any, schema: Any, names: Names) -> Any:
    """The branch of a union that a value was written with."""
    if not isinstance(schema, list):
        return schema
    for each in schema:
        branch = names.resolve(each)
        kind = branch if isinstance(branch, str) else branch["type"]
        if isinstance(data, _PYTHON[kind]) and not (isinstance(data, bool) and kind != "boolean"):
            return branch
    return "null"


def _json(text: str) -> Any:
    """JSON text as it came, within our one line; as a string where it is no JSON."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return msgspec.Raw(msgspec.json.format(text.encode(), indent=-1) if "\n" in text else text.encode())


def _plain(data: Any) -> Any:
    if isinstance(data, bytes):
        return data.hex()
    if isinstance(data, datetime):
        return data.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return data


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _without_nothing(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each is not None and each != {}}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _words(value: bytes) -> str:
    text = _text(value)
    return text if isinstance(text, str) else f"base64:{text['base64']}"


def _name(schema: Mapping[str, Any]) -> str:
    namespace = schema.get("namespace")
    return f"{namespace}.{schema['name']}" if namespace and "." not in schema["name"] else str(schema["name"])
