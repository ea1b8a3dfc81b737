"""A simulated Tally: ``python -m tally_feed.simulator PORT``. Its trades count from 1 for each symbol, twenty a second."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from typing import Any

from aiohttp import WSMsgType, web


async def feed(request: web.Request) -> web.WebSocketResponse:
    """Serve one client until it goes."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    wanted = await socket.receive()
    if wanted.type is not WSMsgType.TEXT:
        return socket
    symbols = json.loads(wanted.data)["symbols"]
    await socket.send_json({"event": "subscribed", "symbols": symbols})
    for number in itertools.count(1):
        if socket.closed:
            break
        for symbol in symbols:
            await socket.send_json(message(symbol, number))
        await asyncio.sleep(0.05)
    return socket


def message(symbol: str, number: int) -> dict[str, Any]:
    """The n-th trade of a symbol; every tenth message is its ticker."""
    price = f"{random.Random(f'{symbol}{number}').uniform(100, 200):.2f}"
    body = {"last": price} if number % 10 == 0 else {"id": f"{symbol}-{number}", "price": price, "size": 0.10}
    event = "ticker" if number % 10 == 0 else "trade"
    return {"event": event, "symbol": symbol, "n": number, "time": time.time_ns() // 1_000_000, "body": body}


def main() -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_get("/feed", feed)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
