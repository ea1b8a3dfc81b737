"""A plain client of simulated gateways: what a test sees of the wire."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from bridge.sim import PredictStreetSim, Simulator

WAIT = 5.0


def decoded(raw: bytes | str) -> dict[str, Any]:
    """A frame as a JSON object."""
    frame: dict[str, Any] = msgspec.json.decode(raw)
    return frame


async def raw_frame(ws: aiohttp.ClientWebSocketResponse) -> str:
    """The next text frame; fails where the socket ends instead."""
    message = await ws.receive(timeout=WAIT)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    text: str = message.data
    return text


async def frame(ws: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next frame, decoded."""
    return decoded(await raw_frame(ws))


async def frames(ws: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    """The next frames, decoded."""
    return [await frame(ws) for _ in range(count)]


async def until(ws: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next frame of that type; others are passed over."""
    while True:
        found = await frame(ws)
        if found.get("type") == kind:
            return found


async def ending(ws: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str, list[str]]:
    """Close code and reason (None, "" for a cut line), and the text frames before it."""
    seen: list[str] = []
    while True:
        message = await ws.receive(timeout=WAIT)
        if message.type is aiohttp.WSMsgType.TEXT:
            seen.append(message.data)
        elif message.type is aiohttp.WSMsgType.CLOSE:
            return int(message.data), str(message.extra or ""), seen
        else:
            return None, "", seen


async def stream(
    http: aiohttp.ClientSession, sim: Simulator, match_id: str | None = None, key: str | None = None
) -> aiohttp.ClientWebSocketResponse:
    """TickTock's list channel, or a match's."""
    path = "/cs2/v1/stream" + (f"/{match_id}" if match_id else "")
    return await http.ws_connect(sim.url + path, params={"api_key": key or sim.api_key})


async def market(http: aiohttp.ClientSession, sim: PredictStreetSim) -> aiohttp.ClientWebSocketResponse:
    """PredictStreet's market gateway, greeting still to be read."""
    return await http.ws_connect(f"{sim.url}/ws/market", headers={"X-Api-Key": sim.api_key})


async def command(ws: aiohttp.ClientWebSocketResponse, verb: str, ident: int = 1, **params: Any) -> None:
    """Send a command."""
    message: dict[str, Any] = {"id": ident, "cmd": verb}
    await ws.send_json(message | ({"params": params} if params else {}))


async def subscribed(
    http: aiohttp.ClientSession, sim: PredictStreetSim, *channels: str
) -> aiohttp.ClientWebSocketResponse:
    """A socket subscribed to those channels for everything; greeting and acknowledgement are read."""
    ws = await market(http, sim)
    assert (await frame(ws))["type"] == "connected"
    ids = {"system": ["platform_status"], "condition_lifecycle": sim.conditions, "condition_status": sim.conditions}
    await command(
        ws, "subscribe", subscriptions=[{"channel": each, "ids": ids.get(each, sim.tokens)} for each in channels]
    )
    assert (await frame(ws))["type"] == "subscribed"
    return ws
