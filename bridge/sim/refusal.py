"""How an operator has handshakes refused, and requests answered otherwise."""

from __future__ import annotations

import msgspec
from aiohttp import web


class Refusal(msgspec.Struct, kw_only=True, gc=False):
    """What a client is told instead of being let in.

    status: HTTP answer to the upgrade (default 503). code, reason: accept, then close at once with them.
    abort: cut the line without an answer. left: so many more times, None: until taken back.
    """

    status: int | None = None
    code: int | None = None
    reason: str = ""
    left: int | None = None
    abort: bool = False

    def applies(self) -> bool:
        """Whether this handshake is refused; counts it."""
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0


class Misanswer(msgspec.Struct, kw_only=True, gc=False):
    """What a request over HTTP is answered instead of the truth.

    path: those that begin so. status, body: of the answer; a body of None keeps the true answer. retry_after: its header, s.
    delay: seconds that it comes later. left: so many more times, None: until taken back.
    """

    path: str = "/"
    status: int = 200
    body: str | None = None
    retry_after: str | None = None
    delay: float = 0.0
    left: int | None = None

    def applies(self, path: str) -> bool:
        """Whether this request is answered so; counts it."""
        if not path.startswith(self.path):
            return False
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0

    def response(self, body: str) -> web.Response:
        """The answer, where it has a body of its own."""
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return web.Response(text=body, status=self.status, headers=headers)
