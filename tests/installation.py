"""A configuration for tests of what stands between the bridge and Kafka: no file, no gateway that would connect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.config import Config, DedupeSettings, JournalSettings, LanesSettings, RegistrySettings, TopicsSettings
from bridge.gateways.gateway import GatewaySettings
from bridge.settings import Url


def installation(
    gateways: dict[str, str] | None = None,
    *,
    name: str = "main",
    kafka: dict[str, Any] | None = None,
    window: float = 6 * 3600.0,
    lanes: int = 1,
    registry: dict[str, Any] | None = None,
    journal: Path | None = None,
    **topics: Any,
) -> Config:
    """A `Config` of these gateways (name → kind) with these settings of topics."""
    gateways = {"cs2": "ticktock"} if gateways is None else gateways
    return Config.model_construct(
        name=name,
        gateways={
            each: GatewaySettings(kind=kind, url=Url("wss://gateway.invalid")) for each, kind in gateways.items()
        },
        kafka={"bootstrap.servers": "127.0.0.1:1"} if kafka is None else kafka,
        topics=TopicsSettings(**topics),
        registry=None if registry is None else RegistrySettings(**registry),
        dedupe=DedupeSettings(window=window),
        lanes=LanesSettings(count=lanes),
        journal=JournalSettings(path=journal or Path("journal")),
    )
