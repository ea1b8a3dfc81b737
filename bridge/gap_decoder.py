"""Reads gap records by the schemas of this package, whatever framing they have: gaps can be looked at while the registry is away.

The bridge's own records only grow at their end, so what a version of the schema reads to the last byte was written with it;
no other reads that. Only what a newer version wrote needs the registry.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import fastavro
from msgspec import json

from bridge.errors import BadData
from bridge.tail import CONFLUENT, Decoder, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from bridge.catalog import Catalog
    from bridge.registry import Registry


class GapDecoder(Decoder):
    """A `Decoder` of the topic of gaps, and of no other."""

    def __init__(self, schemas: Iterable[Mapping[str, Any]], *, registry: Registry | None = None) -> None:
        """schemas: the versions of the record."""
        known = list(schemas)
        super().__init__(known, registry=registry)
        self._versions = [(each, fastavro.parse_schema(json.decode(json.encode(each)))) for each in known]

    @classmethod
    def of(cls, catalog: Catalog, *, registry: Registry | None = None) -> Self:
        """Knows every version of the record so far."""
        return cls([catalog.own(GAP), *catalog.history[GAP]], registry=registry)

    def decode(self, value: bytes) -> tuple[Mapping[str, Any], Any]:
        """As `Decoder.decode`; the registry is asked only where no version that is known here fits."""
        if value[:1] == b"\0" and len(value) >= CONFLUENT:
            for schema, parsed in self._versions:
                with contextlib.suppress(BadData):
                    return schema, read_whole(parsed, value[CONFLUENT:])
        return super().decode(value)


#: Its name among the bridge's own records.
GAP: Final = "gap"
