"""Order in spite of copies: which records of a sequence are out of place, and which of two equal ones is the second."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Copies:
    """Equal records, more than the ledger published. numbers: of the records, in order. ordinals: of their links."""

    def __init__(self, numbers: list[int], ordinals: list[int]) -> None:
        self.numbers = numbers
        self.ordinals = ordinals
        #: Those that do not fit into the order of their key.
        self.late: list[int] = []
        self.displaced: list[int] = []

    def settle(self) -> list[int]:
        """Of what does not fit, so many are displaced as links have no record that fits; the others are surplus."""
        fits = len(self.numbers) - len(self.late)
        self.displaced = self.late[: max(len(self.ordinals) - fits, 0)]
        return self.displaced

    def surplus(self) -> list[int]:
        """The records to blame as copies: what does not fit, else the last."""
        late = [number for number in self.late if number not in self.displaced]
        others = [number for number in self.numbers if number not in self.late]
        more = len(self.numbers) - len(self.ordinals) - len(late)
        return late + (others[-more:] if more > 0 else [])


def longest(sequence: Iterable[tuple[int, list[int]]]) -> set[int]:
    """The most positions whose ordinals can ascend. sequence: position and the ordinals it may stand for."""
    tails: list[int] = []
    ends: list[int] = []
    chain: list[tuple[int, int]] = []  # (position, the chain's index before it)
    for position, ordinals in sequence:
        for ordinal in sorted(ordinals, reverse=True):  # so that no position follows itself
            at = bisect_left(tails, ordinal)
            chain.append((position, ends[at - 1] if at else -1))
            if at == len(tails):
                tails.append(ordinal)
                ends.append(len(chain) - 1)
            else:
                tails[at] = ordinal
                ends[at] = len(chain) - 1
    kept = set()
    at = ends[-1] if ends else -1
    while at >= 0:
        position, at = chain[at]
        kept.add(position)
    return kept
