"""The journal keeps what it was given, cuts what is torn, and is held by one process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import journal as journal_module
from bridge.errors import ConfigError, Locked
from bridge.frame import EVENT, STREAM, Frame
from bridge.journal import HEADER, MANY_OPENINGS, Journal
from bridge.lanes import Origin, wrap

ALL = {"max_frames": 10_000, "max_bytes": 1 << 30}


def frames(start: int, count: int, size: int = 20) -> list[Frame]:
    """Frames that can be told apart."""
    return [Frame("g", "c", 1000 + n, STREAM, b"%d" % n + b"x" * size) for n in range(start, start + count)]


def opened(path: Path, instance: str = "me", *, max_bytes: int = 1 << 30) -> Journal:
    """A journal without fsync."""
    return Journal.open(path, max_bytes=max_bytes, instance=instance)


def full(journal: Journal) -> bool:
    """A function, because a property is taken for unchanged by the type checker."""
    return journal.full


def segments(path: Path) -> list[Path]:
    """The segment files, oldest first."""
    return sorted(path.glob("*.log"))


def test_openings_are_told_until_a_process_has_committed(tmp_path: Path) -> None:
    """A machine crashed and lost frames that the ledger counts; what came since has their positions, restart or not."""
    first = opened(tmp_path, "a")
    assert first.openings == [(0, "a")]
    first.append(frames(0, 5))
    first.confirm()
    first.close()
    second = opened(tmp_path, "b")
    assert second.openings == [(5, "b")]
    second.append(frames(5, 5))
    second.close()
    third = opened(tmp_path, "c")
    assert third.openings == [(5, "b"), (10, "c")]
    third.confirm()
    third.close()
    fourth = opened(tmp_path, "d")
    assert fourth.openings == [(10, "d")]
    fourth.close()


def test_of_many_openings_the_first_and_the_last_are_told(tmp_path: Path) -> None:
    """Those bound what is new; a process that dies at each start must not fill the folder."""
    told: list[tuple[int, str]] = []
    for number in range(40):
        journal = opened(tmp_path, f"p{number}")
        told = journal.openings
        journal.append(frames(number, 1))
        journal.close()
    assert told == [(0, "p0"), *((number, f"p{number}") for number in range(25, 40))]
    assert len(list(tmp_path.glob("opened.*"))) == MANY_OPENINGS


def test_frames_come_back_in_order_with_their_positions(tmp_path: Path) -> None:
    """What was appended is read, from memory and, after a restart, from disk."""
    journal = opened(tmp_path)
    assert journal.append(frames(0, 3)) == 0
    assert journal.append(frames(3, 2)) == 3
    assert journal.read(0, **ALL) == (0, frames(0, 5))
    assert journal.read(4, **ALL) == (4, frames(4, 1))
    assert journal.read(5, **ALL) == (5, [])
    journal.close()
    again = opened(tmp_path)
    assert (again.first, again.end, again.frames) == (0, 5, 5)
    assert again.read(1, **ALL) == (1, frames(1, 4))
    assert again.append(frames(5, 1)) == 5
    assert again.read(0, **ALL) == (0, frames(0, 6))
    assert again.id == journal.id
    again.close()


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    """In words that say what is wrong, and the setting that says where it is."""
    (tmp_path / "journal").touch()
    with pytest.raises(ConfigError, match=r"there is a file in place of the folder; set journal\.path"):
        opened(tmp_path / "journal")


def test_only_frames_are_counted(tmp_path: Path) -> None:
    """Not what stands between them of connections: who reads that two are left asks what was not published. Nor after a restart."""
    up = Frame("cs2", "list", 1, EVENT, b'{"event":"up"}')
    [moved] = frames(7, 1)
    journal = opened(tmp_path, max_bytes=64 << 10)
    journal.append([up])
    journal.append([*frames(0, 2, size=5000), up, *frames(2, 1), up])
    journal.append([wrap(moved, Origin("other", 3)), wrap(up, Origin("other", 4))])
    assert (journal.end, journal.frames) == (8, 4)
    journal.close()
    again = opened(tmp_path, max_bytes=64 << 10)
    assert (again.end, again.frames) == (8, 4)
    again.trim(3)
    assert again.frames == 2
    again.append([up, *frames(3, 1)])
    assert again.frames == 3
    again.trim(again.end)
    assert again.frames == 0
    again.close()


def test_reading_respects_both_limits_and_makes_progress(tmp_path: Path) -> None:
    """At most so many frames; at least one, however large."""
    journal = opened(tmp_path)
    journal.append(frames(0, 10, size=100))
    assert len(journal.read(0, max_frames=4, max_bytes=1 << 20)[1]) == 4
    assert len(journal.read(0, max_frames=100, max_bytes=1)[1]) == 1
    assert len(journal.read(0, max_frames=100, max_bytes=250)[1]) == 3
    journal.close()


def test_a_reader_that_fell_behind_reads_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds the tail only; the older frames come from the segments, in order and without a hole."""
    monkeypatch.setattr(journal_module, "TAIL_BYTES", 500)
    journal = opened(tmp_path, max_bytes=1 << 20)
    for start in range(0, 2000, 10):
        journal.append(frames(start, 10, size=100))
    assert len(segments(tmp_path)) > 2
    found, position = [], 0
    while position < journal.end:
        first, part = journal.read(position, max_frames=33, max_bytes=1 << 20)
        assert first == position
        found += part
        position += len(part)
    assert found == frames(0, 2000, size=100)
    journal.close()


def test_trimming_deletes_whole_segments_and_never_the_rest(tmp_path: Path) -> None:
    """Disk comes back; what is not trimmed survives a restart."""
    journal = opened(tmp_path, max_bytes=64 << 10)
    for start in range(0, 1000, 10):
        journal.append(frames(start, 10, size=100))
    before = journal.size
    journal.trim(900)
    assert journal.size < before / 2
    assert journal.frames == 100
    journal.close()
    again = opened(tmp_path, max_bytes=64 << 10)
    assert again.first <= 900
    assert again.read(900, **ALL)[1] == frames(900, 100, size=100)
    again.trim(again.end)
    assert again.oldest() is None
    again.close()


def test_it_is_full_at_its_limit_and_takes_frames_again_after_trimming(tmp_path: Path) -> None:
    """The limit is what stops the sockets."""
    journal = opened(tmp_path, max_bytes=64 << 10)
    position = 0
    while not journal.full:
        journal.append(frames(position, 10, size=100))
        position += 10
    assert journal.size < (64 << 10) * 1.2
    journal.trim(journal.end)
    assert full(journal) is False
    journal.close()


def test_positions_go_on_after_all_was_trimmed_and_restarted(tmp_path: Path) -> None:
    """A position never repeats: the ledger refers to it."""
    journal = opened(tmp_path)
    journal.append(frames(0, 7))
    journal.trim(7)
    journal.close()
    for _ in range(3):
        journal = opened(tmp_path)
        assert journal.end == 7
        journal.close()
    again = opened(tmp_path)
    assert again.append(frames(7, 1)) == 7
    again.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_torn_or_damaged_end_is_cut_and_nothing_before_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut anywhere, or with any byte changed: all whole blocks before the damage stay, and appending goes on."""
    path = tmp_path_factory.mktemp("journal")
    journal = opened(path)
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    ends, position = [], 0
    for size in sizes:
        journal.append(frames(position, size))
        position += size
        ends.append((segments(path)[-1].stat().st_size, position))
    journal.close()
    file = segments(path)[0]
    content = file.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        file.write_bytes(content[:at])
    else:
        file.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
    whole = max((end for size, end in ends if size <= at), default=0)
    again = opened(path)
    assert again.end == whole
    assert again.read(0, **ALL)[1] == frames(0, whole)
    again.append(frames(100, 2))
    assert again.read(whole, **ALL)[1] == frames(100, 2)
    again.close()
    third = opened(path)
    assert third.read(0, **ALL)[1] == frames(0, whole) + frames(100, 2)
    third.close()


def test_a_damaged_old_segment_loses_only_its_own_frames(tmp_path: Path) -> None:
    """The reader goes on behind the damage and says how far it jumped."""
    journal = opened(tmp_path, max_bytes=64 << 10)
    for start in range(0, 200, 10):
        journal.append(frames(start, 10, size=100))
    journal.close()
    first, second = segments(tmp_path)[:2]
    first.write_bytes(first.read_bytes()[: HEADER.size // 2])
    again = opened(tmp_path, max_bytes=64 << 10)
    begin = int(second.stem)
    assert again.read(0, **ALL) == (begin, frames(begin, 200 - begin, size=100))
    again.close()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    """Exit 78 says who; the lock goes with the process, however it ends."""
    code = (
        "import sys, time; from pathlib import Path; from bridge.journal import Journal;"
        "j = Journal.open(Path(sys.argv[1]), max_bytes=1 << 20); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(Locked, match=f"process {holder.pid} ") as refused:
            opened(tmp_path)
        assert refused.value.exit_code == 78
        holder.kill()
        holder.wait()
    opened(tmp_path).close()


def test_a_directory_that_can_not_be_used_is_a_config_error(tmp_path: Path) -> None:
    """The error names the directory and the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"journal\.path"):
        opened(tmp_path / "file")


@pytest.mark.parametrize("written", [0, 10, HEADER.size + 3])
def test_a_disk_that_fills_up_keeps_the_journal_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """A write that was cut short is taken back, and the same frames can be appended later."""
    journal = opened(tmp_path)
    journal.append(frames(0, 2))
    real = os.write

    def short(file: int, content: bytes) -> int:
        if written == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, content[:written])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(OSError, match="No space left"):
            journal.append(frames(2, 2))
    assert journal.end == 2
    assert journal.append(frames(2, 2)) == 2
    journal.close()
    again = opened(tmp_path)
    assert again.read(0, **ALL)[1] == frames(0, 4)
    again.close()


def test_a_reader_waits_for_the_next_frame(tmp_path: Path) -> None:
    """`wait` returns when there is a frame, after the time-out without, and at once when closed."""
    journal = opened(tmp_path)
    assert not journal.wait(0, 0.01)
    found = threading.Event()

    def wait() -> None:
        if journal.wait(0, 30):
            found.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    journal.append(frames(0, 1))
    waiter.join(10)
    assert found.is_set()
    journal.wake()
    assert not journal.wait(1, 30)
    journal.append(frames(1, 1))
    assert journal.wait(1, 30)
    journal._hurried = False
    closing = threading.Thread(target=lambda: journal.wait(2, 30))
    closing.start()
    journal.close()
    closing.join(10)
    assert not closing.is_alive()


def test_fsync_survives_and_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fsync every append reaches the disk before it returns."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    journal = Journal.open(tmp_path, max_bytes=1 << 20, fsync=True)
    journal.append(frames(0, 1))
    journal.append(frames(1, 1))
    assert len(synced) == 2
    journal.close()
