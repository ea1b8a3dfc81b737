"""A proposed schema takes what was seen, is compatible with what was released, and says what is left to its author."""

from __future__ import annotations

import copy
import difflib
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bridge import draft, history, proposal
from bridge.avsc import SchemaFile
from bridge.catalog import Catalog
from bridge.codec import Codec, MetaCodec
from bridge.errors import BadData, ConfigError
from bridge.evolution import changes
from bridge.values import Budget, Values, parse
from tests.profiling import profiled

SCHEMAS = Path(__file__).parents[2] / "schemas"
FOLDER = SCHEMAS / "ticktock"
KIND = Catalog.load(SCHEMAS).kind("ticktock")
ANY = {"type": "string", "json": "any"}
NUMBER = {"type": "string", "json": "number"}


def frame(kind: str = "match.updated", *, meta: Any = None, **data: Any) -> bytes:
    """One frame; numbers in `data` as JSON writes them."""
    return json.dumps({"type": kind, "data": data, "meta": {"seq": 1, **(meta or {})}}).encode()


def proposed(*frames: bytes, wanted: str = "match.updated") -> tuple[dict[str, draft.Draft], dict[str, str]]:
    """(name → draft, path → why not)."""
    found, left = draft.draft(FOLDER, list(profiled(KIND, frames).types.values()), wanted)
    return {each.name: each for each in found}, {each.path: each.why for each in left}


def field(schema: dict[str, Any], part: str, name: str) -> dict[str, Any]:
    """A field of meta or data."""
    record = next(each for each in schema["fields"] if each["name"] == part)["type"]
    found: dict[str, Any] = next(each for each in record["fields"] if each["name"] == name)
    return found


def installed(tmp_path: Path, drafts: dict[str, draft.Draft]) -> Catalog:
    """The catalog with the proposed files in their places."""
    shutil.copytree(SCHEMAS, tmp_path / "schemas")
    draft.write(list(drafts.values()), tmp_path / "schemas", SCHEMAS)
    assert history.check(tmp_path / "schemas") == []
    return Catalog.load(tmp_path / "schemas")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (['"a"', "null"], "string"),
        (["1", "-9223372036854775808", "9223372036854775807"], "long"),
        (["1", "9223372036854775808"], NUMBER),
        (["1", "9" * 1000], NUMBER),
        (["1", "1.10"], NUMBER),
        (["true"], "boolean"),
        (["true", "1", '"a"'], ["string", "long", "boolean"]),
        (['"a"', "1.5"], ANY),
        (["null"], None),
        (["[]"], {"type": "array", "items": ANY}),
        (['["a"]', "[]"], {"type": "array", "items": "string"}),
        (["[1, null]"], {"type": "array", "items": ["null", "long"]}),
        (["[[1]]"], {"type": "array", "items": {"type": "array", "items": "long"}}),
        (["{}"], ANY),
        (['{"not a name": 1}'], ANY),
        ([json.dumps({f"id-{n}": n for n in range(100)})], {"type": "map", "values": "long"}),
        ([json.dumps({f"id-{n}": [n] for n in range(100)})], ANY),
    ],
)
def test_the_narrowest_type_that_fits(texts: list[str], expected: Any) -> None:
    """Of the language that the schemas are written in."""
    values = Values()
    for text in texts:
        values.take(parse(text), Budget(1000))
    assert proposal.narrowest([values], "X", set()) == expected


def test_an_object_becomes_a_record() -> None:
    """Its members are nullable, what it may have else goes to extensions, and its name is its own."""
    values, taken = Values(), {"Venue"}
    values.take(parse('{"city": "Köln", "geo": {"lat": 50.9}, "a b": 1, "nothing": null}'), Budget(100))
    made = proposal.narrowest([values], "Venue", taken)
    assert (made["type"], made["name"]) == ("record", "Venue2")
    types = {each["name"]: each["type"] for each in made["fields"]}
    assert types["city"] == ["null", "string"]
    assert types["geo"][1]["name"] == "Venue2Geo"
    assert list(types) == ["city", "geo", "extensions"]
    assert taken == {"Venue", "Venue2", "Venue2Geo"}


def test_a_promoted_member_lands_in_its_field(tmp_path: Path) -> None:
    """The file passes every rule, the diff is the new fields alone, and the same frame is decoded into them."""
    raw = frame(id="m1", venue={"city": "Köln"}, fee=1, tags=["a"], odd=True)
    drafts, left = proposed(raw, frame(id="m2", fee=2))
    assert list(drafts) == ["ticktock/match.updated"]
    assert not left
    [made] = drafts.values()
    before = (FOLDER / "match.updated.avsc").read_text().splitlines()
    assert not [line for line in difflib.ndiff(before, made.text.splitlines()) if line.startswith("- ")]
    assert set(made.news) >= {"data.fee: added, null or long", "data.odd: added, null or boolean"}
    old, new = json.loads((FOLDER / "match.updated.avsc").read_text()), json.loads(made.text)
    assert not [each for each in changes(old, new) if each.breaks]
    doc = field(new, "data", "venue")["doc"]
    assert doc == "TODO: say what it means. In 1 of 2 records, 1970-01-01. [example only]"

    kind = installed(tmp_path, drafts).kind("ticktock")
    envelope = MetaCodec(kind).decode(raw)
    codec = Codec(kind.types["match.updated"])
    record = codec.to_python(envelope.meta, codec.decode_data(envelope.data))
    assert record["data"]["extensions"] == {}
    assert record["data"]["fee"] in {1, ("long", 1)}
    body = codec.encode(envelope.meta, codec.decode_data(envelope.data))
    for reader in (new, old):
        schema = {name: value for name, value in reader.items() if name != "bridge"}
        read: Any = fastavro.schemaless_reader(
            io.BytesIO(body),
            fastavro.parse_schema(copy.deepcopy(kind.types["match.updated"].schema)),
            fastavro.parse_schema(copy.deepcopy(schema)),
        )
        assert read["data"]["id"] == "m1"
        assert read["data"].get("venue", {}).get("city", "Köln") == "Köln"


def test_members_of_the_envelope_are_promoted_in_every_file(tmp_path: Path) -> None:
    """`Meta` is one record: where one file has a field more, all have."""
    drafts, left = proposed(frame(id="m1", meta={"shard": 7}), wanted="meta")
    assert set(drafts) == {f"ticktock/{path.stem}" for path in FOLDER.glob("*.avsc")}
    assert not left
    kind = installed(tmp_path, drafts).kind("ticktock")
    assert [each["name"] for each in kind.meta["fields"]] == ["ts", "seq", "shard", "extensions"]
    assert proposed(frame(id="m1", meta={"shard": 7})) == ({}, {})


def test_what_can_not_be_a_field_is_named() -> None:
    """Nothing but null, or no name of a field; neither keeps the others out."""
    odd: dict[str, Any] = {"void": None, "good": "x", "a-b": 1, "extensions": 2}
    drafts, left = proposed(frame(id="m1", **odd))
    assert [each.news for each in drafts.values()] == [("data.good: added, null or string",)]
    assert set(left) == {f"MatchUpdatedData.{name}" for name in ("void", "a-b", "extensions")}


def test_a_type_without_a_schema_becomes_a_file(tmp_path: Path) -> None:
    """Keyed and told apart as the folder's unknown types are; the next such frame is a record of its own."""
    raws = [frame("map.veto", id=f"v{n}", match_id="m1", map="de_nuke", votes={"a": n}) for n in range(3)]
    drafts, left = proposed(*raws, wanted="map.veto")
    assert not left
    [made] = drafts.values()
    assert made.new
    kind = installed(tmp_path, drafts).kind("ticktock")
    veto = kind.types["map.veto"]
    assert (veto.name, veto.key, veto.kind) == ("feedbridge.ticktock.MapVeto", (("data", "match_id"),), "event")
    assert veto.entity[0] == ("data", "id")
    codec, envelope = Codec(veto), MetaCodec(kind).decode(raws[2])
    record = codec.to_python(envelope.meta, codec.decode_data(envelope.data))
    assert record["data"]["votes"]["a"] in {2, ("long", 2)}
    assert record["data"]["extensions"] == {}
    assert codec.key(envelope.meta, codec.decode_data(envelope.data)) == "m1"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [("a b", {"id": "x"}, "its name"), ("veto", {}, "no frame"), ("veto", {"on": True}, "its entity")],
)
def test_a_type_that_can_have_no_file_is_refused(name: str, data: dict[str, Any], why: str) -> None:
    """With the reason, in one line."""
    with pytest.raises(BadData, match=why):
        proposed(frame(name, **data), wanted=name)


def test_nothing_new_is_no_proposal() -> None:
    """Neither for a type that was not seen, nor for one whose schema knows it all."""
    assert proposed(frame(id="m1")) == ({}, {})
    assert proposed(frame(id="m1"), wanted="market.updated") == ({}, {})
    assert proposed(frame(id="m1"), wanted="nonsense") == ({}, {})


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    """Only the schema it was made from is, or an earlier run's."""
    drafts, _ = proposed(frame(id="m1", fee=1))
    [path] = draft.write(list(drafts.values()), tmp_path, SCHEMAS)
    assert SchemaFile(_at(tmp_path, path)).type == "match.updated"
    draft.write(list(drafts.values()), tmp_path, SCHEMAS)
    path.write_text((FOLDER / "match.updated.avsc").read_text())
    draft.write(list(drafts.values()), tmp_path, SCHEMAS)
    path.write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match="is there already"):
        draft.write(list(drafts.values()), tmp_path, SCHEMAS)
    assert path.read_text() == '{"mine": 1}'


def _at(root: Path, path: Path) -> Path:
    assert path.is_relative_to(root)
    return path


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-_", min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one type, so that reading it is quick."""
    folder = tmp_path_factory.mktemp("small") / "ticktock"
    folder.mkdir()
    for name in ("match.updated", "unknown"):
        shutil.copy(FOLDER / f"{name}.avsc", folder)
    return folder


@settings(max_examples=25, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(st.dictionaries(st.sampled_from(["x", "y", "z"]), JSON, min_size=1), min_size=1, max_size=4))
def test_whatever_was_seen_fits_the_proposal(small: Path, payloads: list[dict[str, Any]]) -> None:
    """No frame of the span becomes a dead letter by the new schema, and each promoted member leaves extensions."""
    raws = [frame(id="m1", **payload) for payload in payloads]
    [*drafts], out = draft.draft(small, list(profiled(KIND, raws).types.values()), "match.updated")
    left = {each.path for each in out}
    with tempfile.TemporaryDirectory() as made:
        shutil.copytree(small, Path(made) / "ticktock")
        draft.write(drafts, Path(made), small.parent)
        kind = Catalog.load(Path(made)).kind("ticktock")
    codec, meta = Codec(kind.types["match.updated"]), MetaCodec(kind)
    for raw in raws:
        envelope = meta.decode(raw)
        record = codec.to_python(envelope.meta, codec.decode_data(envelope.data))
        assert {f"MatchUpdatedData.{name}" for name in record["data"]["extensions"]} <= left
