"""A small kind of gateway, of one type for each way a frame can go, in two versions of its schemas."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bridge.catalog import Catalog, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Its name, and the name of the only gateway.
KIND: Final = "model"
GATEWAY: Final = "feed"
#: A match changes: states of one family, with a sequence number.
UPDATED: Final = "match.updated"
PAUSED: Final = "match.paused"
#: A state without a sequence number.
TABLE: Final = "table.updated"
#: Events with a sequence number, and without.
KILL: Final = "event.kill"
SHOUT: Final = "event.shout"
#: An entry of a log, which has an id of its own.
SETTLED: Final = "settled"
#: A type that no schema knows.
SURPRISE: Final = "surprise"

_SEQ: Final = ["meta.seq"]
#: type → (identity, content, state)
_TYPES: Final[Mapping[str, tuple[list[str], bool, bool]]] = {
    UPDATED: (_SEQ, True, True),
    PAUSED: (_SEQ, True, True),
    TABLE: (_SEQ, True, True),
    KILL: (_SEQ, True, False),
    SHOUT: (_SEQ, True, False),
    SETTLED: (["data.id"], False, False),
    "unknown": (_SEQ, True, False),
}


@functools.cache
def catalog(version: int) -> Catalog:
    """The product's own records and the kind `KIND`. version: 1, or 2 with a field more in each payload."""
    with tempfile.TemporaryDirectory() as folder:
        kind = Path(folder) / KIND
        kind.mkdir()
        for name in _TYPES:
            (kind / f"{name}.avsc").write_text(json.dumps(_schema(name, version)))
        return Catalog.load(extra=[Path(folder)])


def kind(version: int) -> Kind:
    """The kind `KIND` alone."""
    return catalog(version).kind(KIND)


def _schema(name: str, version: int) -> dict[str, Any]:
    identity, content, state = _TYPES[name]
    known = name != "unknown"
    fields: list[Any] = (
        [_nullable("id"), _nullable("match_id"), _nullable("v")]
        if known
        else [{"name": each, "type": "string", "doc": "-"} for each in ("type", "json")]
    )
    if known and version > 1:
        fields.append(_nullable("added"))
    extensions = {"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}, "doc": "-"}
    if known:
        fields.append(extensions)
    meta = [
        _nullable("ts"),
        {"name": "seq", "type": ["null", "long"], "default": None, "doc": "-"},
        {"name": "n", "type": ["null", "long"], "default": None, "doc": "-"},
        extensions,
    ]
    pascal = "".join(word.capitalize() for word in name.replace("_", ".").split("."))
    attribute: dict[str, Any] = {
        "type": name,
        "key": ["data.match_id"],
        "entity": ["data.id", "data.match_id"],
        "identity": identity,
        "content": content,
        "kind": "state" if state else "event",
        "event_time": ["meta.ts"],
    }
    if not known:
        attribute |= {"envelope": "nested", "sent": "meta.ts"}
    return {
        "type": "record",
        "name": pascal,
        "namespace": "feedbridge.model",
        "doc": "-",
        "bridge": attribute,
        "fields": [
            {"name": "meta", "doc": "-", "type": {"type": "record", "name": "Meta", "doc": "-", "fields": meta}},
            {
                "name": "data",
                "doc": "-",
                "type": {"type": "record", "name": f"{pascal}Data", "doc": "-", "fields": fields},
            },
        ],
    }


def _nullable(name: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", "string"], "default": None, "doc": "-"}
