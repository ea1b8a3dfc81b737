"""What all tests share: the options of the run.

``--soak`` runs the tests in their full form (``make soak``): the fixture `soak` tells a test, and tests marked
``soak`` run only then.

Tests in ``tests/kafka`` need a JDK and Maven: a real Kafka and a real schema registry are fetched and started at first
use, see `tests.servers`. To run them quicker, again and again: ``python -m tests.servers up`` (and ``down`` in the
end), or point them at servers of your own by FEEDBRIDGE_TEST_KAFKA (``host:port``) and FEEDBRIDGE_TEST_REGISTRY (the
URL of the API as Confluent's clients take it). Tests that stop or kill a broker always start their own.
"""

from __future__ import annotations

from typing import Final

import hypothesis
import pytest
from hypothesis.database import DirectoryBasedExampleDatabase

hypothesis.settings.register_profile(
    "feedbridge",
    # On a busy machine an example may take any time; pytest's time-out catches hangs
    deadline=None,
    database=DirectoryBasedExampleDatabase(".cache/hypothesis"),
)
hypothesis.settings.register_profile("soak", parent=hypothesis.settings.get_profile("feedbridge"), max_examples=5_000)
hypothesis.settings.load_profile("feedbridge")


_FULL_TIMEOUT: Final = 6 * 3600


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--soak`` and ``--pictures``."""
    parser.addoption("--soak", action="store_true", help="run tests in their full form, for hours if need be")
    parser.addoption("--pictures", metavar="FOLDER", help="where tests/browser keeps pictures of the page")


def pytest_configure(config: pytest.Config) -> None:
    """Let property tests try more in a full run."""
    if config.getoption("--soak"):
        hypothesis.settings.load_profile("soak")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests marked ``soak`` in a short run; pytest's last line counts them."""
    if config.getoption("--soak"):
        for item in items:
            # First, so that it is the one that counts: the time-outs in the tests are those of the short form
            item.add_marker(pytest.mark.timeout(_FULL_TIMEOUT), append=False)
        return
    full = [item for item in items if item.get_closest_marker("soak")]
    if full:
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if item not in full]


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Tell whether the run is a full one: more frames, more kills, longer outages."""
    return bool(request.config.getoption("--soak"))
