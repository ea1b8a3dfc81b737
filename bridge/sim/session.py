"""PredictStreet's client protocol (contract 2, 3): commands in, acknowledgements out, which subscription gets what. Sans I/O.

Both gateways speak it; what differs is the set of channels that each serves (`CHANNELS`). The private gateway, ``/ws/user``, is
a session with ``gateway="user"`` and the wallet that it is bound to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Final, Literal, NamedTuple

import msgspec

from bridge.sim.keys import Key
from bridge.sim.predictstreet_stream import PredictStreetKnobs

MAX_SUBSCRIPTIONS: Final = 256
MAX_IDS: Final = 100
Gateway = Literal["market", "user"]
Ids = Literal["token", "condition", "vault", "platform", "none"]


class Channel(NamedTuple):
    """A row of the channel catalogue (3.1, 3.2): where it is served, which ids it takes, the scope it needs."""

    gateway: Gateway
    ids: Ids
    scope: str | None = None


_PRIVATE: Final = "portfolio:read"
CHANNELS: Final[dict[int, dict[str, Channel]]] = {
    1: {
        "token_trades": Channel("market", "token"),
        "token_book": Channel("market", "token"),
        "condition_status": Channel("market", "condition"),
        "system": Channel("market", "platform"),
        "user_activity": Channel("user", "none", _PRIVATE),
        "vault_activity": Channel("user", "vault", _PRIVATE),
    },
    2: {
        "token_trade_matches": Channel("market", "token"),
        "token_trade_settlements": Channel("market", "token"),
        "token_book": Channel("market", "token"),
        "token_ohlc": Channel("market", "token"),
        "condition_lifecycle": Channel("market", "condition"),
        "system": Channel("market", "platform"),
        "user_orders": Channel("user", "none", _PRIVATE),
        "user_fills": Channel("user", "none", _PRIVATE),
        "vault_positions": Channel("user", "vault", _PRIVATE),
    },
}
_FORMS: Final = {
    "token": re.compile(r"\d{1,78}"),
    "condition": re.compile(r"0x[0-9a-f]{64}"),
    "vault": re.compile(r"0x[0-9a-f]{40}"),
}
_UINT256: Final = 1 << 256


class Subscription(NamedTuple):
    """One accepted entry. `ids` keeps the order asked for."""

    sid: int
    channel: str
    ids: list[str]


#: The members of the answer, and a book snapshot to send for each (sid, token).
Answer = tuple[dict[str, Any], list[tuple[int, str]]]
Command = Callable[[dict[str, Any]], Answer]


class Reply(NamedTuple):
    """What to send: messages at once, then a book snapshot for each (sid, token)."""

    messages: list[bytes]
    snapshots: list[tuple[int, str]]


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Mute(Exception):
    """No answer at all."""


class Session:
    """The state of one socket. `routes` says which sids a push on (channel, id) goes to."""

    def __init__(
        self,
        gateway: Gateway,
        knobs: PredictStreetKnobs,
        key: Key,
        *,
        clock: Callable[[], int],
        wallet: str | None = None,
        vaults: Collection[str] | None = None,
    ) -> None:
        """A session without subscriptions; `clock` is ms since the epoch. vaults: which it may subscribe to; None: any."""
        self.gateway = gateway
        self.subscriptions: dict[int, Subscription] = {}
        self.routes: dict[tuple[str, str], list[int]] = {}
        self._knobs = knobs
        self._key = key
        self._clock = clock
        self._wallet = wallet
        self._vaults = vaults
        self._next_sid = knobs.first_sid
        self._channels = CHANNELS[knobs.generation]

    def greeting(self) -> bytes:
        """The first frame (1.4)."""
        data: dict[str, Any] = {"gateway": self.gateway, "authMethod": "bearer" if self._key.bearer else "api_key"}
        if self._wallet is not None:
            data["walletAddress"] = self._wallet
        if (self._knobs.greets or self._knobs.generation) != 1:
            data["protocolVersion"] = 2
            if not self._key.bearer:
                data["partnerId"] = "clx0simulated0partner0"
        return self._frame({"type": "connected", "data": data})

    def receive(self, text: str) -> Reply:
        """The answer to one message of the client; what is no command gets an error frame."""
        ident: Any = None
        try:
            message = _decoded(text)
            ident = message.get("id")
            answer, snapshots = self._command(message.get("cmd"))(_object(message.get("params", {})))
        except _Mute:
            return Reply([], [])
        except _Refused as refused:
            error = {"type": "error", "code": refused.code, "message": f"{refused.code}: {refused.message}"}
            return Reply([self._frame({"id": ident, **error})], [])
        return Reply([self._frame({"id": ident, **answer})], snapshots)

    def sids(self, channel: str, ident: str) -> list[int]:
        """Who gets a push on that channel for that id."""
        return self.routes.get((channel, ident), [])

    def _command(self, verb: Any) -> Command:
        commands: dict[Any, Command] = {
            "subscribe": self._subscribe,
            "update_subscription": self._update,
            "unsubscribe": self._unsubscribe,
            "list_subscriptions": self._list,
            "ping": self._ping,
        }
        if self._knobs.second:
            commands["get_book_snapshot"] = self._snapshot
        command = commands.get(verb) if isinstance(verb, str) else None
        if verb not in {"subscribe", "ping"} and self._knobs.commands == "mute":
            raise _Mute
        if verb not in {"subscribe", "ping"} and self._knobs.commands == "fewest":
            command = None
        if command is None:
            raise _Refused("unknown_command", f"no command {verb!r}")
        return command

    def _subscribe(self, params: dict[str, Any]) -> Answer:
        entries = params.get("subscriptions")
        if not isinstance(entries, list):
            raise _Refused("invalid_params", "subscriptions must be an array")
        accepted: list[dict[str, Any]] = []
        rejected: list[dict[str, Any]] = []
        snapshots: list[tuple[int, str]] = []
        for entry in entries:
            asked: dict[str, Any] = entry if isinstance(entry, dict) else {}
            try:
                channel, ids = self._judged(asked)
            except _Refused as refused:
                about: dict[str, Any] = {name: asked[name] for name in ("channel", "ids") if name in asked}
                rejected.append({"code": refused.code, "message": f"{refused.code}: {refused.message}", **about})
                continue
            sid, self._next_sid = self._next_sid, self._next_sid + 1
            held = Subscription(sid, channel, ids)
            accepted.append(_listed(held))
            if self._knobs.forgets and sid % self._knobs.forgets == 0:
                continue
            self.subscriptions[sid] = held
            snapshots += self._booked(sid, channel, ids)
        self._rewire()
        return {"type": "subscribed", "accepted": accepted, "rejected": rejected}, snapshots

    def _update(self, params: dict[str, Any]) -> Answer:
        subscription = self._known(params)
        spec = self._channels[subscription.channel]
        if spec.ids == "none":
            raise _Refused("invalid_params", f"channel {subscription.channel} takes no ids")
        added = self._ids(spec, params.get("add_ids", []))
        if spec.ids == "vault":
            self._cover(added)
        gone = set(self._ids(spec, params.get("remove_ids", [])))
        kept = [ident for ident in subscription.ids if ident not in gone]
        new = [ident for ident in added if ident not in kept]
        if len(kept) + len(new) > MAX_IDS and self._knobs.second:
            raise _Refused("subscription_too_many_ids", f"subscription accepts at most {MAX_IDS} ids")
        subscription.ids[:] = kept + new
        self._rewire()
        answer = {
            "type": "subscription_updated",
            "sid": subscription.sid,
            "channel": subscription.channel,
            "ids": subscription.ids,
        }
        return answer, self._booked(subscription.sid, subscription.channel, new)

    def _unsubscribe(self, params: dict[str, Any]) -> Answer:
        sids = params.get("sids")
        if not isinstance(sids, list):
            raise _Refused("invalid_params", "sids must be an array")
        removed = [sid for sid in sids if isinstance(sid, int) and self.subscriptions.pop(sid, None) is not None]
        self._rewire()
        return {"type": "unsubscribed", "sids": removed}, []

    def _list(self, _: dict[str, Any]) -> Answer:
        return {"type": "subscriptions", "subscriptions": [_listed(each) for each in self.subscriptions.values()]}, []

    def _ping(self, _: dict[str, Any]) -> Answer:
        return {"type": "pong", "ts": self._clock()}, []

    def _snapshot(self, params: dict[str, Any]) -> Answer:
        subscription = self._known(params)
        if subscription.channel != "token_book":
            raise _Refused("invalid_params", "get_book_snapshot needs a token_book subscription")
        wanted = params.get("ids", subscription.ids)
        ids = [ident for ident in subscription.ids if isinstance(wanted, list) and ident in wanted]
        return {"type": "book_snapshot_requested", "sid": subscription.sid}, [
            (subscription.sid, ident) for ident in ids
        ]

    def _judged(self, entry: dict[str, Any]) -> tuple[str, list[str]]:
        """Channel and normalised ids of a subscription entry; raises _Refused with the generation's code (2.4)."""
        second = self._knobs.second
        channel = entry.get("channel")
        spec = self._channels.get(channel) if isinstance(channel, str) else None
        if spec is None or not isinstance(channel, str):
            raise _Refused(
                "invalid_params" if second or self._knobs.g1_codes == "reference" else "unknown_channel",
                f"unknown channel {channel}",
            )
        if spec.gateway != self.gateway:
            raise _Refused("forbidden", f"channel {channel} is not served on /ws/{self.gateway}")
        if spec.scope is not None and spec.scope not in self._key.scopes and not self._key.bearer:
            raise _Refused("api_key_scope_missing", f"channel {channel} needs {spec.scope}")
        if second and len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise _Refused("subscription_cap_exceeded", f"connection holds {MAX_SUBSCRIPTIONS} subscriptions")
        ids = self._ids(spec, entry.get("ids", []))
        if spec.ids == "none" and "ids" in entry:
            raise _Refused("invalid_params", f"channel {channel} takes no ids")
        if spec.ids != "none" and not ids:
            raise _Refused(self._malformed(), f"channel {channel} needs ids")
        if spec.ids == "vault":
            self._cover(ids)
        return channel, ids

    def _cover(self, vaults: list[str]) -> None:
        if self._vaults is not None and not set(vaults) <= set(self._vaults):
            raise _Refused("forbidden", "vault is not the key's associated_vault")

    def _ids(self, spec: Channel, given: Any) -> list[str]:
        """Canonical ids without repetitions (2.3): lower case, no leading zeroes."""
        if not isinstance(given, list):
            raise _Refused(self._malformed(), "ids must be an array")
        if len(given) > MAX_IDS and self._knobs.second:
            raise _Refused("subscription_too_many_ids", f"subscription accepts at most {MAX_IDS} ids")
        return list(dict.fromkeys(self._canonical(spec.ids, ident) for ident in given))

    def _canonical(self, kind: Ids, ident: Any) -> str:
        if isinstance(ident, str):
            if kind == "platform" and ident == "platform_status":
                return ident
            text = ident.lower()
            form = _FORMS.get(kind)
            if form is not None and form.fullmatch(text):
                if kind != "token":
                    return text
                if int(text) < _UINT256:
                    return str(int(text))
        raise _Refused(self._malformed(), f"malformed {kind} id")

    def _malformed(self) -> str:
        return "invalid" if not self._knobs.second and self._knobs.g1_codes == "concepts" else "invalid_params"

    def _known(self, params: dict[str, Any]) -> Subscription:
        sid = params.get("sid")
        found = self.subscriptions.get(sid) if isinstance(sid, int) else None
        if found is None:
            raise _Refused("invalid_params", f"no subscription with sid {sid}")
        return found

    def _booked(self, sid: int, channel: str, ids: list[str]) -> list[tuple[int, str]]:
        return [(sid, ident) for ident in ids] if channel == "token_book" else []

    def _rewire(self) -> None:
        self.routes = {}
        for subscription in self.subscriptions.values():
            # What names no id goes to the socket's wallet.
            for ident in subscription.ids or [self._wallet or ""]:
                sids = self.routes.setdefault((subscription.channel, ident), [])
                if not sids or self._knobs.copies == "each":
                    sids.append(subscription.sid)

    def _frame(self, members: dict[str, Any]) -> bytes:
        if self._knobs.stamps:
            members = {**members, "serverTs": self._clock()}
        return msgspec.json.encode(members)


def _listed(subscription: Subscription) -> dict[str, Any]:
    row: dict[str, Any] = {"sid": subscription.sid, "channel": subscription.channel}
    return row | ({"ids": subscription.ids} if subscription.ids else {})


def _object(params: Any) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise _Refused("invalid_params", "params must be an object")
    return params


def _decoded(text: str) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise _Refused("invalid_params", "message is not JSON") from error
    if not isinstance(message, dict):
        raise _Refused("invalid_params", "message is not an object")
    return message
