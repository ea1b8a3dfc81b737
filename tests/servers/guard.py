"""A TLS front that asks for credentials, before a server that has neither: ``with Guard(registry.url, pair) as front``."""

from __future__ import annotations

import socketserver
import ssl
import urllib.error
import urllib.request
from collections.abc import Collection
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.servers import threaded
from tests.servers.certificates import Pair

_KEPT: Final = ("Content-Type", "Accept")


class Guard(threaded.Threaded):
    """Between a client and a registry, in threads of its own. url: as the client needs it, with the path of what is behind.

    behind: its URL. pair: the front's certificate. accepted: values of ``Authorization`` that pass; none given: all.
    clients: the CA whose certificates clients must have.
    """

    def __init__(self, behind: str, pair: Pair, *, accepted: Collection[str] = (), clients: Path | None = None) -> None:
        """Nothing is answered before the block."""
        #: Requests that passed, and that were refused.
        self.passed = self.refused = 0
        self._behind = urlsplit(behind)
        self._accepted = frozenset(accepted)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
        super().__init__(_Server(self, context))
        self.url = f"https://127.0.0.1:{self.port}{self._behind.path}"

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, str, bytes]:
        """Status, type and body of the answer to a request."""
        if self._accepted and request.headers.get("Authorization") not in self._accepted:
            self.refused += 1
            return 401, "application/json", b'{"error_code": 401, "message": "who are you?"}'
        self.passed += 1
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        headers = {name: value for name in _KEPT if (value := request.headers.get(name)) is not None}
        url = f"{self._behind.scheme}://{self._behind.netloc}{request.path}"
        asked = urllib.request.Request(url, body or None, headers, method=request.command)  # noqa: S310 - http, see behind
        try:
            with urllib.request.urlopen(asked, timeout=30) as found:  # noqa: S310
                return found.status, found.headers.get("Content-Type", "application/json"), found.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("Content-Type", "application/json"), error.read()


class _Server(ThreadingHTTPServer):
    # Connections are kept open by clients: whoever closes the front does not wait for them
    block_on_close = False

    def __init__(self, guard: Guard, context: ssl.SSLContext) -> None:
        self.guard = guard
        self._context = context
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread: who is refused is told why, and holds up nobody."""
        with suppress(OSError), self._context.wrap_socket(request, server_side=True) as secure:
            socketserver.TCPServer.finish_request(self, secure, client_address)


class _Handler(threaded.Handler):
    server: _Server

    def _answer(self) -> None:
        status, kind, body = self.server.guard.answer(self)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - as the base class calls them
