"""Rendering takes a tenth of a second; each case is rendered once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.helm.chart import Rendered, values


@pytest.fixture(scope="session")
def rendered() -> Callable[[str], Rendered]:
    """Return what makes a case's objects, once for each case."""
    made: dict[str, Rendered] = {}

    def render(case: str) -> Rendered:
        if case not in made:
            made[case] = Rendered(values(case))
        return made[case]

    return render
