"""A simulator that sends a given list of frames: ``async with Scripted("ticktock", frames, rate=5000) as sim: …``.

Handshake, keys, commands, keep-alive, REST and operator are those of the real simulator of that kind; the frames are the test's.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Unpack

from bridge.sim.feed import Broker
from bridge.sim.options import Options
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from bridge.sim.replay import Kind, Knobs
from bridge.sim.script import Script
from bridge.sim.server import Simulator
from bridge.sim.ticktock import TickTockSim
from bridge.sim.ticktock_stream import TickTockKnobs


class Scripted:
    """An async context manager that gives the running simulator; its `script` tells how far it has got.

    TickTock: the list channel plays the script, detail channels only keep alive. PredictStreet: it begins when the client has
    subscribed to anything. rate (default: as fast as the reader takes), on_reconnect, overlap: see `Script`;
    frame_faults are its `faults`. Several clients each get the script from where `on_reconnect` says. What else may be said is `Simulator`'s. Raises TypeError for knobs of the other kind.
    """

    def __init__(
        self,
        kind: Kind,
        frames: Sequence[bytes],
        *,
        on_reconnect: Literal["resume", "restart", "continue"] = "resume",
        overlap: int = 0,
        frame_faults: Sequence[str | None] | None = None,
        knobs: Knobs | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Nothing runs before the context is entered."""
        rate = options.setdefault("rate", None)
        self.script = Script(frames, rate=rate, on_reconnect=on_reconnect, overlap=overlap, faults=frame_faults)
        options["script"] = self.script
        self.sim: Simulator = simulator(kind, knobs=knobs, **options)

    async def __aenter__(self) -> Simulator:
        await self.sim.start()
        return self.sim

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.sim.stop()


def simulator(
    kind: Kind, *, knobs: Knobs | None = None, broker: Broker | None = None, **options: Unpack[Options]
) -> TickTockSim | PredictStreetSim:
    """A simulator by name, not yet started; raises TypeError for knobs of the other kind. broker: TickTock's."""
    if kind == "ticktock":
        if knobs is not None and not isinstance(knobs, TickTockKnobs):
            raise TypeError("ticktock takes TickTockKnobs")
        if broker is not None:
            return TickTockSim(knobs=knobs, amqp=broker.url, exchange=broker.exchange, feed=broker.feed, **options)
        return TickTockSim(knobs=knobs, **options)
    if knobs is not None and not isinstance(knobs, PredictStreetKnobs):
        raise TypeError("predictstreet takes PredictStreetKnobs")
    return PredictStreetSim(knobs=knobs, **options)
