"""The intake batches what arrives in one turn of the loop and asks the gateways to wait when the journal can't take it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bridge.frame import EVENT, STREAM, Frame
from bridge.intake import PENDING, RESUME, RETRY, Intake
from bridge.journal import Journal
from bridge.journals import Journals

ALL = {"max_frames": 10_000, "max_bytes": 1 << 30}


def full(intake: Intake) -> bool:
    """A function, because a property is taken for unchanged by the type checker."""
    return intake.full


def trouble(intake: Intake) -> str | None:
    """The same."""
    return intake.trouble


def frame(number: int, size: int = 1) -> Frame:
    """A frame that can be told apart."""
    return Frame("cs2", "list", 1000 + number, STREAM, b"%d" % number * size)


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    """A small journal, of the only lane."""
    found = Journals.open(tmp_path, count=1, lanes=[0], max_bytes=64 << 10)
    yield found
    found.close()


@pytest.fixture
def journal(journals: Journals) -> Journal:
    """The journal of the lane."""
    return journals[0]


async def test_frames_of_one_turn_become_one_block(
    journals: Journals, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One append for a burst, in order."""
    blocks: list[int] = []
    append = journal.append

    def counted(frames: list[Frame]) -> int:
        blocks.append(len(frames))
        return append(frames)

    monkeypatch.setattr(journal, "append", counted)
    intake = Intake(journals, now=lambda: 5)
    for number in range(7):
        intake.put(frame(number))
    assert journal.end == 0
    await asyncio.sleep(0)
    assert blocks == [7]
    assert journal.read(0, **ALL)[1] == [frame(number) for number in range(7)]


async def test_a_mark_is_passed_when_all_before_it_is_committed(journals: Journals, journal: Journal) -> None:
    """Also one that was set before the frames were appended; what comes later does not hold it up."""
    intake = Intake(journals, now=lambda: 5)
    nothing = intake.mark()
    assert intake.committed(nothing)
    for number in range(3):
        intake.put(frame(number))
    mark = intake.mark()
    assert not intake.committed(mark)
    await asyncio.sleep(0)
    intake.put(frame(3))
    await asyncio.sleep(0)
    journal.trim(2)
    assert not intake.committed(mark)
    journal.trim(3)
    assert intake.committed(mark)
    assert not intake.committed(intake.mark())


async def test_a_mark_waits_for_a_disk_that_refuses(
    journals: Journals, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in the journal yet will be, in the order handed in."""
    intake = Intake(journals, now=lambda: 5)
    with monkeypatch.context() as broken:
        broken.setattr(journal, "_write", _refuse)
        intake.put(frame(0))
        intake.flush()
        mark = intake.mark()
        journal.trim(1)
        assert not intake.committed(mark)
    intake.flush()
    journal.trim(1)
    assert intake.committed(mark)
    await asyncio.sleep(0.2)  # the intake's own look at the disk ends


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_events_and_learned_ids_stand_in_order_with_the_frames(journals: Journals, journal: Journal) -> None:
    """They are journaled like frames; ids that are known already are not written again."""
    intake = Intake(journals, now=lambda: 77)
    intake.put(frame(1))
    intake.event("cs2", "list", "down", cause="silence", since=5)
    intake.learn("cs2", {"m1": "match", "m2": "match"})
    intake.learn("cs2", {"m1": "match"})
    intake.put(frame(2))
    await asyncio.sleep(0)
    found = journal.read(0, **ALL)[1]
    assert [each.source for each in found] == [STREAM, EVENT, EVENT, STREAM]
    assert msgspec.json.decode(found[1].raw) == {"event": "down", "cause": "silence", "since": 5}
    assert (found[1].gateway, found[1].connection, found[1].received) == ("cs2", "list", 77)
    assert msgspec.json.decode(found[2].raw) == {"event": "learn", "pairs": {"m1": "match", "m2": "match"}}
    assert intake.known("cs2", "m2") == "match"
    assert intake.known("cs2", "m3") is None


async def test_a_full_journal_makes_gateways_wait_until_it_is_trimmed(journals: Journals, journal: Journal) -> None:
    """`room` returns when there is room again, for every one that waits."""
    intake = Intake(journals, now=lambda: 0)
    number = 0
    while not intake.full:
        intake.put(frame(number, 1000))
        number += 1
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(intake.room()) for _ in range(3)]
    await asyncio.sleep(0.25)
    assert not any(task.done() for task in waiting)
    assert intake.stalled
    journal.trim(journal.end)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert full(intake) is False
    await asyncio.wait_for(intake.room(), 5)


async def test_a_disk_that_refuses_loses_nothing(
    journals: Journals, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be appended stays pending, the gateways wait, and it is appended once, in order."""
    intake = Intake(journals, now=lambda: 0)
    append = journal.append

    def refuse(_frames: list[Frame]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal, "append", refuse)
    intake.put(frame(1))
    await asyncio.sleep(0)
    assert intake.full
    assert intake.stalled
    assert intake.trouble == "No space left on device"
    intake.put(frame(2))
    waiting = asyncio.create_task(intake.room())
    await asyncio.sleep(0.15)
    assert not waiting.done()
    monkeypatch.setattr(journal, "append", append)
    await asyncio.wait_for(waiting, 5)
    assert trouble(intake) is None
    assert journal.read(0, **ALL)[1] == [frame(1), frame(2)]


async def test_a_journal_that_wavers_at_its_limit_stops_the_gateways_once(journals: Journals, journal: Journal) -> None:
    """Each stop is a gap: it is full until a good part of it is free again."""
    intake = Intake(journals, now=lambda: 0)
    number = 0
    while not intake.full:
        intake.put(frame(number, 1000))
        number += 1
        await asyncio.sleep(0)
    waiting = asyncio.create_task(intake.room())
    while journal.full:
        journal.trim(journal.first + 1)
    assert RESUME * journal.max_bytes < journal.size < journal.max_bytes
    await asyncio.sleep(3 * RETRY)
    assert full(intake)
    assert not waiting.done()
    while journal.size > RESUME * journal.max_bytes:
        journal.trim(journal.first + 1)
    await asyncio.wait_for(waiting, 5)
    assert full(intake) is False


async def test_many_frames_at_once_are_no_full_journal(journals: Journals) -> None:
    """The gateways wait for the end of the turn, and nothing is said to be missed."""
    intake = Intake(journals, now=lambda: 0)
    for number in range(PENDING):
        intake.put(frame(number))
    assert full(intake)
    assert not intake.stalled


async def test_a_journal_that_is_full_from_the_start_is_full(journals: Journals, journal: Journal) -> None:
    """What an earlier process left behind counts."""
    while not journal.full:
        journal.append([frame(0, 1000)])
    assert Intake(journals, now=lambda: 0).stalled


async def test_a_lane_whose_disk_refuses_keeps_its_order_and_the_others_have_theirs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one journal took is not written to it again when the other takes its part."""
    several = Journals.open(tmp_path, count=2, lanes=[0, 1], max_bytes=64 << 10)

    def spread(frames: list[Frame]) -> dict[int, list[Frame]]:
        return {lane: [each for each in frames if each.received % 2 == lane] for lane in (0, 1)}

    def refuse(_frames: list[Frame]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    append = several[1].append
    monkeypatch.setattr(several[1], "append", refuse)
    intake = Intake(several, now=lambda: 0, spread=spread)
    for number in range(4):
        intake.put(frame(number))
    await asyncio.sleep(0)
    assert intake.full
    intake.put(frame(4))
    intake.put(frame(5))
    monkeypatch.setattr(several[1], "append", append)
    await asyncio.wait_for(intake.room(), 5)
    for lane in (0, 1):
        assert several[lane].read(0, **ALL)[1] == [frame(number) for number in range(6) if number % 2 == lane]
    several.close()
