"""bridge.gateways.agreement: what is wanted, asked and held, without a socket."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from bridge.gateways.agreement import Agreement, Difference
from bridge.gateways.answer import answer, ident, subscribed
from bridge.gateways.books import PATIENCE
from bridge.gateways.subscriptions import Refusal, Subscription
from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs
from bridge.sim.session import Session

BOOK = Subscription("token_book", ("1", "2"))
TRADES = Subscription("token_trades", ("1", "2"))


class Talk:
    """An agreement, and the simulator's session as the other side of it."""

    def __init__(self, *wanted: Subscription, protocol: Literal["auto", 1, 2] = "auto", **knobs: Any) -> None:
        self.told: list[Refusal] = []
        self.differs: list[Difference] = []
        self.agreement = Agreement(wanted, protocol=protocol, told=self.told.append, differs=self.differs.append)
        self.there = Session(
            "market", PredictStreetKnobs(**knobs), Key(token="k", scopes=PREDICTSTREET_SCOPES), clock=lambda: 0
        )
        self.said: list[str] = []
        self.now = 0.0
        self.agreement.begin()
        send: list[str] = []
        self.agreement.greeted((knobs.get("greets") or knobs.get("generation", 2)) - 0.0, self.now, send)
        self.exchange(send)

    def exchange(self, send: list[str]) -> None:
        """Say it, hear the answers, and so on until nobody has more to say."""
        while send:
            answers = [raw for text in send for raw in self.there.receive(text).messages]
            self.said += [json.loads(text)["cmd"] for text in send]
            send = []
            for raw in answers:
                if json.loads(raw)["type"] == "subscribed":
                    self.agreement.subscribed(subscribed(raw), self.now, send)
                else:
                    self.agreement.answered(ident(raw), answer(raw), self.now, send)

    def remind(self, now: float) -> list[str]:
        """Let time pass; returns the commands it leads to."""
        self.now = now
        self.said.clear()
        send: list[str] = []
        self.agreement.remind(now, send)
        self.exchange(send)
        return list(self.said)

    def push(self, kind: str, seq: int, previous: int | None = None) -> list[str]:
        """A frame of a book; returns the commands it leads to."""
        frame = {"type": kind, "id": "1", "seq": seq, **({} if previous is None else {"prevSeq": previous})}
        self.agreement.books.follow(json.dumps(frame).encode(), kind, self.now)
        self.said.clear()
        send: list[str] = []
        self.agreement.resync(self.now, send)
        self.exchange(send)
        return list(self.said)

    @property
    def sids(self) -> int:
        """How many subscriptions the gateway holds."""
        return len(self.there.subscriptions)


def test_what_is_held_is_asked_for_after_subscribing() -> None:
    """Once, and it agrees."""
    talk = Talk(BOOK, TRADES)
    assert talk.said == ["subscribe", "list_subscriptions"]
    assert (talk.agreement.up, talk.agreement.confirmed, talk.differs) == (True, True, [])


def test_what_the_gateway_does_not_hold_is_told_and_asked_for_again_once() -> None:
    """A gateway that forgets for ever is not asked for ever."""
    talk = Talk(BOOK, TRADES, forgets=3)
    assert talk.said == ["subscribe", "list_subscriptions", "subscribe", "list_subscriptions"]
    assert [each.missing for each in talk.differs] == [[Subscription("token_trade_settlements", ("1", "2"))]]
    assert talk.agreement.confirmed is True
    talk = Talk(BOOK, TRADES, forgets=1)
    assert talk.said.count("subscribe") == 2
    assert len(talk.differs) == 2
    assert talk.agreement.confirmed is False


def test_what_the_gateway_holds_beside_is_told() -> None:
    """As after a removal that it did not understand."""
    talk = Talk(BOOK)
    talk.there.receive('{"id":99,"cmd":"subscribe","params":{"subscriptions":[{"channel":"token_book","ids":["9"]}]}}')
    talk.agreement.want([BOOK, TRADES])
    talk.remind(1.0)
    assert [each.surplus for each in talk.differs] == [[Subscription("token_book", ("9",))]]


@pytest.mark.parametrize(("generation", "greets"), [(1, 2), (2, 1)])
def test_the_names_of_the_other_generation_are_tried(generation: Literal[1, 2], greets: Literal[1, 2]) -> None:
    """And the refusals that led to it are nobody's business."""
    talk = Talk(BOOK, TRADES, generation=generation, greets=greets)
    assert talk.agreement.generation == generation
    assert talk.told == []
    assert talk.agreement.confirmed


def test_if_the_other_names_are_no_better_the_first_answer_counts() -> None:
    """A malformed id is refused with the same code as an unknown channel."""
    talk = Talk(BOOK, Subscription("token_trades", ("0x12",)))
    assert talk.agreement.generation == 2
    assert sorted(each.subscription.channel for each in talk.told) == ["token_trade_matches", "token_trade_settlements"]
    assert talk.said.count("subscribe") == 2


def test_a_configured_generation_is_not_doubted() -> None:
    """`protocol: 1` against a gateway of generation 2: refused, and said so."""
    talk = Talk(BOOK, TRADES, protocol=1)
    assert [each.subscription for each in talk.told] == [TRADES]
    assert talk.said.count("subscribe") == 1


def test_a_hole_in_a_book_is_asked_for_on_demand() -> None:
    """Generation 2; the subscription stays as it is."""
    talk = Talk(BOOK)
    assert talk.push("book_snapshot", 5) == []
    assert talk.push("book_delta", 7, 6) == ["get_book_snapshot"]
    assert talk.push("book_snapshot", 8) == []
    assert talk.sids == 1


@pytest.mark.parametrize(
    "knobs", [{"generation": 1, "silent_book": False}, {"commands": "fewest"}], ids=["1", "fewest"]
)
def test_without_that_command_a_book_is_subscribed_to_once_more(knobs: dict[str, Any]) -> None:
    """And given up again when its snapshot is there, so that subscriptions do not pile up."""
    talk = Talk(BOOK, **knobs)
    talk.push("book_snapshot", 5)
    said = talk.push("book_delta", 7, 6)
    assert said[-1] == "subscribe"
    assert talk.sids == 2
    assert talk.push("book_snapshot", 8) == ["unsubscribe"]
    assert talk.sids == 1 + ("commands" in knobs)  # who does not know the command keeps it
    assert talk.agreement.held == {1: BOOK}


def test_a_channel_that_never_spoke_is_left_to_rest() -> None:
    """Generation 1's `token_book` is silent: to subscribe once more would help nobody."""
    talk = Talk(BOOK, generation=1)
    assert talk.remind(PATIENCE) == []
    assert talk.agreement.books.silent == {"1": 0.0, "2": 0.0}


def test_what_is_wanted_no_more_is_forgotten_with_its_refusals() -> None:
    """Wanted again, it is asked for again."""
    bogus = Subscription("bogus", ("1",))
    talk = Talk(BOOK, bogus)
    assert [each.subscription for each in talk.agreement.lasting] == [bogus]
    talk.agreement.want([BOOK])
    assert talk.remind(1.0) == []
    assert talk.agreement.refused == []
    talk.agreement.want([BOOK, bogus])
    assert talk.remind(2.0)[0] == "subscribe"
