"""What consumers must know of one type of record, on a screen or as JSON: ``feedbridge schemas show``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge import topics
from bridge.catalog import OWN
from bridge.codec import fingerprint
from bridge.example import NAMES, Examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.catalog import Catalog, FieldPath, FrameType

_WIDTH: Final = 100
_GATEWAY: Final = "<gateway>"


def of(catalog: Catalog, name: str) -> dict[str, Any]:
    """Facts of ``kind/type``, or of one of the bridge's own records (``bridge/gap``), in the order to be read."""
    kind, _, each = name.partition("/")
    if kind == OWN:
        schema = catalog.own(each)
        topic = {"gap": "feedbridge.<name>.gaps", "ledger": "feedbridge.<name>.ledger"}.get(each)
        return {
            "record": f"{schema['namespace']}.{schema['name']}",
            "doc": schema["doc"],
            "topic": topic,
            "fingerprint": fingerprint(schema).hex(),
        }
    found = facts(kind, catalog.kind(kind).types.get(each, catalog.kind(kind).unknown))
    example = Examples(catalog).of(kind, each)
    if example is not None:
        found["example"] = {
            "frame": example.frame,
            "topic": example.topic,
            "key": example.key,
            "headers": example.headers,
            "cloudevents": example.cloudevents,
            "timestamp": example.timestamp,
            "value": msgspec.json.decode(msgspec.json.encode(example.value)),
        }
    return found


def facts(kind: str, frame_type: FrameType) -> dict[str, Any]:
    """What the schema of a type says. kind: of the gateway."""
    return {
        "record": frame_type.name,
        "doc": frame_type.schema["doc"],
        "topic": topics.topic_name("", NAMES.get(kind, _GATEWAY), frame_type.type) if frame_type.publish else None,
        "key": _key(frame_type),
        "identity": _identity(frame_type),
        "kind": _kind(frame_type),
        "timestamp": _first(frame_type.event_time, "the time received"),
        "fingerprint": fingerprint(frame_type.schema).hex(),
        "private": frame_type.private,
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The facts for a person, the longer ones wrapped."""
    for name, value in found.items():
        if name == "example":
            yield ""
            yield "example, received"
            yield f"  {value['frame']}"
            yield f"example, published to {value['topic']}, key {value['key']}"
            yield "  " + " ".join(f"{header}={text}" for header, text in value["headers"].items())
            yield "with topics.headers: cloudevents also"
            yield from (f"  {header}={text}" for header, text in value["cloudevents"].items())
            yield from textwrap.indent(_json(value["value"]), "  ").splitlines()
        elif name != "private" or value:
            text = "nothing: it is consumed and not published" if value is None else str(value)
            text = "yes: it belongs to a wallet" if value is True else text
            head, *more = textwrap.wrap(text, _WIDTH - 13) or [""]
            yield f"{name:12s} {head}"
            yield from (f"{'':12s} {line}" for line in more)


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _path(path: FieldPath) -> str:
    return ".".join(path).replace(".[]", "[]")


def _first(paths: tuple[FieldPath, ...], otherwise: str) -> str:
    return ", else ".join([*map(_path, paths), otherwise])


def _key(frame_type: FrameType) -> str:
    entity = " or ".join(map(_path, frame_type.entity))
    if not frame_type.entity:
        return _first(frame_type.key, "the gateway's name")
    if set(frame_type.entity) <= set(frame_type.key):
        return _first(frame_type.key, "the gateway's name")
    return _first(frame_type.key, f"what {entity} belongs to, else {entity}")


def _identity(frame_type: FrameType) -> str:
    named = ", else ".join(" with ".join(map(_path, paths)) for paths in frame_type.identity)
    if not named:
        return "the content of data"
    return f"{named}, and the content of data" if frame_type.content else named


def _kind(frame_type: FrameType) -> str:
    if frame_type.kind == "event":
        return "event: each is a fact of its own"
    return f"state: dropped where the last published {frame_type.family} of its entity says the same"
