"""The operator over HTTP: what `Simulator` offers as methods, for tests that run the simulator as a process.

``POST /_sim/<operation>`` with a JSON object of the operation's arguments (or no body); the answer is a JSON object.
``GET /_sim/status``, ``/_sim/sent`` (JSON lines, see `sent.as_line`), ``/_sim/expected`` (JSON lines). No key: a simulator holds no secrets,
and listens on loopback unless told otherwise.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from bridge.sim.faults import Faults
from bridge.sim.refusal import Misanswer
from bridge.sim.sent import Sent, as_line

if TYPE_CHECKING:
    from bridge.sim.server import Simulator

#: Lines written at a time.
_LINES: Final = 2000


class _Arguments(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of the operations' arguments."""


class Drop(_Arguments):
    """End connections: close them with `code`, or cut the line."""

    code: int | None = 1001
    reason: str = ""
    abort: bool = False
    connection: int | None = None


class Silence(_Arguments):
    """Say nothing, with TCP open; `future`: new connections too."""

    on: bool = True
    future: bool = False
    connection: int | None = None


class Refuse(_Arguments):
    """Refuse handshakes with an HTTP status, with a close code after accepting, or by cutting the line."""

    status: int | None = None
    code: int | None = None
    reason: str = ""
    times: int | None = None
    abort: bool = False


class Answer(_Arguments):
    """Answer requests over HTTP otherwise, or late, but never the operator's own; see `Misanswer`."""

    path: str = "/"
    status: int = 200
    body: str | None = None
    retry_after: str | None = None
    delay: float = 0.0
    times: int | None = None

    def misanswer(self) -> Misanswer:
        """What is to be answered."""
        return Misanswer(
            path=self.path,
            status=self.status,
            body=self.body,
            retry_after=self.retry_after,
            delay=self.delay,
            left=self.times,
        )


class KeyState(_Arguments):
    """Which key (default: the simulator's own), and which state it gets."""

    key: str | None = None
    state: str | None = None


class Rotate(_Arguments):
    """The new key, and which one it replaces (default: the simulator's own)."""

    fresh: str
    key: str | None = None


class Rate(_Arguments):
    """Frames per second; null: as fast as the readers take."""

    rate: float | None = None


class Delay(_Arguments):
    """Seconds that everything comes later."""

    seconds: float = 0.0


class Alive(_Arguments):
    """Whether keep-alive is sent."""

    on: bool = True


class Send(_Arguments):
    """A frame to send as it is: text, or any bytes in base64."""

    raw: str | None = None
    base64: str | None = None
    fault: str | None = None
    connection: int | None = None

    def bytes(self) -> bytes:
        """The frame; raises ValueError where none is given or base64 is broken."""
        if self.raw is not None:
            return self.raw.encode()
        if self.base64 is None:
            raise ValueError("send needs raw or base64")
        try:
            return base64.b64decode(self.base64, validate=True)
        except binascii.Error as error:
            raise ValueError("base64 is broken") from error


class Nothing(_Arguments):
    """No arguments."""


_Operation = tuple[type[Any], Callable[["Simulator", Any], Any]]
OPERATIONS: Final[dict[str, _Operation]] = {
    "drop": (Drop, lambda sim, a: sim.drop(code=a.code, reason=a.reason, abort=a.abort, connection=a.connection)),
    "silence": (Silence, lambda sim, a: sim.silence(on=a.on, future=a.future, connection=a.connection)),
    "refuse": (
        Refuse,
        lambda sim, a: sim.refuse(status=a.status, code=a.code, reason=a.reason, times=a.times, abort=a.abort),
    ),
    "answer": (
        Answer,
        lambda sim, a: setattr(sim, "misanswer", a.misanswer()),
    ),
    "accept": (Nothing, lambda sim, _: sim.accept()),
    "revoke": (KeyState, lambda sim, a: sim.revoke(a.key, state=a.state)),
    "rotate": (Rotate, lambda sim, a: sim.rotate(a.fresh, key=a.key)),
    "restore": (KeyState, lambda sim, a: sim.restore(a.key)),
    "rate": (Rate, lambda sim, a: sim.set_rate(a.rate)),
    "delay": (Delay, lambda sim, a: sim.set_delay(a.seconds)),
    "faults": (Faults, lambda sim, a: sim.set_faults(a)),
    "pause": (Nothing, lambda sim, _: sim.pause()),
    "resume": (Nothing, lambda sim, _: sim.resume()),
    "alive": (Alive, lambda sim, a: sim.alive(on=a.on)),
    "reset-seq": (Nothing, lambda sim, _: sim.reset_seq()),
    "send": (Send, lambda sim, a: sim.send(a.bytes(), fault=a.fault, connection=a.connection)),
}


def routes(sim: Simulator) -> list[web.RouteDef]:
    """The paths under ``/_sim/`` for one simulator."""

    async def status(_: web.Request) -> web.Response:
        return _json(sim.status())

    async def sent(request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("connection")
        entries = sim.sent if wanted is None else sim.sent.of(int(wanted) if wanted.isdigit() else -1)
        return await _lines(request, [as_line(entry) for entry in entries])

    async def expected(request: web.Request) -> web.StreamResponse:
        return await _lines(request, [_expected_line(*record) for record in sim.expected()])

    return [
        web.get("/_sim/status", status),
        web.get("/_sim/sent", sent),
        web.get("/_sim/expected", expected),
        web.post("/_sim/{operation}", _operate(sim)),
    ]


def _operate(sim: Simulator) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def operate(request: web.Request) -> web.Response:
        found = OPERATIONS.get(request.match_info["operation"])
        if found is None:
            return _json({"error": f"no such operation; known: {', '.join(OPERATIONS)}"}, 404)
        shape, act = found
        try:
            result = act(sim, msgspec.json.decode(await request.read() or b"{}", type=shape))
            if isawaitable(result):
                result = await result
        except (ValueError, KeyError) as error:  # msgspec's errors are ValueErrors
            return _json({"error": str(error) or type(error).__name__}, 400)
        return _json({"done": True, "connections": result if isinstance(result, int) else len(sim.connections)})

    return operate


def _expected_line(outcome: str, kind: str, entity: str, collision: bool, sent: Sent) -> bytes:  # noqa: FBT001  # a row
    head = msgspec.json.encode({"outcome": outcome, "type": kind, "entity": entity, "collision": collision})
    return head[:-1] + b"," + as_line(sent)[1:]


async def _lines(request: web.Request, lines: list[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
    await response.prepare(request)
    for first in range(0, len(lines), _LINES):
        await response.write(b"".join(lines[first : first + _LINES]))
    await response.write_eof()
    return response


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
