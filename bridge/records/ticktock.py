"""Records of gateways of kind `ticktock`. Made by `python -m bridge.classes`: do not edit."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from bridge.records.text import Json, Number


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What the envelope says about the frame."""

    ts: str | None = None
    seq: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BetSettlementData(msgspec.Struct, frozen=True, kw_only=True):
    """A settlement entry as GET /cs2/v1/settlements gives it."""

    id: str | int | None = None
    market_offer_id: str | None = None
    match_id: str | None = None
    previous_status: str | None = None
    new_status: str | None = None
    outcome: str | None = None
    result: str | None = None
    settled_by: str | None = None
    is_resettlement: bool | None = None
    reason: Json | None = None
    created_at: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BetSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the append-only settlement log; a correction is a new entry.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "bet_settlement"

    meta: Meta
    data: BetSettlementData


class EventBombDefusedData(msgspec.Struct, frozen=True, kw_only=True):
    """An event as GET /cs2/v1/matches/{id}/timeline gives it.

    Map and round have no known names.
    """

    match_id: str | None = None
    type: str | None = None
    actor: str | int | dict[str, Json] | None = None
    target: str | int | dict[str, Json] | None = None
    weapon: str | int | dict[str, Json] | None = None
    side: str | int | None = None
    victim_side: str | int | None = None
    time: str | int | None = None
    time_offset_seconds: Number | None = None
    meta: Json | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class EventBombDefused(msgspec.Struct, frozen=True, kw_only=True):
    """The bomb was defused.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "event.bomb_defused"

    meta: Meta
    data: EventBombDefusedData


class EventBombExplodedData(msgspec.Struct, frozen=True, kw_only=True):
    """An event as GET /cs2/v1/matches/{id}/timeline gives it.

    Map and round have no known names.
    """

    match_id: str | None = None
    type: str | None = None
    actor: str | int | dict[str, Json] | None = None
    target: str | int | dict[str, Json] | None = None
    weapon: str | int | dict[str, Json] | None = None
    side: str | int | None = None
    victim_side: str | int | None = None
    time: str | int | None = None
    time_offset_seconds: Number | None = None
    meta: Json | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class EventBombExploded(msgspec.Struct, frozen=True, kw_only=True):
    """The bomb went off.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "event.bomb_exploded"

    meta: Meta
    data: EventBombExplodedData


class EventBombPlantedData(msgspec.Struct, frozen=True, kw_only=True):
    """An event as GET /cs2/v1/matches/{id}/timeline gives it.

    Map and round have no known names.
    """

    match_id: str | None = None
    type: str | None = None
    actor: str | int | dict[str, Json] | None = None
    target: str | int | dict[str, Json] | None = None
    weapon: str | int | dict[str, Json] | None = None
    side: str | int | None = None
    victim_side: str | int | None = None
    time: str | int | None = None
    time_offset_seconds: Number | None = None
    meta: Json | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class EventBombPlanted(msgspec.Struct, frozen=True, kw_only=True):
    """The bomb was planted.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "event.bomb_planted"

    meta: Meta
    data: EventBombPlantedData


class EventKillData(msgspec.Struct, frozen=True, kw_only=True):
    """An event as GET /cs2/v1/matches/{id}/timeline gives it.

    Map and round have no known names.
    """

    match_id: str | None = None
    type: str | None = None
    actor: str | int | dict[str, Json] | None = None
    target: str | int | dict[str, Json] | None = None
    weapon: str | int | dict[str, Json] | None = None
    side: str | int | None = None
    victim_side: str | int | None = None
    time: str | int | None = None
    time_offset_seconds: Number | None = None
    meta: Json | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class EventKill(msgspec.Struct, frozen=True, kw_only=True):
    """A player was killed.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "event.kill"

    meta: Meta
    data: EventKillData


class FeedCancelledMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market that is void."""

    id: str | None = None
    specifiers: str | None = None
    type: str | None = None
    textEN: str | None = None
    textRU: str | None = None
    void_reason: str | None = None
    void_reason_id: str | None = None
    void_reason_params: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedBetCancelData(msgspec.Struct, frozen=True, kw_only=True):
    """A <bet_cancel> message: its attributes and elements."""

    product: str | None = None
    event_id: str | None = None
    tt_match_id: str | None = None
    timestamp: int | str | None = None
    request_id: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    market: list[FeedCancelledMarket] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedBetCancel(msgspec.Struct, frozen=True, kw_only=True):
    """Markets whose bets are void, as published over AMQP.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "feed.bet_cancel"

    meta: Meta
    data: FeedBetCancelData


class FeedSettledOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome and its result."""

    id: str | None = None
    result: str | None = None
    void_factor: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedSettledMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market and its results."""

    id: str | None = None
    specifiers: str | None = None
    type: str | None = None
    textEN: str | None = None
    textRU: str | None = None
    outcome: list[FeedSettledOutcome] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """The markets that are settled."""

    market: list[FeedSettledMarket] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedBetSettlementData(msgspec.Struct, frozen=True, kw_only=True):
    """A <bet_settlement> message: its attributes and elements."""

    product: str | None = None
    event_id: str | None = None
    tt_match_id: str | None = None
    timestamp: int | str | None = None
    request_id: str | None = None
    outcomes: FeedOutcomes | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedBetSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """Results of markets, as published over AMQP.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "feed.bet_settlement"

    meta: Meta
    data: FeedBetSettlementData


class FeedFixtureChangeData(msgspec.Struct, frozen=True, kw_only=True):
    """A <fixture_change> message: its attributes."""

    product: str | None = None
    event_id: str | None = None
    tt_match_id: str | None = None
    timestamp: int | str | None = None
    request_id: str | None = None
    change_type: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedFixtureChange(msgspec.Struct, frozen=True, kw_only=True):
    """A match was added or changed, as published over AMQP.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "feed.fixture_change"

    meta: Meta
    data: FeedFixtureChangeData


class FeedSportEventStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of the match."""

    status: str | None = None
    match_status: str | None = None
    home_score: str | None = None
    away_score: str | None = None
    scoreboard_available: str | None = None
    period_scores: Json | None = None
    scoreboard: Json | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedOddsOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome and its price."""

    id: str | None = None
    odds: str | None = None
    probabilities: str | None = None
    active: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedOddsMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market and its prices."""

    id: str | None = None
    specifiers: str | None = None
    status: str | None = None
    type: str | None = None
    favourite: str | None = None
    textEN: str | None = None
    textRU: str | None = None
    outcome: list[FeedOddsOutcome] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedOdds(msgspec.Struct, frozen=True, kw_only=True):
    """The markets that the message is about."""

    market: list[FeedOddsMarket] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedOddsChangeData(msgspec.Struct, frozen=True, kw_only=True):
    """An <odds_change> message: its attributes and elements."""

    product: str | None = None
    event_id: str | None = None
    tt_match_id: str | None = None
    timestamp: int | str | None = None
    request_id: str | None = None
    sport_event_status: FeedSportEventStatus | None = None
    odds: FeedOdds | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedOddsChange(msgspec.Struct, frozen=True, kw_only=True):
    """Odds and states of markets, as published over AMQP.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "feed.odds_change"

    meta: Meta
    data: FeedOddsChangeData


class FeedSnapshotCompleteData(msgspec.Struct, frozen=True, kw_only=True):
    """A <snapshot_complete> message: its attributes."""

    product: str | None = None
    request_id: str | None = None
    timestamp: int | str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class FeedSnapshotComplete(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an AMQP replay.

    Keyed by the request's id.
    """

    TYPE: ClassVar[str] = "feed.snapshot_complete"

    meta: Meta
    data: FeedSnapshotCompleteData


class MarketCreatedData(msgspec.Struct, frozen=True, kw_only=True):
    """A market offer.

    Markets are per round, and end in a bet_settlement or in silence.
    """

    id: str | None = None
    match_id: str | None = None
    odds: list[Json] | None = None
    status: int | str | None = None
    suspended: bool | None = None
    type: str | int | None = None
    specifiers: str | dict[str, Json] | None = None
    textEN: str | None = None
    textRU: str | None = None
    result: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A market new to the feed; active markets may be repeated on connecting.

    Keyed by match id, else market id.
    """

    TYPE: ClassVar[str] = "market.created"

    meta: Meta
    data: MarketCreatedData


class MarketSuspendedData(msgspec.Struct, frozen=True, kw_only=True):
    """A market offer.

    Markets are per round, and end in a bet_settlement or in silence.
    """

    id: str | None = None
    match_id: str | None = None
    odds: list[Json] | None = None
    status: int | str | None = None
    suspended: bool | None = None
    type: str | int | None = None
    specifiers: str | dict[str, Json] | None = None
    textEN: str | None = None
    textRU: str | None = None
    result: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketSuspended(msgspec.Struct, frozen=True, kw_only=True):
    """A market on which no bets may be taken for now.

    Keyed by match id, else market id.
    """

    TYPE: ClassVar[str] = "market.suspended"

    meta: Meta
    data: MarketSuspendedData


class MarketUnsuspendedData(msgspec.Struct, frozen=True, kw_only=True):
    """A market offer.

    Markets are per round, and end in a bet_settlement or in silence.
    """

    id: str | None = None
    match_id: str | None = None
    odds: list[Json] | None = None
    status: int | str | None = None
    suspended: bool | None = None
    type: str | int | None = None
    specifiers: str | dict[str, Json] | None = None
    textEN: str | None = None
    textRU: str | None = None
    result: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketUnsuspended(msgspec.Struct, frozen=True, kw_only=True):
    """A market on which bets may be taken again.

    Keyed by match id, else market id.
    """

    TYPE: ClassVar[str] = "market.unsuspended"

    meta: Meta
    data: MarketUnsuspendedData


class MarketUpdatedData(msgspec.Struct, frozen=True, kw_only=True):
    """A market offer.

    Markets are per round, and end in a bet_settlement or in silence.
    """

    id: str | None = None
    match_id: str | None = None
    odds: list[Json] | None = None
    status: int | str | None = None
    suspended: bool | None = None
    type: str | int | None = None
    specifiers: str | dict[str, Json] | None = None
    textEN: str | None = None
    textRU: str | None = None
    result: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketUpdated(msgspec.Struct, frozen=True, kw_only=True):
    """A market after a change of odds or status.

    Keyed by match id, else market id.
    """

    TYPE: ClassVar[str] = "market.updated"

    meta: Meta
    data: MarketUpdatedData


class MatchCreatedData(msgspec.Struct, frozen=True, kw_only=True):
    """A match as GET /cs2/v1/matches/{id} gives it.

    What the key has no scope for is absent.
    """

    id: str | None = None
    team_a: str | None = None
    team_b: str | None = None
    team_a_logo: str | None = None
    team_b_logo: str | None = None
    event: str | None = None
    bo_type: str | None = None
    status: str | None = None
    scheduled_at: str | None = None
    score_a: int | None = None
    score_b: int | None = None
    map_name: str | None = None
    started_at: str | int | None = None
    finished_at: str | int | None = None
    maps: list[Json] | None = None
    rounds: list[Json] | None = None
    events: list[Json] | None = None
    streams: list[Json] | None = None
    player_stats: list[Json] | None = None
    demo_url: str | list[Json] | None = None
    markets: list[Json] | None = None
    scoreboard: Json | None = None
    oddin_match_id: str | int | None = None
    data_delay_seconds: Json | None = None
    suspended: bool | int | str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MatchCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A match new to the feed; live matches may be repeated on connecting.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "match.created"

    meta: Meta
    data: MatchCreatedData


class MatchFinishedData(msgspec.Struct, frozen=True, kw_only=True):
    """A match as GET /cs2/v1/matches/{id} gives it.

    What the key has no scope for is absent.
    """

    id: str | None = None
    team_a: str | None = None
    team_b: str | None = None
    team_a_logo: str | None = None
    team_b_logo: str | None = None
    event: str | None = None
    bo_type: str | None = None
    status: str | None = None
    scheduled_at: str | None = None
    score_a: int | None = None
    score_b: int | None = None
    map_name: str | None = None
    started_at: str | int | None = None
    finished_at: str | int | None = None
    maps: list[Json] | None = None
    rounds: list[Json] | None = None
    events: list[Json] | None = None
    streams: list[Json] | None = None
    player_stats: list[Json] | None = None
    demo_url: str | list[Json] | None = None
    markets: list[Json] | None = None
    scoreboard: Json | None = None
    oddin_match_id: str | int | None = None
    data_delay_seconds: Json | None = None
    suspended: bool | int | str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MatchFinished(msgspec.Struct, frozen=True, kw_only=True):
    """A match that has ended.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "match.finished"

    meta: Meta
    data: MatchFinishedData


class MatchUpdatedData(msgspec.Struct, frozen=True, kw_only=True):
    """A match as GET /cs2/v1/matches/{id} gives it.

    What the key has no scope for is absent.
    """

    id: str | None = None
    team_a: str | None = None
    team_b: str | None = None
    team_a_logo: str | None = None
    team_b_logo: str | None = None
    event: str | None = None
    bo_type: str | None = None
    status: str | None = None
    scheduled_at: str | None = None
    score_a: int | None = None
    score_b: int | None = None
    map_name: str | None = None
    started_at: str | int | None = None
    finished_at: str | int | None = None
    maps: list[Json] | None = None
    rounds: list[Json] | None = None
    events: list[Json] | None = None
    streams: list[Json] | None = None
    player_stats: list[Json] | None = None
    demo_url: str | list[Json] | None = None
    markets: list[Json] | None = None
    scoreboard: Json | None = None
    oddin_match_id: str | int | None = None
    data_delay_seconds: Json | None = None
    suspended: bool | int | str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MatchUpdated(msgspec.Struct, frozen=True, kw_only=True):
    """A match after a change.

    Cancelled has no type of its own: see data.status. Keyed by match id.
    """

    TYPE: ClassVar[str] = "match.updated"

    meta: Meta
    data: MatchUpdatedData


class RoundFinishedData(msgspec.Struct, frozen=True, kw_only=True):
    """A round as GET /cs2/v1/matches/{id}/rounds gives it.

    Score and reason have no known names.
    """

    match_id: str | None = None
    round_number: int | None = None
    winner_side: str | None = None
    winner: str | int | dict[str, Json] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class RoundFinished(msgspec.Struct, frozen=True, kw_only=True):
    """A round has ended.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "round.finished"

    meta: Meta
    data: RoundFinishedData


class RoundStartedData(msgspec.Struct, frozen=True, kw_only=True):
    """A round as GET /cs2/v1/matches/{id}/rounds gives it.

    Score and reason have no known names.
    """

    match_id: str | None = None
    round_number: int | None = None
    winner_side: str | None = None
    winner: str | int | dict[str, Json] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class RoundStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A round has begun.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "round.started"

    meta: Meta
    data: RoundStartedData


class ScoreboardFrameData(msgspec.Struct, frozen=True, kw_only=True):
    """The scoreboard.

    No field list is published: players and teams are in extensions.
    """

    match_id: str | None = None
    id: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class ScoreboardFrame(msgspec.Struct, frozen=True, kw_only=True):
    """Live health, money and weapon of each player of a match; the latest wins.

    Keyed by match id.
    """

    TYPE: ClassVar[str] = "scoreboard.frame"

    meta: Meta
    data: ScoreboardFrameData


class UnknownData(msgspec.Struct, frozen=True, kw_only=True):
    """The frame as it came."""

    type: str
    json: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A frame of a type that has no schema yet, whole."""

    TYPE: ClassVar[str] = "unknown"

    meta: Meta
    data: UnknownData


#: Full name of a record → its class.
RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "feedbridge.ticktock.BetSettlement": BetSettlement,
    "feedbridge.ticktock.EventBombDefused": EventBombDefused,
    "feedbridge.ticktock.EventBombExploded": EventBombExploded,
    "feedbridge.ticktock.EventBombPlanted": EventBombPlanted,
    "feedbridge.ticktock.EventKill": EventKill,
    "feedbridge.ticktock.FeedBetCancel": FeedBetCancel,
    "feedbridge.ticktock.FeedBetSettlement": FeedBetSettlement,
    "feedbridge.ticktock.FeedFixtureChange": FeedFixtureChange,
    "feedbridge.ticktock.FeedOddsChange": FeedOddsChange,
    "feedbridge.ticktock.FeedSnapshotComplete": FeedSnapshotComplete,
    "feedbridge.ticktock.MarketCreated": MarketCreated,
    "feedbridge.ticktock.MarketSuspended": MarketSuspended,
    "feedbridge.ticktock.MarketUnsuspended": MarketUnsuspended,
    "feedbridge.ticktock.MarketUpdated": MarketUpdated,
    "feedbridge.ticktock.MatchCreated": MatchCreated,
    "feedbridge.ticktock.MatchFinished": MatchFinished,
    "feedbridge.ticktock.MatchUpdated": MatchUpdated,
    "feedbridge.ticktock.RoundFinished": RoundFinished,
    "feedbridge.ticktock.RoundStarted": RoundStarted,
    "feedbridge.ticktock.ScoreboardFrame": ScoreboardFrame,
    "feedbridge.ticktock.Unknown": Unknown,
}
