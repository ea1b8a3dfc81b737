"""A check asks everything, names what fails, and never ends in an exception."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from bridge import native
from bridge.catalog import Catalog
from bridge.check import check
from bridge.errors import Refused, Unreachable
from bridge.finding import Finding
from bridge.settings import Secret
from tests.installation import installation

CATALOG = Catalog.load()


class FakeGateway:
    """A gateway whose check ends as told."""

    def __init__(self, name: str, outcome: list[Finding] | Exception) -> None:
        self.name = name
        self.outcome = outcome

    async def check(self) -> list[Finding]:
        """The outcome."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def findings(*gateways: FakeGateway, **given: Any) -> list[Finding]:
    """Check an installation whose Kafka does not answer."""
    return await check(installation(**given), CATALOG, cast("Any", gateways), patience=0.5)


async def test_what_can_not_be_reached_is_named(tmp_path: Path) -> None:
    """Kafka and registry, each by its word, one line each, and the rest is checked all the same."""
    found = await findings(registry={"url": "http://127.0.0.1:1", "timeout": 1}, journal=tmp_path)
    assert [(each.name, each.ok) for each in found] == [("config", True), ("kafka", False), ("registry", False)]
    assert "Connection refused" in found[1].text
    assert "can't be reached" in found[2].text
    assert not any("\n" in each.text or each.text.startswith(each.name) for each in found[1:])


async def test_no_registry_is_fine() -> None:
    """Values then carry fingerprints."""
    found = await findings()
    assert found[-1].ok
    assert "fingerprint" in found[-1].text


async def test_a_secret_that_blots_out_words_is_warned_of() -> None:
    """It is no failure: the bridge works, only its logs are hard to read."""
    found = await findings(kafka={"bootstrap.servers": "127.0.0.1:1", "sasl.password": Secret("main")})
    [warning] = [each for each in found if "warning" in each.text]
    assert (warning.name, warning.ok) == ("config", True)
    assert "kafka.sasl.password has only 4 characters and is also" in warning.text


@pytest.mark.parametrize("there", [True, False])
async def test_a_missing_extension_is_said(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    """It is no failure: only slower."""
    monkeypatch.setattr(native, "extension", there or None)
    monkeypatch.setattr(native, "absent", "the C extension was not built")
    found = await findings()
    assert found[0].ok
    assert ("1.7 times the CPU, since the C extension was not built" in found[0].text) is not there


async def test_each_gateway_speaks_for_itself() -> None:
    """What one finds, or dies of, does not hide the other."""
    fine = Finding("cs2", ok=True, text="connected")
    found = await findings(
        FakeGateway("cs2", [fine]),
        FakeGateway("markets", Refused("key refused", where="markets", mend="renew it")),
        FakeGateway("wallet", Unreachable("no answer", where="wallet")),
    )
    assert found[1] == fine
    assert found[2] == Finding("markets", ok=False, text="key refused; renew it")
    assert found[3] == Finding("wallet", ok=False, text="no answer")


async def test_properties_that_librdkafka_refuses_are_a_finding() -> None:
    """As everything else."""
    found = await findings(kafka={"bootstrap.servers": "127.0.0.1:1", "no.such": 1})
    assert ("kafka", False) in [(each.name, each.ok) for each in found]
    assert any("no.such" in each.text for each in found)
