"""Gaps are read without a registry, whichever version wrote them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest

from bridge.catalog import Catalog
from bridge.errors import ConfigError
from bridge.gap_decoder import GAP, GapDecoder

CATALOG = Catalog.load()
DATA: dict[str, Any] = {
    "id": "cs2/list/1/0", "gateway": "cs2", "connection": "list", "lane": 0, "instance": "i", "entity": None,
    "from": datetime(2026, 5, 10, tzinfo=UTC), "to": None, "last_seq": "7", "cause": "crash", "state": "open",
    "recovered": 0, "superseded": 0, "how": None,
}  # fmt: skip
#: What a registry's ids look like before the value.
FRAMING = b"\0\0\0\0\x09"


def written(schema: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
    """A value in Confluent's wire format."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, json.loads(json.dumps(schema)), data)
    return FRAMING + out.getvalue()


@pytest.mark.parametrize("schema", [CATALOG.own(GAP), *CATALOG.history[GAP]])
def test_every_version_is_read_without_a_registry(schema: Mapping[str, Any]) -> None:
    """Its id need not be looked up: a value is read to the last byte by the version that wrote it alone."""
    assert GapDecoder.of(CATALOG).decode(written(schema, DATA))[1] == DATA


def test_what_a_newer_version_wrote_needs_the_registry() -> None:
    """No known version fits a record that has grown; its own schema is then asked for by its id."""
    now = CATALOG.own(GAP)
    grown = {**now, "fields": [*now["fields"], {"name": "more", "type": ["null", "string"], "default": None}]}
    value = written(grown, DATA | {"more": "x"})
    with pytest.raises(ConfigError, match="schema id 9"):
        GapDecoder.of(CATALOG).decode(value)

    class Registry:
        def schema(self, schema_id: int) -> Mapping[str, Any]:
            assert schema_id == 9
            return grown

    found = GapDecoder.of(CATALOG, registry=Registry()).decode(value)[1]  # type: ignore[arg-type]
    assert found == DATA | {"more": "x"}
