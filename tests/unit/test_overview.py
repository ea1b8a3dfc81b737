"""What the status says of gaps and dead letters: enough to look further, and nothing private."""

from __future__ import annotations

import pytest

from bridge.dead_letter import Buried
from bridge.ledger import Gap
from bridge.overview import GAPS, gaps, letters


def gap(since: int, **changes: object) -> Gap:
    """One of the list stream."""
    facts: dict[str, object] = {"cause": "disconnect", "until": since + 10, "state": "filled", **changes}
    return Gap(f"cs2/list/{since}/0", "cs2", "list", since, **facts)  # type: ignore[arg-type]


def test_one_break_is_one_gap_for_all_lanes() -> None:
    """In its worst state, with all that was had again, open while one lane has it open."""
    (found,) = gaps([
        (0, [gap(5, recovered=3, how="received by a standby")]),
        (1, [gap(5, state="lost", until=20)]),
        (2, [gap(5, state="partly", recovered=1, how="snapshot over REST")]),
    ])  # fmt: skip
    assert found == {
        "gateway": "cs2", "connection": "list", "since": 5, "cause": "disconnect", "until": 20, "state": "lost", "how": None,
        "recovered": 4, "lanes": [0, 1, 2],
    }  # fmt: skip
    (found,) = gaps([(0, [gap(5)]), (1, [gap(5, state="open", until=None)])])
    assert (found["state"], found["until"]) == ("open", None)


def test_gaps_are_the_newest() -> None:
    """First the last, and only so many; other causes and times are other gaps."""
    found = gaps([(0, [gap(since) for since in range(GAPS + 5)])])
    assert [each["since"] for each in found] == list(range(GAPS + 4, 4, -1))
    assert len(gaps([(0, [gap(5), gap(5, cause="silence")])])) == 2


@pytest.mark.parametrize(
    ("path", "open_path", "private_path"),
    [
        (None, None, None),
        ("data.odds[2].value", "data.odds[2].value", "data.odds[2].value"),
        ("data.0x12ab.note", "data.0x12ab.note", "data.….note"),
        ("data.my secret", "data.my secret", "data.…"),
        ("d" * 200, "d" * 120 + "…", "d" * 120 + "…"),
    ],
)
def test_paths_of_dead_letters(path: str | None, open_path: str | None, private_path: str | None) -> None:
    """Those of private gateways hold names of fields and places in lists, never what a frame has brought as a name."""
    buried = [Buried(1, "cs2", "match.updated", "wrong_type", path), Buried(2, "wallet", "order", "wrong_type", path)]
    assert [each["path"] for each in letters(buried, {"wallet"})] == [open_path, private_path]
