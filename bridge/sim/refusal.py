"""How an operator has handshakes refused."""

from __future__ import annotations

import msgspec


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
