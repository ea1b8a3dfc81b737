"""What `feedbridge topics acls` prints is enough, and no right in it is too many: on a broker that allows nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclBinding, AclOperation

from bridge import acls, requests
from bridge.catalog import Catalog
from bridge.check import check_kafka
from bridge.commands.filling import runs
from bridge.config import Config
from bridge.errors import BridgeError, Refused
from bridge.finding import Finding
from bridge.kafka import Admin
from bridge.mortuary import Mortuary
from bridge.proof import prove
from bridge.properties import typed
from bridge.requests import Request
from bridge.rights import Use, rights
from bridge.sim import TickTockSim
from bridge.tail import Decoder, tail
from bridge.topics import Role, TopicPlan, apply, plan, select
from bridge.verdict import Verdict
from tests.installation import installation
from tests.kafka.conftest import Registry
from tests.kafka.test_acceptance import Partitions, accepted
from tests.running import BridgeHere, configuration, ticktock
from tests.servers.fetch import fetch, java
from tests.servers.secured import USER, SecuredKafka, bindings

pytestmark = pytest.mark.timeout(300)

CATALOG = Catalog.load()
WISHES = [{"channel": "system", "ids": ["platform_status"]}]


def client(secured: SecuredKafka, prefix: str, *, user: str, **topics: Any) -> Config:
    """An installation whose user of PLAIN that is."""
    properties = secured.properties("PLAIN", user=user)
    return installation(kafka={name: typed(name, value) for name, value in properties.items()}, prefix=prefix, **topics)


def needed(config: Config, *uses: Use, user: str, read: Sequence[TopicPlan] = ()) -> list[AclBinding]:
    """The rights that are printed for these uses."""
    return bindings(acls.facts(rights(config, plan(config, CATALOG), uses, read=read)), user)


def make(secured: SecuredKafka, prefix: str, **topics: Any) -> Config:
    """The installation's topics, made by whoever may do all; returns its configuration."""
    config = installation(kafka={"bootstrap.servers": secured.cluster.bootstrap}, prefix=prefix, **topics)
    apply(Admin(config), plan(config, CATALOG))
    return config


def settled(ask: Callable[[], Any], good: Callable[[Any], bool], *, seconds: float = 20.0) -> Any:
    """What is answered once the broker has taken in what was granted or taken back; the last answer if it never is good."""
    deadline = time.monotonic() + seconds
    while not good(answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def lacking(config: Config) -> list[Finding]:
    """What `check` has to say of rights."""
    return [each for each in check_kafka(config, plan(config, CATALOG)) if "may not" in each.text or not each.ok]


def binding(right: AclBinding, operation: AclOperation) -> AclBinding:
    """Another right to the same thing."""
    pattern, permission = right.resource_pattern_type, right.permission_type
    return AclBinding(right.restype, right.name, pattern, right.principal, right.host, operation, permission)


def names(name: str, found: object) -> bool:
    """Whether an error names something."""
    return name in str(found)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return call()
    except BridgeError as error:
        return error


async def test_the_acceptance_run_passes_with_what_kafkas_own_tool_granted(
    secured: SecuredKafka,
    registry: Registry,
    topic_prefix: str,
    java_partitions: Partitions,
    tmp_path: Path,
) -> None:
    """TLS, SCRAM and the printed rights, by the printed commands: both gateways, every record right; topics made by `run`."""
    config = configuration(
        {
            "cs2": {"kind": "ticktock", "url": "ws://127.0.0.1:9", "api_key": "k"},
            "markets": {"kind": "predictstreet-market", "url": "ws://127.0.0.1:9", "api_key": "k", "subscribe": WISHES},
        },
        kafka="",
        prefix=topic_prefix,
    )
    config["kafka"] = secured.properties("SCRAM-SHA-512")
    file = tmp_path / "feedbridge.yaml"
    file.write_text(json.dumps(config))
    printed = await asyncio.to_thread(feedbridge, "topics", "acls", "-c", str(file))
    assert f"User:{USER}" in printed
    # Whoever grants rights logs in elsewhere; nothing else of the text is changed.
    await asyncio.to_thread(
        shell, printed.replace(secured.cluster.listener("SASL"), secured.cluster.bootstrap), tmp_path
    )
    await accepted(
        config["kafka"],
        reading=secured.cluster,
        registry=registry,
        topic_prefix=topic_prefix,
        java_partitions=java_partitions,
        folder=tmp_path,
        count=2_000,
    )


def feedbridge(*words: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell(text: str, folder: Path) -> None:
    """Run lines in a shell that finds Kafka's own tool."""
    tool = folder / "kafka-acls.sh"
    tool.write_text(
        f'#!/bin/sh\nexec {java()} -XX:TieredStopAtLevel=1 -cp "{fetch("kafka")}/*" org.apache.kafka.tools.AclCommand "$@"\n'
    )
    tool.chmod(0o755)
    (folder / "admin.properties").write_text("")
    done = subprocess.run(
        ["sh", "-e", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_right_that_lacks_is_named_and_nothing_else(
    secured: SecuredKafka, topic_prefix: str, *, soak: bool
) -> None:
    """Any single one of the printed rights taken back: `check` names it and its thing, in one finding; none, and all is well.

    Not at length: of the data topics, which are all alike, only one.
    """
    make(secured, topic_prefix)
    config = client(secured, topic_prefix, user="lacking")
    granted = needed(config, Use.RUN, user="lacking")
    secured.grant(granted)

    assert settled(partial(lacking, config), lambda found: not found) == []
    alike = {f"{topic_prefix}cs2.{each}" for each in ("dead-letters", "match.updated")}
    for right in granted if soak else [each for each in granted if ".cs2." not in each.name or each.name in alike]:
        secured.revoke(right)
        (finding,) = settled(partial(lacking, config), lambda found: len(found) == 1)
        name = f"{right.name}check" if right.name.endswith(".main.") else right.name.replace("kafka-cluster", "cluster")
        operation = AclOperation(right.operation).name.title().replace("_", "")
        assert name in finding.text
        assert f"the user may not {operation}" in finding.text
        assert finding.ok is spare(right), finding
        secured.grant([right])
        assert settled(partial(lacking, config), lambda found: not found) == []


def spare(right: AclBinding) -> bool:
    """Whether a bridge whose topics are there runs without it: to make topics, and to see how large records may be."""
    if right.operation is AclOperation.DESCRIBE_CONFIGS:
        return not right.name.endswith(".ledger")
    return right.operation in {AclOperation.CREATE, AclOperation.ALTER}


@pytest.mark.parametrize(
    ("topic", "operation", "ends"),
    [
        ("cs2.match.updated", AclOperation.WRITE, True),
        ("feedbridge.main.ledger", AclOperation.READ, False),
        ("feedbridge.main.", AclOperation.WRITE, False),
    ],
    ids=["data", "ledger", "transactional-id"],
)
async def test_a_run_says_which_right_lacks(
    secured: SecuredKafka, topic_prefix: str, tmp_path: Path, topic: str, operation: AclOperation, *, ends: bool
) -> None:
    """It ends with 77 where it can't see a topic; what lacks later keeps frames in the journal, and the status names it."""
    await asyncio.to_thread(make, secured, topic_prefix)
    config = client(secured, topic_prefix, user="lacking", create=False)
    granted = needed(config, Use.RUN, user="lacking")
    left = [each for each in granted if (each.name, each.operation) != (f"{topic_prefix}{topic}", operation)]
    assert len(left) == len(granted) - 1
    secured.grant(left)
    found = await asyncio.to_thread(settled, partial(lacking, config), lambda found: len(found) == 1)
    assert len(found) == 1
    async with TickTockSim(seed=1, rate=50) as sim:
        given = configuration({"cs2": ticktock(sim)}, kafka="", prefix=topic_prefix, topics={"create": False})
        given["kafka"] = secured.properties("PLAIN", user="lacking")
        bridge = BridgeHere(given, tmp_path / "bridge")
        await bridge.start()
        if ends:
            with pytest.raises(Refused, match=f"may not see topic '{topic_prefix}{topic}'"):
                await bridge.end()
            return
        name = f"{topic_prefix}{topic}" + ("0" if topic.endswith(".") else "")
        status = await bridge.until(
            lambda status: name in str(status["reason"]) and status["journal"]["frames"] > 0, what=f"{name} named"
        )
        assert not status["ready"]
        secured.grant(set(granted) - set(left))
        await bridge.ready()
        await bridge.stop()


def test_whoever_makes_topics_needs_no_more(secured: SecuredKafka, topic_prefix: str) -> None:
    """`topics plan` and `apply` pass, also with more lanes later; without any one right `apply` says which, and on what."""
    config = client(secured, topic_prefix, user="deployer")
    topics = plan(config, CATALOG)
    granted = needed(config, Use.APPLY, user="deployer")
    needs = [each for each in granted if each.operation is AclOperation.CREATE and ".cs2." not in each.name]
    secured.grant(set(granted) - set(needs))
    for right in needs:
        # One after the other is what lacks: the error names the first of those that are left.
        error = settled(lambda: outcome(lambda: apply(Admin(config), topics)), partial(names, right.name))
        assert isinstance(error, Refused)
        assert f"the user may not make topic {right.name!r}" in str(error)
        assert "Create" in str(error)
        secured.grant([right])
    made = settled(lambda: outcome(lambda: apply(Admin(config), topics)), lambda found: isinstance(found, list))
    assert {state.state for state in made} <= {"created", "ok"}
    assert not any(state.notes for state in made), "it sees settings, and the broker's default of replicas"
    more = client(secured, topic_prefix, user="deployer", lanes=3)
    alter = next(each for each in granted if each.operation is AclOperation.ALTER)
    secured.revoke(alter)
    secured.grant([binding(alter, AclOperation.DESCRIBE)])  # which Alter implied
    grow = partial(outcome, lambda: apply(Admin(more), plan(more, CATALOG)))
    error = settled(grow, partial(names, "Alter"))
    assert isinstance(error, Refused)
    assert f"may not add partitions to topic {alter.name!r}" in str(error)
    secured.grant([alter])
    grown = settled(grow, lambda found: isinstance(found, list))
    assert next(each.partitions for each in grown if each.plan.role is Role.LEDGER) == 3


async def test_readers_need_no_more(secured: SecuredKafka, topic_prefix: str, tmp_path: Path) -> None:
    """`verify`, `tail`, and requests to a running bridge pass, each with its own rights; and no reader may write."""
    await asyncio.to_thread(make, secured, topic_prefix)
    async with TickTockSim(seed=1, rate=200) as sim:
        given = configuration(
            {"cs2": ticktock(sim)}, kafka=secured.cluster.bootstrap, prefix=topic_prefix, lanes={"count": 1}
        )
        async with BridgeHere(given, tmp_path / "bridge") as bridge:
            await bridge.received(200, gateway="cs2")
            await bridge.drained()
    auditor, reader, operator, replayer = (
        client(secured, topic_prefix, user=each) for each in ("auditor", "reader", "operator", "deployer")
    )
    read = select(plan(reader, CATALOG), ["cs2"])
    secured.grant(
        [
            *needed(auditor, Use.VERIFY, user="auditor"),
            *needed(reader, Use.READ, user="reader", read=read),
            *needed(operator, Use.FILL, user="operator"),
            *needed(replayer, Use.REPLAY, user="deployer"),
        ]
    )

    def proved() -> Verdict:
        return prove(auditor, CATALOG, Decoder.of(CATALOG)).verdict

    def tailed() -> list[Any]:
        return list(tail(reader, [each.name for each in read], Decoder([]), start="beginning", follow=False))

    def replayed() -> tuple[bool, int]:
        with Mortuary(replayer, CATALOG) as mortuary:
            assert mortuary.receipts().since is None
            [letter] = mortuary.letters("cs2", {0: [0]})
            assert letter.value is None
            mortuary.may_write()
        return runs(replayer), requests.send(replayer, Request(gateway="cs2", letters={0: [0]}))

    def requested() -> int:
        return requests.send(operator, Request(gateway="cs2", since=1, until=2))

    found = await asyncio.to_thread(settled, lambda: outcome(proved), lambda one: not isinstance(one, BridgeError))
    assert isinstance(found, Verdict), found
    assert not found.counts
    records = await asyncio.to_thread(settled, lambda: outcome(tailed), lambda one: isinstance(one, list))
    assert len(records) > 100
    offset = await asyncio.to_thread(settled, lambda: outcome(requested), lambda one: isinstance(one, int))
    assert isinstance(offset, int)
    asked = await asyncio.to_thread(settled, lambda: outcome(replayed), lambda one: not isinstance(one, BridgeError))
    assert not isinstance(asked, BridgeError), asked
    assert asked[0] is False, "no bridge runs"
    # None of them has the rights of another.
    question = Request(gateway="cs2", since=1, until=2)
    for user in (auditor, reader):
        assert isinstance(await asyncio.to_thread(outcome, partial(requests.send, user, question)), Refused)
    strange = tail(operator, [read[0].name], Decoder([]), start="beginning", follow=False)
    assert isinstance(await asyncio.to_thread(outcome, lambda: list(strange)), Refused)
    with Mortuary(auditor, CATALOG) as mortuary:
        assert isinstance(await asyncio.to_thread(outcome, mortuary.may_write), Refused)
    # A topic that may not be seen is no proof that its records are lost.
    lost = next(each for each in needed(auditor, Use.VERIFY, user="auditor") if each.name.endswith("match.updated"))
    secured.revoke(lost)
    error = await asyncio.to_thread(settled, lambda: outcome(proved), lambda one: isinstance(one, BridgeError))
    assert isinstance(error, Refused)
    assert lost.name in str(error)
