"""The ledger remembers what was written, within its bound."""

from __future__ import annotations

from pathlib import Path

from bridge.sim import Sent, SentLog, as_line, from_line
from bridge.sim.sent import Batch


def batch(first: int, count: int, connection: int = 1) -> Batch:
    """A batch of numbered frames."""
    return Batch(connection, "list", first, 1000, [b"%d" % n for n in range(first, first + count)], [None] * count)


def test_batches_unfold_to_frames() -> None:
    """Index, connection and time of each frame."""
    log = SentLog()
    log.add(batch(0, 2))
    log.add(batch(0, 1, connection=2))
    assert list(log) == [Sent(1, "list", 0, 1000, b"0"), Sent(1, "list", 1, 1000, b"1"), Sent(2, "list", 0, 1000, b"0")]
    assert log.of(2) == [Sent(2, "list", 0, 1000, b"0")]


def test_the_bound_holds() -> None:
    """Never fewer than `keep`, never more than one batch above it; the total goes on."""
    log = SentLog(keep=10)
    for n in range(50):
        log.add(batch(3 * n, 3))
        assert len(log) < 10 + 3
        assert len(log) >= min(10, 3 * (n + 1))
    assert log.total == 150
    assert [sent.index for sent in log][-1] == 149


def test_nothing_may_be_kept() -> None:
    """keep=0 counts only."""
    log = SentLog(keep=0)
    log.add(batch(0, 5))
    assert (len(log), log.total, list(log)) == (0, 5, [])


def test_lines_hold_any_bytes(tmp_path: Path) -> None:
    """Text stays text, other bytes are base64; both come back."""
    for raw in (b'{"a":"\xc3\xbc"}', b"\xff\x00"):
        sent = Sent(3, "market", 7, 99, raw, "malformed:not_utf8")
        assert from_line(as_line(sent)) == sent
    log = SentLog(keep=0, spool=tmp_path / "spool")
    log.add(batch(0, 2))
    log.flush()
    assert len((tmp_path / "spool").read_bytes().splitlines()) == 2
    log.close()
    log.close()
