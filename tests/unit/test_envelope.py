"""Envelopes, and the proof that no member of a frame was dropped."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.catalog import Catalog
from bridge.codec import Envelope, MetaCodec, canonical, has_duplicate_keys
from bridge.errors import BadFrame
from tests.unit.json_texts import CHARACTERS, json_texts, object_texts

TICKTOCK = "ticktock"
PREDICTSTREET = "predictstreet-market"


@cache
def envelopes(kind: str) -> MetaCodec:
    """The codec of a shipped kind."""
    return MetaCodec(Catalog.load().kind(kind))


def read(kind: str, raw: str) -> Envelope:
    """The envelope of a frame."""
    return envelopes(kind).decode(raw.encode())


def test_a_nested_envelope() -> None:
    """Type, payload and facts, where they stand."""
    found = read(TICKTOCK, '{"type":"match.updated", "data": {"id" : "m"} ,"meta":{"ts":"t","seq":5}}')
    assert (found.type, bytes(found.data), found.meta.ts, found.meta.seq) == ("match.updated", b'{"id" : "m"}', "t", 5)
    assert found.meta.extensions == {}


def test_a_flat_envelope() -> None:
    """What lies beside the payload is meta."""
    found = read(PREDICTSTREET, '{"type":"trade","sid":1,"channel":"c","id":"0x","serverTs":5,"data":{}}')
    assert (found.type, found.meta.sid, found.meta.channel, found.meta.id) == ("trade", 1, "c", "0x")
    assert (found.meta.serverTs, found.meta.seq, found.meta.hash) == (5, None, None)


def test_unknown_members_of_a_nested_envelope() -> None:
    """Each is found again, and none can be taken for another."""
    raw = (
        '{"type":"match.updated","data":{},"x":[ 1 ],"extensions":1,"meta.x":2,'
        '"meta":{"seq":1,"x":null,"extensions":{},"envelope.x":3,"meta.x":4,"meta.envelope.x":5}}'
    )
    assert read(TICKTOCK, raw).meta.extensions == {
        "envelope.x": "[ 1 ]",
        "envelope.extensions": "1",
        "envelope.meta.x": "2",
        "x": "null",
        "extensions": "{}",
        "meta.envelope.x": "3",
        "meta.meta.x": "4",
        "meta.meta.envelope.x": "5",
    }


def test_unknown_members_of_a_flat_envelope() -> None:
    """They keep their names, even where those are ours."""
    found = read(PREDICTSTREET, '{"type":"trade","data":{},"extensions":[],"meta":{"a": 1},"colons":2}')
    assert found.meta.extensions == {"extensions": "[]", "meta": '{"a": 1}', "colons": "2"}


def test_null_and_absent_meta_are_one() -> None:
    """A frame may come without any facts."""
    for raw in ('{"type":"match.updated","data":{}}', '{"type":"match.updated","data":{},"meta":null}'):
        found = read(TICKTOCK, raw)
        assert (found.meta.ts, found.meta.seq, found.meta.extensions) == (None, None, {})


def test_alive_may_come_without_type() -> None:
    """The contract leaves open whether it has one (2.3); nothing else may do without."""
    assert read(TICKTOCK, '{"data":{"status":"ok","timestamp":"t"}}').type == "alive"
    assert read(TICKTOCK, '{"type":null,"data":{"status":"ok","timestamp":"t","x":1}}').type == "alive"
    for raw in ('{"data":{"status":"ok"}}', '{"data":[]}', '{"type":5,"data":{"status":"ok","timestamp":"t"}}'):
        with pytest.raises(BadFrame) as caught:
            read(TICKTOCK, raw)
        assert caught.value.reason == "no_type"
    with pytest.raises(BadFrame):
        read(PREDICTSTREET, '{"data":{"status":"ok","timestamp":"t"}}')


@pytest.mark.parametrize("kind", [TICKTOCK, PREDICTSTREET])
def test_an_unknown_type_without_payload_is_told_apart_by_all_it_has(kind: str) -> None:
    """Two such frames differ in content if they differ anywhere; a known type without payload has none."""
    for more in ('"x":1', '"x":2', '"data":null,"x":3'):
        raw = f'{{"type":"hello",{more}}}'
        assert bytes(read(kind, raw).data) == raw.encode()
    known = max(Catalog.load().kind(kind).types)
    assert not read(kind, f'{{"type":"{known}"}}').data


# Duplicate names


def has_duplicates(raw: str) -> bool:
    """The slow, sure way."""
    found = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len(dict(pairs)) != len(pairs)
        return dict(pairs)

    json.loads(raw, object_pairs_hook=members, parse_int=str, parse_float=str)
    return found


def check(kind: str, raw: str) -> None:
    """Assert that the quick test finds what the slow one finds."""
    try:
        envelope = read(kind, raw)
        content = canonical(envelope.data)
    except BadFrame:
        return
    assert has_duplicate_keys(raw.encode(), content, envelope) == has_duplicates(raw)


FEW_NAMES = st.one_of(st.sampled_from(["a", "b", "a:", 'a":', "id", "type", "data", "meta", "seq"]), CHARACTERS)
VALUES = json_texts(repeats=True, names=FEW_NAMES)


@st.composite
def doubtful(draw: st.DrawFn) -> str:
    """A frame of either kind in which names may repeat anywhere, the envelope included."""
    known = ['"trade"', '"match.updated"', '"alive"', '"a:b"', r'"a\u003ab"', '"nobody.knows"']
    of = {
        "type": st.sampled_from(known),
        "data": VALUES,
        "meta": st.one_of(
            VALUES, st.sampled_from(["{}", "null", '{"seq":1}', '{"ts":"1:2","ts":"1:3"}', '{"x":{"a":1,"a":2}}'])
        ),
        "id": st.sampled_from(['"1"', '"1:2"', r'"\u003a"', "null"]),
        "sid": st.sampled_from(["1", "-0", "20", "null"]),
        "hash": st.sampled_from(['"é"', r'"\u00e9"']),
    }
    names = ["type", "data", *draw(st.lists(st.sampled_from([*of, "x", "x:"]), max_size=4))]
    members = [(name, draw(of.get(name, VALUES))) for name in names]
    return draw(object_texts(draw(st.permutations(members))))


@pytest.mark.parametrize("kind", [TICKTOCK, PREDICTSTREET])
@given(doubtful())
@example('{"type":"trade","data":{"a":1,"a" :2}}')
@example('{"type":"trade","data":{"a":"\\u003a","a":1}}')
@example('{"type":"trade","data":{"a":":","b":{"a":1,"a":1}}}')
@example('{"type":"trade","data":{"a":"\\":","a":1}}')
@example('{"type":"trade","id":"1","id":"1","data":{}}')
@example('{"type":"trade","type":"trade","data":{}}')
@example('{"type":"trade","data":{},"data":{}}')
@example('{"type":"trade","data":{},"x":{"a":1,"a":1}}')
@example('{"type":"trade","data":{},"meta":{"seq":1,"seq":2}}')
@example('{"type":"trade","data":{},"meta":null,"meta":{}}')
@example('{"type":"trade","data":{"a":{"b":[{"c":1,"\\u0063":2}]}}}')
@example('{"type":"nobody.knows","x":1,"x":1}')
@example('{"data":{"status":"ok","timestamp":"t","status":"ok"}}')
@example('{"data":{"status":"ok","timestamp":"t"},"x":1,"x":2}')
def test_no_repeated_name_is_missed(kind: str, raw: str) -> None:
    """Neither missed nor seen where there is none: the exact parse says the same of every frame."""
    check(kind, raw)


@pytest.mark.parametrize("kind", [TICKTOCK, PREDICTSTREET])
def test_usual_frames_need_no_second_look(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compact frame is proven by its length, one with white space by its colons; neither is parsed again."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("parsed again")

    frame: dict[str, Any] = {"type": "nobody.knows", "data": {"id": "a:b", "n": [1, {"x": None}], "t": 1.25}}
    frame |= (
        {"meta": {"ts": "12:00", "seq": 7}} if kind == TICKTOCK else {"sid": 3, "id": "x:y", "serverTs": 5, "hash": "f"}
    )
    compact = json.dumps(frame, separators=(",", ":")).encode()
    airy = json.dumps(frame, indent=1).encode()
    news = json.dumps(frame | {"x": {"y": 1}}).encode()
    read_again = monkeypatch.setattr
    read_again("bridge.canonical.json.loads", never)
    for raw in (airy, news):
        envelope = envelopes(kind).decode(raw)
        assert not has_duplicate_keys(raw, canonical(envelope.data), envelope)
    read_again("bridge.envelope.repeats_a_name", never)
    envelope = envelopes(kind).decode(compact)
    assert not has_duplicate_keys(compact, canonical(envelope.data), envelope)
