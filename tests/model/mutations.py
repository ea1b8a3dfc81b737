"""Deliberate faults in the product, put in for the time of a run: each must be caught, or the model proves nothing.

A mutation patches one function of the product, or changes what it is given. `hint` is the profile under which it shows soon.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from bridge import dedupe, lane, pipeline, plan, recovery, standby
from bridge.dedupe import Window
from bridge.errors import Restart
from bridge.journal import Journal
from bridge.journals import Journals
from bridge.ledger import FIRST, PLAN, READY, Memory
from bridge.pipeline import Pipeline
from bridge.publisher import Aborted, Publisher
from tests.model import clients, faults
from tests.model.run import ANY, Profile

if TYPE_CHECKING:
    from collections.abc import Callable

Patch = contextlib.AbstractContextManager[Any]


@dataclass(frozen=True)
class Mutation:
    """One. name: what is wrong. apply: makes the patch. hint: where it shows."""

    name: str
    apply: Callable[[], Patch]
    hint: Profile = ANY


def _wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[], Patch]:
    """Replace a function by what `make` makes of it."""
    return lambda: mock.patch.object(owner, name, make(getattr(owner, name)))


def _skip_fence() -> Patch:
    """Never become the only producer: go on with whatever epoch is the broker's present one."""

    def init(self: Any, _timeout: float) -> None:
        known = self._broker._ids.get(self._name)
        if known is None:
            self._broker.init(self._name)
        self._epoch = self._broker._ids[self._name].epoch
        self._state = "ready"

    return mock.patch.object(clients.Producer, "init_transactions", init)


def _publish_before_reading(_: Any) -> Any:
    """Fence, and publish by what the reader happened to know before."""

    def mutant(self: Any, _reader: Any, *rest: Any) -> None:
        made, memory, pending = rest
        parts = self._parts
        made.fence()
        made.commit([], self._entry_record(kind=FIRST, nonce="mutant"), parts.lane)
        self._memory, self._outages = memory, parts.outages(memory)
        parts.pipeline.adopt(memory, self._outages, pending.handover())
        self._position = pending.first
        self._become(lane.ACTIVE, None)

    return mutant


def _read_before_fence(take_over: Any) -> Any:
    """Read to the end, then fence: what was committed in between is unknown."""

    def mutant(self: Any, reader: Any, *rest: Any) -> None:
        _, memory, pending = rest
        for entry, at in reader.poll(lane.POLL):
            memory.take(entry, at)
            pending.show(entry, self._clock())
        _publish_before_reading(take_over)(self, reader, *rest)

    return mutant


def _trim_before_commit(next_batch: Any) -> Any:
    """The journal forgets frames when they are read."""

    def mutant(self: Any, made: Any) -> Any:
        batch = next_batch(self, made)
        self._parts.journal.trim(batch.position)
        self._position = batch.position
        return batch

    return mutant


def _claim_before_commit(commit: Any) -> Any:
    """Heartbeats say that frames are disposed of which are not committed: an abort forgets them."""

    def mutant(self: Any, made: Any, batch: Any) -> None:
        try:
            commit(self, made, batch)
        except Exception:
            self._parts.journal.trim(batch.position)
            raise

    return mutant


def _without_hashes(entry_record: Any) -> Any:
    """One entry in four tells nothing of its frames."""

    def mutant(self: Any, *, kind: str, **fields: Any) -> Any:
        if fields.get("codes") and self._parts.chance() < 0.25:
            fields |= {"codes": b"", "hashes": b""}
        return entry_record(self, kind=kind, **fields)

    return mutant


def _no_entry(commit: Any) -> Any:
    """One transaction in four goes without its entry."""

    def mutant(self: Any, records: Any, entry: Any, partition: int) -> Any:
        send = self._producer.produce
        if records and self._producer._process.chance.random() < 0.25:

            def produce(topic: str, *args: Any, **options: Any) -> None:
                if topic != entry.topic:
                    send(topic, *args, **options)

            with mock.patch.object(self._producer, "produce", produce):
                return commit(self, records, entry, partition)
        return commit(self, records, entry, partition)

    return mutant


def _again_after_time_out(commit: Any) -> Any:
    """A commit whose outcome is unknown is followed by the same records in another transaction."""

    def mutant(self: Any, records: Any, entry: Any, partition: int) -> Any:
        raw = self._producer.commit_transaction

        def once(timeout: float) -> None:
            try:
                raw(timeout)
            except Exception:
                if self._producer._state == "committing" and self._producer._fatal is None:
                    self._producer._ask("commit", lambda: None, 60.0)
                    raw(60.0)
                    raise Aborted(Restart("no answer", where="kafka"), 0) from None
                raise

        with (
            mock.patch.object(self._producer, "commit_transaction", once),
            mock.patch.object(self, "_end", return_value=None),
        ):
            return commit(self, records, entry, partition)

    return mutant


def _abort_is_commit(commit: Any) -> Any:
    """What was aborted is taken for published."""

    def mutant(self: Any, records: Any, entry: Any, partition: int) -> Any:
        try:
            return commit(self, records, entry, partition)
        except Aborted:
            return 0.0

    return mutant


def _forgetful(take: Any) -> Any:
    """The window does not survive a restart: entries are read for all but their frames."""

    def mutant(self: Any, entry: Any, at: int) -> None:
        with mock.patch.object(self.window, "replay", return_value=None):
            take(self, entry, at)

    return mutant


def _uncommitted() -> Patch:
    """The ledger is read with read_uncommitted."""
    return mock.patch.object(clients.Consumer, "committed", new=False)


def _too_far(resume: Any) -> Any:
    """A restart goes on behind what it finds in its journal."""

    def mutant(self: Any, journal: str, *, first: int, openings: Any) -> int:
        ends: list[int] = [end for end, _ in openings]
        found: int = resume(self, journal, first=first, openings=openings)
        return max([found, *ends[-1:]])

    return mutant


def _careless_resume(_: Any) -> Any:
    """A position is trusted also where the machine lost the frames."""

    def mutant(self: Any, journal: str, *, first: int, openings: Any) -> int:  # noqa: ARG001
        return max(int(self.positions.get(journal, (first, ""))[0]), first)

    return mutant


def _ticks_too_much(show: Any) -> Any:
    """Any entry with frames ticks off the oldest of the own."""

    def mutant(self: Any, entry: Any, now: float) -> None:
        show(self, entry, now)
        if entry.codes and self._frames:
            self._take(next(iter(self._frames)))

    return mutant


def _keeps_superseded(handover: Any) -> Any:
    """Late states are published although newer ones are."""

    def mutant(self: Any) -> Any:
        found = handover(self)
        return standby.Handover(found.until, found.waiting, frozenset(), found.outages)

    return mutant


def _without_orders(entry_record: Any) -> Any:
    """The ledger does not say when the gateway made a state."""

    def mutant(self: Any, *, kind: str, **fields: Any) -> Any:
        return entry_record(self, kind=kind, **(fields | {"orders": b""}))

    return mutant


def _newer_is_older(is_behind: Any) -> Any:
    """Of two states that which was made later is superseded."""

    def mutant(self: Any, seen: Any) -> Any:
        shown = self._memory.window.newest(seen.entity)
        return 0 < shown < seen.order if shown and seen.order and shown != seen.order else is_behind(self, seen)

    return mutant


def _trusting(adopt: Any) -> Any:
    """After a takeover no frame is thought to be older than what the process before published."""

    def mutant(self: Any, *known: Any, **more: Any) -> None:
        adopt(self, *known, **more)
        self._wary_until = 0

    return mutant


def _stays(_: Any) -> Any:
    """A lane of an older plan goes on publishing."""

    def mutant(self: Any, entry: Any) -> bool:
        own = entry.generation == self._generation
        self._begun = self._begun or (own and (entry.kind == READY or entry.position is not None))
        return bool(own and entry.kind != PLAN)

    return mutant


def _leaves_journals(_: Any) -> Any:
    """What waits in the journals of another plan is not moved."""
    return lambda _self, _spread: 0


def _inherits_nothing(_: Any) -> Any:
    """A lane knows nothing of what the lanes before published."""
    return lambda _self, _memory: None


def _judges_again(handover: Any) -> Any:
    """A takeover judges all of its journal anew, also what was disposed of."""

    def mutant(self: Any) -> Any:
        found = handover(self)
        every = frozenset(range(found.until))
        return standby.Handover(found.until, every, found.superseded, found.outages)

    return mutant


def _looks_at_nothing(take_over: Any) -> Any:
    """A takeover does not look at what came since."""

    def mutant(self: Any, reader: Any, made: Any, memory: Any, pending: Any) -> None:
        with mock.patch.object(pending, "handover", return_value=None):
            take_over(self, reader, made, memory, pending)

    return mutant


def _no_collision(judge: Any) -> Any:
    """The same number is the same frame, whatever it holds."""

    def mutant(self: Any, traits: int, identity: int, content: int, entity: int) -> int:
        return int(judge(self, traits & ~dedupe.CONTENT, identity, content, entity))

    return mutant


def _short_window(begin: Any) -> Any:
    """The window ends before it should."""

    def mutant(self: Any, first: int, frames: Any, now: int) -> Any:
        self._memory.window.expire(now + self._memory.window.span - 300)
        return begin(self, first, frames, now)

    return mutant


def _small_window(_: Any) -> Any:
    def mutant(self: Any, *, span: int, max_identities: int, keep_unchanged: bool = False) -> None:  # noqa: ARG001
        original(self, span=span, max_identities=16, keep_unchanged=keep_unchanged)

    original = Window.__init__
    return mutant


def _never_down(_: Any) -> Any:
    """A gap is never opened."""

    def mutant(self: Any, known: Any, _cause: str, _since: Any, _at: int, *, up: bool = False) -> list[Any]:
        self._set(recovery._changed(known, up=up))
        return []

    return mutant


def _no_crash_gap(event: Any) -> Any:
    """A process that starts does not think of what it missed."""

    def mutant(self: Any, *told: Any) -> Any:
        kind, known = told[2], self._connections.get(told[:2])
        silent = kind == "start" or (kind == "up" and known is not None and known.up)
        return [] if silent else event(self, *told)

    return mutant


def _all_outages_covered(_: Any) -> Any:
    """What the active has covered is not asked."""
    return lambda _self, _outage: True


def _no_letters(bury: Any) -> Any:
    """A dead letter whose transaction was aborted is not made again."""

    def mutant(self: Any, batch: Any, *rest: Any) -> None:
        position = rest[2]
        late = self._memory.entries > 1 and position < self._handover.until
        if not late and position not in self.poisoned:
            bury(self, batch, *rest)

    return mutant


def _seq_only_states(judge: Any) -> Any:
    """An unchanged state is published."""

    def mutant(self: Any, traits: int, identity: int, content: int, entity: int) -> int:
        return int(judge(self, traits & ~dedupe.STATE, identity, content, entity) | (traits & dedupe.STATE))

    return mutant


def _content_window(judge: Any) -> Any:
    """A state that was ever published is a repetition."""

    def mutant(self: Any, traits: int, identity: int, content: int, entity: int) -> int:
        code = int(judge(self, traits, identity, content, entity))
        said = self.__dict__.setdefault("said", set())
        if traits & dedupe.STATE and code & dedupe.DISPOSITION_MASK == dedupe.PUBLISHED:
            if (entity, content) in said:
                return traits | dedupe.UNCHANGED
            said.add((entity, content))
        return code

    return mutant


def _no_cut(write: Any) -> Any:
    """A write that failed half way leaves its half in the file."""

    def mutant(self: Any, segment: Any, data: bytes) -> None:
        def keep(*_: Any) -> None:
            return None

        with mock.patch("tests.model.outside.Disk.ftruncate", keep, create=True):
            try:
                write(self, segment, data)
            finally:
                pass

    return mutant


def _reordered(finish: Any) -> Any:
    """Records leave in another order than frames came."""

    def mutant(self: Any, batch: Any) -> None:
        finish(self, batch)
        batch.records.reverse()

    return mutant


_ALONE: Final = Profile(processes=1)
_ANSWERS: Final = Profile(weights={faults.lose_answers: 4, faults.flaky: 2, faults.broker_slow: 1, faults.isolate: 1})
_ERRORS: Final = Profile(weights={faults.client_error: 3, faults.time_out: 1, faults.isolate_long: 1})
_KILLS: Final = Profile(processes=1, weights={faults.crash: 1})
_TAKEOVERS: Final = Profile(
    processes=2,
    weights={faults.crash: 3, faults.pause: 2, faults.isolate: 2, faults.broker_slow: 1, faults.cut_host: 2},
)
_PLANS: Final = Profile(processes=2, lanes=3, weights={faults.replan: 2, faults.two_plans: 3, faults.crash: 1})
_SLOW_LINES: Final = Profile(
    processes=2, weights={faults.lag: 4, faults.pause: 2, faults.cut: 3, faults.crash: 1, faults.stop: 1}
)
_CUTS: Final = Profile(processes=2, weights={faults.cut: 3, faults.cut_host: 2, faults.crash: 1, faults.stop: 1})

MUTATIONS: Final = (
    Mutation("skip the fence", _skip_fence, _TAKEOVERS),
    Mutation("publish before the ledger is read", _wrap(lane.Lane, "_take_over", _publish_before_reading), _TAKEOVERS),
    Mutation("read before the fence only", _wrap(lane.Lane, "_take_over", _read_before_fence), _TAKEOVERS),
    Mutation("trim the journal before the commit", _wrap(lane.Lane, "_next_batch", _trim_before_commit), _KILLS),
    Mutation("trim the journal when a commit failed", _wrap(lane.Lane, "_commit", _claim_before_commit), _ERRORS),
    Mutation("lose the hashes of an entry", _wrap(lane.Lane, "_entry_record", _without_hashes)),
    Mutation("lose a ledger entry", _wrap(Publisher, "commit", _no_entry)),
    Mutation("send again after a commit without answer", _wrap(Publisher, "commit", _again_after_time_out), _ANSWERS),
    Mutation("take an abort for a commit", _wrap(Publisher, "commit", _abort_is_commit), _ERRORS),
    Mutation("forget the window at a restart", _wrap(Memory, "take", _forgetful), _CUTS),
    Mutation("read the ledger uncommitted", _uncommitted, _ERRORS),
    Mutation("resume at the end of the journal", _wrap(Memory, "resume", _too_far), _KILLS),
    Mutation(
        "trust a position that the machine lost",
        _wrap(Memory, "resume", _careless_resume),
        Profile(processes=1, weights={faults.crash_machine: 3, faults.lose_answers: 1}),
    ),
    Mutation("tick off frames that were not shown", _wrap(standby.Pending, "show", _ticks_too_much), _CUTS),
    Mutation("publish superseded states", _wrap(standby.Pending, "handover", _keeps_superseded), _CUTS),
    Mutation("say nothing of when states were made", _wrap(lane.Lane, "_entry_record", _without_orders), _CUTS),
    Mutation("publish older states behind newer ones", _wrap(standby.Pending, "_is_behind", _newer_is_older), _CUTS),
    Mutation("take no frame after a takeover for an old one", _wrap(Pipeline, "adopt", _trusting), _SLOW_LINES),
    Mutation("publish by an old plan of lanes", _wrap(plan.Course, "hear", _stays), _PLANS),
    Mutation("leave the journals of another plan", _wrap(Journals, "move", _leaves_journals), _PLANS),
    Mutation("inherit nothing from older plans", _wrap(plan.Heritage, "into", _inherits_nothing), _PLANS),
    Mutation("judge anew what a standby has disposed of", _wrap(standby.Pending, "handover", _judges_again), _CUTS),
    Mutation("take over without a look at the journal", _wrap(lane.Lane, "_take_over", _looks_at_nothing), _CUTS),
    Mutation("ignore collisions", _wrap(Window, "judge", _no_collision)),
    Mutation("expire the window too early", _wrap(Pipeline, "begin", _short_window), _CUTS),
    Mutation("keep too few identities", _wrap(Window, "__init__", _small_window), _CUTS),
    Mutation("never open a gap", _wrap(recovery.Outages, "_down", _never_down)),
    Mutation("open no gap after a crash", _wrap(recovery.Outages, "event", _no_crash_gap), _KILLS),
    Mutation("forget the outages of a standby", _wrap(standby.Pending, "_covered", _all_outages_covered), _CUTS),
    Mutation("drop dead letters on retry", _wrap(pipeline.Pipeline, "_bury", _no_letters), _TAKEOVERS),
    Mutation("publish unchanged states", _wrap(Window, "judge", _seq_only_states)),
    Mutation("take A after B for a repetition of A", _wrap(Window, "judge", _content_window)),
    Mutation(
        "leave half a block in the journal",
        _wrap(Journal, "_write", _no_cut),
        Profile(processes=1, weights={faults.disk_refuses: 2, faults.crash: 2}),
    ),
    Mutation("publish in another order", _wrap(Pipeline, "finish", _reordered)),
)
