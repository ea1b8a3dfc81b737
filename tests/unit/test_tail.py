"""Values are decoded by the schema that wrote them, and shown as the gateway sent them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import fastavro
import msgspec
import pytest

from bridge.catalog import Catalog
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.errors import BadData, ConfigError
from bridge.tail import Decoder, Seen, line, parse_start, pretty

CATALOG = Catalog.load()
MATCH = CATALOG.kind("ticktock").types["match.updated"].schema

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "R",
    "namespace": "n",
    "fields": [
        {"name": "text", "type": ["null", "string"], "default": None},
        {"name": "price", "type": ["null", {"type": "string", "json": "number"}], "default": None},
        {"name": "thing", "type": ["null", {"type": "string", "json": "any"}], "default": None},
        {"name": "open", "type": ["null", "long", "string", "boolean"], "default": None},
        {
            "name": "inner",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "I",
                    "fields": [{"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}}],
                },
            },
        },
        {"name": "more", "type": ["null", "I"], "default": None},
        {"name": "raw", "type": "bytes"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
DATA: dict[str, Any] = {
    "text": "1.10",
    "price": "1.10",
    "thing": '{"b" : [1e2,\n 123456789012345678901234567890.10]}',
    "open": True,
    "inner": [{"extensions": {"big": "18446744073709551616", "odd": "not json", "s": '"x"'}}],
    "more": {"extensions": {}},
    "raw": b"\x00\xff",
    "at": datetime(2026, 5, 12, 18, 0, 0, 123000, tzinfo=UTC),
}


def encoded(schema: dict[str, Any], data: Any) -> bytes:
    """Avro as fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, json.loads(json.dumps(schema)), data)
    return out.getvalue()


class OneSchema:
    """A registry that knows one id."""

    def __init__(self) -> None:
        self.asked = 0

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema of id 7."""
        self.asked += 1
        if schema_id != 7:
            raise ConfigError(f"no schema has the id {schema_id}", where="registry")
        return SCHEMA


def seen(**given: Any) -> Seen:
    """A record with these members."""
    base = {"topic": "cs2.t", "partition": 1, "offset": 5, "timestamp": 1_778_608_800_123, "key": b"k", "value": b""}
    return Seen(**{**base, "headers": {"type": "t", "received": "1"}, **given})


def test_single_object_values_need_no_registry() -> None:
    """Every schema of the package is known by its fingerprint."""
    decoder = Decoder.of(CATALOG)
    schemas = [MATCH, CATALOG.own("ledger"), CATALOG.own("gap")]
    assert {decoder._find(SINGLE_OBJECT + fingerprint(each))["name"] for each in schemas} == {
        each["name"] for each in schemas
    }
    small = {"type": "record", "name": "S", "fields": [{"name": "x", "type": "long"}]}
    value = SINGLE_OBJECT + fingerprint(small) + encoded(small, {"x": 2**53 + 1})
    assert Decoder([small]).decode(value) == (small, {"x": 2**53 + 1})


def test_the_wire_format_names_its_schema() -> None:
    """Asked for once per id."""
    registry = OneSchema()
    decoder = Decoder([], registry=registry)  # type: ignore[arg-type]
    value = b"\0" + (7).to_bytes(4, "big") + encoded(SCHEMA, DATA)
    for _ in range(2):
        assert decoder.decode(value) == (SCHEMA, DATA)
    assert registry.asked == 1


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", BadData),
        (b"{}", BadData),
        (b"\0\0", BadData),
        (SINGLE_OBJECT + b"12345678", ConfigError),
        (b"\0\0\0\0\x08", ConfigError),
        (b"\0\0\0\0\x07", BadData),
        (b"\0\0\0\0\x07" + encoded(SCHEMA, DATA)[:-1], BadData),
        (b"\0\0\0\0\x07" + encoded(SCHEMA, DATA) + b"x", BadData),
    ],
)
def test_what_can_not_be_read_is_said(value: bytes, error: type[Exception]) -> None:
    """Cut off, left over, unknown: never a wrong value."""
    with pytest.raises(error):
        Decoder([], registry=OneSchema()).decode(value)  # type: ignore[arg-type]


def test_an_id_without_a_registry_is_said() -> None:
    """And what is missing."""
    with pytest.raises(ConfigError, match="schema id 7, and no registry"):
        Decoder([]).decode(b"\0\0\0\0\x07x")


def test_json_shows_numbers_and_extensions_digit_for_digit() -> None:
    """One line; what the gateway sent as JSON is JSON again, what was a string stays one."""
    shown = line(seen(schema=SCHEMA, data=DATA))
    assert b"\n" not in shown
    for text in (
        b'"text":"1.10"',
        b'"price":1.10',
        b'"thing":{"b":[1e2,123456789012345678901234567890.10]}',
        b'"open":true',
        b'"big":18446744073709551616',
        b'"odd":"not json"',
        b'"s":"x"',
        b'"raw":"00ff"',
        b'"at":"2026-05-12T18:00:00.123Z"',
    ):
        assert text in shown
    assert msgspec.json.decode(shown)["schema"] == "n.R"


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (5, 5), ("5", "5"), (False, False), (2**62, 2**62)], ids=repr
)
def test_open_types_keep_theirs(value: object, expected: object) -> None:
    """A union shows the branch that was written."""
    shown = msgspec.json.decode(line(seen(schema=SCHEMA, data={**DATA, "open": value})))
    assert shown["value"]["open"] == expected
    assert type(shown["value"]["open"]) is type(expected)


def test_a_dead_letter_is_shown_as_it_is() -> None:
    """Text as text, other bytes as base64."""
    assert msgspec.json.decode(line(seen(value=b'{"a":1')))["raw"] == '{"a":1'
    assert msgspec.json.decode(line(seen(value=b"\xff\x00")))["raw"] == {"base64": "/wA="}
    assert '{"a":1' in pretty(seen(value=b'{"a":1'))


def test_an_error_stands_beside_the_bytes() -> None:
    """What can't be decoded is still there."""
    shown = msgspec.json.decode(line(seen(value=b"abc", error="unknown schema")))
    assert (shown["raw"], shown["error"]) == ("abc", "unknown schema")


def test_a_person_sees_one_calm_line() -> None:
    """Time, place, key, headers, and the value without what is empty."""
    text = pretty(seen(schema=SCHEMA, data={**DATA, "text": None, "thing": None}))
    assert text.startswith("2026-05-12T18:00:00.123Z cs2.t[1]@5 k type=t {")
    assert "null" not in text
    assert '"more"' not in text
    assert '"price":1.10' in text


def test_a_frame_can_not_write_to_the_terminal() -> None:
    """Control characters are shown, not obeyed."""
    for record in (
        seen(value=b"\x1b[2Jx\ny"),
        seen(key=b"\x1b]0;x\x07"),
        seen(schema=SCHEMA, data={**DATA, "text": "\x9b2J\u202e"}),
    ):
        assert pretty(record).isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("beginning", "beginning"),
        ("end", "end"),
        ("15m", 1_000_000 - 900_000),
        ("250ms", 999_750),
        ("1970-01-01T00:10:00Z", 600_000),
        ("1970-01-01T02:10:00+02:00", 600_000),
        ("1970-01-01 00:10", 600_000),
    ],
)
def test_places_to_start(text: str, expected: object) -> None:
    """Words, durations back, times; without a zone UTC."""
    assert parse_start(text, now=1_000_000) == expected


def test_other_places_are_refused() -> None:
    """With what can be given."""
    with pytest.raises(ConfigError, match="give beginning, end, a duration"):
        parse_start("yesterday", now=0)
