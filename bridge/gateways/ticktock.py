"""TickTock: the stream of all matches, or a stream for each match (contract, sections 1 to 3).

The client says nothing on these sockets: the key rides in the URL, what the key may not see never comes, and the server's
`alive` is the only keep-alive. So the dialect is nearly empty, and most of this module decides which streams to hold.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal
from urllib.parse import quote

import msgspec
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from bridge.errors import BadData, Refused, Unreachable
from bridge.finding import Finding
from bridge.gateways.dialect import Dialect, Reaction
from bridge.gateways.fleet import RELOADABLE, Fleet
from bridge.gateways.gateway import ABSENT, LIVE, Gateway, GatewaySettings, GatewayStatus, Intake, Outside
from bridge.gateways.gist import Gist, nested
from bridge.gateways.hole import Recoverer, RecoverySettings
from bridge.gateways.matches import Matches
from bridge.gateways.offers import Offers, homeless
from bridge.gateways.rest import Rest, decode
from bridge.gateways.retry import SLOW, Verdict
from bridge.gateways.ticktock_recovery import TickTockRecoverer
from bridge.settings import AmqpUrl, Duration, RestSettings, Settings, Token, Url

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.gateways.amqp import AmqpReplay
    from bridge.gateways.replay import Outcome
    from bridge.ops.metrics import Metrics

LIST: Final = "list"
#: The scope that each frame type needs (contract 1.4); what the key lacks never comes, without a word.
SCOPES: Final = {
    "cs2:stream:matches": (
        "match.created", "match.updated", "match.finished", "round.started", "round.finished",
        "event.kill", "event.bomb_planted", "event.bomb_defused", "event.bomb_exploded",
    ),
    "cs2:stream:markets": (
        "market.created", "market.updated", "market.suspended", "market.unsuspended", "bet_settlement",
    ),
    "cs2:stream:scoreboard": ("scoreboard.frame",),
}  # fmt: skip
_SPORT: Final = "cs2"
#: Half of what a key may ask by default (contract 1.2): the customer's own programs use the same key.
_CALLS_PER_MINUTE: Final = 300.0
#: The most rows that a list has (contract 5.1).
_LIST_LIMIT: Final = 200
#: Seconds within which a good stream says something: `alive` comes every 10 s.
_PROBE: Final = 15.0
#: Seconds that streams which replace others may take to come up, and between looks.
_HANDOVER: Final = 10.0
_LOOK: Final = 0.1


class AmqpSettings(Settings):
    """Where TickTock publishes odds and recovery replays."""

    url: AmqpUrl = Field(description="With user, password and virtual host.")
    exchange: str = Field("ttfeed", min_length=1, description="The exchange to bind to.")
    queue: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="A queue that exists and gets everything. Left out: one is made for each replay.",
    )
    patience: Duration = Field(
        60.0, gt=0, description="A replay of which nothing comes for so long is asked for once more, then given up."
    )


class TickTockRecoverySettings(RecoverySettings):
    """How gaps are filled."""

    interval: Duration = Field(
        60.0, ge=1, description="How often the log of settlements is read to its end while nothing is missing."
    )
    amqp: AmqpSettings | None = Field(None, description="The AMQP replay.")


def _each_once(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


class TickTockSettings(GatewaySettings):
    """`kind: ticktock`."""

    kind: Literal["ticktock"] = Field(description="The kind of gateway.")
    api_key: Token = Field(description="The tenant's key.")
    matches: (
        Literal["all", "live"]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=1), AfterValidator(_each_once)
        ]
    ) = Field(
        "all",
        description="`all`: the stream of all matches. `live`: a stream for each live match, fresher, needs `rest`. A list "
        "of match ids: a stream for each.",
    )
    live_interval: Duration = Field(15.0, ge=1, description="How often the list of live matches is read.")
    live_limit: int = Field(100, ge=1, description="How many such streams are held at most; the first in the list are.")
    rest: RestSettings | None = Field(None, description="Left out: no look-ups and no backfill.")
    recovery: TickTockRecoverySettings = Field(TickTockRecoverySettings(), description="How gaps are filled.")

    @model_validator(mode="after")
    def _live_needs_rest(self) -> TickTockSettings:
        if self.matches == "live" and self.rest is None:
            raise PydanticCustomError("live_rest", "`matches: live` needs `rest`, which lists the live matches")
        return self


class TickTock(Gateway):
    """TickTock's streams."""

    kind: ClassVar[str] = "ticktock"
    Settings: ClassVar[type[GatewaySettings]] = TickTockSettings
    reloadable: ClassVar[frozenset[str]] = RELOADABLE | {"api_key", "matches", "live_interval", "live_limit"}

    def __init__(
        self,
        name: str,
        settings: TickTockSettings,
        *,
        intake: Intake,
        metrics: Metrics,
        log: FilteringBoundLogger | None = None,
        outside: Outside | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """See `Gateway`."""
        self._settings = settings
        #: Set when other settings are in force: `run` looks again what to hold.
        self._news = asyncio.Event()
        #: Frames of markets have come that do not say of which match.
        self._homeless = False
        self._fleet = Fleet(
            name, self.kind, settings, intake=intake, metrics=metrics, log=log, outside=outside, tls=tls
        )
        self._rest: Rest | None = None
        if settings.rest is not None:
            self._rest = Rest(
                settings.rest.url,
                {"X-API-Key": settings.api_key.reveal()},
                per_minute=_CALLS_PER_MINUTE,
                outside=self._fleet.outside,
                tls=tls,
            )
        self._amqp: AmqpReplay | None = None
        if settings.recovery.amqp is not None:
            from bridge.gateways.amqp import AmqpReplay  # its client takes a while to import

            self._amqp = AmqpReplay(
                name,
                settings.recovery.amqp,
                rest=self._rest,
                intake=intake,
                outside=self._fleet.outside,
                log=self._fleet.log,
                connect_timeout=settings.connect_timeout,
                tls=tls,
            )

    @property
    def name(self) -> str:
        """The user's name for it."""
        return self._fleet.name

    @property
    def recoverer(self) -> Recoverer | None:
        """See `Gateway`."""
        if self._rest is None:  # a replay over AMQP is asked for over REST too
            return None
        replay = None if self._amqp is None else self._amqp.replay
        return TickTockRecoverer(
            self._settings.recovery,
            self._rest,
            replay,
            interval=self._settings.recovery.interval,
            now=self._fleet.outside.wall,
        )

    async def run(self) -> None:
        """Hold the streams until cancelled."""
        try:
            async with self._fleet.sail() as group:
                while True:
                    self._news.clear()
                    await self._introduce()
                    holding = group.create_task(self._hold(), name=f"{self.name} streams")
                    await self._news.wait()
                    holding.cancel()
                    await asyncio.wait([holding])
        finally:
            if self._rest is not None:
                await self._rest.close()

    def configure(self, settings: TickTockSettings) -> None:
        """See `Gateway`."""
        before, self._settings = self._settings, settings
        self._fleet.configure(settings)
        if settings.api_key != before.api_key:
            if self._rest is not None:
                self._rest.authenticate({"X-API-Key": settings.api_key.reveal()})
            self._fleet.renew()
        self._news.set()

    async def replay(self, since: int) -> Outcome | None:
        """Have TickTock publish over AMQP what happened since `since` (ms since the epoch); None where that is not set up.

        Returns when all of it is committed, or has failed; cancelled, it leaves what is not committed to the next one.
        """
        return None if self._amqp is None else await self._amqp.replay(since)

    def status(self) -> GatewayStatus:
        """Return how the streams stand."""
        return self._fleet.status()

    async def check(self) -> list[Finding]:
        """Ask what the key may see, and open each kind of stream once."""
        found: list[Finding] = []
        try:
            if self._rest is not None:
                found += await self._check_rest(self._rest)
            for name, dialect, _ in self._streams(await self._to_probe(found)):
                found.append(await self._probe(name, dialect))
            if self._amqp is not None:
                found += await self._amqp.check()
        finally:
            if self._rest is not None:
                await self._rest.close()
        return found

    # Streams

    def _streams(self, matches: list[str] | None) -> list[tuple[str, Dialect, str | None]]:
        """Return name, dialect and hint of the streams of these matches; None: of the stream of all."""
        if matches is None:
            return [(LIST, self._dialect(None), None)]
        return [(f"match:{match}", self._dialect(match), match) for match in matches]

    def _dialect(self, match: str | None) -> Dialect:
        look = self._look if match is None and self._rest is not None else None
        return Stream(self._settings.url, self._key, match, look=look)

    def _key(self) -> str:
        return self._settings.api_key.reveal()

    async def _introduce(self) -> None:
        """Ask REST who we are: a missing scope and a quiet feed look the same on the wire (contract 1.1)."""
        if self._rest is None:
            return
        try:
            whoami = _whoami(await self._rest.get("/v1/whoami"))
        except (Refused, Unreachable, BadData) as error:
            # The stream has the last word: it is asked all the same.
            self._fleet.log.warning("gateway_scopes_unknown", reason=str(error))
        else:
            missing = _missing(whoami)
            self._fleet.log.info("gateway_scopes", scopes=whoami.scopes, sports=whoami.sport_allowlist)
            self._fleet.note = None
            self._fleet.sees, self._fleet.lacks = sorted(whoami.scopes), missing
            if missing:
                self._fleet.note = f"the key does not cover {', '.join(missing)}: such frames will never come"
                self._fleet.log.warning("gateway_frames_not_covered", types=missing)
            if whoami.sport_allowlist and _SPORT not in whoami.sport_allowlist:
                self._fleet.note = f"the key is not allowed the sport {_SPORT}: nothing will come"
                self._fleet.log.warning("gateway_sport_not_allowed", sports=whoami.sport_allowlist)

    async def _hold(self) -> None:
        """Hold the streams that the settings want; those that another setting wanted go when the new ones are there."""
        self._fleet.idle = False
        matches = self._settings.matches
        if matches == "live":
            await self._follow()
            return
        wanted = {name: (dialect, hint) for name, dialect, hint in self._streams(None if matches == "all" else matches)}
        for name, (dialect, hint) in wanted.items():
            if self._fleet.state(name) is None:
                self._fleet.open(name, dialect, hint=hint)
        await self._leave([name for name in self._fleet.sockets if name not in wanted], wanted)
        if matches == "all" and self._rest is not None:
            await self._offers(self._rest).run()

    async def _leave(self, names: list[str], others: Collection[str]) -> None:
        """Close streams that are wanted no more. others: which are to be there first, if they come soon."""
        if not names:
            return
        monotonic = self._fleet.outside.monotonic
        until = monotonic() + _HANDOVER
        while monotonic() < until and not all(self._fleet.state(each) == LIVE for each in others):
            await self._fleet.outside.sleep(_LOOK)
        for name in names:
            await self._fleet.close(name)

    async def _follow(self) -> None:
        """Hold a stream for each live match; returns where REST refuses the key."""
        assert self._rest is not None  # noqa: S101 - the settings say so
        # What is open is left when it is not listed for a while, as any match; the stream of all matches at once.
        held = [name.partition(":")[2] for name in self._fleet.sockets if name != LIST]
        matches = Matches(self._settings.live_limit, held=held, now=self._fleet.outside.monotonic())
        while not self._fleet.refused:
            try:
                live = await self._live(self._rest)
            except Refused as error:
                self._fleet.refuse(str(error))
                return
            except (Unreachable, BadData) as error:
                self._fleet.log.warning("gateway_matches_unknown", reason=str(error))
            else:
                self._fleet.idle = True
                turn = matches.listed(live, self._fleet.outside.monotonic())
                for match in turn.close:
                    await self._fleet.close(f"match:{match}")
                for match in turn.hold:
                    await self._want(match)
                if self._fleet.state(LIST) is not None:
                    await self._leave([LIST], [f"match:{match}" for match in turn.hold])
                if turn.left_out:
                    self._fleet.log.warning("gateway_matches_left_out", count=len(turn.left_out))
            await self._fleet.outside.sleep(self._settings.live_interval)

    def _offers(self, rest: Rest) -> Offers:
        """What looks up whose a market is, if frames of the list stream do not say."""

        def needed() -> bool:
            found, self._homeless = self._homeless, False
            return found

        return Offers(
            rest,
            live=lambda: self._live(rest),
            needed=needed,
            learn=lambda pairs: self._fleet.intake.learn(self.name, pairs),
            interval=self._settings.live_interval,
            outside=self._fleet.outside,
            log=self._fleet.log,
        )

    def _look(self, raw: bytes) -> None:
        self._homeless = self._homeless or homeless(raw)

    async def _want(self, match: str) -> None:
        for name, dialect, hint in self._streams([match]):
            if self._fleet.state(name) == ABSENT:
                # The list is ahead of the stream: look again sooner than for a match that nobody lists.
                await self._fleet.close(name)
            if self._fleet.state(name) is None and not self._fleet.refused:
                self._fleet.open(name, dialect, hint=hint)

    async def _live(self, rest: Rest) -> list[str]:
        """Return the ids of the live matches (contract 5.1)."""
        rows = decode(await rest.get("/cs2/v1/matches", status="live", limit=_LIST_LIMIT), _Matches).data
        if len(rows) >= _LIST_LIMIT:
            self._fleet.log.warning("gateway_matches_cut", rows=len(rows))
        return [row.id for row in rows]

    # Check

    async def _check_rest(self, rest: Rest) -> list[Finding]:
        try:
            whoami = _whoami(await rest.get("/v1/whoami"))
        except (Refused, Unreachable, BadData) as error:
            return [Finding(self.name, ok=False, text=f"REST: {self._fleet.told(error)}")]
        found = [Finding(self.name, ok=True, text=f"the key is known as {whoami.name}")]
        missing = _missing(whoami)
        if missing:
            text = f"the key's scopes do not cover {', '.join(missing)}: such frames will never come"
            found.append(Finding(self.name, ok=len(missing) < sum(map(len, SCOPES.values())), text=text))
        else:
            found.append(Finding(self.name, ok=True, text="the key's scopes cover all frame types"))
        if whoami.sport_allowlist and _SPORT not in whoami.sport_allowlist:
            found.append(Finding(self.name, ok=False, text=f"the key is not allowed the sport {_SPORT}"))
        return found

    async def _to_probe(self, found: list[Finding]) -> list[str] | None:
        """Return the matches whose streams `check` opens."""
        if self._settings.matches == "all":
            return None
        if self._settings.matches != "live":
            return self._settings.matches
        assert self._rest is not None  # noqa: S101 - the settings say so
        try:
            live = await self._live(self._rest)
        except (Refused, Unreachable, BadData) as error:
            found.append(Finding(self.name, ok=False, text=f"the list of live matches: {error}"))
            return []
        found.append(Finding(self.name, ok=True, text=f"{len(live)} matches are live"))
        return live[:1]

    async def _probe(self, name: str, dialect: Dialect) -> Finding:
        what = "the stream of all matches" if name == LIST else f"the stream of {name.replace(':', ' ')}"
        ending = await self._fleet.socket(name, dialect).probe(_PROBE)
        if ending is None:
            return Finding(self.name, ok=True, text=f"{what} is open and frames come")
        if ending.verdict is Verdict.ABSENT:
            return Finding(
                self.name, ok=False, text=f"{what} does not exist now; it is tried every {SLOW / 60:g} minutes"
            )
        return Finding(self.name, ok=False, text=f"{what}: {ending.text}")


class Stream(Dialect):
    """The list stream, or the detail stream of a match. key: returns the key; it must be in the URL. look: is shown frames."""

    def __init__(
        self, url: Url, key: Callable[[], str], match: str | None, *, look: Callable[[bytes], None] | None = None
    ) -> None:
        """See the class."""
        self._url = url
        self._base = f"{url.origin}{url.path.rstrip('/')}/cs2/v1/stream"
        self._key = key
        self._match = match
        self._show = look
        self.absent = match is not None

    def url(self) -> str:
        """Return the URL, key and all."""
        place = self._base if self._match is None else f"{self._base}/{quote(self._match, safe='')}"
        return f"{place}?api_key={quote(self._key(), safe='')}"

    def headers(self) -> dict[str, str]:
        """Return none: a key in a header is not looked at (contract 1.1)."""
        return {}

    def on_open(self, now: float) -> Reaction:  # noqa: ARG002 - no deadlines
        """Wait for the snapshot or the first alive."""
        self.up = self.healthy = False
        return Reaction()

    def on_messages(self, messages: list[bytes], now: float) -> Reaction:  # noqa: ARG002 - no deadlines
        """Take everything for frames, `alive` too."""
        self.up = self.healthy = True
        if self._show is not None:
            # One of each turn of the loop will do: a feed whose frames do not say it has many.
            self._show(messages[-1])
        return Reaction(messages)

    def renew(self) -> Stream:
        """Return another of the same stream."""
        return Stream(self._url, self._key, self._match, look=self._show)

    def gist(self, raw: bytes) -> Gist:
        """See `bridge.gateways.gist`."""
        return nested(raw)


class _Whoami(msgspec.Struct):
    scopes: list[str] = []
    sport_allowlist: list[str] = []
    name: str = "unnamed"


class _WhoamiAnswer(msgspec.Struct):
    data: _Whoami


class _Match(msgspec.Struct):
    id: str


class _Matches(msgspec.Struct):
    data: list[_Match]


def _whoami(body: bytes) -> _Whoami:
    return decode(body, _WhoamiAnswer).data


def _missing(whoami: _Whoami) -> list[str]:
    """Return the frame types that the key's scopes do not cover."""
    return [frame for scope, frames in SCOPES.items() if scope not in whoami.scopes for frame in frames]


KINDS: Final[tuple[type[Gateway], ...]] = (TickTock,)

__all__ = ["KINDS", "Stream", "TickTock", "TickTockSettings"]
