"""Reads a schema (the parsed JSON of an ``.avsc`` file) into shapes. The language is described in `bridge.shape`."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any, Final

from bridge.errors import ConfigError
from bridge.shape import (
    EXTENSIONS,
    MISSING,
    Anything,
    Array,
    Boolean,
    Bytes,
    Choice,
    Field,
    Integer,
    Map,
    Number,
    Record,
    Shape,
    Symbol,
    Text,
)

#: Attributes that a Struct may have besides its fields (`bridge.codec.Envelope`).
RESERVED: Final = frozenset({EXTENSIONS, "meta", "colons"})


def read(schema: Mapping[str, Any]) -> Record:
    """Return the shape of a schema whose outermost type is a record.

    Raises `ConfigError` where it leaves the language.
    """
    shape = _Reader().shape(schema, "", "schema")
    if not isinstance(shape, Record):
        raise ConfigError("the outermost type must be a record", where="schema")
    return shape


def attribute(name: str, taken: set[str]) -> str:
    """Return a name for a Struct's attribute, and take it: the field's own where Python and msgspec allow it."""
    safe = name.strip("_") or "field"
    if keyword.iskeyword(safe):
        safe += "_"
    elif not safe.isidentifier():
        safe = f"field_{safe}"
    while safe in taken:
        safe += "_"
    taken.add(safe)
    return safe


class _Reader:
    """Turns one schema into shapes, remembering the named types on the way."""

    def __init__(self) -> None:
        self._named: dict[str, Shape] = {}

    def shape(self, schema: Any, namespace: str, where: str) -> Shape:
        match schema:
            case list():
                return self._choice(schema, namespace, where)
            case str():
                return self._simple(schema, namespace, where)
            case {"type": "record"}:
                return self._record(schema, namespace, where)
            case {"type": "enum", "symbols": list(symbols)}:
                name, _ = _full_name(schema, namespace)
                return self._name(name, Symbol(name, symbols), where)
            case {"type": "array", "items": items}:
                return Array(self.shape(items, namespace, f"{where}[]"))
            case {"type": "map", "values": values}:
                return Map(self.shape(values, namespace, f"{where}.*"))
            case {"type": "string", "json": "number"}:
                return Number()
            case {"type": "string", "json": "any"}:
                return Anything()
            case {"type": str(kind)} if "json" not in schema:
                return self._simple(kind, namespace, where)  # e.g. with a logicalType: what is written is the same
        raise ConfigError(f"no type of the language: {str(schema)[:60]}", where=where)

    def _simple(self, name: str, namespace: str, where: str) -> Shape:
        match name:
            case "string":
                return Text()
            case "boolean":
                return Boolean()
            case "long":
                return Integer(64)
            case "int":
                return Integer(32)
            case "bytes":
                return Bytes()
        found = self._named.get(name if "." in name or not namespace else f"{namespace}.{name}")
        if found is None:
            raise ConfigError(f"the type {name!r} is not defined before this, or not of the language", where=where)
        return found

    def _choice(self, schema: list[Any], namespace: str, where: str) -> Choice:
        branches = [
            (index, self.shape(branch, namespace, where)) for index, branch in enumerate(schema) if branch != "null"
        ]
        return Choice(branches, null=schema.index("null") if "null" in schema else None, where=where)

    def _record(self, schema: dict[str, Any], namespace: str, where: str) -> Shape:
        name, inner = _full_name(schema, namespace)
        fields: list[Field] = []
        taken = set(RESERVED)
        is_open = False
        for entry in schema["fields"]:
            here = f"{where}.{entry['name']}"
            if is_open:
                raise ConfigError("`extensions` must be the last field", where=where)
            shape = self.shape(entry["type"], inner, here)
            if entry["name"] == EXTENSIONS:
                if not (isinstance(shape, Map) and isinstance(shape.values, Text)):
                    raise ConfigError("`extensions` must be a map of strings", where=here)
                is_open = True
                continue
            default = entry.get("default", MISSING)
            if isinstance(shape, Bytes) and isinstance(default, str):
                default = default.encode("latin-1")  # Avro's way to write bytes in JSON
            fields.append(Field(entry["name"], attribute(entry["name"], taken), shape, default))
        return self._name(name, Record(name, fields, open=is_open), where)

    def _name(self, name: str, shape: Shape, where: str) -> Shape:
        if name in self._named:
            raise ConfigError(f"the name {name!r} is defined twice", where=where)
        self._named[name] = shape
        return shape


def _full_name(schema: dict[str, Any], namespace: str) -> tuple[str, str]:
    """Return (full name, the namespace for what lies inside)."""
    name: str = schema["name"]
    if "." not in name and (space := schema.get("namespace", namespace)):
        name = f"{space}.{name}"
    return name, name.rpartition(".")[0]
