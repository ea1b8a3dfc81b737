"""TickTock's frames: a CS2 world, numbered, wrapped in the envelope and filtered by scope. Pure.

Envelope (contract 2.1): ``{"type": …, "data": {…}, "meta": {"ts": …, "seq": …}}``. What the contract leaves open is a knob.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from bridge.sim.change import Change, Outgoing
from bridge.sim.cs2 import Cs2World, Match
from bridge.sim.faults import Faults, Injector, with_data
from bridge.sim.offers import Offer
from bridge.sim.stamps import START_MS, iso_millis

LIST: Final = "list"
_MATCHES, _MARKETS, _SCOREBOARD = "cs2:stream:matches", "cs2:stream:markets", "cs2:stream:scoreboard"
_READ, _DETAIL, _OFFERS = "cs2:matches:read", "cs2:matches:detail", "cs2:markets:read"
_INTERNALS: Final = "cs2:matches:internals"

#: Scope that a frame's type needs (1.4).
SCOPE_OF: Final = {
    **dict.fromkeys(("match.created", "match.updated", "match.finished", "round.started", "round.finished"), _MATCHES),
    **dict.fromkeys(("event.kill", "event.bomb_planted", "event.bomb_defused", "event.bomb_exploded"), _MATCHES),
    **dict.fromkeys(("market.created", "market.updated", "market.suspended", "market.unsuspended"), _MARKETS),
    "bet_settlement": _MARKETS,
    "scoreboard.frame": _SCOREBOARD,
}
#: Match fields beyond the list scope (2.4).
_FIELD_SCOPES: Final = {
    "started_at": _READ, "finished_at": _READ, "maps": _READ, "rounds": _DETAIL, "events": _DETAIL, "markets": _OFFERS,
    "oddin_match_id": _INTERNALS, "data_delay_seconds": _INTERNALS,
}  # fmt: skip


class TickTockKnobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the contract leaves open, or a test wants otherwise.

    alive_every: s, None: never. alive_shape: with type and meta, without (as REST), or both in turn (2.3).
    snapshot: on connect. snapshot_seq: numbers of its own (``new``), those the state had when it was sent (``same``), or the channel's
    numbers begin anew with it (``reset``). snapshot_type: the suffix of its match.* and market.* frames. snapshot_shuffled: in no order.
    seq_scope: one count for all channels, one per channel, or one per connection from 1. market_match_id: market.* says whose it is.
    market_status: number or text. settlement_ids, result_key, settlements_order: see contract 6.2, 6.3, 5.3.
    mirror: match.* frames carry the base fields or all that the key may see. list_omits: type prefixes that the list channel
    lacks. matches, upcoming, rounds_to_win: see `Cs2World`. rate_limit: REST requests a minute and key, 0: none.
    hide_unknown_match: 404 for an unknown match on the detail stream, otherwise an idle socket.
    """

    alive_every: float | None = 10.0
    alive_shape: Literal["envelope", "plain", "alternate"] = "alternate"
    snapshot: bool = True
    snapshot_seq: Literal["new", "same", "reset"] = "new"
    snapshot_type: Literal["created", "updated"] = "updated"
    snapshot_shuffled: bool = False
    seq_scope: Literal["shared", "channel", "connection"] = "shared"
    first_seq: int = 481_234
    market_match_id: bool = True
    market_status: Literal["number", "text"] = "number"
    settlement_ids: Literal["int", "uuid"] = "int"
    result_key: Literal["outcome", "result"] = "outcome"
    settlements_order: Literal["asc", "desc"] = "asc"
    mirror: Literal["base", "full"] = "base"
    list_omits: tuple[str, ...] = ()
    matches: int = 6
    upcoming: int = 3
    rounds_to_win: int = 13
    rate_limit: int = 600
    hide_unknown_match: bool = True


class TickTockStream:
    """The frames of all channels. `take` makes them, `render` gives the bytes that a key sees on a channel."""

    def __init__(self, seed: int, *, knobs: TickTockKnobs | None = None, now: int = START_MS) -> None:
        """The world of that seed, at its beginning."""
        self.knobs = knobs or TickTockKnobs()
        self.world = Cs2World(
            Random(f"{seed}:cs2"), now=now, matches=self.knobs.matches, upcoming=self.knobs.upcoming,
            rounds_to_win=self.knobs.rounds_to_win, settlement_ids=self.knobs.settlement_ids,
        )  # fmt: skip
        self._injector = Injector(Faults(), Random(f"{seed}:faults"), _Dialect())
        self._shuffle = Random(f"{seed}:shuffle")
        self._ready: list[Outgoing] = []
        self._seq = self.knobs.first_seq
        self._detail_seq: dict[str, int] = {}
        #: The numbers and time of the last frame of each match and market, for snapshots that repeat them.
        self._last: dict[str, tuple[int, int, int]] = {}
        self._hidden_by: dict[frozenset[str], frozenset[str]] = {}
        self._stamp = (0, b"")

    # Source

    def take(self, count: int, now: int) -> list[Outgoing]:
        """The next `count` frames, leaving at `now` (ms)."""
        ready, step, injector = self._ready, self.world.step, self._injector
        while len(ready) < count:
            changes = step(now)
            if self.knobs.mirror == "full":
                self._mirror(changes)
            if injector.idle:
                ready.extend(self._number(Outgoing(change, now)) for change in changes)
            else:
                ready.extend(injector.pass_through(changes, now, self._number))
        self._ready = ready[count:]
        del ready[count:]
        return ready

    def drain(self) -> list[Outgoing]:
        """What the world has already lived through but `take` has not given out: to be sent before any snapshot."""
        rest, self._ready = self._ready, []
        return rest

    def set_faults(self, faults: Faults) -> None:
        """Other fault rates from the next frame on."""
        self._injector.set(faults)

    def set_pace(self, rate: float | None) -> None:
        """About one event of the game per second and match, whatever the frame rate: the rest is odds and scoreboards."""
        per_match = (rate or 20_000.0) / max(1, self.knobs.matches)
        self.world.chatter = max(2.0, per_match - 1.0)

    def reset_seq(self) -> None:
        """All counts begin anew at 1."""
        self._seq = 1
        self._detail_seq.clear()
        self._last.clear()

    def next_seq(self, match_id: str | None) -> int:
        """The number that the next frame of a channel will have (None: the list)."""
        if match_id is None or self.knobs.seq_scope != "channel":
            return self._seq
        return self._detail_seq.get(match_id, self.knobs.first_seq)

    def snapshot(self, match_id: str | None, now: int) -> list[Outgoing]:
        """What a new connection is sent first (3.1): live matches and active markets, of all or of one match."""
        knobs = self.knobs
        if knobs.snapshot_seq == "reset":
            if match_id is None or knobs.seq_scope != "channel":
                self._seq = 1
            else:
                self._detail_seq[match_id] = 1
        changes: list[Change] = []
        for match in self._snapshot_matches(match_id):
            changes.append(match.changed(f"match.{knobs.snapshot_type}"))
            if knobs.mirror == "full":
                self._mirror(changes[-1:])
            changes += [
                Change(f"market.{knobs.snapshot_type}", match.id, offer.data(), state=offer.id) for offer in match.active_offers()
            ]  # fmt: skip
        if knobs.snapshot_shuffled:
            self._shuffle.shuffle(changes)
        frames = []
        for change in changes:
            last = self._last.get(change.state or "") if knobs.snapshot_seq == "same" else None
            if last is not None:
                frames.append(Outgoing(change, last[2], seq=last[0], detail_seq=last[1]))
            else:
                frames.append(self._number(Outgoing(change, now), match_id))
        return frames

    # Rendering

    def render(self, frame: Outgoing, scopes: frozenset[str], *, detail: bool = False, base: int = 0) -> bytes | None:
        """The frame as a key with `scopes` sees it; None where it may not. base: subtracted from the number."""
        kind = frame.change.type
        needed = SCOPE_OF.get(kind)
        if needed is not None and needed not in scopes:
            return None
        if frame.literal is not None:
            return frame.literal
        seq = (frame.detail_seq if detail else frame.seq) - base
        view = (scopes if kind.startswith("match.") else None, seq)
        raw = frame.rendered.get(view)
        if raw is None:
            raw = frame.rendered[view] = envelope(kind, self._seen(frame.change, scopes), self._iso(frame.at), seq)
        return raw

    def on_list(self, frame: Outgoing) -> bool:
        """Whether the list channel carries frames of this type."""
        return not (self.knobs.list_omits and frame.change.type.startswith(self.knobs.list_omits))

    def match_data(self, match: Match, scopes: frozenset[str], *, full: bool = True) -> dict[str, Any]:
        """A match as REST shows it to a key: fields outside its scopes are absent, never null (2.4)."""
        data = match.data() | (self._history(match) if full else {})
        hidden = self._hidden(scopes)
        return {name: value for name, value in data.items() if name not in hidden}

    def offer_data(self, offer: Offer) -> dict[str, Any]:
        """A market as frames and REST show it."""
        return self._knobbed("market.", offer.data())

    def settlement_data(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A settlement entry as frames show it."""
        return self._knobbed("bet_settlement", entry)

    def _seen(self, change: Change, scopes: frozenset[str]) -> dict[str, Any]:
        if change.type.startswith("match."):
            hidden = self._hidden(scopes)
            return {name: value for name, value in change.data.items() if name not in hidden}
        return self._knobbed(change.type, change.data)

    def _hidden(self, scopes: frozenset[str]) -> frozenset[str]:
        hidden = self._hidden_by.get(scopes)
        if hidden is None:
            hidden = frozenset(name for name, scope in _FIELD_SCOPES.items() if scope not in scopes)
            self._hidden_by[scopes] = hidden
        return hidden

    def _mirror(self, changes: list[Change]) -> None:
        for change in changes:
            match = self.world.find(change.entity) if change.type.startswith("match.") else None
            if match is not None:
                change.data.update(self._history(match))

    def _history(self, match: Match) -> dict[str, Any]:
        return {
            "rounds": list(match.rounds),
            "events": list(match.events),
            "markets": [self.offer_data(offer) for offer in match.active_offers()],
        }

    def _knobbed(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        knobs = self.knobs
        if kind == "bet_settlement":
            if knobs.result_key == "result" and "outcome" in data:
                data = {("result" if name == "outcome" else name): value for name, value in data.items()}
        elif kind.startswith("market."):
            if not knobs.market_match_id and isinstance(data.get("match_id"), str):
                data = {name: value for name, value in data.items() if name != "match_id"}
            if knobs.market_status == "text" and isinstance(data.get("status"), int):
                data = {**data, "status": _STATUS_TEXTS[data["status"]]}
        return data

    def _snapshot_matches(self, match_id: str | None) -> Iterator[Match]:
        if match_id is None:
            yield from self.world.live
            return
        match = self.world.find(match_id)
        if match is not None:
            yield match

    def _number(self, frame: Outgoing, only: str | None = None) -> Outgoing:
        """Give the frame its numbers; `only` is the match whose own channel alone carries it (a snapshot of it)."""
        entity = frame.change.entity
        if self.knobs.seq_scope != "channel":
            frame.seq = frame.detail_seq = self._seq
            self._seq += 1
        else:
            if only is None:
                frame.seq = self._seq
                self._seq += 1
            frame.detail_seq = self._detail_seq.get(entity, self.knobs.first_seq)
            self._detail_seq[entity] = frame.detail_seq + 1
        state = frame.change.state
        if state is not None and self.knobs.snapshot_seq == "same" and frame.fault is None:
            self._last[state] = (frame.seq, frame.detail_seq, frame.at)
            if len(self._last) > _REMEMBERED:
                del self._last[next(iter(self._last))]
        return frame

    def _iso(self, at: int) -> bytes:
        if self._stamp[0] != at:
            self._stamp = (at, iso_millis(at).encode())
        return self._stamp[1]


def envelope(kind: str, data: dict[str, Any], ts: bytes, seq: int) -> bytes:
    """One frame as it goes over the wire."""
    return b'{"type":"%b","data":%b,"meta":{"ts":"%b","seq":%d}}' % (kind.encode(), _encode(data), ts, seq)


_encode: Final = msgspec.json.Encoder().encode
_STATUS_TEXTS: Final = {1: "active", 0: "inactive", -1: "suspended", -2: "handed_over", -3: "settled", -4: "cancelled"}
_REMEMBERED: Final = 20_000


class _Dialect:
    """Which faults fit which TickTock frames; see `faults.Dialect`."""

    restamps = False

    def collide(self, change: Change, rng: Random) -> Change | None:
        """Other content under one seq: anything but a settlement, which has an id of its own."""
        if change.type == "bet_settlement":
            return None
        return with_data(change, {"revision": rng.randrange(1_000_000, 2_000_000)})

    def mistype(self, change: Change, rng: Random) -> Change | None:
        fields = [name for name in _SCALARS if name in change.data and _documented(change.type, name)]
        wrong = rng.choice(([rng.randrange(1000)], {"value": rng.randrange(1000)}))
        return with_data(change, {rng.choice(fields): wrong})

    def strange(self, change: Change, rng: Random) -> Change | None:
        name = rng.choice(("match.paused", "player.disconnected", "event.flash_assist", "odds.suggestion"))
        return Change(name, change.entity, {"match_id": change.entity, "detail": {"level": rng.randrange(1_000_000)}})

    def thin(self, change: Change, rng: Random) -> Change | None:
        fields = [name for name in _OPTIONAL if name in change.data]
        if not fields:
            return None
        gone = rng.choice(fields)
        return msgspec.structs.replace(
            change, data={name: value for name, value in change.data.items() if name != gone}
        )

    def swell(self, change: Change, size: int) -> Change | None:
        """A match with all its history in it (2.4: the mirror may be literal)."""
        if not change.type.startswith("match."):
            return None
        return with_data(change, {"events": Raw(b"[" + b",".join([_EVENT] * (size // len(_EVENT) + 1)) + b"]")})

    def may_lag(self, change: Change) -> bool:
        """Every TickTock frame has a seq: a late repetition is still one."""
        return change.type != "alive"

    def envelope(self, change: Change, at: int) -> bytes:
        return envelope(change.type, change.data, iso_millis(at).encode(), 0)


_EVENT: Final = (
    b'{"type":"kill","actor":"frosty","target":"nyx","weapon":"ak47","side":"CT","time_offset_seconds":31.5}'
)


def _documented(kind: str, name: str) -> bool:
    """Whether 2.4 gives this member's JSON type for this frame: elsewhere nobody can call a type wrong.

    Only `round.*` is known to have a `round_number`, and a score is shown for matches alone.
    """
    if name == "round_number":
        return kind.startswith("round.")
    return name not in {"score_a", "score_b"} or kind.startswith("match.")


#: Fields whose documented JSON type is a string, integer or boolean: never an array or an object.
_SCALARS: Final = (
    "id", "match_id", "team_a", "team_b", "bo_type", "score_a", "score_b", "round_number", "winner_side", "suspended",
    "market_offer_id", "is_resettlement", "created_at",
)  # fmt: skip
_OPTIONAL: Final = (
    "map_name", "team_a_logo", "maps", "winner", "win_reason", "weapon", "time_offset_seconds", "specifiers", "textRU",
    "settled_by", "previous_status",
)  # fmt: skip
