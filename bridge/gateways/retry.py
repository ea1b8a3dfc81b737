"""Why a connection ended, and what to do about it: try again, try again slowly, or leave it.

One function for each way a connection ends: `of_close` (a WebSocket close code), `of_status` (an HTTP answer to the
handshake) and `of_error` (no answer at all). They are pure; the shell in `bridge.gateways.socket` acts on the `Ending`.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

import msgspec
from websockets.exceptions import InvalidHandshake, InvalidURI, ProxyError

from bridge.gateways.transport import Closed, Declined

#: Seconds of the first pause and of the longest (both contracts: 1 s doubling to 30 s).
FIRST: Final = 1.0
LONGEST: Final = 30.0
#: Seconds between tries where the reason may pass but not soon.
SLOW: Final = 300.0

#: Causes of gaps (design 9) that a connection can have.
DISCONNECT: Final = "disconnect"
SILENCE: Final = "silence"
JOURNAL_FULL: Final = "journal_full"
OVERSIZE: Final = "oversize"
REFUSED: Final = "refused"
STOPPED: Final = "stopped"

#: The server ends and says so: what takes its place is there already, or will be at once.
_LEAVING: Final = frozenset({1001, 1012})
_OVERSIZE: Final = 1009
_POLICY: Final = 1008
_UNAUTHORISED: Final = 4401
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
#: PredictStreet's own trouble, not the key's (contract 1.5).
_PASSING: Final = frozenset({"api_key_auth_disabled", "api_key_auth_unconfigured"})
#: TickTock documents no close codes, and its house style says 1008 to a bad key after accepting the upgrade.
_ABOUT_THE_KEY: Final = re.compile(
    r"forbidden|unauthori[sz]ed|(?:api[ _-]?|invalid )key|credential|allowlist|missing scope", re.IGNORECASE
)
#: Neither contract tells a limit of connections; what a server would say that has one.
_CROWDED: Final = re.compile(
    r"HTTP 429|too many (?:open |concurrent )?(?:connections|sockets|sessions)|connection limit|max(?:imum)? (?:number of )?connections",
    re.IGNORECASE,
)
_NOT_FOUND: Final = re.compile(r"not found", re.IGNORECASE)
#: Close codes that a library or an application may choose freely (RFC 6455, 7.4.2).
_OWN_CODES: Final = range(3000, 5000)
_LONGEST_TEXT: Final = 200
_MEANINGS: Final = {
    1000: "closed normally",
    1001: "server goes away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "closed without a code",
    1006: "connection lost",
    1007: "invalid text",
    1008: "policy violation",
    1009: "message too big",
    1011: "server error",
    1012: "server restarts",
    1013: "try again later",
    4401: "credentials refused",
}


class Verdict(Enum):
    """What to do about an ending."""

    #: Backoff with jitter.
    RETRY = "retry"
    #: Every five minutes: the reason may pass.
    SLOW = "slow"
    #: Every five minutes, and not the gateway's fault: there is no such stream (a match that is not known).
    ABSENT = "absent"
    #: Not before the key changes.
    FINAL = "final"


class Ending(msgspec.Struct, frozen=True):
    """Why a connection ended.

    cause: of the gap, one of this module's constants. text: one line for a person; may quote the server, so it goes
    through the redactor before it is shown. after: seconds that the server asks us to wait at least.
    """

    verdict: Verdict
    cause: str
    text: str
    after: float = 0.0
    #: Whether the first try comes without a pause: the server told us to connect anew.
    at_once: bool = False
    #: Whether the key is to blame: then the setting that holds it is worth naming.
    key: bool = False

    @property
    def crowded(self) -> bool:
        """Whether there are connections enough: the same would be let in if another were closed."""
        return _CROWDED.search(self.text) is not None


def of_close(closed: Closed, *, absent: bool = False) -> Ending:
    """Judge a close code. 4401 is final but for reasons that pass; what nobody documented is tried again.

    absent: as in `of_status`; a server may accept the upgrade before it looks.
    """
    reason = one_line(closed.reason)
    meaning = _MEANINGS.get(closed.code, "closed by the server")
    text = f"{meaning} ({closed.code}{': ' if reason else ''}{reason})"
    if closed.ours:
        if closed.code == _OVERSIZE:
            return Ending(Verdict.RETRY, OVERSIZE, f"a message is longer than max_frame allows ({reason})")
        return Ending(Verdict.RETRY, DISCONNECT, f"the server broke the protocol ({closed.code}: {reason})")
    if closed.code == _UNAUTHORISED:
        passing = closed.reason in _PASSING
        return Ending(Verdict.SLOW if passing else Verdict.FINAL, REFUSED, text, key=not passing)
    if closed.code == _POLICY or closed.code in _OWN_CODES:
        if _ABOUT_THE_KEY.search(closed.reason):
            return Ending(Verdict.FINAL, REFUSED, text, key=True)
        if absent and _NOT_FOUND.search(closed.reason):
            return Ending(Verdict.ABSENT, DISCONNECT, text)
    return Ending(Verdict.RETRY, DISCONNECT, text, at_once=closed.code in _LEAVING)


def of_status(declined: Declined, *, now: float, absent: bool = False) -> Ending:
    """Judge an HTTP status. now: s since the epoch, for a Retry-After that is a date. absent: 404 means "no such stream"."""
    status = declined.status
    said = explanation(declined.body)
    text = f"HTTP {status}{': ' if said else ''}{said}"
    if status in {401, 403}:
        passing = any(reason in said for reason in _PASSING)
        return Ending(Verdict.SLOW if passing else Verdict.FINAL, REFUSED, text, key=not passing)
    if status == 404 and absent:  # noqa: PLR2004 - HTTP
        return Ending(Verdict.ABSENT, DISCONNECT, text)
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP
        return Ending(Verdict.RETRY, DISCONNECT, f"HTTP {status}: a redirect, which is not followed; mend `url`")
    after = retry_after(declined.retry_after, now=now) if status in {_TOO_MANY, _UNAVAILABLE} else 0.0
    return Ending(Verdict.RETRY, DISCONNECT, text, after)


def of_error(error: Exception, *, host: str) -> Ending | None:
    """Put a failure to connect into words; None where it is none that we know, a bug of ours perhaps."""
    text = None
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"the certificate of {host} is not accepted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        text = f"no TLS with {host}: {(getattr(error, 'reason', None) or 'handshake failed').replace('_', ' ').lower()}"
    elif isinstance(error, socket.gaierror):
        text = f"the host {host} can't be found: {error.strerror or 'no address'}"
    elif isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        # asyncio sums up the failures of several addresses in one OSError without a number of its own.
        text = f"{host} refuses connections"
    elif isinstance(error, TimeoutError):
        text = f"{host} does not answer in time"
    elif isinstance(error, OSError):
        text = f"{host} can't be reached: {error.strerror or 'connection failed'}"
    elif isinstance(error, UnicodeError | InvalidURI):
        text = f"{host} is no host"
    elif isinstance(error, ProxyError):
        text = f"the proxy does not connect to {host}"
    elif isinstance(error, InvalidHandshake | EOFError):
        text = f"{host} does not answer as a WebSocket server does"
    return None if text is None else Ending(Verdict.RETRY, DISCONNECT, one_line(text))


class Backoff:
    """Pauses between tries: exponential with full jitter, 0 to 1 s at first, 0 to 30 s at last.

    chance: uniform in [0, 1). Only `reset` starts anew, and only healthy data calls it: a server that accepts and closes at
    once must not be asked every second.
    """

    def __init__(self, chance: Callable[[], float], *, first: float = FIRST, longest: float = LONGEST) -> None:
        """Begin with `first` seconds at most."""
        self._chance = chance
        self._first = first
        self._longest = longest
        self._tries = 0

    def pause(self, ending: Ending) -> float:
        """Return the seconds to wait after this ending."""
        if ending.verdict in {Verdict.SLOW, Verdict.ABSENT}:
            # A little jitter: several sockets with one key must not come at the same moment.
            return SLOW * (0.9 + 0.2 * self._chance())
        ceiling = min(self._longest, self._first * 2.0 ** min(self._tries, 30))
        self._tries += 1
        if ending.at_once and self._tries == 1:
            return 0.0
        return max(self._chance() * ceiling, min(ending.after, SLOW))

    def reset(self) -> None:
        """Start anew: healthy data has come."""
        self._tries = 0


def retry_after(value: str | None, *, now: float) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number or a date; 0 where it is neither."""
    if value is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        date: datetime = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, date.timestamp() - now)


def explanation(body: bytes) -> str:
    """Return what an HTTP error body says: code and message (PredictStreet 2.5), detail (TickTock 1.2), else nothing."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(answer, dict):
        return ""
    nested = answer.get("error")
    if isinstance(nested, dict):
        answer = {**nested, **answer}
    words = [answer[key] for key in ("code", "message", "detail") if isinstance(answer.get(key), str)]
    return one_line(": ".join(words))


def one_line(text: str) -> str:
    """Return text of a stranger as one short printable line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"
