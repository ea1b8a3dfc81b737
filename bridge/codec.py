"""Frames to Avro: a codec for each frame type, compiled from its schema at start.

The fast way: msgspec reads envelope and payload straight into Structs made from the schema, which checks every type, and
generated Python writes them as Avro. What the fast way refuses, the exact way reads again (`bridge.shape`): it keeps
unknown members in ``extensions`` or names what is wrong. Both take the same frames; fastavro is the oracle of the tests.

`MetaCodec` reads the envelope, `Codec` the payload of a known type, `UnknownCodec` takes the frames of all other types.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from fastavro.schema import fingerprint as fastavro_fingerprint
from fastavro.schema import to_parsing_canonical_form
from msgspec import Raw
from msgspec.structs import force_setattr

from bridge import shape_reader
from bridge.canonical import UNREADABLE, canonical, not_json
from bridge.compiler import Module, checker, encoder, write_pair
from bridge.envelope import Envelope, MetaCodec, has_duplicate_keys
from bridge.errors import BadFrame, ConfigError
from bridge.paths import write_getters
from bridge.shape import ABSENT, EXTENSIONS, Record, json_type, make_struct, members

if TYPE_CHECKING:
    from bridge.catalog import FrameType

__all__ = [
    "SINGLE_OBJECT",
    "Codec",
    "Envelope",
    "MetaCodec",
    "RecordCodec",
    "UnknownCodec",
    "canonical",
    "fingerprint",
    "has_duplicate_keys",
]

#: What goes before the fingerprint (Avro specification, Single-object encoding).
SINGLE_OBJECT: Final = b"\xc3\x01"

#: Names of unknown members of one type that are read at full speed.
_MOST_UNKNOWN: Final = 32

_WHOLE: Final = msgspec.json.Decoder(Raw)
_ENCODE: Final = msgspec.json.Encoder().encode


class Codec:
    """One known frame type. All functions are compiled when it is made.

    encode(meta, data) -> bytes: the whole record in Avro, byte for byte what fastavro writes. key(meta, data),
    entity(meta, data) -> str | None; identity(meta, data) -> bytes | None, for hashing, None where it is incomplete;
    event_time(meta, data) -> int | None, ms since the epoch; learn(meta, data) -> list of (id, key). seq(meta, data),
    previous(meta, data) -> int | None: of a type with continuity. source: the generated Python.
    """

    encode: Callable[[Any, Any], bytes]
    key: Callable[[Any, Any], str | None]
    entity: Callable[[Any, Any], str | None]
    identity: Callable[[Any, Any], bytes | None]
    event_time: Callable[[Any, Any], int | None]
    learn: Callable[[Any, Any], list[tuple[str, str]]]
    seq: Callable[[Any, Any], int | None]
    previous: Callable[[Any, Any], int | None]

    def __init__(self, frame_type: FrameType) -> None:
        """Compile. Raises `ConfigError` where the schema leaves the language or a path leads nowhere."""
        self.type = frame_type.type
        module = Module(f"<{frame_type.name}>")
        self._meta, self._data = _parts(frame_type)
        intact = checker(module, self._data)
        _write_type(module, frame_type, self._meta, self._data, self._data)
        self.source = module.source
        names = module.compile()
        _adopt(self, names)
        self._decode = msgspec.json.Decoder(self._data.struct).decode
        #: The shape of the payload, the Struct that it is read into now, and the attributes of that for members that are no
        #: fields of the schema, with their names.
        self.shape = self._data
        self.struct = self._data.struct
        self.unknown: dict[str, str] = {}
        self._known = frozenset(field.name for field in self._data.fields)
        #: Names of unknown members that frames had, sorted; the Struct has a field for each, see `_expect`.
        self._unknown: tuple[str, ...] = ()
        self._unknown_of: Callable[[Any], tuple[Any, ...]] = attrgetter(EXTENSIONS)
        self._intact: Callable[[Any], bool] | None = names[intact] if intact else None

    def decode_data(self, raw: bytes | Raw) -> Any:
        """Read a payload into its Struct.

        Raises `BadFrame`: no_data (absent, null, not an object), wrong_type, out_of_range, missing_field with the path
        that is to blame, or not_json.
        """
        try:
            data = self._decode(raw)
            if self._intact is None or self._intact(data):
                if self._unknown and (found := self._extensions(data)):
                    force_setattr(data, EXTENSIONS, found)
                return data
        except UNREADABLE:
            pass  # the exact way finds out why, or that there is nothing wrong but unknown members
        try:
            return self._decode_known(raw) or self._decode_exactly(bytes(raw))
        except UNREADABLE as error:
            raise not_json(error) from error

    def _extensions(self, data: Any) -> dict[str, str]:
        """Return the unknown members of a payload that was read with a field for each."""
        values = self._unknown_of(data)
        return {name: str(value, "utf-8") for name, value in zip(self._unknown, values, strict=True) if value}

    def _decode_known(self, raw: bytes | Raw) -> Any:
        """Read a payload that has unknown members, but all its known ones are right: four times as fast as exactly.

        None where that is not the case, or something is unknown or wrong further down.
        """
        try:
            found = members(raw)
            unknown = {name: bytes(found.pop(name)).decode() for name in sorted(found.keys() - self._known)}
            data = self._decode(_ENCODE(found))
        except UNREADABLE:
            return None
        if not self._data.open or (self._intact is not None and not self._intact(data)):
            return None
        force_setattr(data, EXTENSIONS, unknown)
        self._expect(unknown)
        return data

    def _expect(self, names: Iterable[str]) -> None:
        """Read unknown members of these names at full speed from now on: what came once comes again.

        Bounded: a gateway may make up names for ever.
        """
        plain = {name for name in names if name.isprintable() and '"' not in name and "\\" not in name}
        wanted = (plain | {*self._unknown}) - {EXTENSIONS}
        if len(wanted) > _MOST_UNKNOWN or wanted <= {*self._unknown}:
            return
        ordered = sorted(wanted)
        attributes = {f"unknown_{number}": name for number, name in enumerate(ordered)}
        struct = make_struct(
            self._data.name,
            [*self._data.definitions(), *((attribute, Raw, ABSENT) for attribute in attributes)],
            self._data.renamed() | attributes,
        )
        # `extensions` itself, which is empty, is there so that there are always two: of one, attrgetter makes no tuple.
        self._unknown = (EXTENSIONS, *ordered)
        self._unknown_of = attrgetter(EXTENSIONS, *attributes)
        self._decode = msgspec.json.Decoder(struct).decode
        self.struct, self.unknown = struct, attributes

    def to_python(self, meta: Any, data: Any) -> dict[str, Any]:
        """Return what fastavro would be given; for tests and tools."""
        return {"meta": self._meta.plain(meta), "data": self._data.plain(data)}

    def _decode_exactly(self, text: bytes) -> Any:
        if not text:
            raise BadFrame("no_data", "data is absent", path="data")
        text = bytes(_WHOLE.decode(text))
        if (kind := json_type(text)) != "object":
            raise BadFrame("no_data", f"data must be an object, found {kind}", path="data")
        return self._data.read(text, "data")


class UnknownCodec:
    """Frames of types that no schema knows: the record holds type and the whole frame. See `Codec` for the functions.

    Paths into ``data`` are those of the frame's own payload.
    """

    encode: Callable[[Any, Any], bytes]
    key: Callable[[Any, Any], str | None]
    entity: Callable[[Any, Any], str | None]
    identity: Callable[[Any, Any], bytes | None]
    event_time: Callable[[Any, Any], int | None]
    learn: Callable[[Any, Any], list[tuple[str, str]]]
    seq: Callable[[Any, Any], int | None]
    previous: Callable[[Any, Any], int | None]

    def __init__(self, frame_type: FrameType) -> None:
        """Compile; raises `ConfigError`."""
        self.type = frame_type.type
        self.unknown: dict[str, str] = {}
        module = Module(f"<{frame_type.name}>")
        self._meta, self._data = _parts(frame_type)
        _write_type(module, frame_type, self._meta, self._data, None)
        self.source = module.source
        _adopt(self, module.compile())

    def decode(self, envelope: Envelope, raw: bytes) -> Any:
        """Return the Struct of a frame (its bytes as received) whose envelope has been read."""
        return _Whole(envelope.type, raw.decode(), envelope.data)

    def to_python(self, meta: Any, data: Any) -> dict[str, Any]:
        """Return what fastavro would be given; for tests and tools."""
        return {"meta": self._meta.plain(meta), "data": self._data.plain(data)}


class RecordCodec:
    """A record of the bridge's own, such as a gap or a ledger entry: any object with the fields as attributes.

    encode(value) -> bytes: Avro, byte for byte what fastavro writes. A field whose name Python reserves is looked for
    with an underscore after it: ``from_``. source: the generated Python.
    """

    encode: Callable[[Any], bytes]

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Compile; raises `ConfigError` where the schema leaves the language."""
        self.shape = shape_reader.read(schema)
        module = Module(f"<{self.shape.branch}>")
        name = encoder(module, self.shape)
        self.source = module.source
        self.encode = module.compile()[name]


def fingerprint(schema: Mapping[str, Any]) -> bytes:
    """Return the 8 bytes of a schema's CRC-64-AVRO fingerprint, little-endian, as single-object encoding wants them."""
    form = to_parsing_canonical_form(copy.deepcopy({name: value for name, value in schema.items() if name != "bridge"}))
    return bytes.fromhex(fastavro_fingerprint(form, "CRC-64-AVRO"))


class _Whole(msgspec.Struct, frozen=True, gc=False):
    """The payload of an unknown type. own: the frame's own payload, for paths."""

    type: str
    json: str
    own: Raw


def _parts(frame_type: FrameType) -> tuple[Record, Record]:
    """Return the shapes of meta and data."""
    shape = shape_reader.read(frame_type.schema)
    parts = {field.name: field.shape for field in shape.fields}
    meta, data = parts.get("meta"), parts.get("data")
    if not isinstance(meta, Record) or not isinstance(data, Record) or len(parts) > 2:  # noqa: PLR2004 - those two
        raise ConfigError("expected two records, meta and data", where=frame_type.name)
    return meta, data


def _write_type(module: Module, frame_type: FrameType, meta: Record, data: Record, paths: Record | None) -> None:
    write_pair(module, "encode", meta, data)
    write_getters(module, frame_type, meta, paths)


def _adopt(codec: Codec | UnknownCodec, names: dict[str, Any]) -> None:
    """Make the generated functions the codec's own; a call then costs no look-up of a method."""
    for name in ("encode", "key", "entity", "identity", "event_time", "learn", "seq", "previous"):
        setattr(codec, name, names[name])
