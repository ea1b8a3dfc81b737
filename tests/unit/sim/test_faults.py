"""Faults come at their rates, fit their names, and are refused where they make no sense."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random

import msgspec
import pytest

from bridge.sim import Faults, Sent, play
from bridge.sim.faults import NUMBER_FORMS, spoil
from bridge.sim.replay import Kind

KINDS: tuple[Kind, ...] = ("ticktock", "predictstreet")


def played(kind: Kind, frames: int = 6000, /, **faults: float) -> list[Sent]:
    """That many frames with those faults."""
    return list(islice(play(kind, seed=2, faults=faults, snapshot=False), frames))


def kinds(sent: list[Sent]) -> Counter[str]:
    """How often each fault occurs, variants together."""
    return Counter((one.fault or "healthy").partition(":")[0] for one in sent)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["duplicate", "malformed", "unknown_type", "unknown_field", "number_form"])
def test_rates(kind: Kind, fault: str) -> None:
    """A rate of a tenth is a tenth of the healthy frames, give or take."""
    found = kinds(played(kind, **{fault: 0.1}))
    assert set(found) == {"healthy", fault}
    healthy = found["healthy"] + (found[fault] if fault in {"unknown_field", "number_form"} else 0)
    assert 0.08 < found[fault] / healthy < 0.12


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_repeat_content_and_numbers(kind: Kind) -> None:
    """A duplicate has data and seq of a frame before it, at once or a little later."""
    seen: set[tuple[str, bytes, object]] = set()
    late = 0
    sent = played(kind, duplicate=0.2)
    for before, one in pairwise(sent):
        for each in (before, one):
            frame = msgspec.json.decode(each.raw, type=dict[str, msgspec.Raw])
            if kind == "ticktock":
                seq = msgspec.json.decode(frame["meta"])["seq"]
            else:
                seq = bytes(frame["seq"]) if "seq" in frame else None
            key = (bytes(frame["type"]).decode(), bytes(frame["data"]), seq)
            if each.fault == "duplicate":
                assert key in seen
            seen.add(key)
        late += (
            one.fault == "duplicate" and msgspec.json.decode(one.raw)["data"] != msgspec.json.decode(before.raw)["data"]
        )
    assert late > 20


def test_duplicates_of_ticktock_are_equal_bytes() -> None:
    """Nothing tells the second from the first."""
    sent = played("ticktock", duplicate=0.2)
    healthy = {one.raw for one in sent if one.fault is None}
    assert all(one.raw in healthy for one in sent if one.fault == "duplicate")


@pytest.mark.parametrize("kind", KINDS)
def test_collisions_have_the_number_of_the_frame_before_and_other_content(kind: Kind) -> None:
    """Same type and seq, other data; never a settlement or trade, which have ids of their own."""
    sent = played(kind, collision=0.2)
    pairs = [
        (msgspec.json.decode(a.raw), msgspec.json.decode(b.raw)) for a, b in pairwise(sent) if b.fault == "collision"
    ]
    assert len(pairs) > 500
    for one, two in pairs:
        assert one["type"] == two["type"]
        assert one["type"] != "bet_settlement"
        assert "tradeId" not in one["data"]
        assert (one["meta"]["seq"] if kind == "ticktock" else one["seq"]) == (
            two["meta"]["seq"] if kind == "ticktock" else two["seq"]
        )
        assert one["data"] != two["data"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_type_is_one_field_of_another_json_type(kind: Kind) -> None:
    """Against the healthy frame before it one member differs, and in JSON type."""
    sent = played(kind, wrong_type=0.2)
    pairs = [
        (msgspec.json.decode(a.raw), msgspec.json.decode(b.raw)) for a, b in pairwise(sent) if b.fault == "wrong_type"
    ]
    assert len(pairs) > 500
    for one, two in pairs:
        (name,) = [name for name in two["data"] if one["data"].get(name) != two["data"][name]]
        assert type(one["data"][name]) is not type(two["data"][name])


def test_every_malformed_variant_occurs_and_none_is_a_frame() -> None:
    """No variant is a JSON object with a text type, data and unique keys."""
    variants = set()
    for one in played("ticktock", 4000, malformed=0.3):
        if one.fault is None:
            continue
        variants.add(one.fault)
        try:
            frame = msgspec.json.decode(one.raw.decode())
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        whole = isinstance(frame, dict) and isinstance(frame.get("type"), str) and isinstance(frame.get("data"), dict)
        assert not whole or one.raw.count(b'"type":"match.updated"}') == 1
    assert variants == {
        "malformed:truncated", "malformed:not_utf8", "malformed:nan", "malformed:array", "malformed:text", "malformed:no_data",
        "malformed:type_no_string", "malformed:duplicate_key",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_fields_and_number_forms_stay_readable(kind: Kind) -> None:
    """A field nobody knows, and numbers in every form, in frames that are otherwise whole."""
    assert all(b'"x_' in one.raw for one in played(kind, unknown_field=0.3) if one.fault)
    raws = b"".join(one.raw for one in played(kind, number_form=0.5) if one.fault)
    assert all(f'"x_number":{text}'.encode() in raws for text in NUMBER_FORMS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_field_is_an_optional_one(kind: Kind) -> None:
    """The ids stay."""
    found = [msgspec.json.decode(one.raw) for one in played(kind, missing_field=0.5) if one.fault]
    assert len(found) > 300
    assert all({"id", "match_id", "tokenId", "conditionId"} & {*frame, *frame["data"]} for frame in found)


@pytest.mark.parametrize("kind", KINDS)
def test_large_frames_are_large(kind: Kind) -> None:
    """At least as many bytes as asked for, and JSON."""
    sent = list(islice(play(kind, seed=2, faults=Faults(large=0.9, large_bytes=100_000), snapshot=False), 400))
    large = [one for one in sent if one.fault == "large"]
    assert large
    assert all(len(one.raw) >= 100_000 for one in large)
    assert msgspec.json.decode(large[0].raw)["data"]


def test_bad_rates_are_refused() -> None:
    """Unknown names, rates that are no chances, sums above one, sizes below one."""
    for bad in (
        {"duplicates": 0.1},
        {"duplicate": 1.5},
        {"duplicate": -0.1},
        {"duplicate": 0.6, "malformed": 0.6},
        {"large_bytes": 0},
    ):
        with pytest.raises(ValueError, match=r"fault|large_bytes"):
            Faults.of(bad)
    assert Faults.of(None) == Faults()
    assert Faults.of({"duplicate": 0.5}).duplicate == 0.5


def test_spoiling_is_seeded() -> None:
    """The same chance spoils the same way."""
    raw = b'{"type":"match.updated","data":{"id":"x"},"meta":{"ts":"t","seq":1}}'
    assert [spoil(raw, Random(4)) for _ in range(3)] == [spoil(raw, Random(4))] * 3
