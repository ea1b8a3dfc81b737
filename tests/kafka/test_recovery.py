"""Filling of gaps, whole: each gateway is cut off under load, and what REST has of that time is published exactly once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs, PredictStreetSim, Simulator, TickTockSim
from bridge.sim.change import Change
from tests.audit import Published, Schemas, collect
from tests.front import Front, Mood
from tests.gaps import gap_records
from tests.kafka.conftest import Kafka
from tests.running import Bridge, BridgeHere, BridgeProcess, configuration, predictstreet, private, ticktock
from tests.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.timeout(600)

#: How long (s) a gateway is cut off: short, and in full.
SHORT, FULL = 4.0, 60.0
RATE = 1000.0
ONE, TWO = "0x" + "a1" * 20, "0x" + "b2" * 20


async def cut_off(sim: Simulator, seconds: float) -> tuple[int, int]:
    """Cut all connections and let none in for so long, by the simulator's clock; returns when that was (ms)."""
    sim.refuse(status=503)
    await sim.drop(abort=True)
    began = sim.clock()
    await sim.wait(lambda _: sim.clock() - began >= seconds * 1000, seconds=seconds + 30)
    ended = sim.clock()
    sim.accept()
    return began, ended


async def judged(bridge: Bridge, kafka: Kafka, prefix: str, count: int = 1) -> list[dict[str, Any]]:
    """The last word on each gap, when there are so many and all are judged."""
    latest: dict[str, dict[str, Any]] = {}

    async def done() -> bool:
        latest.update((gap["id"], gap) for gap in await asyncio.to_thread(gap_records, kafka.bootstrap, prefix))
        return len(latest) >= count and all(gap["state"] != "open" for gap in latest.values())

    await until(bridge, done, what="gaps judged", seconds=180)
    return list(latest.values())


async def until(bridge: Bridge, done: Callable[[], Awaitable[bool]], *, what: str, seconds: float = 60) -> None:
    """Wait for a state while the bridge runs."""
    async with asyncio.timeout(seconds):
        while not await done():
            await bridge.until(lambda _: True, what=what)
            await asyncio.sleep(0.2)


def decoded(published: Iterable[Published], topic: str) -> list[tuple[dict[str, Any], str]]:
    """(payload, source) of the records of a topic. The id of the envelope stands beside the payload's members."""
    found = []
    for one in published:
        if one.topic == topic:
            record = Schemas.shipped().decode(topic, one.value)[1]
            data = {**record["data"], "matched": record["meta"].get("id")}
            found.append((data, (dict(one.headers)["source"] or b"").decode()))
    return found


async def finished(bridge: Bridge, sim: Simulator) -> None:
    """Let the feed end and all of it be published."""
    sim.pause()
    await bridge.drained()


def assert_whole(found: set[str], trades: set[str], left: Iterable[Change]) -> None:
    """All trades are there. left: what was not sent when the world stood still; REST may have told of it already."""
    assert trades - found <= {str(each.data["tradeId"]) for each in left if "tradeId" in each.data}
    assert found <= trades


def unsent(sim: PredictStreetSim) -> list[Change]:
    """What the world has lived through and not sent when it stands still."""
    return [each.change for each in sim.stream.drain()]


async def test_settlements_of_a_ticktock_outage_are_all_there_once(
    kafka: Kafka,
    topic_prefix: str,
    tmp_path: Path,
    soak: bool,  # noqa: FBT001 - a fixture
) -> None:
    """Those that the stream never sent come from REST, before and after are the stream's; the gap says how many."""
    async with TickTockSim(seed=31, rate=RATE, wait_for=1) as sim:
        log = sim.stream.world.log
        first = len(log.entries)
        config = configuration(
            {"cs2": ticktock(sim, silence="600s", rest={"url": sim.rest_url})},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
        )
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            await sim.wait(lambda _: len(log.entries) > first + 20, seconds=60)
            began, ended = await cut_off(sim, FULL if soak else SHORT)
            before = len(log.entries)
            [gap] = await judged(bridge, kafka, topic_prefix)
            await sim.wait(lambda _: len(log.entries) > before + 20, seconds=60)
            await finished(bridge, sim)
            assert await bridge.stop() == 0, bridge.last_words()
        wanted = [str(entry.id) for entry in log.entries[first:]]
        sent = [json.loads(one.raw)["data"]["id"] for one in sim.sent if b'"bet_settlement"' in one.raw]
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}cs2.")
    found = decoded(published, f"{topic_prefix}cs2.bet-settlement")
    ids = Counter(str(data["id"]) for data, _ in found)
    # The world is a little ahead of what it has sent when it stands still.
    assert ids == Counter(wanted[: len(ids)])
    assert str(sent[-1]) in ids
    recovered = [data for data, source in found if source == "rest"]
    assert recovered
    assert (gap["state"], gap["cause"], gap["recovered"]) == ("partly", "disconnect", len(recovered))
    assert gap["how"] == "all settlements over REST; rounds, events and states in between can't be had"
    assert gap["from"] <= began + 500
    assert gap["to"] >= ended


@pytest.mark.parametrize("generation", [1, 2])
async def test_trades_of_a_market_outage_are_all_there_once_and_books_end_as_they_are(
    generation: Literal[1, 2],
    kafka: Kafka,
    topic_prefix: str,
    tmp_path: Path,
    soak: bool,  # noqa: FBT001 - a fixture
) -> None:
    """Each trade of the tape is one record; the last record of each book is the book as the exchange has it."""
    knobs = PredictStreetKnobs(generation=generation, silent_book=False, rate_limit=0)
    async with PredictStreetSim(seed=32, rate=RATE, wait_for=1, knobs=knobs) as sim:
        sim.stream.world.restless = 0.0
        gateway = predictstreet(sim, silence="600s", rest={"url": sim.rest_url})
        config = configuration({"markets": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            await sim.wait(lambda _: sim.produced > 1000, seconds=60)
            await cut_off(sim, FULL if soak else SHORT)
            [gap] = await judged(bridge, kafka, topic_prefix)
            produced = sim.produced
            await sim.wait(lambda _: sim.produced > produced + 1000, seconds=60)
            await finished(bridge, sim)
            assert await bridge.stop() == 0, bridge.last_words()
        trades = {trade.id for market in sim.stream.world.markets for trade in market.trades}
        left = unsent(sim)
        books = {
            token: min(
                [market.books[outcome].seq, *(each.seq - 1 for each in left if each.entity == token and each.seq)]
            )
            for market in sim.stream.world.markets
            for outcome, token in enumerate(market.tokens)
        }
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}markets.")
    found = decoded(published, f"{topic_prefix}markets.{'trade' if generation == 1 else 'trade-matched'}")
    assert_whole({data["tradeId"] for data, _ in found}, trades, left)
    # A mint is told of two tokens, by the tape of one.
    names = Counter((data["tradeId"], data["matched"]) for data, _ in found)
    assert max(names.values()) == 1
    recovered = [data for data, source in found if source == "rest"]
    assert recovered
    assert (gap["state"], gap["recovered"]) == ("partly", len(recovered))
    assert "trades over REST" in gap["how"]
    assert last_numbers(published, topic_prefix) == books


def last_numbers(published: Iterable[Published], prefix: str) -> dict[str, int]:
    """Token → sequence number of the newest record of its book."""
    found: dict[str, int] = {}
    for one in published:
        if one.topic.startswith(f"{prefix}markets.book-"):
            meta = Schemas.shipped().decode(one.topic, one.value)[1]["meta"]
            found[meta["id"]] = max(found.get(meta["id"], -1), meta["seq"])
    return found


@pytest.mark.parametrize("generation", [1, 2])
async def test_orders_and_fills_of_a_wallets_outage_are_all_there_once(
    generation: Literal[1, 2],
    kafka: Kafka,
    topic_prefix: str,
    tmp_path: Path,
    soak: bool,  # noqa: FBT001 - a fixture
) -> None:
    """Two wallets over two sockets: what each placed, cancelled and filled is one record each, with the stream's identity."""
    key = Key(token="ps_live_0123456789abcdef_" + "u" * 43, scopes=PREDICTSTREET_SCOPES, multi_wallet=True)
    knobs = PredictStreetKnobs(generation=generation, rate_limit=0)
    async with PredictStreetSim(seed=33, rate=200, keys=[key], wait_for=2, knobs=knobs) as sim:
        gateway = private(sim, ONE, TWO, silence="600s", rest={"url": sim.rest_url})
        config = configuration({"wallet": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            await sim.wait(lambda _: sim.produced > 400, seconds=60)
            await cut_off(sim, FULL if soak else SHORT)
            gaps = await judged(bridge, kafka, topic_prefix, 2)
            produced = sim.produced
            await sim.wait(lambda _: sim.produced > produced + 400, seconds=60)
            await finished(bridge, sim)
            assert await bridge.stop() == 0, bridge.last_words()
        wallets = sim.stream.portfolio.wallets.values()
        placed = {order.id for wallet in wallets for order in wallet.orders.values()}
        cancelled = {order.id for wallet in wallets for order in wallet.orders.values() if order.status == "CANCELLED"}
        fills = {
            (fill.trade, fill.order.id)
            for fill in sim.stream.portfolio.fills
            if generation == 2 or fill.adjustment == "NONE"
        }
        for each in sim.stream.drain():  # lived through, and not sent
            data = each.change.data
            {"order_placed": placed, "order_cancelled": cancelled}.get(each.change.type, set[str]()).discard(
                data.get("orderId", data.get("id", ""))
            )
            fills.discard((data.get("tradeId", ""), data.get("orderId", "")))
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}wallet.")
    orders = decoded(published, f"{topic_prefix}wallet.order-placed")
    assert Counter(data["id"] for data, _ in orders) == Counter(placed)
    ended = decoded(published, f"{topic_prefix}wallet.order-cancelled")
    assert Counter(data["orderId"] or data["id"] for data, _ in ended) == Counter(cancelled)
    matched = decoded(published, f"{topic_prefix}wallet.{'trade-matched' if generation == 1 else 'user-fill'}")
    named = [data for data, _ in matched if data["orderId"]]
    assert Counter((data["tradeId"], data["orderId"]) for data in named) == Counter(fills)
    if generation == 2:
        assert all(data["conditionId"] and data["tokenId"] for data in named)
    recovered = Counter(source for data, source in [*orders, *ended, *matched])["rest"]
    assert recovered
    assert sum(gap["recovered"] for gap in gaps) == recovered
    assert {gap["state"] for gap in gaps} == {"partly"}
    assert all("orders placed and cancelled over REST; fills over REST" in gap["how"] for gap in gaps)


async def test_a_bridge_that_is_killed_in_mid_fill_fills_it_again(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Some markets' trades were published when it died: the next process asks again, nothing is doubled, counts go on."""
    knobs = PredictStreetKnobs(rate_limit=0)
    async with (
        PredictStreetSim(seed=34, rate=RATE, wait_for=1, knobs=knobs) as sim,
        Front(sim.rest_url, about="/trades") as rest,
    ):
        sim.stream.world.restless = 0.0
        gateway = predictstreet(sim, silence="600s", rest={"url": rest.url})
        config = configuration({"markets": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            await sim.wait(lambda _: sim.produced > 1000, seconds=60)
            rest.mood, rest.spare = "hang", 4
            await cut_off(sim, SHORT)
            await rest.until_spoilt()
            bridge.kill()
            rest.mood = "pass"
            await bridge.start()
            gaps = await judged(bridge, kafka, topic_prefix, 2)
            await finished(bridge, sim)
            assert await bridge.stop() == 0, bridge.last_words()
        trades = {trade.id for market in sim.stream.world.markets for trade in market.trades}
        left = unsent(sim)
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}markets.")
    found = decoded(published, f"{topic_prefix}markets.trade-matched")
    assert_whole({data["tradeId"] for data, _ in found}, trades, left)
    assert max(Counter((data["tradeId"], data["matched"]) for data, _ in found).values()) == 1
    assert sorted(gap["cause"] for gap in gaps) == ["crash", "disconnect"]
    assert {gap["state"] for gap in gaps} == {"partly"}
    assert sum(gap["recovered"] for gap in gaps) == sum(source == "rest" for _, source in found)


@pytest.mark.parametrize("mood", ["down", "busy", "garbage", "hang"])
async def test_rest_that_fails_for_a_while_delays_the_filling_and_nothing_else(
    mood: Mood, kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Live frames are published meanwhile; when REST answers well the gap is filled."""
    async with (
        TickTockSim(seed=35, rate=RATE, wait_for=1) as sim,
        Front(sim.rest_url, about="/settlements") as rest,
    ):
        gateway = ticktock(sim, silence="600s", rest={"url": rest.url})
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            log = sim.stream.world.log
            first = len(log.entries)
            await bridge.ready()
            await sim.wait(lambda _: len(log.entries) > first + 10, seconds=60)
            rest.mood = mood
            await cut_off(sim, SHORT)
            await bridge.until(lambda status: status["gateways"][0]["filling"]["gap"] is not None, what="asked for")
            await rest.until_spoilt(rest.spoilt + 1)
            before = (await bridge.status())["gateways"][0]["published"]
            await bridge.until(
                lambda status: status["gateways"][0]["published"] > before + 500, what="live frames go on"
            )
            assert (await bridge.status())["gateways"][0]["filling"]["gap"] is not None
            rest.mood = "pass"
            [gap] = await judged(bridge, kafka, topic_prefix)
            await finished(bridge, sim)
        wanted = [str(entry.id) for entry in log.entries]
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}cs2.")
    found = decoded(published, f"{topic_prefix}cs2.bet-settlement")
    ids = Counter(str(data["id"]) for data, _ in found)
    # Without a cursor, because REST failed from the first, the gap may begin a little before the feed did.
    began = min(map(wanted.index, ids))
    assert began <= first
    assert ids == Counter(wanted[began : began + len(ids)])
    assert (gap["state"], gap["recovered"]) == ("partly", sum(source == "rest" for _, source in found))


async def test_a_gap_is_given_up_and_may_be_asked_for_by_hand(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """Lost, with the reason; the command has the running bridge fill it, by id; and, where none runs, fills a time itself."""
    async with (
        TickTockSim(seed=36, rate=RATE, wait_for=1) as sim,
        Front(sim.rest_url, about="/settlements") as rest,
    ):
        gateway = ticktock(sim, silence="600s", rest={"url": rest.url}, recovery={"give_up": "1s"})
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            log = sim.stream.world.log
            first = len(log.entries)
            await bridge.ready()
            await sim.wait(lambda _: len(log.entries) > first + 10, seconds=60)
            rest.mood = "down"
            await cut_off(sim, SHORT)
            [gap] = await judged(bridge, kafka, topic_prefix)
            assert (gap["state"], gap["recovered"]) == ("lost", 0)
            assert gap["how"].startswith("given up after 1 s: 127.0.0.1/cs2/v1/settlements: HTTP 503")
            rest.mood = "pass"
            code, lines, said = await fill(bridge, gap["id"])
            assert (code, "a bridge runs: it was asked" in said) == (0, True), said
            [filled] = lines
            assert (filled["id"], filled["state"]) == (gap["id"], "partly")
            assert filled["recovered"] > 0
            await finished(bridge, sim)
            assert await bridge.stop() == 0, bridge.last_words()
        # Nobody is there: what was settled since is had by the command itself.
        until = len(log.entries)
        sim.resume()
        sim.set_rate(20_000)
        await sim.wait(lambda _: len(log.entries) > until + 10, seconds=60)
        sim.pause()
        code, lines, said = await fill(bridge, "--gateway", "cs2", "--from", "10m")
        assert (code, "no bridge runs: this command takes its place" in said) == (0, True), said
        [asked] = lines
        assert (asked["state"], asked["cause"], asked["connection"]) == ("partly", "requested", "*")
        wanted = [str(entry.id) for entry in log.entries[first:]]
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}cs2.")
    found = decoded(published, f"{topic_prefix}cs2.bet-settlement")
    assert Counter(str(data["id"]) for data, _ in found) == Counter(wanted)
    assert sum(source == "rest" for _, source in found) == filled["recovered"] + asked["recovered"]


async def fill(bridge: BridgeProcess, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run ``gaps fill``; returns its exit code, the gaps it tells of, and what it says beside."""
    command = [sys.executable, "-m", "bridge.cli", "gaps", "fill", "-c", str(bridge.file), "--json", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await asyncio.wait_for(process.communicate(), 180)
    return process.returncode or 0, [json.loads(line) for line in out.splitlines()], said.decode()


async def test_a_ticktock_outage_is_answered_by_a_replay_too(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """Where AMQP is configured: the gap's record counts what came over both, and is written when all of it is committed."""
    exchange = topic_prefix.rstrip(".")
    with RabbitMQ(tmp_path / "rabbitmq") as broker:
        await asyncio.to_thread(broker.start)
        async with TickTockSim(seed=37, rate=RATE, wait_for=1, amqp=broker.url, exchange=exchange) as sim:
            amqp = {"url": broker.url, "exchange": exchange}
            gateway = ticktock(sim, silence="600s", rest={"url": sim.rest_url}, recovery={"amqp": amqp})
            config = configuration({exchange: gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeHere(config, tmp_path / "bridge") as bridge:
                await bridge.ready()
                await sim.wait(lambda _: sim.produced > 2000, seconds=60)
                began, _ = await cut_off(sim, SHORT)
                [gap] = await judged(bridge, kafka, topic_prefix)
                await finished(bridge, sim)
            [(after, _)] = sim.rest.recoveries
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    sources = Counter((dict(one.headers).get("source") or b"").decode() for one in published)
    assert gap["state"] == "partly"
    assert gap["how"].startswith("all settlements over REST; replay over AMQP; ")
    assert gap["recovered"] == sources["rest"] + sources["amqp"]
    assert sources["amqp"] > 0
    assert after < began
    assert any(one.topic.endswith(".feed.snapshot-complete") for one in published)


async def test_a_standby_that_takes_over_in_mid_fill_fills_it_again(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Whoever is active after the cut dies while REST keeps it waiting; then the other asks, for all."""
    async with (
        TickTockSim(seed=38, rate=RATE, wait_for=2) as sim,
        Front(sim.rest_url, about="/settlements") as one,
        Front(sim.rest_url, about="/settlements") as two,
    ):
        log = sim.stream.world.log
        first = len(log.entries)
        configs = [
            configuration(
                {"cs2": ticktock(sim, silence="600s", rest={"url": rest.url})},
                kafka=kafka.bootstrap,
                prefix=topic_prefix,
            )
            for rest in (one, two)
        ]
        async with (
            BridgeProcess(configs[0], tmp_path / "one") as bridge,
            BridgeProcess(configs[1], tmp_path / "two") as another,
        ):
            await bridge.ready()
            await another.ready()
            await sim.wait(lambda _: len(log.entries) > first + 10, seconds=60)
            one.mood = two.mood = "hang"
            await cut_off(sim, SHORT)
            asking: list[BridgeProcess] = []

            async def asked() -> bool:
                statuses = [(each, await each.status()) for each in (bridge, another)]
                asking[:] = [each for each, status in statuses if status["gateways"][0]["filling"]["gap"] is not None]
                return bool(asking)

            await until(bridge, asked, what="asked for")
            [dying] = asking
            other, rest = (another, two) if dying is bridge else (bridge, one)
            rest.mood = "pass"
            before = rest.asked
            dying.kill()
            await other.role("active")
            gaps = await judged(other, kafka, topic_prefix)
            await finished(other, sim)
            assert await other.stop() == 0, other.last_words()
        wanted = [str(entry.id) for entry in log.entries]
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}cs2.")
    found = decoded(published, f"{topic_prefix}cs2.bet-settlement")
    ids = Counter(str(data["id"]) for data, _ in found)
    began = min(map(wanted.index, ids))
    assert began <= first
    assert ids == Counter(wanted[began : began + len(ids)])
    assert rest.asked > before
    assert {gap["state"] for gap in gaps} == {"partly"}
    # What the standby had received itself, and the active had not published, counts too.
    sources = Counter((dict(each.headers).get("source") or b"").decode() for each in published)
    assert 0 < sources["rest"] <= sum(gap["recovered"] for gap in gaps) <= sources["rest"] + sources["standby"]


async def test_an_outage_of_several_lanes_is_asked_for_once_and_counted_by_each(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """What REST gave is spread over the lanes like any frame."""
    async with (
        TickTockSim(seed=39, rate=RATE, wait_for=1) as sim,
        Front(sim.rest_url, about="/settlements") as rest,
    ):
        log = sim.stream.world.log
        first = len(log.entries)
        config = configuration(
            {"cs2": ticktock(sim, silence="600s", rest={"url": rest.url})},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            lanes={"count": 3},
        )
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            await sim.wait(lambda _: len(log.entries) > first + 10 and rest.asked > 0, seconds=60)
            asked = rest.asked
            await cut_off(sim, SHORT)
            gaps = await judged(bridge, kafka, topic_prefix, 3)
            pages = rest.asked - asked
            await finished(bridge, sim)
            assert await bridge.stop() == 0, bridge.last_words()
        wanted = [str(entry.id) for entry in log.entries[first:]]
    published = await asyncio.to_thread(collect, kafka.bootstrap, f"{topic_prefix}cs2.")
    found = decoded(published, f"{topic_prefix}cs2.bet-settlement")
    assert Counter(str(data["id"]) for data, _ in found) == Counter(wanted[: len(found)])
    assert {(gap["lane"], gap["state"]) for gap in gaps} == {(0, "partly"), (1, "partly"), (2, "partly")}
    assert sum(gap["recovered"] for gap in gaps) == sum(source == "rest" for _, source in found) > 0
    assert pages == 1
