"""A replay asks as often as it must, ends when the gateway says so or is silent, and never waits for ever."""

from __future__ import annotations

import pytest

from bridge.gateways.replay import LONGEST, MARGIN, WINDOW, Replay

NOW = 1_779_000_000_000
KEY = "lo.-.live.odds_change.cs2.od:match.1.-"
END = "-.-.-.snapshot_complete.-.-.-.-"
ODDS = b'<odds_change product="2" event_id="od:match:1" timestamp="1"/>'


def replay(since: int = NOW - 60_000, *, now: float = 0.0) -> Replay:
    """A replay that waits for 60 s."""
    return Replay(since, wall=NOW, now=now, patience=60.0, chance=lambda: 0.5)


def asked(since: int = NOW - 60_000) -> tuple[Replay, str]:
    """A replay that is connected and has been asked for, with its request's id."""
    found = replay(since)
    found.connected(queue_kept=False, now=0.0)
    assert found.wanting
    return found, found.request(wall=NOW, now=0.0)


def take(one: Replay, body: bytes = ODDS, *, key: str = KEY, persistent: bool = True, now: float = 0.0) -> bool:
    """A message."""
    return one.take(body, routing_key=key, persistent=persistent, now=now)


def end(request: str) -> bytes:
    """The terminator of a request."""
    return f'<snapshot_complete request_id="{request}" product="2" timestamp="1"/>'.encode()


def test_a_request_is_within_the_window() -> None:
    """What is older than three days can't be asked for: clipped, and said; the future is now."""
    assert replay(NOW - 60_000).after == NOW - 60_000
    assert replay(NOW + 5).after == NOW
    old = replay(NOW - 10 * WINDOW)
    assert old.after == NOW - WINDOW + MARGIN
    assert old.outcome().clipped
    assert not replay().outcome().clipped


def test_a_request_id_is_digits_and_fits() -> None:
    """At most 64 characters (contract 3.4), and a number, which is all that an Oddin client of the vhost takes (4.3)."""
    _, request = asked()
    assert request.isdigit()
    assert int(request) < 2**63


def test_it_is_complete_with_the_terminator_of_the_last_request() -> None:
    """Another request's terminator, a late one or a stranger's, ends nothing; several of ours do no harm."""
    one, request = asked()
    assert take(one)
    assert take(one, end("1"), key=END)
    assert not one.outcome().complete
    assert take(one, end(request), key=END)
    assert take(one, end(request), key=END)
    outcome = one.outcome()
    assert outcome.complete
    assert outcome.reason is None
    assert outcome.messages == 4


@pytest.mark.parametrize("key", [END, "lo.-.-.snapshot_complete.-.-.-.-", "hi.x", ""])
def test_the_terminator_may_come_on_any_key(key: str) -> None:
    """The contract does not say on which."""
    one, request = asked()
    take(one, end(request), key=key)
    assert one.complete


def test_the_terminator_is_known_in_any_encoding() -> None:
    """XML may be UTF-16."""
    one, request = asked()
    take(one, end(request).decode().encode("utf-16"), key=END)
    assert one.complete


@pytest.mark.parametrize("body", [b"<snapshot_complete", b"snapshot_complete", b"<a>alive</a>", b"", b"\0\0\0\0<"])
def test_what_is_no_terminator_is_handed_on(body: bytes) -> None:
    """Malformed or a mere mention: a message like any other, for the pipeline to judge."""
    one, _ = asked()
    assert take(one, body, key=END)
    assert not one.complete


def test_alive_is_not_handed_on() -> None:
    """It says nothing of any match, and nothing of the replay: it holds off no time-out."""
    one, _ = asked()
    assert not take(one, b'<alive product="2" timestamp="1" subscribed="1"/>', key="-.-.-.alive.-.-.-.-", now=50.0)
    assert one.messages == 0
    assert one.due == 60.0


def test_live_messages_are_handed_on_and_hold_off_no_time_out() -> None:
    """A busy market must not hide that the replay does not go on."""
    one, _ = asked()
    assert take(one, key="hi.-.live.odds_change.cs2.od:match.1.-", now=50.0)
    assert one.due == 60.0
    assert take(one, now=51.0)
    assert one.due == 111.0


def test_silence_is_answered_by_one_more_request_and_then_by_the_truth() -> None:
    """A replay without snapshot_complete ends, and says so."""
    one, first = asked()
    take(one, now=10.0)
    assert one.wait_is_over(70.0)
    assert one.wanting
    second = one.request(wall=NOW + 70_000, now=70.0)
    assert second != first
    assert one.due == 130.0
    assert not one.wait_is_over(130.0)
    outcome = one.outcome()
    assert not outcome.complete
    assert outcome.requests == [first, second]
    assert outcome.reason == "no snapshot_complete for 2 requests, nothing came for 60 s"


def test_waiting_for_kafka_is_no_silence_of_the_gateway() -> None:
    """Where nothing more may come before something is committed, the wait begins anew."""
    one, _ = asked()
    one.busy(59.0)
    assert one.due == 119.0


def test_no_replay_takes_longer_than_an_hour() -> None:
    """Even if its messages never end."""
    one, _ = asked()
    take(one, now=LONGEST - 1)
    assert one.due == LONGEST
    assert not one.wait_is_over(LONGEST)


@pytest.mark.parametrize(
    ("queue_kept", "persistent", "again"),
    [
        (True, [True, True], False),
        (True, [True, False], True),
        (True, [False, True], True),
        (True, [], True),
        (False, [True], True),
    ],
)
def test_after_a_cut_it_is_asked_again_where_the_broker_may_have_lost_something(
    queue_kept: bool,  # noqa: FBT001 - a table
    persistent: list[bool],
    again: bool,  # noqa: FBT001
) -> None:
    """A restarted broker has a durable queue with what was persistent. Of messages not seen yet nobody knows what they are."""
    one, _ = asked()
    for each in persistent:
        take(one, persistent=each)
    one.connected(queue_kept=queue_kept, now=10.0)
    assert one.wanting is again


def test_after_a_cut_at_the_very_end_nothing_is_asked() -> None:
    """Complete is complete."""
    one, request = asked()
    take(one, end(request), key=END)
    one.connected(queue_kept=False, now=10.0)
    assert not one.wanting


def test_only_the_reason_given_is_told() -> None:
    """A refusal, say; a complete one has none."""
    one, _ = asked()
    assert one.outcome("key refused").reason == "key refused"
    one.complete = True
    assert one.outcome("key refused").reason is None
