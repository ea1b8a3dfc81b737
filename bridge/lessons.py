"""Which ids frames have taught of late, so that each is looked at once and not with every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.ledger import Learned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.batch import Batch
    from bridge.ledger import Memory

#: Ids that were learned are not looked at again for so long (ms).
AGAIN: Final = 60_000
#: So many of them are remembered at most.
MANY: Final = 10_000


class Lessons:
    """Of one lane's pipeline. What lasts is in `bridge.ledger.Memory`."""

    def __init__(self) -> None:
        """Nothing is taught."""
        #: (gateway, id) → key, as it was learned last. Always the same object.
        self.taught: dict[tuple[str, str], str] = {}
        #: Until when (ms) they need not be looked at again.
        self.until = 0

    def learn(self, batch: Batch, memory: Memory, gateway: str, pairs: Sequence[tuple[str, str]], now: int) -> None:
        """Take (id, key) of a gateway; what the ledger does not know yet goes into the batch. now: ms since the epoch."""
        learned, span = memory.learned, memory.window.span
        for known, key in pairs:
            if len(self.taught) >= MANY:
                self.taught.clear()
            self.taught[gateway, known] = key
            if learned.learn(gateway, known, key, now, span=span):
                batch.learned.append(Learned(gateway, known, key))

    def forget(self, now: int, span: int) -> None:
        """Look at all ids again: the ledger must be told of them once in half a window, and `Keys` forgets. span: of it, ms."""
        self.taught.clear()
        self.until = now + min(AGAIN, span // 8)
