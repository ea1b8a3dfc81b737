"""PredictStreet's pushes: an exchange world, public and private, in the envelope of either protocol generation. Pure.

Private pushes come as soon as a wallet is adopted (`Portfolio.adopt`), between the public ones, which stay what they are.
Envelope (contract 2.2): ``{"type", "sid", "channel", "id", "serverTs", "seq", "prevSeq", "hash", "data"}``; seq, prevSeq and hash
on book events only, serverTs in generation 2. Only `sid` differs between connections.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, Literal

import msgspec

from bridge.sim.change import Change, Outgoing
from bridge.sim.exchange import ExchangeWorld
from bridge.sim.faults import Faults, Injector, with_data
from bridge.sim.portfolio import NOTICE, WALLET_CHANNELS, Portfolio
from bridge.sim.stamps import START_MS


class PredictStreetKnobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the contract leaves open, or a test wants otherwise.

    generation: of protocol and channel names. silent_book: `token_book` is accepted and nothing is pushed (None: as documented,
    silent in generation 1). prev_seq: where it sits. server_ts: on every frame of generation 2, or nowhere (contract 7.12).
    first_sid. copies: a token under two sids comes twice, or once under the first. g1_codes: rejection codes of
    the concept pages (`unknown_channel`, `invalid`) or of the reference (`invalid_params`). snapshot_failures: chance of
    `book_snapshot_failed` instead of a snapshot. markets: see `ExchangeWorld`. rate_limit: REST requests a minute and caller, 0: none.
    book_losses: chance that a change of a book is never sent. forgets: every so many-th accepted subscription is not held (0: none).
    commands: all, or `subscribe` and `ping` alone, as somebody might serve who spells the others otherwise: they get an error,
    or no answer (``mute``). greets: the generation that the greeting tells of (None: the true one). connections: sockets a key
    may have at a time, more are answered 429 (0: any number).
    detail_by: what `/api/markets/{…}` takes (None: the symbol in
    generation 1, the slug in 2; contract 7.17). origins: values of the Origin header that are let in; without the header all are.
    """

    generation: Literal[1, 2] = 2
    silent_book: bool | None = None
    prev_seq: Literal["envelope", "data"] = "envelope"
    server_ts: bool = True
    first_sid: int = 1
    copies: Literal["each", "once"] = "each"
    g1_codes: Literal["concepts", "reference"] = "concepts"
    snapshot_failures: float = 0.0
    book_losses: float = 0.0
    forgets: int = 0
    commands: Literal["all", "fewest", "mute"] = "all"
    greets: Literal[1, 2] | None = None
    connections: int = 0
    markets: int = 8
    rate_limit: int = 600
    detail_by: Literal["slug", "symbol"] | None = None
    origins: tuple[str, ...] = ()

    @property
    def second(self) -> bool:
        """Whether this is generation 2."""
        return self.generation != 1

    @property
    def book_is_silent(self) -> bool:
        """Whether nothing is pushed on `token_book`."""
        return self.generation == 1 if self.silent_book is None else self.silent_book

    @property
    def detail_name(self) -> str:
        """Which name of a market `/api/markets/{…}` takes."""
        return self.detail_by or ("symbol" if self.generation == 1 else "slug")

    @property
    def stamps(self) -> bool:
        """Whether frames carry serverTs."""
        return self.second and self.server_ts


class PredictStreetStream:
    """The pushes of all channels. `take` makes them, `render` gives the bytes for a subscription."""

    def __init__(self, seed: int, *, knobs: PredictStreetKnobs | None = None, now: int = START_MS) -> None:
        """The world of that seed, at its beginning."""
        self.knobs = knobs or PredictStreetKnobs()
        self.world = ExchangeWorld(
            Random(f"{seed}:exchange"), now=now, generation=self.knobs.generation, markets=self.knobs.markets,
            silent_book=self.knobs.book_is_silent,
        )  # fmt: skip
        self.portfolio = Portfolio(Random(f"{seed}:portfolio"), self.world)
        self._injector = Injector(Faults(), Random(f"{seed}:faults"), _Dialect(self))
        self._failures = Random(f"{seed}:failures")
        self._losses = Random(f"{seed}:losses")
        #: May be set anew at any time; see the knob.
        self.book_losses = self.knobs.book_losses
        self._ready: list[Outgoing] = []

    # Source

    def take(self, count: int, now: int) -> list[Outgoing]:
        """The next `count` frames, leaving at `now` (ms)."""
        ready, step, injector, portfolio = self._ready, self.world.step, self._injector, self.portfolio
        while len(ready) < count:
            changes = step(now)
            if portfolio.wallets:
                changes += portfolio.step(now)
            if self.book_losses:
                changes = [
                    each for each in changes if each.prev_seq is None or self._losses.random() >= self.book_losses
                ]
            if injector.idle:
                ready.extend([Outgoing(change, now) for change in changes])
            else:
                ready.extend(injector.pass_through(changes, now, lambda frame: frame))
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
        """A change of status every ten seconds or so, whatever the frame rate."""
        self.world.restless = min(max(0.1 / (rate or 20_000.0), 2e-5), 2e-3)

    def reset_seq(self) -> None:
        """The matcher starts anew: books count from 0."""
        self.world.reset_seq()

    def snapshot(self, token: str, now: int) -> Outgoing | None:
        """The book of a token, or the news that it can't be had; None where the book is silent or the token unknown."""
        if self.knobs.book_is_silent:
            return None
        change = self.world.snapshot(token)
        if change is not None and self._failures.random() < self.knobs.snapshot_failures:
            data = {
                "tokenId": token,
                "conditionId": change.data.get("conditionId"),
                "reason": "upstream_timeout",
                "tsMs": now,
            }
            change = Change("book_snapshot_failed", token, data, "token_book")
        return None if change is None else Outgoing(change, now)

    # Rendering

    def render(self, frame: Outgoing, sid: int) -> bytes:
        """The frame as a subscription gets it."""
        if frame.literal is not None:
            return frame.literal
        tail = frame.rendered.get("tail")
        if tail is None:
            tail = frame.rendered["tail"] = self._tail(frame.change, frame.at)
        return b'{"type":"%b","sid":%d%b' % (frame.change.type.encode(), sid, tail)

    def _tail(self, change: Change, at: int) -> bytes:
        envelope = b',"channel":"%b"' % change.channel.encode()
        if change.channel not in WALLET_CHANNELS:
            envelope += b',"id":"%b"' % change.entity.encode()
        if self.knobs.stamps:
            envelope += b',"serverTs":%d' % at
        if change.seq is not None:
            envelope += b',"seq":%d' % change.seq
        data = change.data
        if change.prev_seq is not None:
            if self.knobs.prev_seq == "data":
                data = {**data, "prevSeq": change.prev_seq}
            else:
                envelope += b',"prevSeq":%d' % change.prev_seq
        if change.hash is not None:
            envelope += b',"hash":"%b"' % change.hash.encode()
        return b'%b,"data":%b}' % (envelope, _encode(data))


_encode: Final = msgspec.json.Encoder().encode


class _Dialect:
    """Which faults fit which PredictStreet frames; see `faults.Dialect`."""

    def __init__(self, stream: PredictStreetStream) -> None:
        self._stream = stream
        #: serverTs is the moment of sending: a redelivery has a new one (2.2).
        self.restamps = stream.knobs.stamps

    def collide(self, change: Change, rng: Random) -> Change | None:
        """Other content under one seq of a book; trades have ids of their own, the rest has no number."""
        return None if change.seq is None else with_data(change, {"revision": rng.randrange(1_000_000)})

    def mistype(self, change: Change, rng: Random) -> Change | None:
        wrong: dict[str, Any] = {name: [rng.randrange(1000)] for name in _SCALARS if name in change.data}
        wrong |= {name: f"level {rng.randrange(1000)}" for name in ("bids", "asks") if name in change.data}
        if not wrong:
            return None
        name = rng.choice(list(wrong))
        return _unnumbered(with_data(change, {name: wrong[name]}))

    def strange(self, change: Change, rng: Random) -> Change | None:
        name = rng.choice(("liquidity_hint", "token_heartbeat", "market_rumour", "fee_schedule"))
        data = {
            # A private frame may well name nothing at all.
            **({} if change.channel in WALLET_CHANNELS else {"tokenId": change.data.get("tokenId")}),
            "level": rng.randrange(1_000_000),
            "nested": {"a": [1, "2", None]},
        }
        return Change(name, change.entity, data, change.channel)

    def thin(self, change: Change, rng: Random) -> Change | None:
        private = change.channel.startswith(("user_", "vault_"))
        fields = [name for name in (_PRIVATE_OPTIONAL if private else _OPTIONAL) if name in change.data]
        if not fields:
            return None
        gone = rng.choice(fields)
        return msgspec.structs.replace(
            change, data={name: value for name, value in change.data.items() if name != gone}
        )

    def swell(self, change: Change, size: int) -> Change | None:
        return with_data(change, {"x_padding": "0123456789abcdef" * (size // 16 + 1)})

    def may_lag(self, change: Change) -> bool:
        """A late repetition is known by its seq or trade id; without either only content tells, and that may come back."""
        return change.seq is not None or "tradeId" in change.data or "orderId" in change.data

    def envelope(self, change: Change, at: int) -> bytes:
        """Without seq: what is spoilt must not look like a step in the book.

        And of a known type: one that no contract names may come without data.
        """
        if change.type == NOTICE:
            change = msgspec.structs.replace(change, type="order_placed")
        return self._stream.render(Outgoing(_unnumbered(change), at), 1)


def _unnumbered(change: Change) -> Change:
    return msgspec.structs.replace(change, seq=None, prev_seq=None, hash=None)


#: Fields whose JSON type the contract gives, and it is neither an array nor an object (2.2, 4.7).
_SCALARS: Final = (
    "tokenId", "conditionId", "outcomeIndex", "tsMs", "price", "quantity", "interval", "orderId", "vaultAddress", "user",
)  # fmt: skip
_OPTIONAL: Final = (
    "maker", "taker", "side", "reason", "volume", "trades", "orderHash", "symbol", "trading",
)  # fmt: skip
_PRIVATE_OPTIONAL: Final = (
    *_OPTIONAL, "clientOrderId", "source", "status", "expiry", "amount", "reasonText", "blockNumber", "outcome",
)  # fmt: skip
