"""A schema stays compatible with every released version of it, and what would break one is named."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner
from fastavro.utils import generate_many

from bridge import history
from bridge.avsc import registered
from bridge.catalog import Catalog
from bridge.errors import ConfigError
from bridge.evolution import unreadable

SCHEMAS = Path(__file__).parents[2] / "schemas"
MATCH = "ticktock/match.updated"


def fields(schema: dict[str, Any], record: str) -> list[dict[str, Any]]:
    """The fields of `meta` or `data`."""
    found: list[dict[str, Any]] = next(each for each in schema["fields"] if each["name"] == record)["type"]["fields"]
    return found


def field(schema: dict[str, Any], record: str, name: str) -> dict[str, Any]:
    """One of them."""
    return next(each for each in fields(schema, record) if each["name"] == name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the schemas, all released."""
    shutil.copytree(SCHEMAS, tmp_path / "schemas")
    history.release(tmp_path / "schemas")
    return tmp_path / "schemas"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], name: str = MATCH) -> None:
    """Change a schema file."""
    path = folder / f"{name}.avsc"
    schema = json.loads(path.read_text())
    change(schema)
    path.write_text(json.dumps(schema))


def test_what_is_here_breaks_with_nothing_released() -> None:
    """As `make check` asks."""
    assert history.check(SCHEMAS) == []


def test_every_type_was_released() -> None:
    """A type that was never released has no protection."""
    released = history.released(SCHEMAS)
    assert sorted(history.present(SCHEMAS)) == sorted(released)
    catalog = Catalog.load(SCHEMAS)
    assert set(released) == {
        *(f"{kind.name}/{name}" for kind in catalog.kinds.values() for name in (*kind.types, "unknown")),
        *(f"bridge/{name}" for name in catalog.records),
    }


@pytest.mark.parametrize("name", sorted(history.released(SCHEMAS)))
def test_real_records_of_any_version_are_read_by_any_other(name: str) -> None:
    """FULL_TRANSITIVE by Avro's own rules: what one version wrote, each reads, and what all know is equal."""
    versions = [*history.released(SCHEMAS)[name].values(), history.present(SCHEMAS)[name]]
    parsed = [fastavro.parse_schema(copy.deepcopy(registered(each))) for each in versions]
    for writer, reader in product(parsed, repeat=2):
        for record in generate_many(writer, 20):
            out = io.BytesIO()
            fastavro.schemaless_writer(out, writer, record)
            out.seek(0)
            found = fastavro.schemaless_reader(out, writer, reader)
            out.seek(0)
            plain = fastavro.schemaless_reader(out, writer, None)
            assert isinstance(found, dict)
            assert isinstance(plain, dict)
            shared = found.keys() & plain.keys()
            assert shared
            if writer is reader:
                assert found == plain


def test_a_good_change_becomes_a_new_version(folder: Path) -> None:
    """A nullable field with a default may come; released once, it is no longer news."""
    added = {"name": "venue", "type": ["null", "string"], "default": None, "doc": "Where it is played. [inferred]"}
    rewrite(folder, lambda schema: fields(schema, "data").insert(-1, added))
    assert history.unreleased(folder) == [MATCH]
    assert history.check(folder) == []
    assert history.release(folder) == [folder / "history" / "ticktock" / "match.updated" / "2.avsc"]
    assert history.unreleased(folder) == []
    assert history.release(folder) == []


def breaking() -> Iterator[tuple[str, Callable[[dict[str, Any]], None], str]]:
    """(name, change, path it must name)."""

    def put(record: str, which: str, **new: Any) -> Callable[[dict[str, Any]], None]:
        return lambda schema: field(schema, record, which).update(new)

    yield "type of a field", put("data", "status", type=["null", "long"]), "data.status"
    yield "a branch more", put("data", "status", type=["null", "string", "long"]), "data.status"
    yield "no longer nullable", put("meta", "seq", type="long"), "meta.seq"
    yield "a name", put("data", "status", name="state"), "data.status"
    yield "removed", lambda schema: fields(schema, "data").remove(field(schema, "data", "status")), "data.status"
    yield (
        "added without a default",
        lambda schema: fields(schema, "data").insert(0, {"name": "x", "type": "string"}),
        "data.x",
    )
    yield "key", lambda schema: schema["bridge"].update(key=[]), "bridge.key"
    yield "identity", lambda schema: schema["bridge"].update(identity=[]), "bridge.identity"
    yield "state no more", lambda schema: schema["bridge"].update(kind="event"), "bridge.kind"


@pytest.mark.parametrize(("change", "path"), [pytest.param(*each[1:], id=each[0]) for each in breaking()])
def test_a_breach_names_type_field_and_rule(folder: Path, change: Callable[[dict[str, Any]], None], path: str) -> None:
    """The same for `check`, which exits 1, and for `release`, which releases nothing."""
    rewrite(folder, change)
    breaches = history.check(folder)
    assert {each.name for each in breaches} == {MATCH}
    assert path in {each.path for each in breaches}
    result = CliRunner().invoke(history.main, ["check", str(folder)])
    assert result.exit_code == 1
    assert MATCH in result.output
    assert path in result.output
    with pytest.raises(ConfigError, match=MATCH):
        history.release(folder)
    assert not (folder / "history" / "ticktock" / "match.updated" / "2.avsc").exists()


def test_a_type_that_is_gone_is_a_breach(folder: Path) -> None:
    """Its topic is still there, and so are its consumers."""
    (folder / f"{MATCH}.avsc").unlink()
    assert [str(each) for each in history.check(folder)] == [
        f"{MATCH}: the record: was released and is gone: consumers may hold its topic (version 1)"
    ]


def test_every_version_counts_not_only_the_last(folder: Path) -> None:
    """A field that went and comes again with another type breaks with the version that had it."""
    old = {"name": "venue", "type": ["null", "string"], "default": None, "doc": "[inferred]"}
    rewrite(folder, lambda schema: fields(schema, "data").insert(-1, old))
    history.release(folder)
    third = folder / "history" / "ticktock" / "match.updated" / "3.avsc"
    shutil.copy(folder / "history" / "ticktock" / "match.updated" / "1.avsc", third)
    rewrite(folder, lambda schema: field(schema, "data", "venue").update(type=["null", "long"]))
    assert {(each.version, each.path) for each in history.check(folder)} == {(2, "data.venue")}


def test_versions_without_a_hole(folder: Path) -> None:
    """A lost version could be broken unseen."""
    kept = folder / "history" / "ticktock" / "match.updated"
    (kept / "1.avsc").rename(kept / "2.avsc")
    with pytest.raises(ConfigError, match="without holes"):
        history.released(folder)
    (kept / "2.avsc").rename(kept / "first.avsc")
    with pytest.raises(ConfigError, match="by its number"):
        history.released(folder)


def test_the_rules_are_those_of_avro(folder: Path) -> None:
    """What `check` calls unreadable, fastavro can't read; the change of a field's type as an example."""
    rewrite(folder, lambda schema: field(schema, "data", "status").update(type=["null", "long"]))
    old = registered(history.released(folder)[MATCH][1])
    new = registered(history.present(folder)[MATCH])
    assert unreadable(new, old)
    record = next(generate_many(fastavro.parse_schema(copy.deepcopy(old)), 1))
    assert isinstance(record, dict)
    record["data"]["status"] = "live"
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(old)), record)
    out.seek(0)
    with pytest.raises(fastavro.read.SchemaResolutionError):
        fastavro.schemaless_reader(
            out, fastavro.parse_schema(copy.deepcopy(old)), fastavro.parse_schema(copy.deepcopy(new))
        )
