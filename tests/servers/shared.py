"""One server of each kind for all test processes of this checkout, started by the first and gone with the last.

A *host* process (``python -m tests.servers.shared KIND``) owns the server. Who uses it holds a shared lock on the file
``users``; the host tries to get that lock for itself, and when it does, nobody is left and it ends. The locks are the
kernel's, so a test process that is killed gives its own back. The host holds the lock ``host`` as long as it lives.

Folder ``.cache/run/<kind>``: the locks, ``address`` (written when the server is ready), ``stay`` (while it exists, the
host does not end, see ``python -m tests.servers up``), ``host.log`` and the server's own ``data``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from tests.servers.apicurio import Apicurio
from tests.servers.fetch import CACHE
from tests.servers.kafka import KafkaCluster
from tests.servers.process import ServerError

KINDS: Final = ("kafka", "registry")
_START_TIMEOUT: Final = 300.0
_TICK: Final = 0.1


class Running(msgspec.Struct, frozen=True):
    """A shared server that is ready.

    kind: of `KINDS`. address: ``bootstrap.servers`` or the registry's URL. pids: of the host and of the server.
    """

    kind: str
    address: str
    pids: tuple[int, int]


@contextmanager
def use(kind: str, *, stay: bool = False) -> Iterator[Running]:
    """Have the server of that kind running inside the block; start it where it isn't.

    stay: keep it running afterwards, until `leave`. Raises ServerError when it can't be started.
    """
    folder = _folder(kind)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("w") as users:
        # Waits while a host is just ending
        fcntl.flock(users, fcntl.LOCK_SH)
        with (folder / "starter").open("w") as starter:
            fcntl.flock(starter, fcntl.LOCK_EX)
            running = find(kind) or _start(kind)
            if stay:
                (folder / "stay").touch()
        yield running


def find(kind: str) -> Running | None:
    """Return the server if it is running and ready."""
    if not _hosted(kind):
        return None
    try:
        return msgspec.json.decode((_folder(kind) / "address").read_bytes(), type=Running)
    except FileNotFoundError:
        return None


def leave(kind: str, *, timeout: float = 30.0) -> bool:
    """Take back `stay`; True when the server has ended, False if test processes still use it (it ends after them)."""
    (_folder(kind) / "stay").unlink(missing_ok=True)
    deadline = time.monotonic() + timeout
    while (alive := _hosted(kind)) and time.monotonic() < deadline:
        time.sleep(_TICK)
    return not alive


def _start(kind: str) -> Running:
    folder = _folder(kind)
    deadline = time.monotonic() + _START_TIMEOUT
    while _hosted(kind) and time.monotonic() < deadline:  # one that was killed and is not quite gone
        time.sleep(_TICK)
    for left in ("stay", "address"):
        (folder / left).unlink(missing_ok=True)
    log = folder / "host.log"
    with log.open("wb") as output:
        host = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.shared", kind],
            cwd=CACHE.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while (running := find(kind)) is None:
        if host.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"the shared {kind} could not be started\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(_TICK)
    # It is to outlive this process: nobody here waits for it
    host.returncode = 0
    return running


def _host(kind: str) -> None:
    """Own the server until nobody uses it, or SIGTERM."""
    folder = _folder(kind)
    ended = False

    def end(_signal: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    with (folder / "host").open("w") as lock, (folder / "users").open("w") as users:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        server = KafkaCluster(data) if kind == "kafka" else Apicurio(data)
        with server:
            server.start()
            address, pid = _whereabouts(server)
            _write(folder / "address", msgspec.json.encode(Running(kind, address, (os.getpid(), pid))))
            while not ended and _whereabouts(server)[1] and ((folder / "stay").exists() or not _sole(users)):
                time.sleep(_TICK)
            (folder / "address").unlink(missing_ok=True)
        shutil.rmtree(data, ignore_errors=True)


def _whereabouts(server: KafkaCluster | Apicurio) -> tuple[str, int]:
    """Return a server's address and the pid of its JVM, 0 when that has ended."""
    if isinstance(server, KafkaCluster):
        return server.bootstrap, server.pid() if server.running() else 0
    return server.url, server.pid if server.running else 0


def _sole(users: IO[str]) -> bool:
    """Tell whether nobody else holds the lock; if so it is ours from now on, and new users wait for our end."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _hosted(kind: str) -> bool:
    """Tell whether a host process lives."""
    try:
        with (_folder(kind) / "host").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _write(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".part")
    fresh.write_bytes(content)
    fresh.rename(file)


def _folder(kind: str) -> Path:
    return CACHE / "run" / kind


if __name__ == "__main__":
    _host(sys.argv[1])
