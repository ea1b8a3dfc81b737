"""Commands about the Avro schemas: ``schemas list|show|check|register|diff``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.commands.command import (
    Group,
    config_option,
    json_option,
    load,
    load_catalog,
    maybe_config_option,
    show_findings,
)
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.registry import Registry
    from bridge.topics import TopicPlan


@click.group(cls=Group)
def schemas() -> None:
    """List, show, check and register the Avro schemas."""


@schemas.command("list", examples=["feedbridge schemas list", "feedbridge schemas list -c feedbridge.yaml --json"])
@maybe_config_option
@json_option
def schemas_list(*, path: Path | None, as_json: bool) -> None:
    """List the frame types and their schemas.

    With a configuration also their topics and subjects. The fingerprint is what a record carries where there is no
    schema registry.
    """
    from bridge import terminal, topics

    rows: list[list[str | None]]
    if path is None:
        heads = ["kind", "type", "record", "fingerprint"]
        rows = [
            [kind.name, each.type, each.name, _fingerprint(each.schema)]
            for kind in load_catalog().kinds.values()
            for each in (*kind.types.values(), kind.unknown)
            if each.publish
        ]
    else:
        heads = ["gateway", "type", "topic", "subject", "record", "fingerprint"]
        rows = [
            [each.gateway, each.type, each.topic, each.subject, _name(each.schema), _fingerprint(each.schema)]
            for each in topics.subjects(topics.plan(load(path), load_catalog()))
        ]
    if as_json:
        terminal.document([dict(zip(heads, row, strict=True)) for row in rows])
    else:
        terminal.table(heads, rows)


@schemas.command(
    "show",
    short_help="Show a schema, with an example record, its topic, key and identity.",
    examples=[
        "feedbridge schemas show match.updated",
        "feedbridge schemas show ticktock/unknown --json",
        "feedbridge schemas show gap --avsc",
    ],
)
@click.argument("what", metavar="TYPE")
@click.option("--avsc", is_flag=True, help="Print the schema alone, as it is registered.")
@json_option
def schemas_show(*, what: str, avsc: bool, as_json: bool) -> None:
    """Show what consumers get of a frame type: topic, key, identity, an example record, the schema.

    TYPE is a frame type (with its kind before it where several kinds have it), one of the bridge's own records, or the
    fingerprint of a schema. The example is a frame of the simulated gateway, and the record that the bridge makes of it.
    """
    from bridge import portrait, terminal

    catalog = load_catalog()
    name, schema = _find(catalog, what)
    if avsc:
        terminal.document(schema)
        return
    found = portrait.of(catalog, name)
    if as_json:
        terminal.document(found | {"schema": schema})
        return
    for line in portrait.lines(found):
        terminal.line(line)
    terminal.line("")
    terminal.document(schema)


def _find(catalog: Catalog, what: str) -> tuple[str, Mapping[str, Any]]:
    """(``kind/type``, schema) of what was asked for. Raises UsageError where that is nothing, or several things."""
    from bridge.catalog import OWN

    every: dict[str, Mapping[str, Any]] = {
        f"{kind.name}/{each.type}": each.schema
        for kind in catalog.kinds.values()
        for each in (*kind.types.values(), kind.unknown)
    }
    every |= {f"{OWN}/{name}": schema for name, schema in catalog.records.items()}
    found = [name for name in every if what in {name, name.partition("/")[2]}]
    found = found or [name for name, schema in every.items() if what.lower() == _fingerprint(schema)]
    if not found:
        raise click.UsageError(f"there is no schema of {what!r}, `feedbridge schemas list` lists them")
    if len(found) > 1:
        raise click.UsageError(f"several kinds have a type {what!r}, name one of {', '.join(found)}")
    return found[0], every[found[0]]


@schemas.command(
    "asyncapi",
    short_help="Print the topics as an AsyncAPI document.",
    examples=["feedbridge schemas asyncapi -c feedbridge.yaml > asyncapi.json"],
)
@config_option
def schemas_asyncapi(*, path: Path) -> None:
    """Print the topics with keys, headers and schemas as an AsyncAPI 3 document (JSON).

    For catalogues and code generators. It holds no secret and asks nobody.
    """
    from bridge import asyncapi, terminal

    terminal.document(asyncapi.document(load(path), load_catalog()))


@schemas.command("check", examples=["feedbridge schemas check -c feedbridge.yaml"])
@config_option
@json_option
def schemas_check(*, path: Path, as_json: bool) -> None:
    """Check that registering the schemas would break no consumer.

    Names the frame type and the field that would; the exit code is then 1. Nothing is registered.
    """
    settings = load(path)
    findings = _registry(settings).check(_plan(settings))
    show_findings([(each.name, each.ok, each.text) for each in findings], as_json=as_json)


@schemas.command("register", examples=["feedbridge schemas register -c feedbridge.yaml"])
@config_option
@json_option
def schemas_register(*, path: Path, as_json: bool) -> None:
    """Register the schemas that are not registered yet.

    All are checked before the first is registered. May be repeated.
    """
    from bridge import terminal

    settings = load(path)
    done = _registry(settings).register(_plan(settings))
    if as_json:
        terminal.document(
            [
                {"subject": each.subject, "type": each.type, "id": each.id, "done": each.what, "note": each.note}
                for each in done
            ]
        )
    else:
        terminal.table(["subject", "id", "", ""], [[each.subject, each.id, each.what, each.note] for each in done])


@schemas.command(
    "diff",
    short_help="Show how the schemas differ from the registered ones.",
    examples=["feedbridge schemas diff -c feedbridge.yaml"],
)
@config_option
@json_option
def schemas_diff(*, path: Path, as_json: bool) -> None:
    """Show, field by field, how the schemas differ from the registered ones."""
    from bridge import terminal

    settings = load(path)
    differences = _registry(settings).diff(_plan(settings))
    if as_json:
        terminal.document(
            [
                {
                    "subject": each.subject,
                    "gateway": each.gateway,
                    "type": each.type,
                    "version": each.version,
                    "changes": [{"path": one.path, "text": one.text, "breaks": one.breaks} for one in each.changes],
                }
                for each in differences
            ]
        )
        return
    for each in differences:
        if each.version is None:
            terminal.line(f"{each.subject}: not registered")
        for change in each.changes:
            terminal.line(f"{each.subject} (version {each.version}): {change}")
    if all(each.version is not None and not each.changes for each in differences):
        terminal.line("no difference")


def _plan(settings: Config) -> list[TopicPlan]:
    from bridge import topics

    return topics.plan(settings, load_catalog())


def _registry(settings: Config) -> Registry:
    from bridge.registry import Registry

    if settings.registry is None:
        raise ConfigError("the configuration names none", where="registry", mend="add registry: {url: …}")
    return Registry(settings.registry)


def _fingerprint(schema: Mapping[str, Any]) -> str:
    from bridge.codec import fingerprint

    return fingerprint(schema).hex()


def _name(schema: Mapping[str, Any]) -> str:
    return f"{schema['namespace']}.{schema['name']}"
