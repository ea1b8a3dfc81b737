"""The bare loop: receive, decode, encode, transactional produce with group commit, and nothing else.

What the bridge is measured against: the same components in the least that could be written around them. It reads as the
bridge does, decodes and encodes with the codec compiled from the schema, frames the value for the registry, sends it
with its key, and commits as soon as the last transaction is done. It has no journal, no dedupe, no ledger, no headers, no timestamps of
the event, no metrics; frames that it can't read end it; whatever goes wrong, it loses or doubles frames.

Process: ``python -m bench.bare CONFIG URL [--numbered]`` (with a header that holds the sequence number, so that latency can
be measured); prints ``ready``, then for each number on standard input a line when so many
frames are committed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final

from bridge import kafka, topics
from bridge.catalog import Catalog
from bridge.codec import Codec, MetaCodec
from bridge.config import Config, load
from bridge.gateways.transport import connect
from bridge.topics import Role

_MAX_FRAMES: Final = 4000
#: Frames that wait for the lane at most (in bursts); then the socket is not read.
_MAX_WAITING: Final = 20_000


class Bare:
    """Receives on the event loop, publishes in a thread, as the bridge does."""

    def __init__(self, config: Config, url: str, *, numbered: bool) -> None:
        catalog = Catalog.load()
        kind = catalog.kind("ticktock")
        plan = topics.plan(config, catalog)
        assert config.registry is not None
        framing = {
            each.type: b"\0" + config.registry.ids[each.subject].to_bytes(4, "big") for each in topics.subjects(plan)
        }
        names = {name: topic.name for topic in plan if topic.role is Role.DATA for name in topic.types}
        self._decode = MetaCodec(kind).decode
        self._ways = {
            name: (Codec(frame_type), names[name], framing[name])
            for name, frame_type in kind.types.items()
            if frame_type.publish
        }
        self._producer = kafka.producer(config, transactional_id=f"{config.name}.bare")
        self._url = url
        self._numbered = numbered
        self._waiting: deque[list[bytes]] = deque()
        self._received = 0
        self._changed = threading.Condition()
        self.committed = 0

    async def receive(self) -> None:
        """Receive until cancelled."""
        transport = await connect(self._url, headers={}, open_timeout=10, max_size=16 << 20)
        while True:
            messages = await transport.receive()
            with self._changed:
                self._waiting.append(messages)
                self._received += len(messages)
                self._changed.notify_all()
            while self._received - self.committed > _MAX_WAITING:  # noqa: ASYNC110 - that is another thread's doing
                await asyncio.sleep(0.001)

    def publish(self) -> None:
        """Publish for ever."""
        producer, ways, decode = self._producer, self._ways, self._decode
        producer.init_transactions(30)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                batch = self._waiting.popleft()
                while self._waiting and len(batch) + len(self._waiting[0]) <= _MAX_FRAMES:
                    batch += self._waiting.popleft()
            producer.begin_transaction()
            produce = producer.produce
            for raw in batch:
                envelope = decode(raw)
                way = ways.get(envelope.type)
                if way is None:
                    continue
                codec, topic, framing = way
                meta = envelope.meta
                data = codec.decode_data(envelope.data)
                key = codec.key(meta, data) or codec.entity(meta, data)
                if self._numbered:
                    produce(topic, framing + codec.encode(meta, data), key, headers=[("seq", b"%d" % meta.seq)])
                else:
                    produce(topic, framing + codec.encode(meta, data), key)
            producer.commit_transaction(30)
            with self._changed:
                self.committed += len(batch)
                self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Wait until so many frames are committed."""
        with self._changed:
            self._changed.wait_for(lambda: self.committed >= count)


def _listen(bare: Bare) -> None:
    bare.wait(1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        bare.wait(int(line))
        sys.stdout.write("done\n")
        sys.stdout.flush()


def main() -> None:
    """Run until killed."""
    bare = Bare(load(Path(sys.argv[1]), environ={}), sys.argv[2], numbered="--numbered" in sys.argv)
    for target, arguments in ((bare.publish, ()), (_listen, (bare,))):
        threading.Thread(target=_or_exit, args=(target, arguments), daemon=True).start()
    asyncio.run(bare.receive())


def _or_exit(target: Any, arguments: tuple[Any, ...]) -> None:
    """A thread that fails ends the process: the benchmark must not wait for it."""
    import os
    import traceback

    try:
        target(*arguments)
    except BaseException:  # noqa: BLE001 - reported, and the end of the process
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    main()
