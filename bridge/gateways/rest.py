"""REST calls of a gateway: one session, its key, a pace that stays below the gateway's limit."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final, TypeVar

import aiohttp
import msgspec

from bridge import __version__
from bridge.errors import BadData, Refused, Unreachable
from bridge.gateways.gateway import Outside
from bridge.gateways.retry import explanation, retry_after
from bridge.settings import MIB, Url

_TIMEOUT: Final = 10.0
_LARGEST: Final = 32 * MIB
_TRIES: Final = 3
#: Seconds that a Retry-After may make us wait; who asks for more is asked again later.
_LONGEST_WAIT: Final = 60.0
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_SERVER_ERRORS: Final = 500
_OK: Final = 200
#: What a call that starts something may be answered with as well.
_DONE: Final = frozenset({201, 202, 204})

_T = TypeVar("_T")


class Rest:
    """The REST interface at `url`. headers: hold the key, never logged. per_minute: calls that we allow ourselves."""

    def __init__(
        self,
        url: Url,
        headers: Mapping[str, str],
        *,
        per_minute: float,
        outside: Outside,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet."""
        self._base = url.origin + url.path.rstrip("/")
        self._host = url.host
        self.authenticate(headers)
        self._bucket = Bucket(per_minute)
        self._outside = outside
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, **query: str | int) -> bytes:
        """Return the body of GET `path`; waits for its turn, and for Retry-After.

        Raises Refused (401, 403), Unreachable (no answer, 429, 5xx: worth another try later), BadData (all else).
        """
        return await self._call("GET", path, query)

    async def post(self, path: str, **query: str | int) -> bytes:
        """Return the body of POST `path`, whose arguments are in the query; else as `get`."""
        return await self._call("POST", path, query)

    async def _call(self, method: str, path: str, query: Mapping[str, str | int]) -> bytes:
        for attempt in range(_TRIES):
            await self._outside.sleep(self._bucket.take(self._outside.monotonic()))
            status, body, after = await self._ask(method, path, query)
            if status == _OK or (method != "GET" and status in _DONE):
                return body
            said = explanation(body)
            what = f"HTTP {status}{': ' if said else ''}{said}"
            where = f"{self._host}{path}"
            if status in {401, 403}:
                raise Refused(what, where=where)
            wait = retry_after(after, now=self._outside.wall() / 1000)
            if status not in {_TOO_MANY, _UNAVAILABLE} or attempt == _TRIES - 1 or wait > _LONGEST_WAIT:
                raise (Unreachable if status == _TOO_MANY or status >= _SERVER_ERRORS else BadData)(what, where=where)
            await self._outside.sleep(max(wait, 1.0))
        raise AssertionError("the last try returns or raises")

    def authenticate(self, headers: Mapping[str, str]) -> None:
        """Call with these credentials from now on."""
        self._headers = {**headers, "Accept": "application/json", "User-Agent": f"feedbridge/{__version__}"}

    async def close(self) -> None:
        """Close the session; the next call opens another."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, path: str, query: Mapping[str, str | int]) -> tuple[int, bytes, str | None]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
                trust_env=True,
                connector=aiohttp.TCPConnector(limit=4, ssl=self._tls or True),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        where = f"{self._host}{path}"
        try:
            # A redirect would carry the key to another host.
            async with self._session.request(
                method, self._base + path, params=query, headers=self._headers, allow_redirects=False
            ) as response:
                body = await _body(response, where)
                return response.status, body, response.headers.get("Retry-After")
        except TimeoutError:
            raise Unreachable("no answer in time", where=where) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"no answer ({type(error).__name__})", where=where) from None


async def _body(response: aiohttp.ClientResponse, where: str) -> bytes:
    """Read an answer, but not without end."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > _LARGEST:
            raise BadData("the answer is larger than 32 MiB", where=where)
    return bytes(body)


def decode(body: bytes, shape: type[_T]) -> _T:
    """Return the answer as `shape`, a msgspec struct; unknown members are left out. Raises BadData."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadData(f"REST answered something else than expected: {error}") from None


class Bucket:
    """A token bucket: `per_minute` calls in the long run, a twelfth of that (five seconds' worth) at once."""

    def __init__(self, per_minute: float) -> None:
        """Begin full."""
        self._interval = 60.0 / per_minute
        self._burst = max(0.0, 5.0 - self._interval)
        self._next = 0.0

    def take(self, now: float) -> float:
        """Take a token; return the seconds to wait before it may be used. now: s, monotonic."""
        turn = max(self._next, now - self._burst)
        self._next = turn + self._interval
        return max(0.0, turn - now)
