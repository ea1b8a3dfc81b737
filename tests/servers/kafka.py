"""Apache Kafka (KRaft, version in ``pom-kafka.xml``): one node or three, each to be stopped, killed and frozen alone."""

from __future__ import annotations

import secrets
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from tests.servers.fetch import HERE, fetch, java
from tests.servers.process import Port, Process, ServerError

_START_TIMEOUT: Final = 90.0

#: What tests need otherwise than Kafka's defaults have it. A cluster's own `properties` win over these.
_PROPERTIES: Final = {
    # A topic that nobody made is a mistake that must show
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # Few partitions of the internal topics: the first group and the first transaction start at once
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.num.partitions": "10",
    "share.coordinator.state.topic.num.partitions": "1",
    # An abandoned transaction is ended a second after its time-out, not ten
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A dead node of three is noticed in 5 s, not 9
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "500",
    # The cleaner's default buffer would take a quarter of the small heap
    "log.cleaner.dedupe.buffer.size": "16777216",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class KafkaCluster:
    """A cluster on 127.0.0.1 whose data, logs and ports stay the same through any stop, kill and start.

    directory: for data and logs; created, must be empty or new. nodes: 1 or 3; they are numbered from 1, each is broker
    and controller. properties: broker properties beside or over those of the tests. heap: of each JVM.
    Without a replication factor of its own a topic gets as many replicas as there are nodes, with three
    ``min.insync.replicas`` is 2. detour: each node has a second listener for clients, see `Detour`. listeners: further
    ones of each node by name, with their security protocol, see `listener`; what they need else is in `properties`. options: of each
    JVM.
    quick: start with half the CPU (5 s instead of 9), but never get as fast: for tests that start nodes again and again.

    Every method that takes `node` means that node, or all of them. Errors are `ServerError`, with the end of the log.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: Literal[1, 3] = 1,
        properties: Mapping[str, str] | None = None,
        heap: str = "512m",
        detour: bool = False,
        listeners: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        quick: bool = False,
    ) -> None:
        self.directory = directory
        self.nodes: Final = tuple(range(1, nodes + 1))
        self._libraries = fetch("kafka")
        self._heap = heap
        self._options = tuple(options)
        self._quick = quick
        self._brokers = {node: Port() for node in self.nodes}
        self._controllers = {node: Port() for node in self.nodes}
        self._detours = {node: (Port(), Port()) for node in self.nodes if detour}
        self._protocols = dict(listeners or {})
        self._listeners = {(node, name): Port() for node in self.nodes for name in self._protocols}
        self._processes = {node: self._process(node) for node in self.nodes}
        replicas = str(nodes)
        self._properties = (
            _PROPERTIES
            | {
                "default.replication.factor": replicas,
                "min.insync.replicas": "2" if nodes == 3 else "1",
                "offsets.topic.replication.factor": replicas,
                "transaction.state.log.replication.factor": replicas,
                "transaction.state.log.min.isr": "2" if nodes == 3 else "1",
                "share.coordinator.state.topic.replication.factor": replicas,
                "share.coordinator.state.topic.min.isr": "2" if nodes == 3 else "1",
            }
            | dict(properties or {})
        )
        try:
            self._format()
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap(self) -> str:
        """``bootstrap.servers`` of all nodes, running or not."""
        return ",".join(self.address(node) for node in self.nodes)

    def address(self, node: int) -> str:
        """``host:port`` of one node."""
        return f"127.0.0.1:{self._brokers[node].number}"

    def detour(self, node: int = 1) -> Detour:
        """The second listener of a node; the cluster must have been made with `detour`."""
        inner, outer = self._detours[node]
        return Detour(inner.number, outer.number)

    def listener(self, name: str, *, host: str = "127.0.0.1") -> str:
        """``bootstrap.servers`` of all nodes at a further listener. host: another name of this machine."""
        return ",".join(f"{host}:{self._listeners[node, name].number}" for node in self.nodes)

    def pid(self, node: int = 1) -> int:
        """Pid of a running node's JVM."""
        return self._processes[node].pid

    def log(self, node: int = 1) -> Path:
        """The file with what a node says."""
        return self._processes[node].log

    def running(self, node: int = 1) -> bool:
        """Tell whether a node's process lives (paused is alive)."""
        return self._processes[node].running

    def start(self, node: int | None = None) -> None:
        """Start what is not running, and return when each started node serves clients."""
        starting = [number for number in self._which(node) if not self._processes[number].running]
        for number in starting:
            self._processes[number].start()
        for number in starting:
            self.wait_ready(number)

    def wait_ready(self, node: int, *, timeout: float = _START_TIMEOUT) -> None:
        """Return when the node itself answers a metadata request and counts itself among the live brokers."""
        self._processes[node].wait_ready(lambda: self._serves(node), timeout=timeout)

    def wait_in_sync(self, *, timeout: float = _START_TIMEOUT) -> None:
        """Return when every partition has a leader and all its replicas are in sync."""
        deadline = time.monotonic() + timeout
        while (behind := self._behind()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if behind:
            raise ServerError(f"not in sync after {timeout:g} s: {', '.join(behind)}")

    def stop(self, node: int | None = None, *, timeout: float = 60.0) -> None:
        """SIGTERM: a controlled shutdown. Of three nodes stop at most one so: without a quorum it waits for minutes."""
        for number in self._which(node):
            self._processes[number].stop(timeout=timeout)

    def kill(self, node: int | None = None) -> None:
        """SIGKILL."""
        for number in self._which(node):
            self._processes[number].kill()

    def pause(self, node: int | None = None) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        for number in self._which(node):
            self._processes[number].pause()

    def resume(self, node: int | None = None) -> None:
        """SIGCONT."""
        for number in self._which(node):
            self._processes[number].resume()

    def close(self) -> None:
        """Kill what runs and give the ports back; the directory is left to its owner."""
        with ExitStack() as rest:
            ports = (self._brokers, self._controllers, self._listeners)
            for port in (*chain(*(each.values() for each in ports)), *chain(*self._detours.values())):
                rest.callback(port.close)
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _which(self, node: int | None) -> tuple[int, ...]:
        return self.nodes if node is None else (node,)

    def _serves(self, node: int) -> bool:
        # A client that meets a closed port complains on stderr: ask only where someone listens
        if not self._brokers[node].listening():
            return False
        metadata = _metadata(self.address(node))
        return metadata is not None and node in metadata.brokers

    def _behind(self) -> list[str]:
        metadata = _metadata(self.bootstrap)
        if metadata is None:
            return ["no node answers"]
        return [
            f"{topic.topic}[{partition.id}]"
            for topic in metadata.topics.values()
            for partition in topic.partitions.values()
            if partition.leader < 0 or len(partition.isrs) < len(partition.replicas)
        ]

    def _process(self, node: int) -> Process:
        return Process(
            f"Kafka node {node}",
            self._java("kafka.Kafka", str(self._settings(node))),
            log=self.directory / f"node-{node}.log",
        )

    def _java(self, main: str, *arguments: str) -> list[str]:
        options = [f"-Xmx{self._heap}", "-Xms128m", "-XX:-UsePerfData", "-Djava.awt.headless=true"]
        if self._quick:
            options.append("-XX:TieredStopAtLevel=1")
        options += [*self._options, f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"]
        return [java(), *options, "-cp", f"{self._libraries}/*", main, *arguments]

    def _settings(self, node: int) -> Path:
        return self.directory / f"node-{node}.properties"

    def _format(self) -> None:
        """Write each node's properties and let Kafka's own tool prepare its data folder."""
        self.directory.mkdir(parents=True, exist_ok=True)
        cluster = cluster_id()

        def prepare(node: int) -> None:
            broker, controller = self.address(node), f"127.0.0.1:{self._controllers[node].number}"
            voters = ",".join(f"{other}@127.0.0.1:{port.number}" for other, port in self._controllers.items())
            properties = self._properties | {
                "process.roles": "broker,controller",
                "node.id": str(node),
                "controller.quorum.voters": voters,
                "controller.listener.names": "CONTROLLER",
                "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
                "advertised.listeners": f"PLAINTEXT://{broker}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,DETOUR:PLAINTEXT",
                "log.dirs": str(self.directory / f"node-{node}"),
            }
            for (each, name), port in self._listeners.items():
                if each == node:
                    properties["listeners"] += f",{name}://127.0.0.1:{port.number}"
                    properties["advertised.listeners"] += f",{name}://127.0.0.1:{port.number}"
                    properties["listener.security.protocol.map"] += f",{name}:{self._protocols[name]}"
            if self._detours:
                detour = self.detour(node)
                properties["listeners"] += f",DETOUR://127.0.0.1:{detour.inner}"
                properties["advertised.listeners"] += f",DETOUR://{detour.bootstrap}"
            self._settings(node).write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
            arguments = ("format", "--cluster-id", cluster, "--config", str(self._settings(node)))
            done = subprocess.run(
                self._java("kafka.tools.StorageTool", *arguments), capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise ServerError(f"Kafka node {node} could not be formatted:\n{done.stdout}{done.stderr}")

        with ThreadPoolExecutor() as pool:
            list(pool.map(prepare, self.nodes))


class Detour(NamedTuple):
    """A listener whose clients are told another port: whoever listens there is between them and the broker.

    inner: the port that the broker listens on. outer: the one that it tells; nothing listens there by itself.
    """

    inner: int
    outer: int

    @property
    def bootstrap(self) -> str:
        """``bootstrap.servers`` of a client that is to take the detour."""
        return f"127.0.0.1:{self.outer}"


def cluster_id() -> str:
    """Return a new cluster id: 16 bytes in URL-safe base64 without padding.

    The first byte is 0, since Kafka's command line takes an id that begins with ``-`` for an option.
    """
    return urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")


def _metadata(bootstrap: str) -> ClusterMetadata | None:
    """Ask any of the nodes what it knows of the cluster; None where none answers."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100})
    try:
        return client.list_topics(timeout=2.0)
    except KafkaException:
        return None
