"""A standby knows what the ledger has not shown, and takes over for the reasons of design section 8 and no others."""

from __future__ import annotations

import pytest

from bridge import dedupe
from bridge.dedupe import CONTENT, IDENTIFIED, ORDER, STATE, TRIPLE, Window
from bridge.frame import Disposition
from bridge.ledger import ENTRY, HEARTBEAT, RESIGN, Connection, Entry, Gap, Memory
from bridge.standby import CALM, MISSED, MISSED_AGAIN, SETTLED, Handover, Outage, Pending, Seen, Watch

EVENT = IDENTIFIED | CONTENT
AFTER = 1.5


def entry(
    *seen: Seen, kind: str = ENTRY, journal: str = "theirs", connections: list[Connection] | None = None
) -> Entry:
    """An entry of the active that published these."""
    return Entry(
        kind=kind,
        instance="active",
        at=0,
        journal=journal,
        codes=bytes(each.traits for each in seen),
        hashes=b"".join(TRIPLE.pack(each.identity, each.content, each.entity) for each in seen),
        orders=b"".join(ORDER.pack(each.order) for each in seen if each.traits & STATE),
        connections=connections or [],
    )


def event(position: int, identity: int | None = None, content: int | None = None) -> Seen:
    """A frame of its own identity."""
    identity = 1000 + position if identity is None else identity
    return Seen(position, identity, identity if content is None else content, 0, EVENT)


def state(position: int, entity: int, content: int, *, order: int = 0) -> Seen:
    """A state with a number of its own. order: the gateway's time of it (ms); 0: not known."""
    return Seen(position, 5000 + position, content, entity, EVENT | STATE, order=order)


class Standby:
    """A memory and what is pending behind it."""

    def __init__(self, first: int = 0) -> None:
        """Nothing was read yet."""
        self.memory = Memory(Window(span=3_600_000, max_identities=1000))
        self.pending = Pending(self.memory, first)

    def show(self, shown: Entry, now: float = 0.0) -> None:
        """As the lane does it."""
        self.memory.take(shown, 1)
        self.pending.show(shown, now)


class TestPending:
    """Ticking off, in whatever order the two came."""

    def test_frames_are_ticked_off_when_the_ledger_shows_them(self) -> None:
        """The journal can be trimmed up to the first that is not shown."""
        standby = Standby(10)
        standby.pending.receive([event(10), event(11), event(12)], 13, 0.0)
        assert standby.pending.first == 10
        standby.show(entry(event(10), event(12)))
        assert (standby.pending.first, len(standby.pending), standby.pending.matched) == (11, 1, 2)
        standby.show(entry(event(11)))
        assert standby.pending.first == 13

    def test_frames_that_the_ledger_showed_first_never_wait(self) -> None:
        """The active may be quicker than our own socket."""
        standby = Standby()
        standby.show(entry(event(0)))
        standby.pending.receive([event(0)], 1, 0.0)
        assert (standby.pending.first, standby.pending.missed_since()) == (1, None)

    def test_the_wait_counts_from_the_oldest(self) -> None:
        """What the active missed is suspected by its age here."""
        standby = Standby()
        standby.pending.receive([event(0)], 1, 7.0)
        standby.pending.receive([event(1)], 2, 9.0)
        assert standby.pending.missed_since() == 7.0
        standby.show(entry(event(0)))
        assert standby.pending.missed_since() == 9.0

    def test_a_state_that_the_ledger_shows_newer_is_superseded(self) -> None:
        """An older price is not published after a newer one; other entities are not touched, nor events."""
        standby = Standby()
        standby.pending.receive([state(0, 7, 1), state(1, 8, 1), event(2), state(3, 7, 2)], 4, 0.0)
        standby.show(entry(state(3, 7, 2)))
        assert standby.pending.handover().superseded == {0}
        assert standby.pending.handover().until == 4

    def test_a_state_behind_a_newer_one_is_missed_only_in_a_gap(self) -> None:
        """That of a snapshot, which this process alone was sent as it began, is no reason to take the lane."""
        standby = Standby()
        standby.pending.receive([state(0, 7, 1, order=100), state(1, 8, 1, order=100)], 2, 3.0)
        assert standby.pending.missed_since() == 3.0
        standby.show(entry(state(50, 7, 2, order=101), state(51, 8, 2, order=101)))
        assert (standby.pending.missed_since(), standby.pending.first) == (None, 2)
        missed = Standby()
        missed.memory.gaps["a"] = Gap("a", "cs2", "list", 0, "disconnect", until=10)
        missed.pending.receive([state(0, 7, 1, order=100)], 1, 3.0)
        missed.show(entry(state(50, 7, 2, order=101)))
        assert missed.pending.missed_since() == 3.0

    @pytest.mark.parametrize(
        ("mine", "theirs", "superseded"),
        [(100, 101, {0}), (100, 100, set()), (101, 100, set()), (0, 100, set()), (100, 0, set())],
    )
    def test_a_newer_state_that_never_came_here_supersedes_by_the_gateways_time(
        self, mine: int, theirs: int, superseded: set[int]
    ) -> None:
        """Equal or unknown times tell nothing, and then this process can't know."""
        standby = Standby()
        standby.pending.receive([state(0, 7, 1, order=mine), state(1, 8, 1, order=mine)], 2, 0.0)
        standby.show(entry(state(50, 7, 2, order=theirs)))
        assert standby.pending.handover().superseded == superseded

    def test_the_gateways_time_tells_more_than_the_own_journal(self) -> None:
        """Two connections may bring states in another order than that in which they were made."""
        standby = Standby()
        standby.pending.receive([state(0, 7, 1, order=20), state(1, 7, 2, order=10)], 2, 0.0)
        standby.show(entry(state(1, 7, 2, order=10)))
        assert standby.pending.handover().superseded == frozenset()

    def test_an_unchanged_state_says_that_it_still_was_so(self) -> None:
        """Open at 10, still open at 30: the pause of 20 that only this process has was over by then."""
        standby = Standby()
        standby.pending.receive([state(0, 7, 2, order=20)], 1, 0.0)
        standby.show(entry(state(50, 7, 1, order=10)))
        assert standby.pending.handover().superseded == frozenset()
        still = Seen(51, 5051, 1, 7, EVENT | STATE | Disposition.UNCHANGED, order=30)
        standby.show(entry(still))
        assert standby.pending.handover().superseded == {0}

    def test_a_state_that_came_back_supersedes_nothing_before_the_ledger_shows_it(self) -> None:
        """Open, paused, open again, all but the first missed by the active: both are still to be published."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1)))
        standby.pending.receive([state(0, 7, 1), state(1, 7, 2), state(2, 7, 1)], 3, 0.0)
        assert (standby.pending.first, len(standby.pending)) == (1, 2)
        assert standby.pending.handover().superseded == frozenset()
        standby.show(entry(state(2, 7, 1)))
        assert standby.pending.handover().superseded == {1}
        standby.show(entry(state(1, 7, 2)))
        assert (standby.pending.first, len(standby.pending)) == (3, 0)

    def test_a_repetition_supersedes_nothing(self) -> None:
        """A gateway that says an old state once more does not make it newer than what came in between."""
        standby = Standby()
        first = state(0, 7, 1)
        again = Seen(2, first.identity, first.content, first.entity, first.traits)
        standby.pending.receive([first, state(1, 7, 2)], 2, 0.0)
        standby.show(entry(first))
        standby.pending.receive([again], 3, 0.0)
        assert standby.pending.handover().superseded == frozenset()

    def test_a_state_that_the_ledger_showed_before_it_came_supersedes_what_came_before_it(self) -> None:
        """The active is quicker than our own socket, and missed the older one."""
        standby = Standby()
        standby.show(entry(state(1, 7, 2)))
        standby.pending.receive([state(0, 7, 1), state(1, 7, 2)], 2, 0.0)
        assert standby.pending.handover().superseded == {0}

    def test_a_state_as_the_last_published_is_a_change_behind_one_that_waits(self) -> None:
        """A, B, A: were the last A disposed of as unchanged, the entity would stay at B."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1)))
        standby.pending.receive([state(0, 7, 1), state(1, 7, 2), state(2, 7, 1)], 3, 0.0)
        assert standby.pending.handover().waiting == {1, 2}
        assert standby.pending.handover().superseded == frozenset()

    def test_a_change_that_a_snapshot_numbered_anew_is_ticked_off(self) -> None:
        """The ledger's next state of the entity is the first that waits, if it says the same; no other."""
        standby = Standby()
        standby.pending.receive([state(0, 7, 1), state(1, 7, 2)], 2, 0.0)
        standby.show(entry(state(100, 7, 2)))
        assert standby.pending.handover().waiting == {0, 1}
        standby.show(entry(state(101, 7, 1)))
        assert standby.pending.handover().waiting == {1}

    def test_an_older_state_that_says_the_same_ticks_off_nothing(self) -> None:
        """The entity was so before, and is so again: only the gateway's time tells the two apart."""
        standby = Standby()
        standby.pending.receive([state(0, 7, 1, order=20)], 1, 0.0)
        standby.show(entry(state(100, 7, 1, order=10)))
        assert standby.pending.handover().waiting == {0}
        standby.show(entry(state(101, 7, 1, order=20)))
        assert standby.pending.handover().waiting == frozenset()

    def settle(self, standby: Standby) -> None:
        """The ledger goes on and shows nothing new."""
        for now in (SETTLED, SETTLED + 0.5):
            standby.show(entry(kind=HEARTBEAT), now)

    def test_an_unchanged_frame_that_comes_again_is_a_duplicate(self) -> None:
        """Also when its entity has become another meanwhile."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1)))
        standby.pending.receive([state(1, 7, 1), state(2, 7, 2), state(1, 7, 1)], 4, 0.0)
        self.settle(standby)
        assert standby.pending.handover().waiting == {2}
        standby.show(entry(state(2, 7, 2)))
        standby.pending.receive([state(1, 7, 1)], 5, 2.0)
        assert standby.pending.handover().waiting == frozenset()

    def test_a_state_is_unchanged_only_if_the_ledger_stays_so(self) -> None:
        """A, B, A, the last from a snapshot; the active waits for Kafka with B, which this process never received."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1, order=10)))
        standby.pending.receive([state(9, 7, 1, order=30)], 10, 0.0)
        assert standby.pending.handover().waiting == {9}
        standby.show(entry(kind=HEARTBEAT), SETTLED)
        standby.show(entry(state(50, 7, 2, order=20)), SETTLED)
        assert standby.pending.handover() == Handover(10, frozenset({9}))
        standby.show(entry(state(60, 7, 1, order=30)), 3.0)
        assert standby.pending.first == 10

    @pytest.mark.parametrize("order", [0, 40])
    def test_a_state_that_was_unchanged_is_not_missed_behind_a_newer_one(self, order: int) -> None:
        """Nor where nothing tells which is newer: the ledger shows what came after."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1, order=10)))
        standby.pending.receive([state(9, 7, 1, order=30)], 10, 0.0)
        standby.show(entry(state(50, 7, 2, order=order)))
        self.settle(standby)
        assert (standby.pending.missed_since(), standby.pending.first) == (None, 10)

    def test_entries_that_come_at_once_settle_nothing(self) -> None:
        """They may all have been written before the commit that hangs."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1)))
        standby.pending.receive([state(1, 7, 1)], 2, 0.0)
        for _ in range(5):
            standby.show(entry(kind=HEARTBEAT), SETTLED / 2)
        assert standby.pending.handover().waiting == {1}

    def test_a_state_whose_number_the_ledger_shows_by_then_is_none_that_was_missed(self) -> None:
        """Where the number alone tells frames apart, whatever the active's said."""
        standby = Standby()
        mine = Seen(9, 5009, 1, 7, IDENTIFIED | STATE, order=30)
        standby.show(entry(Seen(0, 5000, 1, 7, IDENTIFIED | STATE, order=10)))
        standby.pending.receive([mine], 10, 0.0)
        standby.show(entry(Seen(50, 5009, 2, 7, IDENTIFIED | STATE, order=20)))
        self.settle(standby)
        assert standby.pending.first == 10

    def test_unchanged_states_are_settled_one_after_the_other(self) -> None:
        """What the second says depends on what becomes of the first; behind a change, the same is a change."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1)))
        standby.pending.receive([state(1, 7, 1), state(2, 7, 1), state(3, 7, 2), state(4, 7, 1)], 5, 0.0)
        self.settle(standby)
        assert standby.pending.handover().waiting == {2, 3, 4}
        self.settle(standby)
        assert standby.pending.handover().waiting == {3, 4}
        standby.show(entry(state(3, 7, 2)))
        assert standby.pending.handover().waiting == {4}

    def test_an_old_state_that_comes_again_supersedes_nothing(self) -> None:
        """It is as old as when it came first, whatever its place in the journal."""
        standby = Standby()
        standby.show(entry(state(0, 7, 1)))
        again = Seen(2, state(0, 7, 1).identity, 1, 7, EVENT | STATE)
        standby.pending.receive([state(0, 7, 1), state(1, 7, 2), again], 3, 0.0)
        assert standby.pending.handover() == Handover(3, frozenset({1}))

    def test_states_without_a_number_wait_each(self) -> None:
        """Equal ones are no duplicates of each other."""
        standby = Standby()
        standby.pending.receive(
            [Seen(place, content, content, 7, dedupe.STATE) for place, content in enumerate((1, 2, 1, 1))], 4, 0.0
        )
        assert standby.pending.handover().waiting == {0, 1, 2}

    def test_a_good_frame_that_kafka_refused_is_ticked_off_by_its_dead_letter(self) -> None:
        """In whichever order the two come; its record would only be refused again."""
        letter = Entry(
            kind=ENTRY,
            instance="active",
            at=0,
            codes=bytes([IDENTIFIED | Disposition.DEAD_LETTER]),
            hashes=TRIPLE.pack(99, 0, 0),
        )
        standby = Standby()
        standby.pending.receive([Seen(0, 5, 5, 0, EVENT, buried=99)], 1, 0.0)
        assert len(standby.pending) == 1
        standby.show(letter)
        standby.pending.receive([Seen(1, 5, 5, 0, EVENT, buried=99)], 2, 0.0)
        assert standby.pending.first == 2

    def test_an_outage_that_the_active_lived_through_is_covered(self) -> None:
        """Its own connection had frames after ours was cut: nothing was missed."""
        standby = Standby()
        cut = Outage(5, "cs2", "list", 100)
        standby.pending.receive([cut], 6, 0.0)
        assert standby.pending.handover().outages == {5}
        standby.show(entry(connections=[Connection("cs2", "list", up=True, last_frame=99)]))
        assert standby.pending.first == 5
        standby.show(entry(connections=[Connection("cs2", "list", up=True, last_frame=101)]))
        assert (standby.pending.first, standby.pending.handover().outages) == (6, frozenset())

    def test_an_outage_while_the_active_was_down_too_is_not_covered(self) -> None:
        """Nobody received: it becomes a gap when this process takes over."""
        standby = Standby()
        standby.show(entry(connections=[Connection("cs2", "list", up=False, last_frame=200)]))
        standby.pending.receive([Outage(5, "cs2", "list", 100)], 6, 0.0)
        assert standby.pending.handover().outages == {5}

    def test_frames_are_strange_only_where_the_ledger_shows_them_under_other_numbers(self) -> None:
        """Where it shows others, or nothing, the active may have missed what waits here."""
        standby = Standby()
        standby.pending.receive([event(0), state(1, 7, 70), state(2, 7, 71), state(3, 8, 71)], 4, 1.0)
        found = []
        for shown in (
            entry(kind=HEARTBEAT),
            entry(event(50)),
            entry(state(3, 8, 71)),
            entry(state(60, 7, 71)),
        ):
            standby.show(shown)
            found.append((standby.pending.matched > 0, standby.pending.strange))
        assert found == [(False, False), (False, False), (True, False), (True, False)]
        other = Standby()
        other.pending.receive([event(1, content=70), event(2, content=71)], 3, 1.0)
        other.show(entry(event(60, content=71)))
        assert other.pending.strange

    def test_a_state_that_is_said_again_makes_no_frame_strange(self) -> None:
        """Prices come back: what the active missed has the content of many that it published."""
        standby = Standby()
        standby.pending.receive([state(1, 7, 70), state(2, 7, 71)], 3, 1.0)
        standby.show(entry(state(60, 9, 71)))
        assert not standby.pending.strange

    def test_frames_that_never_match_are_given_up(self) -> None:
        """Two connections with numbers of their own must not fill the journal."""
        standby = Standby()
        standby.pending.receive([event(0)], 1, 1.0)
        standby.pending.receive([event(1)], 2, 50.0)
        assert standby.pending.forget(before=40.0) == 1
        assert standby.pending.first == 1


class TestWatch:
    """When to take over."""

    def watch(self) -> Watch:
        """One that began at 0."""
        watching = Watch(instance="me", takeover_after=AFTER, chance=lambda: 0.5)
        watching.begin(0.0)
        return watching

    def test_an_empty_ledger_is_taken_at_once(self) -> None:
        """Nobody ever had the lane."""
        assert self.watch().decide(0.0, journal="mine") == "vacant"

    def test_a_heartbeat_means_standby_and_silence_takeover(self) -> None:
        """By the own clock, from the last entry heard."""
        watching = self.watch()
        watching.hear(entry(kind=HEARTBEAT), 10.0)
        assert watching.decide(10.0 + AFTER - 0.01, journal="mine") is None
        assert watching.decide(10.0 + AFTER, journal="mine") == "silent"

    def test_silence_does_not_count_while_the_ledger_can_not_be_read(self) -> None:
        """A cut connection to Kafka must not look like a dead active."""
        watching = self.watch()
        watching.hear(entry(), 10.0)
        watching.blind(20.0)
        assert watching.decide(20.0 + AFTER - 0.01, journal="mine") is None
        assert watching.decide(20.0 + AFTER, journal="mine") == "silent"

    def test_a_resigned_lane_is_taken_at_once(self) -> None:
        """SIGTERM hands over without a wait."""
        watching = self.watch()
        watching.hear(entry(kind=RESIGN), 10.0)
        assert watching.decide(10.0, journal="mine") == "resigned"

    def test_an_own_journal_is_gone_on_with_at_once_unless_fenced(self) -> None:
        """Its writer is dead; but one that was fenced may read its own last entry while the other lives."""
        watching = self.watch()
        watching.hear(entry(journal="mine"), 10.0)
        assert watching.decide(10.0, journal="mine") == "own"
        watching.fenced(11.0)
        assert watching.decide(11.0, journal="mine") is None
        watching.taken()
        assert watching.decide(11.0, journal="mine") == "own"

    def test_a_gateway_that_only_we_have_is_taken_after_a_while(self) -> None:
        """Not at once: the active may be reconnecting too."""
        watching = self.watch()
        for now in (10.0, 10.0 + AFTER):
            watching.hear(entry(), now)
            watching.gateway("cs2", own=True, active=False, now=now)
        assert watching.decide(10.0 + AFTER, journal="mine") == "gateway_down"
        watching.gateway("cs2", own=True, active=True, now=20.0)
        watching.hear(entry(), 20.0)
        assert watching.decide(20.0, journal="mine") is None

    def test_missed_frames_are_taken_over_for_once_a_minute_and_only_where_frames_match(self) -> None:
        """Where numbers are a connection's own, every frame would look missed."""
        watching = self.watch()
        watching.hear(entry(), 100.0)
        assert watching.decide(100.0, journal="mine", missed_since=100.0 - MISSED + 0.1) is None
        assert watching.decide(100.0, journal="mine", missed_since=100.0 - MISSED, alike=False) is None
        assert watching.decide(100.0, journal="mine", missed_since=100.0 - MISSED) == "missed"
        watching.hear(entry(), 110.0)
        assert watching.decide(110.0, journal="mine", missed_since=90.0) is None
        watching.hear(entry(), 100.0 + MISSED_AGAIN)
        assert watching.decide(100.0 + MISSED_AGAIN, journal="mine", missed_since=90.0) == "missed"

    @pytest.mark.parametrize("duels", [1, 5, 50])
    def test_lost_duels_make_patient_and_calm_makes_quick_again(self, duels: int) -> None:
        """Never more than three times the time, and not for ever."""
        watching = self.watch()
        for _ in range(duels):
            watching.fenced(10.0)
        watching.hear(entry(), 10.0)
        assert watching.decide(10.0 + AFTER, journal="mine") is None
        assert watching.decide(10.0 + AFTER * 3, journal="mine") == "silent"
        watching.hear(entry(), 10.0 + CALM + 1)
        assert watching.decide(10.0 + CALM + 1 + AFTER, journal="mine") == "silent"


class TestCover:
    """A lane that is another's."""

    def watch(self) -> Watch:
        """Of a process that only covers."""
        return Watch(instance="me", takeover_after=AFTER, chance=lambda: 0.0, covers=True)

    def test_what_nobody_has_is_left_to_its_owner_for_a_while(self) -> None:
        """Vacant, resigned before it came, its own from before: all of these may be about to be taken."""
        resigned, own = entry(kind=RESIGN), entry(journal="mine")
        for last, reason in ((None, "vacant"), (resigned, "resigned"), (own, "own")):
            watching = self.watch()
            watching.begin(10.0, last)
            assert watching.decide(10.0, journal="mine") is None
            assert watching.decide(10.0 + AFTER - 0.01, journal="mine") is None
            assert watching.decide(10.0 + AFTER, journal="mine") == reason

    def test_an_owner_that_resigns_is_followed_at_once(self) -> None:
        """As any standby does."""
        watching = self.watch()
        watching.begin(10.0, entry())
        assert watching.decide(10.0, journal="mine") is None
        watching.hear(entry(kind=RESIGN), 10.5)
        assert watching.decide(10.5, journal="mine") == "resigned"
