"""Python made from a schema: one function that reads each record from its Avro bytes, compiled once at start.

The counterpart of `bridge.compiler`, for the bridge's own records: a successor reads hundreds of thousands of ledger
entries before it goes live, and fastavro takes nearly twice as long for each. It stays the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge import shape_reader
from bridge.compiler import Module
from bridge.errors import BadData, ConfigError
from bridge.shape import Array, Boolean, Bytes, Choice, Integer, Map, Record, Shape, Symbol, Text

#: A byte with this bit is not the last of an integer.
_MORE: Final = 0x80
#: What a damaged record may raise while it is read.
_DAMAGED: Final = (IndexError, ValueError, OverflowError)


def reader(
    schema: Mapping[str, Any], classes: Mapping[str, Callable[..., Any]], *, whole: bool = True
) -> Callable[[bytes, int], Any]:
    """Return the function (bytes, where the record begins) → record, which must end where the bytes do.

    classes: by the record's name, without namespace; called with its fields as keywords. whole: False: more fields may
    follow, which are passed over. The function raises `BadData` where the bytes are no such record. Raises `ConfigError`
    where the schema leaves the language.
    """
    shape = shape_reader.read(schema)
    module = Module(f"<{shape.branch} reader>")
    module.names["more"] = _more
    name = _record(module, shape, classes)
    read = module.compile()[name]

    def checked(data: bytes, at: int) -> Any:
        try:
            found, end = read(data, at)
        except _DAMAGED as error:
            raise BadData(f"a damaged record ({type(error).__name__})", where=shape.name) from error
        if end != len(data) and (whole or end > len(data)):  # a text cut short ends beyond it
            raise BadData("a damaged record (wrong length)", where=shape.name)
        return found

    return checked


def _more(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return an integer of several bytes, still in zigzag, and where it ends."""
    value, shift = first & ~_MORE, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, at
        shift += 7


def _record(module: Module, record: Record, classes: Mapping[str, Callable[..., Any]]) -> str:
    return module.function("read", record, lambda name: _write_record(module, name, record, classes))


def _write_record(module: Module, name: str, record: Record, classes: Mapping[str, Callable[..., Any]]) -> None:
    lines = [f"def {name}(data, at):"]
    arguments = []
    for number, field in enumerate(record.fields):
        lines.append(f"    # {field.name}")
        lines += [f"    {line}" for line in _value(module, field.shape, f"v{number}", classes)]
        arguments.append(f"{field.attribute}=v{number}")
    made = module.name(record.name, classes[record.name])
    module.write(*lines, f"    return {made}({', '.join(arguments)}), at")


def _value(module: Module, shape: Shape, to: str, classes: Mapping[str, Callable[..., Any]]) -> list[str]:
    """Lines that read a value into the variable `to`."""
    match shape:
        case Text():
            return [*_LENGTH, f"{to} = data[at : at + n].decode()", "at += n"]
        case Bytes():
            return [*_LENGTH, f"{to} = data[at : at + n]", "at += n"]
        case Integer():
            return [*_NUMBER, f"{to} = n >> 1 ^ -(n & 1)"]
        case Boolean():
            return [f"{to} = data[at] == 1", "at += 1"]
        case Symbol():
            return [*_NUMBER, f"{to} = {module.name('SYMBOLS', tuple(shape.symbols))}[n >> 1]"]
        case Record():
            return [f"{to}, at = {_record(module, shape, classes)}(data, at)"]
        case Array():
            item = _value(module, shape.items, "item", classes)
            return _blocks(f"{to} = []", [*item, f"{to}.append(item)"])
        case Map():
            item = [*_value(module, Text(), "key", classes), *_value(module, shape.values, "item", classes)]
            return _blocks(f"{to} = {{}}", [*item, f"{to}[key] = item"])
        case Choice(only=(index, only)):
            value = [f"    {line}" for line in _value(module, only, to, classes)]
            test = [f"if n == {index << 1}:", *value]
            return [*_NUMBER, *test, "else:", f"    {to} = None"] if shape.nullable else [*_NUMBER, *test]
    raise ConfigError(f"no reader for {type(shape).__name__}", where=module.filename)


def _blocks(begin: str, item: list[str]) -> list[str]:
    """Lines that read the blocks of an array or map: a count each, the last is 0; ours never are negative."""
    return [begin, *_NUMBER, "while n:", "    for _ in range(n >> 1):", *(f"        {line}" for line in item)] + [
        f"    {line}" for line in _NUMBER
    ]


#: Lines that read an integer into `n`, in zigzag, and the length of a text, which is never negative.
_NUMBER: Final = ["n = data[at]", "at += 1", "if n > 127:", "    n, at = more(data, at, n)"]
_LENGTH: Final = [*_NUMBER, "n >>= 1"]
