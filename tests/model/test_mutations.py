"""The model bites: every deliberate fault of the product is caught, by a run that the product itself passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.model import run as model
from tests.model.mutations import MUTATIONS, Mutation

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seeds tried for each, at most.
SHORT: Final = 80
FULL: Final = 1000
_TABLE: Final[list[str]] = []


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what caught each, in the end."""
    yield
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    assert terminal is not None
    for line in ("", *_TABLE):
        terminal.write_line(line)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name.replace(" ", "-"))
def test_a_mutation_is_caught(mutation: Mutation, *, soak: bool) -> None:
    """Within a few seeds."""
    for seed in range(FULL if soak else SHORT):
        with model.simulated() as folder:
            with mutation.apply():
                outcome = model.run(seed, folder, mutation.hint)
            if outcome.wrong and not model.run(seed, folder, mutation.hint).wrong:
                said = outcome.wrong[0].strip().splitlines()[-1]
                _TABLE.append(f"{mutation.name:45} {seed + 1:4} seeds  {said[:110]}")
                return
    pytest.fail(f"not caught in {SHORT} seeds: {mutation.name}")
