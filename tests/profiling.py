"""Frames as the records that the bridge makes of them, in a profile."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable
from typing import Any

import fastavro

from bridge.catalog import Kind
from bridge.codec import Codec, MetaCodec, UnknownCodec
from bridge.errors import BadFrame
from bridge.profile import Profiler


def decoded(kind: Kind, frames: Iterable[bytes]) -> Iterable[tuple[str, dict[str, Any], Any]]:
    """(type, schema, record as fastavro reads it) of each frame that is no dead letter."""
    meta, codecs, unknown = MetaCodec(kind), dict[str, Codec](), UnknownCodec(kind.unknown)
    parsed: dict[str, Any] = {}
    for raw in frames:
        try:
            envelope = meta.decode(raw)
            found = kind.types.get(envelope.type, kind.unknown)
            if found is kind.unknown:
                body = unknown.encode(envelope.meta, unknown.decode(envelope, raw))
            else:
                codec = codecs.setdefault(found.type, codecs.get(found.type) or Codec(found))
                body = codec.encode(envelope.meta, codec.decode_data(envelope.data))
        except BadFrame:
            continue
        if found.type not in parsed:
            parsed[found.type] = fastavro.parse_schema(copy.deepcopy(found.schema))
        yield found.type, found.schema, fastavro.schemaless_reader(io.BytesIO(body), parsed[found.type], None)


def profiled(kind: Kind, frames: Iterable[bytes], *, at: int = 0, gateway: str = "cs2") -> Profiler:
    """A profile of them; the n-th was received n ms after `at`."""
    profiler = Profiler()
    for number, (name, schema, data) in enumerate(decoded(kind, frames)):
        profiler.take(gateway, kind.name, schema, data, type=name, received=at + number)
    return profiler
