"""bridge.gateways.subscriber: PredictStreet's protocol from the client's side, without a socket."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from bridge.gateways.agreement import ANSWER_TIMEOUT
from bridge.gateways.dialect import NEVER, Reaction
from bridge.gateways.retry import DISCONNECT, REFUSED, SILENCE, Verdict
from bridge.gateways.subscriber import (
    PING_INTERVAL,
    PONG_TIMEOUT,
    Subscriber,
)
from bridge.gateways.subscriptions import Refusal, Subscription

TRADES = Subscription("token_trades", ("1", "2"))
BOOK = Subscription("token_book", ("1", "2"))
GREETING_1: dict[str, Any] = {"type": "connected", "data": {"gateway": "market", "authMethod": "api_key"}}
GREETING_2: dict[str, Any] = {"type": "connected", "data": {"gateway": "market", "protocolVersion": 2}, "serverTs": 1}


def raw(message: object) -> bytes:
    """A message as it goes over the wire."""
    return json.dumps(message, separators=(",", ":")).encode()


class Talk:
    """A subscriber, and the other side of the talk."""

    def __init__(
        self, *wanted: Subscription, protocol: Literal["auto", 1, 2] = "auto", wallet: str | None = None
    ) -> None:
        self.told: list[Refusal] = []
        self.subscriber = Subscriber(
            "ws://h/ws/market", dict, wanted, protocol=protocol, told=self.told.append, wallet=wallet
        )
        self.now = 100.0
        self.asked: list[dict[str, Any]] = []
        self.sid = 0
        self.frames: list[bytes] = []
        self.open()

    def open(self) -> None:
        """A new connection."""
        self.asked.clear()
        self._keep(self.subscriber.on_open(self.now))

    def hear(self, *messages: dict[str, Any] | bytes) -> Reaction:
        """The server says something."""
        return self._keep(
            self.subscriber.on_messages([each if isinstance(each, bytes) else raw(each) for each in messages], self.now)
        )

    def wait(self) -> Reaction:
        """Let time pass until the next timer."""
        self.now = self.subscriber.due
        return self._keep(self.subscriber.on_timer(self.now))

    def accept(self, *, rejected: tuple[dict[str, Any], ...] = (), without: str = "") -> Reaction:
        """Answer all subscribe commands; accept all channels but one."""
        reaction = Reaction()
        for command in [each for each in self.asked if each["cmd"] == "subscribe"]:
            self.asked.remove(command)
            entries = [each for each in command["params"]["subscriptions"] if each["channel"] != without]
            first, self.sid = self.sid + 1, self.sid + len(entries)
            accepted = [{"sid": sid, **each} for sid, each in enumerate(entries, first)]
            answer = {"id": command["id"], "type": "subscribed", "accepted": accepted}
            reaction = self.hear({**answer, "rejected": list(rejected)})
        self.confirm()
        return reaction

    def confirm(self) -> None:
        """Answer the question what is subscribed to: what the subscriber thinks."""
        for command in [each for each in self.asked if each["cmd"] == "list_subscriptions"]:
            self.asked.remove(command)
            rows = [
                {"sid": sid, "channel": each.channel, "ids": list(each.ids)}
                for sid, each in self.subscriber.agreement.held.items()
            ]
            self.hear({"id": command["id"], "type": "subscriptions", "subscriptions": rows})

    def channels(self) -> list[str]:
        """The channels that were asked for and not yet answered."""
        return [
            each["channel"] for command in self.asked for each in command.get("params", {}).get("subscriptions", [])
        ]

    def _keep(self, reaction: Reaction) -> Reaction:
        self.asked += [json.loads(text) for text in reaction.send]
        self.frames += reaction.frames
        return reaction


@pytest.mark.parametrize(
    ("greeting", "protocol", "channels"),
    [
        (GREETING_1, "auto", ["token_trades", "token_book"]),
        (GREETING_2, "auto", ["token_trade_matches", "token_trade_settlements", "token_book"]),
        (GREETING_2, 1, ["token_trades", "token_book"]),
        (GREETING_1, 2, ["token_trade_matches", "token_trade_settlements", "token_book"]),
        (
            {"type": "connected", "data": {"protocolVersion": 3}},
            "auto",
            ["token_trade_matches", "token_trade_settlements", "token_book"],
        ),
        ({"type": "connected"}, "auto", ["token_trades", "token_book"]),
    ],
)
def test_the_greeting_decides_the_names_unless_the_configuration_does(
    greeting: dict[str, Any], protocol: Literal["auto", 1, 2], channels: list[str]
) -> None:
    """Nothing is said before it; a missing protocolVersion is generation 1."""
    talk = Talk(TRADES, BOOK, protocol=protocol)
    assert talk.asked == []
    talk.hear(greeting)
    assert talk.channels() == channels
    assert not talk.subscriber.up
    talk.accept()
    assert talk.subscriber.up


def test_what_belongs_to_the_protocol_is_consumed_and_all_else_is_a_frame() -> None:
    """Whatever the order of members; what is no JSON or has no type is not ours to judge."""
    talk = Talk(TRADES)
    pushes = [
        b'{"type":"trade","sid":1,"channel":"token_trades","id":"1","data":{"type":"pong"}}',
        b'{"sid":1,"data":{"type":"pong"},"type":"trade"}',
        b'{ "type" : "trade", "data": {} }',
        b'{"type":"pong_like","data":{}}',
        b'{"data":{}}',
        b'{"type":7}',
        b"not json",
        b"\xff",
        b"",
        b"[]",
    ]
    controls = [
        b'{"type":"pong","id":1,"ts":5}',
        b'{"id":1,"type":"pong"}',
        b'{ "serverTs": 1, "type": "pong", "id": 3 }',
        b'{"type":"error","code":"unknown_command","message":"?","id":null}',
        b'{"id":5,"type":"unsubscribed","sids":[1]}',
    ]
    talk.hear(GREETING_1, *pushes, *controls)
    assert talk.frames == pushes


def test_a_greeting_or_an_answer_that_does_not_come_ends_the_connection() -> None:
    """A server that is stuck is left."""
    talk = Talk(TRADES)
    drop = talk.wait().drop
    assert drop is not None
    assert (drop.cause, talk.now) == (DISCONNECT, 100 + ANSWER_TIMEOUT)
    assert "no greeting" in drop.text
    talk.open()
    talk.hear(GREETING_1)
    drop = talk.wait().drop
    assert drop is not None
    assert "no answer to subscribe" in drop.text


def test_ping_every_25_seconds_and_no_pong_within_5_ends_the_connection() -> None:
    """Contract 1.6; data that flows is no pong."""
    talk = Talk(TRADES)
    talk.hear(GREETING_1)
    talk.accept()
    for _ in range(3):
        before = talk.now
        talk.wait()
        ping = talk.asked.pop()
        assert ping == {"id": ping["id"], "cmd": "ping"}
        assert talk.now - before <= PING_INTERVAL
        assert talk.subscriber.due == talk.now + PONG_TIMEOUT
        talk.hear({"id": ping["id"], "type": "pong", "ts": 1})
        assert talk.subscriber.due == talk.now + PING_INTERVAL
    talk.wait()
    talk.hear(b'{"type":"trade","sid":1}')
    drop = talk.wait().drop
    assert drop is not None
    assert drop.cause == SILENCE


def test_time_in_which_nothing_was_read_does_not_count_against_the_peer() -> None:
    """The pong may lie unread behind a full journal."""
    talk = Talk(TRADES)
    talk.hear(GREETING_1)
    talk.accept()
    talk.wait()
    talk.now += 3600
    talk.subscriber.on_resume(talk.now)
    assert talk.subscriber.on_timer(talk.now).drop is None
    drop = talk.wait().drop
    assert drop is not None
    assert talk.now == 100 + PING_INTERVAL + 3600 + PONG_TIMEOUT


def test_healthy_is_a_push_or_a_pong_not_an_accepted_subscription() -> None:
    """A server that accepts everything and closes must not be asked every second."""
    talk = Talk(TRADES)
    talk.hear(GREETING_1)
    talk.accept()
    assert (talk.subscriber.up, talk.subscriber.healthy) == (True, False)
    talk.hear(b'{"type":"trade","sid":1}')
    assert talk.subscriber.healthy
    talk.open()
    assert (talk.subscriber.up, talk.subscriber.healthy) == (False, False)


def test_a_rejected_subscription_is_told_by_name_and_the_rest_goes_on() -> None:
    """With the same key it is not asked for again, on this connection or the next."""
    talk = Talk(TRADES, BOOK)
    talk.hear(GREETING_1)
    talk.accept(rejected=({"code": "forbidden", "message": "forbidden: no"},), without="token_book")
    assert talk.subscriber.up
    assert [(each.subscription, each.code) for each in talk.told] == [(BOOK, "forbidden")]
    assert talk.subscriber.refused == talk.told
    talk.open()
    talk.hear(GREETING_1)
    assert talk.channels() == ["token_trades"]


def test_a_rejection_that_may_pass_is_asked_again_after_five_minutes() -> None:
    """On the same connection; accepted then, it is a refusal no more."""
    talk = Talk(TRADES, BOOK)
    talk.hear(GREETING_1)
    talk.accept(rejected=({"code": "overloaded", "message": "later"},), without="token_book")
    asked_at = talk.now
    while not talk.channels():
        assert talk.wait().drop is None
        for ping in [each for each in talk.asked if each["cmd"] == "ping"]:
            talk.asked.remove(ping)
            talk.hear({"id": ping["id"], "type": "pong"})
    assert talk.now == asked_at + 300
    assert talk.channels() == ["token_book"]
    talk.accept()
    assert talk.subscriber.refused == []


def test_an_error_frame_for_a_subscribe_refuses_all_of_it() -> None:
    """Its shape is not documented: code and message are taken where they are."""
    talk = Talk(TRADES, BOOK)
    talk.hear(GREETING_1)
    talk.hear({"id": talk.asked[0]["id"], "type": "error", "code": "invalid_params", "message": "too long"})
    assert [each.code for each in talk.told] == ["invalid_params", "invalid_params"]
    assert talk.subscriber.up


def test_an_answer_of_another_shape_ends_the_connection() -> None:
    """Better a new try, with its reason, than a guess."""
    talk = Talk(TRADES)
    talk.hear(GREETING_1)
    drop = talk.hear({"id": 1, "type": "subscribed", "accepted": "all"}).drop
    assert drop is not None
    assert "something else than expected" in drop.text


def test_books_are_silent_until_a_frame_of_theirs_comes() -> None:
    """Per token, from the moment they were accepted; a new connection begins anew."""
    talk = Talk(BOOK, TRADES)
    talk.hear(GREETING_1)
    talk.accept()
    assert talk.subscriber.agreement.books.silent == {"1": 100.0, "2": 100.0}
    talk.hear(b'{"type":"trade","sid":1,"channel":"token_trades","id":"2","data":{}}')
    talk.hear(b'{"type":"book_snapshot","sid":2,"channel":"token_book","id":"2","data":{}}', b'{"type":"book_delta"')
    assert talk.subscriber.agreement.books.silent == {"1": 100.0}
    talk.open()
    assert talk.subscriber.agreement.books.silent == {}


def test_many_ids_are_asked_for_in_several_commands_and_up_waits_for_all() -> None:
    """256 subscriptions of 100 ids in commands of at most a thousand ids."""
    talk = Talk(Subscription("token_book", tuple(str(number) for number in range(1, 25_601))))
    talk.hear(GREETING_2)
    assert len(talk.asked) == 26
    assert len({each["id"] for each in talk.asked}) == 26
    last = talk.asked.pop()
    talk.accept()
    assert not talk.subscriber.up
    talk.asked.append(last)
    talk.accept()
    assert talk.subscriber.up


def test_nothing_left_to_ask_is_up() -> None:
    """Where all was refused for good, the connection stays up and says so in the status."""
    talk = Talk(TRADES)
    talk.hear(GREETING_1)
    talk.accept(rejected=({"code": "forbidden"},), without="token_trades")
    talk.open()
    talk.hear(GREETING_1)
    assert talk.asked == []
    assert talk.subscriber.up
    assert talk.subscriber.due < NEVER


WALLET = "0x" + "a1" * 20


@pytest.mark.parametrize("bound", [None, WALLET, WALLET.upper().replace("0X", "0x"), 7, {"a": 1}])
def test_a_greeting_that_names_our_wallet_or_none_is_good(bound: Any) -> None:
    """Spelling is no matter; a form that nobody has documented is no reason to stay away."""
    talk = Talk(Subscription("user_fills"), wallet=WALLET)
    reaction = talk.hear({"type": "connected", "data": {"gateway": "user", "walletAddress": bound}})
    assert reaction.drop is None
    assert len(talk.asked) == 1


def test_another_wallets_socket_is_left() -> None:
    """For good, and nothing is subscribed to: its frames would be taken for ours. Without a wallet any will do."""
    greeting = {"type": "connected", "data": {"gateway": "user", "walletAddress": "0x" + "b2" * 20}}
    talk = Talk(Subscription("user_fills"), wallet=WALLET)
    drop = talk.hear(greeting).drop
    assert drop is not None
    assert (drop.verdict, drop.cause) == (Verdict.FINAL, REFUSED)
    assert "another wallet" in drop.text
    assert talk.asked == []
    assert Talk(Subscription("user_fills")).hear(greeting).drop is None


def test_what_is_accepted_is_told_in_the_generations_names() -> None:
    """Nothing before the answer; then all but what was refused."""
    talk = Talk(Subscription("user_activity"), Subscription("vault_activity", ("v",)))
    assert talk.subscriber.accepted == []
    talk.hear(GREETING_2)
    assert talk.subscriber.accepted == []
    talk.accept(
        rejected=({"code": "forbidden", "message": "no", "channel": "vault_positions"},), without="vault_positions"
    )
    assert talk.subscriber.accepted == [Subscription("user_orders"), Subscription("user_fills")]


def test_a_plan_is_changed_on_the_open_connection() -> None:
    """What stays is not asked for anew; what the gateway holds is asked for afterwards."""
    talk = Talk(TRADES, BOOK)
    talk.hear(GREETING_1)
    talk.accept()
    said = talk.subscriber.change([TRADES, Subscription("token_book", ("2", "3"))], talk.now).send
    commands = [json.loads(text) for text in said]
    assert [(each["cmd"], each["params"]) for each in commands] == [
        ("update_subscription", {"sid": 2, "remove_ids": ["1"]}),
        ("update_subscription", {"sid": 2, "add_ids": ["3"]}),
    ]
    assert talk.subscriber.up
    for each in commands:
        talk.hear({"id": each["id"], "type": "whatever the gateway calls it", "sid": 2})
    assert talk.frames == []
    assert talk.subscriber.accepted == [TRADES, Subscription("token_book", ("2", "3"))]
    talk.confirm()
    assert talk.subscriber.agreement.confirmed


def test_a_change_waits_for_the_connection_and_for_answers() -> None:
    """Nothing is said before the greeting, nor while it is not known what is held; then all of it."""
    talk = Talk(TRADES)
    assert talk.subscriber.change([BOOK], talk.now).send == []
    talk.hear(GREETING_1)
    assert talk.channels() == ["token_book"]
    assert talk.subscriber.change([TRADES], talk.now).send == []
    talk.accept()
    assert [each["cmd"] for each in talk.asked] == ["unsubscribe", "subscribe"]
    for each in [each for each in talk.asked if each["cmd"] == "unsubscribe"]:
        talk.asked.remove(each)
        talk.hear({"id": each["id"], "type": "unsubscribed", "sids": [1]})
    talk.accept()
    assert talk.subscriber.accepted == [TRADES]
    assert talk.subscriber.agreement.books.silent == {}


def test_a_wish_from_outside_is_carried_out_by_the_timer() -> None:
    """`want` makes the timer due at once, and says nothing itself."""
    talk = Talk(TRADES)
    talk.hear(GREETING_1)
    talk.accept()
    talk.subscriber.want([TRADES, BOOK])
    assert talk.subscriber.due <= talk.now
    talk._keep(talk.subscriber.on_timer(talk.now))
    assert talk.channels() == ["token_book"]


@pytest.mark.parametrize("silent", [False, True])
def test_ids_that_cannot_be_added_get_a_subscription_of_their_own(silent: bool) -> None:  # noqa: FBT001 - a parameter
    """How `update_subscription` is spelled is not documented: an error, or no answer at all, is no reason to stop."""
    talk = Talk(BOOK)
    talk.hear(GREETING_1)
    talk.accept()
    (said,) = talk.subscriber.change([BOOK, Subscription("token_book", ("3",))], talk.now).send
    ident = json.loads(said)["id"]
    while silent and talk.now < 100 + ANSWER_TIMEOUT:
        assert talk.wait().drop is None
    if not silent:
        talk.hear({"id": ident, "type": "error", "code": "unknown_command", "message": "?"})
    assert talk.channels() == ["token_book"]
    talk.accept()
    assert talk.subscriber.accepted == [Subscription("token_book", ("1", "2", "3"))]
    assert talk.told == []


def test_what_is_granted_is_known_while_the_connection_is_down() -> None:
    """In the names of the last generation, without what was refused."""
    talk = Talk(TRADES, BOOK)
    assert talk.subscriber.granted == []
    talk.hear(GREETING_1)
    talk.accept(rejected=({"code": "forbidden", "message": "no", "channel": "token_book"},), without="token_book")
    talk.open()
    assert talk.subscriber.accepted == []
    assert talk.subscriber.granted == [TRADES]
