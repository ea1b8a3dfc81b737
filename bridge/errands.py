"""What commands ask of a running bridge: who hears it, and who sees to it.

Gaps go to the lanes, by way of the journal (`bridge.pipeline`); dead letters to the `Replayer`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from bridge import revival
from bridge.mortuary import Archive
from bridge.replayer import Replayer
from bridge.requests import Request, Requests, facts
from bridge.route import MAX_VALUE, Ways

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.filling import Filling
    from bridge.frame import Frame
    from bridge.intake import Intake
    from bridge.route import Route

log = structlog.get_logger(__name__)


class Errands:
    """Of one process. gateways: those there are. routes: of them, as far as frames are read by them. now: ms since the epoch."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        *,
        intake: Intake,
        filling: Filling,
        gateways: Collection[str],
        routes: Callable[[], Sequence[Route]],
        now: Callable[[], int],
    ) -> None:
        """Nothing is heard before a lane is active."""
        self._intake = intake
        self._gateways = gateways
        self._stopped = False
        self._requests = Requests(config, self._handle, now=now)

        def ways(gateway: str) -> Ways | None:
            scope = config.dedupe.seq_scope
            found = [Ways(each, seq_scope=scope, max_value=MAX_VALUE) for each in routes() if each.gateway == gateway]
            return found[0] if found else None

        self._replayer = Replayer(
            intake=intake,
            filling=filling,
            lore=Archive(config, catalog, give_up=lambda: self._stopped),
            ways=ways,
            count=config.lanes.count,
            now=now,
        )

    def active(self, lane: int, cursors: Mapping[str, str]) -> None:
        """A lane has become active: what it has not done is heard again."""
        self._requests.active(lane, cursors)

    async def run(self) -> None:
        """Hear and see to it until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._requests.run(), name="requests")
            group.create_task(self._replayer.run(), name="replayer")

    def stop(self) -> None:
        """End the threads."""
        self._stopped = True
        self._requests.stop()

    def narrow(self, spread: dict[int, list[Frame]]) -> dict[int, list[Frame]]:
        """Keep a dead letter from the lanes that it is not for. spread: frames over lanes."""
        return revival.narrow(spread) if self._replayer.busy else spread

    def _handle(self, offset: int, request: Request) -> None:
        if request.gateway not in self._gateways:
            log.warning("request_refused", offset=offset, reason=f"there is no gateway {request.gateway!r}")
        elif request.letters:
            self._replayer.want(offset, request)
        else:
            self._intake.event(request.gateway, "", "request", offset=offset, request=facts(request))
