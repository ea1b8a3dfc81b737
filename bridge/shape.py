"""The schema language as a tree of shapes.

A shape is one Avro type together with the JSON it is made from. Each knows the type into which msgspec reads it at full
speed (`Shape.python`), how to read it slowly but exactly, keeping what the schema does not know and naming what is
wrong (`Shape.read`), and what fastavro would be given (`Shape.plain`).

===================================  ================================  =============================================
Avro type                            JSON                              in the Struct
===================================  ================================  =============================================
``string``                           string                            ``str``
``long``, ``int``                    integer within 64, 32 bits        ``int``
``boolean``                          true, false                       ``bool``
``string`` with ``json: number``     any number, its text is kept      ``msgspec.Raw``
``string`` with ``json: any``        any value, its text is kept       ``msgspec.Raw``
``array``, ``map``                   array, object                     ``list``, ``dict``
record                               object                            a Struct made from the record
union                                by the JSON type; null = absent   the branch's; ``Raw`` where a branch has one
``bytes``, ``enum``                  (not from JSON: the bridge's own) ``bytes``, ``str``
===================================  ================================  =============================================

The last field of a gateway's records is ``extensions``: the members that the schema does not know, name → JSON text.
A nullable ``Raw`` that is absent is ``Raw(b"")``; one that was null is ``Raw(b"null")``. Both are written as null.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NoReturn, Optional, Union

import msgspec
from msgspec import Raw

from bridge.errors import BadFrame, ConfigError

EXTENSIONS: Final = "extensions"
#: What a record without unknown members has for `extensions`: one object for all of them.
NO_EXTENSIONS: Final[Mapping[str, str]] = MappingProxyType({})
NULL: Final = Raw(b"null")
ABSENT: Final = Raw(b"")
#: The first byte of a JSON number.
NUMBER: Final = frozenset(b"-0123456789")

#: Says that a field has no default.
MISSING: Final = object()
_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])
_ELEMENTS: Final = msgspec.json.Decoder(list[Raw])
_STRING: Final = msgspec.json.Decoder(str)
#: No JSON value fits this type. A member that the gateway calls "extensions" therefore always takes the exact way.
_Unsendable = Annotated[dict[str, str], msgspec.Meta(min_length=1, max_length=0)]
_QUOTE: Final = ord('"')
#: More digits than any integer of 64 bits has.
_MANY_DIGITS: Final = 20


def json_type(text: bytes) -> str:
    """Return the JSON type of a valid JSON text: null, boolean, integer, number, string, array or object."""
    first = text[:1]
    if first == b'"':
        return "string"
    if first == b"{":
        return "object"
    if first == b"[":
        return "array"
    if first == b"n":
        return "null"
    if first in {b"t", b"f"}:
        return "boolean"
    return "number" if b"." in text or b"e" in text or b"E" in text else "integer"


def no_value(value: object) -> bool:
    """Whether the value of a nullable field stands for null."""
    return value is None or (isinstance(value, Raw) and (not value or value == NULL))


class Shape(ABC):
    """One Avro type and the JSON it is made from."""

    #: The JSON types it takes, as error messages name them.
    expects: tuple[str, ...] = ()
    #: The name of the branch in a union, as fastavro's tuple notation wants it.
    branch: str = ""
    #: The type that msgspec decodes it into.
    python: Any = None
    #: Whether that type is `msgspec.Raw`.
    raw: bool = False

    @abstractmethod
    def read(self, text: bytes, path: str) -> Any:
        """Return the value of a JSON text, as the Struct holds it.

        Raises `BadFrame` that blames `path`; `msgspec.DecodeError` or `UnicodeDecodeError` where the text is no JSON.
        """

    def plain(self, value: Any) -> Any:
        """Return what fastavro would be given for the value."""
        return value

    def takes(self, kind: str) -> bool:
        """Whether a value of the JSON type `kind` may be of this shape."""
        return kind in self.expects

    def wrong(self, kind: str, path: str) -> BadFrame:
        """Return the error for a value of another JSON type."""
        return BadFrame("wrong_type", f"expected {' or '.join(self.expects)}, found {kind}", path=path)

    def expect(self, text: bytes, path: str) -> None:
        """Raise `BadFrame` unless the text is of a JSON type that the shape takes."""
        kind = json_type(text)
        if kind not in self.expects:
            raise self.wrong(kind, path)


class Text(Shape):
    """A string."""

    expects = ("string",)
    branch = "string"
    python = str

    def read(self, text: bytes, path: str) -> str:
        """See `Shape.read`."""
        self.expect(text, path)
        return _STRING.decode(text)


class Boolean(Shape):
    """True or false."""

    expects = ("boolean",)
    branch = "boolean"
    python = bool

    def read(self, text: bytes, path: str) -> bool:
        """See `Shape.read`."""
        self.expect(text, path)
        return text == b"true"


class Integer(Shape):
    """An integer of 64 or 32 bits."""

    expects = ("integer",)

    def __init__(self, bits: int) -> None:
        """bits: 64 for a long, 32 for an int."""
        self.bits = bits
        self.least = -(1 << bits - 1)
        self.most = (1 << bits - 1) - 1
        self.branch = "long" if bits > 32 else "int"  # noqa: PLR2004 - Avro's two sizes
        self.python = Annotated[int, msgspec.Meta(ge=self.least, le=self.most)]

    def read(self, text: bytes, path: str) -> int:
        """See `Shape.read`."""
        self.expect(text, path)
        if len(text) > _MANY_DIGITS or not self.least <= int(text) <= self.most:
            raise BadFrame("out_of_range", f"expected an integer of {self.bits} bits, found a larger one", path=path)
        return int(text)


class Number(Shape):
    """Any JSON number, kept as its text."""

    expects = ("number",)
    branch = "string"
    python = Raw
    raw = True

    def read(self, text: bytes, path: str) -> Raw:
        """See `Shape.read`."""
        kind = json_type(text)
        if not self.takes(kind):
            raise self.wrong(kind, path)
        return Raw(text)

    def plain(self, value: Any) -> str:
        """See `Shape.plain`."""
        return bytes(value).decode()

    def takes(self, kind: str) -> bool:
        """See `Shape.takes`: an integer is a number."""
        return kind in {"integer", "number"}


class Anything(Shape):
    """Any JSON value, kept as its text."""

    expects = ("any value",)
    branch = "string"
    python = Raw
    raw = True

    def read(self, text: bytes, path: str) -> Raw:
        """See `Shape.read`. msgspec does not check the encoding of what it leaves as text."""
        del path
        text.decode()
        return Raw(text)

    def plain(self, value: Any) -> str:
        """See `Shape.plain`."""
        return bytes(value).decode()

    def takes(self, kind: str) -> bool:
        """See `Shape.takes`."""
        del kind
        return True


class Bytes(Shape):
    """Bytes; only in the bridge's own records."""

    expects = ("bytes",)
    branch = "bytes"
    python = bytes

    def read(self, text: bytes, path: str) -> NoReturn:
        """See `Shape.read`: JSON has no bytes."""
        raise self.wrong(json_type(text), path)


class Symbol(Shape):
    """One of an enum's symbols; only in the bridge's own records."""

    expects = ("string",)

    def __init__(self, name: str, symbols: list[str]) -> None:
        """symbols: in the order of the schema."""
        self.branch = name
        self.symbols = symbols
        self.python = Literal[tuple(symbols)]

    def read(self, text: bytes, path: str) -> str:
        """See `Shape.read`."""
        self.expect(text, path)
        value = _STRING.decode(text)
        if value not in self.symbols:
            raise BadFrame("out_of_range", f"expected one of {', '.join(self.symbols)}", path=path)
        return value


class Array(Shape):
    """An array."""

    expects = ("array",)
    branch = "array"

    def __init__(self, items: Shape) -> None:
        """items: the shape of each element."""
        self.items = items
        self.python = list[items.python]  # type: ignore[name-defined]

    def read(self, text: bytes, path: str) -> list[Any]:
        """See `Shape.read`."""
        self.expect(text, path)
        read = self.items.read
        return [read(bytes(element), f"{path}[{index}]") for index, element in enumerate(_ELEMENTS.decode(text))]

    def plain(self, value: Any) -> list[Any]:
        """See `Shape.plain`."""
        return [self.items.plain(element) for element in value]


class Map(Shape):
    """An object whose members all have one shape."""

    expects = ("object",)
    branch = "map"

    def __init__(self, values: Shape) -> None:
        """values: the shape of each member's value."""
        self.values = values
        self.python = dict[str, values.python]  # type: ignore[name-defined]

    def read(self, text: bytes, path: str) -> dict[str, Any]:
        """See `Shape.read`. Member names are the gateway's: a path shows only harmless ones."""
        self.expect(text, path)
        read = self.values.read
        return {
            name: read(bytes(value), f"{path}.{name if name.isidentifier() else '*'}")
            for name, value in _MEMBERS.decode(text).items()
        }

    def plain(self, value: Any) -> dict[str, Any]:
        """See `Shape.plain`."""
        return {name: self.values.plain(member) for name, member in value.items()}


class Choice(Shape):
    """A union. The JSON type picks the branch; absent and null are one."""

    def __init__(self, branches: list[tuple[int, Shape]], *, null: int | None, where: str) -> None:
        """branches: (index in the union, shape), without null. null: index of the null branch, if it has one.

        where: names the field in errors. Raises `ConfigError` where a JSON type would fit two branches.
        """
        self.branches = branches
        self.null = null
        shapes = [shape for _, shape in branches]
        if not shapes:
            raise ConfigError("a union needs a branch besides null", where=where)
        _check_distinct(shapes, where)
        #: The only branch besides null, if there is but one.
        self.only = branches[0] if len(branches) == 1 else None
        self.raw = any(shape.raw for shape in shapes)
        #: Whether the branch must be found from the text when the value is written.
        self.mixed = self.raw and self.only is None
        #: Index of the branch for strings, if there is one.
        self.string = next((index for index, shape in branches if isinstance(shape, Text)), None)
        self.expects = tuple(dict.fromkeys(name for shape in shapes for name in shape.expects))
        self.nullable = null is not None
        if self.nullable:
            self.expects += ("null",)
        if self.raw:
            self.python = Raw
        else:
            self.python = Union[tuple(shape.python for shape in shapes)]  # noqa: UP007 - made at run time
            if self.nullable:
                self.python = Optional[self.python]  # noqa: UP045 - as above

    def read(self, text: bytes, path: str) -> Any:
        """See `Shape.read`."""
        if text == b"null" and self.nullable:
            return NULL if self.raw else None
        value = self.pick(text, path)[1].read(text, path)
        return Raw(text) if self.mixed else value

    def pick(self, text: bytes, path: str) -> tuple[int, Shape]:
        """Return index and shape of the branch for a JSON text that is not null. Raises `BadFrame` if there is none."""
        kind = json_type(text)
        for index, shape in self.branches:
            if shape.takes(kind):
                return index, shape
        raise self.wrong(kind, path)

    def open(self, value: Raw) -> tuple[int, Any]:
        """Return the branch's index and the value as that branch has it, of a mixed union's text that is not null."""
        text = bytes(value)
        if self.string is not None and text[0] == _QUOTE:  # nearly always
            return self.string, _STRING.decode(text)
        index, shape = self.pick(text, "")
        return index, shape.read(text, "")

    def fits(self, value: Raw) -> bool:
        """Whether a mixed union's text, null included, is of one of the branches, to the last detail.

        Raises `msgspec.DecodeError` or `UnicodeDecodeError` where a string is none that Unicode allows.
        """
        text = bytes(value)
        if self.string is not None and text[0] == _QUOTE:
            _STRING.decode(text)
            return True
        try:
            self.read(text, "")
        except BadFrame:
            return False
        return True

    def plain(self, value: Any) -> Any:
        """See `Shape.plain`. Where several branches are open the result names the branch: (name, value)."""
        if self.nullable and no_value(value):
            return None
        if self.only is not None:
            return self.only[1].plain(value)
        if self.mixed:
            index, found = self.open(value)
            shape = dict(self.branches)[index]
            return shape.branch, shape.plain(found)
        shape = next(shape for _, shape in self.branches if _is_of(value, shape))
        return shape.branch, shape.plain(value)


class Field:
    """One field of a record."""

    def __init__(self, name: str, attribute: str, shape: Shape, default: Any = MISSING) -> None:
        """name: as in schema and JSON. attribute: its name in the Struct. default: for an absent member."""
        self.name = name
        self.attribute = attribute
        self.shape = shape
        #: Whether an absent member reads as null.
        self.nullable = isinstance(shape, Choice) and shape.nullable
        self.required = default is MISSING and not self.nullable
        if self.nullable and default in (MISSING, None):
            default = ABSENT if shape.raw else None
        self.default = default
        #: Reads the field alone at full speed; None where msgspec would leave text that must be checked.
        self.decode = None if leaves_text(shape) else msgspec.json.Decoder(shape.python).decode

    def read(self, raw: Raw, path: str) -> Any:
        """Return the value of the member; see `Shape.read`."""
        if self.decode is not None:
            try:
                return self.decode(raw)
            except msgspec.ValidationError:
                pass  # something unknown further down, or wrong
        return self.shape.read(bytes(raw), path)

    def definition(self) -> tuple[Any, ...]:
        """Return the field as `msgspec.defstruct` takes it."""
        if self.required:
            return (self.attribute, self.shape.python)
        return (self.attribute, self.shape.python, self.default)


class Record(Shape):
    """A record. `open`: it ends in `extensions`, so that unknown members have a place."""

    expects = ("object",)

    def __init__(self, name: str, fields: list[Field], *, open: bool) -> None:  # noqa: A002 - the language's own word
        """name: the full name. fields: without `extensions`."""
        self.branch = name
        self.name = name.rpartition(".")[2]
        self.fields = fields
        self.open = open
        self.struct = make_struct(self.name, self.definitions(), self.renamed())
        self.python = self.struct

    def definitions(self) -> list[tuple[Any, ...]]:
        """Return the fields as `msgspec.defstruct` takes them."""
        found = [field.definition() for field in self.fields]
        return [*found, (EXTENSIONS, _Unsendable, NO_EXTENSIONS)] if self.open else found

    def renamed(self) -> dict[str, str]:
        """Return attribute → JSON name where they differ."""
        return {field.attribute: field.name for field in self.fields if field.attribute != field.name}

    def read(self, text: bytes, path: str) -> Any:
        """See `Shape.read`."""
        self.expect(text, path)
        return self.struct(**self.values(members(text), path))

    def values(self, found: dict[str, Raw], path: str, *, more: Mapping[str, str] = NO_EXTENSIONS) -> dict[str, Any]:
        """Return attribute → value of an object's members, what is unknown under `extensions`, which `more` joins."""
        values: dict[str, Any] = {}
        for field in self.fields:
            raw = found.pop(field.name, None)
            if raw is not None:
                values[field.attribute] = field.read(raw, f"{path}.{field.name}")
            elif field.required:
                raise BadFrame("missing_field", "a required field is absent", path=f"{path}.{field.name}")
        extensions = {name: bytes(found[name]).decode() for name in sorted(found)} | dict(more)
        if extensions:
            if not self.open:
                raise BadFrame("unknown_field", "the record has no place for unknown members", path=path)
            values[EXTENSIONS] = extensions
        return values

    def plain(self, value: Any) -> dict[str, Any]:
        """See `Shape.plain`."""
        found = {field.name: field.shape.plain(getattr(value, field.attribute)) for field in self.fields}
        if self.open:
            found[EXTENSIONS] = dict(value.extensions)
        return found


def leaves_text(shape: Shape) -> bool:
    """Whether msgspec leaves text anywhere in a value of this shape."""
    match shape:
        case Array():
            return leaves_text(shape.items)
        case Map():
            return leaves_text(shape.values)
        case Record():
            return any(leaves_text(field.shape) for field in shape.fields)
        case Choice():
            return any(leaves_text(branch) for _, branch in shape.branches)
    return shape.raw


def members(text: bytes | Raw) -> dict[str, Raw]:
    """Return the members of a JSON object as their texts; of equal names the last, as everywhere."""
    return _MEMBERS.decode(text)


def make_struct(
    name: str,
    definitions: list[tuple[Any, ...]],
    renamed: dict[str, str],
    *,
    tag: str | None = None,
    **namespace: Any,
) -> type[msgspec.Struct]:
    """Return a Struct class that takes exactly the given members. Untracked by gc: a frame can't hold a cycle.

    tag: its value of the member ``type``. Written as JSON, members come in the order of their names and absent ones not
    at all, see `bridge.glance`.
    """
    return msgspec.defstruct(
        name,
        sorted(definitions, key=lambda each: renamed.get(each[0], each[0])),
        namespace=namespace or None,
        rename=renamed or None,
        forbid_unknown_fields=True,
        frozen=True,
        kw_only=True,
        gc=False,
        omit_defaults=True,
        tag=tag,
        tag_field=None if tag is None else "type",
    )


def _check_distinct(shapes: list[Shape], where: str) -> None:
    seen: set[str] = set()
    for shape in shapes:
        if isinstance(shape, Choice):
            raise ConfigError("a union can't hold a union", where=where)
        if isinstance(shape, Anything) and len(shapes) > 1:
            raise ConfigError("json any takes every value: no branch beside it", where=where)
        names = {"number" if name == "integer" else name for name in shape.expects} | {f"Avro {shape.branch}"}
        if twice := names & seen:
            raise ConfigError(f"two branches of the union are for {min(twice)}", where=where)
        seen |= names


def _is_of(value: Any, shape: Shape) -> bool:
    """Whether a value that msgspec decoded is of this branch. A bool is an int to Python, not to us."""
    if isinstance(shape, Record):
        return isinstance(value, msgspec.Struct)
    return type(value) is _PYTHON.get(type(shape), str)


_PYTHON: Final = {Array: list, Map: dict, Integer: int, Boolean: bool, Bytes: bytes}
