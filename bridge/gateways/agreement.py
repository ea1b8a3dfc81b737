"""What a connection of PredictStreet subscribes to: what is wanted, what was asked, what the gateway holds. Sans I/O.

Contract 2.3, 2.4, 5.2. `bridge.gateways.subscriber` reads and writes the messages.

Only the answer to `subscribe` is documented, and must come. The other commands have a way around them: ids that can't be
added to a subscription get one of their own, ids that can't be taken from it are left, a list that does not come or can't
be read confirms nothing, and a book that is not sent anew on demand is subscribed to once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from bridge.gateways.answer import Answer, Subscribed
from bridge.gateways.books import Books
from bridge.gateways.command import (
    Add,
    Command,
    GetBookSnapshot,
    ListSubscriptions,
    Remove,
    Subscribe,
    Unsubscribe,
    difference,
    subscribing,
)
from bridge.gateways.dialect import NEVER
from bridge.gateways.retry import SLOW
from bridge.gateways.subscriptions import (
    BOOK,
    GENERATIONS,
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
_LATEST: Final = 2


class Difference(msgspec.Struct, frozen=True):
    """What the gateway holds for a connection, where it is not what we think. readable: False: it could not be told."""

    missing: list[Subscription]
    surplus: list[Subscription]
    readable: bool = True


class Agreement:
    """What is subscribed to on one connection, and on those that follow it.

    wanted: in the user's channel names, as much as fits one connection. protocol: see the configuration. told: called with
    each refusal when it comes. differs: called where the gateway's list of subscriptions is not ours. Methods that need
    something said append it to `send`.
    """

    def __init__(
        self,
        wanted: Sequence[Subscription],
        *,
        protocol: Literal["auto", 1, 2],
        told: Callable[[Refusal], None],
        differs: Callable[[Difference], None],
    ) -> None:
        """See the class."""
        self.wanted = list(wanted)
        self._protocol = protocol
        self._told = told
        self._differs = differs
        #: Generation of the present or last connection; before the first, what the configuration says.
        self.generation: Generation | None = None if protocol == "auto" else protocol
        #: What is refused and will not be asked again with this key, and what is asked again some time.
        self.lasting: list[Refusal] = []
        self.passing: list[Refusal] = []
        #: Whether the gateway has listed just what is subscribed to; None: it has not listed anything yet that can be read.
        self.confirmed: bool | None = None
        #: Everything that was asked for is answered: frames flow.
        self.up = False
        self.books = Books()
        #: Sid → what the gateway has accepted on this connection.
        self.held: dict[int, Subscription] = {}
        #: Subscriptions that have a book sent anew, and their tokens.
        self._again: dict[int, frozenset[str]] = {}
        #: Id → command that is not answered yet, and when its answer is overdue.
        self.pending: dict[int, tuple[Command, float]] = {}
        #: What a greeting said and what the names turned out to be.
        self._known: dict[Generation, Generation] = {}
        self._said: Generation = 1
        #: Rejections that the names of the other generation may mend, those of the other names, and whether they were tried.
        self._misnamed: list[Refusal] = []
        self._other_names: list[Refusal] = []
        self._doubted = False
        self._greeted = self._stale = self._listed = self._mended = False
        self._snapshots = True
        self._again_at = NEVER
        self._last_id = 0

    def begin(self) -> None:
        """A new connection is open, and holds nothing."""
        self.up = self._greeted = self._doubted = self._stale = self._listed = self._mended = False
        self._snapshots = True
        self.confirmed = None
        self.passing.clear()
        self.books.clear()
        self.held.clear()
        self._again.clear()
        self.pending.clear()
        self._misnamed.clear()
        self._other_names.clear()
        self._again_at = NEVER

    def greeted(self, version: float | None, now: float, send: list[str]) -> None:
        """The gateway has said which version of the protocol it speaks, or nothing: subscribe."""
        said: Generation = _LATEST if version is not None and version >= _LATEST else 1
        self.generation = self._known.get(said, said) if self._protocol == "auto" else self._protocol
        self._said = said
        self._greeted = True
        self._pursue(now, send)

    def want(self, wanted: Sequence[Subscription]) -> None:
        """Subscribe to this from now on, in place of what was wanted; `remind`, which is due at once, says what is to be said.

        What stays wanted stays subscribed to: no frame of it is missed. What was refused and is not wanted any more is
        forgotten, and would be asked for if it is wanted again.
        """
        self.wanted = list(wanted)
        ours = {pair for generation in GENERATIONS for each in translate(wanted, generation) for pair in pairs(each)}
        for refusals in (self.lasting, self.passing):
            refusals[:] = [each for each in refusals if not ours.isdisjoint(pairs(each.subscription))]
        self._stale = True

    def number(self) -> int:
        """Return the id of the next command."""
        self._last_id += 1
        return self._last_id

    @property
    def granted(self) -> list[Subscription]:
        """What is wanted and not refused, in the names of the last generation; nothing before that is known."""
        if self.generation is None:
            return []
        return without(translate(self.wanted, self.generation), (each.subscription for each in self.refused))

    @property
    def refused(self) -> list[Refusal]:
        """All refusals that stand."""
        return [*self.lasting, *self.passing]

    @property
    def answer_due(self) -> float:
        """When the first answer is overdue."""
        return min((due for _, due in self.pending.values()), default=NEVER)

    @property
    def due(self) -> float:
        """When `remind` wants to be called next."""
        if not self._greeted:
            return NEVER
        waits = 0.0 if self._stale and not self._changing else NEVER
        return min(self._again_at, self.books.due if self.up else NEVER, waits)

    def remind(self, now: float, send: list[str]) -> None:
        """Ask again for what was refused and may pass, and for books; carry out what was put off."""
        if now >= self._again_at:
            self._again_at = NEVER
            self.passing.clear()
            self._stale = True
        if self._stale:
            self._pursue(now, send)
        self.resync(now, send)

    def postpone(self, now: float) -> None:
        """Give the gateway its time anew: its answers may lie unread."""
        self.pending.update({number: (each, now + ANSWER_TIMEOUT) for number, (each, _) in self.pending.items()})

    def unanswered(self, now: float, send: list[str]) -> bool:
        """Do without the answers that are overdue; returns whether one is that must have come."""
        overdue = {number: each for number, (each, due) in self.pending.items() if due <= now}
        if any(isinstance(each, Subscribe) and not each.again for each in overdue.values()):
            return True
        for number in overdue:
            self.answered(number, Answer(error=Rejected("unanswered")), now, send)
        return False

    def _pursue(self, now: float, send: list[str]) -> None:
        """Ask for what is wanted and not held; when it is answered, what the gateway holds is asked for."""
        if not self._greeted or self.generation is None or self._changing:
            return  # `_stale` is looked at again with the last answer
        self._stale = False
        steps = difference(self.held, self.granted)
        self._ask(steps, now, send)
        if steps:
            self._listed = False
        self._settle(now, send)

    def _settle(self, now: float, send: list[str]) -> None:
        """Go on where the answers to all changes are there: what was put off, then the question what is held."""
        if self._changing:
            return
        if self._misnamed and self._doubt(now, send):
            return
        if self.passing:
            self._again_at = min(self._again_at, now + SLOW)
        self.up = True
        if self._stale:
            self._pursue(now, send)
        if not self._listed and self.held and not self._changing:
            self._listed = True
            self._ask([ListSubscriptions()], now, send)

    def _ask(self, commands: Iterable[Command], now: float, send: list[str]) -> None:
        for command in commands:
            number = self.number()
            send.append(command.text(number))
            self.pending[number] = (command, now + ANSWER_TIMEOUT)

    @property
    def _changing(self) -> bool:
        """Whether answers are awaited that decide what is held."""
        return any(
            isinstance(each, Add | Remove | Unsubscribe) or (isinstance(each, Subscribe) and not each.again)
            for each, _ in self.pending.values()
        )

    def subscribed(self, told: Subscribed, now: float, send: list[str]) -> None:
        """Take the answer to a subscribe command; it is known by its id."""
        command, _ = self.pending.pop(told.id, (None, 0.0)) if isinstance(told.id, int) else (None, 0.0)
        if not isinstance(command, Subscribe):
            return
        found = settle(command.subscriptions, told.accepted, told.rejected)
        if command.again:
            for sid, each in found.held.items():
                if sid >= 0:
                    self._again[sid] = frozenset(each.ids)
            return
        for sid, each in found.held.items():
            self.held[sid if sid >= 0 else min((*self.held, 0)) - 1] = each
            if each.channel == BOOK:
                self.books.begin(each.ids, now)
        doubtful = self._protocol == "auto" and not self._doubted
        self._misnamed += [each for each in found.refused if doubtful and misnamed(each)]
        self._reject(each for each in found.refused if not doubtful or not misnamed(each))
        self._settle(now, send)

    def _reject(self, refusals: Iterable[Refusal]) -> None:
        for refusal in refusals:
            if self._misnamed and self._doubted:
                self._other_names.append(refusal)
            else:
                self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        (self.lasting if refusal.lasting else self.passing).append(refusal)
        self._told(refusal)

    def _doubt(self, now: float, send: list[str]) -> bool:
        """Channels were refused that have another name in the other generation: try those names, once a connection.

        Only where no name of this generation was accepted. If the others are no better, what counts is what was said first.
        Returns whether they are being tried.
        """
        assert self.generation is not None  # noqa: S101 - something was asked
        other = _other(self.generation)
        named = any(renamed(each.channel) for each in self.held.values())
        if not self._doubted and not named:
            self._doubted = True
            again = translate((each.subscription for each in self._misnamed), other)
            self._ask(subscribing(again), now, send)
            return True
        if self._doubted and named:
            self.generation = self._known[self._said] = other
        for refusal in self._other_names if self._doubted and named else self._misnamed:
            self._refuse(refusal)
        self._misnamed, self._other_names = [], []
        return False

    def answered(self, number: int | None, told: Answer, now: float, send: list[str]) -> None:
        """Take any other answer. An error to anything that was not asked is nothing to act on."""
        command, _ = self.pending.pop(number, (None, 0.0)) if number is not None else (None, 0.0)
        match command:
            case None:
                return
            case ListSubscriptions():
                self._compare(told, now, send)
            case Subscribe():
                error = told.error or Rejected("unconfirmed", "answered without saying what is accepted")
                self._reject(settle(command.subscriptions, [], [error]).refused if not command.again else ())
            case _ if told.error is None:
                self._done(command, now)
            case Add():
                self._ask([Subscribe((Subscription(command.channel, command.ids),))], now, send)
            case GetBookSnapshot():
                self._snapshots = False
                self._send_again(command.ids, now, send)
            case _:
                pass  # what can't be taken back is left; the list of what is held will show it
        self._settle(now, send)

    def _done(self, command: Command, now: float) -> None:
        """Note what a command has changed."""
        match command:
            case Add(sid, channel, ids):
                self.held[sid] = Subscription(channel, self.held[sid].ids + ids)
                if channel == BOOK:
                    self.books.begin(ids, now)
            case Remove(sid, channel, ids):
                self.held[sid] = without([self.held[sid]], [Subscription(channel, ids)])[0]
                self._end(channel, ids)
            case Unsubscribe(sids):
                for gone in [self.held.pop(sid) for sid in sids if sid in self.held]:
                    self._end(gone.channel, gone.ids)
            case _:
                pass

    def _end(self, channel: str, ids: Iterable[str]) -> None:
        """Forget the books of ids that no subscription brings any more."""
        if channel == BOOK:
            still = {entity for each in self.held.values() if each.channel == BOOK for entity in each.ids}
            self.books.end(entity for entity in ids if entity not in still)

    def _compare(self, told: Answer, now: float, send: list[str]) -> None:
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
        ours = {pair: None for each in self.held.values() for pair in pairs(each)}
        missing = joined(pair for pair in ours if pair not in listed and pair[0] not in bare)
        surplus = joined(pair for pair in sorted(listed) if pair not in ours and pair[1])
        self.confirmed = not missing and not surplus
        if self.confirmed:
            return
        self._differs(Difference(missing, surplus))
        if missing and not self._mended:
            self._mended = True
            kept = {sid: without([each], missing) for sid, each in self.held.items()}
            self.held = {sid: left[0] for sid, left in kept.items() if left}
            for each in missing:
                self._end(each.channel, each.ids)
            self._pursue(now, send)

    # Books

    def resync(self, now: float, send: list[str]) -> None:
        """Ask for the books that are not whole (contract 2.3: on demand; 5.2: by subscribing anew). Cheap where all are."""
        if not self._again and now < self.books.due:
            return
        done = [sid for sid, tokens in self._again.items() if all(map(self.books.whole, tokens))]
        if done:
            for sid in done:
                del self._again[sid]
            self._ask([Unsubscribe(tuple(done))], now, send)
        if not self.up:
            return
        tokens = self.books.take(now)
        if self.generation == _LATEST and self._snapshots:
            wanted = set(tokens)
            for sid, each in self.held.items() if wanted else ():
                ids = tuple(entity for entity in each.ids if entity in wanted) if each.channel == BOOK else ()
                if ids and sid >= 0:
                    self._ask([GetBookSnapshot(sid, ids)], now, send)
        else:
            # Where the channel never spoke, as in generation 1, subscribing once more would help nobody.
            self._send_again(tuple(filter(self.books.spoke, tokens)), now, send)

    def _send_again(self, tokens: tuple[str, ...], now: float, send: list[str]) -> None:
        """Subscribe to books once more: a subscription begins with a snapshot. Given up when the snapshots are there."""
        vain = tuple(sid for sid, under_way in self._again.items() if not under_way.isdisjoint(tokens))
        for sid in vain:
            del self._again[sid]
        if vain:
            self._ask([Unsubscribe(vain)], now, send)
        for piece in split(joined((BOOK, each) for each in tokens)):
            self._ask([Subscribe((piece,), again=True)], now, send)


def _other(generation: Generation) -> Generation:
    return 1 if generation == _LATEST else _LATEST
