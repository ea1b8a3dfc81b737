"""PredictStreet's user gateway, whole: wallets' sockets, the bridge as a process, a real Kafka. Judged by `tests.audit`."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs, PredictStreetSim
from tests.audit import Audit, Schemas, collect, ledger_faults, stray_faults
from tests.audit.frames import FAULTS
from tests.kafka.conftest import Kafka
from tests.running import BridgeProcess, configuration, now, predictstreet, private

pytestmark = pytest.mark.timeout(600)

Partitions = Callable[[Sequence[bytes], int], list[int]]
USER_KEY = "ps_live_0123456789abcdef_" + "u" * 43
ONE, TWO = "0x" + "a1" * 20, "0x" + "b2" * 20
PARTITIONS = 6


def key(token: str = USER_KEY) -> Key:
    """A key of several wallets."""
    return Key(token=token, scopes=PREDICTSTREET_SCOPES, multi_wallet=True)


@pytest.mark.parametrize("generation", [1, 2])
async def test_two_wallets_events_are_records_once_and_nothing_tells_whose(  # noqa: PLR0917 - fixtures
    generation: Literal[1, 2],
    kafka: Kafka,
    topic_prefix: str,
    java_partitions: Partitions,
    tmp_path: Path,
    soak: bool,  # noqa: FBT001 - a fixture
) -> None:
    """All faults on both sockets: exactly the expected records and private dead letters, and no word of them elsewhere."""
    began = now()
    knobs = PredictStreetKnobs(generation=generation)
    limit = 200_000 if soak else 8_000
    async with PredictStreetSim(
        seed=21, rate=None, keys=[key()], faults=FAULTS, knobs=knobs, wait_for=2, limit=limit, keep=None
    ) as sim:
        config = configuration(
            {"wallet": private(sim, ONE, TWO, silence="600s")}, kafka=kafka.bootstrap, prefix=topic_prefix
        )
        async with BridgeProcess(config, tmp_path / "bridge", level="debug") as bridge:
            await sim.wait(lambda _: sim.produced >= limit, seconds=300)
            await bridge.received(sim.sent.total, gateway="wallet", seconds=300)
            await bridge.drained(seconds=300)
            shown = [(await bridge.get(path))[1].decode() for path in ("/api/status", "/metrics", "/")]
            assert await bridge.stop() == 0, bridge.last_words()
            shown.append(bridge.output())
        sent = list(sim.sent)
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    audit = Audit(
        gateway="wallet",
        kind="predictstreet-user",
        prefix=topic_prefix,
        sent=sent,
        schemas={"type": Schemas.shipped()},
        partitions=lambda keys: java_partitions(keys, PARTITIONS),
        began=began,
        ended=now(),
        parallel=True,
    )
    faults = audit.faults(published)
    assert not faults, f"{len(faults)} faults, the first: {faults[:10]}"
    outcomes = Counter(each.record.outcome for each in audit.wanted)
    assert outcomes["record"] > limit // 5
    assert outcomes["dead_letter"] > limit // 400
    assert len({each.record.sent.connection for each in audit.wanted if each.record.type == "account_notice"}) == 2
    if generation == 1:
        assert any(one.topic == f"{topic_prefix}wallet.vault.deposit-confirmed" for one in published)
    ledger, gaps = (f"{topic_prefix}feedbridge.main.{each}" for each in ("ledger", "gaps"))
    assert stray_faults([audit], (ledger, gaps), published) == []
    assert ledger_faults(ledger, published, disposed=len(audit.wanted)) == []
    raws = b"".join(each.raw for each in audit.wanted).decode(errors="replace")
    # Orders, trades, vaults, wallets, hashes, the gateway's own words to the wallet.
    words = set(re.findall(r"[0-9a-f-]{36}|0x[0-9a-f]{40,64}|[0-9]{70,}|maintenance", raws))
    assert len(words) > limit // 10
    for text in shown:
        assert not words & set(re.findall(r"[0-9a-f-]{36}|0x[0-9a-f]{40,64}|[0-9]{70,}|maintenance", text))
    assert "0xa1a1..a1a1" in shown[0]
    assert "0xb2b2..b2b2" in shown[-1]


async def test_a_revoked_key_ends_its_gateway_and_no_other(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """Refused and said so, not tried again, its gap recorded for each wallet; the market gateway publishes on."""
    async with PredictStreetSim(seed=22, rate=300, keys=[key()], api_key=PredictStreetSim.default_key) as sim:
        gateways = {"markets": predictstreet(sim), "wallet": private(sim, ONE, TWO, api_key=USER_KEY)}
        config = configuration(gateways, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.until(
                lambda status: all(each["connected"] and each["published"] for each in status["gateways"]), what="both"
            )
            handshakes = sim.accepted
            assert handshakes == 3
            assert await sim.revoke(USER_KEY, state="api_key_suspended") == 2
            status = await bridge.until(lambda found: found["gateways"][1]["refused"], what="refused")
            assert [each["state"] for each in status["gateways"]] == ["live", "refused"]
            assert "api_key_suspended" in status["gateways"][1]["detail"]
            assert status["ready"]
            before = status["gateways"][0]["published"]
            await bridge.until(lambda found: found["gateways"][0]["published"] > before + 300, what="the other goes on")
            assert (sim.accepted, sim.refused) == (handshakes, 0)
            refused = [event for event in bridge.events() if event["event"] == "gateway_refused"]
            assert sorted(event["connection"] for event in refused) == [
                "wallet:0xa1a1..a1a1:1",
                "wallet:0xb2b2..b2b2:1",
            ]
            assert await bridge.stop() == 0, bridge.last_words()
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    gaps = f"{topic_prefix}feedbridge.main.gaps"
    found = [Schemas.shipped().decode(gaps, one.value)[1] for one in published if one.topic == gaps]
    causes = {(each["connection"], each["cause"]) for each in found if each["gateway"] == "wallet"}
    assert causes == {(f"wallet:{ONE}:1", "refused"), (f"wallet:{TWO}:1", "refused")}


async def test_fifty_wallets_publish(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """All sockets are subscribed, nothing is rejected; every wallet's orders arrive."""
    wallets = [f"0x{number:040x}" for number in range(1, 51)]
    async with PredictStreetSim(seed=23, rate=1000, keys=[key()], wait_for=50, limit=6_000, keep=None) as sim:
        config = configuration({"wallet": private(sim, *wallets)}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            status = await bridge.until(
                lambda found: bool(found["gateways"]) and found["gateways"][0]["connected"], what="all wallets"
            )
            assert [each["state"] for each in status["gateways"][0]["connections"]] == ["live"] * 50
            assert status["gateways"][0]["rejected"] == []
            await sim.wait(lambda _: sim.produced >= 6_000, seconds=120)
            await bridge.received(sim.sent.total, gateway="wallet")
            await bridge.drained()
            assert await bridge.stop() == 0, bridge.last_words()
        placed = {json.loads(one.raw)["data"]["id"]: one.channel for one in sim.sent if b'"order_placed"' in one.raw}
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    topic = f"{topic_prefix}wallet.order-placed"
    found = [Schemas.shipped().decode(topic, one.value)[1]["data"] for one in published if one.topic == topic]
    assert len(found) == len(placed)
    assert {each["id"]: f"user:{each['userWallet']}" for each in found} == placed
    assert set(placed.values()) == {f"user:{each}" for each in wallets}
