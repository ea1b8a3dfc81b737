"""What the live page is made of: files of this package, the runbooks, and the policy that keeps all else away."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from bridge.status import moment

#: Nothing but the page's own files, not even a style or a script within them.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class File(NamedTuple):
    """One file to serve. kind: its content type."""

    text: str
    kind: str


def routes(snapshot: Callable[[], str]) -> list[web.RouteDef]:
    """The page, its files and the runbooks. snapshot: returns the status as JSON."""
    page, parts, books = template(), files(), runbooks()

    async def show_page(_: web.Request) -> web.Response:
        text = filled(page, msgspec.json.decode(snapshot()))
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    async def show_file(request: web.Request) -> web.Response:
        return _answer(parts.get(request.match_info["name"]))

    async def show_runbook(request: web.Request) -> web.Response:
        return _answer(books.get(request.match_info["name"]))

    return [
        web.get("/", show_page),
        web.get("/page/{name}", show_file),
        web.get("/runbooks/{name}", show_runbook),
    ]


def _answer(file: File | None) -> web.Response:
    if file is None:
        raise web.HTTPNotFound
    return web.Response(text=file.text, content_type=file.kind, charset="utf-8")


def files() -> dict[str, File]:
    """Name → file: all but the page itself."""
    return {
        each.name: File(each.read_text(encoding="utf-8"), kind)
        for each in resources.files(__package__).joinpath("page").iterdir()
        if (kind := _KINDS.get(Path(each.name).suffix)) is not None
    }


def template() -> str:
    """The page, before `filled`."""
    return resources.files(__package__).joinpath("page", "index.html").read_text(encoding="utf-8")


def filled(page: str, status: dict[str, Any]) -> str:
    """The page with name, sentence, what else there is to say and the runbooks: all before the first event, and without JavaScript."""
    findings = status.get("well") or [{"level": "wait", "text": "Reading the status."}]
    first = findings[0]
    now = status.get("now")
    words = {
        "name": status.get("name", "feedbridge"),
        "level": first["level"],
        "sentence": first["text"],
        "moment": moment(now) if isinstance(now, int) else "just now",
    }
    filling = {word: html.escape(str(text)) for word, text in words.items()} | {"more": _more(findings)}
    # In one pass: what a gateway has said may look like a place to be filled.
    return _PLACE.sub(lambda place: filling[place[1]], page)


def _more(findings: Sequence[Mapping[str, Any]]) -> str:
    """What stands below the sentence, as ``view.js`` makes it: what to do, then the other findings, each with its own."""
    others = "".join(
        f'<li data-level="{html.escape(str(each["level"]))}">{html.escape(str(each["text"]))} {_runbook(each)}</li>'
        for each in findings[1:]
    )
    return _runbook(findings[0]) + (f'<ul class="findings">{others}</ul>' if others else "")


def _runbook(finding: Mapping[str, Any]) -> str:
    name = html.escape(str(finding.get("runbook") or ""))
    return f'<a class="runbook" href="runbooks/{name}">What to do: {name}</a>' if name else ""


def runbooks() -> dict[str, File]:
    """Name of an alert → its page in ``docs/runbooks``, as Markdown."""
    inside = Path(__file__).with_name("runbooks")
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "docs" / "runbooks"
    return {
        each.stem: File(each.read_text(encoding="utf-8"), "text/plain")
        for each in sorted(folder.glob("Feedbridge*.md"))
    }
