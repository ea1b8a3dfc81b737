"""The window judges as design section 7 says, and the ledger rebuilds it exactly."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import dedupe
from bridge.dedupe import CONTENT, FROM_REST, IDENTIFIED, MATCHED, ORDER, STATE, TRIPLE, Window
from bridge.frame import Disposition

EVENT_BY_SEQ = IDENTIFIED | CONTENT | MATCHED
STATE_BY_SEQ = IDENTIFIED | CONTENT | STATE
BY_ID = IDENTIFIED


def window(span: int = 3_600_000, max_identities: int = 1_000_000) -> Window:
    """A window of one hour and plenty of room."""
    return Window(span=span, max_identities=max_identities)


def judge(judging: Window, traits: int, identity: int, content: int, entity: int = 0, *, now: int = 1) -> Disposition:
    """What the window says of one frame."""
    return Disposition(judging.admit(traits, identity, content, entity, now) & dedupe.DISPOSITION_MASK)


class TestAdmit:
    """One frame after another."""

    def test_same_identity_and_content_is_a_duplicate(self) -> None:
        """A redelivered frame is dropped."""
        judging = window()
        assert judge(judging, EVENT_BY_SEQ, 1, 10) is Disposition.PUBLISHED
        assert judge(judging, EVENT_BY_SEQ, 1, 10) is Disposition.DUPLICATE
        assert len(judging) == 1

    def test_same_identity_with_other_content_is_a_collision_and_published(self) -> None:
        """A "unique-ish" seq never costs a frame; a copy of either content is then a duplicate."""
        judging = window()
        judge(judging, EVENT_BY_SEQ, 1, 10)
        assert judge(judging, EVENT_BY_SEQ, 1, 11) is Disposition.PUBLISHED
        assert judging.collision
        assert judge(judging, EVENT_BY_SEQ, 1, 10) is Disposition.DUPLICATE
        assert judge(judging, EVENT_BY_SEQ, 1, 11) is Disposition.DUPLICATE
        assert judge(judging, EVENT_BY_SEQ, 2, 12) is Disposition.PUBLISHED
        assert not judging.collision

    def test_identity_alone_decides_where_content_does_not_count(self) -> None:
        """A settlement is known by its log id, whatever else was added to it."""
        judging = window()
        assert judge(judging, BY_ID, 1, 10) is Disposition.PUBLISHED
        assert judge(judging, BY_ID, 1, 11) is Disposition.DUPLICATE

    def test_a_state_that_did_not_change_is_dropped(self) -> None:
        """The snapshot after a reconnect is silent where nothing changed."""
        judging = window()
        assert judge(judging, STATE_BY_SEQ, 1, 10, entity=5) is Disposition.PUBLISHED
        assert judge(judging, STATE_BY_SEQ, 2, 10, entity=5) is Disposition.UNCHANGED
        assert judge(judging, STATE_BY_SEQ, 3, 10, entity=6) is Disposition.PUBLISHED

    def test_a_state_that_returns_is_published_again(self) -> None:
        """A, B, A is three records: a bet-stop is never taken for a repetition."""
        judging = window()
        kinds = [judge(judging, STATE_BY_SEQ, seq, content, entity=5) for seq, content in enumerate([10, 11, 10])]
        assert kinds == [Disposition.PUBLISHED] * 3

    def test_a_state_without_identity_is_compared_with_the_last_record_only(self) -> None:
        """Pause, unpause, pause without seq keeps the second pause."""
        judging = window()
        traits = STATE | CONTENT
        kinds = [judge(judging, traits, content, content, entity=5) for content in [10, 11, 10, 10]]
        assert kinds == [*[Disposition.PUBLISHED] * 3, Disposition.UNCHANGED]

    def test_an_unchanged_frame_stays_a_duplicate_after_a_change(self) -> None:
        """Its redelivery is not a new state."""
        judging = window()
        judge(judging, STATE_BY_SEQ, 1, 10, entity=5)
        assert judge(judging, STATE_BY_SEQ, 2, 10, entity=5) is Disposition.UNCHANGED
        judge(judging, STATE_BY_SEQ, 3, 11, entity=5)
        assert judge(judging, STATE_BY_SEQ, 2, 10, entity=5) is Disposition.DUPLICATE

    def test_unchanged_states_are_kept_where_asked_for(self) -> None:
        """``dedupe.unchanged: keep`` publishes them; duplicates still are none."""
        judging = Window(span=1000, max_identities=10, keep_unchanged=True)
        judge(judging, STATE_BY_SEQ, 1, 10, entity=5)
        assert judge(judging, STATE_BY_SEQ, 2, 10, entity=5) is Disposition.PUBLISHED
        assert judge(judging, STATE_BY_SEQ, 2, 10, entity=5) is Disposition.DUPLICATE

    def test_a_rest_row_equal_to_a_live_record_is_a_duplicate(self) -> None:
        """Rows have no seq: content decides."""
        judging = window()
        judge(judging, EVENT_BY_SEQ, 1, 10)
        assert judge(judging, EVENT_BY_SEQ | FROM_REST, 10, 10) is Disposition.DUPLICATE
        assert judge(judging, EVENT_BY_SEQ | FROM_REST, 11, 11) is Disposition.PUBLISHED

    def test_a_live_frame_is_absorbed_by_a_rest_record_once(self) -> None:
        """One live frame for each REST record; the next of the same content is a new event."""
        judging = window()
        judge(judging, EVENT_BY_SEQ | FROM_REST, 10, 10)
        assert judge(judging, EVENT_BY_SEQ, 1, 10) is Disposition.DUPLICATE
        assert judge(judging, EVENT_BY_SEQ, 1, 10) is Disposition.DUPLICATE
        assert judge(judging, EVENT_BY_SEQ, 2, 10) is Disposition.PUBLISHED


class TestExpiry:
    """What is forgotten, and when."""

    def test_identities_older_than_the_span_are_forgotten(self) -> None:
        """And not before."""
        judging = window(span=64_000)
        for second in range(130):
            assert judge(judging, EVENT_BY_SEQ, second, second, now=second * 1000) is Disposition.PUBLISHED
        judging.expire(129_000)
        assert judge(judging, EVENT_BY_SEQ, 70, 70, now=129_000) is Disposition.DUPLICATE
        assert judge(judging, EVENT_BY_SEQ, 20, 20, now=129_000) is Disposition.PUBLISHED
        assert (judging.oldest() or 0) <= 65_000

    def test_the_number_is_bounded(self) -> None:
        """Memory is bounded whatever the rate; the newest stay."""
        judging = window(max_identities=20_000)
        for number in range(100_000):
            judging.admit(EVENT_BY_SEQ, number, number, 0, 1 + number)
        assert 20_000 - 5000 <= len(judging) <= 20_000 + 5000
        assert judge(judging, EVENT_BY_SEQ, 99_999, 99_999, now=100_001) is Disposition.DUPLICATE
        assert judge(judging, EVENT_BY_SEQ, 0, 0, now=100_001) is Disposition.PUBLISHED

    def test_a_variant_outlives_the_first_content(self) -> None:
        """The later of two contents of one identity is forgotten in its own time, not with the first."""
        judging = window(span=64_000)
        judge(judging, IDENTIFIED | CONTENT, 1, 10, now=1000)
        for second in range(2, 60):
            judge(judging, IDENTIFIED | CONTENT, 1000 + second, 0, now=second * 1000)
        assert judge(judging, IDENTIFIED | CONTENT, 1, 11, now=60_000) is Disposition.PUBLISHED
        for second in range(61, 80):
            judge(judging, IDENTIFIED | CONTENT, 1000 + second, 0, now=second * 1000)
        judging.expire(80_000)
        assert judge(judging, IDENTIFIED | CONTENT, 1, 11, now=80_000) is Disposition.DUPLICATE
        for second in range(81, 200):
            judge(judging, IDENTIFIED | CONTENT, 1000 + second, 0, now=second * 1000)
        judging.expire(200_000)
        assert judge(judging, IDENTIFIED | CONTENT, 1, 11, now=200_000) is Disposition.PUBLISHED
        assert not judging.collision

    def test_states_are_forgotten_with_the_window(self) -> None:
        """A restarted process, which knows the window only, judges the same."""
        judging = window(span=1000)
        judge(judging, STATE | CONTENT, 1, 10, entity=5, now=1000)
        judging.expire(2500)
        assert judge(judging, STATE | CONTENT, 2, 10, entity=5, now=2500) is Disposition.PUBLISHED


FRAMES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                EVENT_BY_SEQ,
                EVENT_BY_SEQ | FROM_REST,
                STATE_BY_SEQ,
                STATE | CONTENT,
                BY_ID,
                IDENTIFIED | CONTENT,
            ]
        ),
        st.integers(0, 6),
        st.integers(0, 4),
        st.integers(0, 2),
    ),
    max_size=60,
)


class TestReplay:
    """The ledger gives the same window back."""

    @given(FRAMES, st.integers(0, 60))
    def test_a_window_rebuilt_at_any_point_judges_the_rest_alike(
        self, frames: list[tuple[int, int, int, int]], cut: int
    ) -> None:
        """Live and replayed windows agree on every later frame."""
        live, entries = window(), bytearray()
        hashes = bytearray()
        for traits, identity, content, entity in frames[:cut]:
            code = live.admit(traits, identity, content, entity, 1)
            if code & dedupe.DISPOSITION_MASK != Disposition.DUPLICATE or code & FROM_REST:
                entries.append(code)
                hashes += TRIPLE.pack(identity, content, entity)
        rebuilt = window()
        rebuilt.replay(bytes(entries), bytes(hashes), 1)
        for traits, identity, content, entity in frames[cut:]:
            expected = live.admit(traits, identity, content, entity, 2), live.collision
            assert (rebuilt.admit(traits, identity, content, entity, 2), rebuilt.collision) == expected

    @given(FRAMES)
    def test_every_frame_sent_again_is_dropped(self, frames: list[tuple[int, int, int, int]]) -> None:
        """A whole run with identities, delivered again in the same order, publishes nothing."""
        judging = window()
        run = [frame for frame in frames if frame[0] & IDENTIFIED]
        for frame in run:
            judging.admit(*frame, 1)
        for traits, identity, content, entity in run:
            if not traits & MATCHED or not traits & FROM_REST:
                assert judge(judging, traits, identity, content, entity) is Disposition.DUPLICATE

    def test_the_order_of_states_is_that_of_the_ledger(self) -> None:
        """The last that it tells, also of one that was unchanged; what is published live has none, nor what nobody knows."""
        judging = window()
        event, said = bytes([IDENTIFIED]), IDENTIFIED | STATE
        codes = event + bytes([said, said | Disposition.UNCHANGED, said])
        hashes = b"".join(TRIPLE.pack(each, 1, entity) for each, entity in ((1, 5), (2, 5), (3, 5), (4, 6)))
        judging.replay(codes, hashes, 1, ORDER.pack(100) + ORDER.pack(120) + ORDER.pack(7))
        assert (judging.newest(5), judging.newest(6), judging.newest(9)) == (120, 7, 0)
        judging.admit(said, 9, 2, 5, 2)
        assert judging.newest(5) == 0
        judging.replay(bytes([said]), TRIPLE.pack(10, 3, 6), 3)  # of a version that tells none
        assert judging.newest(6) == 0

    def test_codes_and_hashes_that_do_not_fit_are_refused(self) -> None:
        """A damaged entry is an error, not a shorter window."""
        with pytest.raises((ValueError, struct.error)):
            window().replay(b"\x10\x10", TRIPLE.pack(1, 2, 3), 1)
