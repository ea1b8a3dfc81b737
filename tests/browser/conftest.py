"""A real Chromium, Debian's, with axe-core to judge what it shows; and bridges on a real Kafka to be shown."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.world import World
from tests.servers.fetch import fetch_chromium
from tests.servers.kafka import KafkaCluster

AXE: Final = Path(__file__).parents[2] / ".cache" / "axe" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that finds what keeps people from using a page."""
    assert AXE.exists(), "axe-core is missing: make tools"
    return AXE.read_text(encoding="utf-8")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    program, environ = fetch_chromium()
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, env={**os.environ, **environ})
        yield chromium
        await chromium.close()


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One node, to be started, and to be killed."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka"), quick=True) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(own_kafka: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """See `World`; nothing has come yet."""
    async with World(own_kafka, tmp_path_factory.mktemp("world")) as found:
        yield found
