"""Python made from a schema: one function that writes each record, compiled once at start.

The general way, walking the schema for every frame, costs four times as much. What is generated is meant to be read:
`Module.source` has it, and tracebacks show its lines.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any, Final

from bridge.shape import (
    EXTENSIONS,
    NULL,
    NUMBER,
    Anything,
    Array,
    Boolean,
    Bytes,
    Choice,
    Integer,
    Map,
    Number,
    Record,
    Shape,
    Symbol,
    Text,
    leaves_text,
)
from bridge.varint import Longs, varint

#: By the bytes of a union's branch: shared by all modules.
_LONGS: Final[dict[bytes, Longs]] = {}


class Module:
    """Source that grows line by line, and the names it uses."""

    def __init__(self, filename: str) -> None:
        """filename: what tracebacks show, e.g. ``<ticktock match.updated>``."""
        self.filename = filename
        self.names: dict[str, Any] = {"NULL": NULL, "NUMBER": NUMBER, "join": b"".join, "ZERO": b"\0"}
        self._lines: list[str] = []
        self._made: dict[tuple[str, int], str] = {}

    @property
    def source(self) -> str:
        """The text of the module."""
        return "\n".join(self._lines) + "\n"

    def write(self, *lines: str) -> None:
        """Append lines, with a blank one between functions."""
        if self._lines and lines[0].startswith("def "):
            self._lines += ["", ""]
        self._lines += lines

    def name(self, wish: str, value: Any) -> str:
        """Return the name under which the source can use a value: the wish, numbered if it is taken."""
        name, number = wish, 1
        while name in self.names and self.names[name] is not value and self.names[name] != value:
            number += 1
            name = f"{wish}_{number}"
        self.names[name] = value
        return name

    def function(self, purpose: str, shape: Shape, make: Callable[[str], None]) -> str:
        """Return the name of the function of a shape for a purpose; `make` writes it where there is none yet."""
        key = (purpose, id(shape))
        if key not in self._made:
            wish = f"{purpose}_{shape.name if isinstance(shape, Record) else 'union'}"
            # The name is taken before the function exists, and kept while its parts are written.
            self._made[key] = name = self.name(wish, _Taken(shape))
            make(name)
        return self._made[key]

    def compile(self) -> dict[str, Any]:
        """Return the module's names, the functions among them."""
        source = self.source
        linecache.cache[self.filename] = (len(source), None, source.splitlines(keepends=True), self.filename)
        exec(compile(source, self.filename, "exec"), self.names)  # noqa: S102 - made here, from schemas, of names alone
        return self.names


def encoder(module: Module, record: Record) -> str:
    """Write the function `record → Avro bytes` and those of the records in it; return its name.

    It takes any object that has the record's attributes.
    """
    return module.function("encode", record, lambda name: _write_encoder(module, name, record))


def write_pair(module: Module, name: str, first: Record, second: Record) -> None:
    """Write the function `(first, second) → their Avro bytes`, one after the other; both in one piece are quicker."""
    begin, parts = _parts(module, first, "first", 0)
    rest, more = _parts(module, second, "second", len(first.fields) + 1)
    module.write(f"def {name}(first, second):", *begin, *rest, f"    return join(({', '.join(parts + more)},))")


def checker(module: Module, record: Record) -> str | None:
    """Write the function that tells whether what msgspec left as text is what the schema wants; return its name.

    None where it leaves no text. It returns False, or raises `UnicodeDecodeError`, where the exact way must find what
    is wrong.
    """
    return (
        module.function("intact", record, lambda name: _write_checker(module, name, record))
        if leaves_text(record)
        else None
    )


class _Taken:
    """Stands for a function in `Module.names` until it is compiled."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape  # keeps its id from being used again


# Writing a record


def _write_encoder(module: Module, name: str, record: Record) -> None:
    lines, parts = _parts(module, record, "record", 0)
    returned = f"join(({', '.join(parts)},))" if parts else 'b""'
    module.write(f"def {name}(record):", *lines, f"    return {returned}")


def _parts(module: Module, record: Record, value: str, number: int) -> tuple[list[str], list[str]]:
    """Return the lines that make the bytes of each field, and the names of the parts to join. number: of the first."""
    lines: list[str] = []
    parts: list[str] = []
    for field in record.fields:
        lines.append(f"    # {field.name}: {' or '.join(field.shape.expects)}")
        made, more = _field(module, field.shape, f"{value}.{field.attribute}", number)
        lines += [f"    {line}" for line in made]
        parts += more
        number += 1
    if record.open:
        last = f"v{number}"
        everything = _bytes(module, Map(Text()), last, None)
        lines += [f"    # {EXTENSIONS}", f"    {last} = {value}.{EXTENSIONS}", f"    {last} = {everything}"]
        parts.append(last)
    return lines, parts


def _field(module: Module, shape: Shape, value: str, number: int) -> tuple[list[str], list[str]]:
    """Return the lines that make the bytes of a field, and the names of the parts to join."""
    v, n = f"v{number}", f"n{number}"
    branches: list[tuple[int | None, Shape]] = [(None, shape)]
    if isinstance(shape, Choice) and not shape.mixed:
        branches = [*shape.branches]
    # Length and bytes stay apart until the one join at the end; not where branches differ in how many parts they have.
    apart = len(branches) == 1 and isinstance(branches[0][1], (Text, Number, Anything, Bytes))
    lines = []
    if isinstance(shape, Choice) and shape.nullable and not shape.mixed:
        null = _null(module, shape)
        lines = [
            f"{v} = {value}",
            f"if {is_null(shape, v)}:",
            f'    {n}, {v} = {null}, b""' if apart else f"    {v} = {null}",
        ]
        value = v
    elif len(branches) > 1 or shape.raw:
        lines, value = [f"{v} = {value}"], v
    for index, branch in branches:
        if apart:
            encode = ".encode()" if isinstance(branch, Text) else ""
            made = [f"{v} = {value}{encode}"] if encode or value != v else []
            made.append(f"{n} = {_longs(module, index)}[len({v})]")
        else:
            made = [f"{v} = {value}"] if value != v else []
            made.append(f"{v} = {_bytes(module, branch, v, index)}")
        test = "" if index == branches[-1][0] else f"if type({v}) is {class_of(module, branch)}:"
        if len(lines) > 1:
            lines += [f"el{test}" if test else "else:", *(f"    {line}" for line in made)]
        elif test:
            lines += [test, *(f"    {line}" for line in made)]
        else:
            lines += made
    return lines, [n, v] if apart else [v]


def _bytes(module: Module, shape: Shape, value: str, branch: int | None, depth: int = 0) -> str:
    """Return the expression for the bytes of a value that is not null, after the index of its branch if it has one."""
    longs = _longs(module, branch)
    element, key = f"e{depth}", f"k{depth}"
    match shape:
        case Text():
            return f"{longs}[len(b := {value}.encode())] + b"
        case Number() | Anything() | Bytes():
            return f"{longs}[len({value})] + {value}"
        case Integer():
            return f"{longs}[{value}]"
        case Boolean():
            return f"({_constant(module, 'TRUE', branch, 1)} if {value} else {_constant(module, 'FALSE', branch, 0)})"
        case Symbol():
            table = {symbol: _prefix(branch) + varint(index) for index, symbol in enumerate(shape.symbols)}
            return f"{module.name('SYMBOLS', table)}[{value}]"
        case Array():
            each = _nullable(module, shape.items, element, depth + 1)
            every = f"join([{each} for {element} in {value}])"
        case Map():
            each = _nullable(module, shape.values, element, depth + 1)
            each = f"{_bytes(module, Text(), key, None)} + {each}"
            every = f"join([{each} for {key}, {element} in {value}.items()])"
        case Record():
            call = f"{encoder(module, shape)}({value})"
            return call if branch is None else f"{_constant(module, 'BRANCH', branch)} + {call}"
        case _:
            return _nullable(module, shape, value, depth)
    return f"({longs}[len({value})] + {every} + ZERO if {value} else {_constant(module, 'EMPTY', branch, 0)})"


def _nullable(module: Module, shape: Shape, value: str, depth: int) -> str:
    """Return the expression for the bytes of a value that may be of several branches, null among them."""
    if not isinstance(shape, Choice):
        return _bytes(module, shape, value, None, depth)
    if shape.only is None:
        name = module.function("encode", shape, lambda name: _write_choice(module, name, shape))
        return f"{name}({value})"
    index, only = shape.only
    made = _bytes(module, only, value, index, depth)
    return f"({_null(module, shape)} if {is_null(shape, value)} else {made})" if shape.nullable else made


def _write_choice(module: Module, name: str, choice: Choice) -> None:
    """Write the function of a union with several branches."""
    lines = [f"def {name}(value):", f"    # {' or '.join(choice.expects)}"]
    if choice.nullable:
        lines += [f"    if {is_null(choice, 'value')}:", f"        return {_null(module, choice)}"]
    if choice.mixed:
        lines.append(f"    branch, value = {module.name('open', choice.open)}(value)")
    for index, shape in choice.branches:
        made = f"return {_bytes(module, shape, 'value', index)}"
        test = f"branch == {index}" if choice.mixed else f"type(value) is {class_of(module, shape)}"
        lines += [f"    {made}"] if (index, shape) == choice.branches[-1] else [f"    if {test}:", f"        {made}"]
    module.write(*lines)


def class_of(module: Module, shape: Shape) -> str:
    """Return the name of the class that msgspec decodes a branch into."""
    if isinstance(shape, Record):
        return module.name(shape.name, shape.struct)
    return {Array: "list", Map: "dict", Integer: "int", Boolean: "bool", Bytes: "bytes"}.get(type(shape), "str")


def is_null(choice: Choice, value: str) -> str:
    """Return the expression that tells whether the value of a nullable union stands for null."""
    return f"not {value} or {value} == NULL" if choice.raw else f"{value} is None"


def is_there(choice: Choice, value: str) -> str:
    """Return the opposite expression of `is_null`."""
    return f"{value} and {value} != NULL" if choice.raw else f"{value} is not None"


def _null(module: Module, choice: Choice) -> str:
    return "ZERO" if choice.null == 0 else _constant(module, "NONE", choice.null)


def _prefix(branch: int | None) -> bytes:
    return b"" if branch is None else varint(branch)


def _constant(module: Module, wish: str, branch: int | None, *more: int) -> str:
    """Return the name of a constant: the index of a branch, and more bytes."""
    return module.name(wish if branch is None else f"{wish}_{branch}", _prefix(branch) + bytes(more))


def _longs(module: Module, branch: int | None) -> str:
    """Return the name of the table of integers that go after the index of a branch."""
    prefix = _prefix(branch)
    if prefix not in _LONGS:
        _LONGS[prefix] = Longs(prefix)
    return module.name("LONG" if branch is None else f"LONG_{branch}", _LONGS[prefix])


# Checking what msgspec left as text


def _write_checker(module: Module, name: str, record: Record) -> None:
    lines = [f"def {name}(record):"]
    for field in record.fields:
        if leaves_text(field.shape):
            lines += [f"    # {field.name}", f"    v0 = record.{field.attribute}"]
            lines += [f"    {line}" for line in _check(module, field.shape, 0)]
    module.write(*lines, "    return True")


def _check(module: Module, shape: Shape, depth: int) -> list[str]:
    """Return the lines that check the variable of a depth."""
    value, element = f"v{depth}", f"v{depth + 1}"
    match shape:
        case Number():
            return [f"if bytes({value})[0] not in NUMBER:", "    return False"]
        case Anything():
            return [f'str({value}, "utf-8")']
        case Array():
            return _block(f"for {element} in {value}:", _check(module, shape.items, depth + 1))
        case Map():
            return _block(f"for {element} in {value}.values():", _check(module, shape.values, depth + 1))
        case Record():
            return [f"if not {checker(module, shape)}({value}):", "    return False"]
        case Choice(only=(_, only)):
            lines = _check(module, only, depth)
            return _block(f"if {is_there(shape, value)}:", lines) if shape.nullable else lines
        case Choice(mixed=True):
            return [f"if {value} and not {module.name('fits', shape.fits)}({value}):", "    return False"]
        case Choice():
            return [
                line
                for _, branch in shape.branches
                if leaves_text(branch)
                for line in _block(f"if type({value}) is {class_of(module, branch)}:", _check(module, branch, depth))
            ]
    return []


def _block(head: str, lines: list[str]) -> list[str]:
    return [head, *(f"    {line}" for line in lines)]
