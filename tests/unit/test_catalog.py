"""The catalog: what ships is what is meant, and folders that don't fit together are refused."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pytest

import bridge.catalog
from bridge.catalog import EACH, Catalog, Continuity, FieldPath, FrameType, Kind, parsing_canonical_form, registered
from bridge.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "schemas"
CATALOG = Catalog.load(SHIPPED)
#: How certain a field of a gateway's schema is; the last word of its doc.
MARKS = ("[documented]", "[example only]", "[inferred]", "[unknown]")


class Row(NamedTuple):
    """What a type's file must say. Paths as text, one after another; alternatives and pairs separated by ` | `.

    equal: what must be equal in two frames that are the same, "content" (and identity) or "identity" alone.
    """

    key: str
    entity: str
    identity: str
    equal: str
    kind: str
    family: str
    event_time: str
    learn: str = ""


_MATCH = Row("data.id", "data.id", "meta.seq", "content", "state", "match", "meta.ts", "data.markets.[].id data.id")
_ROUND = Row("data.match_id", "data.match_id", "meta.seq", "content", "event", "round", "meta.ts")
_EVENT = Row("data.match_id", "data.match_id", "meta.seq", "content", "event", "event", "data.time meta.ts")
_OFFER = Row("data.match_id", "data.id", "meta.seq", "content", "state", "market", "meta.ts", "data.id data.match_id")
_FEED = Row(
    "data.tt_match_id",
    "data.event_id data.tt_match_id",
    "",
    "content",
    "event",
    "feed",
    "data.timestamp",
    "data.event_id data.tt_match_id",
)

_TOKEN = "data.tokenId meta.id"
_BY_TOKEN = "data.tokenId data.conditionId | meta.id data.conditionId"
_TRADE_ID = "data.tradeId data.tokenId | data.tradeId meta.id"
_TRADE_TIME = "data.tsMs data.createdAt"
_BOOK_ID = "data.tokenId meta.seq | meta.id meta.seq"
_BOOK = Row("data.conditionId", _TOKEN, _BOOK_ID, "content", "event", "", "data.tsMs", _BY_TOKEN)
_MARKET = Row(
    "data.conditionId meta.id",
    "data.conditionId meta.id",
    "data.conditionId data.tsMs | meta.id data.tsMs",
    "content",
    "state",
    "market",
    "data.tsMs data.at",
)

_ORDER = Row(
    "data.conditionId",
    "data.tokenId data.orderId data.id data.userWallet meta.id",
    "data.orderId | data.id",
    "identity",
    "event",
    "",
    "data.tsMs data.createdAt",
    "data.tokenId data.conditionId",
)
_PAUSE = Row("", "data.user meta.id", "data.txHash data.user", "identity", "event", "", "")

TABLE: dict[str, dict[str, Row]] = {
    "ticktock": {
        "match.created": _MATCH,
        "match.updated": _MATCH,
        "match.finished": _MATCH,
        "round.started": _ROUND,
        "round.finished": _ROUND,
        "event.kill": _EVENT,
        "event.bomb_planted": _EVENT,
        "event.bomb_defused": _EVENT,
        "event.bomb_exploded": _EVENT,
        "market.created": _OFFER,
        "market.updated": _OFFER,
        "market.suspended": _OFFER,
        "market.unsuspended": _OFFER,
        "bet_settlement": Row(
            "data.match_id",
            "data.market_offer_id data.match_id data.id",
            "data.id",
            "identity",
            "event",
            "bet_settlement",
            "data.created_at meta.ts",
            "data.market_offer_id data.match_id",
        ),
        "scoreboard.frame": Row(
            "data.match_id data.id",
            "data.match_id data.id",
            "meta.seq",
            "content",
            "state",
            "scoreboard",
            "meta.ts",
        ),
        "alive": Row("", "", "", "content", "event", "alive", "data.timestamp"),
        "feed.odds_change": _FEED,
        "feed.bet_settlement": _FEED,
        "feed.bet_cancel": _FEED,
        "feed.fixture_change": _FEED,
        "feed.snapshot_complete": Row(
            "", "data.request_id data.product", "", "content", "event", "feed", "data.timestamp"
        ),
        "unknown": Row(
            "data.match_id data.tt_match_id",
            "data.id data.match_id data.event_id data.tt_match_id",
            "meta.seq",
            "content",
            "event",
            "unknown",
            "meta.ts data.timestamp",
            "data.event_id data.tt_match_id",
        ),
    },
    "predictstreet-market": {
        "trade": Row("data.conditionId", _TOKEN, _TRADE_ID, "identity", "event", "trade", _TRADE_TIME, _BY_TOKEN),
        "trade_matched": Row(
            "data.conditionId", _TOKEN, _TRADE_ID, "identity", "event", "trade_matched", _TRADE_TIME, _BY_TOKEN
        ),
        "trade_settled": Row(
            "data.conditionId",
            _TOKEN,
            "data.tradeId data.tokenId data.txHash data.orderHash | data.tradeId data.tokenId data.txHash"
            " | data.tradeId data.tokenId | data.tradeId meta.id"
            " | data.txHash data.orderHash data.tokenId data.quantity",
            "identity",
            "event",
            "trade_settled",
            "data.tsMs data.settledAt data.createdAt",
            _BY_TOKEN,
        ),
        "book_snapshot": _BOOK._replace(family="book_snapshot", event_time="data.tsMs data.ts"),
        "book_update": _BOOK._replace(family="book_update"),
        "book_delta": _BOOK._replace(family="book_delta"),
        "book_snapshot_failed": _BOOK._replace(
            family="book_snapshot_failed", identity="data.tokenId data.tsMs | meta.id data.tsMs"
        ),
        "ohlc_update": _BOOK._replace(
            family="ohlc_update", identity="data.tokenId data.interval data.tsMs | meta.id data.interval data.tsMs"
        ),
        "market_paused": _MARKET,
        "market_unpaused": _MARKET,
        "market_resolved": _MARKET,
        "market_status": _MARKET,
        "platform_status": Row("", "meta.id", "data.tsMs", "content", "state", "platform_status", "data.tsMs"),
        "unknown": Row(
            "data.conditionId", f"{_TOKEN} data.conditionId", _BOOK_ID, "content", "event", "unknown", "data.tsMs"
        ),
    },
    "predictstreet-user": {
        "order_placed": _ORDER._replace(family="order_placed"),
        "order_cancelled": _ORDER._replace(family="order_cancelled", event_time="data.tsMs data.updatedAt"),
        "user_fill": Row(
            "data.conditionId",
            "data.tokenId data.walletAddress meta.id",
            "data.walletAddress data.tradeId data.orderId data.side | data.tradeId data.orderId data.side"
            " | data.tradeId data.orderId",
            "identity",
            "event",
            "user_fill",
            "data.tsMs",
            "data.tokenId data.conditionId",
        ),
        "trade_matched": Row(
            "data.conditionId",
            "data.tokenId data.orderId data.vaultAddress data.userWallet meta.id",
            "data.tradeId data.orderId data.side | data.id data.orderId data.side"
            " | data.tradeId data.userWallet data.side | data.id data.userWallet data.side",
            "identity",
            "event",
            "trade_matched",
            _TRADE_TIME,
            "data.tokenId data.conditionId",
        ),
        "trade_fill": Row(
            "",
            "data.orderHash data.txHash meta.id",
            "data.txHash data.orderHash data.side data.makerAmount data.takerAmount"
            " | data.txHash data.orderHash data.side",
            "content",
            "event",
            "trade_fill",
            "",
        ),
        "trade_failed": Row(
            "",
            "data.orderId data.txHash meta.id",
            "data.orderId data.txHash data.reason | data.orderId data.txHash",
            "content",
            "event",
            "trade_failed",
            "",
        ),
        "user_paused": _PAUSE._replace(family="user_paused"),
        "user_unpaused": _PAUSE._replace(family="user_unpaused"),
        "vault.deploy_confirmed": Row(
            "",
            "data.vaultAddress meta.id",
            "data.vaultAddress data.txHash | data.vaultAddress",
            "identity",
            "event",
            "vault",
            "",
        ),
        "vault.deposit_confirmed": Row(
            "",
            "data.vaultAddress meta.id",
            "data.txHash data.vaultAddress data.token data.ledgerAfter | data.txHash data.vaultAddress data.token",
            "content",
            "event",
            "vault",
            "",
        ),
        "vault_position_balance_changed": Row(
            "data.conditionId",
            "data.tokenId data.vaultAddress meta.id",
            "data.txHash data.vaultAddress data.tokenId data.balanceAfter"
            " | data.vaultAddress data.tokenId data.blockNumber data.balanceAfter"
            " | data.vaultAddress data.tokenId data.tsMs data.balanceAfter",
            "content",
            "event",
            "vault_position_balance_changed",
            "data.tsMs",
            "data.tokenId data.conditionId",
        ),
        "unknown": Row(
            "data.conditionId",
            "data.tokenId data.orderId data.vaultAddress meta.id data.walletAddress data.conditionId",
            "",
            "content",
            "event",
            "unknown",
            "data.tsMs",
        ),
    },
}
EVERY_TYPE = [
    pytest.param(each, id=f"{kind.name}/{each.type}")
    for kind in CATALOG.kinds.values()
    for each in (*kind.types.values(), kind.unknown)
]


def test_what_ships_is_all_types_of_the_contracts() -> None:
    """Every frame type of the contracts has a file, and no file is for another."""
    found = {name: sorted([*kind.types, "unknown"]) for name, kind in CATALOG.kinds.items() if name in TABLE}

    assert found == {name: sorted(types) for name, types in TABLE.items()}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for kind, types in TABLE.items() for name in types])
def test_what_a_type_says_is_pinned(name: str, kind: str) -> None:
    """Key, entity, identity, content, kind, family, event time and learned ids of a type change only on purpose."""
    found = _of(CATALOG.kind(kind), name)

    assert _row(found) == TABLE[kind][name]
    assert found.publish is (name != "alive")
    assert found.private is (kind == "predictstreet-user")


def test_envelopes_are_pinned() -> None:
    """TickTock keeps the envelope's facts in ``meta``, PredictStreet beside ``data``; both have the fields we rely on."""
    ticktock, market = CATALOG.kind("ticktock"), CATALOG.kind("predictstreet-market")
    user = CATALOG.kind("predictstreet-user")

    assert (ticktock.nested, market.nested, user.nested) == (True, False, False)
    assert [each["name"] for each in ticktock.meta["fields"]] == ["ts", "seq", "extensions"]
    assert [each["name"] for each in market.meta["fields"]] == [
        *("sid", "channel", "id", "serverTs", "seq", "prevSeq", "hash", "extensions")
    ]
    assert [each["name"] for each in user.meta["fields"]] == ["sid", "channel", "id", "serverTs", "seq", "extensions"]


@pytest.mark.parametrize("frame_type", EVERY_TYPE)
def test_every_schema_writes_and_reads(frame_type: FrameType, tmp_path: Path) -> None:
    """fastavro accepts each schema, and the emptiest record goes through it unchanged."""
    parsed = fastavro.parse_schema(json.loads(frame_type.schema_json))
    data: dict[str, Any] = {"type": "x", "json": "{}"} if frame_type.type == "unknown" else {}
    file = tmp_path / "record"

    with file.open("wb") as out:
        fastavro.schemaless_writer(out, parsed, {"meta": {}, "data": data})
    with file.open("rb") as written:
        record = fastavro.schemaless_reader(written, parsed, None)

    assert isinstance(record, dict)
    assert {name: value for name, value in record["meta"].items() if value is not None} == {"extensions": {}}
    assert {name: value for name, value in record["data"].items() if value not in (None, {})} == data


@pytest.mark.parametrize("frame_type", EVERY_TYPE)
def test_what_is_registered_has_no_bridge_attribute(frame_type: FrameType) -> None:
    """Consumers get the schema alone, compact and with its docs; its canonical form is that of the file."""
    file = _file(frame_type)

    assert "bridge" in file
    assert json.loads(frame_type.schema_json) == frame_type.schema == registered(file)
    assert "bridge" not in frame_type.schema
    assert frame_type.schema["doc"]
    assert ", " not in re.sub(r'"(?:[^"\\]|\\.)*"', "", frame_type.schema_json)
    assert parsing_canonical_form(file) == parsing_canonical_form(frame_type.schema)
    assert '"doc"' not in parsing_canonical_form(file)


@pytest.mark.parametrize("frame_type", EVERY_TYPE)
def test_every_field_says_how_certain_it_is(frame_type: FrameType) -> None:
    """The doc of a field from a gateway's contract ends in one mark; what the bridge fills in itself has none."""
    fields = [
        each
        for record in _records(frame_type.schema)
        if record["name"] != frame_type.schema["name"]
        for each in record["fields"]
    ]

    for field in fields:
        marks = re.findall(r"\[[a-z ]+\]", field["doc"])
        ours = field["name"] == "extensions" or (frame_type.type == "unknown" and field["name"] in {"type", "json"})
        assert len(marks) == (0 if ours else 1), field
        assert field["doc"].endswith("." if ours else MARKS), field


@pytest.mark.parametrize("frame_type", EVERY_TYPE)
def test_no_field_of_a_gateway_is_required(frame_type: FrameType) -> None:
    """The contracts guarantee no field: a frame that lacks one is a record all the same, not a dead letter."""
    for record in _records(frame_type.schema):
        if record["name"] not in {frame_type.schema["name"], "UnknownData"}:
            assert all("default" in field for field in record["fields"]), record["name"]


@pytest.mark.parametrize("frame_type", EVERY_TYPE)
def test_files_are_fit_to_read(frame_type: FrameType) -> None:
    """A file is indented, begins with what it is, and has no line that a reader must scroll for."""
    lines = _path(frame_type).read_text(encoding="utf-8").split("\n")

    assert lines[:2] == ["{", '  "type": "record",']
    assert lines[-2:] == ["}", ""]
    assert max(map(len, lines)) <= 130
    assert not any("\t" in line for line in lines)


def test_paths_are_compiled() -> None:
    """Paths are tuples of steps; a step into every element of an array is a step of its own."""
    found = CATALOG.kind("ticktock").types["match.updated"]

    assert found.key == (("data", "id"),)
    assert found.identity == ((("meta", "seq"),),)
    assert found.learn == ((("data", "markets", EACH, "id"), ("data", "id")),)


def test_a_frame_type_can_not_be_changed() -> None:
    """What the catalog gives out is frozen, so no part of the bridge can change what another sees."""
    kind = CATALOG.kind("ticktock")

    with pytest.raises(dataclasses.FrozenInstanceError):
        kind.types["match.updated"].content = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        kind.types["more"] = kind.unknown  # type: ignore[index]


def test_schemas_are_found_beside_and_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout has its schemas beside the package, a wheel inside it; without an argument they are found."""
    wheel, checkout = tmp_path / "wheel", tmp_path / "checkout"
    shutil.copytree(SHIPPED, wheel / "bridge" / "schemas")
    shutil.copytree(SHIPPED, checkout / "schemas")

    for place in (wheel, checkout):
        monkeypatch.setattr(bridge.catalog, "__file__", str(place / "bridge" / "catalog.py"))
        assert Catalog.load().kinds.keys() == CATALOG.kinds.keys()


def test_own_records_are_given_by_name() -> None:
    """The bridge's own schemas come by name; a wrong name is answered with the nearest."""
    assert CATALOG.own("gap")["name"] == "Gap"
    with pytest.raises(ConfigError, match=r"'gaps'.*did you mean 'gap'"):
        CATALOG.own("gaps")


def test_a_kind_without_schemas_is_refused() -> None:
    """A wrong kind is answered with the nearest known one."""
    with pytest.raises(ConfigError, match=r"'tiktock'.*did you mean 'ticktock'"):
        CATALOG.kind("tiktock")


def test_a_gap_has_what_its_readers_rely_on() -> None:
    """The gap record has the fields, causes and states of the design; every field has a doc."""
    gap = CATALOG.own("gap")
    fields = {each["name"]: each for each in gap["fields"]}

    assert list(fields) == [
        *("id", "gateway", "connection", "lane", "instance", "entity", "from", "to", "last_seq", "cause", "state"),
        *("recovered", "superseded", "how"),
    ]
    assert fields["from"]["type"] == {"type": "long", "logicalType": "timestamp-millis"}
    assert fields["cause"]["type"]["symbols"] == [
        *(
            "disconnect",
            "silence",
            "book_sequence",
            "journal_full",
            "crash",
            "stopped",
            "oversize",
            "expired",
            "refused",
            "requested",
        ),
        "unknown",
    ]
    assert fields["state"]["type"]["symbols"] == ["open", "filled", "partly", "lost", "unknown"]
    assert all(each["doc"] for each in gap["fields"])


def test_a_new_gateway_is_one_folder(tmp_path: Path) -> None:
    """A folder in another root is a kind like those that ship, which stay as they are."""
    _write(tmp_path, "tape", "tick", key=["data.symbol"], entity=["data.symbol"])

    catalog = Catalog.load(SHIPPED, extra=[tmp_path])

    assert set(catalog.kinds) == {*CATALOG.kinds, "tape"}
    assert catalog.kind("tape").types["tick"].name == "feedbridge.tape.Tick"
    assert catalog.kind("tape").nested is False


def test_a_new_type_is_one_file(tmp_path: Path) -> None:
    """One more file in a folder is one more type; the rest of the folder does not change."""
    _write(tmp_path, "tape", "tick")
    before = Catalog.load(tmp_path).kind("tape")

    _write(tmp_path, "tape", "tock.late")
    after = Catalog.load(tmp_path).kind("tape")

    assert set(before.types) == {"tick"}
    assert set(after.types) == {"tick", "tock.late"}
    assert after.types["tock.late"].name == "feedbridge.tape.TockLate"


def test_a_family_is_the_type_up_to_its_first_dot_unless_given(tmp_path: Path) -> None:
    """States of ``a.x`` and ``a.y`` are compared with each other, others only where the file says so."""
    _write(tmp_path, "tape", "a.x", kind="state")
    _write(tmp_path, "tape", "b_x", kind="state", family="a")
    _write(tmp_path, "tape", "c_x", kind="state")

    types = Catalog.load(tmp_path).kind("tape").types

    assert {name: each.family for name, each in types.items()} == {"a.x": "a", "b_x": "a", "c_x": "c_x"}


def test_private_is_said_once_for_a_folder(tmp_path: Path) -> None:
    """Whether a gateway's records belong to a wallet stands in unknown.avsc and holds for all of its types."""
    _write(tmp_path, "tape", "tick")
    _change(tmp_path / "tape" / "unknown.avsc", lambda schema: schema["bridge"].update(private=True))

    kind = Catalog.load(tmp_path).kind("tape")

    assert kind.unknown.private
    assert kind.types["tick"].private


def test_folders_without_schemas_are_not_kinds(tmp_path: Path) -> None:
    """A history of older versions, notes and other files beside the schemas are left alone."""
    _write(tmp_path, "tape", "tick")
    _write(tmp_path / "history", "tape", "tick")
    (tmp_path / "tape" / "README.md").write_text("notes", encoding="utf-8")
    (tmp_path / "README.md").write_text("notes", encoding="utf-8")

    assert list(Catalog.load(tmp_path).kinds) == ["tape"]


def test_a_folder_without_the_generic_type_is_refused(tmp_path: Path) -> None:
    """Without unknown.avsc a frame of a new type would have nowhere to go."""
    _write(tmp_path, "tape", "tick")
    (tmp_path / "tape" / "unknown.avsc").unlink()

    _refused(tmp_path, r"tape: unknown\.avsc is missing")


@pytest.mark.parametrize(
    ("root", "name", "message"),
    [
        ("one", "Tape", r"Tape: the name of a kind"),
        ("two", "tape", r"two/tape: this kind of gateway has schemas already"),
        ("two", "bridge", r"two/bridge: this name is taken"),
    ],
)
def test_a_folder_with_a_wrong_name_is_refused(tmp_path: Path, root: str, name: str, message: str) -> None:
    """Kinds are named as in the configuration, once, and not like the bridge's own records."""
    _write(tmp_path / "one", "tape", "tick")
    (tmp_path / "two").mkdir()
    _write(tmp_path / root, name, "tick")

    with pytest.raises(ConfigError, match=message):
        Catalog.load(tmp_path / "one", extra=[tmp_path / "two"])


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A wrong path to another project's schemas is an error, not an empty catalog."""
    with pytest.raises(ConfigError, match="nowhere: there is no such folder"):
        Catalog.load(SHIPPED, extra=[tmp_path / "nowhere"])


def test_own_records_must_be_avro(tmp_path: Path) -> None:
    """A broken schema of the bridge's own is named at start."""
    _write(tmp_path, "tape", "tick")
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "gap.avsc").write_text('{"type": "rekord", "name": "Gap"}', encoding="utf-8")

    _refused(tmp_path, r"bridge/gap\.avsc: not an Avro schema")


def test_meta_is_one_record_for_a_folder(tmp_path: Path) -> None:
    """Where the envelope's record differs between two types, both files and the field are named."""
    _write(tmp_path, "tape", "tick")
    _change(tmp_path / "tape" / "unknown.avsc", lambda schema: schema["fields"][0]["type"]["fields"][0].update(doc="?"))

    _refused(tmp_path, r"unknown\.avsc: record Meta: its field 'seq' differs .* in tick\.avsc")


def test_a_nested_record_is_one_record_for_a_folder(tmp_path: Path) -> None:
    """Two types may share a record, but not its name alone: consumers have one class for it."""
    for name, doc in (("tick", "One."), ("tock", "Other.")):
        level = {"type": "record", "name": "Level", "doc": doc, "fields": [EXTENSIONS]}
        _write(tmp_path, "tape", name, fields=[_field("level", ["null", level])])

    _refused(tmp_path, r"tock\.avsc: record Level: it differs .* in tick\.avsc")


def test_two_types_with_one_record_name_are_refused(tmp_path: Path) -> None:
    """``a.b`` and ``a_b`` would both be the record AB."""
    _write(tmp_path, "tape", "a.b")
    _write(tmp_path, "tape", "a_b")

    _refused(tmp_path, r"a_b\.avsc: record AB: .*differs .* in a\.b\.avsc")


def test_a_family_has_one_entity(tmp_path: Path) -> None:
    """States that are compared with each other must find their entity in the same place."""
    _write(tmp_path, "tape", "a.x", kind="state")
    _write(tmp_path, "tape", "a.y", kind="state", entity=["data.symbol", "data.id"])

    _refused(tmp_path, r"a\.y\.avsc: bridge\.entity: differs from that of a\.x, .*'a'")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kind": "snapshot"}, r"bridge\.kind: expected 'state' or 'event', found \"snapshot\""),
        ({"kind": None}, r"bridge\.kind: expected 'state' or 'event', found null"),
        ({"family": "a"}, r"bridge\.family: only states have a family"),
        ({"kind": "state", "family": ""}, r"bridge\.family: expected a name"),
        ({"kind": "state", "family": 1}, r"bridge\.family: expected a name"),
        ({"entity": []}, r"bridge\.entity: a published type needs an entity"),
        ({"identity": [], "content": False}, r"bridge\.content: must be true where identity is empty"),
        ({"content": "yes"}, r"bridge\.content: expected true or false"),
        ({"publish": 0}, r"bridge\.publish: expected true or false"),
        ({"continuity": []}, r"bridge\.continuity: expected an object"),
        ({"continuity": {}}, r"bridge\.continuity\.seq: expected a list of paths"),
        ({"continuity": {"seq": "meta.seq"}}, r"bridge\.continuity\.seq: expected a list of paths"),
        ({"continuity": {"seq": ["data.symbol"]}}, r"bridge\.continuity\.seq: .* leads to a value of type string"),
        ({"continuity": {"seq": ["meta.seq"], "prev": []}}, r"bridge\.continuity\.prev: .*did you mean 'previous'"),
        ({"continuity": {"seq": ["meta.seq"], "previous": [1]}}, r"bridge\.continuity\.previous: expected a list"),
        ({"continuity": {"seq": ["meta.seq"], "snapshot": 1}}, r"bridge\.continuity\.snapshot: expected true or false"),
        ({"continuity": {"seq": ["meta.seq"]}, "kind": "state"}, r"bridge\.continuity: only events"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(tmp_path: Path, attributes: dict[str, Any], message: str) -> None:
    """What a type says of itself is checked at start; the file and the attribute are named."""
    _write(tmp_path, "tape", "tick", **attributes)

    _refused(tmp_path, rf"tick\.avsc: {message}")


@pytest.mark.parametrize("envelope", [None, "deep", True])
def test_an_envelope_is_nested_or_flat(tmp_path: Path, envelope: object) -> None:
    """Where the envelope keeps its facts must be said, in one of two words."""
    _write(tmp_path, "tape", "tick")
    _change(tmp_path / "tape" / "unknown.avsc", lambda schema: schema["bridge"].update(envelope=envelope))

    _refused(tmp_path, r"unknown\.avsc: bridge\.envelope: expected 'nested' or 'flat'")


def test_a_chain_is_compiled_to_its_paths(tmp_path: Path) -> None:
    """How frames name the one before is said in the file and nowhere else; most types say nothing."""
    chain = {"seq": ["meta.seq", "data.id"], "previous": ["data.id"]}
    _write(tmp_path, "tape", "tick", continuity=chain)
    _write(tmp_path, "tape", "full", continuity={"seq": ["meta.seq"], "snapshot": True})
    _write(tmp_path, "tape", "other")
    types = Catalog.load(tmp_path).kind("tape").types

    assert types["other"].continuity is None
    assert types["tick"].continuity == Continuity(
        seq=(("meta", "seq"), ("data", "id")), previous=(("data", "id"),), snapshot=False
    )
    assert types["full"].continuity == Continuity(seq=(("meta", "seq"),), previous=(), snapshot=True)


def test_the_chains_that_ship_are_those_of_the_books() -> None:
    """PredictStreet's books and nothing else; only a snapshot holds all that there is."""
    found = {
        name: (bool(each.continuity.previous), each.continuity.snapshot)
        for kind in CATALOG.kinds.values()
        for name, each in kind.types.items()
        if each.continuity is not None
    }
    assert found == {
        "book_snapshot": (False, True),
        "book_update": (False, False),
        "book_delta": (True, False),
    }


@pytest.mark.parametrize(
    ("sent", "message"), [(5, "expected a path"), ("data.type", "expected a path"), ("meta.x", "")]
)
def test_when_a_frame_was_sent_is_said_for_a_folder(tmp_path: Path, sent: object, message: str) -> None:
    """A field of the envelope."""
    assert (CATALOG.kind("ticktock").sent, CATALOG.kind("predictstreet-market").sent) == ("ts", "serverTs")
    _write(tmp_path, "tape", "tick")
    _change(tmp_path / "tape" / "unknown.avsc", lambda schema: schema["bridge"].update(sent=sent))

    _refused(tmp_path, rf"unknown\.avsc: bridge\.sent: {message}")


# A small kind of gateway to break

EXTENSIONS = {"name": "extensions", "type": {"type": "map", "values": "string"}, "default": {}, "doc": "The rest."}


def _field(name: str, avro: Any) -> dict[str, Any]:
    return {"name": name, "type": avro, "default": None, "doc": "A field."}


def _write(root: Path, gateway: str, name: str, *, fields: list[Any] | None = None, **attributes: Any) -> None:
    """Write a type, and the generic one where the folder has none."""
    folder = root / gateway
    folder.mkdir(parents=True, exist_ok=True)
    record = "".join(word.capitalize() for word in re.split(r"[._]", name))
    meta = [_field("seq", ["null", "long"]), EXTENSIONS]
    data = [_field("symbol", ["null", "string"]), _field("id", ["null", "long"]), *(fields or []), EXTENSIONS]
    if name == "unknown":
        data = [{"name": each, "type": "string", "doc": "A field."} for each in ("type", "json")]
        attributes["envelope"] = "flat"
    bridge = {
        "type": name,
        "key": ["data.symbol"],
        "entity": ["data.symbol"],
        "identity": ["meta.seq"],
        "content": True,
        "kind": "event",
        "event_time": [],
        **attributes,
    }
    schema = {
        "type": "record",
        "name": record,
        "namespace": f"feedbridge.{gateway}",
        "doc": "A type.",
        "bridge": bridge,
        "fields": [
            {
                "name": each,
                "doc": "A part.",
                "type": {"type": "record", "name": called, "doc": "A part.", "fields": inside},
            }
            for each, called, inside in (("meta", "Meta", meta), ("data", f"{record}Data", data))
        ],
    }
    (folder / f"{name}.avsc").write_text(json.dumps(schema), encoding="utf-8")
    if not (folder / "unknown.avsc").exists():
        _write(root, gateway, "unknown")


def _change(path: Path, how: Any) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    how(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


def _refused(root: Path, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Catalog.load(root)


def _of(kind: Kind, name: str) -> FrameType:
    return kind.unknown if name == "unknown" else kind.types[name]


def _path(frame_type: FrameType) -> Path:
    kind = next(each for each in CATALOG.kinds.values() if frame_type in (*each.types.values(), each.unknown))
    return SHIPPED / kind.name / f"{frame_type.type}.avsc"


def _file(frame_type: FrameType) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_path(frame_type).read_text(encoding="utf-8"))
    return found


def _records(avro: Any) -> list[dict[str, Any]]:
    """Every record of a schema, the outermost first."""
    if isinstance(avro, list):
        return [record for each in avro for record in _records(each)]
    if not isinstance(avro, dict):
        return []
    own = [avro] if avro["type"] == "record" else []
    inside = [field["type"] for field in avro.get("fields", [])] + [avro.get("items"), avro.get("values")]
    return own + _records(inside)


def _row(found: FrameType) -> Row:
    def words(paths: tuple[FieldPath, ...]) -> str:
        return " ".join(".".join(path) for path in paths)

    return Row(
        key=words(found.key),
        entity=words(found.entity),
        identity=" | ".join(words(each) for each in found.identity),
        equal="content" if found.content else "identity",
        kind=found.kind,
        family=found.family,
        event_time=words(found.event_time),
        learn=" | ".join(words(each) for each in found.learn),
    )
