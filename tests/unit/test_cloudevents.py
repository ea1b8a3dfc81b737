"""CloudEvents headers: valid by the official SDK, unique, the same from every process, and absent unless asked for."""

from __future__ import annotations

from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from bridge import asyncapi
from bridge.catalog import Catalog
from bridge.cloudevents import HEADERS, Events
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.config import TopicsSettings
from bridge.dedupe import Window
from bridge.example import Examples
from bridge.frame import STREAM, Frame, Record
from bridge.ledger import Memory
from bridge.pipeline import Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import Route
from bridge.tail import Seen, pretty
from tests.installation import installation
from tests.unit.test_pipeline import NOW, TS, raw

CATALOG = Catalog.load()
KINDS = {"cs2": "ticktock", "markets": "predictstreet-market", "wallet": "predictstreet-user"}
TYPES = [
    (kind.name, each.type)
    for kind in CATALOG.kinds.values()
    for each in (*kind.types.values(), kind.unknown)
    if each.publish
]
EXAMPLES = Examples(CATALOG)


class Bytes(JSONFormat):
    """The SDK's reader, with Avro left alone."""

    def read_data(self, body: bytes, datacontenttype: str | None) -> bytes:  # noqa: ARG002 - the SDK's
        """As it is."""
        return body


def event(record: Record | dict[str, bytes], value: bytes = b"-") -> BaseCloudEvent:
    """A record, or headers, as the SDK reads it; it checks every attribute."""
    headers: Any = dict(record.headers) if isinstance(record, Record) else record
    return from_binary(KafkaMessage(headers, None, value), Bytes())


def pipeline(events: Events | None, *, framings: tuple[bytes, ...] | None = None, **options: Any) -> Pipeline:
    """All gateways; each type goes to as many topics as there are framings."""
    routes = []
    for gateway, name in KINDS.items():
        kind = CATALOG.kind(name)
        every = {**kind.types, kind.unknown.type: kind.unknown}
        topics = {
            each.type: [
                (f"{gateway}.{number}", one)
                for number, one in enumerate(framings or (SINGLE_OBJECT + fingerprint(each.schema),))
            ]
            for each in every.values()
        }
        routes.append(Route(gateway, kind, frozenset(), topics, f"{gateway}.dead-letters"))
    memory = Memory(Window(span=3_600_000, max_identities=100_000))
    writer = GapWriter("gaps", b"", CATALOG.own("gap"))
    return Pipeline(routes, memory=memory, outages=Outages(writer, lane=0, instance="me"), events=events, **options)


def publish(*raws: bytes, gateway: str = "cs2", at: int = NOW, **options: Any) -> list[Record]:
    """The records of frames in a process of its own."""
    piping = pipeline(Events("main"), **options)
    return piping.process(0, [Frame(gateway, "list", at, STREAM, each) for each in raws], at).records


def ids(records: list[Record]) -> list[str]:
    """Their ``ce_id``."""
    return [event(each).get_id() for each in records]


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_every_type_is_a_cloud_event(kind: str, name: str) -> None:
    """By the SDK's own checks, with the documented values and nothing else."""
    example = EXAMPLES.of(kind, name)
    assert example is not None
    assert example.cloudevents.keys() == HEADERS.keys()
    found = event({key: text.encode() for key, text in (example.headers | example.cloudevents).items()}, example.wire)
    known = CATALOG.kind(kind).types.get(name, CATALOG.kind(kind).unknown)
    assert found.get_type() == f"{known.name.rpartition('.')[0]}.{name}"
    assert found.get_source() == f"/feedbridge/main/{example.topic.partition('.')[0]}"
    assert found.get_datacontenttype() == "application/avro"
    assert found.get_dataschema() == f"urn:feedbridge:schema:{fingerprint(known.schema).hex()}"
    assert found.get_subject()
    time = found.get_time()
    assert time is not None
    assert round(time.timestamp() * 1000) == example.timestamp
    assert found.get_data() == example.wire


def test_off_there_are_none() -> None:
    """The default: headers as ever."""
    frame = Frame("cs2", "list", NOW, STREAM, raw("market.updated", {"id": "o1", "match_id": "m1"}))
    [record] = pipeline(Events.of(installation())).process(0, [frame], NOW).records
    assert [name for name, _ in record.headers] == ["type", "source", "received", "seq"]
    assert isinstance(Events.of(installation(headers="cloudevents")), Events)
    assert TopicsSettings().headers == "plain"


def test_own_headers_stay_as_they_were() -> None:
    """First, in their order."""
    [record] = publish(raw("market.updated", {"id": "o1", "match_id": "m1"}, seq=9))
    assert [name for name, _ in record.headers] == ["type", "source", "received", "seq", *HEADERS]
    assert dict(record.headers)["ce_subject"] == b"o1"
    assert record.key == b"m1"


def test_every_process_gives_a_frame_the_same_id() -> None:
    """Whenever it was received, over whichever connection."""
    frames = [
        raw("market.updated", {"id": "o1", "match_id": "m1"}, seq=9),
        raw("bet_settlement", {"id": 7, "market_id": "o1"}, seq=10),
        raw("event.kill", {"match_id": "m1"}, seq=11),
        raw("somewhat.new", {"match_id": "m1"}, seq=12),
        raw("match.updated", {"id": "m1"}, seq=None),
    ]
    first, second = publish(*frames), publish(*frames, at=NOW + 700)
    assert len(first) == len(frames)
    assert ids(first) == ids(second)
    assert len(set(ids(first))) == len(frames)


def test_where_the_identity_decides_the_id_does_not_depend_on_content() -> None:
    """A settlement has an id of its own: a later process may be sent it with another member."""
    one = publish(raw("bet_settlement", {"id": 7, "market_id": "o1"}, seq=1))
    other = publish(raw("bet_settlement", {"id": 7, "market_id": "o1", "more": 1}, seq=2))
    assert ids(one) == ids(other)


def test_collisions_are_two_events() -> None:
    """The same number with other content."""
    found = publish(raw("event.kill", {"match_id": "m1"}), raw("event.kill", {"match_id": "m2"}))
    assert len(set(ids(found))) == 2


def test_a_state_that_comes_back_is_another_event() -> None:
    """Pause, unpause and pause again, in equal words, without a number: told apart by the gateway's time."""
    words = [
        raw(
            "market.suspended" if number % 2 == 0 else "market.unsuspended",
            {"id": "o1", "match_id": "m1"},
            seq=None,
            ts=ts,
        )
        for number, ts in enumerate([TS, TS.replace("59.5", "59.6"), TS.replace("59.5", "59.7")])
    ]
    found = publish(*words)
    assert len(found) == len(set(ids(found))) == 3


def test_layouts_share_id_and_name_the_schema_of_their_topic() -> None:
    """The same event in each topic; registries may know a schema by other ids there."""
    piping = pipeline(Events("main", registry="http://registry.invalid/apis"), framings=(b"\0\0\0\0\7", b"\0\0\0\1\0"))
    frames = [Frame("cs2", "list", NOW, STREAM, raw("match.updated", {"id": f"m{n}"}, seq=n)) for n in range(3)]
    records = piping.process(0, frames, NOW).records
    assert len(records) == 6
    for first, second in zip(records[::2], records[1::2], strict=True):
        one, other = event(first), event(second)
        assert one.get_id() == other.get_id()
        assert one.get_dataschema() == "http://registry.invalid/apis/schemas/ids/7"
        assert other.get_dataschema() == "http://registry.invalid/apis/schemas/ids/256"
        assert len(dict(second.headers)) == len(second.headers)
    assert len(set(ids(records))) == 3


def test_the_registrys_credentials_are_not_in_a_header() -> None:
    """Only scheme, host and path of its first URL."""
    config = installation(
        headers="cloudevents", registry={"url": ["https://me:secret@registry.invalid/x/", "http://b"]}
    )
    events = Events.of(config)
    assert events is not None
    [record] = (
        pipeline(events, framings=(b"\0\0\0\0\7",))
        .process(0, [Frame("cs2", "list", NOW, STREAM, raw("match.updated", {"id": "m"}))], NOW)
        .records
    )
    assert event(record).get_dataschema() == "https://registry.invalid/x/schemas/ids/7"
    assert "secret" not in str(record.headers)


def test_dead_letters_are_events_too() -> None:
    """Of bytes; two are two."""
    found = publish(b"{", b"[", b"{")
    assert [each.value for each in found] == [b"{", b"["]
    first, second = map(event, found)
    assert first.get_id() != second.get_id()
    assert (first.get_type(), first.get_source()) == ("feedbridge.dead-letter", "/feedbridge/main/cs2")
    assert (first.get_datacontenttype(), first.get_dataschema()) == ("application/octet-stream", None)


def test_each_state_of_a_gap_is_an_event() -> None:
    """Open and filled: one gap, one subject, two ids."""
    writer = GapWriter("gaps", SINGLE_OBJECT + b"fingerpr", CATALOG.own("gap"), events=Events("main"))
    gap = {
        "id": "g1", "gateway": "cs2", "connection": "list", "lane": 0, "instance": "me", "from": NOW, "cause": "crash",
        "state": "open", "recovered": 0, "superseded": 0,
    }  # fmt: skip
    first, again, second = (
        event(writer.record(each, NOW)) for each in (gap, gap, gap | {"state": "filled", "to": NOW})
    )
    assert first.get_id() == again.get_id() != second.get_id()
    assert first.get_subject() == second.get_subject() == "g1"
    assert (first.get_type(), first.get_source()) == ("feedbridge.gap", "/feedbridge/main")
    assert first.get_dataschema() == f"urn:feedbridge:schema:{b'fingerpr'.hex()}"


def test_asyncapi_tells_of_them() -> None:
    """Only where they are written."""
    plain = asyncapi.document(installation(KINDS), CATALOG)["components"]["schemas"]
    written = asyncapi.document(installation(KINDS, headers="cloudevents"), CATALOG)["components"]["schemas"]
    for name, schema in written.items():
        more = set(HEADERS) - ({"ce_dataschema"} if name == "deadLetterHeaders" else set())
        assert schema["properties"].keys() - plain[name]["properties"].keys() == more
        assert set(schema["required"]) - set(plain[name]["required"]) == more


def test_a_person_is_spared_them() -> None:
    """`tail` prints lines of which they would be most; its JSON has them."""
    headers = {"type": "match.updated", "received": "1", "ce_id": "abc", "content-type": "application/avro"}
    line = pretty(
        Seen(topic="t", partition=0, offset=0, timestamp=NOW, key=b"k", headers=headers, value=b"v", error=None)
    )
    assert "type=match.updated" in line
    assert "abc" not in line
    assert "avro" not in line
