"""Consumers of any stack read the same: Python with and without a vendor's deserializer, Java, and kcat the bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pytest
from confluent_kafka import Producer
from fastavro.utils import generate_many

from bridge import topics
from bridge.catalog import Catalog
from bridge.config import Config
from bridge.example import Examples
from bridge.frame import Headers
from bridge.kafka import Admin
from bridge.registry import Registry as RegistryClient
from bridge.topics import Role, SubjectPlan, subjects
from tests.installation import installation
from tests.kafka.conftest import Kafka, Registry
from tests.servers.fetch import fetch_kcat, java

#: Servers may have to be fetched and started first, and the machine may be busy.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
JAVA = ROOT / ".cache" / "java-example"
CATALOG = Catalog.load()
KINDS = {"cs2": "ticktock", "markets": "predictstreet-market", "wallet": "predictstreet-user"}


class Published(NamedTuple):
    """What is in the topics. records: topic → the contents that were sent, each as `text`."""

    names: list[str]
    records: dict[str, list[str]]


class Read(NamedTuple):
    """What a consumer printed, small enough for half a million records.

    lines: (topic, partition, offset) → digest of all that it says. contents: topic → digests of the values. sources: the
    headers `source`.
    """

    lines: dict[tuple[str, int, int], bytes]
    contents: dict[str, list[bytes]]
    sources: set[str]


@pytest.fixture(scope="module")
def published(kafka: Kafka, registry: Registry, tmp_path_factory: pytest.TempPathFactory, *, soak: bool) -> Published:
    """Records of every type, an example of each first, and of an aborted transaction in between."""
    config = installation(
        KINDS,
        kafka={"bootstrap.servers": kafka.bootstrap},
        registry={"url": registry.url, "register": True},
        prefix=f"consumers{os.getpid()}.",
        partitions=2,
        replication_factor=1,
        config={"retention.ms": "-1"},  # the times below are long ago: the broker would delete them in the long form
    )
    plan = topics.plan(config, CATALOG)
    topics.apply(Admin(config), plan)
    with RegistryClient(config.registry, cache=tmp_path_factory.mktemp("ids")) as client:  # type: ignore[arg-type]
        ids = client.resolve_all(plan)
    data = [each for topic in plan if topic.role is Role.DATA for each in subjects([topic])]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{config.name}.{os.getpid()}"})
    producer.init_transactions(60)
    made: dict[str, list[str]] = {}
    examples = Examples(CATALOG)
    for subject in data:
        contents = list(_contents(subject, examples, config, 10_000 if soak else 250))
        made[subject.topic] = list(map(text, contents))
        schema = fastavro.parse_schema(dict(subject.schema))
        for count, abort in ((len(contents), False), (3, True)):
            producer.begin_transaction()
            for number, record in enumerate(contents[:count]):
                out = io.BytesIO(b"\0" + ids[subject.subject].to_bytes(4, "big"))
                out.seek(5)
                fastavro.schemaless_writer(out, schema, record)
                headers: Headers = [("type", subject.type.encode()), ("source", b"stream"), ("received", b"1")]
                producer.produce(
                    subject.topic,
                    out.getvalue(),
                    f"k{number % 7}",
                    headers=headers,
                    timestamp=1_700_000_000_000 + number,
                )
                producer.poll(0)
            producer.flush(60)
            (producer.abort_transaction if abort else producer.commit_transaction)(60)
    return Published([each.topic for each in data], made)


def _contents(subject: SubjectPlan, examples: Examples, config: Config, count: int) -> Iterator[dict[str, Any]]:
    """The example of a type, then whatever its schema allows."""
    assert subject.gateway is not None
    example = examples.of(config.gateways[subject.gateway].kind, subject.type)
    assert example is not None
    schema = fastavro.parse_schema(dict(subject.schema))
    first = fastavro.schemaless_reader(io.BytesIO(example.wire[10:]), schema, None)
    assert isinstance(first, dict)
    yield first
    random.seed(subject.type)
    for record in generate_many(schema, count - 1):
        assert isinstance(record, dict)
        yield record


def read(*command: str | Path) -> Read:
    """What an example prints."""
    found = Read({}, defaultdict(list), set())
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            each = json.loads(line)
            place = (each["topic"], each["partition"], each["offset"])
            assert place not in found.lines
            found.lines[place] = digest(text(each))
            found.contents[each["topic"]].append(digest(text(each["value"])))
            found.sources.add(each["headers"]["source"])
    assert process.returncode == 0
    return found


def test_all_stacks_read_the_same(kafka: Kafka, registry: Registry, published: Published) -> None:
    """Every record of every type, once, with equal contents, headers, keys and times; nothing of what was aborted."""
    python = ROOT / "examples" / "python"
    by_registry = read(sys.executable, python / "with_registry.py", kafka.bootstrap, registry.url, *published.names)
    by_fastavro = read(sys.executable, python / "with_fastavro.py", kafka.bootstrap, registry.url, *published.names)
    by_records = read(sys.executable, python / "with_records.py", kafka.bootstrap, registry.url, *published.names)
    classpath = f"{JAVA / 'target' / 'read-records-1.jar'}:{JAVA / 'target' / 'dependency'}/*"
    by_java = read(java(), "-cp", classpath, "ReadRecords", kafka.bootstrap, registry.url, *published.names)
    assert len(by_registry.lines) == sum(map(len, published.records.values()))
    assert by_registry.lines == by_fastavro.lines
    assert by_registry.lines == by_records.lines
    assert by_registry.lines == by_java.lines
    for name, records in published.records.items():
        assert sorted(by_registry.contents[name]) == sorted(map(digest, records))
    assert by_java.sources == {"stream"}


def text(record: Any) -> str:
    """Contents to be compared."""
    return json.dumps(record, sort_keys=True)


def digest(contents: str) -> bytes:
    """Equal where the contents are."""
    return hashlib.blake2b(contents.encode(errors="surrogatepass"), digest_size=12).digest()


def test_kcat_sees_the_same_bytes(kafka: Kafka, published: Published) -> None:
    """Headers and raw values; decoded, they are what the others read."""
    name = next(each for each in published.names if each.endswith("match.updated"))
    lines = kcat("headers.sh", kafka.bootstrap, name).decode().splitlines()
    raw = kcat("values.sh", kafka.bootstrap, name)
    values = []
    while raw:
        size = int.from_bytes(raw[:4], "big")
        values.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    expected = published.records[name]
    assert len(lines) == len(values) == len(expected)
    assert all("type=match.updated,source=stream" in line for line in lines)
    assert [int(line.split("\t")[-1]) for line in lines] == list(map(len, values))
    schema = fastavro.parse_schema(dict(CATALOG.kind("ticktock").types["match.updated"].schema))
    found = [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in values]
    assert sorted(map(text, found)) == sorted(expected)


def kcat(script: str, *arguments: str) -> bytes:
    """What a script of the examples writes."""
    program, environ = fetch_kcat()
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    done = subprocess.run(
        [ROOT / "examples" / "kcat" / script, *arguments],
        env={**os.environ, **environ, "PATH": path}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_extensions_by_an_older_and_a_newer_schema() -> None:
    """A field that was in `extensions` under the old schema stands in its own under the new one; each reads the other."""
    old: Any = json.loads(CATALOG.kind("ticktock").types["match.updated"].schema_json)
    new: Any = json.loads(CATALOG.kind("ticktock").types["match.updated"].schema_json)
    data = next(field for field in new["fields"] if field["name"] == "data")["type"]
    data["fields"].insert(-1, {"name": "venue", "type": ["null", "string"], "default": None, "doc": "Where."})
    older, newer = fastavro.parse_schema(old), fastavro.parse_schema(new)
    [record] = generate_many(older, 1)
    assert isinstance(record, dict)
    record["data"]["extensions"] = {"venue": '"Katowice"'}
    was = transcode(record, older, newer)
    assert (was["data"]["venue"], was["data"]["extensions"]) == (None, {"venue": '"Katowice"'})
    record["data"] |= {"venue": "Katowice", "extensions": {}}
    now = transcode(record, newer, older)
    assert "venue" not in now["data"]
    assert transcode(record, newer, newer)["data"]["venue"] == "Katowice"


def transcode(record: Any, writer: Any, reader: Any) -> Any:
    """A record as it is read with another schema than it was written with."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, writer, record)
    out.seek(0)
    return fastavro.schemaless_reader(out, writer, reader)
