"""bridge.gateways.transport: one WebSocket connection, read in bursts."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import logging
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from bridge.gateways.transport import Closed, Declined, Transport, _Connection, connect

LIMIT = 1 << 20
CONT, TEXT, BINARY, CLOSE, PING = 0x0, 0x1, 0x2, 0x8, 0x9


def wire(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as a server sends it (RFC 6455, 5.2)."""
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack(">H", len(payload)) + payload
    return head + b"\x7f" + struct.pack(">Q", len(payload)) + payload


class Line(asyncio.Transport):
    """The transport below a connection: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.turned: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        """As TLS: no."""
        return False

    def is_closing(self) -> bool:
        """Never."""
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There are none."""

    def pause_reading(self) -> None:
        """Remember."""
        self.turned.append("off")

    def resume_reading(self) -> None:
        """Remember."""
        self.turned.append("on")

    def close(self) -> None:
        """Nothing to close."""

    def abort(self) -> None:
        """Nothing to cut."""


def opened(line: Line) -> tuple[_Connection, bytes]:
    """A connection that has sent its request, and the response that it waits for."""
    protocol = ClientProtocol(parse_uri("ws://host/"), max_size=LIMIT)
    connection = _Connection(protocol, ping_interval=None)
    connection.connection_made(line)
    protocol.send_request(protocol.connect())
    server = ServerProtocol()
    server.receive_data(b"".join(protocol.data_to_send()))
    request = server.events_received()[0]
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    return connection, b"".join(server.data_to_send())


def feed(connection: _Connection, data: bytes, cuts: list[int]) -> None:
    """Give the connection bytes in pieces, as a network would."""
    places = sorted({place % (len(data) + 1) for place in cuts} | {0, len(data)})
    for start, stop in pairwise(places):
        connection.data_received(data[start:stop])


payloads = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([0, 1, 2, 125, 126, 127, 255, 256, 65535, 65536, 70000]).map(lambda size: b"x" * size),
)
messages = st.tuples(
    st.sampled_from([TEXT, BINARY]), payloads, st.lists(st.integers(0, 70000), max_size=3), st.booleans()
)


@given(st.lists(messages, max_size=12), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_messages_in_any_pieces_come_whole_and_in_order(
    sent: list[tuple[int, bytes, list[int], bool]], cuts: list[int]
) -> None:
    """Whatever the sizes, kinds, fragments, pings between them and cuts by the network: each message once, in order."""

    async def run() -> None:
        line = Line()
        connection, data = opened(line)
        for opcode, payload, fragments, pinged in sent:
            places = sorted({place % (len(payload) + 1) for place in fragments} | {0, len(payload)})
            parts = [payload[start:stop] for start, stop in pairwise(places)] or [payload]
            for index, part in enumerate(parts):
                data += wire(CONT if index else opcode, part, fin=index == len(parts) - 1)
                if pinged:
                    data += wire(PING, b"still there?")
        feed(connection, data, cuts)
        assert connection.waiting is not any(True for _ in sent)
        assert (await connection.receive() if sent else []) == [payload for _, payload, _, _ in sent]
        assert line.written.count(b"\x8a\x8c") >= any(pinged for *_, pinged in sent), "pings are answered"

    asyncio.run(run())


@given(
    st.lists(payloads, max_size=6), st.integers(1000, 1003) | st.integers(3000, 4999), st.lists(st.integers(0, 1 << 18))
)
def test_all_that_came_before_the_end_is_returned_first(sent: list[bytes], code: int, cuts: list[int]) -> None:
    """A close frame right behind messages takes none of them away, and its code and reason are known."""

    async def run() -> None:
        connection, data = opened(Line())
        data += b"".join(wire(TEXT, payload) for payload in sent)
        data += wire(CLOSE, struct.pack(">H", code) + b"gone") + wire(TEXT, b"after the end")
        feed(connection, data, cuts)
        received, closed = await collect(connection)
        assert received == sent
        assert (closed.code, closed.reason, closed.ours) == (code, "gone", False)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (wire(TEXT, b"x", rsv=0x40), 1002),
        (b"\x81\x81\0\0\0\0x", 1002),
        (wire(0x3, b"x"), 1002),
        (wire(CONT, b"x"), 1002),
        (wire(TEXT, b"a", fin=False) + wire(TEXT, b"b"), 1002),
        (wire(CLOSE, b"\x03\xe8\xff"), 1007),
        (b"\x81\x7f" + struct.pack(">Q", LIMIT + 1) + b"begin", 1009),
        (wire(TEXT, b"x" * LIMIT, fin=False) + wire(CONT, b"y"), 1009),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_by_our_hand(broken: bytes, code: int) -> None:
    """What came before is returned, then the library's own verdict."""
    connection, data = opened(Line())
    connection.data_received(data + wire(TEXT, b"good") + broken + wire(TEXT, b"after"))
    assert await connection.receive() == [b"good"]
    with pytest.raises(Closed) as ended:
        await connection.receive()
    assert (ended.value.code, ended.value.ours) == (code, True)


async def test_bad_utf8_is_a_message_like_any_other() -> None:
    """A text frame that is no text is handed on byte for byte: it is to become a dead letter."""
    connection, data = opened(Line())
    connection.data_received(data + wire(TEXT, b"\xff\xfe{") + wire(TEXT, b"next"))
    assert await connection.receive() == [b"\xff\xfe{", b"next"]


async def test_nothing_more_is_read_while_nobody_takes_what_was() -> None:
    """Two reads of the socket are held at most; taking them lets reading go on."""
    line = Line()
    connection, data = opened(line)
    connection.data_received(data + wire(TEXT, b"one"))
    assert line.turned == []
    connection.data_received(wire(TEXT, b"two"))
    assert line.turned == ["off"]
    assert await connection.receive() == [b"one", b"two"]
    assert line.turned == ["off", "on"]


async def test_a_long_message_on_a_slow_line_shows_as_progress() -> None:
    """`partial` grows with every piece and is nothing once the message is whole."""
    connection, data = opened(Line())
    connection.data_received(data)
    long = wire(TEXT, b"x" * 100_000)
    seen = []
    for start in range(0, len(long), 20_000):
        connection.data_received(long[start : start + 20_000])
        seen.append(connection.partial)
    assert seen[:-1] == sorted(set(seen[:-1]))
    assert seen[-1] == 0
    assert await connection.receive() == [b"x" * 100_000]


async def test_wake_returns_from_a_wait_with_nothing() -> None:
    """A timer can interrupt a wait without losing a message."""
    connection, data = opened(Line())
    connection.data_received(data)
    waiting = asyncio.create_task(connection.receive())
    await asyncio.sleep(0)
    connection.wake()
    assert await waiting == []


# Against a real server


@contextlib.asynccontextmanager
async def server(
    handler: Callable[[ServerConnection], Awaitable[None]],
    *,
    request: Callable[[ServerConnection, Request], Response | None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """A server of the library; yields its URL, with a key in it."""
    async with serve(
        handler, "127.0.0.1", 0, process_request=request, ssl=tls, compression=None, ping_interval=None
    ) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/path?api_key=s3cr3t-marker"


async def dial(url: str, *, tls: ssl.SSLContext | None = None, open_timeout: float = 5.0) -> Transport:
    """Connect to it."""
    return await connect(
        url, headers={"X-Api-Key": "s3cr3t-marker"}, open_timeout=open_timeout, max_size=LIMIT, tls=tls
    )


async def collect(transport: Transport) -> tuple[list[bytes], Closed]:
    """All messages until the end, and the end."""
    received: list[bytes] = []
    try:
        async with asyncio.timeout(20):
            while True:
                received += await transport.receive()
    except Closed as closed:
        return received, closed


async def drain(transport: Transport) -> tuple[list[bytes], Closed]:
    """The same, and then close."""
    try:
        return await collect(transport)
    finally:
        await transport.close()


async def test_the_handshake_has_the_headers_and_neither_origin_nor_compression() -> None:
    """A server that checks Origin lets us in, and no frame comes compressed."""
    seen: list[Request] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request)
        await connection.send("hello")

    async with server(handler) as url:
        received, closed = await drain(await dial(url))
    assert (received, closed.code) == ([b"hello"], 1000)
    headers = seen[0].headers
    assert headers["X-Api-Key"] == "s3cr3t-marker"
    assert headers["User-Agent"].startswith("feedbridge/")
    assert "Origin" not in headers
    assert "Sec-WebSocket-Extensions" not in headers


async def test_what_is_sent_arrives_and_many_messages_come_back_in_order() -> None:
    """A round trip of 20,000 messages of mixed sizes against the library's server."""
    rng = Random(7)
    texts = [
        ("x" * rng.choice([0, 1, 60, 125, 126, 300, 4000, 66_000 if index % 500 == 0 else 10])) + str(index)
        for index in range(20_000)
    ]

    async def handler(connection: ServerConnection) -> None:
        assert await connection.recv() == "go"
        for text in texts:
            await connection.send(text)

    async with server(handler) as url:
        transport = await dial(url)
        await transport.send("go")
        received, closed = await drain(transport)
    assert received == [text.encode() for text in texts]
    assert closed.code == 1000


@pytest.mark.parametrize(("status", "headers"), [(401, {}), (403, {}), (429, {"Retry-After": "7"}), (599, {})])
async def test_an_http_answer_is_told_with_body_and_retry_after(status: int, headers: dict[str, str]) -> None:
    """Whatever the status, also one that no list has: it is an answer, not a broken connection."""

    async def handler(_: ServerConnection) -> None:
        pytest.fail("nobody comes in")

    def refuse(connection: ServerConnection, _: Request) -> Response:
        response = connection.respond(200, '{"detail": "no"}')
        response.status_code = status
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async with server(handler, request=refuse) as url:
        with pytest.raises(Declined) as declined:
            await dial(url)
    assert (declined.value.status, declined.value.body) == (status, b'{"detail": "no"}')
    assert declined.value.retry_after == headers.get("Retry-After")


async def test_a_redirect_is_not_followed() -> None:
    """The key must not travel to another host."""
    asked: list[str] = []

    async def handler(_: ServerConnection) -> None:
        pytest.fail("nobody comes in")

    def redirect(connection: ServerConnection, request: Request) -> Response:
        asked.append(request.path)
        response = connection.respond(200, "")
        response.status_code = 302
        response.headers["Location"] = "/elsewhere"
        return response

    async with server(handler, request=redirect) as url:
        with pytest.raises(Declined) as declined:
            await dial(url)
    assert declined.value.status == 302
    assert asked == ["/path?api_key=s3cr3t-marker"]


async def test_a_cut_line_is_1006() -> None:
    """Where nobody said goodbye, what came is still returned."""

    async def handler(connection: ServerConnection) -> None:
        await connection.send("last words")
        await asyncio.sleep(0.05)
        connection.transport.abort()

    async with server(handler) as url:
        received, closed = await drain(await dial(url))
    assert (received, closed.code, closed.ours) == ([b"last words"], 1006, False)


async def test_a_server_that_accepts_and_says_nothing_times_out() -> None:
    """TCP alone is no connection: the handshake has its time."""
    left = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    listening = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with listening:
        with pytest.raises(TimeoutError):
            await dial(f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", open_timeout=0.1)
        await asyncio.wait_for(left.wait(), 5)


async def test_closing_takes_no_longer_than_its_time_where_nobody_answers() -> None:
    """A peer that reads nothing can't hold us."""
    release = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await connection.send("hello")
        connection.transport.pause_reading()
        await release.wait()
        connection.transport.abort()

    async with server(handler) as url:
        transport = await dial(url)
        assert await transport.receive() == [b"hello"]
        async with asyncio.timeout(5):
            await transport.close()
        release.set()


async def test_no_log_at_any_level_holds_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """The library logs request lines at debug level; here it stays silent, whatever is configured."""

    async def handler(connection: ServerConnection) -> None:
        await connection.send("hello")

    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    with caplog.at_level(logging.DEBUG):
        async with server(handler) as url:
            await drain(await dial(url))
    assert "s3cr3t-marker" not in caplog.text


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own for 127.0.0.1, and that of a client which trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    return serving, ssl.create_default_context(cafile=str(path))


async def test_tls_carries_messages_and_an_unknown_certificate_is_refused(tmp_path: Path) -> None:
    """Over TLS all is as without; a certificate that nobody vouches for ends it before the key is sent."""
    serving, trusting = certificate(tmp_path)
    texts = [str(index) * 300 for index in range(2000)]
    came: list[str] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        came.append(connection.request.path)
        for text in texts:
            await connection.send(text)

    async with server(handler, tls=serving) as url:
        received, _ = await drain(await dial(url, tls=trusting))
        assert received == [text.encode() for text in texts]
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(url)
    assert len(came) == 1
