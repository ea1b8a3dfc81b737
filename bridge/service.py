"""A running bridge: gateways on the event loop, lanes in their threads, and what starts and stops them.

The gateways receive from the first moment, into the journal; Kafka, its topics and the registry may come later. A frame
that has reached the process is safe from then on, whatever else is not there yet.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
import uuid
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bridge import __version__, grounds, kafka, native, topics
from bridge.catalog import Catalog
from bridge.cloudevents import Events
from bridge.dedupe import Window
from bridge.errands import Errands
from bridge.errors import BridgeError, Refused, Unreachable
from bridge.filling import Filling
from bridge.frame import EVENT, Frame
from bridge.gateways import kinds, schemas
from bridge.gateways.gateway import Outside
from bridge.grounds import Grounds
from bridge.intake import Intake
from bridge.journals import Journals
from bridge.lane import ACTIVE, RECOVERING, Lane
from bridge.lanes import Router, roles
from bridge.ledger import EntryCodec, Memory
from bridge.ledger_reader import LedgerReader
from bridge.link import Linker
from bridge.ops import http
from bridge.ops.census import Census
from bridge.ops.metrics import Metrics
from bridge.ops.tally import Tally
from bridge.overview import overview
from bridge.parts import Parts
from bridge.pipeline import Pipeline
from bridge.plan import Outdated, Plan
from bridge.planner import Means, Planner
from bridge.publisher import GivenUp, Publisher
from bridge.recovery import GapWriter, Outages
from bridge.refusal import Refusals
from bridge.revival import Revival
from bridge.route import MAX_VALUE, Route, Ways
from bridge.topics import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from bridge.config import Config
    from bridge.gateways.gateway import Gateway
    from bridge.ledger import Connection
    from bridge.ops.otlp import Telemetry
    from bridge.reload import Change

#: How often (s) Kafka or the registry is asked again while it does not answer.
RETRY: Final = 1.0
#: How often (s) the service looks after its parts.
WATCH: Final = 0.2
#: Without a sign of life this long (s), a lane's thread is taken for stuck.
STUCK: Final = 60.0
#: An active lane commits at least every half second; this much later (s) it is no longer ready.
SILENT: Final = 5.0

log = structlog.get_logger(__name__)


class Service:
    """One bridge process. `run` it once."""

    def __init__(
        self,
        config: Config,
        *,
        catalog: Catalog | None = None,
        metrics: Metrics | None = None,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        host: str | None = None,
        receive: bool = True,
    ) -> None:
        """Load the schemas; nothing is opened yet.

        now: ms since the epoch. host: name of the machine; None: its own. receive: open the gateways' streams; else gaps
        are filled, and nothing more.

        Raises ConfigError for schemas, topics or lanes that can't be, and for a library that is not installed.
        """
        self.config = config
        self.metrics = metrics or Metrics()
        self.instance = uuid.uuid4().hex
        self.address: str | None = None
        self._catalog = catalog or Catalog.load(extra=schemas())
        self._plan = topics.plan(config, self._catalog)
        self._now = now
        self._census = Census(self.metrics, now=now)
        self._receive = receive
        self._started = now()
        self._beat = monotonic()
        self._journals: Journals | None = None
        self._gateways: list[Gateway] = []
        self._filling: Filling
        self._errands: Errands | None = None
        #: Gateways whose gaps are filled by themselves.
        self._fillable: frozenset[str] = frozenset()
        self._lanes: list[Lane] = []
        #: How the last reload of the configuration ended, see `bridge.reload`.
        self.reloaded: Callable[[], dict[str, Any] | None] = lambda: None
        #: Why the lanes can't be started yet.
        self._waiting: str | None = "starting"
        host = host or socket.gethostname()
        self._owned = config.lanes.owned(host)
        self._held = tuple(sorted({*self._owned, *config.lanes.covered(host)}))
        self._over = threading.Event()
        self._ledger_codec = EntryCodec(self._catalog.own("ledger"), self._catalog.older("ledger"))
        self._telemetry = self._collected() if receive else None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, or until nothing is left to do.

        Raises Refused if every gateway refused its key, ConfigError for what only a change of the configuration mends.
        """
        config = self.config
        self._journals = journals = Journals.open(
            Path(config.journal.path),
            count=config.lanes.count,
            lanes=self._held,
            max_bytes=config.journal.max_bytes,
            fsync=config.journal.fsync,
            instance=self.instance,
        )
        self.metrics.watch(journals)
        runner: web.AppRunner | None = None
        tasks: list[asyncio.Task[None]] = []
        try:
            runner = await self._shown()
            spread = self._spread(journals)
            intake = Intake(
                journals,
                now=self._now,
                spread=spread and (lambda frames: self._narrow(spread(frames))),
            )
            # Whatever was up when the last process with this journal ended has been cut since.
            intake.put(Frame("", "", self._now(), EVENT, msgspec.json.encode({"event": "start"})))
            self._gateways = [
                kinds()[settings.kind](name, settings, intake=intake, metrics=self.metrics)
                for name, settings in config.gateways.items()
            ]
            self._filling, self._errands = filling, errands = self._fill(intake)
            log.info("started", name=config.name, version=__version__, page=self.address)
            if not native.available():
                log.info("pure_python", reason=native.absent)  # frames take 1.7 times the CPU
            running = self._gateways if self._receive else []
            receiving = [asyncio.create_task(each.run(), name=f"gateway {each.name}") for each in running]
            starting = asyncio.create_task(self._start_lanes(journals, filling), name="lanes")
            asking = asyncio.create_task(filling.run(), name="filling")
            running_errands = asyncio.create_task(errands.run(), name="errands")
            tasks = [*receiving, starting, asking, running_errands]
            await self._watch(stop, tasks)
            errands.stop()
            asking.cancel()
            await asyncio.wait([asking])
            if not self._receive:
                await filling.close()
            for task in receiving:
                task.cancel()
            if receiving:
                await asyncio.wait(receiving)
            intake.flush()
            self._over.set()
            starting.cancel()
            await self._stop_lanes()
        finally:
            self._over.set()
            if self._errands is not None:
                self._errands.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for lane in self._lanes:
                lane.stop(0)
                await asyncio.to_thread(lane.join, 5)
            if runner is not None:
                await runner.cleanup()
            journals.close()
            if self._telemetry is not None:
                await asyncio.to_thread(self._telemetry.close)
            log.info("stopped", name=config.name, frames_left=journals.frames)

    async def _shown(self) -> web.AppRunner | None:
        """Begin to tell others how it goes: pages over HTTP, and a collector."""
        runner = None
        if self.config.http.listen is not None and self._receive:
            runner = await http.serve(
                self.config.http.listen,
                status=self.status,
                ready=self.ready,
                healthy=self.healthy,
                metrics=self.metrics,
            )
            self.address = http.address(runner)
        if self._telemetry is not None:
            self._telemetry.start()
        return runner

    def _collected(self) -> Telemetry | None:
        """What sends the metrics to a collector; None: nobody wants them, and nothing of it is imported."""
        if self.config.telemetry.otlp is None:
            return None
        from bridge.ops.otlp import Telemetry

        return Telemetry(
            self.config.telemetry.otlp, self.metrics.registry, name=self.config.name, instance=self.instance
        )

    def _fill(self, intake: Intake) -> tuple[Filling, Errands]:
        """Who has gaps filled, and who hears what is asked for by hand."""
        recoverers = {gateway.name: gateway.recoverer for gateway in self._gateways}
        self._fillable = frozenset(name for name, each in recoverers.items() if each and each.settings.gaps)
        filling = Filling(
            recoverers,
            intake=intake,
            outside=Outside(wall=self._now),
            span=round(self.config.dedupe.window * 1000),
            connected=self._connected,
            told=self._entered,
        )
        errands = Errands(
            self.config,
            self._catalog,
            intake=intake,
            filling=filling,
            gateways=recoverers,
            routes=lambda: self._routes({}),
            now=self._now,
        )
        return filling, errands

    def _entered(self, lane: int, cursors: Mapping[str, str]) -> None:
        """A lane has become active."""
        if self._errands is not None:
            self._errands.active(lane, cursors)

    def _narrow(self, spread: dict[int, list[Frame]]) -> dict[int, list[Frame]]:
        """Keep from lanes what is not theirs. spread: frames over lanes."""
        kept = self._filling.narrow(spread)
        return kept if self._errands is None else self._errands.narrow(kept)

    def _connected(self) -> dict[str, bool]:
        """Gateway → whether its frames flow."""
        return {each.name: each.status().connected for each in self._gateways}

    def status(self) -> dict[str, Any]:
        """What `/api/status` shows."""
        ready, why = self.ready()
        return overview(
            {
                "name": self.config.name,
                "instance": self.instance,
                "version": __version__,
                "started": self._started,
                "now": self._now(),
                "ready": ready,
                "reason": why,
                "reload": self.reloaded(),
            },
            gateways=self._gateways,
            lanes=self._lanes,
            waiting=self._waiting,
            held=self._journals or self._held,
            journals=self._journals,
            max_bytes=self.config.journal.max_bytes,
            filling={each.name: self._filling.status(each.name) for each in self._gateways},
            census=self._census,
            metrics=self.metrics,
        )

    def configure(self, config: Config, change: Change) -> None:
        """Go by another configuration, whose differences are known to be such that a running bridge can take."""
        self.config = config
        for gateway in self._gateways:
            if gateway.name in change.gateways:
                gateway.configure(change.gateways[gateway.name])

    def ready(self) -> tuple[bool, str]:
        """Whether frames flow from at least one gateway to Kafka, or would if this process took over; and why."""
        if self._waiting is not None:
            return False, self._waiting
        for lane in self._lanes:
            status = lane.status()
            if status["trouble"] is not None or status["role"] == RECOVERING:
                return False, f"lane {status['lane']}: {status['trouble'] or 'reading the ledger'}"
            if status["role"] == ACTIVE and (ago := status["last_commit_seconds_ago"]) is not None and ago > SILENT:
                return False, f"lane {status['lane']}: no commit for {ago:.0f} s"
        if not any(gateway.status().connected for gateway in self._gateways):
            return False, "no gateway is connected"
        return True, roles([(lane.number, lane.role) for lane in self._lanes])

    def healthy(self) -> bool:
        """Whether the process itself makes progress; depends on nothing outside it."""
        return monotonic() - self._beat < STUCK and all(
            lane.is_alive() and monotonic() - lane.beat < STUCK for lane in self._lanes
        )

    async def _watch(self, stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
        """Look after the parts until it is time to stop."""
        while not stop.is_set():
            self._beat = monotonic()
            for task in tasks:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            for lane in self._lanes:
                if lane.failed is not None:
                    raise lane.failed
            if self._gateways and all(gateway.status().refused for gateway in self._gateways):
                details = "; ".join(f"{each.name}: {each.status().detail}" for each in self._gateways)
                raise Refused(f"every gateway refused its key ({details})", mend="renew the keys and start again")
            try:
                await asyncio.wait_for(stop.wait(), WATCH)
            except TimeoutError:
                continue

    def _spread(self, journals: Journals) -> Callable[[list[Frame]], dict[int, list[Frame]]] | None:
        """How frames are spread over the lanes of this process; None: there is only one lane.

        Moves what the journals of another number of lanes hold, and goes on with lanes whose journal still holds frames.
        """
        count = self.config.lanes.count
        span = round(self.config.dedupe.window * 1000)
        if count == 1:
            journals.move(lambda frames: {0: list(frames)})
            return None
        ways = {
            route.gateway: Ways(route, seq_scope=self.config.dedupe.seq_scope, max_value=MAX_VALUE)
            for route in self._routes({})
        }
        journals.move(Router(count=count, held=range(count), ways=ways, span=span).spread)
        for lane in journals.left():
            journals.hold(lane)
        if others := sorted(set(journals) - set(self._held)):
            log.warning("lanes_covered", lanes=others, reason="the journal holds frames of them")
        return Router(count=count, held=journals, ways=ways, span=span).spread

    async def _start_lanes(self, journals: Journals, filling: Filling) -> None:
        """Find schema ids, topics and the plan of lanes, then start them; asks again while Kafka or the registry is away."""
        found: Grounds | None = None
        while found is None:
            try:
                framing = await asyncio.to_thread(grounds.framing, self.config, self._plan)
                found = Grounds(*await asyncio.to_thread(self._ensure_topics), framing)
            except Unreachable as error:
                await self._wait_for(error)
        planner = self._planner(found)
        plan: Plan | None = None
        while plan is None:
            try:
                plan = await asyncio.to_thread(planner.run)
            except Outdated as outdated:
                # Frames go on into the journal: whoever starts with the right number publishes them.
                log.error("outdated", reason=str(outdated))  # noqa: TRY400 - the configuration is to blame
                self._waiting = str(outdated)
                return
            except GivenUp:
                return
            except BridgeError as error:
                await self._wait_for(error)
        lanes = [self._lane(lane, journals, plan, found, filling) for lane in journals]
        if self.metrics.total("waiting"):
            log.info("no_longer_waiting")
        self.metrics.waits_for(None)
        self._waiting = None
        self._lanes = lanes
        for lane in lanes:
            lane.start()

    async def _wait_for(self, error: BridgeError) -> None:
        """A person or time mends it; frames go on into the journal."""
        if self._waiting != str(error):
            log.warning("waiting", reason=str(error))
        self._waiting = str(error)
        self.metrics.waits_for("registry" if error.where == "registry" else "kafka")
        await asyncio.sleep(RETRY)

    async def _stop_lanes(self) -> None:
        timeout = self.config.shutdown.timeout
        for lane in self._lanes:
            lane.stop(max(timeout - 3.0, timeout / 2))
        for lane in self._lanes:
            await asyncio.to_thread(lane.join, timeout)

    def _ensure_topics(self) -> tuple[dict[str, int], int]:
        """See `bridge.grounds.ensure_topics`."""
        return grounds.ensure_topics(self.config, self._plan)

    def _planner(self, found: Grounds) -> Planner:
        config = self.config
        writer = self._gap_writer(found.framing)

        def outages(lane: int, connections: Mapping[tuple[str, str], Connection]) -> Outages:
            return Outages(writer, lane=lane, instance=self.instance, connections=connections)

        return Planner(
            Means(
                count=config.lanes.count,
                partitions=found.partitions,
                instance=self.instance,
                ledger_topic=topics.own_name(config, Role.LEDGER),
                span=round(config.dedupe.window * 1000),
                codec=self._ledger_codec,
                links=Linker(config.topics.prefix).links,
                publisher=lambda lane: self._publisher(lane, self._wait, self._over.is_set),
                reader=self._reader,
                outages=outages,
                give_up=self._over.is_set,
                now=self._now,
                chance=random.random,
            )
        )

    def _wait(self, reason: str | None) -> None:
        """Kafka keeps the planner waiting, or no longer does."""
        self._waiting = reason or "looking for the plan of lanes"

    def _gap_writer(self, framing: Mapping[tuple[str, str], bytes]) -> GapWriter:
        topic = topics.own_name(self.config, Role.GAPS)
        return GapWriter(topic, framing[topic, "gap"], self._catalog.own("gap"), events=Events.of(self.config))

    def _publisher(
        self,
        lane: int,
        waiting: Callable[[str | None], None],
        give_up: Callable[[], bool],
        largest: int | None = None,
    ) -> Publisher:
        reports = kafka.Reports()
        name = topics.transactional_id(self.config, lane)
        return Publisher(
            kafka.producer(self.config, transactional_id=name, lane=lane, reports=reports, largest=largest),
            transactional_id=name,
            reports=reports,
            waiting=waiting,
            give_up=give_up,
        )

    def _reader(self, partition: int) -> LedgerReader:
        reports = kafka.Reports()
        consumer = kafka.consumer(self.config, role="ledger", lane=partition, reports=reports)
        topic = topics.own_name(self.config, Role.LEDGER)
        return LedgerReader(consumer, self._ledger_codec, topic=topic, partition=partition, reports=reports)

    def _lane(self, number: int, journals: Journals, plan: Plan, found: Grounds, filling: Filling) -> Lane:
        config = self.config
        writer = self._gap_writer(found.framing)

        def memory() -> Memory:
            return Memory(
                Window(
                    span=round(config.dedupe.window * 1000),
                    max_identities=config.dedupe.max_identities,
                    keep_unchanged=config.dedupe.unchanged == "keep",
                )
            )

        def outages(memory: Memory) -> Outages:
            return Outages(
                writer,
                lane=number,
                instance=self.instance,
                connections=memory.connections,
                gaps=memory.gaps,
                span=memory.window.span,
                fillable=self._fillable,
            )

        first = memory()
        refusals = Refusals(found.limits, ask=lambda names: grounds.limits(config, names))
        pipeline = Pipeline(
            self._routes(found.framing),
            memory=first,
            outages=outages(first),
            seq_scope=config.dedupe.seq_scope,
            limits=refusals.limits,
            events=Events.of(config),
            revival=Revival(topic=topics.own_name(config, Role.REQUESTS), lane=number, lanes=config.lanes.count),
        )
        return Lane(
            Parts(
                lane=number,
                lanes=config.lanes.count,
                generation=plan.generation,
                covers=number not in self._owned,
                instance=self.instance,
                ledger_topic=topics.own_name(config, Role.LEDGER),
                journal=journals[number],
                former=journals.former,
                pipeline=pipeline,
                codec=self._ledger_codec,
                links=Linker(config.topics.prefix).links,
                memory=memory,
                outages=outages,
                publisher=lambda waiting, give_up: self._publisher(number, waiting, give_up, refusals.largest),
                refusals=refusals,
                reader=lambda: self._reader(number),
                others=lambda: {each: self._reader(each) for each in range(found.partitions) if each != number},
                now=self._now,
                takeover_after=config.standby.takeover_after,
                connected=self._connected,
                desk=filling.desk(number),
                chance=random.random,
                oversize=Path(config.journal.path) / "oversize",
                tally=Tally(self.metrics, self._census, lane=number),
            )
        )

    def _routes(self, framing: Mapping[tuple[str, str], bytes]) -> list[Route]:
        return grounds.routes(self.config, self._catalog, self._plan, framing)


__all__ = ["BridgeError", "Service"]
