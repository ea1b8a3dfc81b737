"""One server process: started, stopped, killed, frozen and started again by the tests, and gone when they are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

_KEEPER: Final = Path(__file__).with_name("keeper.py")


class ServerError(Exception):
    """A server did not do what it was told in time; the text holds the end of its log."""


class Process:
    """A program under a `keeper`; the same object starts it as often as a test likes.

    name: for messages. command: program and arguments. log: the file that takes its output, appended to.
    environ: variables beside the present ones.
    """

    def __init__(self, name: str, command: list[str], *, log: Path, environ: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environ = environ or {}
        self._keeper: subprocess.Popen[str] | None = None
        self._pid = 0
        self._exit_code: int | None = None

    @property
    def running(self) -> bool:
        """True from `start` until the program has ended; a paused one is running."""
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def pid(self) -> int:
        """Pid of the program itself; ServerError while it is not running."""
        if not self.running:
            raise ServerError(f"{self.name} is not running")
        return self._pid

    @property
    def exit_code(self) -> int | None:
        """Exit status of the last run, or the number of the signal that ended it; None while it runs, and before."""
        return None if self.running else self._keeper.returncode if self._keeper is not None else self._exit_code

    def start(self) -> None:
        """Start the program; returns before it is ready. ServerError if it runs already."""
        if self.running:
            raise ServerError(f"{self.name} runs already")
        self._release()
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), str(self.log), *self._command],
            env=os.environ | self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline()
        if not said:
            raise ServerError(f"{self.name} could not be started: {' '.join(self._command[:1])}")
        self._pid = int(said)

    def wait(self, *, timeout: float) -> int:
        """Return the exit status when the program has ended by itself; ServerError after timeout seconds."""
        if self.running:
            self._wait(timeout)
        self._release()
        assert self._exit_code is not None
        return self._exit_code

    def stop(self, *, timeout: float = 30.0) -> None:
        """SIGTERM, and wait until the program has ended; ServerError after timeout seconds. A paused one goes on first."""
        if self.running:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            self._wait(timeout)
        self._release()

    def kill(self) -> None:
        """SIGKILL, and wait until the program is gone."""
        if self.running:
            self._signal(signal.SIGKILL)
            self._wait(30.0)
        self._release()

    def pause(self) -> None:
        """SIGSTOP, and wait until each thread stands still: it holds its connections and answers nothing."""
        tasks = Path(f"/proc/{self.pid}/task")
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_ready(lambda: all(_stopped(task) for task in tasks.iterdir()), timeout=10.0)

    def resume(self) -> None:
        """SIGCONT: undo `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_ready(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Return when ready() does so with true; ServerError when the program ends or after timeout seconds."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                self._release()
                raise ServerError(f"{self.name} ended while it was waited for\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} was not ready after {timeout:g} s\n{self.last_words()}")
            time.sleep(0.05)

    def last_words(self, lines: int = 20) -> str:
        """Return the end of the log."""
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"{self.log}:", *said[-lines:]])

    def _signal(self, number: signal.Signals) -> None:
        # The keeper reaps the program, so between `running` and here its pid may have gone
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def _wait(self, timeout: float) -> None:
        assert self._keeper is not None
        try:
            self._keeper.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerError(f"{self.name} did not end within {timeout:g} s\n{self.last_words()}") from None

    def _release(self) -> None:
        if self._keeper is not None:
            self._exit_code = self._keeper.poll()
            for pipe in (self._keeper.stdin, self._keeper.stdout):
                if pipe is not None:
                    pipe.close()
            self._keeper = None


def _stopped(task: Path) -> bool:
    try:
        # The name before the state is in parentheses and may hold any character
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
        return True


class Port:
    """A TCP port on 127.0.0.1 that stays ours while its server is down.

    Two things would take it: another test that looks for a free port, and the kernel, which gives outgoing connections
    a source port (a client that retries a dead loopback port from that range can even connect to itself). So the
    number lies below the kernel's range, and a socket stays bound to it: it never listens, so connecting is refused,
    and both it and the server (Java sets SO_REUSEADDR) allow the other.
    """

    def __init__(self, *, chance: Random | None = None) -> None:
        chance = chance or Random()
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        for _ in range(1000):
            self._socket = socket.socket()
            try:
                # Without SO_REUSEADDR at first: then bind fails where another holds the port in this same way
                self._socket.bind(("127.0.0.1", chance.randrange(max(10_000, lowest // 2), lowest)))
            except OSError:
                self._socket.close()
                continue
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.number: int = self._socket.getsockname()[1]
            return
        raise ServerError("no free port on 127.0.0.1")

    def listening(self) -> bool:
        """Tell whether a server accepts connections on the port."""
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.number)) == 0

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()
