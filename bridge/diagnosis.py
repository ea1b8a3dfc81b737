"""What is wrong with a dead letter, by the schemas of the installed version: what they expect where the blame lies, what the
frame has there, and whether it would become a record now. Pure.
"""  # noqa: D205

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.errors import BadFrame
from bridge.evolution import Names
from bridge.markup import readable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.frame import Frame
    from bridge.route import Ways

#: One step of a path: ``data.odds[3].value``.
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
#: Longest value that is shown, in characters.
_SHOWN: Final = 200


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one dead letter.

    topics: where its record would go now; empty: it would still be a dead letter, for `reason`, `detail` and `path`.
    expects, doc: type and documentation of the field to blame in the present schema; found: the JSON text that the frame has
    there. None where nobody can say.
    """

    topics: Sequence[str] = ()
    reason: str | None = None
    detail: str | None = None
    path: str | None = None
    expects: str | None = None
    doc: str | None = None
    found: str | None = None


def diagnose(frame: Frame, ways: Ways, schemas: Mapping[str, Mapping[str, Any]], path: str | None = None) -> Diagnosis:
    """Look at the frame of a dead letter.

    schemas: frame type → schema. path: of the field that was to blame when it became one; where the frame would be a dead letter
    still, its present path is taken.
    """
    topics: Sequence[str] = ()
    bad = BadFrame("not_published", "it is of a type that is never published")
    try:
        sighting = ways.sight(frame)
    except BadFrame as error:
        bad = error
    else:
        if sighting is not None:
            topics = [topic for topic, _ in sighting.way.topics]
    path = path if topics or bad.path is None else bad.path
    kind, _ = ways.about(frame)
    schema = schemas.get(kind or "")
    field = _field(schema, path) if path and schema is not None else None
    return Diagnosis(
        topics=topics,
        reason=None if topics else bad.reason,
        detail=None if topics else bad.detail,
        path=path,
        expects=None if field is None else _text(field["type"]),
        doc=None if field is None else field.get("doc"),
        found=_value(frame, path) if path else None,
    )


def _steps(path: str) -> list[str | int]:
    return [int(index) if index else name for name, index in _STEP.findall(path)]


def _field(schema: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """The field of a record's schema that a path leads to; its type alone, under ``type``, where the path ends in an array or map."""
    names = Names(schema)
    here: dict[str, Any] = {"type": schema}
    for step in _steps(path):
        found = None
        branches = names.resolve(here["type"])
        for each in branches if isinstance(branches, list) else [branches]:
            branch = names.resolve(each)
            while isinstance(branch, dict) and isinstance(branch["type"], (dict, list)):
                branch = names.resolve(branch["type"])
            if not isinstance(branch, dict):
                continue
            if isinstance(step, int):
                found = {"type": branch["items"]} if branch["type"] == "array" else found
            elif branch["type"] == "record":
                found = next((field for field in branch["fields"] if field["name"] == step), found)
            elif branch["type"] == "map":
                found = {"type": branch["values"]}
        if found is None:
            return None
        here = found
    return here


def _text(schema: Any) -> str:
    """A type in a few words."""
    if isinstance(schema, list):
        return " or ".join(_text(each) for each in schema)
    if isinstance(schema, str):
        return schema.rpartition(".")[2]
    kind = schema["type"]
    if not isinstance(kind, str):
        return _text(kind)
    if kind == "array":
        return f"array of {_text(schema['items'])}"
    if kind == "map":
        return f"map of {_text(schema['values'])}"
    if kind == "enum":
        return f"one of {', '.join(schema['symbols'])}"
    return (
        f"any {schema['json']}"
        if "json" in schema and schema["json"] != "any"
        else "any JSON"
        if "json" in schema
        else kind
    )


def _value(frame: Frame, path: str) -> str | None:
    """The JSON text that a frame has at a path; None where it has none, or is no JSON."""
    try:
        here = msgspec.Raw(readable(frame))
        for step in _steps(path):
            if isinstance(step, int):
                here = msgspec.json.decode(here, type=list[msgspec.Raw])[step]
            else:
                members = msgspec.json.decode(here, type=dict[str, msgspec.Raw])
                if step not in members and step == "meta":  # of a flat envelope
                    continue
                here = members[step]
        text = bytes(here).decode()
    except (BadFrame, msgspec.MsgspecError, UnicodeDecodeError, KeyError, IndexError, RecursionError):
        return None
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 2]} …"
