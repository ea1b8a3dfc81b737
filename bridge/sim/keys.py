"""Keys of a simulated gateway: who may come in, with which scopes, and what a refused one is told."""

from __future__ import annotations

import re
from typing import Final

import msgspec

#: Every scope that the TickTock contract names (1.4).
TICKTOCK_SCOPES: Final = frozenset({
    "cs2:stream:matches", "cs2:stream:markets", "cs2:stream:scoreboard",
    "cs2:matches:list", "cs2:matches:read", "cs2:matches:detail", "cs2:matches:scoreboard",
    "cs2:markets:read", "cs2:markets:settlements", "cs2:recovery:initiate",
    "cs2:tournaments:list", "cs2:teams:list", "cs2:players:list",
})  # fmt: skip
PREDICTSTREET_SCOPES: Final = frozenset({"markets:read", "events:read", "portfolio:read", "partner:trades:read"})

ACTIVE: Final = "active"


class Key(msgspec.Struct, kw_only=True, gc=False):
    """One key.

    state: ``active``, or why it is refused. TickTock: ``deactivated``, ``ip_denied``, ``sport_denied``;
    PredictStreet: the reason of the 4401 close (``api_key_revoked``, ``api_key_suspended``, …, contract 1.5).
    bearer: the token is a bearer token, not an API key. multi_wallet: it must name the wallet it acts for (1.2); else it
    need not, and acts for the first. wallets: which it may act for; none: any.
    """

    token: str
    scopes: frozenset[str]
    state: str = ACTIVE
    bearer: bool = False
    multi_wallet: bool = False
    wallets: tuple[str, ...] = ()


class NoWallet(Exception):
    """The key can't act for that wallet; the text is the reason of the close or the code of the answer."""


def acting_wallet(key: Key, asked: str | None, *, first: str, rest: bool = False) -> str:
    """The wallet (lower case) that a request with that key is for. asked: header or query; first: for keys of any wallet.

    rest: over HTTP a missing wallet has another name (2.5). Raises NoWallet.
    """
    if asked is None:
        if key.multi_wallet:
            raise NoWallet("api_key_user_wallet_required" if rest else "api_key_no_associated_wallet")
        return key.wallets[0].lower() if key.wallets else first
    if not _WALLET.fullmatch(asked):
        raise NoWallet("api_key_user_wallet_invalid")
    wallet = asked.lower()
    if key.wallets and wallet not in {one.lower() for one in key.wallets}:
        raise NoWallet("api_key_no_associated_wallet")
    return wallet


_WALLET: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")


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

    def rotate(self, token: str, fresh: str, *, state: str) -> Key:
        """A key with the same rights beside the old one, which goes into that state. Raises KeyError for an unknown one."""
        old = self._keys[token]
        self.add(msgspec.structs.replace(old, token=fresh, state=ACTIVE))
        old.state = state
        return old

    def tokens(self) -> list[str]:
        """The tokens known, in the order they came."""
        return list(self._keys)
