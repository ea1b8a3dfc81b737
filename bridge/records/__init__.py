"""Typed records, for consumers in Python.

Of a record's bytes they make an object of its own class::

    decoder = Decoder(by_registry(SchemaRegistryClient({"url": "http://localhost:8081"})))
    record = decoder.decode(message.value())
    if isinstance(record, ticktock.MarketUpdated):
        print(record.data.id, record.data.odds)

The classes are made from the schemas of this version (`bridge.classes`). Records of newer versions are read too: what a class does
not know is passed over. What older versions did not write is None. Needs ``msgspec`` and ``fastavro``, nothing else.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import fastavro
import msgspec
from fastavro.schema import fingerprint, to_parsing_canonical_form

from bridge.records import feedbridge, predictstreet_market, predictstreet_user, ticktock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "CLASSES",
    "Decoder",
    "NoRecord",
    "by_fingerprint",
    "by_registry",
    "feedbridge",
    "predictstreet_market",
    "predictstreet_user",
    "ticktock",
]

#: Full name of a record, such as ``feedbridge.ticktock.MarketUpdated`` → its class.
CLASSES: Final[Mapping[str, type[msgspec.Struct]]] = {
    **feedbridge.RECORDS,
    **predictstreet_market.RECORDS,
    **predictstreet_user.RECORDS,
    **ticktock.RECORDS,
}

_T = TypeVar("_T", bound=msgspec.Struct)
_ID, _FINGERPRINT = 5, 10


class NoRecord(ValueError):
    """A value that is no record of a class here: a dead letter, say, or another gateway's."""


class Decoder:
    """Decodes the values of records.

    find: the schema that a value was written with, by its id in the registry or by its fingerprint in hexadecimal; each is
    asked for once. classes: full name of a record → what it becomes; another package's records go in here.
    """

    def __init__(
        self, find: Callable[[int | str], Mapping[str, Any]], classes: Mapping[str, type[msgspec.Struct]] = CLASSES
    ) -> None:
        """Nothing is asked for yet."""
        self._find = find
        self._classes = classes
        self._known: dict[bytes, tuple[Any, type[msgspec.Struct]]] = {}

    def decode(self, value: bytes) -> msgspec.Struct:
        """The record of a value, of the class that its schema names. Raises `NoRecord`, and what `find` raises."""
        if value.startswith(b"\0") and len(value) > _ID:  # Confluent: 0, then the schema's id
            size = _ID
        elif value.startswith(b"\xc3\x01") and len(value) > _FINGERPRINT:  # Avro single object: then a fingerprint
            size = _FINGERPRINT
        else:
            raise NoRecord("neither wire format: a dead letter?")
        framing = value[:size]
        schema, into = self._known.get(framing) or self._learn(framing)
        return msgspec.convert(fastavro.schemaless_reader(io.BytesIO(value[size:]), schema, None), into)

    def decode_as(self, into: type[_T], value: bytes) -> _T:
        """The record of a value that is known to be of that class. Raises `NoRecord` where it is not."""
        record = self.decode(value)
        if not isinstance(record, into):
            raise NoRecord(f"a {type(record).__name__}, not a {into.__name__}")
        return record

    def _learn(self, framing: bytes) -> tuple[Any, type[msgspec.Struct]]:
        by_id = len(framing) == _ID
        schema = self._find(int.from_bytes(framing[1:], "big") if by_id else framing[2:].hex())
        name = f"{schema['namespace']}.{schema['name']}"
        if name not in self._classes:
            raise NoRecord(f"there is no class for {name}")
        found = self._known[framing] = fastavro.parse_schema(dict(schema)), self._classes[name]
        return found


class Registry(Protocol):
    """What is asked of a registry's client: confluent-kafka's ``SchemaRegistryClient`` has it."""

    def get_schema(self, schema_id: int) -> Any:
        """Something with the schema as JSON in ``schema_str``."""


def by_registry(client: Registry) -> Callable[[int | str], Mapping[str, Any]]:
    """Schemas from a registry, for `Decoder`."""

    def find(which: int | str) -> Mapping[str, Any]:
        if isinstance(which, str):
            raise NoRecord("the value names a fingerprint: it was written without a registry")
        found: dict[str, Any] = json.loads(client.get_schema(which).schema_str)
        return found

    return find


def by_fingerprint(folder: Path | None = None) -> Callable[[int | str], Mapping[str, Any]]:
    """Schemas where there is no registry, for `Decoder`: all that this version knows, or all below a folder."""
    here = Path(__file__).parents[1]
    root = folder or next(each for each in (here / "schemas", here.parent / "schemas") if each.is_dir())
    schemas: dict[str, Mapping[str, Any]] = {}
    for path in sorted(root.rglob("*.avsc")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        schema.pop("bridge", None)
        schemas[fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")] = schema

    def find(which: int | str) -> Mapping[str, Any]:
        if isinstance(which, int):
            raise NoRecord("the value names an id: it was written with a registry")
        if which not in schemas:
            raise NoRecord(f"no schema has the fingerprint {which}")
        return schemas[which]

    return find
