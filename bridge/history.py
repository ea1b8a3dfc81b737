"""The released versions of every schema, and what a change would break: ``python -m bridge.history check|release``.

``schemas/history/<kind>/<type>/<n>.avsc`` holds version `n` of a schema as it was released, ``bridge`` attribute included. A
file there never changes. `check` compares what stands in ``schemas/`` with all of them:

* by Avro's rules, in both directions: consumers may read with any version what was written with any other
  (FULL_TRANSITIVE, design 6.3);
* by what else consumers rely on and Avro does not see: a type does not vanish, nor does a field that a consumer may ask
  for, and key, entity, identity and kind stay, since they decide where a record goes and what counts as the same.

`release` adds a version where a schema differs from its last one, and refuses what `check` refuses.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.avsc import read, registered
from bridge.errors import ConfigError
from bridge.evolution import changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The folder of ``schemas/`` that holds the released versions.
HISTORY: Final = "history"
#: Of the ``bridge`` attribute: what decides where a record goes, and what is the same or unchanged.
LASTING: Final = ("type", "key", "entity", "identity", "content", "kind", "family", "publish")


@dataclass(frozen=True, slots=True)
class Breach:
    """A change that must not be. name: ``kind/type``. version: the released one that it breaks with. path: of the field."""

    name: str
    version: int
    path: str
    rule: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.path or 'the record'}: {self.rule} (version {self.version})"


def present(root: Path) -> dict[str, dict[str, Any]]:
    """``kind/type`` → schema, as it stands in the folder now. Raises ConfigError for a file that can't be read."""
    return {f"{path.parent.name}/{path.stem}": read(path) for path in sorted(root.glob("*/*.avsc"))}


def released(root: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """``kind/type`` → version → schema, all that was ever released; versions count from 1. Raises ConfigError."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((root / HISTORY).glob("*/*/*.avsc")):
        if not path.stem.isdecimal():
            raise ConfigError("a released version is called by its number", where=str(path))
        found.setdefault(f"{path.parts[-3]}/{path.parts[-2]}", {})[int(path.stem)] = read(path)
    for name, versions in found.items():
        if sorted(versions) != list(range(1, len(versions) + 1)):
            raise ConfigError("versions must count from 1 without holes", where=str(root / HISTORY / name))
    return found


def check(root: Path) -> list[Breach]:
    """What the schemas in a folder break of what was released. Raises ConfigError."""
    now, before = present(root), released(root)
    return [breach for name, versions in before.items() for breach in _compare(name, now.get(name), versions)]


def unreleased(root: Path) -> list[str]:
    """``kind/type`` of the schemas that differ from their last released version, or have none."""
    before = released(root)
    return [name for name, schema in present(root).items() if _last(before.get(name, {})) != schema]


def release(root: Path) -> list[Path]:
    """Keep every schema that differs from its last version as the next one; returns the new files.

    Raises ConfigError that names the first breach.
    """
    for breach in check(root):
        raise ConfigError(str(breach), mend="see docs/schemas.md: add a field or a type instead")
    before, made = released(root), []
    for name in unreleased(root):
        kind, _, frame_type = name.partition("/")
        source = root / kind / f"{frame_type}.avsc"
        path = root / HISTORY / kind / frame_type / f"{len(before.get(name, {})) + 1}.avsc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
        made.append(path)
    return made


def _last(versions: Mapping[int, dict[str, Any]]) -> dict[str, Any] | None:
    return versions[max(versions)] if versions else None


def _compare(name: str, schema: dict[str, Any] | None, versions: Mapping[int, dict[str, Any]]) -> Iterator[Breach]:
    newest = max(versions)
    if schema is None:
        yield Breach(name, newest, "", "was released and is gone: consumers may hold its topic")
        return
    for version, old in versions.items():
        for change in changes(registered(old), registered(schema)):
            if change.breaks is not None:
                yield Breach(name, version, change.path, f"{change.text}: {change.breaks}")
            elif change.text.startswith("removed") and version == newest:
                yield Breach(name, version, change.path, "removed: it would turn up in extensions, where nobody looks")
        yield from _lasting(name, version, old.get("bridge", {}), schema.get("bridge", {}))


def _lasting(name: str, version: int, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Breach]:
    for attribute in LASTING:
        if old.get(attribute) != new.get(attribute):
            values = f"{json.dumps(old.get(attribute))} became {json.dumps(new.get(attribute))}"
            yield Breach(name, version, f"bridge.{attribute}", f"{values}: records would go elsewhere, or twice")


@click.group(help="The released versions of the schemas in a folder (default: schemas).")
def main() -> None:
    """See the module."""


_ROOT: Final = click.argument(
    "root", type=click.Path(file_okay=False, path_type=Path), default=Path("schemas"), required=False
)


@main.command("check", help="Exit 1 where a schema breaks with a released version; names type, field and rule.")
@_ROOT
def _check(*, root: Path) -> None:
    breaches = check(root)
    for breach in breaches:
        click.echo(str(breach), err=True)
    if breaches:
        sys.exit(1)
    versions = sum(map(len, released(root).values()))
    click.echo(f"schemas: compatible with all {versions} released versions, {len(unreleased(root))} not released yet")


@main.command("release", help="Keep what differs from the last released version as a new one.")
@_ROOT
def _release(*, root: Path) -> None:
    for path in release(root):
        click.echo(str(path))


if __name__ == "__main__":
    main()
