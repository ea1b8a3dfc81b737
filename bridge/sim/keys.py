"""Keys of a simulated gateway: who may come in, with which scopes, and what a refused one is told."""

from __future__ import annotations

from typing import Final

import msgspec

#: Every scope that the TickTock contract names (1.4).
TICKTOCK_SCOPES: Final = frozenset({
    "cs2:stream:matches", "cs2:stream:markets", "cs2:stream:scoreboard",
    "cs2:matches:list", "cs2:matches:read", "cs2:matches:detail", "cs2:matches:scoreboard",
    "cs2:markets:read", "cs2:markets:settlements", "cs2:recovery:initiate",
    "cs2:tournaments:list", "cs2:teams:list", "cs2:players:list",
})  # fmt: skip
PREDICTSTREET_SCOPES: Final = frozenset({"markets:read", "events:read", "portfolio:read"})

ACTIVE: Final = "active"


class Key(msgspec.Struct, kw_only=True, gc=False):
    """One key.

    state: ``active``, or why it is refused. TickTock: ``deactivated``, ``ip_denied``, ``sport_denied``;
    PredictStreet: the reason of the 4401 close (``api_key_revoked``, ``api_key_suspended``, …, contract 1.5).
    bearer: the token is a bearer token, not an API key.
    """

    token: str
    scopes: frozenset[str]
    state: str = ACTIVE
    bearer: bool = False


class Keyring:
    """The keys that a simulator knows."""

    def __init__(self, keys: list[Key]) -> None:
        """Known keys; all others are unknown."""
        self._keys = {key.token: key for key in keys}

    def find(self, token: str | None) -> Key | None:
        """The key of that token, in whatever state."""
        return None if token is None else self._keys.get(token)

    def add(self, key: Key) -> None:
        """One more key; a key of the same token is replaced."""
        self._keys[key.token] = key

    def set_state(self, token: str, state: str) -> Key:
        """Revoke, suspend or restore; raises KeyError for a token that was never known."""
        key = self._keys[token]
        key.state = state
        return key

    def tokens(self) -> list[str]:
        """The tokens known, in the order they came."""
        return list(self._keys)
