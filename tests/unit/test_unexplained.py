"""The account of the chaos tests finds what is lost silently, and nothing else."""

from __future__ import annotations

from tests.chaos.gaps import Gap, unexplained

#: Frame `n` is sent at second `n` and received 5 ms later.
SENT = {seq: seq * 1000 for seq in range(1, 11)}


def received(*missing: int) -> dict[int, int]:
    """All that was sent, but for these."""
    return {seq: at + 5 for seq, at in SENT.items() if seq not in missing}


def gap(begin: int, end: int | None) -> Gap:
    """A gap of that time."""
    return Gap("1", "cs2", "list", begin, end, "disconnect", "lost")


def test_what_is_all_there_needs_no_gap() -> None:
    """Nor what was sent before anything was published."""
    assert unexplained(SENT, received(), []) == []
    assert unexplained(SENT, received(1, 2), []) == []


def test_what_is_missing_must_lie_in_a_gap() -> None:
    """From the last frame before to the first one after; a gap elsewhere does not help."""
    assert unexplained(SENT, received(4, 5), []) == [4, 5]
    assert unexplained(SENT, received(4, 5), [gap(3005, 6005)]) == []
    assert unexplained(SENT, received(4, 5), [gap(7005, 9005)]) == [4, 5]


def test_a_gap_that_is_too_short_is_found_out() -> None:
    """At either end, and where two gaps leave something between them."""
    assert unexplained(SENT, received(4, 5), [gap(3005, 4900)]) == [5]
    assert unexplained(SENT, received(4, 5), [gap(4700, 6005)]) == [4]
    assert unexplained(SENT, received(4, 5, 6), [gap(3005, 4100), gap(5900, 7005)]) == [5]


def test_an_open_gap_lasts_for_ever() -> None:
    """The end of the stream, after a stop."""
    assert unexplained(SENT, received(9, 10), []) == [9, 10]
    assert unexplained(SENT, received(9, 10), [gap(8005, None)]) == []


def test_a_frame_may_be_under_way_for_a_while() -> None:
    """A gap that begins when the last frame was received covers one that was sent a little before."""
    assert unexplained(SENT, received(4), [gap(4080, 5005)], transit=100) == []
    assert unexplained(SENT, received(4), [gap(4120, 5005)], transit=100) == [4]


def test_what_was_never_sent_was_due_between_its_neighbours() -> None:
    """A feed that went on while nobody listened."""
    sent = {seq: at for seq, at in SENT.items() if seq not in {4, 5, 6}}
    there = {seq: at + 5 for seq, at in sent.items()}
    assert unexplained(sent, there, [gap(3005, 7000)]) == []
    assert unexplained(sent, there, [gap(3005, 5500)]) == [6]
    assert unexplained(sent, there, [gap(5600, 7000)]) == [4, 5]
