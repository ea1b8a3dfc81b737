"""What a gateway sends beyond its schemas is found in the topics, proposed as schemas, and lands in fields from then on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

import bridge.catalog
from bridge import history
from bridge.avsc import registered
from bridge.catalog import Catalog
from bridge.registry import Registry as Client
from bridge.sim import Sent
from bridge.survey import survey
from bridge.tail import Decoder, Seen, tail
from bridge.topics import plan, select
from bridge.verdict import Span
from tests.audit.frames import frames, scripted
from tests.installation import installation
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeHere, BridgeProcess, configuration, now

pytestmark = pytest.mark.timeout(300)

SCHEMAS = Path(__file__).parents[2] / "schemas"


def command(file: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a command as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", *words, "-c", str(file)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def sent(name: str, number: int, **data: Any) -> Sent:
    """A frame of this type."""
    frame = {"type": name, "data": {"id": f"p{number}", "match_id": "m1", **data}, "meta": {"seq": 10_000_000 + number}}
    return Sent(1, "list", 0, 0, msgspec.json.encode(frame))


async def test_from_the_topics_to_a_schema_that_takes_it(
    kafka: Kafka, registry: Registry, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulator, bridge, profile, proposal, its check by our rules and by the registry's, the bridge with the new schemas."""
    plain = [one for one in frames("ticktock", 300, seed=31, now=now()) if one.fault is None]
    news = [sent("match.updated", number, venue={"city": "Köln", "seats": 15_000 + number}) for number in range(5)]
    vetoes = [sent("map.veto", 10 + number, map="de_nuke", round=number) for number in range(5)]
    script = scripted("ticktock", [*plain, *news, *vetoes])
    async with script as sim:
        config = configuration(
            {"cs2": {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, "silence": "600s"}},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            registry=registry.url,
            # Each record is in two topics, and counted once.
            topics={"layout": ["type", "gateway"], "partitions": 2},
        )
        async with BridgeProcess(config, tmp_path / "bridge") as process:
            await script.script.finished()
            await process.received(sim.sent.total, gateway="cs2")
            await process.drained()
            code, out = await asyncio.to_thread(command, process.file, "profile", "--json")
            assert code == 0, out
            found = {(each["type"], each["schema"]): each for each in json.loads(out)["types"]}
            status = await process.status()
            assert json.loads(out)["records"] == sum(each["records"] for each in found.values())
            assert json.loads(out)["records"] == status["gateways"][0]["published"]
            assert found["map.veto", False]["records"] == 5
            fields = {each["path"]: each for each in found["match.updated", True]["fields"]}
            assert (fields["data.venue.seats"]["min"], fields["data.venue.seats"]["max"]) == ("15000", "15004")
            assert fields["data.venue"]["seen"] == 5
            code, out = await asyncio.to_thread(command, process.file, "profile", "--until", "2020-01-01")
            assert (code, out.splitlines()[-1].split(",")[0]) == (0, "0 records")

            folder = tmp_path / "schemas"
            shutil.copytree(SCHEMAS, folder)
            words = ["--propose", "match.updated", "--propose", "map.veto", "-o", str(folder)]
            code, out = await asyncio.to_thread(command, process.file, "profile", *words)
            assert code == 0, out
            assert await process.stop() == 0
        accepted_by_all(folder, registry, topic_prefix)
        # As if this were the next version's package.
        monkeypatch.setattr(bridge.catalog, "_shipped", lambda: folder)
        async with BridgeHere(config, tmp_path / "bridge") as here:
            await here.role("active")
            await sim.wait(lambda _: sim.accepted == 2, seconds=90)
            again = [sent("match.updated", 20, venue={"city": "Rio"}), sent("map.veto", 21, map="de_mirage")]
            for one in again:
                assert sim.send(one.raw) == 1
            await here.received(2, gateway="cs2")
            await here.drained()
    with SchemaRegistryClient({"url": registry.url}) as client:
        assert client.get_versions(f"{topic_prefix}cs2.match.updated-value") == [1, 2]
        assert client.get_versions(f"{topic_prefix}cs2-feedbridge.ticktock.MapVeto") == [1]
    last = {one.topic.removeprefix(topic_prefix): one for one in records(config, topic_prefix, registry)}
    assert last["cs2.match.updated"].data["data"]["venue"]["city"] == "Rio"
    assert "venue" not in last["cs2.match.updated"].data["data"]["extensions"]
    assert (last["cs2.map.veto"].data["data"]["map"], last["cs2.map.veto"].key) == ("de_mirage", b"m1")


def records(config: dict[str, Any], prefix: str, registry: Registry) -> list[Seen]:
    """What is in the topics of these two types, the latest last; a survey of them is told to its end, and finds nothing new."""
    found = installation(kafka=config["kafka"], prefix=prefix, registry={"url": registry.url})
    assert found.registry is not None
    topics = [f"{prefix}cs2.{name}" for name in ("match.updated", "map.veto")]
    told: list[tuple[int, int]] = []
    with Client(found.registry) as client:
        catalog = Catalog.load()
        seen = survey(
            found,
            catalog,
            Decoder([], registry=client),
            select(plan(found, catalog), topics),
            span=Span(since=now() - 600_000),
            progress=lambda _, done, whole: told.append((done, whole)),
        )
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1] > 0
        assert seen.profiler.types["cs2", "map.veto", True].records == 1
        assert not [row for row in seen.profiler.types["cs2", "map.veto", True].rows() if not row.known]
        return list(tail(found, topics, Decoder([], registry=client), start="beginning", last=50, follow=False))


def accepted_by_all(folder: Path, registry: Registry, prefix: str) -> None:
    """Assert that the proposals break nothing, as the history, the catalog and the registry judge them."""
    assert history.check(folder) == []
    kind = Catalog.load(folder).kind("ticktock")
    grown = kind.types["match.updated"]
    with SchemaRegistryClient({"url": registry.url}) as client:
        subject = f"{prefix}cs2.match.updated-value"
        assert client.get_compatibility(subject) == "FULL_TRANSITIVE"
        assert grown.schema == registered(json.loads((folder / "ticktock" / "match.updated.avsc").read_text()))
        assert client.test_compatibility(subject, Schema(grown.schema_json, "AVRO"))
    assert kind.types["map.veto"].key == (("data", "match_id"),)
