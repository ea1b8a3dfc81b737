"""Simulated gateways: believable, seeded worlds behind the gateways' own protocols, with faults on demand.

Part of the product: for the demo, for our tests, and for tests of those who use feedbridge. In a test::

    async with TickTockSim(seed=1, rate=500, faults={"duplicate": 0.1}) as sim:
        ...                      # point a gateway at sim.url, sim.rest_url, sim.api_key
        await sim.drop()         # what an operator may do to it, see `Simulator`
        sim.sent, sim.expected() # what it sent, and what must have come out

without a socket: `frames`, `play`; a list of frames of one's own: `Scripted`; as a process: `run_simulator`.
Written from the wire contracts alone: nothing here knows the bridge, so each tests the other.
"""

from __future__ import annotations

from bridge.sim.expected import Expected, expected
from bridge.sim.faults import Faults
from bridge.sim.feed import FeedKnobs
from bridge.sim.keys import PREDICTSTREET_SCOPES, TICKTOCK_SCOPES, Key
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from bridge.sim.replay import frames, play, play_private
from bridge.sim.run import run_simulator
from bridge.sim.script import Script
from bridge.sim.scripted import Scripted, simulator
from bridge.sim.sent import Sent, SentLog, as_line, from_line
from bridge.sim.server import Simulator
from bridge.sim.ticktock import TickTockSim
from bridge.sim.ticktock_stream import TickTockKnobs

__all__ = [
    "PREDICTSTREET_SCOPES",
    "TICKTOCK_SCOPES",
    "Expected",
    "Faults",
    "FeedKnobs",
    "Key",
    "PredictStreetKnobs",
    "PredictStreetSim",
    "Script",
    "Scripted",
    "Sent",
    "SentLog",
    "Simulator",
    "TickTockKnobs",
    "TickTockSim",
    "as_line",
    "expected",
    "frames",
    "from_line",
    "play",
    "play_private",
    "run_simulator",
    "simulator",
]
