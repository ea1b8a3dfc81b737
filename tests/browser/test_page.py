"""The live page in a real browser, in the states that a person may meet it in.

One after the other, each brought about in the same world; in each the sentence says what is the matter, axe-core finds
nothing at any size and in any colours, and nothing must be scrolled sideways. ``--pictures docs/page`` takes the pictures of
the documentation.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from bridge.ops import http
from bridge.ops.metrics import Metrics
from tests.browser.world import World
from tests.running import now

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

DESK: Final = {"width": 1200, "height": 860}
PHONE: Final = {"width": 360, "height": 740}
PATIENCE: Final = 45_000
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("dark", "light")
NO_CONTACT: Final = r"No contact with the bridge since \d\d:\d\d:\d\d UTC\. What stands below is from then\."
#: What may go wrong without a mistake of the page: nobody answers.
_AWAY: Final = re.compile(r"ERR_(CONNECTION|INCOMPLETE|EMPTY|NETWORK)|503")
_RUN: Final = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"


class Looks:
    """Opens pages, judges them, takes pictures of them."""

    def __init__(self, browser: Browser, axe: str, pictures: Path | None) -> None:
        """pictures: the folder for them; None: none are taken."""
        self._browser = browser
        self._axe = axe
        self._pictures = pictures

    @property
    def slow(self) -> bool:
        """Whether there is time for a nicer picture."""
        return self._pictures is not None

    @asynccontextmanager
    async def at(self, address: str) -> AsyncIterator[Page]:
        """The page at an address, on a desk; whatever the browser complains of is a failure."""
        said: list[str] = []
        context = await self._browser.new_context(viewport=DESK, reduced_motion="reduce", locale="en-GB")  # type: ignore[arg-type]
        page = await context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if line.type in {"error", "warning"} else None)
        await page.goto(address)
        await expect(page.locator("#contact")).to_contain_text("Live", timeout=PATIENCE)
        yield page
        await context.close()
        assert [line for line in said if not _AWAY.search(line)] == []

    async def judge(self, page: Page, name: str) -> None:
        """Nobody is kept from using it: on a desk or a phone, by day or at night. name: of its pictures."""
        await page.evaluate(self._axe)
        for size in (PHONE, DESK):
            await page.set_viewport_size(size)  # type: ignore[arg-type]
            for scheme in SCHEMES:
                await page.emulate_media(color_scheme=scheme)
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= size["width"], f"{wide} pixels are shown on {size['width']}"
                found: list[dict[str, Any]] = await page.evaluate(_RUN)
                assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == [], (scheme, size)
                where = "phone" if size is PHONE else "desk"
                if (name, where, scheme) in _PICTURES or (where, scheme) == ("desk", "light"):
                    await self._picture(page, name, where, scheme)

    async def _picture(self, page: Page, name: str, where: str, scheme: str) -> None:
        if self._pictures is None:
            return
        self._pictures.mkdir(parents=True, exist_ok=True)
        last = "" if (where, scheme) == ("desk", "light") else f"-{where if where == 'phone' else scheme}"
        await page.screenshot(
            path=self._pictures / f"{name}{last}.png", full_page=name in {"healthy", "gap"} and where == "desk"
        )


#: Beside those on a desk by day.
_PICTURES: Final = {("healthy", "desk", "dark"), ("gap", "phone", "light")}


@pytest.fixture
def looks(browser: Browser, axe: str, request: pytest.FixtureRequest) -> Looks:
    """See `Looks`."""
    folder = request.config.getoption("--pictures")
    return Looks(browser, axe, Path(folder) if folder else None)


async def says(page: Page, sentence: str, *, level: str) -> None:
    """The sentence matches all of this, in this colour."""
    await expect(page.locator("#sentence")).to_have_text(re.compile(f"^{sentence}$"), timeout=PATIENCE)
    await expect(page.locator("#well")).to_have_attribute("data-level", level)


def runbook(page: Page, name: str) -> Any:
    """The first link to what is to be done."""
    return expect(page.locator("#more > a.runbook")).to_have_attribute("href", f"runbooks/Feedbridge{name}")


async def test_nothing_yet(looks: Looks, world: World) -> None:
    """Connected to quiet gateways: nobody is to blame, and what the key may see is known."""
    async with looks.at(world.bridge.page) as page:
        await says(page, "Connected to cs2 and markets, but nothing has come yet.", level="wait")
        await expect(page.get_by_role("article", name="cs2")).to_contain_text("All frame types")
        await expect(page.get_by_role("article", name="markets")).to_contain_text("token_")
        await looks.judge(page, "nothing-yet")


async def test_healthy(looks: Looks, world: World) -> None:
    """Frames flow: the sentence says so, and each number that the page promises is there."""
    world.flow()
    async with looks.at(world.bridge.page) as page:
        await says(page, "All is well: frames of cs2 and markets flow to Kafka.", level="good")
        row = page.get_by_role("table", name="Types").get_by_role("row", name=re.compile("market.updated"))
        await expect(row.get_by_role("cell").nth(2)).not_to_have_text("0", timeout=PATIENCE)
        await expect(page.get_by_role("table", name="Lanes")).to_contain_text("active, publishes")
        for name in ("Socket to commit", "Transaction"):
            await expect(page.locator(".tiles > div", has_text=name)).to_contain_text("ms", timeout=PATIENCE)
        await expect(
            page.get_by_role("img", name=re.compile("Frames processed a second over the last 2 min"))
        ).to_have_count(2)
        if looks.slow:
            await asyncio.sleep(115)
        await looks.judge(page, "healthy")


async def test_keyboard_and_screen_reader(looks: Looks, world: World) -> None:
    """The first stop leads past the header, details that were opened stay so while the page goes on, one place is read aloud."""
    async with looks.at(world.bridge.page) as page:
        await page.keyboard.press("Tab")
        await expect(page.locator(":focus")).to_have_text("Skip to the content")
        summary = page.get_by_role("article", name="cs2").locator("summary")
        await summary.focus()
        await page.keyboard.press("Enter")
        before = await page.locator("#contact").text_content()
        await expect(page.locator("#contact")).not_to_have_text(before or "")
        await expect(page.get_by_text("cs2:stream:markets")).to_be_visible()
        await expect(summary).to_be_focused()
        assert await page.locator("[aria-live], [role=status], [role=alert]").count() == 1
        headings = await page.locator("h2").all_text_contents()
        assert headings == ["Lanes", "Gateways", "Gaps", "Recent dead letters", "Types"]


async def test_standby(looks: Looks, world: World) -> None:
    """Who stands by says for whom."""
    async with world.standby() as standby, looks.at(standby.page) as page:
        active = (await world.bridge.status())["instance"][:8]
        await says(page, f"All is well: this process stands by for {active}, which publishes.", level="good")
        await expect(page.get_by_role("table", name="Lanes")).to_contain_text("standby, stands by")
        await looks.judge(page, "standby")
        standby.kill()
        await says(page, NO_CONTACT, level="bad")
        await expect(page.get_by_role("table", name="Lanes")).to_contain_text("standby")


async def test_contact_comes_back(looks: Looks) -> None:
    """When nobody answers the page says since when, keeps what it knew, and goes on by itself."""
    status = {
        "name": "main",
        "now": now(),
        "well": [{"level": "good", "text": "All is well."}],
        "lanes": [],
        "gateways": [],
    }

    async def serve(listen: str) -> web.AppRunner:
        return await http.serve(
            listen, status=lambda: status, ready=lambda: (True, ""), healthy=lambda: True, metrics=Metrics()
        )

    runner = await serve("127.0.0.1:0")
    address = http.address(runner)
    async with looks.at(address) as page:
        await says(page, "All is well.", level="good")
        await runner.cleanup()
        await says(page, NO_CONTACT, level="bad")
        runner = await serve(address.removeprefix("http://"))
        await says(page, "All is well.", level="good")
    await runner.cleanup()


async def test_gap(looks: Looks, world: World) -> None:
    """What was missed is said until long after, stands on the time line and in a table; so is a frame that was no record."""
    world.cs2.refuse(status=503, times=1)
    await world.cs2.drop(abort=True)
    async with looks.at(world.bridge.page) as page:
        await says(
            page,
            r"Frames of cs2 between [\d:]+ and [\d:]+ UTC (are lost|were recovered only in part)\.",
            level="warning",
        )
        await runbook(page, "GapLost")
        world.cs2.send(
            b'{"type":"match.updated","data":{"id":["marker"]},"meta":{"seq":1,"ts":"2026-05-10T13:42:11.123Z"}}'
        )
        letters = page.get_by_role("table", name="Recent dead letters")
        await expect(letters).to_contain_text("data.id", timeout=PATIENCE)
        await expect(page.get_by_role("table", name="Gaps")).to_contain_text("disconnect")
        await expect(page.get_by_role("img", name=re.compile("cs2: 1 gap in the last"))).to_be_visible()
        assert "marker" not in await page.content()
        await looks.judge(page, "gap")


async def test_gateway_down(looks: Looks, world: World) -> None:
    """It is named, with what it answers and since when; the runbook says what to do."""
    world.markets.refuse(status=503)
    await world.markets.drop(abort=True)
    async with looks.at(world.bridge.page) as page:
        await says(page, r"markets is down and was last heard at [\d:]+ UTC: .*503.*", level="bad")
        await runbook(page, "GatewayDown")
        await expect(page.get_by_role("article", name="markets")).to_contain_text("reconnecting")
        await looks.judge(page, "gateway-down")
        link = await page.locator("#more > a.runbook").get_attribute("href")
        answer = await page.request.get(f"{world.bridge.page}/{link}")
        assert "## What it means" in await answer.text()
        world.markets.accept()


async def test_kafka_down(looks: Looks, world: World) -> None:
    """Nothing is committed, and the frames are safe: both are said."""
    async with looks.at(world.bridge.page) as page:
        await asyncio.to_thread(world.kafka.kill)
        await says(
            page,
            r"Nothing is committed to Kafka since [\d:]+ UTC: .+ that the broker runs\. What comes waits in the journal\.",
            level="bad",
        )
        await runbook(page, "NoCommits")
        await looks.judge(page, "kafka-down")
