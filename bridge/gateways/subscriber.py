"""The client's side of PredictStreet's protocol: greeting, subscriptions, ping and pong. Sans I/O.

Contract: 1.4 (greeting), 1.6 (heartbeat), 2 (commands and answers), 3 (channels), 5 (books). Both gateways speak it. What
is said is in `bridge.gateways.command`, what is answered in `bridge.gateways.answer`.

Only the answer to `subscribe` is documented, and must come. The other commands have a way around them: ids that can't be
added to a subscription get one of their own, ids that can't be taken from it are left, a list that does not come or can't
be read confirms nothing, and a book that is not sent anew on demand is subscribed to once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from bridge.gateways.answer import CONTROL, Answer, answer, greeting, ident, kind, subscribed
from bridge.gateways.books import Books
from bridge.gateways.command import (
    Add,
    Command,
    GetBookSnapshot,
    ListSubscriptions,
    Ping,
    Remove,
    Subscribe,
    Unsubscribe,
    difference,
    subscribing,
)
from bridge.gateways.dialect import NEVER, Dialect, Reaction
from bridge.gateways.retry import DISCONNECT, REFUSED, SILENCE, SLOW, Ending, Verdict, one_line
from bridge.gateways.subscriptions import (
    BOOK,
    GENERATIONS,
    Accepted,
    Generation,
    Refusal,
    Rejected,
    Subscription,
    joined,
    misnamed,
    pairs,
    renamed,
    settle,
    split,
    translate,
    without,
)

#: Seconds until the greeting, and until each answer, must have come. Not documented.
ANSWER_TIMEOUT: Final = 10.0
#: Seconds between pings, and until the pong (contract 1.6).
PING_INTERVAL: Final = 25.0
PONG_TIMEOUT: Final = 5.0

_CONTROL: Final = frozenset(name.encode() for name in CONTROL)
_TYPE_FIRST: Final = b'{"type":"'
_TYPE_AT: Final = len(_TYPE_FIRST)
_BOOK_FRAMES: Final = "book_"
_BOOK_PREFIX: Final = _BOOK_FRAMES.encode()
_LATEST: Final = 2


class Difference(msgspec.Struct, frozen=True):
    """What the gateway holds for a connection, where it is not what we think. readable: False: it could not be told."""

    missing: list[Subscription]
    surplus: list[Subscription]
    readable: bool = True


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
        self._wanted = list(wanted)
        self._protocol = protocol
        self._told = told
        self._differs = differs
        self._wallet = wallet
        #: Generation of the present or last connection.
        self.generation: Generation | None = None
        #: What is refused and will not be asked again with this key, and what is asked again some time.
        self.lasting: list[Refusal] = []
        self.passing: list[Refusal] = []
        #: Whether the gateway has listed just what is subscribed to; None: it has not listed anything yet that can be read.
        self.confirmed: bool | None = None
        self.books = Books()
        self._greeted = False
        self._held: dict[int, Subscription] = {}
        #: Subscriptions that have a book sent anew, and their tokens.
        self._again: dict[int, frozenset[str]] = {}
        self._pending: dict[int, tuple[Command, float]] = {}
        #: What a greeting said and what the names turned out to be.
        self._known: dict[Generation, Generation] = {}
        #: Rejections that the names of the other generation may mend, those of the other names, and whether they were tried.
        self._said: Generation = 1
        self._misnamed: list[Refusal] = []
        self._other_names: list[Refusal] = []
        self._doubted = False
        self._stale = self._listed = self._mended = False
        self._snapshots = True
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
        self.up = self.healthy = self._greeted = self._doubted = self._stale = self._listed = self._mended = False
        self._snapshots = True
        self.confirmed = None
        self.passing.clear()
        self.books.clear()
        self._held.clear()
        self._again.clear()
        self._pending.clear()
        self._misnamed.clear()
        self._other_names.clear()
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
                start = raw[_TYPE_AT : raw.find(b'"', _TYPE_AT)]
                if start in _CONTROL or (self._pending and ident(raw) in self._pending):
                    self._control(raw, start.decode(errors="replace"), now, reaction)
                    continue
                if start.startswith(_BOOK_PREFIX):
                    self.books.follow(raw, start.decode(errors="replace"), now)
            else:
                named = kind(raw)
                if named in CONTROL or (self._pending and ident(raw) in self._pending):
                    self._control(raw, named, now, reaction)
                    continue
                if named.startswith(_BOOK_FRAMES):
                    self.books.follow(raw, named, now)
            frames.append(raw)
        if frames and self.up:
            self.healthy = True
        if self._again or self.books.due <= now:
            self._resync(now, reaction)
        if self.books.due < self.due:
            self._set_due()
        return reaction

    def on_timer(self, now: float) -> Reaction:
        """Ping, notice what did not come, ask again."""
        reaction = Reaction()
        if now >= self._pong_due:
            reaction.drop = Ending(Verdict.RETRY, SILENCE, f"no pong within {PONG_TIMEOUT:g} s")
        elif now >= self._answer_due and self._unanswered(now, reaction):
            what = "no answer to subscribe" if self._greeted else "no greeting"
            reaction.drop = Ending(Verdict.RETRY, DISCONNECT, f"{what} within {ANSWER_TIMEOUT:g} s")
        else:
            if now >= self._ping_at:
                self._last_id += 1
                reaction.send.append(Ping().text(self._last_id))
                self._ping_at = now + PING_INTERVAL
                self._pong_due = now + PONG_TIMEOUT
            if now >= self._again_at:
                self._again_at = NEVER
                self.passing.clear()
                self._stale = True
            if self._stale:
                self._pursue(now, reaction)
            self._resync(now, reaction)
        self._set_due()
        return reaction

    def on_resume(self, now: float) -> None:
        """Give the peer its time anew: its answer may lie unread."""
        if self._pong_due < NEVER:
            self._pong_due = now + PONG_TIMEOUT
        if self._answer_due < NEVER:
            self._pending = {number: (each, now + ANSWER_TIMEOUT) for number, (each, _) in self._pending.items()}
            self._answer_due = now + ANSWER_TIMEOUT
        self._set_due()

    def change(self, wanted: Sequence[Subscription], now: float) -> Reaction:
        """Subscribe to this from now on, in place of what was wanted; returns what is to be sent for it.

        What stays wanted stays subscribed to: no frame of it is missed. Nothing is to be sent yet where the connection is not
        open, or answers to an earlier change are awaited; then the rest follows when they are there. wanted: as in the
        constructor. What was refused for good and is not wanted any more is forgotten, and would be asked for if wanted again.
        """
        reaction = Reaction()
        self.want(wanted)
        self._pursue(now, reaction)
        self._set_due()
        return reaction

    def want(self, wanted: Sequence[Subscription]) -> None:
        """As `change`, but the next `on_timer`, which is due at once, sends what is to be sent."""
        self._wanted = list(wanted)
        ours = {pair for generation in GENERATIONS for each in translate(wanted, generation) for pair in pairs(each)}
        for refusals in (self.lasting, self.passing):
            refusals[:] = [each for each in refusals if not ours.isdisjoint(pairs(each.subscription))]
        self._stale = True
        self._set_due()

    @property
    def wanted(self) -> list[Subscription]:
        """What is to be subscribed to, in the user's channel names."""
        return list(self._wanted)

    @property
    def refused(self) -> list[Refusal]:
        """All refusals that stand."""
        return [*self.lasting, *self.passing]

    @property
    def accepted(self) -> list[Subscription]:
        """What is subscribed to, in the channel names of the connection's generation; nothing before it is up."""
        return _merged(self._held.values()) if self.up else []

    @property
    def held(self) -> dict[int, Subscription]:
        """Sid → what the gateway has accepted on this connection."""
        return dict(self._held)

    # What is part of the protocol

    def _control(self, raw: bytes, named: str, now: float, reaction: Reaction) -> None:
        try:
            if named == "connected":
                self._greeting(raw, now, reaction)
            elif named == "subscribed":
                told = subscribed(raw)
                self._subscribed(told.id, told.accepted, told.rejected, now, reaction)
            elif named == "pong":
                self._pong_due = NEVER
                self.healthy = self.healthy or self.up
            else:
                self._answered(ident(raw), answer(raw), now, reaction)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            what = one_line(f"the server answered something else than expected: {error}")
            reaction.drop = Ending(Verdict.RETRY, DISCONNECT, what)
            return
        self._set_due()

    def _greeting(self, raw: bytes, now: float, reaction: Reaction) -> None:
        told = greeting(raw)
        if self._greeted:
            return
        self._greeted = True
        bound = told.walletAddress
        if self._wallet is not None and isinstance(bound, str) and bound.lower() != self._wallet:
            what = "the gateway bound the connection to another wallet than the one asked for"
            reaction.drop = Ending(Verdict.FINAL, REFUSED, what)
            return
        version = told.protocolVersion
        said: Generation = _LATEST if version is not None and version >= _LATEST else 1
        self.generation = self._known.get(said, said) if self._protocol == "auto" else self._protocol
        self._said = said
        self._pursue(now, reaction)

    def _pursue(self, now: float, reaction: Reaction) -> None:
        """Ask for what is wanted and not held; when it is answered, what the gateway holds is asked for."""
        if not self._greeted or self.generation is None or self._changing:
            return  # `_stale` is looked at again with the last answer
        self._stale = False
        wanted = without(translate(self._wanted, self.generation), (each.subscription for each in self.refused))
        steps = difference(self._held, wanted)
        self._ask(steps, now, reaction)
        if steps:
            self._listed = False
        self._settle(now, reaction)

    def _settle(self, now: float, reaction: Reaction) -> None:
        """Go on where the answers to all changes are there: what was put off, then the question what is held."""
        if self._changing:
            return
        if self._misnamed and self._doubt(now, reaction):
            return
        if self.passing:
            self._again_at = min(self._again_at, now + SLOW)
        self.up = True
        if self._stale:
            self._pursue(now, reaction)
        if not self._listed and self._held and not self._changing:
            self._listed = True
            self._ask([ListSubscriptions()], now, reaction)

    def _ask(self, commands: Iterable[Command], now: float, reaction: Reaction) -> None:
        for command in commands:
            self._last_id += 1
            reaction.send.append(command.text(self._last_id))
            self._pending[self._last_id] = (command, now + ANSWER_TIMEOUT)

    @property
    def _changing(self) -> bool:
        """Whether answers are awaited that decide what is held."""
        return any(
            isinstance(each, Add | Remove | Unsubscribe) or (isinstance(each, Subscribe) and not each.again)
            for each, _ in self._pending.values()
        )

    def _subscribed(
        self,
        number: int | str | None,
        accepted: Sequence[Accepted],
        rejected: Sequence[Rejected],
        now: float,
        reaction: Reaction,
    ) -> None:
        """Take the answer to a subscribe command; it is known by its id."""
        command, _ = self._pending.pop(number, (None, 0.0)) if isinstance(number, int) else (None, 0.0)
        if not isinstance(command, Subscribe):
            return
        found = settle(command.subscriptions, accepted, rejected)
        if command.again:
            for sid, each in found.held.items():
                if sid >= 0:
                    self._again[sid] = frozenset(each.ids)
            return
        for sid, each in found.held.items():
            self._held[sid if sid >= 0 else min((*self._held, 0)) - 1] = each
            if each.channel == BOOK:
                self.books.begin(each.ids, now)
        for refusal in found.refused:
            if self._misnamed and self._doubted:
                self._other_names.append(refusal)
            elif self._protocol == "auto" and not self._doubted and misnamed(refusal):
                self._misnamed.append(refusal)
            else:
                self._refuse(refusal)
        self._settle(now, reaction)

    def _refuse(self, refusal: Refusal) -> None:
        (self.lasting if refusal.lasting else self.passing).append(refusal)
        self._told(refusal)

    def _doubt(self, now: float, reaction: Reaction) -> bool:
        """Channels were refused that have another name in the other generation: try those names, once a connection.

        Only where no name of this generation was accepted. If the others are no better, what counts is what was said first.
        Returns whether they are being tried.
        """
        assert self.generation is not None  # noqa: S101 - something was asked
        other = _other(self.generation)
        named = any(renamed(each.channel) for each in self._held.values())
        if not self._doubted and not named:
            self._doubted = True
            again = translate((each.subscription for each in self._misnamed), other)
            self._ask(subscribing(again), now, reaction)
            return True
        if self._doubted and named:
            self.generation = self._known[self._said] = other
        for refusal in self._other_names if self._doubted and named else self._misnamed:
            self._refuse(refusal)
        self._misnamed, self._other_names = [], []
        return False

    def _answered(self, number: int | None, told: Answer, now: float, reaction: Reaction) -> None:
        """Take any other answer. An error to anything that was not asked is nothing to act on."""
        command, _ = self._pending.pop(number, (None, 0.0)) if number is not None else (None, 0.0)
        match command:
            case None:
                return
            case ListSubscriptions():
                self._compare(told, now, reaction)
            case Subscribe():
                error = told.error or Rejected("unconfirmed", "answered without saying what is accepted")
                for refusal in settle(command.subscriptions, [], [error]).refused if not command.again else ():
                    self._refuse(refusal)
            case _ if told.error is None:
                self._done(command, now)
            case Add():
                self._ask([Subscribe((Subscription(command.channel, command.ids),))], now, reaction)
            case GetBookSnapshot():
                self._snapshots = False
                self._send_again(command.ids, now, reaction)
            case _:
                pass  # what can't be taken back is left; the list of what is held will show it
        self._settle(now, reaction)

    def _done(self, command: Command, now: float) -> None:
        """Note what a command has changed."""
        match command:
            case Add(sid, channel, ids):
                self._held[sid] = Subscription(channel, self._held[sid].ids + ids)
                if channel == BOOK:
                    self.books.begin(ids, now)
            case Remove(sid, channel, ids):
                self._held[sid] = without([self._held[sid]], [Subscription(channel, ids)])[0]
                self._end(channel, ids)
            case Unsubscribe(sids):
                for gone in [self._held.pop(sid) for sid in sids if sid in self._held]:
                    self._end(gone.channel, gone.ids)
            case _:
                pass

    def _end(self, channel: str, ids: Iterable[str]) -> None:
        """Forget the books of ids that no subscription brings any more."""
        if channel == BOOK:
            still = {entity for each in self._held.values() if each.channel == BOOK for entity in each.ids}
            self.books.end(entity for entity in ids if entity not in still)

    def _compare(self, told: Answer, now: float, reaction: Reaction) -> None:
        """Compare what the gateway says it holds with what we think it does; mend it once."""
        if self._changing:
            self._listed = False  # what was listed is older than what was asked since
            return
        if told.listed is None:
            self._differs(Difference([], [], readable=False))
            return
        listed = {pair for sid, each in told.listed.items() if sid not in self._again for pair in pairs(each)}
        # What is listed without its ids is taken to have them.
        bare = {channel for channel, entity in listed if not entity}
        ours = {pair: None for each in self._held.values() for pair in pairs(each)}
        missing = joined(pair for pair in ours if pair not in listed and pair[0] not in bare)
        surplus = joined(pair for pair in sorted(listed) if pair not in ours and pair[1])
        self.confirmed = not missing and not surplus
        if self.confirmed:
            return
        self._differs(Difference(missing, surplus))
        if missing and not self._mended:
            self._mended = True
            for sid, each in list(self._held.items()):
                left = without([each], missing)
                self._end(each.channel, each.ids)
                if left:
                    self._held[sid] = left[0]
                else:
                    del self._held[sid]
            self._pursue(now, reaction)

    def _unanswered(self, now: float, reaction: Reaction) -> bool:
        """Do without the answers that are overdue; returns whether one is that must have come."""
        overdue = {number: each for number, (each, due) in self._pending.items() if due <= now}
        if not self._greeted or any(isinstance(each, Subscribe) and not each.again for each in overdue.values()):
            return True
        for number in overdue:
            self._answered(number, Answer(error=Rejected("unanswered")), now, reaction)
        return False

    # Books

    def _resync(self, now: float, reaction: Reaction) -> None:
        """Ask for the books that are not whole (contract 2.3: on demand; 5.2: by subscribing anew)."""
        done = [sid for sid, tokens in self._again.items() if all(map(self.books.whole, tokens))]
        if done:
            for sid in done:
                del self._again[sid]
            self._ask([Unsubscribe(tuple(done))], now, reaction)
        if not self.up:
            return
        tokens = self.books.take(now)
        if self.generation == _LATEST and self._snapshots:
            wanted = set(tokens)
            for sid, each in self._held.items() if wanted else ():
                ids = tuple(entity for entity in each.ids if entity in wanted) if each.channel == BOOK else ()
                if ids and sid >= 0:
                    self._ask([GetBookSnapshot(sid, ids)], now, reaction)
        else:
            # Where the channel never spoke, as in generation 1, subscribing once more would help nobody.
            self._send_again(tuple(filter(self.books.spoke, tokens)), now, reaction)

    def _send_again(self, tokens: tuple[str, ...], now: float, reaction: Reaction) -> None:
        """Subscribe to books once more: a subscription begins with a snapshot. Given up when the snapshots are there."""
        vain = tuple(sid for sid, under_way in self._again.items() if not under_way.isdisjoint(tokens))
        for sid in vain:
            del self._again[sid]
        if vain:
            self._ask([Unsubscribe(vain)], now, reaction)
        for piece in split(joined((BOOK, each) for each in tokens)):
            self._ask([Subscribe((piece,), again=True)], now, reaction)

    def _set_due(self) -> None:
        self._answer_due = min(
            (due for _, due in self._pending.values()), default=NEVER if self._greeted else self._answer_due
        )
        waits = 0.0 if self._stale and self._greeted and not self._changing else NEVER
        books = self.books.due if self.up else NEVER
        self.due = min(self._answer_due, self._ping_at, self._pong_due, self._again_at, books, waits)


def _other(generation: Generation) -> Generation:
    return 1 if generation == _LATEST else _LATEST


def _merged(held: Iterable[Subscription]) -> list[Subscription]:
    return joined(dict.fromkeys(pair for each in held for pair in pairs(each)))
