"""What the settings' models say of themselves: a JSON Schema for editors, a page for the documentation.

Both are made from the models, so they can't say anything else than what is enforced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined, core_schema, to_jsonable_python

from bridge import wording
from bridge.settings import Unit, write_duration, write_size

#: Kafka limits as `bridge.properties.LIMITS` has them: smallest, largest, why.
Limits = Mapping[str, tuple[int, int | None, str]]


def editor_schema(
    model: type[BaseModel],
    *,
    gateways: Mapping[str, type[BaseModel]],
    properties: Iterable[str],
    refused: Iterable[str],
) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file.

    model: the whole file. gateways: settings by kind. properties: librdkafka's, for completion. refused: those of them
    that can't be set. Wherever a number, a choice or text of a certain form is wanted, text with ``${…}`` will do.
    """
    whole = model.model_json_schema(schema_generator=_Generator)
    definitions = whole.pop("$defs", {})
    choices = []
    for kind, settings in sorted(gateways.items()):
        schema = settings.model_json_schema(schema_generator=_Generator)
        definitions |= schema.pop("$defs", {})
        schema["properties"]["kind"] = {"const": kind, "description": "The kind of gateway."}
        schema["required"] = sorted({*schema.get("required", ()), "kind"})
        definitions[f"gateway.{kind}"] = schema
        choices.append({"$ref": f"#/$defs/gateway.{kind}"})
    named = whole["properties"]["gateways"]
    # The one pattern that is there is that of a gateway's name.
    named["patternProperties"] = {pattern: {"oneOf": choices} for pattern in named["patternProperties"]}
    named["additionalProperties"] = False
    kafka = whole["properties"]["kafka"]
    scalar = kafka.pop("additionalProperties")
    definitions["property"] = scalar
    names = sorted(set(properties) - set(refused))
    kafka["properties"] = {name: {"$ref": "#/$defs/property"} for name in names}
    kafka["additionalProperties"] = {"$ref": "#/$defs/property"}
    kafka["propertyNames"] = {"not": {"enum": sorted(refused)}}
    kafka["required"] = ["bootstrap.servers"]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_lenient({**whole, "$defs": definitions}),
        "title": "feedbridge configuration",
    }
    schema["$defs"]["substitution"] = {
        "type": "string",
        "pattern": r"\$\{",
        "description": "${NAME}, ${NAME:-default} or ${file:PATH}",
    }
    return schema


def page(
    model: type[BaseModel], *, gateways: Mapping[str, type[BaseModel]], refused: Mapping[str, str], limits: Limits
) -> str:
    """Return the reference of a configuration file as Markdown: every key, its form, its default, what it means."""
    return "\n".join(_page(model, gateways, refused, limits)) + "\n"


class _Generator(GenerateJsonSchema):
    """Without made-up titles, and with defaults as a person would write them (`6h`)."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the base's signature
        """A title that repeats the key says nothing."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Leave the class's name out."""
        made = super().model_schema(schema)
        made.pop("title", None)
        return made

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Write the default with its unit."""
        made = super().default_schema(schema)
        write = _writer(schema["schema"])
        if write and "default" in made and schema.get("default") is not None:
            made["default"] = write(schema["default"])
        return made


def _writer(schema: CoreSchema) -> Any:
    """Return the function that writes a number of a field with its unit, if it has one."""
    inner: Any = schema
    while isinstance(inner, dict):
        serialization = inner.get("serialization")
        if serialization:
            write = serialization.get("function")
            return write if write in {write_duration, write_size} else None
        inner = inner.get("schema")
    return None


#: Keys of the whole file that have chapters of their own.
_CHAPTERS: Final = frozenset({"gateways", "kafka"})
_BOUNDS: Final = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
#: Where a schema holds further schemas: in one, in a list, by name.
_ONE: Final = ("additionalProperties", "items", "not", "propertyNames")
_LIST: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "$defs", "patternProperties")
#: What says something about a place rather than about the value there.
_NOTES: Final = ("description", "default", "title", "writeOnly")
_SUBSTITUTION: Final = {"$ref": "#/$defs/substitution"}


def _lenient(schema: Any) -> Any:
    """Return a schema that takes text with ``${…}`` wherever it wants a scalar of a certain form."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for key in _ONE:
        # The name of a property is no value: nothing is filled in there.
        if key in made and key not in {"not", "propertyNames"}:
            made[key] = _lenient(made[key])
    for key in _LIST:
        if key in made:
            made[key] = [_lenient(part) for part in made[key]]
    for key in _NAMED:
        if key in made:
            made[key] = {name: _lenient(part) for name, part in made[key].items()}
    if not _is_strict_scalar(schema):
        return made
    notes = {key: made.pop(key) for key in _NOTES if key in made}
    return {**notes, "anyOf": [made, _SUBSTITUTION]}


def _is_strict_scalar(schema: Mapping[str, Any]) -> bool:
    if "enum" in schema or schema.get("type") in {"integer", "number", "boolean"}:
        return True
    return schema.get("type") == "string" and not {"pattern", "minLength", "maxLength", "format"}.isdisjoint(schema)


def _page(
    model: type[BaseModel], gateways: Mapping[str, type[BaseModel]], refused: Mapping[str, str], limits: Limits
) -> Iterator[str]:
    yield "# Configuration"
    yield ""
    yield (
        "A file is YAML; JSON is YAML too. In every value "
        "`${NAME}` is the environment variable, `${NAME:-default}` the same with a default for where it is not set or empty, "
        "`${file:PATH}` the text of a file (from the folder of the configuration file, without the line break at its end), "
        "and `$$` is one `$`. Within `{…}` and `[…]` put `${…}` in quotes."
    )
    yield from _tables("", model)
    for kind, settings in sorted(gateways.items()):
        yield from _section(f"## Gateway of kind `{kind}`", f"gateways.NAME ({kind}).", settings, fixed={"kind": kind})
    yield from ("", "## librdkafka's properties under `kafka`", "")
    yield "Any property of librdkafka can be set by its own name, but for these, which the bridge sets or which would break a promise:"
    yield from ("", "| property | why it can't be set |", "|---|---|")
    yield from (f"| `{name}` | {why} |" for name, why in sorted(refused.items()))
    yield from ("", "Within limits:", "", "| property | limits | why |", "|---|---|---|")
    for name, (low, high, why) in sorted(limits.items()):
        yield f"| `{name}` | {f'at least {low}' if high is None else f'{low} to {high}'} | {why} |"


def _section(
    heading: str, prefix: str, model: type[BaseModel], *, fixed: Mapping[str, str] | None = None
) -> Iterator[str]:
    yield from ("", heading, "", (model.__doc__ or "").strip().splitlines()[0])
    yield from _tables(prefix, model, fixed=fixed)


def _tables(prefix: str, model: type[BaseModel], *, fixed: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the table of a model and those of what it holds. fixed: the only value of a key, by key."""
    yield from ("", "| key | form | default | meaning |", "|---|---|---|---|")
    schemas = model.model_json_schema(schema_generator=_Generator)["properties"]
    for name, info in model.model_fields.items():
        key = wording.alias(name, info)
        if fixed and key in fixed:
            form = f"`{fixed[key]}`"
        elif any(_models(info.annotation)) or key in _CHAPTERS:
            form = "see below"
        else:
            form = _form(schemas[key]) + _limits(info)
        yield f"| `{key}` | {form} | {_default(info, schemas[key])} | {info.description or ''} |"
    for name, info in model.model_fields.items():
        path = f"{prefix}{wording.alias(name, info)}"
        for inner in _models(info.annotation):
            yield from _section(f"{'###' if prefix else '##'} `{path}`", f"{path}.", inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models of settings that a field holds, alone or in a list; a mapping's are gateways."""
    for leaf in wording.alternatives(annotation):
        if wording.is_model(leaf):
            yield leaf
        else:
            for part in getattr(leaf, "__args__", ())[:1]:
                if wording.is_model(part):
                    yield part


def _form(schema: Mapping[str, Any]) -> str:
    """Say in few words what a value looks like."""
    if "$comment" in schema:
        return str(schema["$comment"])
    if "anyOf" in schema or "oneOf" in schema:
        forms = [_form(part) for part in schema.get("anyOf", schema.get("oneOf", ()))]
        return " or ".join(dict.fromkeys(forms))
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("writeOnly"):
        return "secret text"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_form(schema.get('items', {}))}"
    words = {
        "integer": "whole number",
        "boolean": "`true`, `false`",
        "string": "text",
        "object": "mapping",
        "null": "null",
    }
    return words.get(str(kind), str(kind or "any"))


def _limits(info: FieldInfo) -> str:
    """Say within which limits a number lies."""
    write: Callable[[float], str] = next(
        (mark.write for mark in info.metadata if isinstance(mark, Unit)), "{:.12g}".format
    )
    told = [
        f"{words} {write(getattr(mark, name))}"
        for mark in info.metadata
        for name, words in _BOUNDS.items()
        if isinstance(getattr(mark, name, None), int | float)
    ]
    return f", {', '.join(told)}" if told else ""


def _default(info: FieldInfo, schema: Mapping[str, Any]) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    shown = schema.get("default", to_jsonable_python(value, fallback=str))
    if shown is None:
        return "null"
    if isinstance(shown, bool):
        return f"`{str(shown).lower()}`"
    if isinstance(shown, list):
        return f"`[{', '.join(str(part) for part in shown)}]`"
    return f"`{shown}`" if shown != "" else '`""`'
