"""TickTock's REST surface (contract 1.2, 5): JSON only, `X-API-Key`, ``{"data": …, "meta": …}``, errors as ``{"detail": …}``."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from bridge.sim.keys import ACTIVE, Key, Keyring
from bridge.sim.limits import Limit
from bridge.sim.stamps import iso_millis, iso_seconds
from bridge.sim.ticktock_stream import TickTockStream

Handler = Callable[[web.Request, Key], Any]

_MAX_LISTED: Final = 200
_MAX_MATCH_SETTLEMENTS: Final = 1000
_STATES: Final = ("upcoming", "live", "finished", "cancelled")
_WINDOW_MS: Final = 3 * 24 * 3600 * 1000
_REQUEST_ID_LENGTH: Final = 64


class TickTockRest:
    """Handlers over the stream's world. `recoveries` are the recovery requests accepted: (after, request_id); on_recovery is
    called with each.
    """  # noqa: D205

    def __init__(
        self,
        stream: TickTockStream,
        keys: Keyring,
        *,
        clock: Callable[[], int],
        on_recovery: Callable[[int, str], object] = lambda _after, _request_id: None,
    ) -> None:
        """REST over that world for those keys; `clock` is ms since the epoch."""
        self.recoveries: list[tuple[int, str]] = []
        self._on_recovery = on_recovery
        self._stream = stream
        self._keys = keys
        self._clock = clock
        self._limit = Limit(stream.knobs.rate_limit, clock=time.monotonic)

    def routes(self) -> list[web.RouteDef]:
        """Paths of the contract."""
        return [
            web.get("/v1/whoami", self._guard(None, self._whoami)),
            web.get("/v1/alive", self._guard(None, self._alive)),
            web.get("/cs2/v1/matches", self._guard("cs2:matches:list", self._matches)),
            web.get("/cs2/v1/matches/{match_id}", self._guard("cs2:matches:read", self._match)),
            web.get("/cs2/v1/matches/{match_id}/rounds", self._guard("cs2:matches:detail", self._rounds)),
            web.get("/cs2/v1/matches/{match_id}/timeline", self._guard("cs2:matches:detail", self._timeline)),
            web.get("/cs2/v1/matches/{match_id}/summary", self._guard("cs2:matches:read", self._summary)),
            web.get("/cs2/v1/matches/{match_id}/settlements", self._guard("cs2:markets:settlements", self._match_settlements)),
            web.get("/cs2/v1/settlements", self._guard("cs2:markets:settlements", self._settlements)),
            web.get("/cs2/v1/tournaments", self._guard("cs2:tournaments:list", self._tournaments)),
            web.get("/cs2/v1/search", self._guard("cs2:matches:list", self._search)),
            web.post("/cs2/v1/recovery/initiate_request", self._guard("cs2:recovery:initiate", self._recovery)),
        ]  # fmt: skip

    def _guard(self, scope: str | None, answer: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Authenticate, count, check the scope, answer."""

        async def handle(request: web.Request) -> web.Response:
            accept = request.headers.get("Accept", "*/*")
            if not any(kind in accept for kind in ("*/*", "application/*", "application/json")):
                return _refusal(406, "only application/json is served here")
            token = request.headers.get("X-API-Key")
            key = self._keys.find(token)
            if token is None:
                return _refusal(401, "X-API-Key header missing")
            if key is None or key.state != ACTIVE:
                return _refusal(403, "invalid API key" if key is None else "API key not accepted")
            verdict = self._limit.take(key.token)
            if not verdict.passes:
                return _refusal(429, "rate limit exceeded", {"Retry-After": str(verdict.resets)})
            if scope is not None and scope not in key.scopes:
                return _refusal(403, f"missing scope {scope}; contact your account manager")
            try:
                return _json(answer(request, key))
            except _NotFound:
                return _refusal(404, "match not found")
            except _BadParameter as bad:
                return _json({"detail": [{"loc": ["query", bad.name], "msg": bad.problem, "type": "value_error"}]}, 422)

        return handle

    def _whoami(self, _: web.Request, key: Key) -> Any:
        return {"data": {
            "tenant_id": "6a0b8c9e-0d6f-4f6e-9a53-2f7f3c1d9e10", "name": "Simulated Tenant", "scopes": sorted(key.scopes),
            "sport_allowlist": ["cs2"], "rate_limit_rpm": self._stream.knobs.rate_limit or 600,
        }}  # fmt: skip

    def _alive(self, _request: web.Request, _key: Key) -> Any:
        return {"data": {"status": "ok", "timestamp": iso_millis(self._clock())}}

    def _matches(self, request: web.Request, key: Key) -> Any:
        status = request.query.get("status")
        if status is not None and status not in _STATES:
            raise _BadParameter("status", f"one of {', '.join(_STATES)}")
        limit = _limited(request, _MAX_LISTED, default=50)
        world = self._stream.world
        rows = [*world.live, *world.upcoming, *reversed(world.finished)]
        chosen = [match for match in rows if status in {None, match.status}][:limit]
        data = [self._stream.match_data(match, key.scopes, full=False) for match in chosen]
        return {"data": data, "meta": {"count": len(data), "limit": limit}}

    def _match(self, request: web.Request, key: Key) -> Any:
        return {"data": self._stream.match_data(self._found(request), key.scopes)}

    def _rounds(self, request: web.Request, _: Key) -> Any:
        return {"data": self._found(request).rounds}

    def _timeline(self, request: web.Request, _: Key) -> Any:
        match = self._found(request)
        return {"data": {"rounds": match.rounds, "events": match.events}}

    def _summary(self, request: web.Request, _: Key) -> Any:
        match = self._found(request)
        finished = match.finished_at
        return {"data": {
            "id": match.id, "team_a": match.teams[0][0], "team_b": match.teams[1][0], "event": match.event,
            "status": match.status, "score_a": match.score[0], "score_b": match.score[1],
            "winner": match.teams[0 if match.score[0] > match.score[1] else 1][0] if finished else None,
            "finished_at": iso_seconds(finished) if finished else None,
        }}  # fmt: skip

    def _settlements(self, request: web.Request, _: Key) -> Any:
        limit = _limited(request, _MAX_LISTED, default=50)
        entries = self._stream.world.log.after(request.query.get("since_id"), limit)
        return self._log([entry.as_json() for entry in entries])

    def _match_settlements(self, request: web.Request, _: Key) -> Any:
        limit = _limited(request, _MAX_MATCH_SETTLEMENTS, default=200)
        match_id = self._found(request).id
        entries = [entry.as_json() for entry in self._stream.world.log.entries if entry.match_id == match_id]
        return self._log(entries[-limit:])

    def _log(self, entries: list[dict[str, Any]]) -> Any:
        if self._stream.knobs.settlements_order == "desc":
            entries.reverse()
        return {"data": entries, "meta": {"count": len(entries)}}

    def _tournaments(self, request: web.Request, _: Key) -> Any:
        limit = _limited(request, _MAX_LISTED, default=50)
        world = self._stream.world
        names = sorted({match.event for match in (*world.live, *world.upcoming, *world.finished)})[:limit]
        rows = [
            {"hltv_event_id": 7000 + place, "name": name, "tier": "S", "is_lan": True}
            for place, name in enumerate(names)
        ]
        return {"data": rows, "meta": {"count": len(rows), "limit": limit}}

    def _search(self, request: web.Request, _: Key) -> Any:
        wanted = request.query.get("q", "").lower()
        world = self._stream.world
        labels = [(match.id, f"{match.teams[0][0]} vs {match.teams[1][0]}") for match in (*world.live, *world.upcoming)]
        hits = [
            {"type": "match", "id": ident, "label": label, "score": 1.0}
            for ident, label in labels
            if wanted in label.lower()
        ]
        return {"data": hits, "meta": {"count": len(hits), "q": wanted}}

    def _recovery(self, request: web.Request, _: Key) -> Any:
        after, request_id = request.query.get("after", ""), request.query.get("request_id", "")
        if not after.isascii() or not after.isdigit():
            raise _BadParameter("after", "Unix time in milliseconds, required")
        if not 0 <= self._clock() - int(after) <= _WINDOW_MS:
            raise _BadParameter("after", "must lie within the last 3 days")
        if not request_id or len(request_id) > _REQUEST_ID_LENGTH:
            raise _BadParameter("request_id", f"required, at most {_REQUEST_ID_LENGTH} characters")
        self.recoveries.append((int(after), request_id))
        self._on_recovery(int(after), request_id)
        return {}

    def _found(self, request: web.Request) -> Any:
        match = self._stream.world.find(request.match_info["match_id"])
        if match is None:
            raise _NotFound
        return match


class _NotFound(Exception):
    """No such match."""


class _BadParameter(Exception):
    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name, self.problem = name, problem


def _limited(request: web.Request, most: int, *, default: int) -> int:
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise _BadParameter("limit", f"an integer from 1 to {most}")
    return int(text)


def _refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    return _json({"detail": detail}, status, headers)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")
