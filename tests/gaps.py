"""Reads the gap topic of an installation without a registry, as a consumer would."""

from __future__ import annotations

import io
from typing import Any, Final

import fastavro

from bridge.catalog import Catalog
from tests.servers.reading import read_topics

#: What goes before the Avro bytes where there is no registry.
_FRAMING: Final = 10


def gap_records(bootstrap: str, prefix: str) -> list[dict[str, Any]]:
    """The gap records in the order written; ``from`` and ``to`` in ms since the epoch."""
    schema = dict(Catalog.load().own("gap"))
    records = []
    for message in read_topics(bootstrap, f"{prefix}feedbridge.main.gaps"):
        value = message.value()
        assert isinstance(value, bytes)
        found: Any = fastavro.schemaless_reader(io.BytesIO(value[_FRAMING:]), schema, None)
        times = {name: found[name] and round(found[name].timestamp() * 1000) for name in ("from", "to")}
        records.append({**found, **times})
    return records
