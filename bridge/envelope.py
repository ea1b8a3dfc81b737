"""The envelope of a frame: which type it is, what the gateway says about it, and where its payload lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import msgspec
from msgspec import Raw

from bridge import shape_reader
from bridge.canonical import UNREADABLE, canonical, not_json, repeats_a_name
from bridge.compiler import Module
from bridge.errors import BadFrame, ConfigError
from bridge.shape import (
    ABSENT,
    EXTENSIONS,
    NULL,
    Boolean,
    Choice,
    Integer,
    Record,
    Shape,
    Text,
    json_type,
    make_struct,
    members,
)

if TYPE_CHECKING:
    from bridge.catalog import Kind

#: What goes before the names of unknown members beside meta, and of those in it that look like one of either.
_BESIDE: Final = "envelope."
_INSIDE: Final = "meta."

#: What takes bytes besides names and values: of a member, of meta (its first member needs no comma), of a frame.
_MEMBER_EXTENT: Final = len(',"":')
_META_EXTENT: Final = len(',"meta":{}') - 1
_FRAME_EXTENT: Final = len('{"type":"","data":}')

_WHOLE: Final = msgspec.json.Decoder(Raw)
_STRING: Final = msgspec.json.Decoder(str)


class Envelope(Protocol):
    """What `MetaCodec` makes of a frame: a Struct."""

    @property
    def type(self) -> str:
        """The frame's type."""

    @property
    def data(self) -> Raw:
        """The payload's JSON text, ``Raw(b"")`` where a known type has none.

        An unknown type without payload has the whole frame here, so that its content is not that of any other.
        """

    @property
    def meta(self) -> Any:
        """The Struct of the record ``Meta``; it has `seq`."""

    def extent(self) -> int:
        """Return how many bytes what is kept outside `data` takes at least, written without white space."""

    def colons(self) -> int:
        """Return how many of the frame's colons outside `data` belong to what is kept, or fewer."""


class MetaCodec:
    """The envelope of a gateway kind, nested (``{type, data, meta: {…}}``) or flat (members of meta beside data).

    Members that ``Meta`` does not know are in its extensions; in nested envelopes those beside ``meta`` as
    ``envelope.<name>``. A member within ``meta`` that looks like one of those gets ``meta.`` before its name.
    """

    def __init__(self, kind: Kind) -> None:
        """Compile. Raises `ConfigError` where the schema leaves the language."""
        self._types = kind.types
        self._nested = kind.nested
        self._meta = self.shape = shape_reader.read(kind.meta)
        self._untyped, self._tell = _untyped(kind)
        module = Module(f"<{kind.name} envelope>")
        _write_extent(module, self._meta, nested=kind.nested, untyped=self._untyped)
        _write_colons(module, self._meta, nested=kind.nested, untyped=self._untyped)
        self.source = module.source
        names = module.compile()
        self._struct = self._make_struct(extent=names["extent"], colons=names["colons"])
        self._decode = cast("Callable[[bytes], Envelope]", msgspec.json.Decoder(self._struct).decode)

    def attribute(self, name: str) -> str:
        """Return what the Struct of meta calls a field of ``Meta``."""
        return next(field.attribute for field in self._meta.fields if field.name == name)

    def decode(self, raw: bytes) -> Envelope:
        """Read the envelope of a frame.

        Raises `BadFrame`: not_json (bad UTF-8, NaN, rubbish, nested too deep), not_object, no_type (absent, or no
        string), or wrong_type, out_of_range, missing_field for what the schema says of ``meta``.
        """
        try:
            envelope = self._decode(raw)
            # msgspec does not check the encoding of what it leaves as text.
            if not raw.isascii():
                raw.decode()
            if envelope.data and envelope.data != NULL:
                return envelope
        except UNREADABLE:
            pass  # the exact way finds out why, or that there is nothing wrong but unknown members
        try:
            return cast("Envelope", self._decode_exactly(raw))
        except UNREADABLE as error:
            raise not_json(error) from error

    def _decode_exactly(self, raw: bytes) -> Any:
        raw.decode()
        text = bytes(_WHOLE.decode(raw))
        if (kind := json_type(text)) != "object":
            raise BadFrame("not_object", f"a frame must be an object, found {kind}")
        found = members(text)
        name = self._type(found)
        data = found.pop("data", ABSENT)
        if data == NULL or not data:
            data = ABSENT if name in self._types else Raw(raw)
        if not self._nested:
            return self._struct(type=name, data=data, **self._meta.values(found, "meta"))
        meta = bytes(found.pop("meta", NULL))
        beside = {_BESIDE + member: bytes(value).decode() for member, value in found.items()}
        inside = {}
        if meta != b"null":
            self._meta.expect(meta, "meta")
            inside = {
                _INSIDE + member if member.startswith((_BESIDE, _INSIDE)) else member: value
                for member, value in members(meta).items()
            }
        values = self._meta.values(inside, "meta", more=beside)
        return self._struct(type=name, data=data, meta=self._meta.struct(**values))

    def _type(self, found: dict[str, Raw]) -> str:
        """Take the type out of a frame's members."""
        text = bytes(found.pop("type", NULL))
        kind = json_type(text)
        if kind == "string":
            return _STRING.decode(text)
        if kind != "null":
            raise BadFrame("no_type", f"type must be a string, found {kind}", path="type")
        data = bytes(found.get("data", NULL))
        if self._tell and json_type(data) == "object" and self._tell <= members(data).keys():
            return self._untyped
        raise BadFrame("no_type", "type is absent", path="type")

    def _make_struct(self, **methods: Any) -> type[msgspec.Struct]:
        """Return the Struct of the whole frame. A flat one is its own `meta`."""
        envelope: list[tuple[Any, ...]] = [("type", str), ("data", Raw, ABSENT)]
        meta = self._meta
        if not self._nested:
            if taken := {field.name for field in meta.fields} & {"type", "data"}:
                raise ConfigError(f"the envelope of a frame has {min(taken)} already", where=meta.name)
            itself = property(lambda envelope: envelope)
            return make_struct("Frame", envelope + meta.definitions(), meta.renamed(), meta=itself, **methods)
        # Where meta has required fields, its absence is for the exact way to report.
        default = () if any(field.required for field in meta.fields) else (meta.struct(),)
        return make_struct("Frame", [*envelope, ("meta", meta.struct, *default)], {}, **methods)


def has_duplicate_keys(raw: bytes, canonical_data: bytes, envelope: Envelope) -> bool:
    """Whether any object of a frame, however deep, has two members of the same name.

    raw: the frame. envelope: what `MetaCodec` made of it. canonical_data: `canonical` of the envelope's data. Raises
    `BadFrame` where the frame is nested too deep.

    Decoding never makes a text longer. So if all that is kept takes as many bytes as the frame has, there was nothing
    else in it. This costs next to nothing, and most gateways send no white space; for others see `repeats_a_name`.
    """
    whole = len(envelope.data) == len(raw)
    if len(canonical_data) + (0 if whole else envelope.extent()) == len(raw):
        return False
    return repeats_a_name(raw, canonical_data.count(b":") + (0 if whole else envelope.colons()))


def _untyped(kind: Kind) -> tuple[str, frozenset[str]]:
    """Return the type of a frame that says none, and the members of its payload that tell.

    That is TickTock's ``alive``, which may come as its REST twin does, without type and meta (contract 2.3). A type that
    is published is never guessed.
    """
    alive = kind.types.get("alive")
    if alive is None or alive.publish or not kind.nested:
        return "", frozenset()
    data = shape_reader.read(alive.schema).fields[1].shape
    return alive.type, frozenset(field.name for field in data.fields) if isinstance(data, Record) else frozenset()


def _plain(meta: Record) -> Iterator[tuple[str, str, list[Shape]]]:
    """Yield (name, expression, shapes) of the fields that hold plain values: nearly always all of them."""
    for field in meta.fields:
        shapes = [branch for _, branch in field.shape.branches] if isinstance(field.shape, Choice) else [field.shape]
        if all(isinstance(shape, (Text, Integer, Boolean)) for shape in shapes):
            yield field.name, f"meta.{field.attribute}", shapes


def _write_extent(module: Module, meta: Record, *, nested: bool, untyped: str) -> None:
    """Write `Envelope.extent`. Null and unknown members are left out: then the colons are counted."""
    lines = [f"    {line}" for line in extent(meta, "", nested=nested)]
    module.write("def extent(frame):", *lines, f"    return size + len(frame.type) if frame.type != {untyped!r} else 0")


def extent(meta: Record, name: str, *, nested: bool) -> list[str]:
    """Return the lines that find the `size` of what is kept of a `frame` of the type `name` outside its payload."""
    lines = ["meta, size = frame.meta, 0"]
    for member, value, shapes in _plain(meta):
        lines.append(f"if (value := {value}) is not None:")
        # true and false are as long in Python
        size = "2 + len(value)" if isinstance(shapes[0], Text) else "len(str(value))"
        if len({isinstance(shape, Text) for shape in shapes}) > 1:
            size = "(2 + len(value) if type(value) is str else len(str(value)))"
        lines.append(f"    size += {len(member) + _MEMBER_EXTENT} + {size}")
    if nested:
        lines += ["if size:", f"    size += {_META_EXTENT}"]
    return [*lines, f"size += {_FRAME_EXTENT + len(name)}"]


def _write_colons(module: Module, meta: Record, *, nested: bool, untyped: str) -> None:
    """Write `Envelope.colons`. Where it counts too few, the frame is looked at twice, no more."""
    module.names["of_extensions"] = _of_extensions
    lines = ["def colons(frame):", "    meta, count = frame.meta, 0"]
    for _, value, shapes in _plain(meta):
        lines.append(f"    if (value := {value}) is not None:")
        if any(isinstance(shape, Text) for shape in shapes):
            test = "" if len(shapes) == 1 else " if type(value) is str else 1"
            lines.append(f'        count += 1 + value.count(":"){test}')
        else:
            lines.append("        count += 1")
    if nested:
        lines += ["    if count:", "        count += 1  # meta itself"]
    if meta.open:
        lines += [f"    if meta.{EXTENSIONS}:", f"        count += of_extensions(meta.{EXTENSIONS})"]
    lines += [
        "    # data, and type unless it was guessed",
        f'    return count + (2 + frame.type.count(":") if frame.type != {untyped!r} else 1)',
    ]
    module.write(*lines)


def _of_extensions(extensions: Mapping[str, str]) -> int:
    """The names have got no colon more than they came with."""
    return sum(1 + name.count(":") + canonical(text.encode()).count(b":") for name, text in extensions.items())
