"""What records of each frame type really hold: fields, how often they are null, and the members that no schema knows.

Pure: `Profiler` is fed with decoded records. What it keeps is bounded by the schemas and by `PLACES`, not by the number of
records. `bridge.survey` reads topics into it, `bridge.proposal` makes schemas of what it found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bridge.avsc import UNKNOWN
from bridge.evolution import Names
from bridge.values import ARRAY, BOOLEAN, INTEGER, LONG, NULL, OBJECT, STRING, Budget, Values, kind_of, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Places of unknown members that are kept in all: about 40 MB at the very most.
PLACES: Final = 10_000
#: Types without a schema that are told apart.
STRANGERS: Final = 200
EXTENSIONS: Final = "extensions"


class Row(NamedTuple):
    """One field, or one member that no schema knows.

    path: ``data.status``, ``[]`` for the elements of an array, ``{}`` for the values of a map; of an unknown member as if it
    were a field. known: whether the schema has it. of: how many objects there were that it could have been in.
    """

    path: str
    known: bool
    values: Values
    of: int

    @property
    def nulls(self) -> float:
        """The share of those objects in which it was null or absent."""
        return 1 - self.values.seen / self.of if self.of else 0.0


@dataclass(slots=True)
class TypeProfile:
    """One frame type of one gateway.

    known: whether a schema of its own has it; else it was found in the topic of unknown types. first, last: when such a
    frame was received (ms since the epoch). records_of: name of a record of the schema → how many of it there were. extensions:
    name of a record of the schema → its unknown members. payload: of an unknown type, what its ``data`` held. broken: JSON
    that could not be read. passed: values of members that were one too many to be kept, or whose names are too long.
    """

    gateway: str
    kind: str
    type: str
    known: bool
    records: int = 0
    first: int = 0
    last: int = 0
    broken: int = 0
    passed: int = 0
    fields: dict[str, Values] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    records_of: Counter[str] = field(default_factory=Counter)
    extensions: dict[str, dict[str, Values]] = field(default_factory=dict)
    #: Path of an object → name of its record, for those that had unknown members.
    places: dict[str, str] = field(default_factory=dict)
    payload: Values = field(default_factory=Values)

    def rows(self) -> Iterator[Row]:
        """All fields in the schema's order, behind those of each record its unknown members."""
        told: set[str] = set()
        by_parent: dict[str, list[str]] = {}
        for path in self.fields:
            if "." in path:  # meta and data themselves say nothing
                by_parent.setdefault(_parent(path), []).append(path)
        for place in self.places:
            by_parent.setdefault(place, [])
        for parent, paths in by_parent.items():
            for path in paths:
                yield Row(path, known=True, values=self.fields[path], of=self.objects[parent])
            record = self.places.get(parent)
            # A record that stands in several places is told of once: its members are not kept apart.
            if record is not None and record not in told:
                told.add(record)
                for name, values in sorted(self.extensions[record].items()):
                    yield from unknown_rows(f"{parent}.{name}", values, self.records_of[record])
        if not self.known:
            for name, values in self.payload.members.items():
                yield from unknown_rows(f"data.{name}", values, self.payload.kinds[OBJECT])


class Profiler:
    """Takes records of any number of gateways. places: see `PLACES`."""

    def __init__(self, *, places: int = PLACES) -> None:
        """Nothing was seen."""
        self.types: dict[tuple[str, str, bool], TypeProfile] = {}
        #: Records of types without a schema that were one too many to be told apart.
        self.strangers = 0
        self._budget = Budget(places)
        self._names: dict[int, tuple[Any, Names]] = {}

    @property
    def crowded(self) -> bool:
        """Whether there were more unknown members than are kept."""
        return self._budget.left <= 0

    def take(self, gateway: str, kind: str, schema: Mapping[str, Any], data: Any, *, type: str, received: int) -> None:  # noqa: A002
        """Take one record. schema, data: the writer's, and what fastavro made of it. type: the frame type of that schema.

        received: when its frame was (ms since the epoch).
        """
        own = data["data"]["type"] if type == UNKNOWN else type
        key = gateway, own, type != UNKNOWN
        found = self.types.get(key)
        if found is None:
            strangers = sum(1 for _, _, known in self.types if not known)
            if type == UNKNOWN and (strangers >= STRANGERS or len(own) > LONG):
                self.strangers += 1
                return
            found = self.types[key] = TypeProfile(gateway, kind, own, known=type != UNKNOWN, first=received)
        found.records += 1
        found.first, found.last = min(found.first, received), max(found.last, received)
        names = self._names.get(id(schema))
        if names is None:
            # The schema is kept with it, so that no other one gets its id.
            names = self._names[id(schema)] = schema, Names(schema)
        if type != UNKNOWN:
            self._record(found, names[1], schema, data, "")
            return
        meta = next(each["type"] for each in schema["fields"] if each["name"] == "meta")
        self._record(found, names[1], names[1].resolve(meta), data["meta"], "meta")
        try:
            frame = parse(data["data"]["json"])
        except ValueError:
            found.broken += 1
            return
        if isinstance(frame, dict) and isinstance(frame.get("data"), dict):
            found.payload.take(frame["data"], self._budget)

    def _record(self, found: TypeProfile, names: Names, schema: Mapping[str, Any], data: Any, path: str) -> None:
        found.objects[path] += 1
        name = schema["name"].rpartition(".")[2]
        found.records_of[name] += 1
        for each in schema["fields"]:
            inner = f"{path}.{each['name']}" if path else each["name"]
            if each["name"] == EXTENSIONS and path:
                self._extensions(found, name, data[EXTENSIONS], path)
                continue
            self._value(found, names, each["type"], data[each["name"]], inner)

    def _extensions(self, found: TypeProfile, record: str, members: Mapping[str, str], path: str) -> None:
        if not members:
            return
        found.places[path] = record
        known = found.extensions.setdefault(record, {})
        for name, text in members.items():
            values = known.get(name)
            if values is None:
                if len(name) > LONG or not self._budget.take():
                    found.passed += 1
                    continue
                values = known[name] = Values()
            try:
                values.take(parse(text), self._budget)
            except ValueError:
                found.broken += 1

    def _value(self, found: TypeProfile, names: Names, avro: Any, value: Any, path: str) -> None:
        """Take the value at a path, by the branch of its type that it was written with."""
        values = found.fields.get(path)
        if values is None:
            values = found.fields[path] = Values()
        if value is None:
            values.note(NULL)
            return
        avro = _branch(names, avro, value)
        if isinstance(value, dict) and avro["type"] == "record":
            values.note(OBJECT)
            self._record(found, names, avro, value, path)
        elif isinstance(value, dict):
            values.note(OBJECT)
            self._each(found, names, avro["values"], value.values(), f"{path}{{}}")
        elif isinstance(value, list):
            values.note(ARRAY)
            self._each(found, names, avro["items"], value, f"{path}[]")
        elif isinstance(avro, dict) and "json" in avro:
            self._text(found, values, value)
        else:
            values.take(value, self._budget)

    def _each(self, found: TypeProfile, names: Names, avro: Any, elements: Any, path: str) -> None:
        for element in elements:
            found.objects[path[:-2]] += 1
            self._value(found, names, avro, element, path)

    @staticmethod
    def _text(found: TypeProfile, values: Values, text: str) -> None:
        """A field that holds JSON text: what is inside an object or array has no place of its own."""
        if (kind := _WHOLE.get(text[:1])) is not None:
            values.note(kind)
            return
        try:
            values.take(parse(text), _NONE)
        except ValueError:
            found.broken += 1


_NONE: Final = Budget(0)
_WHOLE: Final[Mapping[str, str]] = {"[": ARRAY, "{": OBJECT}
#: Python type of a value as fastavro gives it → Avro types it may be of.
_AVRO: Final[Mapping[str, frozenset[str]]] = {
    BOOLEAN: frozenset({"boolean"}),
    INTEGER: frozenset({"int", "long"}),
    STRING: frozenset({"string", "enum"}),
    ARRAY: frozenset({"array"}),
    OBJECT: frozenset({"record", "map"}),
}


def _branch(names: Names, avro: Any, value: Any) -> Any:
    if not isinstance(avro, list):
        return names.resolve(avro)
    wanted = _AVRO[kind_of(value)]
    for each in avro:
        branch = names.resolve(each)
        if (branch if isinstance(branch, str) else branch["type"]) in wanted:
            return branch
    return avro[-1]


def unknown_rows(path: str, values: Values, of: int) -> Iterator[Row]:
    """A member that no schema knows, and what lies in it. of: objects that it could have been in."""
    yield Row(path, known=False, values=values, of=of)
    for name, each in values.members.items():
        yield from unknown_rows(f"{path}.{name}", each, values.kinds[OBJECT])
    if values.items is not None:
        yield from unknown_rows(f"{path}[]", values.items, values.items.kinds.total())


def _parent(path: str) -> str:
    """The path of the object or array that a path lies in."""
    return path[:-2] if path.endswith(("[]", "{}")) else path.rpartition(".")[0]
