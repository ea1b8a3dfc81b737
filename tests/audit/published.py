"""What a consumer finds: the records of all topics of an installation, and the schemas that decode them."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import fastavro
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from confluent_kafka.admin import AdminClient
from fastavro.schema import fingerprint, to_parsing_canonical_form

from tests.audit.exact import Schema
from tests.servers.reading import read_topics

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"


class Published(NamedTuple):
    """One record as read. created: its timestamp (ms) is the writer's; else the broker's."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int
    created: bool = True


def collect(bootstrap: str, prefix: str) -> list[Published]:
    """All committed records of all topics that begin with `prefix`; those of one partition lie in their order."""
    known = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).topics
    return [
        _published(message) for message in read_topics(bootstrap, *(each for each in known if each.startswith(prefix)))
    ]


def _published(message: Message) -> Published:
    kind, timestamp = message.timestamp()
    return Published(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=_bytes(message.key()),
        value=_bytes(message.value()) or b"",
        headers=tuple((name, _bytes(text)) for name, text in _pairs(message.headers())),
        timestamp=timestamp,
        created=kind == TIMESTAMP_CREATE_TIME,
    )


def _pairs(headers: Any) -> list[tuple[str, str | bytes | None]]:
    return list(headers or [])


def _bytes(given: str | bytes | None) -> bytes | None:
    return given.encode() if isinstance(given, str) else given


class Schemas(ABC):
    """Finds the schema of a value, and decodes with fastavro alone."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._parsed: dict[int, Any] = {}

    @staticmethod
    def registry(url: str, *, layout: str = "type") -> Schemas:
        """Values in Confluent's wire format; the schemas are asked of the registry."""
        return _Registry(url, layout=layout)

    @staticmethod
    @cache
    def shipped() -> Schemas:
        """Values in Avro's single-object encoding; the schemas are those of this checkout."""
        return _Shipped()

    def decode(self, topic: str, value: bytes) -> tuple[Schema, Any]:
        """Schema and value of a record. Raises ValueError that says what is wrong with its framing or its bytes."""
        schema, payload = self.find(topic, value)
        parsed = self._parsed.get(id(schema))
        if parsed is None:
            parsed = self._parsed[id(schema)] = fastavro.parse_schema(json.loads(json.dumps(schema.schema)))
        source = io.BytesIO(payload)
        try:
            record = fastavro.schemaless_reader(source, parsed, None)
        except (EOFError, IndexError, TypeError) as error:
            raise ValueError(f"not of its schema {schema.name}: {error}") from error
        if source.read(1):
            raise ValueError(f"bytes left over after {schema.name}")
        return schema, record

    @abstractmethod
    def find(self, topic: str, value: bytes) -> tuple[Schema, bytes]:
        """Schema of a value, and what comes after its framing. Raises ValueError."""


class _Registry(Schemas):
    """Confluent wire format: a zero, four bytes of schema id."""

    def __init__(self, url: str, *, layout: str) -> None:
        super().__init__()
        self._url = url
        self._layout = layout
        self._by_id: dict[int, Schema] = {}
        self._checked: set[tuple[str, int]] = set()

    def find(self, topic: str, value: bytes) -> tuple[Schema, bytes]:
        if len(value) < 5 or value[0] != 0:
            raise ValueError(f"not in wire format: {value[:10].hex()}")
        number = int.from_bytes(value[1:5], "big")
        schema = self._by_id.get(number)
        if schema is None:
            schema = self._by_id[number] = Schema(json.loads(self._get(f"schemas/ids/{number}")["schema"]))
        if (topic, number) not in self._checked:
            subject = f"{topic}-value" if self._layout == "type" else f"{topic}-{schema.name}"
            latest = self._get(f"subjects/{quote(subject, safe='')}/versions/latest")
            if latest["id"] != number:
                raise ValueError(f"schema id {number}, but subject {subject} has {latest['id']}")
            if json.loads(latest["schema"]) != schema.schema:
                raise ValueError(f"schema id {number} is another schema than that of {subject}")
            self._checked.add((topic, number))
        return schema, value[5:]

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self._url}/{path}", timeout=30.0) as answer:  # noqa: S310 - http, a test's server
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(f"the registry has no {path} ({error.code})") from error


class _Shipped(Schemas):
    """Single-object encoding: C3 01, eight bytes of fingerprint."""

    def __init__(self) -> None:
        super().__init__()
        self._by_fingerprint = {fingerprint_of(schema): Schema(schema) for schema in shipped()}

    def find(self, topic: str, value: bytes) -> tuple[Schema, bytes]:
        schema = self._by_fingerprint.get(value[2:10])
        if value[:2] != b"\xc3\x01" or schema is None:
            raise ValueError(f"{topic}: not in single-object encoding, or of no schema that ships: {value[:10].hex()}")
        return schema, value[10:]


def shipped() -> Iterable[Any]:
    """Every schema of this checkout as it is registered: without the ``bridge`` attribute."""
    for path in sorted(SCHEMAS.glob("*/*.avsc")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        schema.pop("bridge", None)
        yield schema


def fingerprint_of(schema: Any) -> bytes:
    """CRC-64-AVRO of a schema, little-endian."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(json.loads(json.dumps(schema))), "CRC-64-AVRO"))
