"""What ten open pages cost: the bridge's CPU with ten listeners and without, in turn, in one process.

What a page costs does not depend on how much flows: once a second a snapshot of what was counted anyway. So the share of a
core is measured while nothing flows, where it is not lost in the noise, and is what a bridge at full speed loses of its
throughput. That is measured too, in turn, but for a bound it differs too much from leg to leg.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from bench.processes import Bridge, write_config
from bench.sender import Sender
from bench.throughput import Leg

#: Pages that are open.
PAGES: Final = 10
#: From opening the pages to the measurement: the first snapshot is made and sent (s).
_SETTLE: Final = 0.5


def measure(
    folder: Path, sender: Sender, bootstrap: str, *, warm: int, frames: int, seconds: int, rounds: int
) -> dict[str, float]:
    """Return the figures. seconds: of each quiet stretch; frames: of all busy ones together. Two of both in each round."""
    path, _ = write_config(folder, name="page", url=sender.url, bootstrap=bootstrap)
    quiet: dict[int, list[float]] = {0: [], PAGES: []}
    busy: dict[int, list[Leg]] = {0: [], PAGES: []}
    events, size = 0, frames // (2 * rounds)
    with Bridge(path) as bridge:
        bridge.until_live()
        done = bridge.received()
        sender.flood(0, warm)
        sender.wait()
        bridge.until_done(done := done + warm)
        at = warm
        for number in range(rounds):
            # First without and first with, in turn: what drifts cancels out.
            for pages in (0, PAGES) if number % 2 else (PAGES, 0):
                with Pages(bridge.page(), pages) as listening:
                    time.sleep(_SETTLE)
                    cpu = bridge.cpu()
                    time.sleep(seconds)
                    quiet[pages].append((bridge.cpu() - cpu) / seconds)
                    cpu = bridge.cpu()
                    began = sender.flood(at, at + size)
                    sender.wait()
                    ended = bridge.until_done(done := done + size)
                    busy[pages].append(Leg(size, ended - began, bridge.cpu() - cpu))
                    at += size
                events += listening.events
    if events < rounds * PAGES * (seconds - 1):
        raise RuntimeError(f"only {events} events reached {PAGES} pages")
    plain, watched = ([leg.rate for leg in busy[pages]] for pages in (0, PAGES))
    return {
        "quiet": median(quiet[0]),
        "share": median(quiet[PAGES]) - median(quiet[0]),
        "rate": median(plain),
        "rate_ratio": median(watched) / median(plain),
        "cpu_ratio": median(leg.cpu_us for leg in busy[PAGES]) / median(leg.cpu_us for leg in busy[0]),
    }


class Pages:
    """So many listeners of ``/api/events``, in one thread that throws away what it reads."""

    def __init__(self, page: str, count: int) -> None:
        """page: the bridge's. Nothing is opened before the block."""
        place = urlsplit(page)
        self._address = (place.hostname or "", place.port or 80)
        self._count = count
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._sockets: list[socket.socket] = []
        #: Events that have come.
        self.events = 0

    def __enter__(self) -> Self:
        for _ in range(self._count):
            made = socket.create_connection(self._address)
            made.sendall(b"GET /api/events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
            self._sockets.append(made)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _read(self) -> None:
        with selectors.DefaultSelector() as ready:
            for each in self._sockets:
                ready.register(each, selectors.EVENT_READ)
            while not self._over.wait(0 if self._sockets else 0.1):
                for key, _ in ready.select(0.1) if self._sockets else ():
                    assert isinstance(key.fileobj, socket.socket)
                    self.events += key.fileobj.recv(1 << 20).count(b"data: {")
