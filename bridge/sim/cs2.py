"""A believable world of CS2 matches: what TickTock would see. Pure: chance and time come from outside.

`Cs2World.step(now)` lets one thing happen and returns it as changes. Which things happen depends on the random source
alone, never on `now`, so that a seed gives the same story at any speed; only the times written into it differ.
"""

# ruff: noqa: PLR2004 - chances and lengths of the game are plain numbers
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any, Final
from uuid import UUID

from bridge.sim.change import Change
from bridge.sim.offers import ACTIVE, ROUND_KINDS, SERIES, SUSPENDED, Offer, Settlement, SettlementLog
from bridge.sim.stamps import START_MS, iso_millis, iso_seconds

TEAMS: Final = (
    ("Northgate", ("frosty", "kael", "mirro", "ozzy", "tern")),
    ("Vexil", ("brandt", "cinder", "jolt", "nyx", "sable")),
    ("Ironwood", ("axel", "brigg", "dune", "rook", "vale")),
    ("Karst", ("emmet", "flint", "larch", "quill", "talus")),
    ("Polaris Nine", ("arc", "comet", "drift", "halo", "zenith")),
    ("Söderport", ("björk", "elmo", "gran", "lind", "åska")),
    ("Red Meridian", ("ivo", "koz", "mlad", "radek", "zub")),
    ("Halcyon", ("heron", "kite", "petrel", "swift", "wren")),
    ("Tundra Wolves", ("blizz", "fang", "howl", "pack", "scent")),
    ("Ember & Ash", ("blaze", "coal", "kindle", "soot", "spark")),
)  # fmt: skip
MAPS: Final = ("de_mirage", "de_inferno", "de_nuke", "de_ancient", "de_anubis", "de_dust2", "de_train")
EVENTS: Final = ("Baltic Open 2026", "Harbour Masters Spring", "Continental League S12")
WEAPONS: Final = (
    "ak47",
    "m4a1_silencer",
    "awp",
    "deagle",
    "usp_silencer",
    "glock",
    "mac10",
    "galilar",
    "famas",
    "hegrenade",
)
_PISTOLS: Final = ("usp_silencer", "glock")
_HALF: Final = 12


class Cs2World:
    """Several live matches, some upcoming, some finished; a settlement log over all.

    matches, upcoming: how many at a time. chatter: mean number of odds moves and scoreboard frames between two events
    of the game; it sets how fast matches proceed at a given frame rate. rounds_to_win: of a map (13 in CS2).
    """

    def __init__(
        self,
        rng: Random,
        *,
        now: int = START_MS,
        matches: int = 6,
        upcoming: int = 3,
        chatter: float = 6.0,
        rounds_to_win: int = 13,
        settlement_ids: str = "int",
    ) -> None:
        """A world in the middle of things: matches already run, at different points."""
        self.rng = rng
        self.now = now
        self.chatter = chatter
        self.rounds_to_win = rounds_to_win
        self.log = SettlementLog(rng, ids=settlement_ids)
        self.live: list[Match] = []
        self.upcoming: deque[Match] = deque()
        self.finished: deque[Match] = deque(maxlen=200)
        for _ in range(matches):
            match = Match(self, scheduled_at=now - 60_000)
            for _ in range(2 + rng.randrange(30)):
                match.proceed()
                if match.status == "finished":
                    match = Match(self, scheduled_at=now - 60_000)
            match.proceed()
            self.live.append(match)
        for ahead in range(upcoming):
            self.upcoming.append(Match(self, scheduled_at=now + (ahead + 1) * 1_800_000))

    def step(self, now: int) -> list[Change]:
        """One thing happens at `now` (ms); what is seen of it, in order. Never empty."""
        self.now = now
        rng = self.rng
        match = self.live[int(rng.random() * len(self.live))]
        if rng.random() * (self.chatter + 1.0) >= 1.0:
            return match.chatter()
        changes = match.proceed() or []
        if match.status == "finished":
            changes += self._rotate(match)
        return changes

    def find(self, match_id: str) -> Match | None:
        """The match of that id, in any state, while it is remembered."""
        return next((match for match in (*self.live, *self.upcoming, *self.finished) if match.id == match_id), None)

    def _rotate(self, ended: Match) -> list[Change]:
        """A finished match leaves, the next one begins, and a new one is announced."""
        slot = self.live.index(ended)
        self.finished.append(ended)
        self.live[slot] = following = self.upcoming.popleft() if self.upcoming else Match(self, scheduled_at=self.now)
        announced = Match(self, scheduled_at=self.now + 3_600_000)
        self.upcoming.append(announced)
        return [announced.changed("match.created"), *(following.proceed() or [])]


class Match:
    """One series. `proceed` is the next event of the game, `chatter` what goes on in between."""

    def __init__(self, world: Cs2World, *, scheduled_at: int) -> None:
        """An upcoming match of two random teams."""
        rng = world.rng
        self.world = world
        self.id = str(UUID(int=rng.getrandbits(128), version=4))
        self.teams = rng.sample(TEAMS, 2)
        self.event = rng.choice(EVENTS)
        self.best_of = rng.choice((1, 3, 3, 3))
        self.veto = rng.sample(MAPS, self.best_of)
        self.status = "upcoming"
        self.scheduled_at = scheduled_at
        self.started_at: int | None = None
        self.finished_at: int | None = None
        self.score = [0, 0]
        self.maps: list[dict[str, Any]] = []
        self.round_number = 0
        self.rounds: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._open: list[Offer] = []
        self._clock = 0.0
        self._delay = rng.choice((0, 30, 60))
        self._oddin = f"od:match:{rng.randrange(10_000, 99_999)}"
        self._life = self._play()

    def proceed(self) -> list[Change] | None:
        """The next event of the game; None when the match is over."""
        return next(self._life, None)

    def chatter(self) -> list[Change]:
        """An odds move mostly, now and then a suspension or a look at the scoreboard."""
        rng, offers = self.world.rng, self._open
        draw = rng.random()
        if not offers or draw < 0.12:
            return [self._scoreboard()]
        offer = offers[int(rng.random() * len(offers))]
        if offer.status == SUSPENDED:
            offer.status = ACTIVE
            return [self._offered("market.unsuspended", offer)]
        if draw < 0.15:
            offer.status = SUSPENDED
            return [self._offered("market.suspended", offer)]
        offer.move()
        return [self._offered("market.updated", offer)]

    def active_offers(self) -> list[Offer]:
        """Offers that are neither settled nor cancelled."""
        return list(self._open)

    def changed(self, kind: str) -> Change:
        """A match.* frame of the present state."""
        return Change(kind, self.id, self.data(), state=self.id)

    def data(self) -> dict[str, Any]:
        """List and read fields (S-MATCH) and the internal ones; who sees which is the gateway's business."""
        current = self.maps[-1] if self.maps else None
        data: dict[str, Any] = {
            "id": self.id,
            "team_a": self.teams[0][0],
            "team_b": self.teams[1][0],
            "event": self.event,
            "bo_type": f"bo{self.best_of}",
            "status": self.status,
            "scheduled_at": iso_seconds(self.scheduled_at),
            "score_a": self.score[0],
            "score_b": self.score[1],
            "oddin_match_id": self._oddin,
            "data_delay_seconds": self._delay,
            "maps": [dict(entry) for entry in self.maps],
        }
        if self.status != "upcoming":
            data["team_a_logo"] = f"https://cdn.example/logos/{self.teams[0][0].lower().replace(' ', '-')}.png"
            data["team_b_logo"] = f"https://cdn.example/logos/{self.teams[1][0].lower().replace(' ', '-')}.png"
        if current is not None:
            data["map_name"] = current["map_name"]
        if self.started_at is not None:
            data["started_at"] = iso_seconds(self.started_at)
        if self.finished_at is not None:
            data["finished_at"] = iso_seconds(self.finished_at)
        return data

    # The story of a match: a generator that stops after each event of the game. Time is the world's.

    def _play(self) -> Iterator[list[Change]]:
        world = self.world
        self.status, self.started_at = "live", world.now
        series = self._offer(SERIES)
        yield [self.changed("match.updated"), self._offered("market.created", series)]
        needed = self.best_of // 2 + 1
        while max(self.score) < needed:
            yield from self._map()
        self.status, self.finished_at = "finished", world.now
        leftover = [change for offer in tuple(self._open) for change in self._settle(offer)]
        yield [self.changed("match.finished"), *leftover]

    def _map(self) -> Iterator[list[Change]]:
        number = len(self.maps) + 1
        entry: dict[str, Any] = {"map_number": number, "map_name": self.veto[number - 1], "score_a": 0, "score_b": 0}
        self.maps.append(entry)
        yield [self.changed("match.updated")]
        for round_number in count(1):
            yield from self._round(entry, round_number)
            high, low = max(entry["score_a"], entry["score_b"]), min(entry["score_a"], entry["score_b"])
            if high >= self.world.rounds_to_win and high - low > 1:
                break
        self.score[0 if entry["score_a"] > entry["score_b"] else 1] += 1
        entry["winner"] = self.teams[0 if entry["score_a"] > entry["score_b"] else 1][0]
        stale = [change for offer in tuple(self._open) if offer.round_number for change in self._settle(offer)]
        yield [self.changed("match.updated"), *stale]

    def _round(self, entry: dict[str, Any], number: int) -> Iterator[list[Change]]:
        rng = self.world.rng
        self.round_number, self._clock = number, 0.0
        where = {
            "match_id": self.id,
            "map_number": entry["map_number"],
            "map_name": entry["map_name"],
            "round_number": number,
        }
        ahead = [
            self._offer(kind, map_number=entry["map_number"], round_number=number + 1)
            for kind in rng.sample(ROUND_KINDS, rng.randrange(2, len(ROUND_KINDS)))
        ]
        yield [
            Change("round.started", self.id, dict(where)),
            *(self._offered("market.created", offer) for offer in ahead),
        ]
        # Team 0 begins as CT; sides change after the half.
        sides = ("CT", "T") if number <= _HALF else ("T", "CT")
        alive = [list(self.teams[0][1]), list(self.teams[1][1])]
        terrorists = sides.index("T")
        site: str | None = None
        winner, reason = None, ""
        while winner is None:
            self._clock += rng.uniform(2.0, 14.0)
            draw = rng.random()
            if site is None and draw < 0.14 and alive[terrorists]:
                site = rng.choice("AB")
                yield [self._happened("bomb_planted", where, actor=rng.choice(alive[terrorists]), side="T", site=site)]
            elif site is not None and draw < 0.12:
                winner, reason = 1 - terrorists, "defuse"
                yield [
                    self._happened("bomb_defused", where, actor=rng.choice(alive[1 - terrorists]), side="CT", site=site)
                ]
            elif site is not None and draw < 0.22:
                winner, reason = terrorists, "bomb"
                yield [self._happened("bomb_exploded", where, actor=None, side="T", site=site)]
            elif site is None and draw > 0.97:
                winner, reason = 1 - terrorists, "time"
            else:
                killer = rng.randrange(2)
                victim = alive[1 - killer].pop(rng.randrange(len(alive[1 - killer])))
                yield [self._killed(where, rng.choice(alive[killer]), victim, sides[killer], sides[1 - killer])]
                if not alive[1 - killer]:
                    winner, reason = killer, "kills"
        entry["score_a" if winner == 0 else "score_b"] += 1
        result = {
            **where, "winner": self.teams[winner][0], "winner_side": sides[winner], "win_reason": reason,
            "score_a": entry["score_a"], "score_b": entry["score_b"],
        }  # fmt: skip
        if site is not None:
            result["bomb_site"] = site
        yield self._round_over(result)

    def _round_over(self, result: dict[str, Any]) -> list[Change]:
        rng, log = self.world.rng, self.world.log
        self.rounds.append(result)
        where = (result["map_number"], result["round_number"])
        due = [offer for offer in self._open if (offer.map_number, offer.round_number) == where]
        suspended = []
        for offer in due:
            if offer.status != SUSPENDED:
                offer.status = SUSPENDED
                suspended.append(self._offered("market.suspended", offer))
        finished = [Change("round.finished", self.id, dict(result)), self.changed("match.updated")]
        settled = [change for offer in due for change in self._settle(offer)]
        if settled and rng.random() < 0.1:
            # A correction of something settled before: same offer, new entry.
            settled.append(self._settled(log.correct(rng.choice(log.entries[-50:]), self.world.now)))
        # Inside one poll tick the order is not documented: a settlement may precede its round's end (3.2).
        return [*suspended, *settled, *finished] if rng.random() < 0.2 else [*suspended, *finished, *settled]

    def _offer(self, kind: Any, *, map_number: int = 0, round_number: int = 0) -> Offer:
        offer = Offer(self.world.rng, self.id, kind, map_number=map_number, round_number=round_number)
        self._open.append(offer)
        return offer

    def _settle(self, offer: Offer) -> list[Change]:
        self._open.remove(offer)
        return [self._settled(self.world.log.settle(offer, self.world.now))]

    def _settled(self, entry: Settlement) -> Change:
        return Change("bet_settlement", entry.match_id, entry.as_json())

    def _offered(self, kind: str, offer: Offer) -> Change:
        return Change(kind, self.id, offer.data(), state=offer.id)

    def _killed(self, where: dict[str, Any], actor: str, target: str, side: str, victim_side: str) -> Change:
        rng = self.world.rng
        return self._happened(
            "kill", where, actor=actor, target=target, weapon=rng.choice(WEAPONS), side=side, victim_side=victim_side,
            headshot=rng.random() < 0.45,
        )  # fmt: skip

    def _happened(self, kind: str, where: dict[str, Any], **members: Any) -> Change:
        data = {
            **where, "type": kind, **{name: value for name, value in members.items() if value is not None},
            "time": iso_millis(self.world.now), "time_offset_seconds": round(self._clock, 3),
        }  # fmt: skip
        self.events.append(data)
        return Change(f"event.{kind}", self.id, dict(data))

    def _scoreboard(self) -> Change:
        rng = self.world.rng
        bits = rng.getrandbits(120)
        players = []
        for team, (name, members) in enumerate(self.teams):
            side = "CT" if (team == 0) == (self.round_number <= _HALF) else "T"
            for player in members:
                bits, roll = divmod(bits, 4096)
                players.append({
                    "name": player, "team": name, "side": side, "hp": roll % 101, "money": roll % 160 * 100,
                    "weapon": WEAPONS[roll % len(WEAPONS)] if self.round_number > 1 else _PISTOLS[roll % 2],
                })  # fmt: skip
        data = {
            "match_id": self.id,
            "map_number": len(self.maps),
            "round_number": self.round_number,
            "players": players,
        }
        return Change("scoreboard.frame", self.id, data, state=f"scoreboard:{self.id}")
