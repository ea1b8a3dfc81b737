"""Schemas proposed from what a profile found: unknown members become fields, an unknown type becomes a file.

Pure. A promoted member is a nullable field with default null, of the narrowest type of the schemas' language
(``schemas/README.md``) that takes all that was seen; so the change is compatible with every version before it. What a
member means nobody can see: its doc says where to write it, and from what it was inferred.
"""

from __future__ import annotations

import copy
import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bridge.avsc import AVRO_NAME, TYPE_NAME, record_name
from bridge.profile import EXTENSIONS
from bridge.values import ARRAY, BOOLEAN, INTEGER, NULL, NUMBER, OBJECT, STRING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bridge.avsc import Schema
    from bridge.profile import TypeProfile
    from bridge.values import Values

#: Any JSON value, as its text: what is left where nothing narrower takes all that was seen.
ANY: Final[Schema] = {"type": "string", "json": "any"}
DECIMAL: Final[Schema] = {"type": "string", "json": "number"}
META: Final = "Meta"
_LONGS: Final = range(-(1 << 63), 1 << 63)
#: How deep records are made within each other; below, a member stays JSON text.
_DEPTH: Final = 3
#: For docs: the mark of what was seen, but is not documented (``schemas/README.md``).
_MARK: Final = "[example only]"


@dataclass
class Found:
    """What can be said of one kind's records: name of a record → its unknown members, and how many records there were.

    first, last: ms since the epoch.
    """

    members: dict[str, dict[str, Values]] = field(default_factory=dict)
    records_of: dict[str, int] = field(default_factory=dict)
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """A member that can't be promoted. path: of the record's name and the member's. why: one line."""

    path: str
    why: str


def found(profiles: Sequence[TypeProfile], records: Collection[str]) -> list[Found]:
    """What each profile says of these records, those without unknown members in them apart."""
    every = []
    for each in profiles:
        members = {name: dict(values) for name, values in each.extensions.items() if name in records}
        if members:
            every.append(Found(members, dict(each.records_of), each.first, each.last))
    return every


def promote(schema: Schema, found: Sequence[Found]) -> tuple[Schema, list[Left]]:
    """A schema with the unknown members of its records as fields, and what could not be one. The given one stays as it is.

    A record of the schema that `found` does not name stays as it is.
    """
    schema, left = copy.deepcopy(schema), []
    taken = {record["name"] for record in records(schema)} | {schema["name"]}
    for record in list(records(schema)):
        here = [each for each in found if each.members.get(record["name"])]
        names = {field["name"] for field in record["fields"]}
        new: list[Schema] = []
        for member in sorted({name for each in here for name in each.members[record["name"]]} - (names - {EXTENSIONS})):
            seen = [each for each in here if member in each.members[record["name"]]]
            made = _field(record, member, seen, taken)
            if isinstance(made, str):
                left.append(Left(f"{record['name']}.{member}", made))
            else:
                new.append(made)
        record["fields"][-1:-1] = new
    return schema, left


def new_type(profile: TypeProfile, unknown: Schema) -> tuple[Schema, list[Left]]:
    """A whole schema for a type that has none. unknown: its folder's ``unknown.avsc`` with the ``bridge`` attribute.

    Key, entity, identity and time are those that the folder takes for unknown types, as far as frames have them. Raises
    ValueError where a type of this name can't have a file, or no frame of it could be read.
    """
    if not TYPE_NAME.fullmatch(profile.type):
        raise ValueError("its name can't be that of a file: words of letters and digits, joined by dots, _ or -")
    if not profile.payload.members:
        raise ValueError("no frame of it had a payload with members")
    name = record_name(profile.type)
    taken = {name, META, f"{name}Data"}
    left: list[Left] = []
    fields: list[Schema] = []
    days = _days(profile.first, profile.last)
    told = f"{profile.payload.kinds[OBJECT]:,} records, {days}"
    for member, values in sorted(profile.payload.members.items()):
        made = _made((f"{name}Data", member), [values], taken, told=told)
        if isinstance(made, str):
            left.append(Left(f"data.{member}", made))
        else:
            fields.append(made)
    meta = copy.deepcopy(unknown["fields"][0])
    schema: Schema = {
        "type": "record",
        "name": name,
        "namespace": unknown["namespace"],
        "doc": f"TODO: say what it is. In {profile.records:,} records, {days}.",
        "bridge": _bridge(profile, unknown["bridge"], meta["type"], fields),
        "fields": [
            meta,
            {
                "name": "data",
                "doc": "The payload.",
                "type": {
                    "type": "record",
                    "name": f"{name}Data",
                    "doc": "TODO: say what it is.",
                    "fields": [*fields, _extensions()],
                },
            },
        ],
    }
    return schema, left


def records(schema: Any, *, top: bool = True) -> Iterator[Schema]:
    """The records that are defined within a schema, those inside before those around them, the top one apart."""
    if isinstance(schema, list):
        for branch in schema:
            yield from records(branch, top=False)
    elif isinstance(schema, dict):
        for inner in (schema.get("items"), schema.get("values"), *(each["type"] for each in schema.get("fields", ()))):
            yield from records(inner, top=False)
        if schema["type"] == "record" and not top:
            yield schema


def text(schema: Schema, before: str | None = None) -> str:
    """A schema as the text of its file. before: the file's text without the new fields; what stands in it stays as it is."""
    if before is not None:
        grown = _grown(schema, before)
        if grown is not None:
            return grown
    return _written(schema, "") + "\n"


# --- types ------------------------------------------------------------------------------------------------------------


def narrowest(seen: Sequence[Values], name: str, taken: set[str], *, depth: int = 0) -> Any:
    """The Avro type, without null, that takes all that was seen at one place; None: nothing but null was.

    name: for a record that has to be made. taken: names of records that there are already; grows.
    """
    kinds = {kind for each in seen for kind in each.kinds if kind != NULL and each.kinds[kind]}
    if not kinds:
        return None
    branches: list[Any] = []
    if STRING in kinds:
        branches.append("string")
    if kinds & {INTEGER, NUMBER}:
        exact = NUMBER not in kinds and all(
            not each.vast and (each.least is None or (each.least in _LONGS and each.most in _LONGS)) for each in seen
        )
        branches.append("long" if exact else dict(DECIMAL))
    if BOOLEAN in kinds:
        branches.append("boolean")
    if ARRAY in kinds:
        items = [each.items for each in seen if each.items is not None]
        inner = narrowest(items, name, taken, depth=depth + 1) or dict(ANY)
        nulls = isinstance(inner, list) or any(each.kinds[NULL] for each in items)
        branches.append({"type": "array", "items": _nullable(inner) if nulls and inner != ANY else inner})
    if OBJECT in kinds:
        branches.append(_object(seen, name, taken, depth))
    strings = sum(each == "string" or (isinstance(each, dict) and each["type"] == "string") for each in branches)
    if ANY in branches or strings > 1:
        return dict(ANY)
    return branches[0] if len(branches) == 1 else branches


def _object(seen: Sequence[Values], name: str, taken: set[str], depth: int) -> Any:
    """A record; a map where names are many and values of one type; else JSON text."""
    members = sorted({member for each in seen for member in each.members})
    others = [each.others for each in seen if each.others is not None]
    inside = {member: [each.members[member] for each in seen if member in each.members] for member in members}
    if others:
        every = [values for places in inside.values() for values in places] + others
        inner = narrowest(every, name, taken, depth=depth + 1)
        plain = isinstance(inner, str) or inner == DECIMAL
        return {"type": "map", "values": inner} if plain else dict(ANY)
    if depth >= _DEPTH or not any(AVRO_NAME.fullmatch(member) for member in members):
        return dict(ANY)
    fields = []
    name = _free(name, taken)
    for member, places in inside.items():
        inner = narrowest(places, f"{name}{_word(member)}", taken, depth=depth + 1)
        if inner is not None and AVRO_NAME.fullmatch(member) and member != EXTENSIONS:
            of = sum(each.kinds[OBJECT] for each in seen)
            here = sum(each.seen for each in places)
            doc = f"TODO: say what it means. In {here:,} of {of:,} objects. {_MARK}"
            fields.append({"name": member, "type": _nullable(inner), "default": None, "doc": doc})
    record = {"type": "record", "name": name, "doc": "TODO: say what it is.", "fields": [*fields, _extensions()]}
    if not fields:
        return dict(ANY)
    return record


def _field(record: Schema, member: str, seen: Sequence[Found], taken: set[str]) -> Schema | str:
    name = record["name"]
    of = sum(each.records_of.get(name, 0) for each in seen)
    days = _days(min(each.first for each in seen), max(each.last for each in seen))
    return _made((name, member), [each.members[name][member] for each in seen], taken, told=f"{of:,} records, {days}")


def _made(name: tuple[str, str], seen: Sequence[Values], taken: set[str], *, told: str) -> Schema | str:
    """The field for a member, by its record's name and its own; or why there can't be one. told: of how many, and when."""
    record, member = name
    if not AVRO_NAME.fullmatch(member) or member == EXTENSIONS:
        return "its name can't be that of a field"
    avro = narrowest(seen, f"{record.removesuffix('Data')}{_word(member)}", taken)
    if avro is None:
        return "nothing but null was seen, so its type is not known"
    here = sum(each.seen for each in seen)
    doc = f"TODO: say what it means. In {here:,} of {told}. {_MARK}"
    return {"name": member, "type": _nullable(avro), "default": None, "doc": doc}


def _nullable(avro: Any) -> list[Any]:
    return ["null", *avro] if isinstance(avro, list) else ["null", avro]


def _extensions() -> Schema:
    return {
        "name": EXTENSIONS,
        "type": {"type": "map", "values": "string"},
        "default": {},
        "doc": "Members unknown to this schema, by name, as exact JSON text.",
    }


def _word(member: str) -> str:
    """A member's name as a part of a record's."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", member))


def _free(name: str, taken: set[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "", name)
    found, number = name, 2
    while found in taken:
        found, number = f"{name}{number}", number + 1
    taken.add(found)
    return found


def _days(first: int, last: int) -> str:
    begin, end = (time.strftime("%Y-%m-%d", time.gmtime(at / 1000)) for at in (first, last))
    return begin if begin == end else f"{begin} to {end}"


# --- a new type's attribute -------------------------------------------------------------------------------------------


def _bridge(profile: TypeProfile, folder: Schema, meta: Schema, fields: Sequence[Schema]) -> Schema:
    """The attribute of a new type: the folder's rules for unknown types, as far as what was seen bears them out."""

    def kept(paths: Sequence[str]) -> list[str]:
        return [path for path in paths if _useful(path, meta, fields)]

    identities = folder["identity"]
    lists = [identities] if identities and isinstance(identities[0], str) else identities
    identity = [paths for paths in lists if kept(paths) == list(paths)]
    # Without any a frame could have no key: the first field that may be one is better than none.
    entity = kept(folder["entity"]) or kept([f"data.{each['name']}" for each in fields])[:1]
    if not entity:
        raise ValueError("no member of it can be its entity: text or an integer")
    return {
        "type": profile.type,
        "key": kept(folder["key"]),
        "entity": entity,
        "identity": identity[0] if len(identity) == 1 else identity,
        "content": True,
        "kind": "event",
        "event_time": kept(folder["event_time"]),
        "why": ["TODO: check key, entity, identity and kind before the first release: they can't be changed later."],
    }


def _useful(path: str, meta: Schema, fields: Sequence[Schema]) -> bool:
    """Whether a path leads to text or a long."""
    part, _, name = path.partition(".")
    every = meta["fields"] if part == "meta" else fields
    avro = next((each["type"] for each in every if each["name"] == name), None)
    return isinstance(avro, list) and all(isinstance(each, str) and each in _KEYS for each in avro)


_KEYS: Final = frozenset({"null", "string", "long"})


# --- text -------------------------------------------------------------------------------------------------------------

_LAST_FIELD: Final = re.compile(r'^([ \t]*)\{\s*"name":\s*"extensions"', re.MULTILINE)


def _grown(schema: Schema, before: str) -> str | None:
    """The text with the new fields put in before each record's last field; None where they can't be."""
    old = list(records(json.loads(before)))
    ours = [record for record in old if record["fields"] and record["fields"][-1]["name"] == EXTENSIONS]
    places = list(_LAST_FIELD.finditer(before))
    if len(places) != len(ours):
        return None
    known = {record["name"]: record for record in records(schema)}
    parts, at = [], 0
    for place, record in zip(places, ours, strict=True):
        names = {field["name"] for field in record["fields"]}
        parts.append(before[at : place.start()])
        new = [each for each in known.get(record["name"], record)["fields"] if each["name"] not in names]
        parts += [f"{place[1]}{_written(each, place[1])},\n" for each in new]
        at = place.start()
    made = "".join(parts) + before[at:]
    return made if json.loads(made) == schema else None


def _written(node: Any, indent: str) -> str:
    """JSON in the style of the schema files: what has no name stands on one line."""
    inner = indent + "  "
    if isinstance(node, dict) and (node.keys() & {"name", "bridge"} or _named(node)):
        members = [f"{inner}{json.dumps(name)}: {_written(value, inner)}" for name, value in node.items()]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(node, dict) and "identity" in node:
        members = [
            f"{inner}{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in node.items()
        ]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(node, list) and _named(node):
        return "[\n" + ",\n".join(f"{inner}{_written(each, inner)}" for each in node) + f"\n{indent}]"
    return json.dumps(node, ensure_ascii=False)


def _named(node: Any) -> bool:
    """Whether a record or a field is in it."""
    if isinstance(node, dict):
        return "fields" in node or ("name" in node and "type" in node) or any(map(_named, node.values()))
    return isinstance(node, list) and any(map(_named, node))
