"""JSON with exact numbers, and Avro values turned back into the JSON that they were made from.

Numbers are compared as text: ``1.10`` is not ``1.1``. The one exception is an Avro long, which keeps a value, not a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

#: Of an object: the member is not there.
ABSENT: Final = object()
EXTENSIONS: Final = "extensions"


class Number(NamedTuple):
    """A JSON number by its text."""

    text: str


def parse(text: str | bytes) -> Any:
    """JSON with `Number` for each number. Raises ValueError for what is no JSON, NaN included."""
    if isinstance(text, bytes):
        text = text.decode()
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_no_constant)


def freeze(tree: Any) -> str:
    """One text for equal trees, whatever the order of their members."""
    if isinstance(tree, dict):
        return "{" + ",".join(f"{name!r}:{freeze(tree[name])}" for name in sorted(tree)) + "}"
    if isinstance(tree, Number):
        return tree.text
    if isinstance(tree, list):
        return "[" + ",".join(map(freeze, tree)) + "]"
    return repr(tree)


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where two trees differ: a line for each place, with its path, both values and their types."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted(expected.keys() | found.keys()):
            inner = f"{path}.{name}" if path else name
            yield from differences(expected.get(name, ABSENT), found.get(name, ABSENT), inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{path}[{place}]")
    elif type(expected) is not type(found) or expected != found:
        yield f"{path}: {_told(expected)} became {_told(found)}"


class Schema:
    """An Avro schema as the registry gives it, with what feedbridge's schemas add: ``"json"`` on a string.

    ``"json": "number"`` says that the text is that of a JSON number, ``"any"`` that it is any JSON text; in a record the
    field ``extensions`` holds the members that the schema does not know, as JSON texts.
    """

    def __init__(self, schema: Any) -> None:
        """Collect its named types. Raises KeyError for a name that is not defined."""
        self.schema = schema
        self._named: dict[str, Any] = {}
        self._collect(schema)

    @property
    def name(self) -> str:
        """The record's full name."""
        return f"{self.schema['namespace']}.{self.schema['name']}"

    def fields(self, *path: str) -> dict[str, Any]:
        """Type of each field of the record, or of the record under these fields of it."""
        record = self.schema
        for step in path:
            record = self._resolved({field["name"]: field["type"] for field in record["fields"]}[step])
        return {field["name"]: field["type"] for field in record["fields"]}

    def json(self, value: Any, kind: Any) -> Any:
        """The JSON tree that an Avro value stands for; a null field is no member. Raises ValueError where it is none."""
        branch = self._resolved(self._branch(value, kind))
        name = branch["type"]
        if name == "record":
            return self._object(value, branch)
        if name == "map":
            return {member: self.json(each, branch["values"]) for member, each in value.items()}
        if name == "array":
            return [self.json(each, branch["items"]) for each in value]
        if name == "long":
            return Number(str(value))
        if name == "string" and "json" in branch:
            tree = parse(value)
            if branch["json"] == "number" and not isinstance(tree, Number):
                raise ValueError(f"{value!r} is not the text of a number")
            return tree
        return value

    def normal(self, tree: Any, kind: Any) -> Any:
        """A JSON tree as `json` gives it back: known members that are null left out, numbers of a long as integers."""
        branches = [self._resolved(each) for each in (kind if isinstance(kind, list) else [kind])]
        if isinstance(tree, dict):
            record = next((each for each in branches if each["type"] == "record"), None)
            if record is not None:
                known = {field["name"]: field["type"] for field in record["fields"] if field["name"] != EXTENSIONS}
                return {
                    name: self.normal(value, known[name]) if name in known else value
                    for name, value in tree.items()
                    if not (value is None and name in known)
                }
            values = next((each["values"] for each in branches if each["type"] == "map"), None)
            return tree if values is None else {name: self.normal(value, values) for name, value in tree.items()}
        if isinstance(tree, list):
            items = next((each["items"] for each in branches if each["type"] == "array"), None)
            return tree if items is None else [self.normal(each, items) for each in tree]
        if isinstance(tree, Number) and any(each["type"] == "long" for each in branches):
            return Number(str(int(tree.text))) if tree.text.lstrip("-").isdecimal() else tree
        return tree

    def _object(self, value: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
        tree = {
            field["name"]: self.json(value[field["name"]], field["type"])
            for field in record["fields"]
            if field["name"] != EXTENSIONS and value[field["name"]] is not None
        }
        for name, text in value.get(EXTENSIONS, {}).items():
            if name in tree:
                raise ValueError(f"{name} is a field and an extension")
            tree[name] = parse(text)
        return tree

    def _branch(self, value: Any, kind: Any) -> Any:
        """The branch of a union that a value is of."""
        if not isinstance(kind, list):
            return kind
        wanted = _AVRO[type(value)]
        found = [each for each in kind if self._resolved(each)["type"] in wanted]
        if len(found) != 1:
            raise ValueError(f"{value!r} is of {len(found)} branches of {kind}")
        return found[0]

    def _resolved(self, kind: Any) -> dict[str, Any]:
        """A type as an object, names looked up."""
        if isinstance(kind, dict):
            return kind
        return {"type": kind} if kind in _PRIMITIVES else self._named[kind]

    def _collect(self, kind: Any) -> None:
        if isinstance(kind, list):
            for each in kind:
                self._collect(each)
        elif isinstance(kind, dict):
            if kind["type"] == "record":
                self._named[kind["name"]] = kind
                for field in kind["fields"]:
                    self._collect(field["type"])
            else:
                self._collect(kind.get("items", kind.get("values")))


_PRIMITIVES: Final = frozenset({"null", "boolean", "long", "string"})
_AVRO: Final = {
    type(None): {"null"},
    bool: {"boolean"},
    int: {"long"},
    str: {"string"},
    list: {"array"},
    dict: {"record", "map"},
}


def _told(value: Any) -> str:
    if value is ABSENT:
        return "nothing"
    text = freeze(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
