"""bridge.gateways.socket: the life of one connection, with scripted connections and noted pauses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import structlog
from structlog.testing import capture_logs

from bridge.frame import Frame
from bridge.gateways.dialect import NEVER, Dialect, Reaction
from bridge.gateways.gateway import ABSENT, LIVE, REFUSED, STOPPED, GatewaySettings
from bridge.gateways.retry import Ending, Verdict
from bridge.gateways.socket import Socket
from bridge.gateways.transport import Declined
from bridge.ops.metrics import Metrics
from tests.unit.gateways.doubles import MemoryIntake, Script, Scripts, cut, outside


class Plain(Dialect):
    """Takes everything for frames; says hello."""

    absent = True

    def __init__(self) -> None:
        self.timers = 0
        self.resumed = 0
        self.drop_on_timer = False

    def url(self) -> str:
        """With a key in it."""
        return "ws://host:1/path?api_key=s3cr3t-marker"

    def headers(self) -> dict[str, str]:
        """None."""
        return {}

    def renew(self) -> Plain:
        """Another one."""
        return Plain()

    def on_open(self, now: float) -> Reaction:
        """Say hello."""
        self.up = self.healthy = False
        self.due = now + 0.01 if self.drop_on_timer else NEVER
        return Reaction(send=["hello"])

    def on_messages(self, messages: list[bytes], now: float) -> Reaction:
        """All but control messages are frames."""
        self.up = True
        self.healthy = self.healthy or b"healthy" in messages
        assert now > 0
        return Reaction([message for message in messages if message != b"control"])

    def on_timer(self, now: float) -> Reaction:
        """Give up."""
        self.timers += 1
        assert now >= self.due
        self.due = NEVER
        return Reaction(drop=Ending(Verdict.RETRY, "silence", "no pong"))

    def on_resume(self, now: float) -> None:
        """Count."""
        assert now > 0
        self.resumed += 1


class Bench:
    """A socket, and all that it touches."""

    def __init__(self, *scripts: Script | Exception, silence: float = 30.0, hint: str | None = None) -> None:
        self.intake = MemoryIntake()
        self.pauses: list[float] = []
        self.metrics = Metrics()
        self.connect = Scripts(scripts)
        self.dialect = Plain()
        settings: dict[str, Any] = {"kind": "plain", "url": "ws://host:1", "silence": silence}
        self.socket = Socket(
            "gw",
            "list",
            self.dialect,
            settings=GatewaySettings(**settings),
            intake=self.intake,
            log=structlog.get_logger(),
            metrics=self.metrics,
            outside=outside(self.pauses),
            hint=hint,
            connect=self.connect,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[Ending]]:
        """Run the socket within a block."""
        task = asyncio.create_task(self.socket.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def causes(self) -> list[str]:
        """The events of the connection."""
        return self.intake.causes("list")


async def test_messages_become_frames_in_order_behind_the_event_that_says_so() -> None:
    """Connection, hint, source and time are on each frame; control messages are none."""
    bench = Bench(Script([[b"one", b"control"], [b"two"]]), hint="match-1")
    async with bench.running():
        await bench.intake.until(lambda: len(bench.intake.frames) == 2)
    assert [frame.raw for frame in bench.intake.frames] == [b"one", b"two"]
    assert {(each.gateway, each.connection, each.source, each.hint) for each in bench.intake.frames} == {
        ("gw", "list", "stream", "match-1")
    }
    assert bench.causes() == ["up", "down:stopped"]
    assert bench.connect.opened[0].sent == ["hello"]
    assert bench.connect.opened[0].closed
    status = bench.socket.status()
    assert (status.state, status.frames, status.reconnects) == (STOPPED, 3, 0)


async def test_pauses_grow_until_healthy_data_comes_not_until_a_connection_opens() -> None:
    """A server that lets us in and closes at once is asked less and less often."""
    bench = Bench(
        ConnectionRefusedError(),
        *[Script([cut(1001)]) for _ in range(6)],
        Script([[b"healthy"], cut(1006)]),
        Script([[b"frame"], cut(1006)]),
        Script([[b"end"]]),
    )
    async with bench.running():
        await bench.intake.until(lambda: any(frame.raw == b"end" for frame in bench.intake.frames))
    assert bench.pauses == [0.5, 1, 2, 4, 8, 15, 15, 0.5, 1]
    assert bench.metrics.total("reconnects_total", gateway="gw") == 8


async def test_an_outage_is_reported_once_with_its_cause_and_the_last_message() -> None:
    """Failed attempts in between are the same outage."""
    bench = Bench(Script([[b"one"], cut(1012)]), TimeoutError(), Declined(503), Script([[b"two"]]))
    async with bench.running():
        await bench.intake.until(lambda: len(bench.intake.frames) == 2)
        down = bench.intake.events[1]
    assert bench.causes() == ["up", "down:disconnect", "up", "down:stopped"]
    assert down[2] == {"cause": "disconnect", "since": bench.intake.frames[0].received}


async def test_an_outage_is_one_line_and_not_one_for_each_try() -> None:
    """Another reason is another line; who is back says how often it was tried."""
    away = [ConnectionRefusedError(111, "refused") for _ in range(5)]
    bench = Bench(Script([[b"one"], cut(1006)]), *away, Declined(503), Declined(503), Script([[b"two"]]))
    with capture_logs() as logs:
        async with bench.running():
            await bench.intake.until(lambda: len(bench.intake.frames) == 2)
    told = [each for each in logs if each["log_level"] != "debug"]
    assert [each["event"] for each in told] == [
        "gateway_connected",
        *["gateway_disconnected"] * 3,
        "gateway_connected",
    ]
    assert all((each["gateway"], each["connection"]) == ("gw", "list") for each in logs)
    assert told[-1]["failed_before"] == 8
    assert len([each for each in logs if each["log_level"] == "debug"]) == 5


async def test_a_feed_that_never_came_is_missing_since_the_start() -> None:
    """The first attempt that fails opens a gap too."""
    bench = Bench(OSError(101, "Network is unreachable"))
    async with bench.running():
        await bench.intake.until(lambda: bench.causes() == ["down:disconnect"])
    assert bench.intake.events[0][2]["since"] == bench.socket._began


async def test_silence_ends_a_connection_and_any_message_puts_it_off() -> None:
    """Also a control message; then nothing for the time of the watchdog."""
    bench = Bench(
        Script([[b"one"], 0.15, [b"control"], 0.15, [b"control"], 0.15, [b"two"], 9.0]),
        Script([[b"three"]]),
        silence=0.25,
    )
    async with bench.running():
        await bench.intake.until(lambda: len(bench.intake.frames) == 3)
    assert bench.causes() == ["up", "down:silence", "up", "down:stopped"]
    assert bench.metrics.total("reconnects_total", gateway="gw", cause="silence") == 1


async def test_a_long_message_that_is_still_coming_is_no_silence() -> None:
    """Progress counts, a message of 16 MiB takes its time; without progress it is silence."""
    script = Script([0.1, 0.1, 0.1, 0.1, 0.1, 9.0])
    bench = Bench(script, silence=0.2)
    async with bench.running() as task:
        for size in (1, 2, 3):
            script.partial = size
            await asyncio.sleep(0.15)
            assert not script.closed
        await bench.intake.until(lambda: script.closed)
        assert not task.done()
    assert "silence" in bench.causes()[0]


async def test_a_full_journal_stops_reading_and_suspends_the_watchdog() -> None:
    """No message is taken while there is no room, however long that lasts; then it goes on where it was."""
    script = Script([[b"one"], [b"two"], [b"three"]])
    bench = Bench(script, silence=0.05)
    bench.intake.full = True
    async with bench.running():
        await asyncio.wait_for(bench.intake.waiting.wait(), 5)
        await asyncio.sleep(0.15)
        assert [frame.raw for frame in bench.intake.frames] == [b"one"]
        assert not script.closed
        assert bench.socket.status().detail == "not read: the journal is full"
        bench.intake.make_room()
        await bench.intake.until(lambda: len(bench.intake.frames) == 3)
        assert bench.dialect.resumed == 1
        assert bench.causes()[0] == "up"


async def test_a_socket_that_is_not_read_says_so_before_and_after() -> None:
    """From the last frame to the first after it; many frames at once, without the journal's doing, are no such stop."""
    for stalled in (True, False):
        script = Script([[b"one"], [b"two"]])
        bench = Bench(script)
        bench.intake.full, bench.intake.stalled = True, stalled
        async with bench.running():
            await asyncio.wait_for(bench.intake.waiting.wait(), 5)
            heard = bench.intake.frames[0].received
            bench.intake.make_room()
            await bench.intake.until(lambda: len(bench.intake.frames) == 2)  # noqa: B023 - not called after the round
            events = [
                (event, at) for (_, event, _), at in zip(bench.intake.events, bench.intake.positions, strict=True)
            ]
            assert events == ([("up", 0), ("unread", 1), ("read", 1)] if stalled else [("up", 0)])
            assert not stalled or bench.intake.events[1][2] == {"since": heard}


async def test_a_connection_that_ends_while_it_is_not_read_stays_not_read() -> None:
    """There was no first frame after it."""
    bench = Bench(Script([[b"one"], cut(1006)]), Script([[b"two"]]))
    bench.intake.full = bench.intake.stalled = True
    async with bench.running():
        await asyncio.wait_for(bench.intake.waiting.wait(), 5)
        bench.intake.make_room()
        await bench.intake.until(lambda: len(bench.intake.frames) == 2)
    assert bench.causes() == ["up", "unread", "down:journal_full", "up", "down:stopped"]


async def test_an_intake_that_empties_within_a_turn_of_the_loop_stops_nobody() -> None:
    """A large burst is written at the end of the turn that brought it: no pause, no line in the log."""
    bench = Bench(Script([[b"one"], [b"two"]]))
    remember = bench.intake.put

    def put(frame: Frame) -> None:
        remember(frame)
        bench.intake.full = True
        asyncio.get_running_loop().call_soon(bench.intake.make_room)

    bench.intake.put = put  # type: ignore[method-assign]
    async with bench.running():
        await bench.intake.until(lambda: len(bench.intake.frames) == 2)
    assert not bench.intake.waiting.is_set()
    assert bench.dialect.resumed == 0


async def test_a_server_that_drops_a_reader_who_did_not_read_is_the_journals_doing() -> None:
    """The gap says journal_full, not disconnect."""
    bench = Bench(Script([[b"one"], cut(1006)]))
    bench.intake.full = True
    async with bench.running():
        await asyncio.wait_for(bench.intake.waiting.wait(), 5)
        bench.intake.make_room()
        await bench.intake.until(lambda: len(bench.causes()) >= 2)
    assert bench.causes()[1] == "down:journal_full"


async def test_a_refused_key_is_a_state_and_never_tried_again() -> None:
    """The socket ends without an exception and says why; the gap says refused."""
    bench = Bench(Script([[b"one"], cut(4401, "api_key_revoked")]))
    async with bench.running() as task:
        ending = await asyncio.wait_for(task, 5)
    assert ending.verdict is Verdict.FINAL
    assert bench.causes() == ["up", "down:refused"]
    assert bench.socket.status().state == REFUSED
    assert "api_key_revoked" in (bench.socket.status().detail or "")
    assert bench.pauses == []


async def test_trouble_that_passes_is_tried_every_five_minutes() -> None:
    """api_key_auth_disabled is no refusal for good."""
    bench = Bench(Script([cut(4401, "api_key_auth_disabled")]), Script([[b"one"]]))
    async with bench.running():
        await bench.intake.until(lambda: len(bench.intake.frames) == 1)
        assert bench.socket.status().state == LIVE
    assert bench.pauses == [300.0]


async def test_a_stream_that_does_not_exist_is_no_gap() -> None:
    """404 to a detail stream: absent, asked again slowly; where it was up before, it is gone."""
    bench = Bench(Declined(404), Script([[b"one"], cut(1000)]), Declined(404), Script([]))
    async with bench.running():
        await bench.intake.until(lambda: len(bench.connect.urls) == 4)
        assert bench.pauses == [300.0, 0.5, 300.0]
    assert bench.causes() == ["up", "down:disconnect", "gone"]


async def test_absent_shows_in_the_status() -> None:
    """A person sees which match is not there."""
    bench = Bench(Declined(404, body=b'{"detail": "match not found"}'))
    bench.socket._outside = outside()
    async with bench.running():
        await bench.intake.until(lambda: bench.socket.status().state == ABSENT)
        assert bench.socket.status().detail == "HTTP 404: match not found"


async def test_a_stream_that_is_over_leaves_no_gap() -> None:
    """Dismissed, then cancelled: gone, not stopped."""
    bench = Bench(Script([[b"one"]]))
    async with bench.running():
        await bench.intake.until(lambda: len(bench.intake.frames) == 1)
        bench.socket.dismiss()
    assert bench.causes() == ["up", "gone"]


async def test_the_dialect_may_give_up_on_a_connection() -> None:
    """Its timer runs though messages keep coming, and its reason is the cause."""
    bench = Bench(Script([[b"one"], 5.0]), Script([[b"two"]]))
    bench.dialect.drop_on_timer = True
    async with bench.running():
        await bench.intake.until(lambda: len(bench.intake.frames) >= 2)
    assert bench.dialect.timers >= 1
    assert bench.causes()[:2] == ["up", "down:silence"]


async def test_a_probe_feeds_nothing_and_says_what_went_wrong() -> None:
    """`check` uses it: no frame, no event."""
    bench = Bench(Script([[b"one"]]), ConnectionRefusedError(), Script([]))
    assert await bench.socket.probe(5) is None
    refused = await bench.socket.probe(5)
    assert refused is not None
    assert refused.text == "host:1 refuses connections"
    quiet = await bench.socket.probe(0.05)
    assert quiet is not None
    assert "nothing came" in quiet.text
    assert (bench.intake.frames, bench.intake.events) == ([], [])
    assert all(script.closed for script in bench.connect.opened)


async def test_details_are_redacted() -> None:
    """A server that quotes the key back can't make us show it."""
    bench = Bench(Script([cut(1011, "bad request: ?api_key=s3cr3t-marker")]))
    async with bench.running():
        await bench.intake.until(lambda: bool(bench.pauses))
        assert "s3cr3t" not in str(bench.socket.status())


async def test_a_bug_comes_out() -> None:
    """What is no failure of the network is not retried in silence."""
    bench = Bench(KeyError("bug"))
    async with bench.running() as task:
        done, _ = await asyncio.wait([task], timeout=5)
        assert done
        assert isinstance(task.exception(), KeyError)
