"""How much quicker the compiled codec is than the general one, on one market frame. Run: ``python -m bench.codec``.

All figures come from the same run; what counts is their ratios, see `main`.
"""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import fastavro
import msgspec
import xxhash

from bridge.catalog import FrameType, Kind
from bridge.codec import Codec, MetaCodec, canonical, has_duplicate_keys

_ROUNDS: Final = 100
_CALLS: Final = 300


def _nullable(**types: Any) -> list[dict[str, Any]]:
    fields = [{"name": name, "type": ["null", avro], "default": None} for name, avro in types.items()]
    return [*fields, {"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}}]


_OUTCOME: Final = {
    "type": "record",
    "name": "Outcome",
    "fields": _nullable(id="string", name="string", price="string", active="boolean"),
}
_DATA: Final = {
    "type": "record",
    "name": "MarketUpdatedData",
    "fields": _nullable(
        id="string",
        match_id="string",
        type="string",
        specifiers="string",
        status="long",
        suspended="boolean",
        textEN="string",
        odds={"type": "array", "items": _OUTCOME},
    ),
}
_META: Final = {"type": "record", "name": "Meta", "fields": _nullable(ts="string", seq="long")}
_SCHEMA: Final = {
    "type": "record",
    "name": "MarketUpdated",
    "namespace": "bench",
    "fields": [{"name": "meta", "type": _META}, {"name": "data", "type": _DATA}],
}
#: A market of one round with two outcomes: about 390 bytes, as the stream's samples have them.
_FRAME: Final = {
    "type": "market.updated",
    "data": {
        "id": "ofr_abc",
        "match_id": "52ef0d9c-7c1f-4c4e-9b3a-4a5e2f8b1c10",
        "type": "headshot_opening",
        "specifiers": "map=1|round=8",
        "status": 1,
        "suspended": False,
        "textEN": "Opening kill by headshot",
        "odds": [
            {"id": "1", "name": "yes", "price": "1.85", "active": True},
            {"id": "2", "name": "no", "price": "1.95", "active": True},
        ],
    },
    "meta": {"ts": "2026-05-10T13:42:11.123Z", "seq": 481234},
}


def frame_type() -> FrameType:
    """Return the frame type of the benchmark."""
    return FrameType(
        type="market.updated",
        name="bench.MarketUpdated",
        schema=_SCHEMA,
        schema_json=json.dumps(_SCHEMA),
        key=(("data", "match_id"),),
        entity=(("data", "id"),),
        identity=((("meta", "seq"),),),
        content=True,
        kind="state",
        family="market",
        event_time=(("meta", "ts"),),
        learn=((("data", "id"), ("data", "match_id")),),
        publish=True,
        private=False,
    )


def nanoseconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the CPU time of each call: the quickest of many short rounds in turn, so that a slow moment hits all."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(_ROUNDS):
        for what, call in calls.items():
            start = time.process_time_ns()
            for _ in range(_CALLS):
                call()
            best[what] = min(best[what], (time.process_time_ns() - start) / _CALLS)
    return best


def measure() -> dict[str, float]:
    """Return what → ns per frame."""
    known = frame_type()
    codec = Codec(known)
    envelopes = MetaCodec(
        Kind(name="bench", types={known.type: known}, unknown=known, meta=_META, nested=True),
    )
    raw = json.dumps(_FRAME, separators=(",", ":")).encode()
    envelope = envelopes.decode(raw)
    meta, data = envelope.meta, codec.decode_data(envelope.data)
    content = canonical(envelope.data)
    python = codec.to_python(meta, data)
    parsed: Any = fastavro.parse_schema(copy.deepcopy(_SCHEMA))
    newer = raw.replace(b'"status":1', b'"status":1,"tier":{"name": "S"}')

    def oracle() -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, python)
        return out.getvalue()

    def untyped() -> bytes:
        frame = msgspec.json.decode(raw)
        out = io.BytesIO()
        payload = {**frame["data"], "extensions": {}}
        payload["odds"] = [{**each, "extensions": {}} for each in payload["odds"]]
        fastavro.schemaless_writer(out, parsed, {"meta": {**frame["meta"], "extensions": {}}, "data": payload})
        return out.getvalue()

    def compiled(frame: bytes = raw) -> bytes:
        envelope = envelopes.decode(frame)
        return codec.encode(envelope.meta, codec.decode_data(envelope.data))

    def whole() -> bytes:
        envelope = envelopes.decode(raw)
        meta, data = envelope.meta, codec.decode_data(envelope.data)
        content = canonical(envelope.data)
        assert not has_duplicate_keys(raw, content, envelope)
        xxhash.xxh3_64_intdigest(content)
        xxhash.xxh3_64_intdigest(codec.identity(meta, data) or b"")
        xxhash.xxh3_64_intdigest((codec.entity(meta, data) or "").encode())
        codec.learn(meta, data)
        codec.key(meta, data)
        codec.event_time(meta, data)
        return codec.encode(meta, data)

    assert oracle() == codec.encode(meta, data) == compiled() == untyped() == whole()
    return nanoseconds(
        {
            "encode: fastavro": oracle,
            "encode: compiled": lambda: codec.encode(meta, data),
            "frame to Avro: msgspec untyped, fastavro": untyped,
            "frame to Avro: compiled": compiled,
            "frame to Avro: compiled, the exact way (an unknown member)": lambda: compiled(newer),
            "all that is done to a frame": whole,
            "  envelope": lambda: envelopes.decode(raw),
            "  payload": lambda: codec.decode_data(envelope.data),
            "  canonical": lambda: canonical(envelope.data),
            "  duplicate keys": lambda: has_duplicate_keys(raw, content, envelope),
            "  identity": lambda: codec.identity(meta, data),
            "  event time": lambda: codec.event_time(meta, data),
            "  learn": lambda: codec.learn(meta, data),
        }
    )


def ratios(times: dict[str, float]) -> dict[str, float]:
    """Return what → how many times quicker than fastavro in the same run."""
    return {
        "encode": times["encode: fastavro"] / times["encode: compiled"],
        "frame to Avro": times["frame to Avro: msgspec untyped, fastavro"] / times["frame to Avro: compiled"],
    }


def main() -> None:
    """Print the times and, what may be compared with another machine, the ratios."""
    times = measure()
    for what, ns in times.items():
        print(f"{what:60s} {ns:8.0f} ns")
    for what, ratio in ratios(times).items():
        print(f"{what + ', compiled against fastavro':60s} {ratio:8.1f} x")


if __name__ == "__main__":
    main()
