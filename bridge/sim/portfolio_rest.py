"""PredictStreet's private REST surface (contract 1.3, 5.3, 6): orders, trades, balances, positions, the partners' feed.

Every call needs a key and its scope; a key of several wallets names one in `X-User-Wallet`. Two limits hold, by address and
by wallet. What the contract names without a shape (`/api/me/fills`, the reconciliation snapshot) is not there.
"""

from __future__ import annotations

import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from bridge.sim.keys import ACTIVE, Key, Keyring, NoWallet, acting_wallet
from bridge.sim.limits import Limit, Verdict
from bridge.sim.portfolio import Fill, Order, Portfolio, Wallet
from bridge.sim.stamps import iso_millis, parse_iso

_OWN: Final = "portfolio:read"
_PARTNER: Final = "partner:trades:read"
_MAX_TRADES: Final = 200
_MAX_ORDERS: Final = 500
_MAX_PARTNER: Final = 300
#: Requests a minute and wallet (contract 6).
_ORDERS_LIMIT: Final = 300
_ME_LIMIT: Final = 600
_FAILED: Final = "settlement_failed"

Answer = Callable[[web.Request, Wallet], Any]
#: Where a page ended: the moment and the name of its last row.
Mark = tuple[int, str]


class PortfolioRest:
    """Handlers over the wallets. per_address: requests a minute and address, 0: no limit. clock: ms since the epoch."""

    def __init__(self, portfolio: Portfolio, keys: Keyring, *, per_address: int, clock: Callable[[], int]) -> None:
        """REST over these wallets."""
        self._portfolio = portfolio
        self._keys = keys
        self._clock = clock
        self._addresses = Limit(per_address, clock=time.monotonic)
        # A test that lifts one limit has no use for the other.
        self._wallets = {limit: Limit(limit if per_address else 0, clock=time.monotonic) for limit in _LIMITS}

    def routes(self) -> list[web.RouteDef]:
        """Paths of the contract, under all the names that it gives them."""
        return [
            web.get("/api/orders/open", self._guard(self._open, limit=_ORDERS_LIMIT)),
            web.get("/api/me/orders/open", self._guard(self._open, limit=_ORDERS_LIMIT)),
            web.get("/api/orders/history", self._guard(self._history, limit=_ORDERS_LIMIT)),
            web.get("/api/orders/{id}", self._guard(self._order, limit=_ORDERS_LIMIT)),
            web.get("/api/orders/{id}/fills", self._guard(self._fills, limit=_ORDERS_LIMIT)),
            web.get("/api/me/trades", self._guard(self._trades)),
            web.get("/api/me/fills", self._guard(self._fills_since)),
            web.get("/api/me/balances", self._guard(self._balances)),
            web.get("/api/me/positions", self._guard(self._positions)),
            web.get("/api/me/portfolio/positions", self._guard(self._positions)),
            web.get("/api/vaults/{vault}/positions", self._guard(self._vault)),
            web.get("/api/v1/partner/trades", self._guard(self._partner, scope=_PARTNER)),
        ]

    def _guard(
        self, answer: Answer, *, scope: str = _OWN, limit: int = _ME_LIMIT
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Check key, scope, wallet and both limits, then answer."""

        async def handle(request: web.Request) -> web.Response:
            headers = {"X-Server-Time": str(self._clock())}
            try:
                key = self._key(request, scope)
                wallet = self._wallet(request, key, partner=scope == _PARTNER)
                verdict = self._counted(request, wallet, limit)
                headers |= _told(verdict, self._clock())
                if verdict.passes:
                    return _json(answer(request, wallet), 200, headers)
                headers["Retry-After"] = str(verdict.resets)
                refused = _Refused(429, "rate_limited")
            except _Refused as error:
                refused = error
            body = {"code": refused.code, "message": refused.code.replace("_", " "), **refused.more}
            return _json(body, refused.status, headers)

        return handle

    def _key(self, request: web.Request, scope: str) -> Key:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        token = request.headers.get("X-Api-Key") or (bearer.strip() if scheme.lower() == "bearer" else None)
        if token is None:
            raise _Refused(401, "auth_required")
        key = self._keys.find(token)
        if key is None or key.state != ACTIVE:
            raise _Refused(401, "api_key_unknown_key" if key is None else key.state)
        if scope not in key.scopes and not (key.bearer and scope == _OWN):
            raise _Refused(403, "api_key_scope_missing", {"requiredScope": scope, "have": sorted(key.scopes)})
        return key

    def _wallet(self, request: web.Request, key: Key, *, partner: bool) -> Wallet:
        """The wallet that is asked for; the partners' feed is about all of them."""
        first = self._portfolio.first
        try:
            asked = request.headers.get("X-User-Wallet")
            address = first if partner else acting_wallet(key, asked, first=first, rest=True)
        except NoWallet as error:
            raise _Refused(401, str(error)) from error
        return self._portfolio.adopt(address)

    def _counted(self, request: web.Request, wallet: Wallet, limit: int) -> Verdict:
        """The tighter of the two limits."""
        both = self._addresses.take(request.remote or ""), self._wallets[limit].take(wallet.address)
        return min(both, key=lambda each: (each.passes, each.remaining if each.limit else sys.maxsize))

    # Orders

    def _open(self, request: web.Request, wallet: Wallet) -> Any:
        return self._orders(request, wallet, wallet.open.values())

    def _history(self, request: web.Request, wallet: Wallet) -> Any:
        return self._orders(request, wallet, wallet.orders.values())

    def _orders(self, request: web.Request, wallet: Wallet, orders: Iterable[Order]) -> Any:
        wanted = {
            name: request.query[name] for name in ("marketId", "side", "outcome", "type") if name in request.query
        }
        marks = [((order.created, order.id), order.row()) for order in orders]
        rows = [(mark, row) for mark, row in marks if all(row[name] == value for name, value in wanted.items())]
        page, following = _page(request, rows, most=_MAX_ORDERS, default=_MAX_ORDERS)
        if request.path.endswith("/open"):
            page = [row | ({"status": "OPEN"} if row["status"] == "PARTIAL" else {}) for row in page]
        return {"walletAddress": wallet.address, "orders": page, "nextCursor": following}

    def _order(self, request: web.Request, wallet: Wallet) -> Any:
        order = wallet.orders.get(request.match_info["id"])
        if order is None:
            raise _Refused(404, "order_not_found")
        return order.row()

    def _fills(self, request: web.Request, wallet: Wallet) -> Any:
        ident = request.match_info["id"]
        rows = [fill.row() for fill in wallet.fills if fill.order.id == ident]
        for row in rows:
            row["vault"] = row.pop("vaultAddress")
            del row["settledAt"], row["adjustment"]
        return {"orderId": ident, "trades": rows}

    # What a wallet has

    def _trades(self, request: web.Request, wallet: Wallet) -> Any:
        before, market = _moment(request, "before"), request.query.get("marketId")
        rows = [
            ((-fill.created, f"{fill.trade}:{fill.order.id}"), fill.row())
            for fill in wallet.fills
            if fill.status != _FAILED
            and (before is None or fill.created < before)
            and market in {None, fill.order.market.symbol}
        ]
        page, following = _page(request, rows, most=_MAX_TRADES, default=50)
        return {"walletAddress": wallet.address, "nextCursor": following, "trades": page}

    def _fills_since(self, request: web.Request, wallet: Wallet) -> Any:
        """Named in one place, with `since`; the shape is that of the trades."""
        since = _moment(request, "since")
        fills = [fill.row() for fill in wallet.fills if since is None or fill.created > since]
        return {"walletAddress": wallet.address, "fills": fills}

    def _balances(self, _: web.Request, wallet: Wallet) -> Any:
        return {"walletAddress": wallet.address, "balances": wallet.balances()}

    def _positions(self, _: web.Request, wallet: Wallet) -> Any:
        return {"walletAddress": wallet.address, "positions": wallet.holdings()}

    def _vault(self, request: web.Request, wallet: Wallet) -> Any:
        vault = request.match_info["vault"].lower()
        if vault != wallet.vault:
            raise _Refused(403 if self._portfolio.owner(vault) else 404, "forbidden")
        return {"vaultAddress": vault, "positions": wallet.holdings()}

    # All wallets

    def _partner(self, request: web.Request, _: Wallet) -> Any:
        since, market = _moment(request, "modifiedSince"), request.query.get("marketId")
        if since is None:
            raise _Refused(400, "invalid_modified_since")
        rows = [
            ((fill.modified, f"{fill.trade}:{fill.order.id}"), _partner_row(fill))
            for fill in self._portfolio.fills
            if fill.modified >= since and market in {None, fill.order.market.symbol}
        ]
        page, following = _page(request, rows, most=_MAX_PARTNER, default=50)
        return {"trades": page, "nextCursor": following}


_LIMITS: Final = (_ORDERS_LIMIT, _ME_LIMIT)


class _Refused(Exception):
    def __init__(self, status: int, code: str, more: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.more = status, code, more or {}


def _partner_row(fill: Fill) -> dict[str, Any]:
    """`tradeId`, `status` and `marketSymbol` are documented, the rest is as in ``/api/me/trades``."""
    row = fill.row()
    row["tradeId"], row["marketSymbol"] = row.pop("id"), row.pop("marketId")
    return row | {"modifiedAt": iso_millis(fill.modified)}


def _page(
    request: web.Request, rows: Sequence[tuple[Mark, dict[str, Any]]], *, most: int, default: int
) -> tuple[list[dict[str, Any]], str | None]:
    """The rows after the request's cursor, as many as its limit says, and the cursor after them: None on the last page."""
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise _Refused(400, "invalid_limit")
    limit, after = min(int(text), most), _opened(request.query.get("cursor"))
    left = sorted((each for each in rows if after is None or each[0] > after), key=lambda each: each[0])
    page = left[:limit]
    following = _closed(page[-1][0]) if len(left) > limit else None
    return [row for _, row in page], following


def _closed(mark: Mark) -> str:
    return urlsafe_b64encode(f"{mark[0]}|{mark[1]}".encode()).decode()


def _opened(cursor: str | None) -> Mark | None:
    if cursor is None:
        return None
    try:
        moment, _, name = urlsafe_b64decode(cursor.encode()).decode().partition("|")
        return int(moment), name
    except (ValueError, NotBase64) as error:
        raise _Refused(400, "invalid_cursor") from error


def _moment(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    try:
        return None if text is None else parse_iso(text)
    except ValueError as error:
        raise _Refused(400, f"invalid_{name}") from error


def _told(verdict: Verdict, now: int) -> dict[str, str]:
    if not verdict.limit:
        return {}
    return {
        "X-RateLimit-Limit": str(verdict.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": str(now // 1000 + verdict.resets),
    }


def _json(body: Any, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")
