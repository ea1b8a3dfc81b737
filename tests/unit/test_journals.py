"""The journals of a process: one lock, one limit, and nothing lost when the number of lanes changes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bridge.errors import ConfigError, Locked
from bridge.frame import EVENT, STREAM, Frame
from bridge.journals import Journals, folder_of
from bridge.lanes import moved, unwrap

LARGE = 1 << 30


def frame(number: int) -> Frame:
    """A frame that can be told apart; its lane is its number modulo the lanes."""
    return Frame("cs2", "list", 1000 + number, STREAM, b"%d" % number)


def event(name: str, at: int = 1000) -> Frame:
    """An event of a connection."""
    return Frame("cs2", "list", at, EVENT, b'{"event":"%s"}' % name.encode())


def spread(count: int) -> dict[int, list[Frame]]:
    """Nothing for each lane."""
    return {lane: [] for lane in range(count)}


def by_number(frames: list[Frame], count: int) -> dict[int, list[Frame]]:
    """As the router does: events to all."""
    found = spread(count)
    for each in frames:
        inner = unwrap(each)
        for lane, part in found.items():
            if inner.source == EVENT or int(inner.raw) % count == lane:
                part.append(each)
    return found


def whole(journals: Journals, lane: int) -> list[Frame]:
    """All that a lane's journal holds."""
    journal = journals[lane]
    return journal.read(journal.first, max_frames=10_000, max_bytes=LARGE)[1]


def full(journals: Journals) -> bool:
    """A function, because a property is taken for unchanged by the type checker."""
    return journals.full


def filled(path: Path, count: int, frames: list[Frame]) -> None:
    """Leave journals behind."""
    journals = Journals.open(path, count=count, lanes=range(count), max_bytes=LARGE, instance="me")
    for lane, part in by_number(frames, count).items():
        if part:
            journals[lane].append(part)
    journals.close()


def test_one_process_holds_the_folder(tmp_path: Path) -> None:
    """Whatever its lanes are."""
    journals = Journals.open(tmp_path, count=2, lanes=[0], max_bytes=LARGE)
    with pytest.raises(Locked):
        Journals.open(tmp_path, count=2, lanes=[1], max_bytes=LARGE)
    journals.close()
    Journals.open(tmp_path, count=2, lanes=[1], max_bytes=LARGE).close()


def test_the_limit_is_for_all_lanes_together(tmp_path: Path) -> None:
    """One that is full stops the reading, whichever it is."""
    journals = Journals.open(tmp_path, count=2, lanes=[0, 1], max_bytes=64 << 10)
    while not journals[0].size + journals[1].size >= 64 << 10:
        assert not full(journals)
        journals[1].append([Frame("cs2", "list", 1, STREAM, b"x" * 1000)])
    assert full(journals)
    assert journals.size == journals[0].size + journals[1].size
    journals[1].trim(journals[1].end)
    assert not full(journals)
    journals.close()


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 4)])
def test_frames_of_another_plan_are_moved_with_where_they_stood(tmp_path: Path, before: int, after: int) -> None:
    """Each to its lane, in order, events to all and once; the old folders are gone."""
    frames = [event("start", 1), *map(frame, range(20)), event("down", 2), *map(frame, range(20, 40))]
    filled(tmp_path, before, frames)
    journals = Journals.open(tmp_path, count=after, lanes=range(after), max_bytes=LARGE)
    journals.move(lambda each: by_number(list(each), after))
    for lane in range(after):
        found = whole(journals, lane)
        assert [each.raw for each in map(unwrap, found) if each.source == EVENT] == [
            event("start").raw,
            event("down").raw,
        ]
        numbers = [int(each.raw) for each in map(unwrap, found) if each.source == STREAM]
        assert sorted(numbers) == [number for number in range(40) if number % after == lane]
        assert {moved(each.raw).origin.openings for each in found} == {((0, "me"),)}
        origins = {moved(each.raw).origin.journal for each in found}
        assert origins <= journals.former
    assert len(journals.former) == before
    assert not any(folder_of(tmp_path, lane, before).exists() for lane in range(before))
    journals.close()


def test_a_trimmed_journal_still_tells_who_received_what_is_left_of_it(tmp_path: Path) -> None:
    """Else what the ledger says of its position would count for nothing, and all would be published again."""
    filled(tmp_path, 1, [])
    journals = Journals.open(tmp_path, count=1, lanes=[0], max_bytes=64 << 10, instance="you")
    while not journals[0].first:
        journals[0].append([Frame("cs2", "list", 1, STREAM, b"1" * 1000)])
        journals[0].trim(journals[0].end)
    journals[0].append([frame(number) for number in range(2)])
    journals.close()
    journals = Journals.open(tmp_path, count=2, lanes=[0, 1], max_bytes=LARGE)
    journals.move(lambda each: by_number(list(each), 2))
    for lane in range(2):
        assert {moved(each.raw).origin.openings for each in whole(journals, lane)} == {((0, "me"), (0, "you"))}
    journals.close()


def test_a_disk_that_has_no_room_for_moved_frames_is_named(tmp_path: Path) -> None:
    """The process can't start, says where and what to do, and the frames stay where they are."""
    filled(tmp_path, 1, [frame(0)])
    journals = Journals.open(tmp_path, count=2, lanes=[0, 1], max_bytes=LARGE)

    def full_disk(_frames: object) -> dict[int, list[Frame]]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ConfigError, match="No space left") as told:
        journals.move(full_disk)
    assert told.value.where == str(tmp_path)
    journals.close()
    journals = Journals.open(tmp_path, count=1, lanes=[0], max_bytes=LARGE)
    assert whole(journals, 0) == [frame(0)]
    journals.close()


def test_a_lane_that_is_not_held_is_taken_on_for_frames_and_not_for_events(tmp_path: Path) -> None:
    """What reached this process is its to publish, or to see published."""
    filled(tmp_path, 1, [event("down"), frame(0), frame(2)])
    journals = Journals.open(tmp_path, count=4, lanes=[0], max_bytes=LARGE)
    journals.move(lambda each: by_number(list(each), 4))
    assert list(journals) == [0, 2]
    journals.close()
    later = Journals.open(tmp_path, count=4, lanes=[0], max_bytes=LARGE)
    assert later.left() == [2]
    later.hold(2)
    assert [unwrap(each).raw for each in whole(later, 2)] == [event("down").raw, b"2"]
    later.close()


def test_a_crash_while_frames_are_moved_loses_none(tmp_path: Path) -> None:
    """The old journals go last: some frames stand there twice, and say that they are the same."""
    filled(tmp_path, 1, [frame(0), frame(1)])
    journals = Journals.open(tmp_path, count=2, lanes=[0, 1], max_bytes=LARGE)

    def die(_frames: object) -> dict[int, list[Frame]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journals.move(die)
    journals.close()
    filled(tmp_path, 2, [frame(0)])  # as if one had been moved
    journals = Journals.open(tmp_path, count=2, lanes=[0, 1], max_bytes=LARGE)
    journals.move(lambda each: by_number(list(each), 2))
    assert [unwrap(each) for each in whole(journals, 0)] == [frame(0), frame(0)]
    assert [unwrap(each) for each in whole(journals, 1)] == [frame(1)]
    journals.close()
