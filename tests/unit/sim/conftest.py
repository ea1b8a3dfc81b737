"""What the tests of the simulators share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that is closed at the end."""
    async with aiohttp.ClientSession() as session:
        yield session
