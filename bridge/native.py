"""The usual frame, natively: `bridge._native` made ready from the schemas.

The extension (``native/*.c``) reads a frame in one pass over its text, checks it against a table made here of the schema, and
writes Avro, canonical form, key, entity and identity as it goes. *Usual* is what it need not think about: no escapes, no
member twice, no number that Python would spell otherwise, every value of a type that the schema allows. All else it hands
back, and the Python code, which is the reference and needs no extension, reads the frame from the beginning. So the
extension has no errors to report, and whatever it returns is what Python would have returned.

Where it was not built (no compiler), or ``FEEDBRIDGE_NATIVE`` is ``0``, all frames go Python's way, at 1.7 times the CPU.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any, Final

import xxhash

from bridge.paths import moment
from bridge.shape import (
    Anything,
    Array,
    Boolean,
    Choice,
    Integer,
    Map,
    Number,
    Record,
    Shape,
    Text,
    no_value,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge import _native
    from bridge.catalog import FrameType
    from bridge.route import Way

#: Set to ``0``, it switches the extension off.
SWITCH: Final = "FEEDBRIDGE_NATIVE"

#: What the extension and this module say to each other; one that was built from other sources is none.
INTERFACE: Final = 2


def _load() -> tuple[Any, str]:
    """The extension, or None and why."""
    if os.environ.get(SWITCH) == "0":
        return None, f"{SWITCH} is 0"
    try:
        from bridge import _native
    except ImportError:
        return None, "the C extension was not built"
    if _native.INTERFACE != INTERFACE:
        return None, "the C extension is of another version"
    return _native, ""


#: As `bridge/_native.pyi` says, or None. absent: why.
extension, absent = _load()

#: Where one frame was not usual, so many are not asked whether they are.
UNUSUAL: Final = 8
#: The class of what is read natively.
SIGHTINGS: Final[frozenset[type]] = frozenset({extension.Sighting}) if extension else frozenset()

#: Kinds of JSON values and codes of shapes, as in native/native.h and native/avro.c.
_NULL, _BOOLEAN, _INTEGER, _REAL, _STRING, _ARRAY, _OBJECT = range(7)
_KINDS: Final = range(7)
_S_NULL, _S_BOOLEAN, _S_INTEGER, _S_TEXT, _S_RAW, _S_ARRAY, _S_MAP, _S_RECORD = range(1, 9)
#: The JSON kinds that each shape takes.
_TAKES: Final[dict[type[Shape], Sequence[int]]] = {
    Text: (_STRING,),
    Boolean: (_BOOLEAN,),
    Integer: (_INTEGER,),
    Number: (_INTEGER, _REAL),
    Anything: _KINDS,
    Array: (_ARRAY,),
    Map: (_OBJECT,),
    Record: (_OBJECT,),
}
_NONE: Final = (-1, 0)


def available() -> bool:
    """Whether the extension is there and not switched off."""
    return bool(extension)


class Unusual(Exception):
    """A schema says something that the extension does not know."""


def reader(
    types: Sequence[tuple[FrameType, Way]], meta: Record, data: dict[str, Record], *, nested: bool, private: bool
) -> _native.Reader | None:
    """Return the `Reader` of a gateway kind, None where none of its types can be read natively.

    types: with their ways. meta: of its envelope. data: the payload of each type. nested: see `bridge.envelope`. private: a
    frame without an identity belongs to whom it is meant for.
    """
    if not available():
        return None
    table = _Table()
    try:
        root = table.record(meta)
    except Unusual:
        return None
    seq = next((place for place, field in enumerate(meta.fields) if field.name == "seq"), -1)
    made = []
    for each, way in types:
        try:
            made.append(table.type(each, way, meta, data[each.type], seq=seq))
        except Unusual:
            continue
    if not made:
        return None
    found: _native.Reader = extension.Reader(
        table.numbers.tobytes(),
        bytes(table.names),
        root,
        nested,
        private,
        made,
        xxhash.xxh3_64_digest,
        moment,
    )
    return found


class _Table:
    """The integers of native/avro.c, and the names of all fields one after the other."""

    def __init__(self) -> None:
        # Offset 0 is no shape.
        self.numbers = array("i", [0])
        self.names = bytearray()
        self._made: dict[int, int] = {}
        self._kept: list[Shape] = []
        self._null = self._add(_S_NULL)

    def type(self, each: FrameType, way: Way, meta: Record, data: Record, *, seq: int) -> tuple[Any, ...]:
        """Return what `Reader` must know of a type. seq: place of that field in meta. Raises `Unusual`."""
        record = self.record(data)
        roots = {"meta": (0, meta), "data": (1, data)}

        def paths(wanted: Sequence[Sequence[str]]) -> list[int]:
            return [len(wanted), *(number for path in wanted for number in _path(path, roots))]

        alternatives = each.identity if way.named else ()
        identity = [len(alternatives)]
        for alternative in alternatives:
            identity += paths(alternative)
        try:
            learn = self._add(*paths([path for pair in each.learn for path in pair]))
        except Unusual:
            learn = -1
        return (
            way.type,
            way,
            way.entities,
            way.seed,
            record,
            self._add(*paths(each.key)),
            self._add(*paths(each.entity)),
            self._add(*identity),
            self._add(*paths(each.event_time)),
            learn,
            seq,
            way.traits,
            int(way.continuity is not None),
            way.large,
        )

    def record(self, shape: Record) -> int:
        """Add a record; returns where it begins. Raises `Unusual`."""
        fields: list[int] = []
        for field in shape.fields:
            name = field.name.encode()
            if not field.required and not (field.nullable and no_value(field.default)):
                raise Unusual  # an absent member is not null
            null = field.shape.null if isinstance(field.shape, Choice) and field.shape.null is not None else 0
            fields += [len(self.names), len(name), int(field.required), null]
            self.names += name
            fields += self._place(field.shape)
        return self._add(_S_RECORD, int(shape.open), len(shape.fields), *fields)

    def _place(self, shape: Shape) -> list[int]:
        """What each JSON kind of value becomes."""
        found: list[tuple[int, int]] = [_NONE] * len(_KINDS)
        branches = shape.branches if isinstance(shape, Choice) else [(-1, shape)]
        for index, branch in branches:
            place = self._shape(branch)
            for kind in _TAKES[type(branch)]:
                found[kind] = (index, place)
        if isinstance(shape, Choice) and shape.null is not None:
            found[_NULL] = (shape.null, self._null)
        return [number for pair in found for number in pair]

    def _shape(self, shape: Shape) -> int:
        if id(shape) not in self._made:
            self._kept.append(shape)  # keeps its id from being used again
            self._made[id(shape)] = self._written(shape)
        return self._made[id(shape)]

    def _written(self, shape: Shape) -> int:
        match shape:
            case Text():
                return self._add(_S_TEXT)
            case Boolean():
                return self._add(_S_BOOLEAN)
            case Integer():
                return self._add(_S_INTEGER, shape.bits)
            case Number() | Anything():
                return self._add(_S_RAW)
            case Array():
                return self._add(_S_ARRAY, *self._place(shape.items))
            case Map():
                return self._add(_S_MAP, *self._place(shape.values))
            case Record():
                return self.record(shape)
        raise Unusual

    def _add(self, *numbers: int) -> int:
        place = len(self.numbers)
        self.numbers.extend(numbers)
        return place


def _path(path: Sequence[str], roots: dict[str, tuple[int, Record]]) -> tuple[int, int]:
    """Root and field of a path that leads to a string or an integer. Raises `Unusual` for any other."""
    if len(path) != 2:  # noqa: PLR2004 - root and name
        raise Unusual
    root, record = roots[path[0]]
    place = next((place for place, field in enumerate(record.fields) if field.name == path[1]), None)
    if place is None:
        raise Unusual
    shape = record.fields[place].shape
    branches = [branch for _, branch in shape.branches] if isinstance(shape, Choice) else [shape]
    if not all(isinstance(branch, (Text, Integer)) for branch in branches):
        raise Unusual
    return root, place
