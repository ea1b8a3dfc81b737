"""What the demo shows fits, is calm, and adds up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import screen
from bridge.screen import Counts, Facts, Meter


def facts(**changes: object) -> Facts:
    """Return facts as they may be in the middle of a demo."""
    counts = Counts(
        frames=12_345, records=11_200, duplicates=1_034, unchanged=111, dead_letters=7, waiting=3,
        topics={f"cs2.type-{number}": 1000 - number for number in range(20)},
    )  # fmt: skip
    given: dict[str, object] = {
        "seconds": 67.4, "state": "All is well.", "level": "good", "page": "http://127.0.0.1:8080", "counts": counts,
        "rates": {"frames": 301.2, "records": 280.0, "cs2.type-0": 91.0}, "record": ("cs2.type-0, decoded", '{"a":1}'),
        "path": "simulated → feedbridge → Kafka", "foot": ["a stand-in", "--kafka HOST:PORT"],
    }  # fmt: skip
    return Facts(**(given | changes))  # type: ignore[arg-type]


def test_screen_shows_the_numbers() -> None:
    """Frames in, records out, what was dropped, topics, one record, and what the broker is."""
    shown = screen.screen(facts(), width=80, height=24).plain
    for text in (
        "1:07",
        "● All is well.",
        "12,345",
        "301/s",
        "11,200",
        "1,034",
        "111",
        "cs2.type-0",
        "91/s",
        '{"a":1}',
        "--kafka",
    ):
        assert text in shown


@given(
    width=st.integers(40, 200),
    height=st.integers(16, 60),
    topics=st.dictionaries(st.text(min_size=1, max_size=50), st.integers(0, 10**9), max_size=20),
    record=st.none() | st.tuples(st.text(max_size=200), st.text(max_size=600)),
    state=st.text(max_size=300),
)
def test_screen_fits(
    width: int, height: int, topics: dict[str, int], record: tuple[str, str] | None, state: str
) -> None:
    """Whatever is to be shown, no line is too long and none too many, and nothing steers the terminal."""
    shown = screen.screen(facts(counts=Counts(topics=topics), record=record, state=state), width=width, height=height)
    lines = shown.split("\n", allow_blank=True)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    assert all(char == "\n" or char.isprintable() or char.isspace() for char in shown.plain if ord(char) < 0xA0)


def test_screen_of_80_by_24_has_room_for_topics() -> None:
    """On the smallest usual terminal the busiest topics, the rest, the record and the foot are all there."""
    lines = screen.screen(facts(), width=80, height=23).plain.split("\n")
    assert "  and 16 more topics" in "\n".join(lines)
    assert lines[-1] == "--kafka HOST:PORT"
    assert len(lines) == 23


@pytest.mark.parametrize("width", [40, 48, 60, 80, 200])
def test_no_number_is_cut_off(width: int) -> None:
    """On a narrow window names are shorter, or there is a line for each; all numbers are there."""
    shown = screen.screen(facts(), width=width, height=24).plain.split("\n")
    text = "\n".join(shown)
    for name, number in (
        ("frames in", "12,345"),
        ("records out", "11,200"),
        ("duplicates", "1,034"),
        ("unchanged", "111"),
        ("waiting", "3"),
    ):
        assert any(name in line and number in line.split() for line in shown), (name, text)


def test_topics_keep_their_places() -> None:
    """The busiest are shown, in the order of their names: rows do not jump when counts pass each other."""
    one = facts(counts=Counts(topics={"b": 10, "a": 9, "c": 1}))
    two = facts(counts=Counts(topics={"b": 10, "a": 11, "c": 1}))
    order = [
        [line.split()[0] for line in screen.screen(each, width=80, height=40).plain.split("\n")[9:12]]
        for each in (one, two)
    ]
    assert order == [["a", "b", "c"]] * 2


def test_line_holds_the_numbers() -> None:
    """Where no terminal is, one line says it all."""
    line = screen.line(facts())
    assert "\n" not in line
    assert "frames in 12,345 (301/s)" in line
    assert "duplicates dropped 1,034" in line


def test_rates_are_over_the_last_seconds() -> None:
    """A rate is what came in the last five seconds, not since the start."""
    meter = Meter()
    assert meter.rates(Counts(), 0.0) == {}
    for second in range(1, 11):
        rates = meter.rates(Counts(frames=100 * second, topics={"a": second}), float(second))
        assert rates["frames"] == pytest.approx(100)
    calm = [meter.rates(Counts(frames=1000, topics={"a": 10}), float(second)) for second in range(11, 30)]
    assert calm[-1] == {"frames": 0, "records": 0, "a": 0}
    assert len(meter._past) < 10
