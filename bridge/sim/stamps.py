"""Time as the gateways write it. All instants inside the simulators are integer milliseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

#: Where simulated time begins when nobody says otherwise: 10 May 2026, 13:42:11.123 UTC.
START_MS: Final = 1_778_420_531_123


def iso_millis(at: int) -> str:
    """``2026-05-10T13:42:11.123Z``: TickTock's `meta.ts` and alive; PredictStreet's REST times."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def iso_seconds(at: int) -> str:
    """``2026-05-10T13:42:11+00:00``: the times inside TickTock's data (contract 6.19)."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def parse_iso(text: str) -> int:
    """Milliseconds of an ISO 8601 text; raises ValueError. Text without an offset is taken as UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
