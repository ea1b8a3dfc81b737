"""bridge.gateways.retry: why a connection ended, and what to do about it."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidMessage, InvalidURI

from bridge.gateways.retry import (
    DISCONNECT,
    OVERSIZE,
    REFUSED,
    SLOW,
    Backoff,
    Ending,
    Verdict,
    explanation,
    of_close,
    of_error,
    of_status,
    one_line,
    retry_after,
)
from bridge.gateways.transport import Closed, Declined

NOW = datetime(2026, 5, 10, 13, 42, 11, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("code", "reason", "verdict"),
    [
        # PredictStreet, contract 1.5
        (4401, "api_key_bad_format", Verdict.FINAL),
        (4401, "api_key_unknown_key", Verdict.FINAL),
        (4401, "api_key_bad_secret", Verdict.FINAL),
        (4401, "api_key_revoked", Verdict.FINAL),
        (4401, "api_key_expired", Verdict.FINAL),
        (4401, "api_key_suspended", Verdict.FINAL),
        (4401, "api_key_ip_denied", Verdict.FINAL),
        (4401, "api_key_no_associated_wallet", Verdict.FINAL),
        (4401, "", Verdict.FINAL),
        (4401, "api_key_auth_disabled", Verdict.SLOW),
        (4401, "api_key_auth_unconfigured", Verdict.SLOW),
        (1008, "forbidden origin", Verdict.FINAL),
        # TickTock documents none: accepted, then closed at once
        (1008, "invalid API key", Verdict.FINAL),
        (1008, "missing scope cs2:stream:matches", Verdict.FINAL),
        (4403, "API key deactivated", Verdict.FINAL),
        (1008, "", Verdict.RETRY),
        (1008, "too slow", Verdict.RETRY),
        (4000, "bye", Verdict.RETRY),
        # Everything else is the network's
        (1000, "", Verdict.RETRY),
        (1001, "server going away", Verdict.RETRY),
        (1005, "", Verdict.RETRY),
        (1006, "", Verdict.RETRY),
        (1009, "api key", Verdict.RETRY),
        (1011, "", Verdict.RETRY),
        (1012, "service restart", Verdict.RETRY),
        (1013, "", Verdict.RETRY),
    ],
)
def test_close_codes(code: int, reason: str, verdict: Verdict) -> None:
    """What can't pass is final, what may pass is slow, and all else is tried again."""
    ending = of_close(Closed(code, reason))
    assert ending.verdict is verdict
    assert ending.cause == (DISCONNECT if verdict is Verdict.RETRY else REFUSED)
    assert str(code) in ending.text


def test_a_message_over_the_limit_is_named_oversize_and_tried_again() -> None:
    """It may be the snapshot, again and again: then gap and metric say why."""
    ending = of_close(Closed(1009, "frame exceeds limit of 16777216 bytes", ours=True))
    assert (ending.verdict, ending.cause) == (Verdict.RETRY, OVERSIZE)
    assert "max_frame" in ending.text
    assert of_close(Closed(1002, "invalid opcode", ours=True)).cause == DISCONNECT


def test_a_detail_stream_closed_as_not_found_is_absent() -> None:
    """Some servers accept first and look then."""
    assert of_close(Closed(4404, "match not found"), absent=True).verdict is Verdict.ABSENT
    assert of_close(Closed(4404, "match not found")).verdict is Verdict.RETRY


@pytest.mark.parametrize(
    ("status", "body", "absent", "verdict"),
    [
        (401, b'{"detail": "api_key query parameter missing"}', False, Verdict.FINAL),
        (403, b'{"detail": "invalid API key"}', False, Verdict.FINAL),
        (403, b"<html>", True, Verdict.FINAL),
        (401, b'{"code": "api_key_auth_disabled", "message": "later"}', False, Verdict.SLOW),
        (404, b"", True, Verdict.ABSENT),
        (404, b"", False, Verdict.RETRY),
        (302, b"", False, Verdict.RETRY),
        (400, b"", False, Verdict.RETRY),
        (429, b"", False, Verdict.RETRY),
        (500, b"", False, Verdict.RETRY),
        (502, b"", False, Verdict.RETRY),
        (503, b"", False, Verdict.RETRY),
        (520, b"", False, Verdict.RETRY),
    ],
)
def test_http_statuses(status: int, body: bytes, absent: bool, verdict: Verdict) -> None:  # noqa: FBT001 - a table
    """401 and 403 are final, 404 is the match's absence on a detail stream, all else is tried again."""
    ending = of_status(Declined(status, body=body), now=NOW, absent=absent)
    assert ending.verdict is verdict
    assert str(status) in ending.text


def test_retry_after_counts_for_429_and_503_only() -> None:
    """A server that is overloaded says when to come again."""
    assert of_status(Declined(429, retry_after="17"), now=NOW).after == 17
    assert of_status(Declined(503, retry_after="Sun, 10 May 2026 13:43:11 GMT"), now=NOW).after == 60
    assert of_status(Declined(500, retry_after="17"), now=NOW).after == 0


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1e9", "Sun, 10 May 1999 13:43:11 GMT", "9" * 30])
def test_a_retry_after_that_makes_no_sense_is_none(value: str | None) -> None:
    """No wait, and no error."""
    assert retry_after(value, now=NOW) == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "can't be found"),
        (ConnectionRefusedError(111, "Connection refused"), "refuses connections"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] …"), "refuses connections"),
        (TimeoutError(), "does not answer in time"),
        (OSError(101, "Network is unreachable"), "can't be reached: Network is unreachable"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "no TLS with"),
        (InvalidMessage("did not receive a valid HTTP response"), "does not answer as a WebSocket server"),
        (InvalidURI("ws://host/?api_key=s3cr3t-marker", "no"), "is no host"),
    ],
)
def test_failures_to_connect_are_one_clear_line(error: Exception, words: str) -> None:
    """Named with the host, tried again, and never with the URL."""
    ending = of_error(error, host="feed.example:443")
    assert ending is not None
    assert ending.verdict is Verdict.RETRY
    assert words in ending.text
    assert "feed.example" in ending.text
    assert "s3cr3t" not in ending.text


def test_a_bug_is_no_ending() -> None:
    """What is not known as a failure of the network must come out."""
    assert of_error(KeyError("x"), host="h") is None


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=12, max_size=12))
def test_pauses_double_to_thirty_seconds_with_full_jitter(chances: list[float]) -> None:
    """Each pause lies anywhere between 0 and its ceiling, 1, 2, 4 … 30 s; reset begins anew."""
    left = list(chances)
    backoff = Backoff(lambda: left.pop(0))
    ending = Ending(Verdict.RETRY, DISCONNECT, "")
    ceilings = [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert [backoff.pause(ending) for _ in ceilings] == [
        chance * ceiling for chance, ceiling in zip(chances, ceilings, strict=False)
    ]
    backoff.reset()
    assert backoff.pause(ending) == chances[10]


@pytest.mark.parametrize("code", [1001, 1012])
def test_a_server_that_goes_away_is_called_again_at_once_but_once(code: int) -> None:
    """What takes its place may be there already; if it is not, it gets the usual time."""
    backoff = Backoff(lambda: 1.0)
    ending = of_close(Closed(code, "service restart"))
    assert [backoff.pause(ending) for _ in range(4)] == [0, 2, 4, 8]
    backoff.reset()
    assert backoff.pause(of_close(Closed(1011, ""))) == 1
    assert backoff.pause(ending) == 2


def test_too_many_connections_are_told_from_other_refusals() -> None:
    """Then, and only then, it helps to close another one."""
    assert of_status(Declined(429), now=0).crowded
    assert of_close(Closed(1008, "Too many connections for this key")).crowded
    assert of_close(Closed(4000, "connection limit reached")).crowded
    assert not of_close(Closed(1013, "try again later")).crowded
    assert not of_status(Declined(403), now=0).crowded


def test_a_server_that_names_a_time_is_not_asked_before() -> None:
    """The longer of backoff and Retry-After, and never longer than five minutes."""
    backoff = Backoff(lambda: 0.5)
    assert backoff.pause(Ending(Verdict.RETRY, DISCONNECT, "", after=20)) == 20
    assert backoff.pause(Ending(Verdict.RETRY, DISCONNECT, "", after=1e9)) == SLOW


@pytest.mark.parametrize("verdict", [Verdict.SLOW, Verdict.ABSENT])
def test_slow_is_about_five_minutes(verdict: Verdict) -> None:
    """Give or take a tenth, so that sockets do not come all at once."""
    ending = Ending(verdict, REFUSED, "")
    assert 0.9 * SLOW <= Backoff(lambda: 0.0).pause(ending) <= Backoff(lambda: 0.999).pause(ending) <= 1.1 * SLOW


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"detail": "missing scope x"}', "missing scope x"),
        (b'{"code": "rate_limited", "message": "slow down"}', "rate_limited: slow down"),
        (b'{"status": 401, "error": {"code": "api_key_revoked"}}', "api_key_revoked"),
        (b'{"detail": [{"loc": ["query"]}]}', ""),
        (b"[1]", ""),
        (b"<html>no</html>", ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_error_bodies_of_both_vendors_are_read(body: bytes, said: str) -> None:
    """Code, message, detail; nothing where it is something else."""
    assert explanation(body) == said


@given(st.text())
def test_a_strangers_text_becomes_one_short_printable_line(text: str) -> None:
    """Nothing steers a terminal or splits a log line."""
    line = one_line(text)
    assert len(line) <= 200
    assert line.isprintable()
