"""The sender: a WebSocket server that costs next to nothing, in a process of its own.

Everything it sends is made before. It serves one client at a time and obeys lines on its standard input, each answered
by one line of JSON::

    flood FIRST END           send these frames as fast as the client reads them
    pace FIRST END RATE       send them at RATE a second; answers with the time of each (s, CLOCK_MONOTONIC)

`Sender` starts it and speaks to it. A benchmark that drew its frames from a general server would measure that server.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any, Final, Self

from bench.feed import ALIVE, chunks, frames, wire

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_END_OF_HEAD: Final = b"\r\n\r\n"
_HANDSHAKE_LIMIT: Final = 64 << 10


class Sender:
    """The process, as its parent sees it. count: of frames that it holds; they are `bench.feed.frames(count)`."""

    def __init__(self, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sender", str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.url = f"ws://127.0.0.1:{self._answer()}"

    def flood(self, first: int, end: int) -> float:
        """Begin to send frames [first, end); returns when it begins (s, CLOCK_MONOTONIC). `wait` for the end."""
        self._ask(f"flood {first} {end}")
        return float(self._answer())

    def wait(self) -> None:
        """Wait until all of a flood is with the kernel."""
        self._answer()

    def pace(self, first: int, end: int, rate: float) -> None:
        """Begin to send frames [first, end) at `rate` a second. `times` waits for the end."""
        self._ask(f"pace {first} {end} {rate}")

    def times(self) -> list[float]:
        """When each frame of `pace` was sent (s, CLOCK_MONOTONIC)."""
        found: list[float] = self._answer()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sender has ended")
        return json.loads(line)


class _Server:
    """Accepts clients; the latest is the one that is sent to."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._client: socket.socket | None = None
        self._there = threading.Event()

    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def serve(self) -> None:
        while True:
            client, _ = self._listening.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not _handshake(client):
                continue
            client.sendall(wire(ALIVE))
            self._client = client
            self._there.set()
            threading.Thread(target=_drain, args=(client,), daemon=True).start()

    def client(self) -> socket.socket:
        """The latest client; waits for the first."""
        self._there.wait()
        assert self._client is not None
        return self._client


def _handshake(client: socket.socket) -> bool:
    head = b""
    while _END_OF_HEAD not in head and len(head) < _HANDSHAKE_LIMIT:
        data = client.recv(4096)
        if not data:
            return False
        head += data
    key = next(line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - the protocol's choice
    answer = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    client.sendall(b"\r\n".join([*answer, b"Sec-WebSocket-Accept: " + accept, b"", b""]))
    return True


def _drain(client: socket.socket) -> None:
    """Read what the client says until it goes."""
    try:
        while client.recv(4096):
            pass
    except OSError:
        pass
    client.close()


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _pace(client: socket.socket, wires: list[bytes], rate: float) -> list[float]:
    began = time.monotonic() + 0.01
    times = []
    for index, data in enumerate(wires):
        wait = began + index / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        times.append(time.monotonic())
        client.sendall(data)
    return times


def main() -> None:
    """Serve until standard input ends."""
    server = _Server()
    threading.Thread(target=server.serve, daemon=True).start()
    held = frames(int(sys.argv[1]))
    _say(server.port())
    for line in sys.stdin:
        what, first, end, *more = line.split()
        part = held[int(first) : int(end)]
        if what == "flood":
            ready = list(chunks(part))
            client = server.client()
            _say(time.monotonic())
            for chunk in ready:
                client.sendall(chunk)
            _say("sent")
        else:
            _say(_pace(server.client(), [wire(raw) for raw in part], float(more[0])))


if __name__ == "__main__":
    main()
