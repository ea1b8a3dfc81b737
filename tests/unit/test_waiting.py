"""What a command waits for is said where that takes long."""

from __future__ import annotations

import threading

import click
import pytest

from bridge.commands.waiting import waiting


def test_a_long_wait_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, beside whatever the command prints."""
    told: list[tuple[str, bool]] = []
    said = threading.Event()

    def echo(text: str, *, err: bool) -> None:
        told.append((text, err))
        said.set()

    monkeypatch.setattr(click, "echo", echo)
    with waiting("waiting for Kafka at x", after=0.01):
        assert said.wait(30)
    assert told == [("waiting for Kafka at x ...", True)]


def test_a_short_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is anything left that would speak later."""
    before = threading.active_count()
    with waiting("waiting for Kafka at x", after=3600):
        pass
    assert threading.active_count() == before
    assert capsys.readouterr() == ("", "")
