"""Nothing is lost or changed between a frame and its record, and the two ways to read a frame are one."""

from __future__ import annotations

import copy
import io
import json
import traceback
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import shape_reader
from bridge.catalog import Catalog, FrameType, Kind
from bridge.codec import Codec, MetaCodec, RecordCodec, UnknownCodec, canonical, fingerprint, has_duplicate_keys
from bridge.errors import BadFrame, ConfigError
from bridge.shape import Anything, Array, Boolean, Bytes, Choice, Integer, Map, Number, Record, Shape, Symbol
from tests.unit.json_texts import (
    CHARACTERS,
    exact,
    json_texts,
    object_texts,
    record_texts,
    restored,
    texts_of,
    without_nulls,
)

ANY = {"type": "string", "json": "any"}
NUMBER = {"type": "string", "json": "number"}
EXTENSIONS = {"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}}


def field(name: str, *branches: Any) -> dict[str, Any]:
    """A nullable field."""
    return {"name": name, "type": ["null", *branches], "default": None}


META = {"type": "record", "name": "Meta", "fields": [field("ts", "string"), field("seq", "long"), EXTENSIONS]}
LEVEL = {"type": "record", "name": "Level", "fields": [field("price", "string"), field("n", NUMBER), EXTENSIONS]}
#: Everything that the language has, and names that Python and msgspec would rather not see.
EVERYTHING = {
    "type": "record",
    "name": "Everything",
    "namespace": "test",
    "fields": [
        {"name": "meta", "type": META},
        {
            "name": "data",
            "type": {
                "type": "record",
                "name": "EverythingData",
                "fields": [
                    {"name": "id", "type": "string"},
                    {"name": "needed", "type": "long"},
                    {"name": "amount", "type": NUMBER},
                    {"name": "free", "type": ANY},
                    {"name": "flags", "type": {"type": "array", "items": "boolean"}},
                    field("bids", {"type": "array", "items": LEVEL}),
                    field("asks", {"type": "array", "items": ["null", "Level"]}),
                    field("best", "Level"),
                    field("from", "string"),
                    field("class", "int"),
                    field("meta", ANY),
                    field("colons", "boolean"),
                    field("__init__", "string"),
                    field("__slots__", "long"),
                    field("_id", "string"),
                    field("size", NUMBER),
                    field("open", "long", "string", "boolean"),
                    field("who", "string", "long", {"type": "map", "values": ANY}),
                    field("mixed", "boolean", NUMBER, {"type": "array", "items": "string"}),
                    field("levels", "Level", {"type": "array", "items": ANY}),
                    field("grid", {"type": "array", "items": {"type": "array", "items": ["null", "long", "string"]}}),
                    field("odds", {"type": "map", "values": ["null", NUMBER]}),
                    field("loose", {"type": "array", "items": ["null", ANY]}),
                    field("mixes", {"type": "array", "items": ["null", "string", "boolean", LEVEL | {"name": "Mix"}]}),
                    EXTENSIONS,
                ],
            },
        },
    ],
}


def frame_type(schema: dict[str, Any], **attributes: Any) -> FrameType:
    """A frame type of a schema, with no paths but those given."""
    facts: dict[str, Any] = {
        "type": "everything",
        "name": schema["name"],
        "schema": schema,
        "schema_json": json.dumps(schema),
        "key": (),
        "entity": (),
        "identity": (),
        "content": True,
        "kind": "event",
        "family": "everything",
        "event_time": (),
        "learn": (),
        "publish": True,
        "private": False,
    }
    return FrameType(**(facts | attributes))


@cache
def types() -> dict[str, FrameType]:
    """Every known type there is, and `EVERYTHING`."""
    shipped = {
        f"{kind.name} {each.type}": each for kind in Catalog.load().kinds.values() for each in kind.types.values()
    }
    return {"everything": frame_type(EVERYTHING), **shipped}


@cache
def codec(name: str) -> Codec:
    """The codec of one of `types`."""
    return Codec(types()[name])


@cache
def slow_codec(name: str) -> Codec:
    """The same without msgspec's typed reading: each JSON value goes the exact way."""
    slow = Codec(types()[name])
    _slow_down(slow._data)
    return slow


def _slow_down(shape: Shape) -> None:
    match shape:
        case Record():
            for each in shape.fields:
                each.decode = None
                _slow_down(each.shape)
        case Array():
            _slow_down(shape.items)
        case Map():
            _slow_down(shape.values)
        case Choice():
            for _, branch in shape.branches:
                _slow_down(branch)


@cache
def parsed(name: str) -> Any:
    """The schema of one of `types` for fastavro."""
    return fastavro.parse_schema(copy.deepcopy(types()[name].schema))


def written(schema: Any, value: Any) -> bytes:
    """What fastavro writes."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value, strict=True)
    return out.getvalue()


def test_every_schema_that_ships_is_among_those_tried() -> None:
    """A folder of schemas joins these tests by itself."""
    folders = {path.parent.name for path in (Path(__file__).parents[2] / "schemas").glob("*/unknown.avsc")}
    assert folders == {name.split()[0] for name in types() if name != "everything"}
    assert "predictstreet-user vault.deposit_confirmed" in types()


#: Which of `types` an example is of: half of them are of the one that has everything.
NAMES = st.one_of(st.just("everything"), st.sampled_from(sorted(types())))
META_VALUE = json.dumps({"ts": "2026-05-10T13:42:11.123Z", "seq": 481234})


def meta_of(name: str) -> Any:
    """A meta for one of `types`, with what all have."""
    return codec(name)._meta.struct(seq=481234)


@given(NAMES, st.data())
def test_a_record_holds_all_that_the_payload_said(name: str, data: st.DataObject) -> None:
    """Every string, digit and unknown member of a payload is found again in the record; null and absent are one."""
    of = codec(name)
    text, unknown = data.draw(record_texts(of._data))
    value = of.decode_data(text.encode())
    raw = of.encode(meta_of(name), value)
    assert raw == written(parsed(name), of.to_python(meta_of(name), value))
    found: Any = fastavro.schemaless_reader(io.BytesIO(raw), parsed(name), None)
    assert restored(of._data, found["data"]) == without_nulls(of._data, exact(text))
    assert found["data"].get("extensions", {}) == unknown


def outcome(read: Any, text: bytes) -> Any:
    """What becomes of a text: the record, or why there is none."""
    of = read.__self__
    try:
        value = read(text)
    except BadFrame as bad:
        return bad.reason, bad.detail, bad.path
    return of.to_python(of._meta.struct(seq=1), value), of.encode(of._meta.struct(seq=1), value)


def check_ways(name: str, text: bytes) -> None:
    """Assert that the fast and the exact way agree."""
    of, slow = codec(name), slow_codec(name)
    fast = outcome(of.decode_data, text)
    assert fast == outcome(slow._decode_exactly, text)
    try:
        value = of._decode(text)
        taken = of._intact is None or of._intact(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        taken = False
    if taken:
        assert isinstance(fast[0], dict)
    elif isinstance(fast[0], dict):
        assert has_extensions(fast[0])


def has_extensions(value: Any) -> bool:
    """Whether an unknown member was met anywhere in a record."""
    if isinstance(value, dict):
        return bool(value.get("extensions")) or any(has_extensions(each) for each in value.values())
    return isinstance(value, (list, tuple)) and any(has_extensions(each) for each in value)


@given(NAMES, st.data())
def test_both_ways_take_the_same_payloads(name: str, data: st.DataObject) -> None:
    """Whatever members have whatever values: the fast way gives what the exact way gives, the same errors too."""
    fields = [each.name for each in codec(name)._data.fields]
    names = st.one_of(st.sampled_from(fields), st.just("extensions"), CHARACTERS)
    members = data.draw(st.lists(st.tuples(names, json_texts(names=names)), max_size=5, unique_by=lambda pair: pair[0]))
    check_ways(name, data.draw(object_texts(members)).encode())


@given(NAMES, st.data())
def test_both_ways_agree_where_one_thing_is_wrong(name: str, data: st.DataObject) -> None:
    """A payload that fits but for one member is read, or refused with the same words, by both ways."""
    shapes = {each.name: each.shape for each in codec(name)._data.fields}
    members = {each: data.draw(texts_of(shape)) for each, shape in shapes.items()}
    members[data.draw(st.sampled_from(list(shapes)))] = data.draw(json_texts())
    check_ways(name, data.draw(object_texts(list(members.items()))).encode())


VALID = '{"id":"1","needed":2,"amount":1.10,"free":[ 1 ],"flags":[true]'


@pytest.mark.parametrize(
    ("more", "reason", "detail", "path"),
    [
        (',"from":5}', "wrong_type", "expected string or null, found integer", "data.from"),
        (',"from":[]}', "wrong_type", "expected string or null, found array", "data.from"),
        (',"needed":null}', "wrong_type", "expected integer, found null", "data.needed"),
        (',"needed":1.0}', "wrong_type", "expected integer, found number", "data.needed"),
        (',"needed":"1"}', "wrong_type", "expected integer, found string", "data.needed"),
        (',"needed":true}', "wrong_type", "expected integer, found boolean", "data.needed"),
        (',"size":"1"}', "wrong_type", "expected number or null, found string", "data.size"),
        (',"amount":null}', "wrong_type", "expected number, found null", "data.amount"),
        (
            ',"open":{}}',
            "wrong_type",
            "expected integer or string or boolean or null, found object",
            "data.open",
        ),
        (',"mixed":[1]}', "wrong_type", "expected string, found integer", "data.mixed[0]"),
        (',"bids":[{},{"price":1}]}', "wrong_type", "expected string or null, found integer", "data.bids[1].price"),
        (',"bids":[{"n":"1","x":1}]}', "wrong_type", "expected number or null, found string", "data.bids[0].n"),
        (',"odds":{"a":"1"}}', "wrong_type", "expected number or null, found string", "data.odds.a"),
        (',"odds":{"a\\nb":"1"}}', "wrong_type", "expected number or null, found string", "data.odds.*"),
        (',"flags":[null]}', "wrong_type", "expected boolean, found null", "data.flags[0]"),
        (
            ',"needed":9223372036854775808}',
            "out_of_range",
            "expected an integer of 64 bits, found a larger one",
            "data.needed",
        ),
        (',"class":2147483648}', "out_of_range", "expected an integer of 32 bits, found a larger one", "data.class"),
        (
            f',"needed":{"9" * 5000}}}',
            "out_of_range",
            "expected an integer of 64 bits, found a larger one",
            "data.needed",
        ),
        (',"needed":1e400}', "wrong_type", "expected integer, found number", "data.needed"),
    ],
)
def test_a_wrong_member_is_named(more: str, reason: str, detail: str, path: str) -> None:
    """The error says what was expected, what was found and where."""
    with pytest.raises(BadFrame) as caught:
        codec("everything").decode_data((VALID + more).encode())
    assert (caught.value.reason, caught.value.detail, caught.value.path) == (reason, detail, path)


@pytest.mark.parametrize(
    ("text", "reason", "path"),
    [
        ("", "no_data", "data"),
        ("null", "no_data", "data"),
        ("[]", "no_data", "data"),
        ("5", "no_data", "data"),
        ("{", "not_json", None),
        ("nul", "not_json", None),
        ('{"id":"1"}', "missing_field", "data.needed"),
    ],
)
def test_a_payload_that_is_none_is_named(text: str, reason: str, path: str | None) -> None:
    """An absent payload, one that is no object, one that lacks what the contract guarantees."""
    with pytest.raises(BadFrame) as caught:
        codec("everything").decode_data(text.encode())
    assert (caught.value.reason, caught.value.path) == (reason, path)


def test_unknown_members_keep_their_text() -> None:
    """Also one called extensions, one that is null, and those of nested records, white space and all."""
    of = codec("everything")
    text = VALID + r',"extensions":{"a" : 1.10},"new": null ,"x":"\u0041","best":{"y":[ 1,  2 ]}}'
    found = of.to_python(meta_of("everything"), of.decode_data(text.encode()))["data"]
    assert found["extensions"] == {"extensions": '{"a" : 1.10}', "new": "null", "x": r'"\u0041"'}
    assert found["best"]["extensions"] == {"y": "[ 1,  2 ]"}
    assert found["free"] == "[ 1 ]"
    assert found["amount"] == "1.10"


def test_an_unknown_member_that_came_once_is_read_at_full_speed() -> None:
    """The second time gives the very record that the first gave, in whatever order the members come."""
    of = Codec(types()["everything"])
    first = of.decode_data(f'{VALID},"z": [1, 2],"a":null}}'.encode())
    assert of._decode(f'{VALID},"z":1}}'.encode()) is not None
    again = of.decode_data(f'{VALID},"a":null,"z": [1, 2]}}'.encode())
    assert of.encode(meta_of("everything"), again) == of.encode(meta_of("everything"), first)
    assert [*again.extensions] == ["a", "z"]
    assert not of.decode_data(f"{VALID}}}".encode()).extensions


def test_made_up_names_are_not_expected_for_ever() -> None:
    """A gateway that makes up names, or uses odd ones, is read as before."""
    of = Codec(types()["everything"])
    for name in [r"\\", r"\"", *map(str, range(100))]:
        found = of.decode_data(f'{VALID},"{name}":1}}'.encode())
        assert [*found.extensions.values()] == ["1"]
    assert len(of._unknown) <= 33


@pytest.mark.parametrize("text", ["{}", '{"a":"b"}', "null", '{"a":1}', "[]", '"x"'])
def test_a_member_called_extensions_is_one_of_the_gateways(text: str) -> None:
    """Whatever it holds, even what our own field of that name would: it is an unknown member, no set of them."""
    raw = f'{VALID},"extensions":{text},"best":{{"extensions":{text}}}}}'.encode()
    found = codec("everything").to_python(meta_of("everything"), codec("everything").decode_data(raw))["data"]
    assert found["extensions"] == found["best"]["extensions"] == {"extensions": text}


def test_a_value_that_stays_text_must_be_utf8() -> None:
    """msgspec does not look at what it leaves as text; a consumer would trip over it."""
    for text in (
        b'"zz":"\xff"',
        b'"zz":{"\xff":1}',
        b'"meta":["\xc3"]',
        b'"who":{"a":"\xed\xa0\x80"}',
        b'"loose":["\xff"]',
    ):
        with pytest.raises(BadFrame) as caught:
            codec("everything").decode_data(VALID.encode() + b"," + text + b"}")
        assert caught.value.reason == "not_json"


def test_generated_code_shows_in_tracebacks() -> None:
    """A fault in generated code points to its line."""
    with pytest.raises(AttributeError) as caught:
        codec("everything").encode(meta_of("everything"), object())
    lines = "".join(traceback.format_tb(caught.tb))
    assert 'File "<Everything>"' in lines
    assert ".id.encode()" in lines


# The whole way of a frame


@cache
def kinds() -> dict[str, tuple[MetaCodec, dict[str, Codec], UnknownCodec]]:
    """By name: all codecs of a kind."""
    return {
        kind.name: (
            MetaCodec(kind),
            {name: Codec(each) for name, each in kind.types.items()},
            UnknownCodec(kind.unknown),
        )
        for kind in Catalog.load().kinds.values()
    }


def process(kind: str, raw: bytes) -> bytes:
    """What the pipeline does with a frame. Raises `BadFrame` and nothing else."""
    envelopes, known, unknown = kinds()[kind]
    envelope = envelopes.decode(raw)
    of = known.get(envelope.type)
    data = of.decode_data(envelope.data) if of else unknown.decode(envelope, raw)
    if has_duplicate_keys(raw, canonical(envelope.data), envelope):
        raise BadFrame("duplicate_key", "an object has two members of the same name")
    functions = of or unknown
    functions.key(envelope.meta, data)
    functions.entity(envelope.meta, data)
    functions.identity(envelope.meta, data)
    functions.event_time(envelope.meta, data)
    functions.learn(envelope.meta, data)
    return functions.encode(envelope.meta, data)


@st.composite
def frames(draw: st.DrawFn, kind: str) -> bytes:
    """A frame of a kind that nothing is wrong with."""
    envelopes, known, _ = kinds()[kind]
    name = draw(st.one_of(st.sampled_from(sorted(known)), CHARACTERS.filter(lambda name: name not in known)))
    payload = draw(record_texts(known[name]._data))[0] if name in known else draw(json_texts())
    members = [("type", draw(st.just(json.dumps(name)))), ("data", payload)]
    meta = envelopes._meta
    if envelopes._nested:
        members.append(("meta", draw(record_texts(meta))[0]))
    else:
        members += [(each.name, draw(texts_of(each.shape))) for each in meta.fields if draw(st.booleans())]
    if draw(st.integers(0, 5)) == 0:
        members.append(("another", draw(json_texts())))
    return draw(object_texts(draw(st.permutations(members)))).encode()


KINDS = sorted(Catalog.load().kinds)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_a_good_frame_becomes_a_record(kind: str, data: st.DataObject) -> None:
    """No frame that keeps to its schema is refused, whatever unknown members and white space it has."""
    assert process(kind, data.draw(frames(kind)))


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_rubbish_is_refused_and_nothing_else_happens(kind: str, data: st.DataObject) -> None:
    """A frame damaged anyhow is a record still, or a `BadFrame`; what is taken is JSON to Python, too."""
    raw = bytearray(data.draw(frames(kind)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(at, min(at + 4, len(raw))))
        piece = st.sampled_from(
            [b'"', b":", b",", b"{", b"}", b"\\", b"NaN", b"\xff", b"\\ud800", b" ", b"1e999", b"-"]
        )
        raw[at:end] = data.draw(st.one_of(piece, st.binary(max_size=3)))
    check_refusal(kind, bytes(raw))


def _no_constant(name: str) -> None:
    raise ValueError(name)


def check_refusal(kind: str, raw: bytes) -> None:
    """Assert that a frame is refused by `BadFrame` where Python's own decoder, at its strictest, refuses it."""
    try:
        process(kind, raw)
    except BadFrame:
        return
    json.loads(raw.decode(), parse_constant=_no_constant, parse_int=str)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 5000 + b"]" * 5000, b"9" * 5000])
def test_extremes_are_refused_wherever_they_stand(kind: str, value: bytes) -> None:
    """Nesting and digits beyond all measure: in a payload, an unknown type, the envelope, or alone."""
    for name in [*kinds()[kind][1], "nobody.knows"]:
        for frame in (
            b'{"type":"%b","data":{"id":%b}}',
            b'{"type":"%b","data":{"zz":%b}}',
            b'{"type":"%b","meta":{"x":%b}}',
        ):
            with pytest.raises(BadFrame):
                process(kind, frame % (name.encode(), value))
    with pytest.raises(BadFrame):
        process(kind, value)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'{"type":"match.updated","data":{}} x', "not_json"),
        (b'{"type":"match.updated","data":{"score_a":NaN}}', "not_json"),
        (b'{"type":"match.updated","data":{"zz":-Infinity}}', "not_json"),
        (b'{"type":"match.updated","data":{"id":"\\ud800"}}', "not_json"),
        (b'{"type":"nobody.knows","data":{"id":"\\ud800"}}', "not_json"),
        (b'{"type":"match.updated","data":{"zz":"\xff"}}', "not_json"),
        (b'{"type":"\xff","data":{}}', "not_json"),
        (b"[]", "not_object"),
        (b'"x"', "not_object"),
        (b" 5 ", "not_object"),
        (b"null", "not_object"),
        (b"{}", "no_type"),
        (b'{"type":null,"data":{}}', "no_type"),
        (b'{"type":5,"data":{}}', "no_type"),
        (b'{"type":"match.updated"}', "no_data"),
        (b'{"type":"match.updated","data":null}', "no_data"),
        (b'{"type":"match.updated","data":[1]}', "no_data"),
        (b'{"type":"match.updated","data":{},"meta":5}', "wrong_type"),
        (b'{"type":"match.updated","data":{},"meta":{"seq":"5"}}', "wrong_type"),
        (b'{"type":"match.updated","data":{},"meta":{"seq":9223372036854775808}}', "out_of_range"),
        (b'{"type":"match.updated","data":{},"data":{}}', "duplicate_key"),
        (b'{"type":"match.updated","data":{"id":"1", "id" :"1"}}', "duplicate_key"),
        (b'{"type":"match.updated","data":{"zz":{"a":1,"\\u0061":2}}}', "duplicate_key"),
    ],
)
def test_each_reason_has_its_frames(raw: bytes, reason: str) -> None:
    """The code of a dead letter says what is wrong with the frame."""
    with pytest.raises(BadFrame) as caught:
        process("ticktock", raw)
    assert caught.value.reason == reason


# The bridge's own records


def values_of(shape: Shape) -> st.SearchStrategy[Any]:
    """Values as a program has them."""
    match shape:
        case Record():
            made = {each.attribute: values_of(each.shape) for each in shape.fields}
            return st.fixed_dictionaries(made).map(lambda values: SimpleNamespace(**values))
        case Array():
            return st.lists(values_of(shape.items), max_size=3)
        case Map():
            return st.dictionaries(CHARACTERS, values_of(shape.values), max_size=3)
        case Choice():
            return st.one_of(st.none(), *(values_of(branch) for _, branch in shape.branches))
        case Symbol():
            return st.sampled_from(shape.symbols)
        case Integer():
            return st.integers(shape.least, shape.most)
        case Boolean():
            return st.booleans()
        case Bytes():
            return st.binary(max_size=100)
    assert not isinstance(shape, (Number, Anything))
    return CHARACTERS


@pytest.mark.parametrize("name", sorted(Catalog.load().records))
@given(st.data())
def test_own_records_are_written_as_fastavro_writes_them(name: str, data: st.DataObject) -> None:
    """Enums, bytes and all."""
    schema = Catalog.load().records[name]
    of = RecordCodec(schema)
    value = data.draw(values_of(of.shape))
    assert of.encode(value) == written(fastavro.parse_schema(copy.deepcopy(dict(schema))), of.shape.plain(value))


@pytest.mark.parametrize(
    ("branches", "what"),
    [
        (["null", "long", NUMBER], "two branches of the union are for number"),
        (["null", "string", NUMBER], "two branches of the union are for Avro string"),
        (["null", "string", ANY], "json any takes every value"),
        (["null", LEVEL, {"type": "map", "values": "string"}], "two branches of the union are for object"),
        (["null"], "a union needs a branch besides null"),
        (["null", "double"], "the type 'double' is not defined"),
        (["null", {"type": "string", "json": "xml"}], "no type of the language"),
    ],
)
def test_what_json_cannot_decide_is_refused_at_start(branches: list[Any], what: str) -> None:
    """A schema that leaves open what a frame would become is an error before any frame comes."""
    schema = {"type": "record", "name": "X", "fields": [{"name": "a", "type": branches}]}
    with pytest.raises(ConfigError, match=what):
        shape_reader.read(schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [("null", "8a8f25cce724dd63"), ("int", "8f5c393f1ad57572"), ("string", "c70345637248018f")],
)
def test_fingerprints_are_those_of_the_specification(schema: str, expected: str) -> None:
    """CRC-64-AVRO, little-endian; values from the tests of Avro itself."""
    assert fingerprint({"type": schema}).hex() == expected


def test_a_fingerprint_looks_at_what_is_written_only() -> None:
    """Documentation and the bridge's attribute may change without a new schema."""
    changed: dict[str, Any] = copy.deepcopy(EVERYTHING) | {"doc": "new", "bridge": {"type": "x"}}
    assert fingerprint(changed) == fingerprint(EVERYTHING)
    changed["fields"][1]["type"]["fields"][0]["type"] = "long"
    assert fingerprint(changed) != fingerprint(EVERYTHING)


def test_a_kind_of_one_made_up_type() -> None:
    """Required members of the envelope are asked for, and a flat envelope is refused a second `data`."""
    needed = META | {"fields": [{"name": "seq", "type": "long"}, EXTENSIONS]}
    known = frame_type(EVERYTHING)
    nested = MetaCodec(Kind(name="x", types={"everything": known}, unknown=known, meta=needed, nested=True))
    with pytest.raises(BadFrame) as caught:
        nested.decode(b'{"type":"everything","data":{}}')
    assert (caught.value.reason, caught.value.path) == ("missing_field", "meta.seq")
    twice = META | {"fields": [field("data", "string"), EXTENSIONS]}
    with pytest.raises(ConfigError, match="the envelope of a frame has data already"):
        MetaCodec(Kind(name="x", types={}, unknown=known, meta=twice, nested=False))


@example("a\u2028b")
@given(CHARACTERS)
def test_an_unknown_type_is_kept_whole(text: str) -> None:
    """The record of an unknown type is the frame, byte for byte."""
    raw = json.dumps({"type": "nobody.knows", "data": {"text": text}, "meta": {"seq": 1}}, ensure_ascii=False).encode()
    envelopes, _, unknown = kinds()["ticktock"]
    envelope = envelopes.decode(raw)
    data = unknown.decode(envelope, raw)
    found = unknown.to_python(envelope.meta, data)
    schema = fastavro.parse_schema(copy.deepcopy(Catalog.load().kind("ticktock").unknown.schema))
    assert unknown.encode(envelope.meta, data) == written(schema, found)
    assert found["data"] == {"type": "nobody.knows", "json": raw.decode()}
    assert found["meta"]["seq"] == 1
