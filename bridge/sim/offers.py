"""Markets of a simulated CS2 match: offers with odds, suspensions and the settlement log.

Markets are per round: made in the freeze of round N for round N+1, suspended when the outcome is known, settled
at the round's end (contract S-ODDS, S-SETTLE). A series market lives as long as the match.
"""

# ruff: noqa: PLR2004 - chances are plain numbers
from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, NamedTuple
from uuid import UUID

from msgspec import Raw

from bridge.sim.stamps import iso_seconds

ACTIVE: Final = 1
SUSPENDED: Final = -1
SETTLED: Final = -3
CANCELLED: Final = -4

#: Margin of the book: the implied chances of a two-way market add up to this.
_OVERROUND: Final = 1.06
_LOWEST, _HIGHEST = 105, 1200


class Kind(NamedTuple):
    """A market type: its name, texts and outcomes; `{round}` and `{map}` are filled in."""

    name: str
    english: str
    russian: str
    outcomes: tuple[str, str]


SERIES: Final = Kind("match_winner", "Match winner", "Победитель матча", ("team_a", "team_b"))
ROUND_KINDS: Final = (
    Kind("round_winner", "Map {map}, round {round}: winner", "Карта {map}, раунд {round}: победитель", ("team_a", "team_b")),
    Kind("headshot_opening", "Map {map}, round {round}: opening kill by headshot", "Карта {map}, раунд {round}: первое убийство в голову", ("yes", "no")),
    Kind("bomb_planted", "Map {map}, round {round}: bomb planted", "Карта {map}, раунд {round}: бомба заложена", ("yes", "no")),
    Kind("total_kills", "Map {map}, round {round}: kills over 6.5", "Карта {map}, раунд {round}: убийств больше 6.5", ("over", "under")),
    Kind("first_kill", "Map {map}, round {round}: first kill", "Карта {map}, раунд {round}: первое убийство", ("team_a", "team_b")),
    Kind("win_reason", "Map {map}, round {round}: won by elimination", "Карта {map}, раунд {round}: победа уничтожением", ("yes", "no")),
)  # fmt: skip


class Offer:
    """One market offer. Prices are kept in hundredths and written with two decimals, always (``1.10``)."""

    def __init__(self, rng: Random, match_id: str, kind: Kind, *, map_number: int = 0, round_number: int = 0) -> None:
        """An active offer with random odds."""
        self.id = f"ofr_{rng.getrandbits(64):016x}"
        self.match_id = match_id
        self.kind = kind
        self.map_number = map_number
        self.round_number = round_number
        self.status = ACTIVE
        self._rng = rng
        self._price = rng.randrange(140, 320)
        texts = {"map": map_number, "round": round_number}
        self._english = kind.english.format(**texts)
        self._russian = kind.russian.format(**texts)
        self._specifiers = f"map={map_number}|round={round_number}" if round_number else ""

    def move(self) -> None:
        """Other odds, never the same as before."""
        step = int(self._rng.random() * 16) - 8
        price = self._price + (step if step < 0 else step + 1)
        self._price = price if _LOWEST <= price <= _HIGHEST else 2 * self._price - price

    def data(self) -> dict[str, Any]:
        """The frame's data: a new object each time."""
        one, two = _prices(self._price)
        active = self.status == ACTIVE
        return {
            "id": self.id,
            "match_id": self.match_id,
            "type": self.kind.name,
            "specifiers": self._specifiers,
            "textEN": self._english,
            "textRU": self._russian,
            "odds": [
                {"outcome": self.kind.outcomes[0], "price": one, "active": active},
                {"outcome": self.kind.outcomes[1], "price": two, "active": active},
            ],
            "status": self.status,
            "suspended": self.status == SUSPENDED,
        }


def _prices(hundredths: int) -> tuple[Raw, Raw]:
    pair = _PRICES.get(hundredths)
    if pair is None:
        rest = _OVERROUND - 100 / hundredths
        other = min(max(round(100 / rest), _LOWEST), 5000)
        pair = _PRICES[hundredths] = (_decimal(hundredths), _decimal(other))
    return pair


def _decimal(hundredths: int) -> Raw:
    return Raw(b"%d.%02d" % divmod(hundredths, 100))


_PRICES: dict[int, tuple[Raw, Raw]] = {}


class Settlement(NamedTuple):
    """One entry of the append-only log; `as_json` is its shape on the wire (S-SETL)."""

    id: int | str
    offer_id: str
    match_id: str
    previous: str
    new: str
    outcome: str
    by: str
    again: bool
    reason: str | None
    at: int

    def as_json(self) -> dict[str, Any]:
        """The documented members; `reason` only where there is one."""
        entry: dict[str, Any] = {
            "id": self.id,
            "market_offer_id": self.offer_id,
            "match_id": self.match_id,
            "previous_status": self.previous,
            "new_status": self.new,
            "outcome": self.outcome,
            "settled_by": self.by,
            "is_resettlement": self.again,
            "created_at": iso_seconds(self.at),
        }
        if self.reason is not None:
            entry["reason"] = self.reason
        return entry


class SettlementLog:
    """The append-only log of all settlements, bounded: the oldest entries are forgotten (REST shows the rest).

    ids: ``int`` counts up from 481234 as in the documentation's samples, ``uuid`` as its parameter table says (6.2).
    """

    def __init__(self, rng: Random, *, ids: str = "int", keep: int = 50_000) -> None:
        """An empty log."""
        self._rng = rng
        self._ids = ids
        self._keep = keep
        self._next = 481_234
        self.entries: list[Settlement] = []

    def settle(self, offer: Offer, at: int) -> Settlement:
        """The offer's outcome: won or lost, now and then void."""
        draw = self._rng.random()
        void = draw < 0.03
        offer.status = CANCELLED if void else SETTLED
        return self._append(
            offer_id=offer.id, match_id=offer.match_id, previous="pending", new="voided" if void else "settled",
            outcome="void" if void else ("won" if draw < 0.5 else "lost"), by="engine", again=False,
            reason="round_not_played" if void else None, at=at,
        )  # fmt: skip

    def correct(self, wrong: Settlement, at: int) -> Settlement:
        """A resettlement: a new entry for the same offer with the other outcome."""
        outcome = {"won": "lost", "lost": "void", "void": "won"}[wrong.outcome]
        return self._append(
            offer_id=wrong.offer_id, match_id=wrong.match_id, previous=wrong.new, new="voided" if outcome == "void" else "settled",
            outcome=outcome, by=self._rng.choice(("admin", "system")), again=True, reason="result_corrected", at=at,
        )  # fmt: skip

    def after(self, since: str | None, limit: int) -> Sequence[Settlement]:
        """At most `limit` entries, oldest first: those after the id `since`, or the newest where it is None.

        An id that is not in the log gives the oldest entries that are left.
        """
        if since is None:
            return self.entries[-limit:]
        at = next((i for i in range(len(self.entries) - 1, -1, -1) if str(self.entries[i].id) == since), -1)
        return self.entries[at + 1 : at + 1 + limit]

    def _append(
        self, *, offer_id: str, match_id: str, previous: str, new: str, outcome: str, by: str, again: bool,
        reason: str | None, at: int,
    ) -> Settlement:  # fmt: skip
        ident: int | str = self._next if self._ids == "int" else str(UUID(int=self._rng.getrandbits(128), version=4))
        self._next += 1
        entry = Settlement(ident, offer_id, match_id, previous, new, outcome, by, again, reason, at)
        self.entries.append(entry)
        if len(self.entries) > 2 * self._keep:
            del self.entries[: self._keep]
        return entry
