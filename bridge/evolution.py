"""What changed between two versions of an Avro schema, field by field, and whom it breaks.

Avro's rules of schema resolution (specification 1.12, "Schema Resolution") as far as our schemas use the language:
records, arrays, maps, unions, enums and the primitive types. FULL compatibility means that the new schema can read what
the old one wrote (or consumers who update first fail on old records) and the old one what the new wrote (or consumers
who have not updated fail on new records).
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

#: A schema as parsed JSON: a type's name, a dict, or a list of branches.
Schema: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: path of the field (``data.status``; empty for the record itself), what it is, whom it breaks."""

    path: str
    text: str
    breaks: str | None = None

    def __str__(self) -> str:
        """One line."""
        where = self.path or "the record"
        return f"{where}: {self.text}" + (f" ({self.breaks})" if self.breaks else "")


def changes(old: Schema, new: Schema) -> list[Change]:
    """All differences from `old` to `new`, in the order of their paths: what breaks readers, and what does not."""
    found: dict[str, Change] = {}
    for reader, writer, breaks in (
        (new, old, "breaks readers of the new schema on old records"),
        (old, new, "breaks readers of the old schema on new records"),
    ):
        for path, text in unreadable(reader, writer):
            found.setdefault(path, Change(path, text, breaks))
    before, after = _flat(old), _flat(new)
    for path in (*before, *(path for path in after if path not in before)):
        difference = _harmless(before.get(path), after.get(path))
        if difference and path not in found:
            found[path] = Change(path, difference)
    return sorted(found.values(), key=lambda change: change.path)


def unreadable(reader: Schema, writer: Schema) -> list[tuple[str, str]]:
    """Why data of `writer` can't always be read with `reader`: (path, reason) each; empty: it always can."""
    return list(_clash(reader, writer, Names(reader), Names(writer), ""))


#: Writer's type → what a reader may have in its place (Avro's promotions).
_PROMOTIONS: Final[Mapping[str, frozenset[str]]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}


def _clash(
    reader: Schema, writer: Schema, reads: Names, writes: Names, path: str
) -> Generator[tuple[str, str], None, None]:
    reader, writer = reads.resolve(reader), writes.resolve(writer)
    if isinstance(writer, list):
        for branch in writer:
            yield from _clash(reader, branch, reads, writes, path)
    elif isinstance(reader, list):
        if not any(_readable(branch, writer, reads, writes, path) for branch in reader):
            same = [branch for branch in reader if _kind(reads.resolve(branch)) == _kind(writer)]
            if len(same) == 1:
                yield from _clash(same[0], writer, reads, writes, path)  # the branch that was meant tells where
            else:
                yield path, _expected(reader, writer)
    elif _kind(reader) == _kind(writer):
        yield from _inside(reader, writer, reads, writes, path)
    elif _kind(reader) not in _PROMOTIONS.get(_kind(writer), frozenset()):
        yield path, _expected(reader, writer)


def _inside(
    reader: Schema, writer: Schema, reads: Names, writes: Names, path: str
) -> Generator[tuple[str, str], None, None]:
    """Two types of one kind, neither a union."""
    match _kind(reader):
        case "array":
            yield from _clash(reader["items"], writer["items"], reads, writes, f"{path}[]")
        case "map":
            yield from _clash(reader["values"], writer["values"], reads, writes, f"{path}{{}}")
        case "record":
            yield from _record(reader, writer, reads, writes, path)
        case "enum" if "default" not in reader:
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if lost:
                yield path, f"symbols {', '.join(lost)} written, but not expected"
        case "fixed" if reader["size"] != writer["size"]:
            yield path, f"fixed of {writer['size']} bytes written, of {reader['size']} expected"


def _expected(reader: Schema, writer: Schema) -> str:
    return f"{_show(writer)} written, {_show(reader)} expected"


def _record(
    reader: dict[str, Any], writer: dict[str, Any], reads: Names, writes: Names, path: str
) -> Generator[tuple[str, str], None, None]:
    if _short(reader) != _short(writer) and _short(writer) not in _aliases(reader):
        yield path, f"record {_short(writer)} written, {_short(reader)} expected"
    if (id(reader), id(writer)) in reads.within:
        return  # a record that holds itself: already being compared
    reads.within.add((id(reader), id(writer)))
    try:
        yield from _fields(reader, writer, reads, writes, path)
    finally:
        reads.within.discard((id(reader), id(writer)))


def _fields(
    reader: dict[str, Any], writer: dict[str, Any], reads: Names, writes: Names, path: str
) -> Generator[tuple[str, str], None, None]:
    written = {field["name"]: field for field in writer["fields"]}
    for field in reader["fields"]:
        inner = f"{path}.{field['name']}" if path else field["name"]
        name = next((name for name in (field["name"], *field.get("aliases", ())) if name in written), None)
        if name is not None:
            yield from _clash(field["type"], written[name]["type"], reads, writes, inner)
        elif "default" not in field:
            yield inner, "expected without a default, but not written"


def _readable(reader: Schema, writer: Schema, reads: Names, writes: Names, path: str) -> bool:
    with closing(_clash(reader, writer, reads, writes, path)) as faults:
        return next(faults, None) is None


class Names:
    """Named types of a schema, so that a field may refer to a record by its name."""

    def __init__(self, schema: Schema) -> None:
        """Collect the definitions at any depth."""
        self._known: dict[str, dict[str, Any]] = {}
        self.within: set[tuple[int, int]] = set()
        self._collect(schema, "")

    def resolve(self, schema: Schema) -> Schema:
        """The definition behind a name; anything else as it is."""
        if isinstance(schema, str):
            return self._known.get(schema, schema)
        return schema

    def _collect(self, schema: Schema, namespace: str) -> None:
        if isinstance(schema, list):
            for branch in schema:
                self._collect(branch, namespace)
        elif isinstance(schema, dict):
            if "name" in schema:
                namespace = schema.get("namespace", namespace)
                # By short and by full name: fields refer to it by either. Short names are unique in our schemas.
                self._known[_short(schema)] = schema
                self._known[f"{namespace}.{_short(schema)}" if namespace else _short(schema)] = schema
            for inner in (schema.get("items"), schema.get("values"), schema.get("type")):
                if isinstance(inner, (dict, list)):
                    self._collect(inner, namespace)
            for field in schema.get("fields", ()):
                self._collect(field["type"], namespace)


def _flat(schema: Schema) -> dict[str, dict[str, Any]]:
    """Path → field, for every field at any depth."""
    found: dict[str, dict[str, Any]] = {}
    names = Names(schema)

    def walk(node: Schema, path: str, above: tuple[str, ...]) -> None:
        node = names.resolve(node)
        if isinstance(node, list):
            for branch in node:
                walk(branch, path, above)
        elif isinstance(node, dict):
            if node["type"] == "array":
                walk(node["items"], f"{path}[]", above)
            elif node["type"] == "map":
                walk(node["values"], f"{path}{{}}", above)
            elif node["type"] == "record" and _short(node) not in above:
                for field in node["fields"]:
                    inner = f"{path}.{field['name']}" if path else field["name"]
                    found[inner] = field
                    walk(field["type"], inner, (*above, _short(node)))

    walk(schema, "", ())
    return found


def _harmless(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str | None:
    """What changed in a field, where it breaks nobody; None: nothing."""
    if old is None or new is None:
        return f"added, {_show(new['type'])}" if new else f"removed, was {_show(old['type'])}" if old else None
    before, after = _show(old["type"]), _show(new["type"])
    if before != after:
        return f"type changed from {before} to {after}"
    for what in ("default", "doc"):
        if (what in old, old.get(what)) != (what in new, new.get(what)):
            values = f" from {json.dumps(old.get(what))} to {json.dumps(new.get(what))}" if what == "default" else ""
            return f"{what} changed{values}"
    # Where records are nested, their own fields tell.
    return "attributes changed" if old != new and not _nested(old["type"]) else None


def _nested(schema: Schema) -> bool:
    if isinstance(schema, list):
        return any(_nested(branch) for branch in schema)
    return isinstance(schema, dict) and schema["type"] in {"record", "array", "map"}


def _show(schema: Schema) -> str:
    """A type in a few words, e.g. ``null or string``."""
    if isinstance(schema, list):
        return " or ".join(_show(branch) for branch in schema)
    if isinstance(schema, str):
        return schema
    kind = _kind(schema)
    if kind == "array":
        return f"array of {_show(schema['items'])}"
    if kind == "map":
        return f"map of {_show(schema['values'])}"
    if kind in {"record", "enum", "fixed"}:
        return f"{kind} {_short(schema)}"
    return f"{kind} ({schema['json']})" if "json" in schema else kind


def _kind(schema: Schema) -> str:
    if isinstance(schema, list):
        return "union"
    if isinstance(schema, str):
        return schema
    inner = schema["type"]
    return inner if isinstance(inner, str) else _kind(inner)


def _short(schema: dict[str, Any]) -> str:
    return str(schema["name"]).rpartition(".")[2]


def _aliases(schema: dict[str, Any]) -> set[str]:
    return {str(alias).rpartition(".")[2] for alias in schema.get("aliases", ())}
