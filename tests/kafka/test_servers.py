"""The servers that the other tests stand on do what those tests take for granted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka.conftest import Kafka, Registry
from tests.servers import fetch
from tests.servers.apicurio import Apicurio
from tests.servers.kafka import KafkaCluster, cluster_id
from tests.servers.process import Port, Process, ServerError
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(180)

JavaPartitions = Callable[[Sequence[bytes], int], list[int]]


def make_topic(bootstrap: str, topic: str, *, partitions: int = 1) -> None:
    """Create a topic with the broker's own replication factor."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=partitions)])[topic].result(timeout=30)


def transactional(bootstrap: str, name: str) -> Producer:
    """Return a producer that has fenced its predecessors."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})
    producer.init_transactions(60)
    return producer


def commit(producer: Producer, topic: str, *values: bytes) -> None:
    """Publish the values in one transaction."""
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.commit_transaction(60)


def values(bootstrap: str, topic: str, **options: Any) -> list[bytes | None]:
    """Return the values of all messages of a topic."""
    return [message.value() for message in read_topics(bootstrap, topic, **options)]


# --- Kafka ---------------------------------------------------------------------------------------------------------


def test_read_committed_shows_what_was_committed_and_nothing_else(kafka: Kafka, topic_prefix: str) -> None:
    """Aborted records are on the broker, but only a read_uncommitted consumer sees them."""
    topic = topic_prefix + "records"
    make_topic(kafka.bootstrap, topic)
    producer = transactional(kafka.bootstrap, topic_prefix + "id")
    commit(producer, topic, b"first")
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(30)
    producer.abort_transaction(60)
    commit(producer, topic, b"second")
    assert values(kafka.bootstrap, topic) == [b"first", b"second"]
    assert values(kafka.bootstrap, topic, isolation="read_uncommitted") == [b"first", b"aborted", b"second"]


def test_topic_is_never_made_by_using_it(kafka: Kafka, topic_prefix: str) -> None:
    """A record for a topic that nobody created is refused."""
    seen: list[KafkaError | None] = []
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "topic.metadata.propagation.max.ms": 500, "message.timeout.ms": 5000}
    )
    producer.produce(topic_prefix + "nobody", b"x", on_delivery=lambda error, _message: seen.append(error))
    producer.flush(30)
    assert seen
    assert seen[0] is not None
    assert seen[0].code() in {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MSG_TIMED_OUT}
    with pytest.raises(KafkaException):
        read_topics(kafka.bootstrap, topic_prefix + "nobody")


def test_killed_broker_comes_back_with_its_data_on_its_port(broker: KafkaCluster) -> None:
    """What was committed before SIGKILL is there after the next start, and the same producer goes on."""
    make_topic(broker.bootstrap, "records")
    producer = transactional(broker.bootstrap, "id")
    commit(producer, "records", b"before")
    bootstrap, pid = broker.bootstrap, broker.pid()
    broker.kill()
    assert not Path(f"/proc/{pid}").exists()
    broker.start()
    assert broker.bootstrap == bootstrap
    commit(producer, "records", b"after")
    assert values(broker.bootstrap, "records") == [b"before", b"after"]


def test_paused_broker_is_silent_and_answers_again_when_resumed(broker: KafkaCluster) -> None:
    """A frozen broker refuses nothing and answers nothing: clients must find out by time."""
    broker.pause()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    with pytest.raises(KafkaException) as caught:
        admin.list_topics(timeout=1)
    assert caught.value.args[0].code() in {KafkaError._TRANSPORT, KafkaError._TIMED_OUT}
    broker.resume()
    assert 1 in admin.list_topics(timeout=30).brokers


def test_three_nodes_commit_without_one_of_them(cluster3: KafkaCluster) -> None:
    """Two of three nodes are enough for transactions; the third catches up when it is back."""
    make_topic(cluster3.bootstrap, "records", partitions=3)
    producer = transactional(cluster3.bootstrap, "id")
    commit(producer, "records", b"three")
    leader = AdminClient({"bootstrap.servers": cluster3.bootstrap}).list_topics(timeout=10).topics["records"]
    cluster3.kill(leader.partitions[0].leader)
    commit(producer, "records", b"two")
    cluster3.start()
    cluster3.wait_in_sync()
    assert sorted(value or b"" for value in values(cluster3.bootstrap, "records")) == [b"three", b"two"]


def test_cluster_id_is_never_taken_for_an_option() -> None:
    """No id begins with a hyphen, and each is new."""
    ids = {cluster_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert not [name for name in ids if name.startswith("-") or len(name) != 22]


# --- Registry ------------------------------------------------------------------------------------------------------


def ask(url: str, body: object = None, *, method: str | None = None) -> Any:
    """Call the registry and return its JSON."""
    request = urllib.request.Request(  # noqa: S310 - http on loopback
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        return json.load(answer)


def record(*fields: dict[str, Any]) -> dict[str, str]:
    """Return the body that registers a record schema."""
    return {"schema": json.dumps({"type": "record", "name": "Record", "fields": list(fields)})}


TEXT = {"name": "text", "type": "string"}
NUMBER = {"name": "number", "type": "long"}


def test_registry_refuses_an_incompatible_version(registry: Registry, topic_prefix: str) -> None:
    """Under FULL_TRANSITIVE a new field without a default is a 409, one with a default a new id."""
    subject = f"{registry.url}/subjects/{topic_prefix}records-value/versions"
    ask(f"{registry.url}/config/{topic_prefix}records-value", {"compatibility": "FULL_TRANSITIVE"}, method="PUT")
    first = ask(subject, record(TEXT))["id"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(subject, record(TEXT, NUMBER))
    with caught.value as refused:
        assert refused.status == 409
    assert ask(subject, record(TEXT, NUMBER | {"default": 0}))["id"] != first
    assert json.loads(ask(f"{registry.url}/schemas/ids/{first}")["schema"])["fields"] == [TEXT]


def test_killed_registry_comes_back_with_its_schemas(tmp_path: Path) -> None:
    """A schema keeps its id through SIGKILL, SIGTERM and the next starts."""
    with Apicurio(tmp_path / "registry") as own:
        own.start()
        url = own.url
        given = ask(f"{url}/subjects/records-value/versions", record(TEXT))["id"]
        for end in (own.kill, own.stop):
            end()
            with pytest.raises(urllib.error.URLError, match="refused"):
                ask(f"{url}/subjects")
            own.start()
            assert own.url == url
            assert ask(f"{url}/subjects/records-value/versions/1")["id"] == given


# --- Java's partitions ---------------------------------------------------------------------------------------------


def test_java_and_murmur2_random_agree(kafka: Kafka, topic_prefix: str, java_partitions: JavaPartitions) -> None:
    """librdkafka's murmur2_random puts every key where Java's producer would."""
    topic = topic_prefix + "keys"
    make_topic(kafka.bootstrap, topic, partitions=7)
    chance = Random(20)
    keys = sorted({chance.randbytes(chance.randrange(1, 40)) for _ in range(500)})
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, b"", key)
    producer.flush(30)
    placed = {message.key(): message.partition() for message in read_topics(kafka.bootstrap, topic)}
    assert [placed[key] for key in keys] == java_partitions(keys, 7)


def test_java_partitions_follow_the_published_hashes(java_partitions: JavaPartitions) -> None:
    """The oracle gives what follows from the hashes in Kafka's own unit test of murmur2 (UtilsTest.testMurmur2)."""
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    for count in (1, 6, 1000):
        assert java_partitions(list(hashes), count) == [(number & 0x7FFFFFFF) % count for number in hashes.values()]


# --- Processes -----------------------------------------------------------------------------------------------------


def wait_gone(pid: int, *, timeout: float = 20.0) -> None:
    """Return when no such process is left; a zombie is gone."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} is still there after {timeout:g} s")


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that runs a piece of Python in a process of its own and the folder given, with further arguments."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), *arguments],
            cwd=folder, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line that the process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


ROOT = fetch.CACHE.parent

START_SLEEPER = """
    import sys, time
    from pathlib import Path
    from tests.servers.process import Process
    process = Process("sleeper", ["sleep", "600"], log=Path(sys.argv[1]) / "log")
    process.start()
    print(process.pid, process._keeper.pid, flush=True)
    time.sleep(600)
"""


def test_servers_die_with_a_killed_owner(owner: Callable[[str, Path], subprocess.Popen[str]]) -> None:
    """SIGKILL of the process that started a server ends the server."""
    process = owner(START_SLEEPER, ROOT)
    pid, _ = map(int, said(process).split())
    process.send_signal(signal.SIGKILL)
    wait_gone(pid)


START_SHELL = """
    import sys, time
    from pathlib import Path
    from tests.servers.process import Process
    log = Path(sys.argv[1]) / "log"
    shell = Process("shell", ["bash", "-c", "sleep 600 & echo $!; " + sys.argv[2]], log=log)
    shell.start()
    while not log.exists() or not log.read_text().endswith("\\n"):
        time.sleep(0.01)
    print(log.read_text().strip(), flush=True)
    print(shell.wait(timeout=600), flush=True)
"""


def test_what_a_shell_has_started_dies_with_a_killed_owner(owner: Callable[..., subprocess.Popen[str]]) -> None:
    """Background processes too: a shell that is killed leaves them to nobody."""
    process = owner(START_SHELL, ROOT, "wait")
    pid = int(said(process))
    process.send_signal(signal.SIGKILL)
    wait_gone(pid)


def test_what_a_shell_has_started_dies_when_it_ends(owner: Callable[..., subprocess.Popen[str]]) -> None:
    """By itself; its exit status is told."""
    process = owner(START_SHELL, ROOT, "exit 7")
    pid = int(said(process))
    assert said(process) == "7"
    wait_gone(pid)


def test_servers_die_with_a_killed_keeper(owner: Callable[[str, Path], subprocess.Popen[str]]) -> None:
    """SIGKILL of the keeper between owner and server ends the server too."""
    process = owner(START_SLEEPER, ROOT)
    pid, keeper = map(int, said(process).split())
    os.kill(keeper, signal.SIGKILL)
    wait_gone(pid)


def test_server_outlives_the_thread_that_started_it(
    owner: Callable[[str, Path], subprocess.Popen[str]],
) -> None:
    """A test may start a server from a worker thread; only the end of the whole process ends the server."""
    process = owner(
        """
        import sys, threading, time
        from pathlib import Path
        from tests.servers.process import Process
        process = Process("sleeper", ["sleep", "600"], log=Path(sys.argv[1]) / "log")
        thread = threading.Thread(target=process.start)
        thread.start()
        thread.join()
        while Path(f"/proc/self/task/{thread.native_id}").exists():
            time.sleep(0.01)
        process.pause()
        process.resume()
        print(process.running, flush=True)
        process.stop()
        print(process.running, flush=True)
        """,
        ROOT,
    )
    assert said(process) == "True"
    assert said(process) == "False"


USE_REGISTRY = """
    import time
    from tests.servers.shared import use
    with use("registry") as running:
        print(running.address, *running.pids, flush=True)
        time.sleep(600)
"""


def test_shared_server_is_one_and_ends_with_its_last_user(
    owner: Callable[[str, Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Two processes get the same server; it outlives the first that is killed and ends after the second."""
    # A checkout of its own, as the servers of this one may be in use or kept running
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "tests", checkout / "tests")
    (checkout / ".cache").mkdir()
    fetch.fetch("apicurio")
    (checkout / ".cache" / "servers").symlink_to(fetch.CACHE / "servers")
    first, second = owner(USE_REGISTRY, checkout), owner(USE_REGISTRY, checkout)
    address, host, server = said(first).split()
    assert said(second).split() == [address, host, server]
    first.kill()
    first.wait()
    assert ask(f"{address}/subjects") == []
    second.kill()
    wait_gone(int(server))
    wait_gone(int(host))
    third = owner(USE_REGISTRY, checkout)
    assert said(third).split()[1:] != [host, server]
    third.kill()


def test_port_stays_ours_while_its_server_is_down() -> None:
    """Connecting is refused, nobody else can bind, and a server that reuses addresses (as Java does) can."""
    port = Port()
    assert not port.listening()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port.number))
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port.number))
        server.listen()
        assert port.listening()
    assert not port.listening()
    port.close()


def test_server_that_fails_to_start_says_why(tmp_path: Path) -> None:
    """The error holds the end of the program's log."""
    process = Process("failing", ["sh", "-c", "echo out of luck; exit 3"], log=tmp_path / "log")
    process.start()
    with pytest.raises(ServerError, match="out of luck"):
        process.wait_ready(lambda: False, timeout=10)
    with pytest.raises(ServerError, match="not running"):
        process.pause()


# --- Archives ------------------------------------------------------------------------------------------------------


def test_without_a_jdk_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests on real servers fail, and name the packages, where there is no JDK."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetch.FetchError, match=r"`java`.*openjdk"):
        KafkaCluster(tmp_path / "broker")


def test_without_rabbitmq_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither installed nor to be had from Debian: the error names the package."""
    monkeypatch.setattr(fetch, "CACHE", tmp_path)
    monkeypatch.setattr(fetch, "_has_rabbitmq", lambda _root: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetch.FetchError, match=r"`apt-get`.*rabbitmq-server"):
        fetch.fetch_rabbitmq()


def test_archive_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """A changed, a missing and an unexpected file are each named."""
    for name in ("same.jar", "changed.jar", "extra.jar"):
        (tmp_path / name).write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    with pytest.raises(fetch.FetchError, match=r": changed\.jar, extra\.jar, missing\.jar$"):
        fetch._check("kafka", tmp_path, {"same.jar": digest, "changed.jar": "0" * 64, "missing.jar": digest})
