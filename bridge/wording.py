"""What validation found wrong with a file, in the words of the person who wrote the file.

Validation speaks of models, unions and inputs; here each of its errors becomes a `Problem` with the line and the key of the
file. No problem repeats a value: it may be a secret in the wrong place.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bridge.source import Document, KeyPath, Problem, nearest, shown

#: For a key path, the annotation of what stands there, or None; see `problems`.
Locate = Callable[[KeyPath], Any]


def problems(error: ValidationError, document: Document, locate: Locate) -> list[Problem]:
    """Return the problems behind a failed validation of `document.data`, in no order.

    locate: gives the annotation behind a path of the file, for the known keys there; see `annotation_at`.
    Errors at places that are broken anyway, say for want of a variable, are left out: the data there is a stand-in.
    """
    found: dict[KeyPath, list[Mapping[str, Any]]] = {}
    for fault, path, union in _relevant(error, document.data):
        if not any(path[:end] in document.broken for end in range(len(path) + 1)):
            # The alternatives of a union are one fault: the value is none of them.
            found.setdefault(path if union is None else union, []).append({**fault, "path": path})
    return [_problem(faults, document, locate) for faults in found.values()]


def annotation_at(annotation: Any, path: KeyPath) -> Any:
    """Return the annotation of the value at `path` below something annotated so; None where nothing is known there."""
    if not path:
        return annotation
    for leaf in alternatives(annotation):
        origin, arguments = get_origin(leaf), get_args(leaf)
        inner: Any = None
        if is_model(leaf) and isinstance(path[0], str):
            inner = {alias(name, info): info.annotation for name, info in leaf.model_fields.items()}.get(path[0])
        elif inspect.isclass(origin) and issubclass(origin, Mapping) and isinstance(path[0], str):
            inner = arguments[1]
        elif inspect.isclass(origin) and issubclass(origin, Sequence) and isinstance(path[0], int):
            inner = arguments[0]
        if inner is not None and (below := annotation_at(inner, path[1:])) is not None:
            return below
    return None


def alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, or the annotation itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from alternatives(part)
    else:
        yield annotation


def is_model(annotation: object) -> bool:
    """Whether an annotation is a model of settings."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def alias(name: str, info: Any) -> str:
    """Return a field's key in the file."""
    return str(info.alias or name)


def kind_of(value: object) -> str:
    """Say what a value is, without saying the value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text" if value else "empty text"
    return "a list" if isinstance(value, list) else "a mapping"


def _relevant(error: ValidationError, data: object) -> Iterator[tuple[Mapping[str, Any], KeyPath, KeyPath | None]]:
    """Yield each error with its path in the file and the path of the union, if it comes from one's alternatives.

    Where one alternative of a union got further than the others, it was the one that was meant; the others are left out.
    """
    faults = [(dict(fault), *_path(fault["type"], fault["loc"], data)) for fault in error.errors(include_input=False)]
    depths: dict[KeyPath, int] = {}
    for _, path, union in faults:
        if union is not None:
            depths[union] = max(depths.get(union, 0), len(path))
    for fault, path, union in faults:
        if union is None or len(union) == depths[union]:
            yield fault, path, union
        elif len(path) > len(union):
            yield fault, path, None


def _path(kind: str, location: tuple[int | str, ...], data: object) -> tuple[KeyPath, KeyPath | None]:
    """Return the path in the file behind an error's location, and where a union was entered on the way.

    A location names keys and positions, and between them the alternatives of unions (`list[str]`), which are nowhere
    in the file.
    """
    path: list[int | str] = []
    union: KeyPath | None = None
    here = data
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if _has(here, part):
            here = _at(here, (part,))
        elif last and kind in _ABSENT:
            here = None
        else:
            union = None if part == "[key]" else tuple(path)
            continue
        path.append(part)
    return tuple(path), union


def _problem(faults: list[Mapping[str, Any]], document: Document, locate: Locate) -> Problem:
    path: KeyPath = faults[0]["path"]
    # What is wrong may be the key itself rather than what it holds.
    found = path[-1] if faults[0]["loc"][-1:] == ("[key]",) else _at(document.data, path)
    line, name = document.line(path), shown(path)
    mend = f"the text comes from {document.origins[path]}" if path in document.origins else None
    kind = faults[0]["type"]
    if kind == "extra_forbidden":
        return Problem(line, name, "unknown key", nearest(str(path[-1]), _keys(locate(path[:-1]))))
    if kind == "missing":
        return Problem(line, name, "missing", "add it")
    # Among the alternatives of a union, one whose limits are broken had the right form: it was the one that was meant.
    limited = next((fault for fault in faults if fault["type"] in _LIMITS), None)
    if limited:
        return Problem(line, name, _LIMITS[limited["type"]](limited["ctx"]), mend)
    expected = [word for fault in faults if fault["type"] in _EXPECTED for word in _EXPECTED[fault["type"]](fault)]
    if expected:
        what = f"expected {_either(expected)}"
        # Words of a type's own say what the text must look like; that it is text helps nobody.
        own = found and isinstance(found, str) and any(fault["type"] == "unexpected" for fault in faults)
        return Problem(line, name, what if own else f"{what}, found {kind_of(found)}", mend)
    what = str(faults[0]["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    what, _, advice = what.partition("; ")
    return Problem(line, name, what, mend or advice or None)


def _keys(annotation: Any) -> set[str]:
    return {
        alias(name, info)
        for leaf in alternatives(annotation)
        if is_model(leaf)
        for name, info in leaf.model_fields.items()
    }


def _has(data: object, part: str | int) -> bool:
    if isinstance(data, dict):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and part < len(data)


def _at(data: object, path: KeyPath) -> object:
    for part in path:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _either(words: Iterable[str]) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def _constant(words: str) -> Callable[[Mapping[str, Any]], list[str]]:
    return lambda _: [words]


def _choices(fault: Mapping[str, Any]) -> list[str]:
    choices = re.split(", | or ", str(fault["ctx"]["expected"]).replace("'", ""))
    return [f"`{choice}`" for choice in choices]


#: Types of errors at a key that the file does not have.
_ABSENT: Final = frozenset({"missing", "property"})

_TEXT: Final = _constant("text")
_WHOLE: Final = _constant("a whole number")
_NUMBER: Final = _constant("a number")
_FLAG: Final = _constant("true or false")
_MAPPING: Final = _constant("a mapping (`key: value`)")
_LIST: Final = _constant("a list")

#: What validation expected, by the type of its error.
_EXPECTED: Final[Mapping[str, Callable[[Mapping[str, Any]], list[str]]]] = {
    "string_type": _TEXT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _FLAG,
    "bool_parsing": _FLAG,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "literal_error": _choices,
    "enum": _choices,
    "none_required": _constant("nothing"),
    "unexpected": lambda fault: [str(fault["msg"]).removeprefix("expected ")],
    "path_type": _constant("a path"),
}

#: What to say of a value out of its limits.
_LIMITS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than": lambda facts: f"must be more than {facts['gt']:g}",
    "greater_than_equal": lambda facts: f"must be at least {facts['ge']:g}",
    "less_than": lambda facts: f"must be less than {facts['lt']:g}",
    "less_than_equal": lambda facts: f"must be at most {facts['le']:g}",
    "multiple_of": lambda facts: f"must be a multiple of {facts['multiple_of']:g}",
    "too_short": lambda facts: f"needs at least {facts['min_length']}",
    "too_long": lambda facts: f"takes at most {facts['max_length']}",
    "string_too_short": lambda facts: f"needs at least {facts['min_length']} characters",
    "string_too_long": lambda facts: f"takes at most {facts['max_length']} characters",
    "string_pattern_mismatch": lambda facts: f"must look like {facts['pattern']}",
}
