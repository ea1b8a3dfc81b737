"""The client's side of PredictStreet's protocol: greeting, subscriptions, ping and pong. Sans I/O.

Contract: 1.4 (greeting), 1.6 (heartbeat), 2 (commands and answers), 3 (channels). Both gateways speak it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from bridge.gateways.dialect import NEVER, Dialect, Reaction
from bridge.gateways.retry import DISCONNECT, REFUSED, SILENCE, SLOW, Ending, Verdict, one_line
from bridge.gateways.subscriptions import (
    BOOK,
    Accepted,
    Generation,
    Refusal,
    Rejected,
    Subscription,
    commands,
    refusals,
    translate,
)

#: Frames that belong to the protocol. They are consumed here; an answer to a command that we never send is too.
CONTROL: Final = frozenset(
    {
        "connected", "subscribed", "unsubscribed", "subscription_updated", "subscriptions", "book_snapshot_requested",
        "pong", "error",
    }
)  # fmt: skip
#: Seconds until the greeting, and until each answer, must have come. Not documented.
ANSWER_TIMEOUT: Final = 10.0
#: Seconds between pings, and until the pong (contract 1.6).
PING_INTERVAL: Final = 25.0
PONG_TIMEOUT: Final = 5.0

_CONTROL: Final = frozenset(name.encode() for name in CONTROL)
_TYPE_FIRST: Final = b'{"type":"'
_TYPE_AT: Final = len(_TYPE_FIRST)
_BOOK_FRAMES: Final = b"book_"
_LATEST: Final = 2


class Subscriber(Dialect):
    """One connection with its share of the subscriptions.

    url: without a key in it. headers: returns the handshake's, with the key. wanted: in the user's channel names, as much
    as fits one connection. protocol: see the configuration. told: called with each refusal when it comes. wallet: whom
    the greeting must name, where it names one: frames of another wallet would be taken for this one's.
    """

    def __init__(
        self,
        url: str,
        headers: Callable[[], dict[str, str]],
        wanted: Sequence[Subscription],
        *,
        protocol: Literal["auto", 1, 2] = "auto",
        told: Callable[[Refusal], None] = lambda _: None,
        wallet: str | None = None,
    ) -> None:
        """See the class."""
        self._url = url
        self._headers = headers
        self._wanted = list(wanted)
        self._protocol = protocol
        self._told = told
        self._wallet = wallet
        #: Generation of the present or last connection.
        self.generation: Generation | None = None
        #: What is refused and will not be asked again with this key, and what is asked again some time.
        self.lasting: list[Refusal] = []
        self.passing: list[Refusal] = []
        #: Token → when it was subscribed to, while no frame of its book has come since.
        self.silent_books: dict[str, float] = {}
        self._greeted = False
        self._pending: dict[int, list[Subscription]] = {}
        self._last_id = 0
        self._answer_due = self._ping_at = self._pong_due = self._again_at = NEVER

    def url(self) -> str:
        """Return the URL."""
        return self._url

    def headers(self) -> dict[str, str]:
        """Return the headers, key and all."""
        return self._headers()

    def on_open(self, now: float) -> Reaction:
        """Wait for the greeting."""
        self.up = self.healthy = self._greeted = False
        self.passing.clear()
        self.silent_books.clear()
        self._pending.clear()
        self._answer_due = now + ANSWER_TIMEOUT
        self._ping_at = now + PING_INTERVAL
        self._pong_due = self._again_at = NEVER
        self._set_due()
        return Reaction()

    def on_messages(self, messages: list[bytes], now: float) -> Reaction:
        """Tell pushes from what is part of the protocol.

        Nearly all messages are pushes and begin with their type, which is looked at without parsing the rest; whatever
        begins otherwise is parsed.
        """
        frames: list[bytes] = []
        reaction = Reaction(frames)
        for raw in messages:
            if raw.startswith(_TYPE_FIRST):
                kind = raw[_TYPE_AT : raw.find(b'"', _TYPE_AT)]
                if kind in _CONTROL:
                    self._control(raw, now, reaction)
                    continue
                if self.silent_books and kind.startswith(_BOOK_FRAMES):
                    self._book(raw)
            elif _kind(raw) in CONTROL:
                self._control(raw, now, reaction)
                continue
            frames.append(raw)
        if frames and self.up:
            self.healthy = True
        return reaction

    def on_timer(self, now: float) -> Reaction:
        """Ping, notice what did not come, ask again."""
        reaction = Reaction()
        if now >= self._pong_due:
            reaction.drop = Ending(Verdict.RETRY, SILENCE, f"no pong within {PONG_TIMEOUT:g} s")
        elif now >= self._answer_due:
            what = "no answer to subscribe" if self._greeted else "no greeting"
            reaction.drop = Ending(Verdict.RETRY, DISCONNECT, f"{what} within {ANSWER_TIMEOUT:g} s")
        else:
            if now >= self._ping_at:
                reaction.send.append(self._command("ping"))
                self._ping_at = now + PING_INTERVAL
                self._pong_due = now + PONG_TIMEOUT
            if now >= self._again_at:
                self._again_at = NEVER
                again = [refusal.subscription for refusal in self.passing]
                self.passing.clear()
                self._ask(again, now, reaction)
        self._set_due()
        return reaction

    def on_resume(self, now: float) -> None:
        """Give the peer its time anew: its answer may lie unread."""
        if self._pong_due < NEVER:
            self._pong_due = now + PONG_TIMEOUT
        if self._answer_due < NEVER:
            self._answer_due = now + ANSWER_TIMEOUT
        self._set_due()

    @property
    def refused(self) -> list[Refusal]:
        """All refusals that stand."""
        return [*self.lasting, *self.passing]

    @property
    def accepted(self) -> list[Subscription]:
        """What is subscribed to, in the channel names of the connection's generation; nothing before it is up."""
        return self.granted if self.up else []

    @property
    def granted(self) -> list[Subscription]:
        """What is subscribed to whenever it is up, in the names of the last generation; nothing before that is known."""
        if self.generation is None:
            return []
        return _without(translate(self._wanted, self.generation), self.refused)

    # What is part of the protocol

    def _control(self, raw: bytes, now: float, reaction: Reaction) -> None:
        try:
            message = _decode(raw)
        except msgspec.MsgspecError as error:
            what = one_line(f"the server answered something else than expected: {error}")
            reaction.drop = Ending(Verdict.RETRY, DISCONNECT, what)
            return
        if message.type == "connected":
            self._greeting(message, now, reaction)
        elif message.type == "subscribed":
            self._answer(message.id, message.accepted, message.rejected, now)
        elif message.type == "pong":
            self._pong_due = NEVER
            self.healthy = self.healthy or self.up
        elif message.type == "error":
            self._answer(message.id, [], [message.error()], now)
        self._set_due()

    def _greeting(self, message: _Message, now: float, reaction: Reaction) -> None:
        if self._greeted:
            return
        self._greeted = True
        self._answer_due = NEVER
        bound = message.data.walletAddress if message.data else None
        if self._wallet is not None and isinstance(bound, str) and bound.lower() != self._wallet:
            what = "the gateway bound the connection to another wallet than the one asked for"
            reaction.drop = Ending(Verdict.FINAL, REFUSED, what)
            return
        version = message.data.protocolVersion if message.data else None
        told: Generation = _LATEST if version is not None and version >= _LATEST else 1
        self.generation = told if self._protocol == "auto" else self._protocol
        self._ask(_without(translate(self._wanted, self.generation), self.lasting), now, reaction)
        self.up = not self._pending

    def _ask(self, subscriptions: Sequence[Subscription], now: float, reaction: Reaction) -> None:
        for group in commands(subscriptions):
            reaction.send.append(self._command("subscribe", subscriptions=[_entry(each) for each in group]))
            self._pending[self._last_id] = group
            self._answer_due = now + ANSWER_TIMEOUT

    def _answer(
        self, ident: int | str | None, accepted: Sequence[Accepted], rejected: Sequence[Rejected], now: float
    ) -> None:
        """Take the answer to a subscribe command; it is known by its id. An error to anything else is nothing to act on."""
        asked = self._pending.pop(ident, None) if isinstance(ident, int) else None
        if asked is None:
            return
        refused = refusals(asked, accepted, rejected)
        for refusal in refused:
            (self.lasting if refusal.lasting else self.passing).append(refusal)
            self._told(refusal)
        if self.passing:
            self._again_at = min(self._again_at, now + SLOW)
        books = _without([each for each in asked if each.channel == BOOK], refused)
        self.silent_books.update({token: now for each in books for token in each.ids})
        if not self._pending:
            self._answer_due = NEVER
            self.up = True

    def _command(self, verb: str, **params: object) -> str:
        self._last_id += 1
        command: dict[str, object] = {"id": self._last_id, "cmd": verb}
        return json.dumps({**command, "params": params} if params else command, separators=(",", ":"))

    def _book(self, raw: bytes) -> None:
        try:
            push = msgspec.json.decode(raw, type=_Push)
        except msgspec.MsgspecError:
            return
        self.silent_books.pop(push.id, None)

    def _set_due(self) -> None:
        self.due = min(self._answer_due, self._ping_at, self._pong_due, self._again_at)


class _Greeting(msgspec.Struct):
    protocolVersion: int | float | None = None  # noqa: N815 - the gateway's name
    walletAddress: Any = None  # noqa: N815 - the gateway's name


class _Error(msgspec.Struct):
    code: str | int | None = None
    message: str | None = None


class _Message(msgspec.Struct):
    """A frame of the protocol, as far as we read it."""

    type: str
    id: int | str | None = None
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []
    code: str | int | None = None
    message: str | None = None
    data: _Greeting | None = None

    def error(self) -> Rejected:
        """Return what an error frame says; its shape is not documented (contract 2.4)."""
        return Rejected(code=str(self.code or "error"), message=self.message or "")


class _Typed(msgspec.Struct):
    type: str = ""


class _Push(msgspec.Struct):
    id: str = ""


def _kind(raw: bytes) -> str:
    """Return the type of a message; nothing where it has none, or is no JSON: that is for the pipeline to judge."""
    try:
        return msgspec.json.decode(raw, type=_Typed).type
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _decode(raw: bytes) -> _Message:
    return msgspec.json.decode(raw, type=_Message)


def _entry(subscription: Subscription) -> Mapping[str, object]:
    if not subscription.ids:
        return {"channel": subscription.channel}
    return {"channel": subscription.channel, "ids": list(subscription.ids)}


def _without(subscriptions: Iterable[Subscription], refused: Iterable[Refusal]) -> list[Subscription]:
    """Return the subscriptions without what was refused."""
    gone = {(each.subscription.channel, entity) for each in refused for entity in each.subscription.ids or ("",)}
    left = []
    for each in subscriptions:
        ids = tuple(entity for entity in each.ids if (each.channel, entity) not in gone)
        if ids or (not each.ids and (each.channel, "") not in gone):
            left.append(Subscription(each.channel, ids))
    return left
