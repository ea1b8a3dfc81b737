"""The page is made of its own files alone, and shows nothing as markup."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml

from bridge.ops import pages

ROOT: Final = Path(__file__).parents[3]
TEXTS: Final = {"index.html": pages.template(), **{name: file.text for name, file in pages.files().items()}}
SCRIPTS: Final = {name: text for name, text in TEXTS.items() if name.endswith(".js")}


def test_nothing_comes_from_elsewhere() -> None:
    """No address but the names of an XML dialect, no inline code or style, and every file that is named is there."""
    for name, text in TEXTS.items():
        found = re.findall(r"https?://[^\"'\s]+|url\(|@import\s", text)
        assert set(found) <= {"http://www.w3.org/2000/svg"}, name
    page = TEXTS["index.html"]
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|<script>", page)
    assert set(re.findall(r'(?:src|href)="page/([^"]+)"', page)) <= TEXTS.keys()
    for text in SCRIPTS.values():
        assert {each.removeprefix("./") for each in re.findall(r'from "([^"]+)"', text)} <= SCRIPTS.keys()


def test_what_is_shown_is_text() -> None:
    """Whatever a gateway sent can't become markup or code."""
    for name, text in SCRIPTS.items():
        assert not re.search(r"innerHTML|outerHTML|document\.write|insertAdjacentHTML|eval\(|Function\(", text), name


def test_the_policy_allows_the_own_files_and_nothing_else() -> None:
    """No host, no inline code, no guessing."""
    assert pages.POLICY.startswith("default-src 'none'; ")
    assert set(re.findall(r"'[^']+'", pages.POLICY)) == {"'none'", "'self'"}
    assert "unsafe" not in pages.POLICY


def test_name_and_sentence_are_there_before_any_script_runs() -> None:
    """Escaped, since a name or a reason may hold anything."""
    page = pages.filled(pages.template(), {"name": "a<b", "now": 0, "well": [{"level": "bad", "text": '"x" & <y>'}]})
    assert "{{" not in page
    assert "a&lt;b</h1>" in page
    assert ">&quot;x&quot; &amp; &lt;y&gt;</p>" in page
    assert "1970-01-01 00:00:00Z" in page


def test_runbooks_are_there_without_javascript() -> None:
    """Of the sentence and of all else there is to say; what is said is text, also where it looks like a place to fill."""
    well = [
        {"level": "bad", "text": "{{name}} <b>", "runbook": "FeedbridgeNoCommits"},
        {"level": "warning", "text": "<i>lost", "runbook": "FeedbridgeGapLost"},
        {"level": "warning", "text": "rejected", "runbook": None},
    ]
    page = pages.filled(pages.template(), {"name": "a", "now": 0, "well": well})
    assert re.findall(r'href="(runbooks/\w+)"', page) == ["runbooks/FeedbridgeNoCommits", "runbooks/FeedbridgeGapLost"]
    assert "{{name}} &lt;b&gt;</p>" in page
    assert "&lt;i&gt;lost" in page
    assert page.count("<li ") == 2
    healthy = pages.filled(pages.template(), {"well": [{"level": "good", "text": "All is well.", "runbook": None}]})
    assert "runbook" not in healthy


def test_a_status_that_says_little_makes_a_page_too() -> None:
    """It says that it reads."""
    assert "Reading the status." in pages.filled(pages.template(), {})


def test_every_alert_has_its_runbook() -> None:
    """What the page leads to is there."""
    rules = yaml.safe_load((ROOT / "ops/alerts.yaml").read_text())["groups"][0]["rules"]
    assert {rule["alert"] for rule in rules} == pages.runbooks().keys()
