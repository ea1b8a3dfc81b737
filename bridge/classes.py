"""Python classes for consumers, written from the schemas: ``python -m bridge.classes``.

Makes the modules of `bridge.records`, one for each kind of gateway; part of ``make format``, and a test compares. With a folder of
schemas, another package's, it prints the module for each kind in it.
"""

from __future__ import annotations

import keyword
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bridge.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER: Final = Path(__file__).with_name("records")
#: The module of feedbridge's own records.
OWN: Final = "feedbridge"
#: Own records that are consumers' business.
SHOWN: Final = ("gap",)
_WIDTH: Final = 116
_PLAIN: Final = {"string": "str", "long": "int", "int": "int", "boolean": "bool", "null": "None"}
_TEXTS: Final = {"number": "Number", "any": "Json"}


def modules(catalog: Catalog) -> dict[str, str]:
    """Name of each module → its text."""
    found = {
        kind.name.replace("-", "_"): _module(
            f"Records of gateways of kind `{kind.name}`.",
            {each.type: each.schema for each in (*kind.types.values(), kind.unknown) if each.publish},
        )
        for kind in catalog.kinds.values()
    }
    if catalog.records:
        own = {name: schema for name, schema in catalog.records.items() if name in SHOWN}
        found[OWN] = _module("What feedbridge writes about itself.", own)
    return found


def _module(doc: str, types: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a module. types: frame type → schema."""
    classes: dict[str, list[str]] = {}
    for name, schema in types.items():
        _record(schema, classes, frame_type=name)
    body = "\n".join(line for lines in classes.values() for line in ["", "", *lines])
    names = {schema["name"]: f"{schema['namespace']}.{schema['name']}" for schema in types.values()}
    head = [
        f'"""{doc} Made by `python -m bridge.classes`: do not edit."""',
        "",
        "from __future__ import annotations",
        "",
    ]
    if "datetime" in body:
        head += ["from datetime import datetime", "from typing import ClassVar, Final", ""]
    else:
        head += ["from typing import ClassVar, Final", ""]
    head += ["import msgspec"]
    texts = [each for each in ("Json", "Number") if re.search(rf"\b{each}\b", body)]
    if texts:
        head += ["", f"from bridge.records.text import {', '.join(texts)}"]
    return "\n".join(
        [
            *head,
            body,
            "",
            "",
            "#: Full name of a record → its class.",
            "RECORDS: Final[dict[str, type[msgspec.Struct]]] = {",
            *(f'    "{full}": {name},' for name, full in names.items()),
            "}",
            "",
        ]
    )


def _record(schema: Mapping[str, Any], classes: dict[str, list[str]], *, frame_type: str | None = None) -> None:
    """Write the class of a record, after those it is made of; each once, under its name."""
    if schema["name"] in classes:
        return
    fields = [line for field in schema["fields"] for line in _field(field, classes)]
    lines = [f"class {schema['name']}(msgspec.Struct, frozen=True, kw_only=True):", *_doc(str(schema["doc"])), ""]
    if frame_type is not None:
        lines += [f'    TYPE: ClassVar[str] = "{frame_type}"', ""]
    classes[schema["name"]] = [*lines, *fields]


def _doc(text: str) -> Iterator[str]:
    """A docstring at the depth of a class."""
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    first, _, rest = text.partition(". ")
    if not rest:
        yield f'    """{first}"""'
        return
    yield f'    """{first}.'
    yield ""
    yield from (f"    {line}" for line in textwrap.wrap(rest, _WIDTH - 4))
    yield '    """'


def _field(field: Mapping[str, Any], classes: dict[str, list[str]]) -> Iterator[str]:
    name, annotation = str(field["name"]), _annotation(field["type"], classes, name=str(field["name"]))
    attribute = f"{name}_" if keyword.iskeyword(name) else name
    options = []
    if "default" in field:
        default = field["default"]
        if default == {}:
            options.append("default_factory=dict")
        elif default == []:
            options.append("default_factory=list")
        else:
            options.append(f"default={default!r}")
    if attribute != name:
        options.append(f'name="{name}"')
    if attribute != name or "_factory" in "".join(options):
        yield f"    {attribute}: {annotation} = msgspec.field({', '.join(options)})"
    elif options:
        yield f"    {attribute}: {annotation} = {field['default']!r}"
    else:
        yield f"    {attribute}: {annotation}"


def _annotation(schema: Any, classes: dict[str, list[str]], *, name: str | None = None) -> str:
    """How a type is written in Python; its records are written too. name: of the field."""
    if isinstance(schema, list):
        # None goes last, as people write it
        parts = [_annotation(each, classes) for each in schema]
        return " | ".join(dict.fromkeys([*(each for each in parts if each != "None"), *(["None"] * ("None" in parts))]))
    if isinstance(schema, str):
        return _PLAIN.get(schema, schema.rpartition(".")[2])
    match schema["type"]:
        case "record":
            _record(schema, classes)
            return str(schema["name"])
        case "array":
            return f"list[{_annotation(schema['items'], classes)}]"
        case "map":
            values = "Json" if name == "extensions" else _annotation(schema["values"], classes)
            return f"dict[str, {values}]"
        case "enum":
            return "str"
        case "long" if schema.get("logicalType") == "timestamp-millis":
            return "datetime"
        case "string" if schema.get("json") in _TEXTS:
            return _TEXTS[schema["json"]]
    return _annotation(schema["type"], classes, name=name)


def main() -> None:
    """Write the modules, or print those of another folder of schemas."""
    if sys.argv[1:]:
        for name, text in modules(Catalog.load(Path(sys.argv[1]))).items():
            sys.stdout.write(f"# {name}.py\n{text}")
        return
    for name, text in modules(Catalog.load()).items():
        (FOLDER / f"{name}.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
