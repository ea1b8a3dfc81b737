"""The catalog: what the bridge must know of each frame type, read from the schemas and from nowhere else.

A folder of ``schemas/`` is a kind of gateway, a file in it a frame type: an Avro record whose ``bridge`` attribute,
which Avro ignores, says how frames of the type are keyed, told apart and timed (design sections 5 and 7;
``schemas/README.md`` is the reference). So file and behaviour can't drift apart, and a new frame type is one file.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from fastavro.schema import to_parsing_canonical_form

from bridge.avsc import EACH, SCALAR, TEXT, UNKNOWN, FieldPath, Schema, SchemaFile, nearest, parse, read, registered
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "EACH",
    "Catalog",
    "Continuity",
    "FieldPath",
    "FrameType",
    "Kind",
    "Schema",
    "parsing_canonical_form",
    "registered",
]

#: The folder of the bridge's own records, which is no kind of gateway.
OWN: Final = "bridge"
#: The folder of what the bridge's own records were like in versions before.
HISTORY: Final = "history"

_KIND_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuity:
    """Frames of an entity that name the one before, see `bridge.continuity`.

    seq, previous: paths to this frame's number and to that of the one it follows, the first that is present wins.
    snapshot: the frame holds all that there is, whatever was missed before it.
    """

    seq: tuple[FieldPath, ...]
    previous: tuple[FieldPath, ...]
    snapshot: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameType:
    """One frame type of a gateway kind, as its file says.

    type: the envelope's ``type``. name: the record's full name. schema: as registered, without ``bridge``;
    schema_json: the same as compact JSON. key, entity, event_time: paths, the first that is present wins. identity:
    alternatives, the first whose paths are all present wins; empty: content alone decides. content: equal means equal
    in identity and content, else in identity alone. family: states of one family are compared with each other. learn:
    pairs of paths, to an id and to the key that belongs to it; the first may hold `EACH`. publish: False is consumed
    only. private: belongs to a wallet. continuity: None where frames do not name the one before.

    In the type ``unknown`` paths below ``data`` are those of the frame itself, not of the record.
    """

    type: str
    name: str
    schema: Schema
    schema_json: str
    key: tuple[FieldPath, ...]
    entity: tuple[FieldPath, ...]
    identity: tuple[tuple[FieldPath, ...], ...]
    content: bool
    kind: Literal["state", "event"]
    family: str
    event_time: tuple[FieldPath, ...]
    learn: tuple[tuple[FieldPath, FieldPath], ...]
    publish: bool
    private: bool
    continuity: Continuity | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Kind:
    """One kind of gateway: a folder of schemas.

    types: by the envelope's ``type``, without `unknown`, which takes all other types. meta: the schema of the record
    ``Meta``, the same in every type. nested: the envelope keeps its facts in a member ``meta``, else beside ``data``.
    sent: the field of ``Meta`` that says when a frame was sent, if there is one. folder: where the files are.
    """

    name: str
    types: Mapping[str, FrameType]
    unknown: FrameType
    meta: Schema
    nested: bool
    sent: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All kinds of gateways that this process has schemas for, and the schemas of the bridge's own records."""

    kinds: Mapping[str, Kind]
    records: Mapping[str, Schema]
    #: Name of an own record → its schemas in versions before this one, oldest first.
    history: Mapping[str, Sequence[Schema]] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path | None = None, *, extra: Sequence[Path] = ()) -> Catalog:
        """Read and check every schema.

        root: the folder ``schemas`` to read; None: the one that ships with the package. extra: more such folders, e.g.
        another project's, each with one folder for each kind. Raises ConfigError, which names file and attribute or field.
        """
        root = root or _shipped()
        kinds: dict[str, Kind] = {}
        records: dict[str, Schema] = {}
        for folder in (each for base in (root, *extra) for each in _folders(base)):
            if folder.name == OWN and folder.parent == root:
                records.update(_own(folder))
            elif folder.name == OWN:
                raise ConfigError("this name is taken by feedbridge's own records", where=str(folder), mend="rename it")
            elif folder.name in kinds:
                raise ConfigError("this kind of gateway has schemas already", where=str(folder), mend="rename it")
            else:
                kinds[folder.name] = _kind(folder)
        history = {name: _older(root / HISTORY / OWN / name, now) for name, now in records.items()}
        return cls(MappingProxyType(kinds), MappingProxyType(records), MappingProxyType(history))

    def kind(self, name: str) -> Kind:
        """Return a kind of gateway; raises ConfigError for one that has no schemas."""
        if name not in self.kinds:
            raise ConfigError(f"there are no schemas for gateways of kind {name!r}", mend=nearest(name, self.kinds))
        return self.kinds[name]

    def own(self, name: str) -> Schema:
        """Return the schema of one of the bridge's own records, such as ``gap``; raises ConfigError."""
        if name not in self.records:
            raise ConfigError(f"feedbridge has no record {name!r} of its own", mend=nearest(name, self.records))
        return self.records[name]

    def older(self, name: str) -> Sequence[Schema]:
        """Return the schemas that one of the bridge's own records had before, oldest first."""
        return self.history.get(name, ())


def parsing_canonical_form(schema: Mapping[str, Any]) -> str:
    """Return Avro's parsing canonical form: equal for schemas that write the same bytes, whatever their docs say."""
    return str(to_parsing_canonical_form(copy.deepcopy(registered(schema))))


def _shipped() -> Path:
    """The schemas of this installation: inside the package, in a checkout beside it."""
    inside = Path(__file__).with_name("schemas")
    return inside if inside.is_dir() else Path(__file__).parents[1] / "schemas"


def _folders(root: Path) -> Iterator[Path]:
    """The folders that directly hold schemas. Others, such as a history of older versions, are not ours to read."""
    if not root.is_dir():
        raise ConfigError("there is no such folder of schemas", where=str(root))
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and any(folder.glob("*.avsc")):
            if not _KIND_NAME.fullmatch(folder.name):
                raise ConfigError("the name of a kind is lower-case letters, digits and hyphens", where=str(folder))
            yield folder


def _own(folder: Path) -> Iterator[tuple[str, Schema]]:
    for path in sorted(folder.glob("*.avsc")):
        schema = read(path)
        parse(path, schema)
        yield path.stem, schema


def _older(folder: Path, now: Schema) -> Sequence[Schema]:
    """The schemas ``1.avsc``, ``2.avsc`` … of a folder but the one of now; none where there is no such folder."""
    schemas = []
    for path in sorted(folder.glob("*.avsc"), key=lambda each: int(each.stem)):
        schemas.append(read(path))
        parse(path, schemas[-1])
    return tuple(schema for schema in schemas if schema != now)


def _kind(folder: Path) -> Kind:
    files = [SchemaFile(path) for path in sorted(folder.glob("*.avsc"))]
    generic = next((file for file in files if file.type == UNKNOWN), None)
    if generic is None:
        mend = "write it: it takes frames of types that have no schema"
        raise ConfigError(f"{UNKNOWN}.avsc is missing", where=str(folder), mend=mend)
    private = generic.flag("private", default=False)
    types = {file.type: _frame_type(file, private=private) for file in files}
    _check_shared_records(files)
    _check_families(files, types)
    unknown = types.pop(UNKNOWN)
    return Kind(
        name=folder.name,
        types=MappingProxyType(types),
        unknown=unknown,
        meta=generic.records["Meta"],
        nested=generic.choice("envelope", "nested", "flat") == "nested",
        sent=sent[1] if (sent := generic.sent()) is not None else None,
        folder=folder,
    )


def _frame_type(file: SchemaFile, *, private: bool) -> FrameType:
    """Compile what the file's attribute says."""
    state = file.choice("kind", "state", "event") == "state"
    family = file.bridge.get("family", file.type.partition(".")[0])
    if not state and "family" in file.bridge:
        file.fail("bridge.family", "only states have a family", "remove it, or make it a state")
    if not isinstance(family, str) or not family:
        file.fail("bridge.family", "expected a name")
    entity, publish = file.paths("entity", TEXT), file.flag("publish", default=True)
    if publish and not entity:
        file.fail("bridge.entity", "a published type needs an entity", "it is the key of a frame that carries none")
    identity, content = file.alternatives("identity", SCALAR), file.flag("content")
    if not identity and not content:
        file.fail("bridge.content", "must be true where identity is empty: nothing else tells frames apart")
    schema, chain = file.registered, file.continuity()
    if chain is not None and (state or file.type == UNKNOWN):
        file.fail("bridge.continuity", "only events of a known type follow one another", "remove it")
    return FrameType(
        type=file.type,
        name=f"{schema['namespace']}.{schema['name']}",
        schema=schema,
        schema_json=json.dumps(schema, ensure_ascii=False, separators=(",", ":")),
        key=file.paths("key", TEXT),
        entity=entity,
        identity=identity,
        content=content,
        kind="state" if state else "event",
        family=family,
        event_time=file.paths("event_time", TEXT),
        learn=file.pairs("learn"),
        publish=publish,
        private=private,
        continuity=Continuity(seq=chain[0], previous=chain[1], snapshot=chain[2]) if chain is not None else None,
    )


def _check_shared_records(files: Sequence[SchemaFile]) -> None:
    """A record that several types have, ``Meta`` above all, is one thing: generated code has one class for it.

    So is the name of a type's own record: ``a.b`` and ``a_b`` would both be ``AB``.
    """
    seen: dict[str, tuple[SchemaFile, Schema]] = {}
    for file in files:
        top = {file.schema["name"]: file.schema}
        for name, record in (top | file.records).items():
            other, same = seen.setdefault(name, (file, record))
            if record != same:
                ours, theirs = ({each["name"]: each for each in one["fields"]} for one in (record, same))
                differing = [field for field in ours | theirs if ours.get(field) != theirs.get(field)]
                what = f"its field {differing[0]!r}" if differing else "it"
                file.fail(f"record {name}", f"{what} differs from the record of that name in {other.path.name}")


def _check_families(files: Sequence[SchemaFile], types: Mapping[str, FrameType]) -> None:
    """States of a family are compared by entity, so all of them must find it in the same place."""
    seen: dict[str, FrameType] = {}
    for file in files:
        mine = types[file.type]
        if mine.kind == "state":
            other = seen.setdefault(mine.family, mine)
            if mine.entity != other.entity:
                what = f"differs from that of {other.type}, a state of the same family {mine.family!r}"
                file.fail("bridge.entity", what)
