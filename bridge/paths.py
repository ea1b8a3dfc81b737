"""Key, entity, identity, event time and learned ids of a frame: generated functions, no path is walked per frame.

Each function takes the envelope's and the payload's Struct, ``(meta, data)``. Where a value lies below JSON text, and in
frames of unknown types, it is looked for leniently: what is no JSON, or not there, is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from bridge.canonical import canonical
from bridge.compiler import Module, class_of, is_there
from bridge.errors import BadFrame, ConfigError
from bridge.shape import (
    ABSENT,
    EXTENSIONS,
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
    json_type,
)

if TYPE_CHECKING:
    from bridge.catalog import FrameType

#: The step of a path into every element of an array.
EACH: Final = "[]"
#: Event times are ms since the epoch, up to the last year that a date can have.
_LATEST: Final = 253_402_300_800_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_OF_NO_ZONE: Final = _EPOCH.replace(tzinfo=None)
#: Shortest text with a date and a time to the second.
_MOMENT: Final = len("2026-05-10T13:42:11")
_DAY: Final = 86_400_000
#: Text of a time to the second → ms since the epoch, of UTC times met so far, some minutes of them.
_SECONDS: Final[dict[str, int]] = {}
_MANY_SECONDS: Final = 1024
#: Text → ms since the epoch, of the last times that were asked for.
_MOMENTS: Final[dict[str, int]] = {}
_MANY_MOMENTS: Final = 256
#: What may follow the second in the usual texts of a UTC time → ms.
_FRACTIONS: Final = {f".{ms:03}Z": ms for ms in range(1000)} | {"Z": 0, "+00:00": 0}
_PLAIN: Final = (Text, Integer, Boolean, Number, Anything)

#: What goes on where a path has led to a value: given shape and variable, it returns lines.
_Then = Callable[[Shape, str], list[str]]


def write_getters(module: Module, frame_type: FrameType, meta: Record, data: Record | None) -> None:
    """Write the functions key, entity, identity, event_time, learn, seq and previous of a type.

    data: None: the payload is JSON text in the attribute ``own`` (`bridge.codec.UnknownCodec`). Raises `ConfigError`
    for a path that leads to no plain value.
    """
    module.names |= {"tag": tag, "moment": moment, "text_of": text_of}
    writer = _Writer(module, frame_type.type, meta, data)
    writer.first("key", frame_type.key, writer.return_text)
    writer.first("entity", frame_type.entity, writer.return_text)
    writer.first("event_time", frame_type.event_time, writer.return_time)
    writer.identity(frame_type.identity)
    writer.learn(frame_type.learn)
    chain = frame_type.continuity
    writer.first("seq", chain.seq if chain else (), writer.return_number)
    writer.first("previous", chain.previous if chain else (), writer.return_number)


def text_of(value: object) -> str | None:
    """Return a value as an id: a string as it is, a number as its text; None for anything else and for ``""``."""
    if type(value) is str:
        return value or None
    if type(value) is int:
        return str(value)
    if isinstance(value, Raw):
        text = bytes(value)
        kind = json_type(text)
        try:
            if kind == "string":
                return _STRING.decode(text) or None
            if kind in {"integer", "number"} and text:
                return "0" if text == b"-0" else text.decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    return None


def tag(value: object) -> str | None:
    """Return a value with its JSON type, such that no two values look alike; None for null, absent and ``""``."""
    if isinstance(value, Raw):
        text = bytes(value)
        kind = json_type(text) if text else "null"
        if kind in {"null", "string", "integer"}:
            found = text_of(value)
            return None if found is None else f"i{found};" if kind == "integer" else f"s{len(found)}:{found}"
        try:
            plain = canonical(value).decode()
        except BadFrame:
            return None
        return f"j{len(plain)}:{plain}"
    if type(value) is str:
        return f"s{len(value)}:{value}" if value else None
    if type(value) is bool:
        return "j4:true" if value else "j5:false"
    return f"i{value};" if type(value) is int else None


def moment(value: object) -> int | None:
    """Return a time in ms since the epoch: an integer as it is, ISO 8601 text read (without an offset it is UTC).

    None where it is neither, or not after 1970.
    """
    if type(value) is str and (known := _MOMENTS.get(value)) is not None:  # frames of one burst share it
        return known
    if isinstance(value, Raw):
        kind = json_type(bytes(value))
        found = text_of(value)
        value = int(found) if kind == "integer" and found and len(found) < _MOMENT else found
    if type(value) is int:
        return value if 0 < value < _LATEST else None
    if type(value) is not str or len(value) < _MOMENT:
        return None
    # Times come in order: all but the last digits are those of the frame before, and the calendar was asked already.
    second = _SECONDS.get(value[:_MOMENT])
    fraction = _FRACTIONS.get(value[_MOMENT:])
    if second is not None and fraction is not None:
        return _noted(value, second + fraction)
    try:
        since = datetime.fromisoformat(value if value[-1] != "z" else value.upper())
        passed = since - (_EPOCH if since.tzinfo else _EPOCH_OF_NO_ZONE)
    except (ValueError, OverflowError):
        return None
    found_ms = passed.days * _DAY + passed.seconds * 1000 + passed.microseconds // 1000
    if found_ms <= 0:
        return None
    if fraction is not None:
        if len(_SECONDS) >= _MANY_SECONDS:
            _SECONDS.clear()
        _SECONDS[value[:_MOMENT]] = found_ms - fraction
    return _noted(value, found_ms)


def _noted(text: str, found: int) -> int:
    if len(_MOMENTS) >= _MANY_MOMENTS:
        _MOMENTS.clear()
    _MOMENTS[text] = found
    return found


def texts(steps: Sequence[str]) -> Callable[[bytes | Raw], Iterator[Raw]]:
    """Return the function that finds in a JSON text the values at the end of a path, as texts; leniently.

    Each object on the way is decoded for the one member that is wanted.
    """
    if not steps:
        return lambda text: iter((Raw(text),) if text else ())
    inner = texts(steps[1:])
    if steps[0] == EACH:
        decode: Callable[[bytes | Raw], Sequence[Raw]] = msgspec.json.Decoder(list[Raw]).decode
    else:
        one = msgspec.defstruct("One", [("member", Raw, ABSENT)], rename={"member": steps[0]}, gc=False)
        read = msgspec.json.Decoder(one).decode
        decode = lambda text: (read(text).member,)  # type: ignore[attr-defined]  # noqa: E731 - a Struct made at run time

    def find(text: bytes | Raw) -> Iterator[Raw]:
        if not text:
            return
        try:
            found = decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        for each in found:
            yield from inner(each)

    return find


_STRING: Final = msgspec.json.Decoder(str)


class _Writer:
    """Writes the getters of one type."""

    def __init__(self, module: Module, where: str, meta: Record, data: Record | None) -> None:
        self._module = module
        self._where = where
        self._roots: dict[str, tuple[Shape, str]] = {
            "meta": (meta, "meta"),
            "data": (data, "data") if data else (Anything(), "data.own"),
        }
        self._variables = 0

    def first(self, name: str, paths: Sequence[Sequence[str]], then: _Then) -> None:
        """Write a function that returns the first value that is there and usable."""
        self._function(name, [self._walk(path, then) for path in paths], "None")

    def identity(self, alternatives: Sequence[Sequence[Sequence[str]]]) -> None:
        """Write the function that returns the first complete set of values.

        The paths do not go in: alternatives are names of the same thing, and REST may use another name than the stream.
        """
        self._function("identity", [self._all(paths, "") for paths in alternatives], "None")

    def learn(self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> None:
        """Write the function that returns the list of (id, key) pairs."""
        blocks = [["found = []"]] if pairs else []
        for known, key in pairs:
            # First the key: without it there is nothing to learn, however many ids there are.
            blocks.append(self._walk(key, self._text(lambda to, known=known: self._walk(known, self._pair(to)))))  # type: ignore[misc]  # of the bound default
        self._function("learn", blocks, "found" if pairs else "[]")

    def return_text(self, shape: Shape, value: str) -> list[str]:
        """Lines that return an id, if the value is one."""
        return self._text(lambda text: [f"return {text}"])(shape, value)

    def return_time(self, shape: Shape, value: str) -> list[str]:
        """Lines that return a time, if the value is one."""
        del shape
        return [f"if (at := moment({value})) is not None:", "    return at"]

    def return_number(self, shape: Shape, value: str) -> list[str]:
        """Lines that return an integer; the catalog lets such a path lead to nothing else."""
        del shape
        return [f"return {value}"]

    def _function(self, name: str, blocks: list[list[str]], end: str) -> None:
        lines = [f"    {line}" for block in blocks for line in block]
        self._module.write(f"def {name}(meta, data):", *lines, f"    return {end}")

    def _pair(self, to: str) -> _Then:
        return self._text(lambda text: [f"found.append(({text}, {to}))"])

    def _text(self, then: Callable[[str], list[str]]) -> _Then:
        """Lines that go on where a value is an id, with its text."""

        def lines(shape: Shape, value: str) -> list[str]:
            if isinstance(shape, Text):
                return _block(f"if {value}:", then(value))
            if isinstance(shape, Integer):
                return then(f"str({value})")
            text = self._variable()
            return _block(f"if ({text} := text_of({value})) is not None:", then(text))

        return lines

    def _all(self, paths: Sequence[Sequence[str]], before: str) -> list[str]:
        """Lines that return the values of all paths; `before`: the f-string of those already found."""
        if not paths:
            return [f'return f"{before}".encode()']
        path, *rest = paths

        def lines(shape: Shape, value: str) -> list[str]:
            if isinstance(shape, Text):
                return _block(f"if {value}:", self._all(rest, f"{before}s{{len({value})}}:{{{value}}}"))
            if isinstance(shape, Integer):
                return self._all(rest, f"{before}i{{{value}}};")
            tagged = self._variable()
            return _block(f"if ({tagged} := tag({value})) is not None:", self._all(rest, f"{before}{{{tagged}}}"))

        return self._walk(path, lines)

    def _walk(self, path: Sequence[str], then: _Then) -> list[str]:
        shape, value = self._roots[path[0]]
        lines = self._step(shape, value, path[1:], then)
        if not lines:
            raise ConfigError(f"the path {'.'.join(path)!r} leads to no plain value", where=self._where)
        return [f"# {'.'.join(path)}", *lines]

    def _step(self, shape: Shape, value: str, steps: Sequence[str], then: _Then) -> list[str]:
        """Lines that go on from a value that is not null; none if the path ends here without success."""
        if isinstance(shape, Choice):
            return self._branches(shape, value, steps, then)
        if shape.raw and steps and not isinstance(shape, Number):
            return self._below(value, steps, then)
        if not steps:
            return then(shape, value) if isinstance(shape, _PLAIN) else []
        step, rest = steps[0], steps[1:]
        inner = self._variable()
        match shape:
            case Record() if step == EXTENSIONS and shape.open and rest:
                # The values there are JSON text.
                found = self._below(inner, rest[1:], then)
                return [
                    f"{inner} = {value}.{EXTENSIONS}.get({rest[0]!r})",
                    *_block(f"if {inner} is not None:", [f"{inner} = {inner}.encode()", *found]),
                ]
            case Record():
                field = next((field for field in shape.fields if field.name == step), None)
                lines = self._step(field.shape, inner, rest, then) if field else []
                return [f"{inner} = {value}.{field.attribute}", *lines] if field and lines else []
            case Map() if step != EACH:
                lines = self._step(shape.values, inner, rest, then)
                return [f"{inner} = {value}.get({step!r})", *_block(f"if {inner} is not None:", lines)] if lines else []
            case Array() if step == EACH:
                lines = self._step(shape.items, inner, rest, then)
                return _block(f"for {inner} in {value}:", lines) if lines else []
        return []

    def _branches(self, choice: Choice, value: str, steps: Sequence[str], then: _Then) -> list[str]:
        """Lines that go on from each branch of a union that has the path."""
        if choice.mixed:
            lines = self._below(value, steps, then)
        elif not steps and choice.only is None:
            # Plain values of several types: what comes next can tell them apart, and refuses the rest.
            lines = then(choice, value) if any(isinstance(branch, _PLAIN) for _, branch in choice.branches) else []
        elif choice.only is not None:
            lines = self._step(choice.only[1], value, steps, then)
        else:
            lines = []
            for _, branch in choice.branches:
                if made := self._step(branch, value, steps, then):
                    lines += _block(f"if type({value}) is {class_of(self._module, branch)}:", made)
        if not lines or not choice.nullable or lines[0] == f"if {value}:":  # which null does not pass either
            return lines
        return _block(f"if {is_there(choice, value)}:", lines)

    def _below(self, value: str, steps: Sequence[str], then: _Then) -> list[str]:
        """Lines that go on from each value that a path finds in JSON text."""
        each = self._variable()
        find = self._module.name("find", texts(tuple(steps)))
        return _block(f"for {each} in {find}({value}):", then(Anything(), each))

    def _variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"


def _block(head: str, lines: list[str]) -> list[str]:
    return [head, *(f"    {line}" for line in lines)]
