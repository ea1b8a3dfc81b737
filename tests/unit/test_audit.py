"""The audit that judges the bridge finds nothing in a good result, and exactly the fault that is put into one.

The good result comes from the pure middle of the bridge, so these tests need neither Kafka nor a registry; they also show,
in a moment, what the acceptance tests show with both.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import fastavro
import pytest

from bridge.catalog import Catalog
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.dedupe import Window
from bridge.frame import STREAM
from bridge.frame import Frame as Received
from bridge.ledger import Memory
from bridge.pipeline import Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import Route
from bridge.sim import PredictStreetKnobs, Sent
from tests.audit import Audit, Fault, Published, Schemas, ledger_faults, stray_faults
from tests.audit.exact import Number, Schema, differences, freeze, parse
from tests.audit.frames import frames, private_frames

CATALOG = Catalog.load()
PARTITIONS = 6
COUNT = 700
Kind = Literal["ticktock", "predictstreet", "predictstreet-user"]
GATEWAYS = {
    "ticktock": ("cs2", "ticktock"),
    "predictstreet": ("markets", "predictstreet-market"),
    "predictstreet-user": ("wallet", "predictstreet-user"),
}


def partition(key: bytes) -> int:
    """Kafka's murmur2 partitioner, written down once more (``org.apache.kafka.common.utils.Utils``)."""
    size, mask, mix = len(key), 0xFFFFFFFF, 0x5BD1E995
    found = 0x9747B28C ^ size
    for at in range(0, size - size % 4, 4):
        part = int.from_bytes(key[at : at + 4], "little") * mix & mask
        found = (found * mix & mask) ^ ((part ^ part >> 24) * mix & mask)
    if rest := key[size - size % 4 :]:
        found = (found ^ int.from_bytes(rest, "little")) * mix & mask
    found = (found ^ found >> 13) * mix & mask
    return ((found ^ found >> 15) & 0x7FFFFFFF) % PARTITIONS


def partitions(keys: Sequence[bytes]) -> list[int]:
    """As `java_partitions`."""
    return [partition(key) for key in keys]


def publish(kind: Kind, sent: Sequence[Sent], *, began: int, layouts: Sequence[str] = ("type",)) -> list[Published]:
    """What the bridge's pipeline makes of frames, as if read from Kafka."""
    gateway, name = GATEWAYS[kind]
    known = CATALOG.kind(name)
    topics = {
        each.type: [
            (
                f"p.{gateway}" if layout == "gateway" else f"p.{gateway}.{each.type.replace('_', '-')}",
                SINGLE_OBJECT + fingerprint(each.schema),
            )
            for layout in layouts
        ]
        for each in (*known.types.values(), known.unknown)
    }
    memory = Memory(Window(span=6 * 3_600_000, max_identities=2_000_000))
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me", connections={})
    route = Route(
        gateway, known, frozenset(), topics, f"p.{gateway}.dead-letters", owner=lambda name: name.removeprefix("user:")
    )
    pipeline = Pipeline([route], memory=memory, outages=outages)
    ends: dict[tuple[str, int], int] = {}
    found = []
    for place, one in enumerate(sent):
        received = Received(gateway, one.channel, began + place, STREAM, one.raw)
        for record in pipeline.process(place, [received], began + place).records:
            where = (record.topic, partition(record.key))
            ends[where] = ends.get(where, -1) + 1
            headers = tuple((name, value if isinstance(value, bytes) else None) for name, value in record.headers)
            found.append(Published(*where, ends[where], record.key, record.value, headers, record.timestamp))
    return found


def audit(kind: Kind, sent: Sequence[Sent], *, began: int, layouts: Sequence[str] = ("type",)) -> Audit:
    """The audit of that."""
    return Audit(
        gateway=GATEWAYS[kind][0],
        kind=kind,
        prefix="p.",
        sent=sent,
        schemas={layout: Schemas.shipped() for layout in layouts},
        partitions=partitions,
        began=began,
        ended=began + len(sent),
    )


@dataclass(frozen=True)
class Result:
    """A good result and its audit."""

    audit: Audit
    published: list[Published]
    sent: list[Sent]
    began: int

    def find(self, topic: str, wanted: Callable[[Published], bool] = lambda _: True) -> int:
        """Place of the last such record of a topic: others of its key lie before it."""
        return max(place for place, one in enumerate(self.published) if one.topic == f"p.cs2.{topic}" and wanted(one))

    def faults(self, published: Sequence[Published]) -> list[Fault]:
        """What the audit says of a doctored result."""
        return self.audit.faults(published)


def made(kind: Kind, *, seed: int, knobs: Any = None, layouts: Sequence[str] = ("type",)) -> Result:
    """A good result."""
    began = time.time_ns() // 1_000_000
    if kind == "predictstreet-user":
        sent = private_frames(COUNT, seed=seed, now=began, knobs=knobs)
    else:
        sent = frames(kind, COUNT, seed=seed, now=began, knobs=knobs)
    return Result(
        audit(kind, sent, began=began, layouts=layouts),
        publish(kind, sent, began=began, layouts=layouts),
        sent,
        began,
    )


@pytest.fixture(scope="module")
def good() -> Result:
    """A good result of TickTock."""
    return made("ticktock", seed=1)


@pytest.mark.parametrize("layouts", [("type",), ("gateway",), ("type", "gateway")])
@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("ticktock", None),
        ("predictstreet", None),
        ("predictstreet", PredictStreetKnobs(generation=1, silent_book=False)),
        ("predictstreet-user", None),
        ("predictstreet-user", PredictStreetKnobs(generation=1)),
    ],
    ids=["ticktock", "generation 2", "generation 1", "private 2", "private 1"],
)
def test_a_good_result_has_no_fault(kind: Kind, knobs: Any, layouts: tuple[str, ...]) -> None:
    """Of either gateway and protocol generation, in each layout."""
    result = made(kind, seed=2, knobs=knobs, layouts=layouts)
    assert result.faults(result.published) == []
    # What a vault's channel repeats of its wallet's is no record of its own.
    least = COUNT * (0.6 if kind == "predictstreet-user" else 0.8)
    assert len(result.audit.wanted) > least
    assert len(result.published) > least * len(layouts)


def test_order_across_types_counts_in_the_topic_of_the_gateway() -> None:
    """Two records of one match, each in order among those of its type, that have changed places."""
    result = made("ticktock", seed=2, layouts=("type", "gateway"))
    published = list(result.published)
    last: dict[bytes | None, int] = {}
    for place, one in enumerate(published):
        if one.topic != "p.cs2":
            continue
        before = last.get(one.key)
        last[one.key] = place
        if before is not None and dict(one.headers)["type"] != dict(published[before].headers)["type"]:
            other = published[before]
            published[before], published[place] = one._replace(offset=other.offset), other._replace(offset=one.offset)
            break
    faults = result.faults(published)
    assert [fault.what for fault in faults] == ["order"]
    assert faults[0].where.startswith("p.cs2/")


def test_the_frames_have_it_all(good: Result) -> None:
    """Every kind of frame that a fault or a variation makes is among them; else a good result would say little."""
    outcomes = {each.record.outcome for each in good.audit.wanted}
    assert outcomes == {"record", "unknown", "dead_letter"}
    assert any(each.record.collision for each in good.audit.wanted)
    raws = b"\n".join(each.raw for each in good.audit.wanted)
    for text in (b'"x_number":', b'"x_textRU":null', b'"hop":[', b'"shard":7', b'\n "', b"2099-01-01", b"yesterday"):
        assert text in raws
    keys = {each.key for each in good.audit.wanted}
    assert b"cs2" in keys
    assert any(key.startswith(b"ofr_") for key in keys)


def reencoded(one: Published, change: Callable[[Any], None]) -> Published:
    """A record whose decoded value was changed."""
    schema, value = Schemas.shipped().decode(one.topic, one.value)
    change(value)
    out = io.BytesIO(one.value[:10])
    out.seek(10)
    fastavro.schemaless_writer(out, json.loads(json.dumps(schema.schema)), value)
    return one._replace(value=out.getvalue())


def with_header(one: Published, name: str, value: bytes | None) -> Published:
    """A record with another value of one header; None: without it."""
    others = tuple(each for each in one.headers if each[0] != name)
    return one._replace(headers=others if value is None else (*others, (name, value)))


def at(change: Callable[[Published], Published], topic: str = "market.updated") -> Callable[[Result], list[Published]]:
    """Change the last record of a topic that is no collision and, unless it is a dead letter, has a time of its own."""

    def plain(one: Published) -> bool:
        headers = dict(one.headers)
        own_time = headers.get("received") != b"%d" % one.timestamp
        return "collision" not in headers and (own_time or topic == "dead-letters")

    def doctor(result: Result) -> list[Published]:
        place = result.find(topic, plain)
        return [change(one) if each == place else one for each, one in enumerate(result.published)]

    return doctor


def without(topic: str) -> Callable[[Result], list[Published]]:
    """Take the last record of a topic away."""

    def doctor(result: Result) -> list[Published]:
        place = result.find(topic)
        return [one for each, one in enumerate(result.published) if each != place]

    return doctor


def again(topic: str) -> Callable[[Result], list[Published]]:
    """Have the first record of a topic once more, at the end."""

    def doctor(result: Result) -> list[Published]:
        one = next(one for one in result.published if one.topic == f"p.cs2.{topic}")
        return [*result.published, one._replace(offset=1_000_000)]

    return doctor


def swapped(topic: str) -> Callable[[Result], list[Published]]:
    """Let the last two records of one key have each other's offset."""

    def doctor(result: Result) -> list[Published]:
        last = result.find(topic)
        key = result.published[last].key
        before = max(
            place for place, one in enumerate(result.published[:last])
            if one.topic == f"p.cs2.{topic}" and one.key == key
        )  # fmt: skip
        published = list(result.published)
        one, other = published[before], published[last]
        published[before], published[last] = one._replace(offset=other.offset), other._replace(offset=one.offset)
        return published

    return doctor


def of_another_run(result: Result) -> list[Published]:
    """Have a record of a frame that was not sent."""
    other = publish("ticktock", frames("ticktock", 200, seed=99, now=result.began), began=result.began)
    stranger = next(one for one in other if one.topic == "p.cs2.market.updated")
    return [*result.published, stranger._replace(offset=1_000_000)]


def unchanged_state(result: Result) -> list[Published]:
    """Have a state published again under a new sequence number."""
    place = result.find("match.updated")
    one = reencoded(result.published[place], lambda value: value["meta"].update(seq=77_777_777))
    return [*result.published, with_header(one, "seq", b"77777777")._replace(offset=1_000_000)]


def price(value: Any) -> None:
    """Change one digit of a price."""
    value["data"]["odds"][0] = value["data"]["odds"][0].replace('"price":', '"price":9')


def extended(result: Result, name: str, text: str | None) -> list[Published]:
    """Change the text of a member that no schema knows; None: lose it."""

    def change(value: Any) -> None:
        extensions = value["data"]["extensions"]
        if text is None:
            del extensions[name]
        else:
            extensions[name] = text

    place = max(
        place for place, one in enumerate(result.published)
        if one.topic == "p.cs2.market.updated"
        and name in Schemas.shipped().decode(one.topic, one.value)[1]["data"]["extensions"]
    )  # fmt: skip
    return [reencoded(one, change) if each == place else one for each, one in enumerate(result.published)]


def other_key(one: Published) -> Published:
    """Another key, in the partition that is right for it."""
    return one._replace(key=b"somebody", partition=partition(b"somebody"), offset=1_000_000)


def later(milliseconds: int) -> Callable[[Published], Published]:
    """Another time received."""
    return lambda one: with_header(one, "received", b"%d" % (int(dict(one.headers)["received"] or b"") + milliseconds))


DOCTORED: dict[str, tuple[Callable[[Result], list[Published]], list[str], str]] = {
    "a record twice": (again("market.updated"), ["twice"], "the same as p.cs2.market.updated/"),
    "a record lost": (without("market.updated"), ["missing"], "no record in layout type"),
    "an unknown type lost": (without("unknown"), ["missing"], "no record in layout type"),
    "two records swapped": (swapped("market.updated"), ["order"], "its frame was sent after"),
    "a record of nothing": (of_another_run, ["unexpected"], "no frame that was sent looks like"),
    "an unchanged state": (unchanged_state, ["unexpected"], "no frame that was sent looks like"),
    "a price changed": (at(lambda one: reencoded(one, price)), ["value"], "data.odds[0].price: "),
    "a known field lost": (
        at(lambda one: reencoded(one, lambda value: value["data"].update(status=None))),
        ["value"],
        "data.status: 1 became nothing",
    ),
    "a seq rounded": (
        at(lambda one: reencoded(one, lambda value: value["meta"].update(seq=value["meta"]["seq"] + 1))),
        ["value"],
        "meta.seq: ",
    ),
    "an unknown field lost": (lambda result: extended(result, "x_number", None), ["value"], "data.x_number: "),
    "an unknown null lost": (
        lambda result: extended(result, "x_textRU", None),
        ["value"],
        "data.x_textRU: None became nothing",
    ),
    "a number's text changed": (lambda result: extended(result, "x_number", "1.100"), ["value"], "became 1.100"),
    "a field invented": (
        at(lambda one: reencoded(one, lambda value: value["data"]["extensions"].update(more="1"))),
        ["value"],
        "data.more: nothing became 1",
    ),
    "an envelope's member lost": (
        lambda result: _without_envelope(result, "envelope.hop"),
        ["value"],
        "meta.envelope.hop: ",
    ),
    "a frame's text changed": (
        at(lambda one: reencoded(one, lambda value: value["data"].update(json=value["data"]["json"] + " ")), "unknown"),
        ["value"],
        "json: ",
    ),
    "another key": (at(other_key), ["key"], "instead of b'"),
    "another partition": (
        at(lambda one: one._replace(partition=(one.partition + 1) % PARTITIONS, offset=1_000_000)),
        ["partition"],
        "Java puts",
    ),
    "another topic": (
        at(lambda one: one._replace(topic="p.cs2.market.created", offset=1_000_000)),
        ["topic"],
        "belongs to p.cs2.market.updated",
    ),
    "no type": (at(lambda one: with_header(one, "type", None)), ["header"], "instead of {'type'"),
    "another seq": (at(lambda one: with_header(one, "seq", b"1")), ["header"], "b'1'"),
    "another source": (at(lambda one: with_header(one, "source", b"rest")), ["header"], "b'rest'"),
    "a collision that is none": (at(lambda one: with_header(one, "collision", b"1")), ["header"], "collision"),
    "one header more": (at(lambda one: with_header(one, "x", b"1")), ["header"], "'x': b'1'"),
    "a header twice": (at(lambda one: one._replace(headers=(*one.headers, one.headers[0]))), ["header"], "twice"),
    "no time received": (at(lambda one: with_header(one, "received", None)), ["header"], "no time of this run"),
    "received another day": (at(later(-86_400_000)), ["header"], "no time of this run"),
    "received too early": (at(later(-600)), ["order"], "an earlier frame"),
    "another time": (at(lambda one: one._replace(timestamp=one.timestamp + 1)), ["timestamp"], "instead of"),
    "the broker's time": (at(lambda one: one._replace(created=False)), ["timestamp"], "instead of"),
    "no framing": (at(lambda one: one._replace(value=one.value[10:])), ["schema", "missing"], "single-object"),
    "another schema": (
        at(lambda one: one._replace(value=SINGLE_OBJECT + fingerprint(CATALOG.own("gap")) + one.value[10:])),
        ["schema", "missing"],
        "",
    ),
    "bytes left over": (at(lambda one: one._replace(value=one.value + b"\0")), ["schema", "missing"], "left over"),
    "bytes cut": (at(lambda one: one._replace(value=one.value[:-5])), ["schema", "missing"], "not of its schema"),
    "a dead letter twice": (again("dead-letters"), ["twice"], "the same as"),
    "a dead letter lost": (without("dead-letters"), ["missing"], "no dead letter"),
    "a dead letter changed": (
        at(lambda one: one._replace(value=one.value + b" "), "dead-letters"),
        ["unexpected", "missing"],
        "has the bytes",
    ),
    "another reason": (
        at(lambda one: with_header(one, "reason", b"whim"), "dead-letters"),
        ["header"],
        "'reason': b'whim'",
    ),
    "another path": (
        at(lambda one: with_header(one, "path", b"data.x"), "dead-letters"),
        ["header"],
        "'path': b'data.x'",
    ),
    "no detail": (at(lambda one: with_header(one, "detail", None), "dead-letters"), ["header"], "not one line"),
    "two lines of detail": (
        at(lambda one: with_header(one, "detail", b"a\nb"), "dead-letters"),
        ["header"],
        "not one line",
    ),
    "another dead letter's time": (
        at(lambda one: one._replace(timestamp=one.timestamp - 1), "dead-letters"),
        ["timestamp"],
        "instead of",
    ),
}


def _without_envelope(result: Result, name: str) -> list[Published]:
    """Lose a member of the envelope that no schema knows."""
    place = max(
        place for place, one in enumerate(result.published)
        if one.topic == "p.cs2.market.updated"
        and name in Schemas.shipped().decode(one.topic, one.value)[1]["meta"]["extensions"]
    )  # fmt: skip
    change: Callable[[Any], None] = lambda value: value["meta"]["extensions"].pop(name)  # noqa: E731
    return [reencoded(one, change) if each == place else one for each, one in enumerate(result.published)]


@pytest.mark.parametrize("name", DOCTORED)
def test_the_audit_names_the_fault_and_no_other(good: Result, name: str) -> None:
    """Each way to doctor a good result is told, once, and with what a person must know."""
    doctor, what, detail = DOCTORED[name]
    faults = good.faults(doctor(good))
    assert sorted(fault.what for fault in faults) == sorted(what)
    assert any(detail in fault.detail for fault in faults)


def test_everything_lost_is_told_frame_by_frame(good: Result) -> None:
    """An empty result misses every record."""
    assert {fault.what for fault in good.faults([])} == {"missing"}
    assert len(good.faults([])) == len(good.audit.wanted)


def test_a_record_in_a_topic_of_nobody_is_told(good: Result) -> None:
    """Also one whose topic merely looks like ours."""
    stray = good.published[0]._replace(topic="p.cs2.surprise")
    own = good.published[0]._replace(topic="p.feedbridge.main.ledger")
    faults = stray_faults([good.audit], ["p.feedbridge.main.ledger"], [*good.published, own, stray])
    assert [(fault.what, fault.where) for fault in faults] == [
        ("unexpected", f"p.cs2.surprise/{stray.partition}@{stray.offset}")
    ]


def entry(kind: str = "ENTRY", *, position: int | None = 1, codes: bytes = b"", **other: Any) -> Published:
    """A ledger record."""
    schema: Any = CATALOG.own("ledger")
    value = {
        "kind": kind,
        "instance": "i",
        "at": 0,
        "position": position,
        "codes": codes,
        "chains": b"",
        "links": b"",
        "orders": b"." * 8 * sum(bool(code & 0x08) for code in codes),
        "hashes": b"." * 24 * len(codes),
    }
    defaults = {
        "nonce": "",
        "generation": 0,
        "lanes": 1,
        "journal": "j",
        "cursors": {},
        "learned": [],
        "connections": [],
    }
    out = io.BytesIO(SINGLE_OBJECT + fingerprint(schema))
    out.seek(10)
    fastavro.schemaless_writer(out, json.loads(json.dumps(schema)), {**defaults, **value, **other})
    return Published("l", 0, 0, b"0", out.getvalue(), (), 0, created=False)


def test_a_ledger_must_add_up() -> None:
    """Frames told, positions, first and last entry, the broker's time, the encoding."""
    good = [entry("FIRST", position=None), entry(position=3, codes=b"\x30\x32\x31"), entry("RESIGN", position=3)]
    assert ledger_faults("l", good, disposed=2) == []
    assert [fault.detail for fault in ledger_faults("l", good, disposed=3)] == [
        "it tells of 2 frames, 3 were published or became dead letters"
    ]
    for bad, detail in (
        ([*good[:2], entry("RESIGN", position=2)], "its positions go back"),
        (good[:2], "it begins with ['FIRST'] and ends with ['ENTRY']"),
        ([good[0], good[1]._replace(created=True), good[2]], "its time is not the broker's"),
        (
            [good[0], entry(position=3, codes=b"\x30\x32", hashes=b"short"), good[2]],
            "not 24 bytes of hashes for each frame",
        ),
        (
            [good[0], entry(position=3, codes=b"\x38\x32\x31", orders=b"short"), good[2]],
            "not 8 bytes of order for each state",
        ),
    ):
        assert [fault.detail for fault in ledger_faults("l", bad, disposed=2)] == [detail]
    assert [fault.what for fault in ledger_faults("l", [*good, good[0]._replace(value=b"{}")], disposed=2)] == [
        "schema"
    ]


class TestExact:
    """JSON is compared to the last digit."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [("1.10", "1.1"), ("1e2", "100"), ("1", '"1"'), ("true", "1"), ("null", "0"), ("[1,2]", "[2,1]"), ("-0", "0")],
    )
    def test_what_reads_otherwise_is_not_equal(self, one: str, other: str) -> None:
        """Numbers by their text, types by their kind, arrays by their order."""
        assert freeze(parse(one)) != freeze(parse(other))
        assert len(list(differences(parse(one), parse(other)))) >= 1

    def test_the_order_of_members_does_not_matter(self) -> None:
        """Nor white space, nor how a character is escaped."""
        one, other = parse('{"a": 1, "b": {"c": "\\u0041", "d": [1.0]}}'), parse('{"b":{"d":[1.0],"c":"A"},"a":1}')
        assert freeze(one) == freeze(other)
        assert list(differences(one, other)) == []

    def test_a_difference_has_a_path(self) -> None:
        """Down to the element."""
        one, other = parse('{"a": {"b": [1, {"c": 2}]}}'), parse('{"a": {"b": [1, {"c": 2.0}], "e": 1}}')
        assert list(differences(one, other)) == ["a.b[1].c: 2 became 2.0", "a.e: nothing became 1"]

    def test_null_is_absent_only_where_the_schema_knows_the_member(self) -> None:
        """An unknown member that is null is a member."""
        schema = Schema({
            "type": "record", "name": "R", "namespace": "n", "fields": [
                {"name": "a", "type": ["null", "long"]},
                {"name": "extensions", "type": {"type": "map", "values": "string"}},
            ],
        })  # fmt: skip
        normal = schema.normal(parse('{"a": null, "b": null}'), schema.schema)
        assert normal == {"b": None}
        assert schema.json({"a": None, "extensions": {"b": "null"}}, schema.schema) == normal
        assert schema.json({"a": 7, "extensions": {}}, schema.schema) == {"a": Number("7")}

    def test_what_is_no_json_is_refused(self) -> None:
        """NaN and Infinity too, which Python's own parser takes."""
        for text in ("NaN", "-Infinity", "{", "", '{"a":01}'):
            with pytest.raises(ValueError, match=r"."):
                parse(text)
