"""The client's side of PredictStreet's protocol: greeting, subscriptions, ping and pong. Sans I/O.

Contract: 1.4 (greeting), 1.6 (heartbeat), 2 (commands and answers), 3 (channels). Both gateways speak it. What a connection
subscribes to is settled in `bridge.gateways.agreement`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from bridge.gateways.agreement import ANSWER_TIMEOUT, Agreement, Difference
from bridge.gateways.answer import CONTROL, answer, greeting, ident, kind, subscribed
from bridge.gateways.command import Ping
from bridge.gateways.dialect import NEVER, Dialect, Reaction
from bridge.gateways.gist import Gist, flat
from bridge.gateways.retry import DISCONNECT, REFUSED, SILENCE, Ending, Verdict, one_line
from bridge.gateways.subscriptions import Generation, Refusal, Subscription, joined, pairs

#: Seconds between pings, and until the pong (contract 1.6).
PING_INTERVAL: Final = 25.0
PONG_TIMEOUT: Final = 5.0

_CONTROL: Final = frozenset(name.encode() for name in CONTROL)
_TYPE_FIRST: Final = b'{"type":"'
_TYPE_AT: Final = len(_TYPE_FIRST)
_BOOK_FRAMES: Final = "book_"
_BOOK_PREFIX: Final = _BOOK_FRAMES.encode()


class Subscriber(Dialect):
    """One connection with its share of the subscriptions.

    url: without a key in it. headers: returns the handshake's, with the key. wanted: in the user's channel names, as much
    as fits one connection. protocol: see the configuration. told: called with each refusal when it comes. differs: called
    where the gateway's list of subscriptions is not ours. wallet: whom the greeting must name, where it names one: frames of
    another wallet would be taken for this one's.
    """

    def __init__(
        self,
        url: str,
        headers: Callable[[], dict[str, str]],
        wanted: Sequence[Subscription],
        *,
        protocol: Literal["auto", 1, 2] = "auto",
        told: Callable[[Refusal], None] = lambda _: None,
        differs: Callable[[Difference], None] = lambda _: None,
        wallet: str | None = None,
    ) -> None:
        """See the class."""
        self._url = url
        self._headers = headers
        self._wallet = wallet
        self._protocol, self._told, self._differs = protocol, told, differs
        self.agreement = Agreement(wanted, protocol=protocol, told=told, differs=differs)
        self._greeting_due = self._ping_at = self._pong_due = NEVER

    def url(self) -> str:
        """Return the URL."""
        return self._url

    def headers(self) -> dict[str, str]:
        """Return the headers, key and all."""
        return self._headers()

    def on_open(self, now: float) -> Reaction:
        """Wait for the greeting."""
        self.up = self.healthy = False
        self.agreement.begin()
        self._greeting_due = now + ANSWER_TIMEOUT
        self._ping_at = now + PING_INTERVAL
        self._pong_due = NEVER
        self._look()
        return Reaction()

    def on_messages(self, messages: list[bytes], now: float) -> Reaction:
        """Tell pushes from what is part of the protocol.

        Nearly all messages are pushes and begin with their type, which is looked at without parsing the rest; whatever
        begins otherwise is parsed.
        """
        frames: list[bytes] = []
        reaction = Reaction(frames)
        agreement, books, pending = self.agreement, self.agreement.books, self.agreement.pending
        for raw in messages:
            if raw.startswith(_TYPE_FIRST):
                start = raw[_TYPE_AT : raw.find(b'"', _TYPE_AT)]
                if start in _CONTROL or (pending and ident(raw) in pending):
                    self._control(raw, start.decode(errors="replace"), now, reaction)
                    continue
                if start.startswith(_BOOK_PREFIX):
                    books.follow(raw, start.decode(errors="replace"), now)
            else:
                named = kind(raw)
                if named in CONTROL or (pending and ident(raw) in pending):
                    self._control(raw, named, now, reaction)
                    continue
                if named.startswith(_BOOK_FRAMES):
                    books.follow(raw, named, now)
            frames.append(raw)
        agreement.resync(now, reaction.send)
        self._look()
        if frames and self.up:
            self.healthy = True
        return reaction

    def on_timer(self, now: float) -> Reaction:
        """Ping, notice what did not come, ask again."""
        reaction = Reaction()
        if now >= self._pong_due:
            reaction.drop = Ending(Verdict.RETRY, SILENCE, f"no pong within {PONG_TIMEOUT:g} s")
        elif now >= self._greeting_due:
            reaction.drop = Ending(Verdict.RETRY, DISCONNECT, f"no greeting within {ANSWER_TIMEOUT:g} s")
        elif self.agreement.unanswered(now, reaction.send):
            reaction.drop = Ending(Verdict.RETRY, DISCONNECT, f"no answer to subscribe within {ANSWER_TIMEOUT:g} s")
        else:
            if now >= self._ping_at:
                reaction.send.append(Ping().text(self.agreement.number()))
                self._ping_at = now + PING_INTERVAL
                self._pong_due = now + PONG_TIMEOUT
            self.agreement.remind(now, reaction.send)
        self._look()
        return reaction

    def on_resume(self, now: float) -> None:
        """Give the peer its time anew: its answer may lie unread."""
        if self._pong_due < NEVER:
            self._pong_due = now + PONG_TIMEOUT
        if self._greeting_due < NEVER:
            self._greeting_due = now + ANSWER_TIMEOUT
        self.agreement.postpone(now)
        self._look()

    def change(self, wanted: Sequence[Subscription], now: float) -> Reaction:
        """Subscribe to this from now on, in place of what was wanted; returns what is to be sent for it.

        What stays wanted stays subscribed to: no frame of it is missed. Nothing is to be sent yet where the connection is not
        open, or answers to an earlier change are awaited; then the rest follows when they are there. wanted: as in the
        constructor.
        """
        reaction = Reaction()
        self.agreement.want(wanted)
        self.agreement.remind(now, reaction.send)
        self._look()
        return reaction

    def want(self, wanted: Sequence[Subscription]) -> None:
        """As `change`, but what is to be sent comes from `on_timer`, which is due at once: see `Socket.nudge`."""
        self.agreement.want(wanted)
        self._look()

    @property
    def generation(self) -> Generation | None:
        """Of the present or last connection."""
        return self.agreement.generation

    @property
    def wanted(self) -> list[Subscription]:
        """What is to be subscribed to, in the user's channel names."""
        return list(self.agreement.wanted)

    def on_hurry(self, now: float) -> None:
        """Ping now."""
        self._ping_at = now
        self._look()

    def renew(self) -> Subscriber:
        """Return another with the same subscriptions, none of which is refused yet."""
        return Subscriber(
            self._url,
            self._headers,
            self.wanted,
            protocol=self._protocol,
            told=self._told,
            differs=self._differs,
            wallet=self._wallet,
        )

    def gist(self, raw: bytes) -> Gist:
        """See `bridge.gateways.gist`."""
        return flat(raw)

    @property
    def refused(self) -> list[Refusal]:
        """All refusals that stand."""
        return self.agreement.refused

    @property
    def accepted(self) -> list[Subscription]:
        """What is subscribed to, in the channel names of the connection's generation; nothing before it is up."""
        held = self.agreement.held.values() if self.up else ()
        return joined(dict.fromkeys(pair for each in held for pair in pairs(each)))

    @property
    def granted(self) -> list[Subscription]:
        """What is subscribed to whenever it is up, in the names of the last generation; nothing before that is known."""
        return self.agreement.granted

    # What is part of the protocol

    def _control(self, raw: bytes, named: str, now: float, reaction: Reaction) -> None:
        try:
            if named == "connected":
                self._greeting(raw, now, reaction)
            elif named == "subscribed":
                self.agreement.subscribed(subscribed(raw), now, reaction.send)
            elif named == "pong":
                self._pong_due = NEVER
                self.healthy = self.healthy or self.up
            else:
                self.agreement.answered(ident(raw), answer(raw), now, reaction.send)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            what = one_line(f"the server answered something else than expected: {error}")
            reaction.drop = Ending(Verdict.RETRY, DISCONNECT, what)

    def _greeting(self, raw: bytes, now: float, reaction: Reaction) -> None:
        told = greeting(raw)
        if self._greeting_due == NEVER:
            return
        self._greeting_due = NEVER
        bound = told.walletAddress
        if self._wallet is not None and isinstance(bound, str) and bound.lower() != self._wallet:
            what = "the gateway bound the connection to another wallet than the one asked for"
            reaction.drop = Ending(Verdict.FINAL, REFUSED, what)
            return
        self.agreement.greeted(told.protocolVersion, now, reaction.send)

    def _look(self) -> None:
        """See what became of it, and when to look again."""
        self.up = self.agreement.up
        self.due = min(self._greeting_due, self._ping_at, self._pong_due, self.agreement.answer_due, self.agreement.due)
