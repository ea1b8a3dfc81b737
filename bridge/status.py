"""What ``feedbridge status`` shows: ``/api/status`` of a running bridge, as a calm table for a terminal.

The status is read tolerantly: a bridge of another version may say more or less than this one knows.
"""

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

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridge.errors import BadData, ConfigError, Unreachable

_TIMEOUT_SECONDS: Final = 5.0
_EVERY_SECONDS: Final = 1.0
_LARGEST: Final = 16 * 1024 * 1024
_GOOD: Final = frozenset({"active", "connected", "live", "standby"})
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


def show(url: str, console: Console, *, forever: bool, sleep: Callable[[float], None] = time.sleep) -> None:
    """Print the status of the bridge at `url`; forever: show it anew every second, on a terminal in place.

    Raises the errors of `fetch`; while it is shown for ever, a bridge that does not answer is said and asked again.
    """
    first = _rendered(fetch(url))
    if not forever:
        console.print(first)
        return
    with Live(first, console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            sleep(_EVERY_SECONDS)
            try:
                live.update(_rendered(fetch(url)), refresh=True)
            except (Unreachable, BadData) as error:
                live.update(Text(plain(str(error)), style=_BAD), refresh=True)


def render(status: Mapping[str, Any], *, now: int) -> RenderableType:
    """Return a status as tables. now: ms since the epoch, for ages."""
    parts: list[RenderableType] = [*_head(status, now), "", _lanes(status, now), "", _gateways(status, now)]
    rejected = [(gateway, each) for gateway in _rows(status.get("gateways")) for each in _rows(gateway.get("rejected"))]
    parts += [
        Text(f"{_where(gateway, each)}: {plain(each.get('channel'))} rejected: {plain(each.get('message'))}", _BAD)
        for gateway, each in rejected
    ]
    facts = list(_facts({key: value for key, value in status.items() if key not in _SHOWN}))
    if facts:
        table = _table()
        table.show_header = False
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts:
            table.add_row(Text(name), Text(value))
        parts += ["", table]
    return Group(*parts)


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


def _rendered(status: Mapping[str, Any]) -> RenderableType:
    """Ages go by the bridge's own clock, where it tells the time: two machines may differ."""
    now = status.get("now")
    return render(status, now=now if isinstance(now, int) else time.time_ns() // 1_000_000)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is answered with its own status, as an error."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


#: Control characters, and those that turn the direction of text: a gateway's words must not steer a terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


_BAD: Final = "bold red"
#: What has a place of its own; the rest is listed as it is.
_SHOWN: Final = frozenset(
    {
        *("name", "instance", "version", "started", "now", "ready", "reason", "lanes", "gateways", "reload"),
        *("well", "waiting", "types", "gaps", "dead_letters"),
    }
)
#: Counts of a gateway, and what their columns are called.
_COUNTS: Final = {
    "received": "frames in",
    "published": "records out",
    "duplicates": "duplicates",
    "unchanged": "unchanged",
    "dead_letters": "dead letters",
}


def _head(status: Mapping[str, Any], now: int) -> list[RenderableType]:
    began = status.get("started")
    since = f", started {age(began, now)}" if isinstance(began, int) else ""
    lines: list[RenderableType] = [
        Text.assemble(
            (plain(status.get("name")), "bold"),
            (f"  feedbridge {plain(status.get('version'))}, instance {plain(status.get('instance'))}{since}", "dim"),
        )
    ]
    if isinstance(status.get("ready"), bool):
        good = status["ready"]
        lines.append(_state(f"{'ready' if good else 'not ready'}: {plain(status.get('reason'))}", good=good))
    if isinstance(reload := status.get("reload"), Mapping):
        changed = reload.get("changed")
        told = reload.get("error") or ", ".join(map(plain, changed if isinstance(changed, list) else []))
        text = f"configuration {plain(reload.get('outcome'))} {age(reload.get('at'), now)}{': ' if told else ''}{plain(told or '')}"
        lines.append(Text(text, style=_BAD if reload.get("error") else ""))
    return lines


def _lanes(status: Mapping[str, Any], now: int) -> RenderableType:
    table = _table()
    for name in ("lane", "role", "since", "waiting", "identities", "trouble"):
        table.add_column(name, overflow="fold", justify="right" if name in {"waiting", "identities"} else "left")
    for lane in _rows(status.get("lanes")):
        trouble = lane.get("trouble")
        since = lane.get("since")
        table.add_row(
            Text(plain(lane.get("lane"))),
            _state(lane.get("role"), good=lane.get("role") in _GOOD),
            Text(age(since, now) if since is not None else ""),
            *(Text(plain(lane[name]) if name in lane else "") for name in ("behind", "identities")),
            Text(plain(trouble) if trouble else "", style=_BAD),
        )
    return table


def _gateways(status: Mapping[str, Any], now: int) -> RenderableType:
    rows = _rows(status.get("gateways"))
    counts = [name for name in _COUNTS if any(name in row for row in rows)]
    table = _table()
    for name in ("gateway", "state", "last frame"):
        table.add_column(name, overflow="fold")
    for name in counts:
        table.add_column(_COUNTS[name], justify="right", overflow="fold")
    table.add_column("", overflow="fold")
    for gateway in rows:
        good = gateway.get("connected") is True
        detail = gateway.get("detail")
        table.add_row(
            Text(plain(gateway.get("name"))),
            _state(gateway.get("state") or ("connected" if good else "down"), good=good),
            Text(age(gateway.get("last_frame"), now)),
            *(Text(plain(gateway.get(name))) for name in counts),
            Text(plain(detail) if detail else ""),
        )
    return table


def _where(gateway: Mapping[str, Any], rejected: Mapping[str, Any]) -> str:
    """Where a subscription was rejected: the gateway, and the connection where it is told."""
    connection = rejected.get("connection")
    return plain(gateway.get("name")) + (f" {plain(connection)}" if connection else "")


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _state(state: object, *, good: bool) -> Text:
    return Text(plain(state), style="green" if good else _BAD)


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _facts(value: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the rest of the status, flat: (`journal frames`, `1,204`)."""
    for key, part in value.items():
        label = plain(f"{name} {key}".strip().replace("_", " "))
        if isinstance(part, Mapping):
            yield from _facts(part, label)
        else:
            yield label, plain(part)
