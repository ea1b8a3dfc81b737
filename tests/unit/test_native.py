"""What is read, judged and published natively is what Python makes of it; all else is left to Python."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge import native
from bridge.batch import Batch, Undisposed
from bridge.catalog import Catalog
from bridge.cloudevents import Events
from bridge.dedupe import Window
from bridge.errors import BadFrame
from bridge.frame import EVENT, REST, STREAM, Frame
from bridge.ledger import Memory
from bridge.pipeline import Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import Route, Sighting, Ways
from tests.unit.json_texts import json_texts
from tests.unit.test_glance import KINDS, frames

CATALOG = Catalog.load()
NOW = 1_779_000_000_000
PLAIN = (
    b'{"type":"market.updated","data":{"id":"o","match_id":"m","odds":[{"b":1.50,"a":"x"}],"status":1,"specifiers":'
    b'{"map":"1"},"textEN":"Match winner","suspended":false},"meta":{"ts":"2026-05-17T06:39:59.500Z","seq":7}}'
)
#: The two pipelines are compiled first, and a busy machine takes its time.
pytestmark = pytest.mark.timeout(180)
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module", autouse=True)
def extension() -> None:
    """Without it there is nothing to test, and the run says so."""
    if not native.available():
        pytest.skip("the extension was not built, or is switched off")


def route(gateway: str, kind: str) -> Route:
    """Two topics for each type, framed."""
    types = [*CATALOG.kind(kind).types, "unknown"]
    topics = {name: [(f"{gateway}.{name}", b"T1"), (gateway, b"")] for name in types}
    return Route(gateway, CATALOG.kind(kind), frozenset({"pong"}), topics, f"{gateway}.dead-letters")


@cache
def ways(kind: str, scope: str = "global") -> Ways:
    """Compiled once."""
    return Ways(route("g", kind), seq_scope=scope, max_value=1 << 20)


def exactly(kind: str, raw: bytes, scope: str) -> Sighting | BadFrame | None:
    """What Python makes of a frame."""
    try:
        found = ways(kind, scope)._sight_exactly(Frame("g", "list", NOW, STREAM, raw))
    except BadFrame as bad:
        return bad
    assert found is None or type(found) is Sighting
    return found


def compare(kind: str, raw: bytes) -> bool:
    """Whether a frame is read natively; then all that is found must be what Python finds."""
    compare_in(kind, raw, "connection")
    return compare_in(kind, raw, "global")


def compare_in(kind: str, raw: bytes, scope: str) -> bool:
    """With one of the two meanings of a number."""
    read = ways(kind, scope)._read
    assert read is not None
    usual, found = read(raw), exactly(kind, raw, scope)
    if usual is None:
        return False
    assert type(found) is Sighting, (raw, found)
    way, meta, data = found.way, found.meta, found.data
    assert usual.way is way
    assert (usual.traits, usual.identity, usual.content, usual.entity, usual.own) == (
        found.traits,
        found.identity,
        found.content,
        found.entity,
        found.own,
    )
    assert usual.named is found.named
    assert usual.value == way.encode(meta, data)
    assert usual.key == way.key(meta, data)
    assert usual.at == way.event_time(meta, data)
    assert usual.number == (None if meta.seq is None else b"%d" % meta.seq)
    assert usual.order(NOW) == found.order(NOW)
    if usual.pairs is not None:
        assert usual.pairs == way.learn(meta, data)
    assert way.encode(usual.meta, usual.data) == usual.value
    return True


@st.composite
def mutants(draw: st.DrawFn, kind: str) -> bytes:
    """Frames in which some bytes were changed, doubled, taken away or put in."""
    raw = bytearray(draw(frames(kind)) if draw(st.booleans()) else PLAIN)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        to = min(at + draw(st.integers(0, 12)), len(raw))
        put = draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from(TOKENS),
                st.just(bytes(raw[at:to])),
                json_texts().map(str.encode),
            )
        )
        raw[at : to if draw(st.booleans()) else at] = put
    return bytes(raw)


TOKENS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"-",
    b"-0",
    b"0",
    b".",
    b"1e5",
    b"null",
    b"true",
    b"NaN",
    b" ",
]
TOKENS += [b"\0", b"\x1f", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xc3\xa4", b"\xf0\x9f\x8e\xb2", b"9" * 19, b"9" * 90]


@pytest.mark.parametrize("kind", KINDS)
@SLOW
@given(st.data())
def test_what_a_gateway_may_send_is_read_as_python_reads_it(kind: str, data: st.DataObject) -> None:
    """Any frame that the schemas allow, with unknown members, white space and escapes."""
    compare(kind, data.draw(frames(kind)))


@pytest.mark.parametrize("kind", KINDS)
@SLOW
@given(st.data())
def test_what_is_wrong_is_never_read(kind: str, data: st.DataObject) -> None:
    """Whatever Python makes a dead letter of is left to it, and so is what it consumes."""
    compare(kind, data.draw(mutants(kind)))


@given(st.one_of(st.binary(max_size=60), json_texts(repeats=True).map(str.encode)))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"type":' * 100_000)
@example(b'{"type":"market.updated","data":' + b'{"a":' * 63 + b"1" + b"}" * 64)
@example(
    b'{"type":"market.updated","data":{%b},"meta":{"seq":1}}' % b",".join(b'"m%d":%d' % (n, n) for n in range(5000))
)
@example(b'{"type":"market.updated","data":{"odds":[%b]},"meta":{"seq":1}}' % b",".join([b"1"] * 300_000))
def test_rubbish_is_left_alone(raw: bytes) -> None:
    """Nothing is read that Python would not read."""
    for kind in KINDS:
        compare(kind, raw)


@pytest.mark.parametrize(
    ("old", "new", "usual"),
    [
        (b"", b"", True),
        (b'"id":"o"', b'"id" :\n"o"\t', True),
        (b'"id":"o"', b'"id":null', True),
        (b'"id":"o"', b'"id":"\xc3\xa4\xf0\x9f\x8e\xb2"', True),
        (b'"status":1', b'"status":"x","new":{"b": 1, "a":[2 ]},"more":1e400', True),
        (b'"status":1', b'"status":-999999999999999999', True),
        (b'"meta":{', b'"meta":{"more":1.0,', True),
        (b'"id":"o"', b'"id":"\\u006f"', False),
        (b'"id":"o"', b'"id":"o","id":"o"', False),
        (b'"b":1.50', b'"b":1,"b":1', False),
        (b'"status":1', b'"status":-0', False),
        (b'"status":1', b'"status":1.0', False),
        (b'"status":1', b'"status":9223372036854775808', False),
        (b'"meta":{', b'"more":1,"meta":{', False),
        (b'"meta":{', b'"meta":{"meta.a":1,', False),
        (b'"seq":7', b'"seq":null', True),
        (b'"o"', b'"\xff"', False),
        (b'"o"', b'"\xed\xa0\x80"', False),
        (b"market.updated", b"market.unheard", False),
        (b"}}", b"}", False),
        (b"}}", b"}}}", False),
        (b"}}", b"}}\0", False),
    ],
)
def test_what_is_usual(old: bytes, new: bytes, *, usual: bool) -> None:
    """White space, null and unknown members are; escapes and what is odd are not."""
    assert compare("ticktock", PLAIN.replace(old, new)) is usual


def test_order_and_spelling_of_members_do_not_matter() -> None:
    """Sorted, they are the content; the record has its schema's order."""
    read = ways("ticktock")._read
    assert read is not None
    one = read(PLAIN)
    whole = json.loads(PLAIN)
    turned = {name: whole[name] for name in reversed(whole)} | {"data": dict(reversed(whole["data"].items()))}
    turned["data"]["odds"] = whole["data"]["odds"]
    other = read(json.dumps(turned).encode().replace(b"1.5}", b"1.50}").replace(b"1.5,", b"1.50,"))
    assert one is not None
    assert other is not None
    assert (one.content, one.identity) == (other.content, other.identity)


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_read_natively(kind: str) -> None:
    """Else all of this would be for nothing."""
    found = CATALOG.kind(kind)
    for name, each in found.types.items():
        if not each.publish:
            continue
        members: dict[str, dict[str, Any]] = {"meta": {}, "data": {}}
        for root, member in each.identity[0] if each.identity else ():
            members[root][member] = 5 if member in {"seq", "tsMs"} else "x"
        whole = {"type": name, "data": members["data"]}
        whole |= {"meta": members["meta"]} if found.nested else members["meta"]
        assert compare(kind, json.dumps(whole).encode()), name


# Whole batches


def pipeline() -> tuple[Pipeline, Memory]:
    """One TickTock and one PredictStreet gateway, a small window."""
    memory = Memory(Window(span=60_000, max_identities=40))
    outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me", connections={})
    made = Pipeline(
        [route("cs2", "ticktock"), route("markets", "predictstreet-market")], memory=memory, outages=outages
    )
    return made, memory


@cache
def both() -> tuple[Pipeline, Pipeline]:
    """One that works natively and one that does not; compiled once."""
    kept = native.extension
    first, _ = pipeline()
    native.extension = None
    try:
        return first, pipeline()[0]
    finally:
        native.extension = kept


def market(draw: st.DrawFn) -> bytes:
    """One of few markets, in few states, with few numbers: so that all that the window can answer occurs."""
    kind = draw(
        st.sampled_from(["market.updated", "market.suspended", "event.kill", "match.updated", "bet_settlement"])
    )
    data: dict[str, Any] = {
        "id": draw(st.sampled_from(["a", "b"])),
        "status": draw(st.sampled_from([1, 1, None, "x", []])),
    }
    if draw(st.booleans()):
        data["match_id"] = draw(st.sampled_from(["m", "n", ""]))
    if kind == "match.updated":
        data["markets"] = [{"id": "a"}]
    meta: dict[str, Any] = {"seq": draw(st.one_of(st.none(), st.integers(1, 12)))}
    meta["ts"] = draw(st.sampled_from(["2026-05-17T06:39:59.500Z", "2025-05-17T06:39:59Z", "soon", None]))
    raw = json.dumps(
        {"type": kind, "data": data, "meta": meta}, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    )
    return raw.encode().replace(b"[]", draw(st.sampled_from([b"[]", b"1", b"1"])))


def book(draw: st.DrawFn) -> bytes:
    """A frame of a book, which follows others."""
    number = draw(st.integers(1, 9))
    data = {
        "tokenId": draw(st.sampled_from(["7", "8"])),
        "conditionId": "c",
        "tsMs": NOW + number,
        "bids": [],
        "asks": [],
    }
    kind = draw(st.sampled_from(["book_delta", "book_delta", "book_snapshot", "trade", "market_status"]))
    return json.dumps({"type": kind, "data": data | {"tradeId": "t"}, "seq": number, "prevSeq": number - 1}).encode()


@st.composite
def flows(draw: st.DrawFn) -> list[Frame]:
    """Frames and events of two gateways, in runs and mixed."""
    found: list[Frame] = []
    for _ in range(draw(st.integers(1, 25))):
        gateway = draw(st.sampled_from(["cs2", "cs2", "cs2", "markets", "gone"]))
        connection = draw(st.sampled_from(["list", "list", "detail"]))
        source = draw(st.sampled_from([STREAM, STREAM, STREAM, STREAM, STREAM, REST, EVENT]))
        if source == EVENT:
            raw = json.dumps({"event": draw(st.sampled_from(["down", "up", "seen"])), "cause": "disconnect"}).encode()
        elif draw(st.integers(0, 9)) == 0:
            raw = draw(st.sampled_from([b"rubbish", b'{"type":"pong"}', b'{"type":"new","data":{"id":1}}', PLAIN[:-1]]))
        else:
            raw = market(draw) if gateway != "markets" else book(draw)
        hint = draw(st.sampled_from([None, None, "h"]))
        received = NOW + draw(st.integers(0, 3)) + len(found) * draw(st.sampled_from([0, 0, 0, 400]))
        found.append(Frame(gateway, connection, received, source, raw, hint))
    return found


def said(batch: Batch) -> dict[str, Any]:
    """All that a batch says."""
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}


@SLOW
@given(flows(), st.integers(1, 7), st.booleans(), st.booleans())
def test_whole_batches_are_what_python_makes_of_them(some: list[Frame], size: int, keep: bool, wary: bool) -> None:  # noqa: FBT001 - drawn
    """Records, ledger, counts and window; duplicates, collisions, repetitions, dead letters and events among them."""
    found: list[Any] = []
    for made in both():
        memory = Memory(Window(span=60_000, max_identities=9, keep_unchanged=keep))
        outages = Outages(GapWriter("gaps", b"", CATALOG.own("gap")), lane=0, instance="me", connections={})
        kept = native.extension
        if made is both()[1]:
            native.extension = None
        try:
            made.adopt(memory, outages, journal="j")
            made._wary_until = NOW + 1 if wary else 0
            made._burial._events = Events("main") if keep else None
            if some[0].raw == b"rubbish":
                made.poisoned[0] = ("internal_error", "x")
            batches = [
                said(made.process(at, some[at : at + size], NOW + at * 3000)) for at in range(0, len(some), size)
            ]
        finally:
            native.extension = kept
            made.poisoned.clear()
            made._burial._events = None
        window = memory.window
        state = [window._seen, window._variants, window._contents, [*window._last.items()]]
        slices = [(each.start, each.end, each.identities, each.contents) for each in (*window._slices, window._slice)]
        orphans, dead = made.drain_orphans(), made.drain_dead()
        metas = {place: outages.said(place[0], meta) for place, (_, meta) in outages._metas.items()}
        found.append((batches, state, slices, window._until, made.drain(), orphans, dead, metas, outages.drain(0, NOW)))
    assert found[0] == found[1]


def test_an_exception_names_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of the three stages: what the frames before it came to does not matter, but whose fault it is."""
    raws = [PLAIN.replace(b'"seq":7', b'"seq":%d' % number).replace(b'"o"', b'"o%d"' % number) for number in range(5)]
    some = [Frame("cs2", "list", NOW + number, STREAM, raw) for number, raw in enumerate(raws)]

    def break_sight(made: Pipeline) -> None:
        entities = made._ways["cs2"]._known["market.updated"].entities
        entities["o3"] = "no number"  # type: ignore[assignment]

    def break_judge(made: Pipeline) -> None:
        def learn(_batch: Batch, _gateway: str, pairs: Any, _now: int) -> None:
            if pairs[0][0] == "o3":
                raise ZeroDivisionError

        monkeypatch.setattr(made, "_learn", learn)

    for harm in (break_sight, break_judge):
        made, _ = pipeline()
        harm(made)
        with pytest.raises(Undisposed) as undisposed:
            made.process(10, some, NOW)
        assert undisposed.value.position == 13
    made, _ = pipeline()
    batch = made.begin(10, some, NOW)
    fresh = made._judge(batch, some, made._sight(batch, some))
    fresh[3] = (*fresh[3][:3], 5, *fresh[3][4:])  # type: ignore[assignment]
    with pytest.raises(Undisposed) as undisposed:
        made._encoder.encode(batch, fresh, 0)
    assert undisposed.value.position == 13


def test_memory_stays_flat() -> None:
    """Whatever is read, or not."""
    made, _ = pipeline()
    odd = [b"", PLAIN[:-1], PLAIN.replace(b"o", b"\\u006f"), PLAIN.replace(b'"o"', b'"\xff"'), b"[" * 1000]
    raws = [PLAIN, *odd, PLAIN.replace(b'"status":1', b'"new":[1,{}]')]
    read = ways("ticktock")._read
    assert read is not None

    def work() -> int:
        for _ in range(300):
            for raw in raws:
                found = read(raw)
                if found is not None:
                    assert found.meta.seq == 7
        made.process(0, [Frame("cs2", "list", NOW, STREAM, raw) for raw in raws] * 50, NOW)
        made.drain()
        made.drain_dead()
        gc.collect()
        return sys.getallocatedblocks()

    work()
    before = work()
    assert max(work() for _ in range(5)) - before < 200


def test_it_can_be_switched_off() -> None:
    """For a diagnosis, and for the tests of the Python code."""
    ask = "from bridge import native; print(native.available(), native.absent)"
    found = subprocess.run(
        [sys.executable, "-c", ask],
        env={native.SWITCH: "0", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert found.stdout == b"False FEEDBRIDGE_NATIVE is 0\n"
