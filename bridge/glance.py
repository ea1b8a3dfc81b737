"""Frames read at one glance: type, envelope and payload in one call, where a frame is as its schema says and no more.

Nearly all frames are: each member is known, none is null, none comes twice, no white space, no needless escape. Then the
payload's canonical form is what msgspec writes of the Struct, whose fields are in the order of their names. That it is
so is proved by counting: nothing that is read becomes longer when it is written again, so a frame that has exactly the
bytes of what was read of it holds nothing else. What lies in the payload as text that no schema describes is looked at
by itself. Any doubt, and the frame is read the exact way (`bridge.envelope`, `bridge.codec`, `bridge.canonical`); both
find the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, Union

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from bridge.canonical import canonical
from bridge.compiler import Module
from bridge.envelope import extent
from bridge.errors import BadFrame
from bridge.shape import EXTENSIONS, Anything, Array, Choice, Map, Number, Record, Shape, leaves_text, make_struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.codec import Codec

#: Numbers of more digits than Python reads are for the exact way; no frame below this length (bytes) has one.
_DIGITS: Final = 4300
#: Texts whose canonical form is remembered, and the longest of them (bytes): odds come again and again.
_MANY: Final = 4096
_LONG: Final = 512
_QUOTE: Final = ord('"')
#: After so many frames more that were read in vain than at a glance, the next are read the exact way at once.
_PATIENCE: Final = 64
_PAUSE: Final = 1000


class Whole(Protocol):
    """What is read of a frame: a Struct."""

    @property
    def type(self) -> str:
        """The frame's type."""

    @property
    def meta(self) -> Any:
        """As `bridge.envelope.Envelope.meta`."""

    @property
    def data(self) -> Any:
        """The payload's Struct, as `bridge.codec.Codec.decode_data` makes it."""

    def plain(self, raw: bytes) -> bytes | None:
        """The payload's canonical text, if all of the frame was read; else None. To be called once."""


class Glance:
    """Reads the published types of one gateway kind. nested, meta: of its envelope. Other types are none of ours."""

    def __init__(self, codecs: Mapping[str, Codec], meta: Record, *, nested: bool) -> None:
        """Compile."""
        self._codecs = {name: codec for name, codec in codecs.items() if _simple(codec.shape)}
        self._meta = meta
        self._nested = nested
        self._luck = _PATIENCE
        self._structs: dict[str, Any] = {}
        self._wholes: dict[str, Any] = {}
        self._decode: Callable[[bytes], Whole] = _never
        self.renew()

    def reads(self, name: str) -> bool:
        """Whether frames of a type can be read at a glance."""
        return name in self._codecs

    def renew(self) -> None:
        """Know the members that the codecs have met since."""
        structs = {name: codec.struct for name, codec in self._codecs.items()}
        if structs == self._structs:
            return
        for name, struct in structs.items():
            if self._structs.get(name) is not struct:
                self._wholes[name] = self._make(name, self._codecs[name])
        self._structs = structs
        if self._wholes:
            wholes: Any = Union[tuple(self._wholes.values())]  # noqa: UP007 - made at run time
            self._decode = msgspec.json.Decoder(wholes).decode

    def read(self, raw: bytes) -> tuple[Whole, bytes] | None:
        """(frame, its payload's canonical text), or None: then it must be read the exact way.

        A gateway whose frames are never plain, for instance one that sends white space, costs a try now and then.
        """
        if self._luck <= 0:
            self._luck = self._luck - 1 if self._luck > -_PAUSE else 1
            return None
        try:
            whole = self._decode(raw)
            if not raw.isascii():
                raw.decode()
            text = whole.plain(raw)
        except _DOUBT:
            self._luck -= 1
            return None
        if text is None:
            self._luck -= 1
            return None
        if self._luck < _PATIENCE:
            self._luck += 1
        return whole, text

    def _make(self, name: str, codec: Codec) -> Any:
        """Return the Struct of the whole frame of one type."""
        module = Module(f"<{name} at a glance>")
        _write_plain(module, name, self._meta, codec, nested=self._nested)
        names = module.compile()
        fields: list[tuple[Any, ...]] = [("data", codec.struct)]
        renamed: dict[str, str] = {}
        methods = {"type": name, "plain": names["plain"]}
        if self._nested:
            default = () if any(field.required for field in self._meta.fields) else (self._meta.struct(),)
            fields.append(("meta", self._meta.struct, *default))
        else:
            fields += self._meta.definitions()
            renamed = self._meta.renamed()
            methods["meta"] = property(lambda whole: whole)
        return make_struct("Whole", fields, renamed, tag=name, **methods)


def _never(_: bytes) -> Whole:
    """Read frames where no type is simple."""
    raise msgspec.DecodeError


#: What may be raised on the way: it is not as the schema says, or no JSON at all. The exact way finds out.
_DOUBT: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadFrame)


def _simple(data: Record) -> bool:
    """Whether text that no schema describes stands only where `_write_plain` looks at it."""
    return all(not leaves_text(field.shape) or _way(field.shape) is not None for field in data.fields)


def _way(shape: Shape) -> str | None:
    """How a field is looked at that may hold undescribed text; None where there is no simple way."""
    if isinstance(shape, Choice):
        if shape.mixed:
            return "string" if shape.string is not None else None
        if shape.only is not None:
            return _way(shape.only[1])
        texts = [branch for _, branch in shape.branches if leaves_text(branch)]
        return "branch" if all(isinstance(branch, (Array, Map)) for branch in texts) else None
    if isinstance(shape, Number):
        return "number"
    if isinstance(shape, Anything):
        return "any"
    return "array" if isinstance(shape, Array) and isinstance(shape.items, Anything) else None


def _write_plain(module: Module, name: str, meta: Record, codec: Codec, *, nested: bool) -> None:
    """Write `Whole.plain` of one type."""
    data = codec.shape
    texts = [(field.attribute, field.shape, _way(field.shape)) for field in data.fields if leaves_text(field.shape)]
    texts += [(attribute, Anything(), "any") for attribute in codec.unknown]
    module.names |= {"force": force_setattr, "ARRAYS": _Arrays(), "VALUES": _Values()}
    module.names["write"] = _SORTED if any(_maps(field.shape) for field in data.fields) else _PLAIN
    lines = ["def plain(frame, raw):", "    data = frame.data"]
    restored: list[str] = []
    if any(way == "number" for _, _, way in texts):
        lines += [f"    if len(raw) >= {_DIGITS}:", "        return None"]
    for number, (attribute, shape, way) in enumerate(texts):
        v, w = f"v{number}", f"w{number}"
        lines.append(f"    {v} = data.{attribute}")
        if way == "number":
            lines += [f"    if {v}:", f"        {w} = bytes({v})"]
            lines += [f"        if {w}[0] not in NUMBER or {w} == b'-0':", "            return None"]
        elif way == "branch":
            assert isinstance(shape, Choice)  # noqa: S101 - for the type checker: `_way` says so
            for _, branch in shape.branches:
                if leaves_text(branch):
                    lines += [f"    if type({v}) is {_CLASSES[type(branch)]}:", "        return None"]
        else:
            text = f'ARRAYS[b",".join({v})]' if way == "array" else f"VALUES[bytes({v})]"
            if way == "string":
                lines += [f"    if {v} and bytes({v})[0] != {_QUOTE}:", "        return None"]
            lines += [f"    {w} = {text} if {v} else None"]
            for into, value in ((lines, w), (restored, v)):
                into += [f"    if {w} is not None:", f"        force(data, {attribute!r}, {value})"]
    lines += ["    text = write(data)", *restored]
    lines += [f"    {line}" for line in extent(meta, name, nested=nested)]
    lines += ["    if len(text) + size != len(raw):", "        return None"]
    if codec.unknown:
        members = ", ".join(f"({member!r}, data.{attribute})" for attribute, member in codec.unknown.items())
        lines += [
            f'    if found := {{name: str(value, "utf-8") for name, value in ({members},) if value}}:',
            f"        force(data, {EXTENSIONS!r}, found)",
        ]
    module.write(*lines, "    return text")


class _Remembered(dict[bytes, Raw | None]):
    """Text as sent → its canonical form, None where that is the same."""

    def keep(self, text: bytes, found: Raw | None) -> Raw | None:
        if len(text) <= _LONG:
            if len(self) >= _MANY:
                self.clear()
            self[text] = found
        return found


class _Values(_Remembered):
    """Of any value."""

    def __missing__(self, text: bytes) -> Raw | None:
        found = canonical(text)
        return self.keep(text, None if found == text else Raw(found))


class _Arrays(_Remembered):
    """Of an array, by its elements with commas between them."""

    def __missing__(self, elements: bytes) -> Raw | None:
        return self.keep(elements, Raw(canonical(b"[" + elements + b"]")))


def _maps(shape: Shape) -> bool:
    """Whether a value of this shape holds objects whose members have no order of their own; text is not written here."""
    match shape:
        case Map():
            return not leaves_text(shape)
        case Array():
            return _maps(shape.items)
        case Record():
            return any(_maps(field.shape) for field in shape.fields)
        case Choice():
            return any(_maps(branch) for _, branch in shape.branches)
    return False


#: The classes of values that have values in them.
_CLASSES: Final[dict[type[Shape], str]] = {Array: "list", Map: "dict"}
_PLAIN: Final = msgspec.json.Encoder().encode
_SORTED: Final = msgspec.json.Encoder(order="sorted").encode
