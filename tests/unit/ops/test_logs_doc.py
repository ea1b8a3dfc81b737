"""docs/logs.md lists every event that the code logs, with its levels, and none else."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
LEVELS = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}


def called() -> dict[str, set[str]]:
    """Return event → levels, of all calls of a logger in the bridge."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for file in sorted((ROOT / "bridge").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for scope in [each for each in ast.walk(tree) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]:
            names = {name: value for name, value in map(_assigned, ast.walk(scope)) if name}
            for call in [each for each in ast.walk(scope) if isinstance(each, ast.Call) and each.args]:
                levels = _levels(call.func) or _levels(names.get(ast.unparse(call.func)))
                if levels:
                    first = call.args[0]
                    value = names.get(first.id, first) if isinstance(first, ast.Name) else first
                    texts = [str(each.value) for each in _choices(value) if isinstance(each, ast.Constant)]
                    assert texts, f"{file.name}:{call.lineno}: the event is no constant"
                    for text in texts:
                        found[text] |= levels
    return dict(found)


def _assigned(node: ast.AST) -> tuple[str, ast.expr | None]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    return "", None


def _choices(node: ast.expr | None) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    return [node] if node is not None else []


def _levels(node: ast.expr | None) -> set[str]:
    """Return the levels of ``log.info``, or of one of two of those."""
    return {
        LEVELS[each.attr]
        for each in _choices(node)
        if isinstance(each, ast.Attribute)
        and each.attr in LEVELS
        and re.search(r"log$|get_logger\(", ast.unparse(each.value))
    }


def listed() -> dict[str, set[str]]:
    """Return event → levels, of the page's table."""
    found = {}
    for line in PAGE.partition("## Events")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`(\w+)`", cells[0]) if line.startswith("| `") else ():
            assert name not in found
            found[name] = set(cells[1].split(", "))
    return found


def test_every_event_is_listed() -> None:
    """Whoever finds a line in the log finds it on the page, with its level."""
    code = {name: levels for name, levels in called().items() if re.fullmatch(r"[a-z_]+", name)}
    # Said by the logger itself, at the end of a thread.
    assert listed() == code


def test_the_example_is_a_line() -> None:
    """With the fields that the page names."""
    (text,) = re.findall(r"```json\n(.*)\n```", PAGE)
    assert json.loads(text)["event"] in listed()


def test_what_to_alert_on_exists() -> None:
    """Each of these events can come, and is an error."""
    section = PAGE.partition("## Alert on these")[2].partition("##")[0]
    names = re.findall(r"`(\w+)`[,.]", section)
    assert len(names) > 5
    assert all(listed()[name] & {"error", "critical"} for name in names)
