"""Proposed schemas as files: made from those of a kind, held against every rule and every released version, then written.

Nothing is written that the catalog would not read, or that breaks with a version that was released.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import history, proposal
from bridge.avsc import UNKNOWN, read, registered
from bridge.catalog import HISTORY, Catalog
from bridge.errors import BadData, ConfigError
from bridge.evolution import changes
from bridge.proposal import META, Left

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.avsc import Schema
    from bridge.profile import TypeProfile


@dataclass(frozen=True, slots=True)
class Draft:
    """One proposed file. name: ``kind/type``. text: of the file. news: what is new in it, a line each. new: a new type."""

    name: str
    text: str
    news: tuple[str, ...]
    new: bool = False


def draft(
    folder: Path, profiles: Sequence[TypeProfile], wanted: str, *, history_of: Path | None = None
) -> tuple[list[Draft], list[Left]]:
    """The files that a proposal for one frame type changes, and the members that can't be promoted.

    folder: the schemas of the kind. profiles: of this kind. wanted: a frame type, or ``meta`` for what is beside the payload,
    which changes every file of the folder. history_of: the folder with the released versions; None: beside `folder`.

    Raises BadData where a type can't have a schema, ConfigError where the result breaks a rule: neither leaves anything behind.
    """
    files = {path.stem: (path.read_text(encoding="utf-8"), read(path)) for path in sorted(folder.glob("*.avsc"))}
    left: list[Left] = []
    drafts: list[Draft] = []
    mine = [each for each in profiles if wanted == META.lower() or each.type == wanted]
    if wanted in files or wanted == META.lower():
        drafts, left = _promoted(folder.name, files, mine, wanted)
    elif mine:
        fresh = max((each for each in mine if not each.known), key=lambda each: each.records, default=None)
        if fresh is not None:
            try:
                schema, left = proposal.new_type(fresh, files[UNKNOWN][1])
            except ValueError as error:
                raise BadData(f"no schema can be proposed for {wanted!r}: {error}", where=folder.name) from error
            news = tuple(f"data.{each['name']}: new" for each in schema["fields"][1]["type"]["fields"][:-1])
            drafts = [Draft(f"{folder.name}/{wanted}", proposal.text(schema), news, new=True)]
    if drafts:
        _check(folder, drafts, history_of or folder.parent / HISTORY)
    return drafts, left


def write(drafts: Sequence[Draft], root: Path, origin: Path) -> list[Path]:
    """Write the files into a folder of schemas. origin: the folder ``schemas`` that they were made from.

    A file that is there already is replaced only if it is as the one the draft was made from, or the draft itself. Raises
    ConfigError for another one, before anything is written.
    """
    paths = {root / f"{each.name}.avsc": each for each in drafts}
    for path, each in paths.items():
        before = origin / f"{each.name}.avsc"
        if path.exists() and path.read_text(encoding="utf-8") != each.text:
            same = before.exists() and json.loads(before.read_text(encoding="utf-8")) == read(path)
            if not same:
                raise ConfigError("is there already, and another", where=str(path), mend="give another folder")
    for path, each in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(each.text, encoding="utf-8")
    return list(paths)


def _promoted(
    kind: str, files: dict[str, tuple[str, Schema]], mine: Sequence[TypeProfile], wanted: str
) -> tuple[list[Draft], list[Left]]:
    """The files with the unknown members of a type's records, each in every file that has such a record."""
    if wanted == META.lower():
        names = {META}
    else:
        names = {record["name"] for record in proposal.records(files[wanted][1])} - {META}
    found = proposal.found(mine, names)
    drafts, left = [], dict[str, Left]()
    for name, (text, schema) in files.items():
        grown, out = proposal.promote(schema, found)
        left |= {each.path: each for each in out}
        if grown != schema:
            news = tuple(map(str, changes(registered(schema), registered(grown))))
            drafts.append(Draft(f"{kind}/{name}", proposal.text(grown, text), news))
    return drafts, sorted(left.values(), key=lambda each: each.path)


def _check(folder: Path, drafts: Sequence[Draft], released: Path) -> None:
    """Hold the folder as it would be against the rules of the catalog and the released versions. Raises ConfigError."""
    with tempfile.TemporaryDirectory(prefix="feedbridge-") as made:
        root = Path(made)
        shutil.copytree(folder, root / folder.name)
        if (released / folder.name).is_dir():
            shutil.copytree(released / folder.name, root / HISTORY / folder.name)
        for each in drafts:
            (root / f"{each.name}.avsc").write_text(each.text, encoding="utf-8")
        Catalog.load(root)
        for breach in history.check(root):
            raise ConfigError(str(breach), mend="this is a bug of the proposal, please report it")
