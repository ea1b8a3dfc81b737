"""The place where the frames of a connection end and those of its successor begin. Pure.

While both are open the old one feeds the bridge as ever and the new one's frames are held. When the old one ends, what the
new one has beyond it goes on: everything the old one told in the meantime is taken off, once for each time. What is left
is what only the new one got, and the states with which it began. Those the old one has gone beyond are left out: put
behind its frames they would turn a book or a match back.

Frames are the same by their number where both connections see the same numbers. Where none does, they are the same by
what they say; then only those count that the old one told since the new one began, for the same may be said again later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bridge.gateways.gist import Gist


class Splice:
    """What both connections told since the new one was opened."""

    def __init__(self, gist: Callable[[bytes], Gist]) -> None:
        """Nothing was told yet. gist: what a frame says, whichever connection brought it."""
        self._gist = gist
        self._exact: Counter[int] = Counter()
        self._content: Counter[int] = Counter()
        self._entities: set[str] = set()
        self._new: list[Gist] = []
        self._new_exact: set[int] = set()
        self._new_content: set[int] = set()
        #: Frames that the old connection told.
        self.told = 0
        #: The same frame came over both, by its number; something that says the same did.
        self._numbers_agree = self._overlaps = False

    @property
    def overlaps(self) -> bool:
        """Whether a frame came over both."""
        return self._numbers_agree or self._overlaps

    def old(self, raw: bytes) -> None:
        """Take a frame that the old connection handed on."""
        gist = self._gist(raw)
        self.told += 1
        if gist.entity is not None:
            self._entities.add(gist.entity)
        if gist.numbered or self._new:
            self._exact[gist.exact] += 1
        if self._new:
            self._content[gist.content] += 1
        self._numbers_agree = self._numbers_agree or (gist.numbered and gist.exact in self._new_exact)
        self._overlaps = self._overlaps or gist.content in self._new_content

    def new(self, raw: bytes) -> None:
        """Take a frame that the new connection holds back."""
        gist = self._gist(raw)
        self._new.append(gist)
        self._new_exact.add(gist.exact)
        self._new_content.add(gist.content)
        self._numbers_agree = self._numbers_agree or (gist.numbered and gist.exact in self._exact)
        self._overlaps = self._overlaps or gist.content in self._content

    def again(self) -> None:
        """The new connection was lost, and begins anew."""
        for each in (self._exact, self._content, self._entities, self._new, self._new_exact, self._new_content):
            each.clear()
        self._numbers_agree = self._overlaps = False

    def remainder(self) -> list[int]:
        """Return which of the new connection's frames, counted from 0, are to be handed on; in their order."""
        left = Counter(self._exact if self._numbers_agree else self._content)
        last, alone = -1, []
        for index, gist in enumerate(self._new):
            essence = gist.exact if self._numbers_agree else gist.content
            if left[essence] > 0:
                left[essence] -= 1
                last = index
            else:
                alone.append(index)
        # A frame that came over both proves that the old connection had told all that was before it.
        return [index for index in alone if index > last or not self._behind(self._new[index])]

    def _behind(self, gist: Gist) -> bool:
        return gist.whole and gist.entity in self._entities
