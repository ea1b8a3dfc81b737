"""``feedbridge status``: asks a running bridge for ``/api/status`` and shows it (`bridge.panel`), once or for ever."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bridge.errors import BadData, ConfigError, Unreachable

_TIMEOUT_SECONDS: Final = 5.0
_EVERY_SECONDS: Final = 1.0
_LARGEST: Final = 16 * 1024 * 1024
_MINUTE: Final = 60
_HOUR: Final = 3600


def url_of(listen: str) -> str:
    """Return the URL at which this machine reaches a bridge that listens at ``HOST:PORT`` (`http.listen`)."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if host in {"0.0.0.0", "", "*"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def fetch(url: str, *, timeout: float = _TIMEOUT_SECONDS) -> dict[str, Any]:
    """Read the status of the bridge at `url` (scheme, host, port). timeout: seconds.

    Raises Unreachable where nobody answers, BadData where the answer is no status, ConfigError where `url` is none.
    """
    place = urlsplit(url)
    if place.scheme not in {"http", "https"} or not place.hostname:
        raise ConfigError(f"{url!r} is no address of a bridge", where="--url", mend="write http://HOST:PORT")
    # No proxy and no redirect: what is asked is the bridge itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(f"{url.rstrip('/')}/api/status", timeout=timeout) as answer:
            status = json.loads(answer.read(_LARGEST))
    except urllib.error.HTTPError as error:
        error.close()
        raise BadData(f"answered {error.code}", where=url, mend="is it a feedbridge?") from error
    except (OSError, urllib.error.URLError) as error:
        why = getattr(error, "reason", error)
        raise Unreachable(
            f"no bridge answers: {getattr(why, 'strerror', None) or why}",
            where=url,
            mend="is `feedbridge run` running, and is http.listen this address?",
        ) from error
    except ValueError as error:
        raise BadData("answered something that is no JSON", where=url, mend="is it a feedbridge?") from error
    if not isinstance(status, dict):
        raise BadData("answered something that is no status", where=url, mend="is it a feedbridge?")
    return status


def watch(url: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[dict[str, Any]]:
    """Yield the status anew every second, for ever. Raises the errors of `fetch`."""
    while True:
        yield fetch(url)
        sleep(_EVERY_SECONDS)


def show(status: Mapping[str, Any], console: Console, *, types: bool = False) -> None:
    """Print a status. types: a table of all types too."""
    from bridge.panel import panel

    console.print(panel(status, now=_now(status), width=console.width, types=types), soft_wrap=True)


def live(url: str, console: Console, *, types: bool = False, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show the status of the bridge at `url` for ever: on a terminal whole and in place, else a line for each change.

    Raises the errors of `fetch` at first; later a bridge that does not answer is said, and asked again.
    """
    from bridge.panel import panel, verdict
    from bridge.terminal import is_live

    found: Mapping[str, Any] = fetch(url)
    if not is_live(console):
        last = None
        while True:
            if (line := verdict(found) if found else _AWAY) != last:
                console.print(Text(f"{moment(_now(found))}  {line}"), soft_wrap=True)
                console.file.flush()
            last = line
            sleep(_EVERY_SECONDS)
            found = _fetched(url) or {}
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as screen:
        while True:
            room = max(console.height - 1, 3)
            if found:
                text = panel(found, now=_now(found), width=console.width, height=room, types=types)
            else:
                text = Text(_AWAY, _BAD)
            foot = Text(f"\n{moment(_now(found))} · {_FOOT}", "dim", no_wrap=True, overflow="ellipsis")
            screen.update(Text.assemble(text, foot, no_wrap=True, overflow="crop"), refresh=True)
            sleep(_EVERY_SECONDS)
            found = _fetched(url) or {}


def plain(value: object) -> str:
    """Return a value as one line of text in which nothing steers the terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _CONTROL.sub(_escaped, text)


def moment(at: int) -> str:
    """Return a time (ms since the epoch) as people write it, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(then: object, now: int) -> str:
    """Return how long ago `then` was (both ms since the epoch), in the unit a person would use."""
    if not isinstance(then, int) or isinstance(then, bool):
        return "never"
    seconds = max(0, now - then) / 1000
    if seconds < 1:
        return "now"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s ago"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min ago"
    return f"{seconds / _HOUR:.0f} h ago"


_AWAY: Final = "The bridge does not answer; it is asked again every second."
_FOOT: Final = "every second · Ctrl-C ends"


def _fetched(url: str) -> Mapping[str, Any] | None:
    try:
        return fetch(url)
    except (Unreachable, BadData):
        return None


def _now(status: Mapping[str, Any]) -> int:
    """Ages go by the bridge's own clock, where it tells the time: two machines may differ."""
    now = status.get("now")
    return now if isinstance(now, int) and not isinstance(now, bool) else time.time_ns() // 1_000_000


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is answered with its own status, as an error."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


#: Control characters, and those that turn the direction of text: a gateway's words must not steer a terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


_BAD: Final = "bold red"
