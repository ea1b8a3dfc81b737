"""Key, entity, identity, event time and learned ids, from generated code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.catalog import Catalog
from bridge.codec import Codec, MetaCodec, UnknownCodec
from bridge.errors import ConfigError
from bridge.paths import moment
from tests.unit.json_texts import json_texts
from tests.unit.test_codec import ANY, EXTENSIONS, META, NUMBER, field, frame_type

SCHEMA = {
    "type": "record",
    "name": "Made",
    "fields": [
        {"name": "meta", "type": META},
        {
            "name": "data",
            "type": {
                "type": "record",
                "name": "MadeData",
                "fields": [
                    field("id", "string"),
                    field("count", "long"),
                    field("size", NUMBER),
                    field("on", "boolean"),
                    field("free", ANY),
                    field("either", "string", "long", "boolean"),
                    field("at", "string", "long"),
                    field(
                        "in", {"type": "record", "name": "Inner", "fields": [field("id", "string", "long"), EXTENSIONS]}
                    ),
                    field("map", "string", {"type": "map", "values": "long"}),
                    field("both", "Inner", {"type": "array", "items": ANY}),
                    field("rows", {"type": "array", "items": ["null", "Inner"]}),
                    field("texts", {"type": "array", "items": ANY}),
                    field("loose", "string", {"type": "array", "items": ANY}),
                    EXTENSIONS,
                ],
            },
        },
    ],
}


def path(text: str) -> tuple[str, ...]:
    """A path as the catalog has it."""
    return tuple(text.replace("[]", ".[]").split("."))


def paths(*texts: str) -> tuple[tuple[str, ...], ...]:
    """Several."""
    return tuple(path(text) for text in texts)


def made(**attributes: Any) -> Codec:
    """A codec of `SCHEMA` with such paths."""
    return Codec(frame_type(SCHEMA, **attributes))


def data_of(codec: Codec, **members: Any) -> Any:
    """A payload with such members."""
    return codec.decode_data(json.dumps(members).encode())


def meta_of(codec: Codec, **members: Any) -> Any:
    """A meta with such members."""
    return codec._meta.struct(**members)


@pytest.mark.parametrize(
    ("at", "members", "expected"),
    [
        ("data.id", {"id": "m"}, "m"),
        ("data.id", {"id": ""}, None),
        ("data.id", {"id": None}, None),
        ("data.id", {}, None),
        ("data.count", {"count": -5}, "-5"),
        ("data.count", {"count": 0}, "0"),
        ("data.size", {"size": 1.5}, "1.5"),
        ("data.size", {}, None),
        ("data.on", {"on": True}, None),
        ("data.either", {"either": "x"}, "x"),
        ("data.either", {"either": 7}, "7"),
        ("data.either", {"either": True}, None),
        ("data.free", {"free": "é"}, "é"),
        ("data.free", {"free": 10**80}, str(10**80)),
        ("data.free", {"free": None}, None),
        ("data.free", {"free": [1]}, None),
        ("data.free.a.b", {"free": {"a": {"b": 5}}}, "5"),
        ("data.free.a.b", {"free": {"a": 5}}, None),
        ("data.in.id", {"in": {"id": "x"}}, "x"),
        ("data.in.id", {"in": {"id": 7, "more": 1}}, "7"),
        ("data.in.id", {"in": {}}, None),
        ("data.in.id", {}, None),
        ("data.map.a", {"map": {"a": 5}}, "5"),
        ("data.map.a", {"map": {"b": 5}}, None),
        ("data.map.a", {"map": "a"}, None),
        ("data.extensions.x", {"x": "new"}, "new"),
        ("data.extensions.x.y", {"x": {"y": 3}}, "3"),
        ("data.extensions.x", {}, None),
    ],
)
def test_an_id_is_text_wherever_it_lies(at: str, members: dict[str, Any], expected: str | None) -> None:
    """Strings as they are, numbers by their digits; nothing else, and no empty one, is an id."""
    codec = made(key=paths(at), entity=paths(at))
    assert codec.key(meta_of(codec), data_of(codec, **members)) == expected
    assert codec.entity(meta_of(codec), data_of(codec, **members)) == expected


def test_the_first_path_that_is_there_wins() -> None:
    """In the order of the schema; without paths there is no key."""
    codec = made(key=paths("data.id", "data.in.id", "meta.ts"))
    assert codec.key(meta_of(codec, ts="t"), data_of(codec, id="", **{"in": {"id": 1}})) == "1"
    assert codec.key(meta_of(codec, ts="t"), data_of(codec)) == "t"
    assert made().key(meta_of(codec), data_of(codec)) is None


def test_minus_zero_is_zero() -> None:
    """As a long it reads so; as text it must not become another id."""
    codec = made(key=paths("data.free"), identity=(paths("data.free"),))
    data = codec.decode_data(b'{"free":-0}')
    assert (codec.key(meta_of(codec), data), codec.identity(meta_of(codec), data)) == ("0", b"i0;")


def test_an_identity_needs_all_its_values() -> None:
    """The first complete alternative wins, and alternatives are never taken for each other."""
    codec = made(identity=(paths("data.id", "meta.seq"), paths("data.count", "meta.seq"), paths("data.free")))
    assert codec.identity(meta_of(codec, seq=1), data_of(codec, id="a", count=2)) == b"s1:ai1;"
    assert codec.identity(meta_of(codec, seq=1), data_of(codec, count=2)) == b"i2;i1;"
    assert codec.identity(meta_of(codec), data_of(codec, id="a", count=2, free=[1, 2])) == b"j5:[1,2]"
    assert codec.identity(meta_of(codec), data_of(codec, id="a")) is None
    assert made().identity(meta_of(codec), data_of(codec)) is None


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["5", "i5;", "s1:5", "true"])
)


@given(st.tuples(PLAIN, PLAIN), st.tuples(PLAIN, PLAIN))
def test_different_values_never_have_one_identity(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    """The JSON type counts, and where one value ends the next begins."""
    codec = made(identity=(paths("data.free", "data.extensions.x"),))
    found = [codec.identity(meta_of(codec), data_of(codec, free=a, x=b)) for a, b in (one, other)]
    complete = [None not in pair and "" not in pair for pair in (one, other)]
    assert [identity is not None for identity in found] == complete
    if all(complete):
        same = [(type(each), each) for each in one] == [(type(each), each) for each in other]
        assert (found[0] == found[1]) == same


@pytest.mark.parametrize("at", ["data.id", "data.either", "data.free", "data.extensions.x"])
def test_an_identity_does_not_depend_on_the_schema(at: str) -> None:
    """The same string is tagged alike in a field of any type, so that a field may change its type."""
    codec = made(identity=(paths(at),))
    members = dict.fromkeys(("id", "either", "free", "x"), "a:b")
    assert codec.identity(meta_of(codec), data_of(codec, **members)) == b"s3:a:b"
    numbers = {"count": 5, "either": 5, "free": 5, "size": 5, "x": 5}
    if at != "data.id":
        assert codec.identity(meta_of(codec), data_of(codec, **numbers)) == b"i5;"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-05-10T13:42:11.123Z", 1778420531123),
        ("2026-05-10T13:42:11Z", 1778420531000),
        ("2026-05-10t13:42:11z", 1778420531000),
        ("2026-05-10T13:42:11+00:00", 1778420531000),
        ("2026-05-10T15:42:11.5+02:00", 1778420531500),
        ("2026-05-10 13:42:11.123456789", 1778420531123),
        ("2026-05-10T13:42:11", 1778420531000),
        (1778420531123, 1778420531123),
        ("2026-05-10", None),
        ("1778420531123", None),
        ("2026-13-10T13:42:11Z", None),
        ("2026-05-10T13:42:11+02:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("1969-12-31T23:59:59Z", None),
        ("now, more or less, I think", None),
        ("", None),
        (0, None),
        (-5, None),
        (1 << 62, None),
        (True, None),
        (None, None),
    ],
)
def test_event_times(value: Any, expected: int | None) -> None:
    """ISO 8601 text or integer ms, in ms; what is no time is none."""
    assert moment(value) == expected
    raw = msgspec.Raw(json.dumps(value).encode())
    assert moment(raw) == expected


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001 - zones are added below
    st.one_of(st.none(), st.integers(-1439, 1439)),
)
def test_any_time_is_read_to_the_millisecond(at: datetime, minutes: int | None) -> None:
    """With any offset, with none, and whatever the digits of the second."""
    zone = UTC if minutes is None else timezone(timedelta(minutes=minutes))
    text = at.isoformat() + ("" if minutes is None else f"{zone.tzname(None)}".removeprefix("UTC"))
    assert moment(text) == (at.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001 - UTC, as written
    st.lists(st.sampled_from([".000Z", ".123Z", ".999Z", "Z", "+00:00", "+01:00", ".5Z", ""]), min_size=2, max_size=5),
)
def test_a_second_that_was_read_before_is_read_alike(at: datetime, endings: list[str]) -> None:
    """What is remembered of one text is right for every other of the same second."""
    second = at.replace(microsecond=0).isoformat()
    for ending in endings:
        exact = datetime.fromisoformat(second + (ending or "Z"))
        assert moment(second + ending) == (exact - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(st.one_of(st.text(max_size=40), st.integers(), json_texts().map(lambda text: msgspec.Raw(text.encode()))))
def test_no_value_makes_event_time_raise(value: Any) -> None:
    """Whatever a gateway sends, there is a time or none."""
    found = moment(value)
    assert found is None or found > 0


def test_the_first_usable_time_wins() -> None:
    """A field that is there but no time is passed over."""
    codec = made(event_time=paths("data.at", "data.in.id", "meta.ts"))
    ts = "1970-01-01T00:00:01Z"
    assert codec.event_time(meta_of(codec, ts=ts), data_of(codec, at="CT", **{"in": {"id": 5}})) == 5
    assert codec.event_time(meta_of(codec, ts=ts), data_of(codec, at="CT")) == 1000
    assert codec.event_time(meta_of(codec), data_of(codec, at=None)) is None


def test_ids_are_learned_through_arrays() -> None:
    """From records, from elements kept as JSON text, whatever else lies in the array."""
    codec = made(learn=tuple((path(f"data.{at}[].id"), path("data.id")) for at in ("rows", "texts", "loose")))
    members = {
        "id": "m",
        "rows": [{"id": "r"}, None, {"id": 5, "x": 1}, {}],
        "texts": [{"id": "t", "more": [{}]}, 7, "x", [], None, {"id": None}, {"id": {"a": 1}}, {"id": 9}],
        "loose": [{"id": "l"}],
    }
    found = codec.learn(meta_of(codec), data_of(codec, **members))
    assert found == [("r", "m"), ("5", "m"), ("t", "m"), ("9", "m"), ("l", "m")]
    assert codec.learn(meta_of(codec), data_of(codec, **(members | {"id": None}))) == []
    assert codec.learn(meta_of(codec), data_of(codec, id="m", loose="none")) == []


def test_nothing_to_learn() -> None:
    """A list of its own, every time."""
    codec = made()
    first = codec.learn(meta_of(codec), data_of(codec))
    first.append(("a", "b"))
    assert codec.learn(meta_of(codec), data_of(codec)) == []


@pytest.mark.parametrize("at", ["data.nothing", "data.in", "data.rows", "data.id.more", "data.in.nothing", "data.both"])
def test_a_path_that_leads_nowhere_is_an_error_at_start(at: str) -> None:
    """Not a key that is silently absent."""
    with pytest.raises(ConfigError, match="leads to no plain value"):
        made(key=paths(at), identity=(paths(at),))


def test_paths_of_an_unknown_type_are_those_of_its_own_payload() -> None:
    """Whatever the payload is: an object, anything else, nothing."""
    kind = Catalog.load().kind("ticktock")
    codec, envelopes = UnknownCodec(kind.unknown), MetaCodec(kind)
    for raw, key, entity in (
        (b'{"type":"nobody.knows","data":{"id":"o","match_id":7},"meta":{"seq":5}}', "7", "o"),
        (b'{"type":"nobody.knows","data":{"match_id":"m"},"meta":{"seq":5}}', "m", "m"),
        (b'{"type":"nobody.knows","data":[1],"meta":{"seq":5}}', None, None),
        (b'{"type":"nobody.knows","data":"m","meta":{"seq":5}}', None, None),
        (b'{"type":"nobody.knows","match_id":"m","meta":{"seq":5}}', "m", "m"),
    ):
        envelope = envelopes.decode(raw)
        data = codec.decode(envelope, raw)
        assert (codec.key(envelope.meta, data), codec.entity(envelope.meta, data)) == (key, entity)
        assert codec.identity(envelope.meta, data) == b"i5;"
        assert codec.event_time(envelope.meta, data) is None
        assert codec.learn(envelope.meta, data) == []
