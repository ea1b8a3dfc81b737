"""The reference in the repository is what the code says, whole, and no link in it leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from bridge import handbook, topics
from bridge.asyncapi import DEAD_HEADERS, GAP_HEADERS, HEADERS
from bridge.catalog import Catalog
from bridge.cli import cli
from bridge.cloudevents import HEADERS as EVENT_HEADERS
from bridge.manual import escaped
from bridge.ops.metrics import Metrics
from tests.installation import installation

CATALOG = Catalog.load()
PAGES = handbook.pages(CATALOG)


def test_the_published_reference_is_up_to_date() -> None:
    """`docs/reference/` is what the code yields; pages of what is gone are gone."""
    again = "make it again: python -m bridge.handbook"
    for name, text in PAGES.items():
        assert (handbook.FOLDER / name).read_text(encoding="utf-8") == text, again
    assert {path.name for path in handbook.FOLDER.iterdir()} == PAGES.keys()


@pytest.mark.parametrize("kind", CATALOG.kinds)
def test_every_field_of_every_type_is_there(kind: str) -> None:
    """Under its type, with its doc; fields of records within records under theirs."""
    page = PAGES[f"{kind}.md"]
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    every = CATALOG.kind(kind)
    for each in (*every.types.values(), every.unknown):
        data = next(field["type"] for field in each.schema["fields"] if field["name"] == "data")
        for record in (data, *nested(data)):
            section = sections[each.type if record is data else record["name"]]
            for field in record["fields"]:
                row = next(line for line in section.splitlines() if line.startswith(f"| `{field['name']}` |"))
                assert row.endswith(f"| {escaped(field['doc'])} |")
                assert row.split(" | ")[1].endswith("!") is ("null" not in field["type"])
    assert all(f"| `{field['name']}` |" in sections["Meta"] for field in every.meta["fields"])


def nested(schema: Any) -> Iterator[Any]:
    """The records within one."""
    for field in schema["fields"]:
        for branch in field["type"] if isinstance(field["type"], list) else [field["type"]]:
            inner = branch["items"] if isinstance(branch, dict) and branch["type"] == "array" else branch
            if isinstance(inner, dict) and inner["type"] == "record":
                yield inner
                yield from nested(inner)


def test_every_topic_and_header_is_in_the_index() -> None:
    """Of an installation with all gateways, and of each kind of record."""
    index = PAGES["README.md"]
    kinds = {"cs2": "ticktock", "markets": "predictstreet-market", "wallet": "predictstreet-user"}
    for topic in topics.plan(installation(kinds), CATALOG):
        form = topic.name if topic.types else re.sub(r"^(cs2|markets|wallet)", "<prefix><gateway>", topic.name)
        form = form.replace("feedbridge.main.", "<prefix>feedbridge.<name>.")
        assert f"`{form}`" in index
    for schema in (HEADERS, DEAD_HEADERS, GAP_HEADERS):
        assert all(f"| `{name}` |" in index for name in schema["properties"])
    assert all(f"| `{name}` |" in index for name in EVENT_HEADERS)


def test_every_command_and_option_is_there() -> None:
    """With its help; those of every command are told once."""
    page = PAGES["cli.md"]
    sections = dict(re.findall(r"^## feedbridge (.+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    leaves = dict(below(cli, ()))
    assert sections.keys() == leaves.keys()
    for name, command in leaves.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and "--log-level" not in parameter.opts:
                (row,) = [
                    line
                    for line in sections[name].splitlines()
                    if line.startswith("| `") and parameter.opts[-1] in line.split("`")[1].replace(",", "").split()
                ]
                assert parameter.help
                assert escaped(parameter.help.split("\n")[0]) in row


def below(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """Path of each command that is no group → the command."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from below(each, (*path, name))
    else:
        yield " ".join(path), command


def test_every_metric_is_there() -> None:
    """As `/metrics` exposes it, and what the alerts ask for is a metric."""
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
        if family.name.startswith("feedbridge_")
    }
    page = PAGES["metrics.md"]
    assert set(re.findall(r"^\| `(feedbridge_\w+)`", page, re.MULTILINE)) == exposed
    alerts = yaml.safe_load((handbook.FOLDER.parents[1] / "ops" / "alerts.yaml").read_text(encoding="utf-8"))
    named = {rule["alert"] for group in alerts["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"\[(Feedbridge\w+)\]", page)) == named


def test_no_link_leads_nowhere() -> None:
    """To a page, to a heading of it, or to a file of the repository; headings of one page differ."""
    headings = {
        name: [
            handbook.anchor(re.sub(r"\[(.*?)\]\(.*?\)", r"\1", each))
            for each in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        ]
        for name, text in PAGES.items()
    }
    for name, text in PAGES.items():
        if name != "config.md":
            assert len(set(headings[name])) == len(headings[name])
        for target in re.findall(r"\]\(([^)]+)\)", text):
            page, _, place = target.partition("#")
            assert (handbook.FOLDER / (page or name)).is_file(), target
            assert not place or place in headings[page or name], target


def test_it_can_be_written_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a folder that is named."""
    monkeypatch.setattr("sys.argv", ["handbook", str(tmp_path / "pages")])
    handbook.main()
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "pages").iterdir()} == PAGES
