# The C extension, see native/*.c; what it takes and gives. `bridge.native` makes it ready.

from collections.abc import Callable
from typing import Any, final

from bridge.batch import Batch
from bridge.dedupe import Window
from bridge.encoder import Fresh
from bridge.errors import BadFrame
from bridge.frame import Frame, Record
from bridge.route import AnySighting, Way

INTERFACE: int
SOURCES: str

@final
class Sighting:
    # A usual frame, see `bridge.route.Sighting`. pairs: what `Way.learn` returns; None: nothing, or only Python can tell.
    way: Way
    own: str | None
    key: str | None
    pairs: list[tuple[str, str]] | None
    value: bytes
    number: bytes | None
    at: int | None
    traits: int
    identity: int
    content: int
    entity: int
    named: bool
    @property
    def meta(self) -> Any: ...
    @property
    def data(self) -> Any: ...
    def order(self, received: int, /) -> int: ...

class Reader:
    def __init__(
        self,
        table: bytes,
        names: bytes,
        meta: int,
        nested: bool,
        private: bool,
        types: list[tuple[Any, ...]],
        digest: Callable[[bytes, int], bytes],
        moment: Callable[[object], int | None],
        /,
    ) -> None: ...
    def read(self, raw: bytes, /) -> Sighting | None: ...
    def run(
        self, frames: list[Frame], index: int, gateway: str, stream: str, found: list[AnySighting | BadFrame | None], /
    ) -> int: ...

def judge(
    window: Window,
    batch: Batch,
    frames: list[Frame],
    sightings: list[AnySighting | BadFrame | None],
    index: int,
    position: int,
    now: int,
    stream: str,
    taught: dict[tuple[str, str], str],
    lookup: Callable[[str, str], str | None],
    learn: Callable[[str, tuple[str, str]], None],
    fresh: list[Fresh],
    /,
) -> int: ...
def publish(
    records: list[Record],
    owners: list[int],
    times: list[int],
    fresh: list[Fresh],
    index: int,
    oldest: int,
    newest: int,
    until: int,
    stream: str,
    record: type[Record],
    source: tuple[str, bytes],
    /,
) -> int: ...
