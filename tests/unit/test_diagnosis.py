"""What is wrong with a dead letter is told by the field to blame, and by the schemas as they are now."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from bridge.catalog import Catalog
from bridge.diagnosis import Diagnosis, diagnose
from bridge.frame import REPLAY, Frame
from bridge.route import Route, Ways

CATALOG = Catalog.load()


@functools.cache
def ways(gateway: str, kind: str) -> Ways:
    """Those of a gateway whose topics are named after the types."""
    types = [*CATALOG.kind(kind).types, "unknown"]
    route = Route(gateway, CATALOG.kind(kind), frozenset(), {name: [(name, b"")] for name in types}, "dead-letters")
    return Ways(route, seq_scope="global", max_value=1 << 20)


def found(raw: bytes | Any, *, path: str | None = None, kind: str = "ticktock") -> Diagnosis:
    """What is said of a frame. path: that was to blame when it became a dead letter."""
    content = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    schemas = {name: each.schema for name, each in CATALOG.kind(kind).types.items()}
    return diagnose(Frame("g", "", 1, REPLAY, content), ways("g", kind), schemas, path)


def kill(**data: Any) -> dict[str, Any]:
    """A frame of TickTock."""
    return {"type": "event.kill", "data": {"match_id": "m", **data}, "meta": {"seq": 1}}


def test_the_field_to_blame_is_told_with_what_the_schema_has_there() -> None:
    """Type, documentation, and what the frame has, digit for digit."""
    one = found(b'{"type": "event.kill", "data": {"match_id": 1.50}, "meta": {"seq": 1}}')
    assert (one.reason, one.path, one.expects, one.found) == ("wrong_type", "data.match_id", "null or string", "1.50")
    assert one.doc
    assert not one.topics


def test_what_would_be_a_record_now_is_told_by_its_topics() -> None:
    """After a fix; the field that was to blame is told still."""
    one = found(kill(type="kill"), path="data.type")
    assert (one.topics, one.reason, one.path, one.found) == (["event.kill"], None, "data.type", '"kill"')


@pytest.mark.parametrize("raw", [b"\xff", b"[]", b"{}", b"<a", b'{"type": 5}', b'{"type": "event.kill"}'])
def test_what_is_no_frame_has_a_reason_and_no_field(raw: bytes) -> None:
    """Whatever the bytes are, something is said."""
    one = found(raw)
    assert one.reason
    assert one.detail
    assert not one.topics


def test_fields_within_arrays_and_maps_are_found() -> None:
    """A path as dead letters have it: members, indices, and the members of a flat envelope."""
    one = found({"type": "market.updated", "data": {"id": "o", "odds": [{"a": 1}, 7]}, "meta": {}}, path="data.odds[1]")
    assert (one.expects, one.found) == ("any JSON", "7")
    flat = {"type": "book_delta", "id": "t", "seq": "x", "data": {}}
    assert found(flat, kind="predictstreet-market").found == '"x"'


def test_a_long_value_is_cut() -> None:
    """A line is a line."""
    assert len(found(kill(match_id=[0] * 500)).found or "") == 200


def test_xml_is_read_as_its_frame() -> None:
    """A dead letter does not say that it came over AMQP."""
    assert found(b"<fixture_change product='3' event_id='m'/>").topics == ["feed.fixture_change"]
