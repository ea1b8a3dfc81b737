"""Runs bridges for tests: in this process (`BridgeHere`), or as the command does (`BridgeProcess`), to be killed at will.

Both are made from a configuration as plain data, see `configuration`, and are asked the same questions::

    async with TickTockSim(seed=1, rate=500) as sim:
        config = configuration({"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "a") as bridge:
            await bridge.ready()
            bridge.kill()
            await bridge.start()
            await bridge.received(sim.sent.total, gateway="cs2")
            await bridge.drained()
            assert await bridge.stop() == 0

Several processes of one configuration are the same with several folders: each has its journal and its port there, and
keeps both from start to start. Nothing here waits for a time, only for a state, and says what it saw when none comes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from bridge.config import load
from bridge.service import Service
from bridge.sim import PredictStreetSim, TickTockSim
from tests.servers.process import Port, Process, ServerError

#: How long (s) a state may take to come: the machine may be busy with other tests.
PATIENCE: Final = 90.0
_LOOK: Final = 0.05
_CHECKOUT: Final = Path(__file__).parents[1]


def configuration(
    gateways: Mapping[str, Mapping[str, Any]],
    *,
    kafka: str,
    prefix: str,
    registry: str | None = None,
    register: bool = True,
    **more: Mapping[str, Any] | str,
) -> dict[str, Any]:
    """A configuration as plain data. more: further sections; what they say wins.

    kafka: ``bootstrap.servers``. registry: its URL; None: values carry a fingerprint instead. register: whether
    `run` registers schemas that are missing.
    """
    found: dict[str, Any] = {
        "name": "main",
        "gateways": {name: dict(settings) for name, settings in gateways.items()},
        "kafka": {"bootstrap.servers": kafka},
        "topics": {"prefix": prefix},
    }
    if registry is not None:
        found["registry"] = {"url": registry, "register": register}
    for name, section in more.items():
        found[name] = section if isinstance(section, str) else {**found.get(name, {}), **section}
    return found


def ticktock(sim: TickTockSim, **more: Any) -> dict[str, Any]:
    """The settings of a gateway that listens to everything that `sim` says on its list stream."""
    return {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, **more}


def predictstreet(sim: PredictStreetSim, **more: Any) -> dict[str, Any]:
    """The settings of a gateway that subscribes to all channels for all that `sim` has now."""
    tokens = [{"channel": each, "ids": sim.tokens} for each in _TOKEN_CHANNELS[sim.knobs.generation]]
    lifecycle = "condition_lifecycle" if sim.knobs.second else "condition_status"
    others = [{"channel": lifecycle, "ids": sim.conditions}, {"channel": "system", "ids": ["platform_status"]}]
    settings = {"kind": "predictstreet-market", "url": sim.url, "api_key": sim.api_key, "subscribe": [*tokens, *others]}
    return {**settings, **more}


def private(sim: PredictStreetSim, *wallets: str, **more: Any) -> dict[str, Any]:
    """The settings of a gateway that subscribes to all private channels of these wallets.

    The wallets' subscriptions have different sids, so that equal frames to two of them can be told apart.
    """
    vaults = [{"channel": "vault_positions", "ids": [sim.vault(each)], "wallets": [each]} for each in wallets]
    settings = {
        "kind": "predictstreet-user",
        "url": sim.url,
        "api_key": sim.api_key,
        "wallets": list(wallets),
        "subscribe": [*vaults[1:], {"channel": "user_activity"}, *vaults[:1]],
    }
    return {**settings, **more}


_TOKEN_CHANNELS: Final = {
    1: ("token_trades", "token_book"),
    2: ("token_trade_matches", "token_trade_settlements", "token_book", "token_ohlc"),
}


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def until(
    state: Callable[[], bool | Awaitable[bool]], *, what: str | Callable[[], str], seconds: float = PATIENCE
) -> None:
    """Return when `state()` holds; raises TimeoutError that says `what` did not come."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = state()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}") from None


class Bridge(ABC):
    """One bridge, running or not. config: see `configuration`. folder: for all that it keeps."""

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        """Nothing runs before `start`; the folder is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = {
            **config,
            "journal": {"path": str(folder / "journal"), **config.get("journal", {})},
        }
        #: What was last seen of it, for whoever waits in vain.
        self.last: dict[str, Any] = {}

    @property
    def journal(self) -> Path:
        """The folder of its journals."""
        return Path(self.config["journal"]["path"])

    def journal_of(self, lane: int) -> Path:
        """The folder of a lane's journal."""
        return self.journal / f"lane-{lane}-of-{self.config.get('lanes', {}).get('count', 1)}"

    @abstractmethod
    async def start(self) -> None:
        """Start it; returns before it is ready."""

    @abstractmethod
    async def stop(self) -> int:
        """End it as SIGTERM does; returns the exit code when it has ended."""

    @abstractmethod
    async def status(self) -> dict[str, Any]:
        """What ``/api/status`` shows. Raises ConnectionError while nobody answers."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether it has ended."""

    @abstractmethod
    def last_words(self) -> str:
        """What it said last, for messages."""

    async def until(
        self, state: Callable[[dict[str, Any]], bool], *, what: str, seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """Return the status when `state(status)` holds. Raises `ServerError` if the bridge ends instead, TimeoutError."""

        async def holds() -> bool:
            if self.ended():
                raise ServerError(f"the bridge ended while this was waited for: {what}\n{self.last_words()}")
            try:
                self.last = await self.status()
            except ConnectionError:
                return False
            return state(self.last)

        await until(holds, what=lambda: f"{what}; last seen: {self.last}\n{self.last_words()}", seconds=seconds)
        return self.last

    async def ready(self, *, seconds: float = PATIENCE) -> None:
        """Return when it is ready: at least one gateway is connected, and frames flow to Kafka."""
        await self.until(lambda status: bool(status["ready"]), what="ready", seconds=seconds)

    async def role(self, role: str, *, seconds: float = PATIENCE) -> None:
        """Return when its lanes all have that role."""
        await self.until(
            lambda status: {each["role"] for each in status["lanes"]} == {role}, what=f"role {role}", seconds=seconds
        )

    async def roles(self, *roles: str, seconds: float = PATIENCE) -> None:
        """Return when its lanes, in order, have these roles."""
        await self.until(
            lambda status: [each["role"] for each in status["lanes"]] == list(roles),
            what=f"roles {', '.join(roles)}",
            seconds=seconds,
        )

    async def received(self, count: int, *, gateway: str, seconds: float = PATIENCE) -> None:
        """Return when the gateway's connections have got so many messages since the start of the process, control too."""

        def enough(status: dict[str, Any]) -> bool:
            found = next((each for each in status["gateways"] if each["name"] == gateway), None)
            return found is not None and sum(each["frames"] for each in found["connections"]) >= count

        await self.until(enough, what=f"{count} messages of {gateway}", seconds=seconds)

    async def drained(self, *, seconds: float = PATIENCE) -> None:
        """Return when all that it has received is committed."""

        def empty(status: dict[str, Any]) -> bool:
            return status["journal"]["frames"] == 0 and all(each.get("behind") == 0 for each in status["lanes"])

        await self.until(empty, what="journal drained", seconds=seconds)

    async def caught_up(self) -> None:
        """Return when all that it has received by now is committed, though more keeps coming."""
        due = {each["lane"]: each["position"] + each["behind"] for each in (await self.status())["lanes"]}

        def past(status: dict[str, Any]) -> bool:
            return all(each.get("position", 0) >= due[each["lane"]] for each in status["lanes"])

        await self.until(past, what=f"the journal is disposed of up to {due}")


class BridgeHere(Bridge):
    """A bridge in this process and event loop, as an async context manager: quick to start, `service` can be looked at.

    An error that ends it is raised by `stop`, and at the end of the block.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        """See `Bridge`."""
        super().__init__({**config, "http": {"listen": None, **config.get("http", {})}}, folder)
        self.service: Service
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it anew: another `service` each time."""
        file = self.folder / "feedbridge.yaml"
        file.write_text(json.dumps(self.config), encoding="utf-8")
        self.service = Service(load(file, environ=os.environ))
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.service.run(self._stop), name="bridge")

    async def stop(self) -> int:
        """End it gracefully; raises what ended it before."""
        self._stop.set()
        await self.end()
        return 0

    async def end(self) -> None:
        """Return when it has ended; raises the error that ended it."""
        if self._task is not None:
            task, self._task = self._task, None
            await asyncio.wait_for(task, PATIENCE)

    async def status(self) -> dict[str, Any]:
        """As `/api/status`, through JSON."""
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.service.status()))
        return found

    def ended(self) -> bool:
        """Whether `run` has returned or raised."""
        return self._task is None or self._task.done()

    def last_words(self) -> str:
        """What ended it."""
        error = self._task.exception() if self._task is not None and self._task.done() else None
        return "" if error is None else repr(error)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await self.stop()


class BridgeProcess(Bridge):
    """``feedbridge run`` as a process of its own, as an async context manager; it can't outlive the tests.

    environ: variables beside those of the tests. It may be stopped, killed, paused and started again; output of all
    runs is in the file `log`. Whatever runs at the end of the block is killed.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        level: str = "info",
        program: Sequence[str] = ("bridge.cli", "run", "-c"),
    ) -> None:
        """level: of the log, where the configuration names none. program: module and arguments before the file."""
        self._port = Port()
        super().__init__(
            {
                "http": {"listen": f"127.0.0.1:{self._port.number}"},
                **config,
                "log": {"level": level, "format": "json", **config.get("log", {})},
            },
            folder,
        )
        self.page = f"http://127.0.0.1:{self._port.number}"
        self.file = folder / "feedbridge.yaml"
        self.log = folder / "output.log"
        self._process = Process(
            f"feedbridge in {folder.name}",
            [sys.executable, "-m", *program, str(self.file)],
            log=self.log,
            environ={"PYTHONPATH": str(_CHECKOUT), **(environ or {})},
        )

    @property
    def pid(self) -> int:
        """Pid of the running process; ServerError while it is not running."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How its last run ended: exit status, or number of the signal; None while it runs."""
        return self._process.exit_code

    async def start(self) -> None:
        """Write the configuration as it is now, and start."""
        self.file.write_text(json.dumps(self.config), encoding="utf-8")
        await asyncio.to_thread(self._process.start)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code. Raises ServerError where it has not ended in time, or had ended before."""
        if self.ended():
            raise ServerError(f"the bridge had ended already\n{self.last_words()}")
        await asyncio.to_thread(self._process.stop, timeout=PATIENCE)
        return self._process.exit_code or 0

    async def end(self, *, seconds: float = PATIENCE) -> int:
        """Wait until it ends by itself; returns the exit code."""
        await until(self.ended, what=lambda: f"the bridge's end\n{self.last_words()}", seconds=seconds)
        return self._process.exit_code or 0

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._process.resume()

    def ended(self) -> bool:
        """Whether no process runs."""
        return not self._process.running

    def output(self) -> str:
        """All that it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def events(self) -> list[dict[str, Any]]:
        """Its log so far: the lines that are JSON objects."""
        return list(_events(self.output().splitlines()))

    def last_words(self) -> str:
        """End of the log."""
        return self._process.last_words()

    async def status(self) -> dict[str, Any]:
        """``/api/status``."""
        _, body = await self.get("/api/status")
        found: dict[str, Any] = json.loads(body)
        return found

    async def get(self, path: str) -> tuple[int, bytes]:
        """HTTP status and body of a page. Raises ConnectionError while nobody listens."""
        return await asyncio.to_thread(_get, self.page + path)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._port.close()


def _get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30.0) as answer:  # noqa: S310 - a page of a bridge on loopback
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (urllib.error.URLError, OSError) as error:
        raise ConnectionError(f"{url}: {error}") from error


def _events(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
