"""The model bites: every deliberate fault of the product is caught, by a run that the product itself passes."""

from __future__ import annotations

from typing import Final

import pytest

from tests.model import run as model
from tests.model.mutations import MUTATIONS, Mutation

#: Seeds tried for each, at most.
SHORT: Final = 80
FULL: Final = 1000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name.replace(" ", "-"))
def test_a_mutation_is_caught(mutation: Mutation, *, soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Within a few seeds."""
    for seed in range(FULL if soak else SHORT):
        with model.simulated() as folder:
            with mutation.apply():
                outcome = model.run(seed, folder, mutation.hint)
            if outcome.wrong and not model.run(seed, folder, mutation.hint).wrong:
                said = outcome.wrong[0].strip().splitlines()[-1]
                with capsys.disabled():
                    print(f"\n{mutation.name:45} {seed + 1:4} seeds  {said[:110]}", end=" ")  # noqa: T201 - the table
                return
    pytest.fail(f"not caught in {SHORT} seeds: {mutation.name}")
