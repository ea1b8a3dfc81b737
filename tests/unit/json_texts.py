"""JSON texts for property tests: any there may be, and such as a schema asks for."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st

from bridge.shape import EXTENSIONS, Anything, Array, Boolean, Choice, Integer, Map, Number, Record, Shape, Text

#: Mostly none: that is how gateways send.
SPACES = st.one_of(st.just(("", "", "", "")), st.tuples(*[st.sampled_from(["", " ", "\n", "\t \r"])] * 4))
#: With colons, quotes and backslashes: what a careless count would trip over.
CHARACTERS = st.text(
    st.one_of(st.sampled_from(':"\\a/{},\u2028\u007f\U0001f3b2'), st.characters(exclude_categories=["Cs"])), max_size=8
)
INTEGERS = st.one_of(
    st.sampled_from(
        [0, -1, 63, 64, -64, -65, 8191, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 63, -(1 << 63) - 1, 1 << 64]
    ),
    st.integers(-(1 << 70), 1 << 70),
    st.integers(-(10**400), 10**400),
)
NUMBER_TEXTS = st.one_of(
    st.sampled_from(["-0", "0.0", "1.10", "1e400", "-1E-400", "9" * 60, "0." + "1" * 60, "1E+2"]),
    INTEGERS.map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)


def written(text: str, way: int) -> str:
    """Write a JSON string in one of the many ways there are: 0 plain, 1 ASCII only, 2 every character escaped."""
    if way == 2:
        digits = text.encode("utf-16-be").hex()
        return '"' + "".join(r"\u" + digits[at : at + 4] for at in range(0, len(digits), 4)) + '"'
    return json.dumps(text, ensure_ascii=way == 1).replace("/", r"\/" if way else "/")


WAYS = st.sampled_from([0, 0, 0, 0, 0, 1, 2])


def string_texts(strings: st.SearchStrategy[str] = CHARACTERS) -> st.SearchStrategy[str]:
    """JSON strings."""
    return st.builds(written, strings, WAYS)


@st.composite
def object_texts(draw: st.DrawFn, members: list[tuple[str, str]]) -> str:
    """An object of (name, text of the value)."""
    parts = []
    for name, text in members:
        before, after, value, end = draw(SPACES)
        parts.append(f"{before}{written(name, draw(WAYS))}{after}:{value}{text}{end}")
    return f"{{{','.join(parts)}}}"


def _array_text(texts: list[str], spaces: tuple[str, ...]) -> str:
    return f"[{spaces[0]}{f'{spaces[1]},{spaces[2]}'.join(texts)}{spaces[3]}]"


def array_texts(texts: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    """Arrays of up to so many elements."""
    return st.builds(_array_text, st.lists(texts, max_size=most), SPACES)


@cache
def json_texts(*, repeats: bool = False, names: st.SearchStrategy[str] = CHARACTERS) -> st.SearchStrategy[str]:
    """Any JSON value. repeats: members of one name may occur twice."""
    return st.recursive(
        st.one_of(st.sampled_from(["null", "true", "false"]), NUMBER_TEXTS, string_texts()),
        lambda inner: st.one_of(
            array_texts(inner, 4),
            st.lists(st.tuples(names, inner), max_size=4, unique_by=None if repeats else lambda pair: pair[0]).flatmap(
                object_texts
            ),
        ),
        max_leaves=12,
    )


@cache
def texts_of(shape: Shape) -> st.SearchStrategy[str]:
    """JSON texts that the shape takes, null where it is a union with null."""
    match shape:
        case Text():
            return string_texts()
        case Boolean():
            return st.sampled_from(["true", "false"])
        case Integer():
            edges = st.sampled_from([shape.least, shape.most, -1, 0, 64, 4096, 1778420531123 % shape.most])
            return st.one_of(edges, st.integers(shape.least, shape.most)).map(str)
        case Number():
            return NUMBER_TEXTS
        case Anything():
            return json_texts()
        case Array():
            return array_texts(texts_of(shape.items), 3)
        case Map():
            pair = st.tuples(CHARACTERS, texts_of(shape.values))
            return st.lists(pair, max_size=3, unique_by=lambda pair: pair[0]).flatmap(object_texts)
        case Record():
            return record_texts(shape).map(lambda made: made[0])
        case Choice():
            branches = st.one_of(*(texts_of(branch) for _, branch in shape.branches))
            return st.one_of(st.just("null"), branches) if shape.nullable else branches
    raise AssertionError(shape)


@st.composite
def record_texts(draw: st.DrawFn, record: Record) -> tuple[str, dict[str, str]]:
    """(an object that the record takes, its unknown members: name → text)."""
    members = [
        (field.name, draw(texts_of(field.shape))) for field in record.fields if field.required or draw(st.booleans())
    ]
    unknown: dict[str, str] = {}
    if record.open and draw(st.integers(0, 2)) == 0:
        names = st.one_of(st.just(EXTENSIONS), CHARACTERS).filter(
            lambda name: all(name != field.name for field in record.fields)
        )
        unknown = draw(st.dictionaries(names, json_texts(), max_size=3))
    return draw(object_texts(draw(st.permutations([*members, *unknown.items()])))), unknown


def exact(text: str) -> Any:
    """Parse JSON so that nothing is lost: a number is a tuple with its text, which only `-0` has changed."""
    return json.loads(text, parse_float=lambda number: (number,), parse_int=lambda number: (_no_minus(number),))


def without_nulls(shape: Shape, value: Any) -> Any:
    """Return what `exact` gave without the known members that are null: absent and null are one."""
    match shape:
        case Record():
            fields = {field.name: field for field in shape.fields}
            return {
                name: without_nulls(fields[name].shape, member) if name in fields else member
                for name, member in value.items()
                if member is not None or name not in fields or not fields[name].nullable
            }
        case Array():
            return [without_nulls(shape.items, element) for element in value]
        case Map():
            return {name: without_nulls(shape.values, member) for name, member in value.items()}
        case Choice() if value is not None:
            for _, branch in shape.branches:
                if isinstance(branch, Array) and isinstance(value, list):
                    return without_nulls(branch, value)
                if isinstance(branch, (Record, Map)) and isinstance(value, dict):
                    return without_nulls(branch, value)
    return value


def restored(shape: Shape, value: Any) -> Any:
    """Return what a consumer finds in a decoded Avro value, in the form of `exact`."""
    match shape:
        case Number() | Anything():
            return exact(value)
        case Integer():
            return (str(value),)
        case Array():
            return [restored(shape.items, element) for element in value]
        case Map():
            return {name: restored(shape.values, member) for name, member in value.items()}
        case Record():
            found = {name: exact(text) for name, text in value.get(EXTENSIONS, {}).items()}
            for field in shape.fields:
                if value[field.name] is not None:
                    found[field.name] = restored(field.shape, value[field.name])
            return found
        case Choice() if value is not None:
            kinds: dict[type, tuple[type[Shape], ...]] = {
                str: (Text, Number, Anything),
                bool: (Boolean,),
                int: (Integer,),
                list: (Array,),
                dict: (Record, Map),
            }
            return next(
                restored(branch, value) for _, branch in shape.branches if isinstance(branch, kinds[type(value)])
            )
    return value


def _no_minus(number: str) -> str:
    return "0" if number == "-0" else number
