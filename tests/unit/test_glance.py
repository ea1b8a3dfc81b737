"""A frame read at a glance is read as the exact way reads it; where that is in doubt, it is not read at a glance."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.catalog import Catalog
from bridge.codec import Codec, MetaCodec, canonical, has_duplicate_keys
from bridge.glance import Glance, Whole
from tests.unit.json_texts import object_texts, record_texts

KINDS = ("ticktock", "predictstreet-market", "predictstreet-user")
PLAIN = b'{"type":"market.updated","data":{"id":"o","match_id":"m","odds":[{"b":1.50,"a":"x"}],"status":1},"meta":{"seq":7}}'


class Both:
    """The two ways to read a kind's frames."""

    def __init__(self, kind: str) -> None:
        """Compile."""
        found = Catalog.load().kind(kind)
        self.envelope = MetaCodec(found)
        self.codecs = {name: Codec(each) for name, each in found.types.items() if each.publish}
        self.nested = found.nested
        self.glance = self.fresh()

    def fresh(self) -> Glance:
        """Another that has met nothing yet but what the codecs have."""
        return Glance(self.codecs, self.envelope.shape, nested=self.nested)

    def compare(self, raw: bytes) -> bool:
        """Whether a frame is read at a glance; then all that is found must be what the exact way finds."""
        found = self.fresh().read(raw) if self.glance.read(raw) is None else self.glance.read(raw)
        envelope = self.envelope.decode(raw) if found is not None else None
        if found is None or envelope is None:
            return False
        whole, text = found
        codec = self.codecs[envelope.type]
        data = codec.decode_data(envelope.data)
        assert whole.type == envelope.type
        assert text == canonical(envelope.data)
        assert not has_duplicate_keys(raw, text, envelope)
        assert codec.encode(whole.meta, whole.data) == codec.encode(envelope.meta, data)
        assert dict(whole.data.extensions) == dict(data.extensions)
        return True


@cache
def both(kind: str) -> Both:
    """Compiled once."""
    return Both(kind)


@st.composite
def frames(draw: st.DrawFn, kind: str) -> bytes:
    """Frames of a shipped kind, as a gateway may send them, with unknown members and without."""
    ways = both(kind)
    name = draw(st.sampled_from(sorted(ways.codecs)))
    data, _ = draw(record_texts(ways.codecs[name].shape))
    meta, _ = draw(record_texts(ways.envelope.shape))
    members = [("type", f'"{name}"'), ("data", data)]
    if ways.nested:
        return str(draw(object_texts([*members, ("meta", meta)]))).encode()
    begin = draw(object_texts(members))
    return f"{begin[:-1]},{meta[1:]}".encode() if meta.strip("{} \n\t\r") else begin.encode()


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_both_ways_find_the_same(kind: str, data: st.DataObject) -> None:
    """Whatever is sent; the fallback that shows what is wrong has tests of its own."""
    ways = both(kind)
    raw = data.draw(frames(kind))
    try:
        envelope = ways.envelope.decode(raw)
        ways.codecs[envelope.type].decode_data(envelope.data)
    except Exception:  # noqa: BLE001 - the exact way refuses it, and so must this one
        assert ways.glance.read(raw) is None
        return
    ways.glance.renew()
    ways.compare(raw)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_plain_is_read(kind: str) -> None:
    """Else all of this would be for nothing: only text that no schema describes, deep in the payload, is too strange."""
    ways = Both(kind)
    meta = b'"meta":{"seq":7}' if ways.nested else b'"seq":7'
    for name, codec in ways.codecs.items():
        if all(not field.required for field in (*codec.shape.fields, *ways.envelope.shape.fields)):
            assert ways.compare(b'{"type":"%b","data":{},%b}' % (name.encode(), meta)) == ways.glance.reads(name), name
    assert {name for name in ways.codecs if not ways.glance.reads(name)} <= {"feed.odds_change"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"id":"o"', b'"id": "o"'),
        (b'"id":"o"', b'"id":"\\u006f"'),
        (b'"id":"o"', b'"id":"o","id":"o"'),
        (b'"b":1.50', b'"b": 1.5'),
        (b'"b":1.50', b'"b":1,"b":1'),
        (b'"status":1', b'"status":null'),
        (b'"status":1', b'"status":-0'),
        (b'"status":1', b'"new":1'),
        (b'"meta":{', b'"more":1,"meta":{'),
        (b'"meta":{', b'"meta":{"more":1,'),
        (b'"o"', b'"\xff"'),
        (b"market.updated", b"market.unheard"),
        (b"}}", b"}"),
    ],
)
def test_any_doubt_is_for_the_exact_way(old: bytes, new: bytes) -> None:
    """White space, escapes, names that come twice, null, what nobody knows: nothing of that is plain."""
    ways = Both("ticktock")
    assert ways.glance.read(PLAIN) is not None
    assert ways.glance.read(PLAIN.replace(old, new)) is None


def test_the_text_of_odds_is_kept_and_compared_sorted() -> None:
    """In the record they stand as sent."""
    ways = Both("ticktock")
    for _ in range(2):  # at first, and as remembered
        whole, text = _read(ways.glance, PLAIN)
        assert b'"odds":[{"a":"x","b":1.50}]' in text
        assert [bytes(each) for each in whole.data.odds] == [b'{"b":1.50,"a":"x"}']


@pytest.mark.parametrize("value", [b"1", b"-0", b'"x"', b'"\\u0078"', b'{"b":1,"a":-0}', b"[ 1 ]", b"true", b"null"])
def test_members_that_came_once_are_read_at_a_glance(value: bytes) -> None:
    """With the text that they were sent as, and compared by what it says."""
    ways = Both("ticktock")
    raw = PLAIN.replace(b'"status":1', b'"new":' + value)
    assert ways.glance.read(raw) is None
    ways.codecs["market.updated"].decode_data(ways.envelope.decode(raw).data)
    ways.glance.renew()
    assert ways.compare(raw) == (value not in {b"-0", b'"\\u0078"', b'{"b":1,"a":-0}', b"[ 1 ]"})
    assert ways.compare(PLAIN)


def test_a_gateway_whose_frames_are_never_plain_costs_little() -> None:
    """It is tried in vain for a while, then now and then; what is plain again is found."""
    glance = Both("ticktock").glance
    spaced = PLAIN.replace(b":", b": ")
    assert [glance.read(spaced) for _ in range(2000)] == [None] * 2000
    tries = [glance.read(PLAIN) is not None for _ in range(2000)]
    assert any(tries)
    assert all(tries[tries.index(True) :])


def _read(glance: Glance, raw: bytes) -> tuple[Whole, bytes]:
    found = glance.read(raw)
    assert found is not None
    return found
