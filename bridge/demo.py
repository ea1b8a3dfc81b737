"""``feedbridge demo``: simulated gateways, a stand-in for Kafka, the bridge and a consumer, all in one process.

The stand-in is librdkafka's mock cluster. It answers producers, transactions and consumers, so that everything here is
the real program; but it keeps nothing, fences nobody and shows records of aborted transactions, so that nothing can be
proven on it. The screen says so. With an address of a real Kafka the rest is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException, Producer
from rich.live import Live

from bridge import config as configuration
from bridge import panel, screen, tail, terminal, topics
from bridge.catalog import Catalog
from bridge.errors import BridgeError, Unreachable
from bridge.kafka import Admin
from bridge.ops.metrics import Metrics
from bridge.screen import Counts, Facts, Meter
from bridge.service import Service
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.ticktock import TickTockSim

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.config import Config
    from bridge.sim.server import Simulator
    from bridge.topics import TopicPlan

#: Chances per frame. Duplicates are what the bridge is for; the others show what becomes of bad input.
FAULTS: Final = {"duplicate": 0.07, "collision": 0.002, "malformed": 0.001, "wrong_type": 0.001, "unknown_field": 0.01}
#: Seconds between two looks, on a terminal and without one; and how long one record stays.
REFRESH: Final = 0.5
LINE_EVERY: Final = 2.0
RECORD_STAYS: Final = 4.0
#: The page's usual port (`http.listen`); another one where it is taken.
PORT: Final = 8080

_TIMEOUT: Final = 10.0
_PATH: Final = "simulated TickTock and PredictStreet → feedbridge → {kafka}"
_STAND_IN: Final = (
    "Kafka is a stand-in: it fences nobody, shows aborted records and forgets all.",
    "On a real one: feedbridge demo --kafka HOST:PORT        Ctrl-C ends the demo.",
)
_REAL: Final = ("The records are in the topics demo.* of {kafka}, and stay there.",)


async def run(
    *,
    seconds: float | None = None,
    rate: int = 200,
    kafka: str | None = None,
    out: Console | None = None,
    paint: Callable[[Facts], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Facts:
    """Show the demo until SIGINT or SIGTERM, or for `seconds`; return the last facts.

    rate: frames a second, both gateways together. kafka: bootstrap servers of a real Kafka; None: the stand-in.
    out: where to show it, standard output where None. paint: shows the facts instead. Raises what the bridge raises.
    """
    out = out or terminal.console()
    stop = asyncio.Event()
    with _signals(stop):
        async with _bridge(rate=rate, kafka=kafka, stop=stop) as (service, reader, running):
            show = _Show(service, reader, kafka=kafka, clock=clock)
            with contextlib.nullcontext(paint) if paint else _painter(out) as paint_now:
                await show.until(stop, running, seconds=seconds, paint=paint_now)
            stop.set()
            await running
            await asyncio.to_thread(reader.finish)
            last = show.facts()
    out.print(_summary(last))
    return last


class StandIn:
    """A Kafka for one process, gone when it is closed. bootstrap: its address."""

    def __init__(self) -> None:
        """Start it. Raises Unreachable where that fails."""
        quiet = logging.getLogger("bridge.stand-in")
        quiet.setLevel(logging.CRITICAL)
        # The client that makes the cluster also owns it: it ends with this object.
        self._host = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1}, logger=quiet)
        brokers = self._ask(None).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def create(self, names: Sequence[str]) -> None:
        """Make topics: the stand-in does when it is asked about one, and knows no other way."""
        for name in names:
            self._ask(name)

    def close(self) -> None:
        """End it, with all that it held. Its clients should be gone by then."""
        # The cluster ends with the client that made it, and that with the last reference to it.
        del self._host

    def _ask(self, topic: str | None) -> Any:
        try:
            return (
                self._host.list_topics(topic, timeout=_TIMEOUT) if topic else self._host.list_topics(timeout=_TIMEOUT)
            )
        except KafkaException as error:
            raise Unreachable(f"the stand-in for Kafka did not start: {error}", where="demo") from error


class DemoService(Service):
    """A bridge whose topics are made by someone else: the stand-in can't be asked about their settings."""

    def _ensure_topics(self) -> tuple[dict[str, int], int]:
        """Trust `StandIn.create`, which sets no limits."""
        return {}, self.config.lanes.count


class Reader(threading.Thread):
    """A consumer: counts the records of each topic and keeps one to show."""

    def __init__(self, config: Config, names: Sequence[str], *, start: tail.Start) -> None:
        """names: of the topics. start: see `bridge.tail`. Nothing is read before `start`."""
        super().__init__(name="demo-reader", daemon=True)
        self.counts: Counter[str] = Counter()
        self.latest: tail.Seen | None = None
        #: What ended the reading early.
        self.failed: BridgeError | None = None
        self._ending = threading.Event()
        self._records = tail.tail(
            config, names, tail.Decoder.of(Catalog.load()), start=start, stop=self._ending.is_set, skip_missing=True
        )

    def run(self) -> None:
        """Read until `finish`."""
        try:
            for record in self._records:
                self.counts[record.topic] += 1
                self.latest = record
        except BridgeError as error:
            self.failed = error

    def finish(self, *, patience: float = 3.0, quiet: float = 0.6) -> None:
        """Read what there still is, until nothing has come for `quiet` seconds, then end."""
        until, before = time.monotonic() + patience, -1
        while self.is_alive() and time.monotonic() < until and before != self.counts.total():
            before = self.counts.total()
            self._ending.wait(quiet)
        self._ending.set()
        self.join(patience)


class _Show:
    """Puts facts together and on the terminal."""

    def __init__(self, service: Service, reader: Reader, *, kafka: str | None, clock: Callable[[], float]) -> None:
        self._service = service
        self._reader = reader
        self._clock = clock
        self._began = clock()
        self._meter = Meter()
        self._record: tuple[str, str] | None = None
        self._record_since = float("-inf")
        self._path = _PATH.format(kafka=kafka or "a stand-in for Kafka")
        self._foot = [text.format(kafka=kafka) for text in (_REAL if kafka else _STAND_IN)]

    def facts(self) -> Facts:
        """Return how things stand now."""
        now, metrics, status = self._clock(), self._service.metrics, self._service.status()
        counts = Counts(
            frames=int(metrics.total("frames_received_total")),
            records=int(metrics.total("records_published_total")),
            duplicates=int(metrics.total("frames_duplicate_total")),
            unchanged=int(metrics.total("frames_unchanged_total")),
            dead_letters=int(metrics.total("dead_letters_total")),
            waiting=int(status["journal"]["frames"]),
            topics=dict(self._reader.counts),
        )
        return Facts(
            seconds=now - self._began,
            state=panel.verdict(status),
            level=panel.level(status),
            page=self._service.address,
            counts=counts,
            rates=self._meter.rates(counts, now),
            record=self._chosen(now),
            path=self._path,
            foot=self._foot,
        )

    async def until(
        self,
        stop: asyncio.Event,
        running: asyncio.Task[None],
        *,
        seconds: float | None,
        paint: Callable[[Facts], None],
    ) -> None:
        """Show the facts again and again until `stop`, until the bridge has ended, or for so long."""
        while not stop.is_set() and not running.done():
            facts = self.facts()
            paint(facts)
            if self._reader.failed is not None:
                raise self._reader.failed
            if seconds is not None and facts.seconds >= seconds:
                return
            pause = REFRESH if seconds is None else min(REFRESH, seconds - facts.seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    def _chosen(self, now: float) -> tuple[str, str] | None:
        """Return a record to show; it stays a while, so that it can be read."""
        latest = self._reader.latest
        if latest is not None and latest.schema is not None and now - self._record_since >= RECORD_STAYS:
            self._record_since = now
            key = "" if latest.key is None else f", key {latest.key.decode(errors='replace')}"
            self._record = f"{latest.topic}, decoded{key}", _value(latest)
        return self._record


@contextlib.contextmanager
def _painter(out: Console) -> Iterator[Callable[[Facts], None]]:
    """Yield what shows facts: in place on a terminal, else as a line now and then."""
    if terminal.is_live(out):
        with Live(console=out, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
            yield lambda facts: live.update(screen.screen(facts, width=out.width, height=out.height - 1), refresh=True)
        return
    due = 0.0

    def write(facts: Facts) -> None:
        nonlocal due
        if facts.seconds >= due:
            due = facts.seconds + LINE_EVERY
            out.print(screen.line(facts))
            out.file.flush()

    yield write


@contextlib.asynccontextmanager
async def _bridge(
    *, rate: int, kafka: str | None, stop: asyncio.Event
) -> AsyncIterator[tuple[Service, Reader, asyncio.Task[None]]]:
    """Start all parts; end them in the right order: the bridge, who reads, who sends, and Kafka last."""
    # Another feed each time: with a real Kafka, the ledger knows the frames of the last demo again.
    seed = time.time_ns()
    async with contextlib.AsyncExitStack() as stack:
        stand_in = None
        if kafka is None:
            stand_in = await asyncio.to_thread(StandIn)
            stack.callback(stand_in.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="feedbridge-demo-"))
        cs2 = TickTockSim(seed=seed, rate=rate / 2, faults=FAULTS, keep=0, wait_for=1, operator=False)
        markets = PredictStreetSim(seed=seed + 1, rate=rate / 2, faults=FAULTS, keep=0, wait_for=1, operator=False)
        for each in (cs2, markets):
            await stack.enter_async_context(each)
        # In a real Kafka the records stay: among those of others they should be easy to find.
        prefix, bootstrap = ("demo.", kafka) if stand_in is None else ("", stand_in.bootstrap)
        config = make_config(cs2, markets, bootstrap=bootstrap or "", prefix=prefix, folder=Path(folder))
        catalog = Catalog.load()
        plan = topics.plan(config, catalog)
        # Before the bridge would do it, since the reader wants them from the start.
        if stand_in is None:
            await asyncio.to_thread(lambda: topics.apply(Admin(config), plan))
        else:
            await asyncio.to_thread(stand_in.create, [topic.name for topic in plan])
        make = Service if stand_in is None else DemoService
        service = make(config, catalog=catalog, metrics=Metrics())
        start: tail.Start = "beginning" if stand_in else time.time_ns() // 1_000_000
        running = asyncio.create_task(service.run(stop), name="bridge")
        reader = Reader(config, _names(plan), start=start)
        reader.start()
        try:
            yield service, reader, running
        finally:
            stop.set()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.to_thread(reader.finish, patience=1.0)


def make_config(cs2: Simulator, markets: PredictStreetSim, *, bootstrap: str, prefix: str, folder: Path) -> Config:
    """Return the configuration of the demo, as a file would give it: two gateways, no registry."""
    text = json.dumps(
        {
            "name": "demo",
            "gateways": {
                "cs2": {
                    "kind": "ticktock",
                    "url": cs2.url,
                    "api_key": cs2.api_key,
                    "rest": {"url": cs2.rest_url},
                },
                "markets": {
                    "kind": "predictstreet-market",
                    "url": markets.url,
                    "api_key": markets.api_key,
                    "rest": {"url": markets.rest_url},
                    "subscribe": [
                        {"channel": "token_trade_matches", "ids": markets.tokens},
                        {"channel": "token_trade_settlements", "ids": markets.tokens},
                        {"channel": "token_book", "ids": markets.tokens},
                        {"channel": "token_ohlc", "ids": markets.tokens},
                        {"channel": "condition_lifecycle", "ids": markets.conditions},
                        {"channel": "system", "ids": ["platform_status"]},
                    ],
                },
            },
            "kafka": {"bootstrap.servers": bootstrap},
            "topics": {"prefix": prefix, "partitions": 1},
            "journal": {"path": str(folder / "journal"), "max_bytes": "256MiB"},
            "http": {"listen": f"127.0.0.1:{free_port(PORT)}"},
        }
    )
    return configuration.parse(text, where="demo", environ={}, folder=folder, kinds=configuration.known_kinds())


def free_port(wanted: int) -> int:
    """Return `wanted` if this machine's loopback has it free, else 0: any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the demo gracefully."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _names(plan: Sequence[TopicPlan]) -> list[str]:
    return [topic.name for topic in plan if topic.role in {topics.Role.DATA, topics.Role.DEAD_LETTERS}]


def _value(record: tail.Seen) -> str:
    """Return the value on one line, without what is null or empty. Neither ids nor headers hold a brace."""
    text = tail.pretty(record)
    return text[text.index("{") :]


def _summary(facts: Facts) -> str:
    counts = facts.counts
    return (
        f"{screen.clock(facts.seconds)} min: {counts.frames:,} frames in, {counts.records:,} records out, "
        f"{counts.duplicates:,} duplicates and {counts.unchanged:,} unchanged states dropped, "
        f"{counts.dead_letters:,} dead letters. A consumer has counted {sum(counts.topics.values()):,} records, dead letters included."
    )
