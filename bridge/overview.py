"""What ``/api/status`` says of a running bridge, and with it the page and ``feedbridge status``.

Nothing here is private: of dead letters the reason and the path, of gaps the time and the connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.lane import RECOVERING
from bridge.ops.census import COUNTED, STRETCH
from bridge.recovery import FILLED, LOST, OPEN, PARTLY
from bridge.sentence import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.dead_letter import Buried
    from bridge.gateways.gateway import Gateway
    from bridge.journals import Journals
    from bridge.lane import Lane
    from bridge.ledger import Gap
    from bridge.ops.census import Census
    from bridge.ops.metrics import Metrics

#: Gaps that are shown.
GAPS: Final = 50
#: Longest path that is shown, in characters.
PATH: Final = 120
#: From the best to the worst.
_STATES: Final = (FILLED, OPEN, PARTLY, LOST)
#: How schemas name fields, and how a place in a list is written; a private frame's own words are neither.
_STEP: Final = re.compile(r"[A-Za-z_][A-Za-z_]*(\[\d+\])*|\d+")


def overview(
    facts: Mapping[str, Any],
    *,
    gateways: Sequence[Gateway],
    lanes: Sequence[Lane],
    waiting: str | None,
    held: Iterable[int],
    journals: Journals | None,
    max_bytes: int,
    filling: Mapping[str, Any],
    census: Census,
    metrics: Metrics,
) -> dict[str, Any]:
    """Return the status. facts: what comes first in it. waiting: why there are no lanes yet, of those `held`."""
    types = census.types()
    found = {
        **facts,
        "lanes": [lane.status() for lane in lanes]
        or [{"lane": lane, "role": RECOVERING, "trouble": waiting} for lane in held],
        "gateways": [_gateway(each, types, census) | {"filling": filling[each.name]} for each in gateways],
        "journal": {
            "frames": journals.frames if journals else 0,
            "bytes": journals.size if journals else 0,
            "max_bytes": max_bytes,
            "full": journals.full if journals else False,
        },
        "waiting": next((each for each in ("kafka", "registry") if metrics.total("waiting", service=each)), None),
        "types": types,
        "last_minute": census.times(),
        "gaps": gaps((lane.number, lane.gaps()) for lane in lanes),
        "dead_letter_reasons": census.reasons(),
        "dead_letters": letters(census.buried(), {each.name for each in gateways if each.private}),
    }
    return {**found, "well": [msgspec.to_builtins(each) for each in judge(found)]}


def gaps(lanes: Iterable[tuple[int, Iterable[Gap]]]) -> list[dict[str, Any]]:
    """The last gaps, the newest first; what several lanes say of one break is one gap, in its worst state."""
    found: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for lane, each in ((lane, gap) for lane, some in lanes for gap in some):
        key = (each.gateway, each.connection, each.since, each.cause)
        gap = found.setdefault(
            key,
            {"gateway": each.gateway, "connection": each.connection, "since": each.since, "cause": each.cause}
            | {"until": each.until, "state": each.state, "how": each.how, "recovered": 0, "lanes": []},
        )
        if lane not in gap["lanes"]:
            gap["lanes"].append(lane)
        gap["recovered"] += each.recovered
        gap["until"] = None if None in {gap["until"], each.until} else max(gap["until"], each.until)
        if _STATES.index(each.state) > _STATES.index(gap["state"]):
            gap |= {"state": each.state, "how": each.how}
    return sorted(found.values(), key=lambda gap: gap["since"], reverse=True)[:GAPS]


def letters(buried: Iterable[Buried], private: frozenset[str] | set[str]) -> list[dict[str, Any]]:
    """Dead letters as they may be shown: of private gateways not even a name that the frame itself has brought."""
    found = []
    for each in buried:
        path = each.path
        if path is not None and each.gateway in private:
            path = ".".join(step if _STEP.fullmatch(step) else "…" for step in path.split("."))
        if path is not None and len(path) > PATH:
            path = f"{path[:PATH]}…"
        found.append({**msgspec.to_builtins(each), "path": path})
    return found


def _gateway(gateway: Gateway, types: Iterable[Mapping[str, Any]], census: Census) -> dict[str, Any]:
    status = gateway.status()
    mine = [each for each in types if each["gateway"] == gateway.name]
    found: dict[str, Any] = msgspec.to_builtins(status)
    ups = [each.since for each in status.connections if each.state == "live"]
    return {
        **found,
        **{name: sum(each[name] for each in mine) for name in COUNTED},
        "private": gateway.private,
        "connected_since": max(ups, default=None) if status.connected else None,
        "reconnects": sum(each.reconnects for each in status.connections),
        "rate": {"seconds": STRETCH / 1000, "frames": census.rate(gateway.name)},
    }
