"""One schema file of a gateway: its record and its ``bridge`` attribute, checked when it is read.

The files are written in a small language, JSON and Avro side by side, so that a codec can be compiled from them and
nothing that a gateway sends is lost (``schemas/README.md`` is the reference). Whatever a file says that nobody would
read, or that could only fail once frames come, is a ConfigError here, which names the file and the attribute or field.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NoReturn

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

#: A schema as parsed from JSON. Shared by all who ask for it: never change one.
Schema = dict[str, Any]
#: Steps from the record down to a value, e.g. ``("data", "match_id")``. The step `EACH` goes into every element.
FieldPath = tuple[str, ...]

EACH: Final = "[]"
#: The type whose record holds a whole frame, for frames of types without a schema.
UNKNOWN: Final = "unknown"

#: What a path may lead to. ``free``: something below JSON text, of which only a frame can tell what it is.
TEXT: Final = frozenset({"string", "long", "free"})
SCALAR: Final = TEXT | {"boolean", "number", "any"}
NUMBER: Final = frozenset({"long"})

#: The attributes of ``bridge``: of every file, of some, and of a folder's ``unknown.avsc`` on behalf of all.
REQUIRED: Final = ("type", "key", "entity", "identity", "content", "kind", "event_time")
OPTIONAL: Final = ("family", "learn", "publish", "continuity", "why")
OF_FOLDER: Final = ("envelope", "private", "sent")

#: The names that a type and a field may have.
TYPE_NAME: Final = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
AVRO_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH: Final = re.compile(r"(?:meta|data)(?:\.[A-Za-z_][A-Za-z0-9_]*(?:\[\])*)+")
#: Avro type → the JSON that it takes.
_PLAIN: Final = {"string": "string", "long": "number", "boolean": "boolean"}
#: ``json`` of an Avro string that holds JSON text → the JSON that it takes.
_JSON_TEXT: Final = {"number": "number", "any": "value"}
_EXTENSIONS: Final = {"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}}


class SchemaFile:
    """A file ``<type>.avsc`` in the folder of a gateway kind.

    type: the envelope's ``type``. schema: as it stands in the file; registered: without ``bridge``. records: every
    record below the top one, by name. bridge: the attribute, of which only names are checked until it is asked for.
    """

    def __init__(self, path: Path) -> None:
        """Read and check the file; raises ConfigError."""
        self.path = path
        self.schema = read(path)
        self.registered = registered(self.schema)
        self.records: dict[str, Schema] = {}
        self.bridge = self._attributes()
        self.type = self._type()
        self._top()
        parse(path, self.registered)

    def fail(self, at: str, what: str, mend: str | None = None) -> NoReturn:
        """Raise ConfigError. at: the attribute or field to blame."""
        raise ConfigError(what, where=f"{self.path}: {at}", mend=mend)

    # What the bridge attribute says

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """Return an attribute that is true or false."""
        value = self.bridge.get(name, default)
        if not isinstance(value, bool):
            self.fail(f"bridge.{name}", "expected true or false")
        return value

    def choice(self, name: str, *allowed: str) -> str:
        """Return an attribute that is one of a few words."""
        value = self.bridge.get(name)
        if not isinstance(value, str) or value not in allowed:
            self.fail(f"bridge.{name}", f"expected {' or '.join(map(repr, allowed))}, found {json.dumps(value)}")
        return value

    def paths(self, name: str, leading_to: frozenset[str]) -> tuple[FieldPath, ...]:
        """Return an attribute that is a list of paths. leading_to: `TEXT` or `SCALAR`."""
        value = self.bridge[name]
        if not _is_texts(value):
            self.fail(f"bridge.{name}", "expected a list of paths")
        return tuple(self._path(f"bridge.{name}", each, leading_to) for each in value)

    def alternatives(self, name: str, leading_to: frozenset[str]) -> tuple[tuple[FieldPath, ...], ...]:
        """Return an attribute that is a list of lists of paths, or one such list, which is then the only one."""
        value = self.bridge[name]
        lists = [value] if value and _is_texts(value) else value
        if not isinstance(lists, list) or not all(each and _is_texts(each) for each in lists):
            self.fail(f"bridge.{name}", "expected a list of paths, or a list of such lists")
        return tuple(tuple(self._path(f"bridge.{name}", path, leading_to) for path in paths) for paths in lists)

    def pairs(self, name: str) -> tuple[tuple[FieldPath, FieldPath], ...]:
        """Return an attribute that is a list of pairs of paths; the first of a pair may go through arrays."""
        value, at, pair = self.bridge.get(name, []), f"bridge.{name}", 2
        if not isinstance(value, list) or not all(_is_texts(each) and len(each) == pair for each in value):
            self.fail(at, "expected a list of pairs of paths: where an id is, where the key that belongs to it is")
        return tuple((self._path(at, known, TEXT, each=EACH), self._path(at, key, TEXT)) for known, key in value)

    def continuity(self) -> tuple[tuple[FieldPath, ...], tuple[FieldPath, ...], bool] | None:
        """Return the attribute of that name: paths to the number, paths to the number before, whether it is a snapshot."""
        value, at = self.bridge.get("continuity"), "bridge.continuity"
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fail(at, "expected an object")
        for name in value:
            if name not in {"seq", "previous", "snapshot"}:
                self.fail(f"{at}.{name}", "no such attribute", nearest(name, ("seq", "previous", "snapshot")))
        found = []
        for name in ("seq", "previous"):
            texts = value.get(name, [])
            if not _is_texts(texts) or (name == "seq" and not texts):
                self.fail(f"{at}.{name}", "expected a list of paths")
            found.append(tuple(self._path(f"{at}.{name}", each, NUMBER) for each in texts))
        snapshot = value.get("snapshot", False)
        if not isinstance(snapshot, bool):
            self.fail(f"{at}.snapshot", "expected true or false")
        return found[0], found[1], snapshot

    def sent(self) -> FieldPath | None:
        """Return the attribute of that name of the folder: where the envelope says when a frame was sent."""
        value = self.bridge.get("sent")
        if value is None:
            return None
        path = self._path("bridge.sent", value, TEXT) if isinstance(value, str) else ()
        if len(path) != 2 or path[0] != "meta":  # noqa: PLR2004 - meta and its field
            self.fail("bridge.sent", 'expected a path "meta.field"')
        return path

    def _path(self, at: str, text: str, leading_to: frozenset[str], *, each: str = "") -> FieldPath:
        """Parse one path and check that what it leads to is of use. each: `EACH` where it may go through arrays."""
        if not _PATH.fullmatch(text) or (EACH in text and not each):
            self.fail(at, f"{text!r} is no path", 'write "data.field" or "meta.field"')
        path = tuple(step for step in re.split(r"\.|(?=\[\])", text) if step)
        if self.type == UNKNOWN and path[0] == "data":
            return path
        kinds = self._leads_to(self.schema, path)
        if not kinds:
            record = self.records["Meta"] if path[0] == "meta" else self.schema["fields"][1]["type"]
            self.fail(at, f"{text!r} leads nowhere", nearest(path[1], [each["name"] for each in record["fields"]]))
        if kinds - leading_to:
            self.fail(
                at, f"{text!r} leads to a value of type {', '.join(sorted(kinds - leading_to))}, which is of no use"
            )
        return path

    def _leads_to(self, avro: Any, path: FieldPath) -> frozenset[str]:
        """Return what a path may find, by every branch of a union that has it: Avro's types, number, any or free."""
        avro = self.records.get(avro, avro) if isinstance(avro, str) else avro
        if isinstance(avro, list):
            return frozenset().union(*(self._leads_to(branch, path) for branch in avro if branch != "null"))
        kind = avro if isinstance(avro, str) else avro.get("json", avro["type"])
        if not path:
            return frozenset({kind})
        if kind == "any" or (kind == "record" and path[0] == "extensions" and path[1:]):
            return frozenset({"free"})
        return frozenset().union(*(self._leads_to(inner, path[1:]) for inner in _inside(avro, kind, path[0])))

    def _attributes(self) -> Schema:
        bridge = self.schema.get("bridge")
        if not isinstance(bridge, dict):
            self.fail("bridge", "the attribute is missing" if bridge is None else "expected an object")
        generic = self.path.stem == UNKNOWN
        for name in bridge:
            if name in OF_FOLDER and not generic:
                self.fail(f"bridge.{name}", f"belongs to the whole folder: write it into {UNKNOWN}.avsc")
            if name not in (*REQUIRED, *OPTIONAL, *OF_FOLDER):
                self.fail(f"bridge.{name}", "no such attribute", nearest(name, (*REQUIRED, *OPTIONAL)))
        for name in (*REQUIRED, "envelope") if generic else REQUIRED:
            if name not in bridge:
                self.fail(f"bridge.{name}", "the attribute is missing")
        if not _is_texts(bridge.get("why", [])):
            self.fail("bridge.why", "expected a list of lines")
        return bridge

    def _type(self) -> str:
        value = self.bridge["type"]
        if not isinstance(value, str) or not TYPE_NAME.fullmatch(value):
            self.fail("bridge.type", "expected words of letters and digits, joined by dots, underscores or hyphens")
        if self.path.stem != value:
            self.fail("bridge.type", f"{value!r} and the file's name must be the same")
        return value

    # The record

    def _top(self) -> None:
        """What every type's record is: named after its type, in the folder's namespace, with ``meta`` and ``data``."""
        name = record_name(self.type)
        namespace = f"feedbridge.{self.path.parent.name.replace('-', '_')}"
        for attribute, expected in (("type", "record"), ("name", name), ("namespace", namespace)):
            if self.schema.get(attribute) != expected:
                self.fail(attribute, f"expected {expected!r}, found {json.dumps(self.schema.get(attribute))}")
        self._members(self.schema, name, ("type", "name", "namespace", "doc", "bridge", "fields"))
        fields = self.schema.get("fields")
        if not isinstance(fields, list) or [_get(each, "name") for each in fields] != ["meta", "data"]:
            self.fail("fields", "expected two fields, meta and data")
        for field, expected in zip(fields, ("Meta", f"{name}Data"), strict=True):
            at, record = field["name"], field.get("type")
            self._members(field, at, ("name", "doc", "type"))
            if _get(record, "type") != "record" or _get(record, "name") != expected:
                self.fail(at, f"expected a record {expected}")
            if self.type == UNKNOWN and at == "data":
                self._whole_frame(record, at)
            else:
                self._record(record, at)
        seq = [each["type"] for each in self.records["Meta"]["fields"] if each["name"] == "seq"]
        if seq != [["null", "long"]]:
            self.fail("meta.seq", 'expected a field of type ["null", "long"]', "it stays null where a gateway has none")

    def _whole_frame(self, record: Schema, at: str) -> None:
        """The generic record's data, which the bridge itself fills in."""
        self._members(record, at, ("type", "name", "doc", "fields"))
        fields = record.get("fields")
        expected = [("type", "string"), ("json", "string")]
        if not isinstance(fields, list) or [(_get(each, "name"), _get(each, "type")) for each in fields] != expected:
            self.fail(at, "expected two fields of type string: type and json")
        for field in fields:
            self._members(field, f"{at}.{field['name']}", ("name", "type", "doc"))

    def _record(self, record: Schema, at: str) -> None:
        self._members(record, at, ("type", "name", "doc", "fields"))
        name, fields = record.get("name"), record.get("fields")
        if not isinstance(name, str) or not AVRO_NAME.fullmatch(name):
            self.fail(at, "the record needs a name of letters, digits and underscores")
        if name in self.records or name == self.schema["name"]:
            self.fail(at, f"there is a record {name} already", f'refer to it: "type": "{name}"')
        if not isinstance(fields, list) or not all(isinstance(each, dict) for each in fields):
            self.fail(at, "the record needs a list of fields")
        for field in fields:
            self._field(field, at)
        names = [each["name"] for each in fields]
        if names[-1:] != ["extensions"]:
            self.fail(at, "the last field must be extensions", "it keeps what the schema does not know")
        if twice := _twice(names):
            self.fail(at, f"there are two fields {twice}")
        # Known only from here on: a record inside itself would have no end.
        self.records[name] = record

    def _field(self, field: Schema, at: str) -> None:
        name = field.get("name")
        if not isinstance(name, str) or not AVRO_NAME.fullmatch(name):
            self.fail(at, f"{json.dumps(name)} is no field name", "members of other names go to extensions")
        at = f"{at}.{name}"
        self._members(field, at, ("name", "type", "default", "doc"))
        if name == "extensions":
            if {**field, "doc": ""} != {**_EXTENSIONS, "doc": ""}:
                self.fail(at, 'expected {"type": "map", "values": "string"} with default {}')
            return
        avro = field.get("type")
        self._type_of(avro, at)
        if isinstance(avro, list) and field.get("default", ...) is not None:
            self.fail(at, "a nullable field has default null")
        if not isinstance(avro, list) and "default" in field:
            self.fail(at, "a field that is not nullable has no default", "without the field a frame is a dead letter")

    def _members(self, thing: Schema, at: str, allowed: Collection[str]) -> None:
        """Check for attributes that nobody reads, and for the doc that everything with a name has."""
        for name in thing:
            if name not in allowed:
                self.fail(at, f"no such attribute: {name!r}", nearest(name, allowed))
        if not isinstance(thing.get("doc"), str) or not thing["doc"].strip():
            self.fail(at, "the doc is missing", "say what it means and how certain that is")

    # Types: each returns which JSON it takes, since that alone decides the branch of a union

    def _type_of(self, avro: Any, at: str) -> None:
        """Check the type of a field, of an array's items or of a map's values."""
        if not isinstance(avro, list):
            self._shape(avro, at)
            return
        if avro[:1] != ["null"] or not avro[1:]:
            self.fail(at, 'a union is ["null", type, ...]')
        shapes = sorted(self._shape(branch, at) for branch in avro[1:])
        if twice := _twice(shapes):
            self.fail(at, f"two branches of the union take a JSON {twice}")
        if "value" in shapes and shapes[1:]:
            self.fail(at, "json any takes every value", "leave the other branches out")
        if sum(branch == "string" or _get(branch, "type") == "string" for branch in avro) > 1:
            self.fail(at, "two branches of the union are Avro strings", "Avro could not tell them apart")

    def _shape(self, avro: Any, at: str) -> str:
        """Check a type that is no union. Returns the JSON it takes: string, number, …, or value for all of them."""
        if isinstance(avro, str):
            shape = "object" if avro in self.records else _PLAIN.get(avro)
        elif _get(avro, "type") == "record":
            self._record(avro, at)
            shape = "object"
        elif _get(avro, "type") == "string" and set(avro) == {"type", "json"}:
            shape = _JSON_TEXT.get(avro["json"]) if isinstance(avro["json"], str) else None
        else:
            shape = self._container(avro, at)
        if shape is None:
            self.fail(
                at,
                f"{json.dumps(avro)} is no type that a gateway's schema may have",
                'string, long, boolean, {"type": "string", "json": "number" or "any"}, array, map, record or a union',
            )
        return shape

    def _container(self, avro: Any, at: str) -> str | None:
        for kind, member, shape in (("array", "items", "array"), ("map", "values", "object")):
            if _get(avro, "type") == kind and set(avro) == {"type", member}:
                self._type_of(avro[member], at)
                return shape
        return None


def read(path: Path) -> Schema:
    """Parse one file; raises ConfigError for what is no JSON object, or has a member twice."""

    def members(pairs: list[tuple[str, Any]]) -> Schema:
        if twice := _twice([name for name, _ in pairs]):
            raise ConfigError(f"an object has two members {twice!r}", where=str(path))
        return dict(pairs)

    try:
        schema = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=members)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read: {error}", where=str(path)) from error
    if not isinstance(schema, dict):
        raise ConfigError("not a JSON object", where=str(path))
    return schema


def parse(path: Path, schema: Schema) -> None:
    """Have fastavro, which knows Avro's own rules, parse the schema; raises ConfigError."""
    try:
        fastavro.parse_schema(copy.deepcopy(schema))
    except (SchemaParseException, UnknownType) as error:
        raise ConfigError(f"not an Avro schema: {error}", where=str(path)) from error


def record_name(frame_type: str) -> str:
    """Return the name of a type's record: `MatchUpdated` of `match.updated`."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[._-]", frame_type))


def registered(schema: Mapping[str, Any]) -> Schema:
    """Return the schema as consumers see it: without the ``bridge`` attribute."""
    return {name: value for name, value in schema.items() if name != "bridge"}


def nearest(name: str, known: Collection[str]) -> str:
    """Return what to do about a name that is not known."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {found[0]!r}?" if found else f"known: {', '.join(known)}"


def _inside(avro: Schema, kind: str, step: str) -> Iterator[Any]:
    """The type that a step leads to, if it leads anywhere."""
    if kind == "record":
        yield from (field["type"] for field in avro["fields"] if field["name"] == step)
    elif kind == "map" and step != EACH:
        yield avro["values"]
    elif kind == "array" and step == EACH:
        yield avro["items"]


def _twice(names: Sequence[str]) -> str | None:
    return next((one for one, other in pairwise(sorted(names)) if one == other), None)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _get(thing: object, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else None
