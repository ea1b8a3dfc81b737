"""A profile says of each type what its records hold: fields, nulls, and what no schema knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.catalog import Catalog
from bridge.profile import STRANGERS, Profiler, Row, TypeProfile
from bridge.sim import Sent
from tests.audit.frames import frames
from tests.profiling import decoded, profiled

KIND = Catalog.load().kind("ticktock")
MARKETS = Catalog.load().kind("predictstreet-market")


def match(number: int, meta: Mapping[str, Any] | None = None, **data: Any) -> bytes:
    """A frame match.updated."""
    meta = {"seq": number, **(meta or {})}
    return json.dumps({"type": "match.updated", "data": {"id": f"m{number}", **data}, "meta": meta}).encode()


def rows(profile: TypeProfile) -> dict[str, Row]:
    """By path."""
    return {row.path: row for row in profile.rows()}


def only(profiler: Profiler) -> TypeProfile:
    """The one type."""
    [found] = profiler.types.values()
    return found


def test_fields_and_their_null_rates() -> None:
    """Absent and null are one; the times are those of receipt."""
    found = only(profiled(KIND, [match(1, status="live", score_a=3), match(2, status=None), match(3)], at=5000))
    assert (found.records, found.first, found.last) == (3, 5000, 5002)
    told = rows(found)
    assert told["data.id"].nulls == 0
    assert round(told["data.status"].nulls, 2) == 0.67
    assert told["data.score_a"].values.most == 3
    assert told["data.finished_at"].nulls == 1
    assert all(row.known for row in told.values())


def test_members_that_no_schema_knows() -> None:
    """With their JSON types, by path, in data, beside it and inside."""
    frame = match(1, {"shard": 7}, venue={"city": "Köln", "seats": 15_000}, tags=["a", 1], fee=1.10)
    told = {path: row for path, row in rows(only(profiled(KIND, [frame, match(2, fee=2)]))).items() if not row.known}
    assert set(told) == {
        "meta.shard", "data.fee", "data.tags", "data.tags[]", "data.venue", "data.venue.city", "data.venue.seats",
    }  # fmt: skip
    assert dict(told["data.fee"].values.kinds) == {"number": 1, "integer": 1}
    assert (told["data.fee"].nulls, told["data.venue"].nulls, told["data.venue.city"].nulls) == (0, 0.5, 0)


def test_records_within_records() -> None:
    """Elements of arrays have paths, and unknown members of theirs are found."""
    levels: list[dict[str, Any]] = [{"price": "0.10", "quantity": "5", "age": 3}, {"price": "0.20", "quantity": None}]
    data = {"tokenId": "1", "bids": levels, "asks": [{**levels[0], "age": "x"}]}
    frame = {"type": "book_snapshot", "channel": "token_book", "seq": 1, "data": data}
    found = only(profiled(MARKETS, [json.dumps(frame).encode()], gateway="markets"))
    told = rows(found)
    assert told["data.bids[].price"].of == 2
    assert told["data.bids[].quantity"].nulls == 0.5
    ages = [row for path, row in told.items() if path.endswith(".age")]
    assert [dict(row.values.kinds) for row in ages] == [{"integer": 1, "string": 1}]
    assert ages[0].of == 3


def test_types_without_a_schema_are_told_by_their_own_name() -> None:
    """With what is in their payload."""
    frames = [json.dumps({"type": name, "data": {"id": "m1", "n": 1}}).encode() for name in ("veto", "veto", "pause")]
    profiler = profiled(KIND, frames)
    assert {(name, known): each.records for (_, name, known), each in profiler.types.items()} == {
        ("veto", False): 2, ("pause", False): 1,
    }  # fmt: skip
    assert rows(profiler.types["cs2", "veto", False])["data.n"].values.seen == 2


def test_types_that_are_made_up_for_ever_are_bounded() -> None:
    """They are counted together."""
    frames = [json.dumps({"type": f"t{number}", "data": {}}).encode() for number in range(STRANGERS + 5)]
    profiler = profiled(KIND, frames)
    assert len(profiler.types) == STRANGERS
    assert profiler.strangers == 5


def test_names_that_are_made_up_for_ever_are_bounded() -> None:
    """Further members are passed over, and that is said."""
    profiler = Profiler(places=50)
    for number, (name, schema, data) in enumerate(decoded(KIND, [match(n, None, **{f"x{n}": n}) for n in range(100)])):
        profiler.take("cs2", "ticktock", schema, data, type=name, received=number)
    assert profiler.crowded
    assert only(profiler).passed == 50
    assert sum(not row.known for row in only(profiler).rows()) == 50


def test_all_that_the_simulators_send_is_taken() -> None:
    """With all their faults, of either gateway: what is in extensions is in the profile, no more and no less."""
    for kind, name in ((KIND, "ticktock"), (MARKETS, "predictstreet")):
        sent: list[Sent] = frames(name, 1500, seed=4, now=1_800_000_000_000)  # type: ignore[arg-type]
        records = list(decoded(kind, [one.raw for one in sent]))
        profiler = profiled(kind, [one.raw for one in sent])
        assert sum(each.records for each in profiler.types.values()) == len(records)
        for found in profiler.types.values():
            mine = [
                data
                for at, _, data in records
                if at == found.type or (at == "unknown" and data["data"]["type"] == found.type)
            ]
            members = {f"meta.{name}" for data in mine for name in data["meta"]["extensions"]}
            if found.known:
                members |= {f"data.{name}" for data in mine for name in data["data"]["extensions"]}
            told = {row.path for row in found.rows() if not row.known}
            assert members <= told
            assert not found.broken
