"""RabbitMQ (Debian's): one node on loopback, to be stopped, killed, frozen and started again."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from tests.servers.fetch import fetch_rabbitmq
from tests.servers.process import Port, Process

#: Of the user ``guest``. Looks like one, to prove that it never shows up.
PASSWORD: Final = "hunter2@s3cr3t"
_START_TIMEOUT: Final = 120.0
#: Answered by any broker: the protocol's own header.
_GREETING: Final = b"AMQP\x00\x00\x09\x01"


class RabbitMQ:
    """A broker on 127.0.0.1 that keeps its ports and what is persistent through any stop, kill and start.

    directory: for data and logs; created, must be empty or new. certificate: files of certificate chain and key; with
    them it serves TLS on a port of its own, see `tls_url`. Errors are `ServerError`, with the end of the log.
    """

    def __init__(self, directory: Path, *, certificate: tuple[Path, Path] | None = None) -> None:
        root = fetch_rabbitmq()
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._port, self._tls_port, self._peer_port, self._names_port = Port(), Port(), Port(), Port()
        erlang = root / "usr/lib/erlang"
        binaries = next(erlang.glob("erts-*/bin"))
        home = next((root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
        environ = {
            "HOME": str(directory),
            "PATH": f"{erlang / 'bin'}:{os.environ['PATH']}",
            "ROOTDIR": str(erlang),
            "BINDIR": str(binaries),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_LIBS": str(home / "plugins"),
            "ERL_CRASH_DUMP": str(directory / "crash.dump"),
            # Without a name server of its own Erlang would start one that outlives the tests
            "ERL_EPMD_PORT": str(self._names_port.number),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_HOME": str(home),
            "RABBITMQ_PLUGINS_DIR": str(home / "plugins"),
            "RABBITMQ_NODENAME": f"test{self._port.number}@localhost",
            "RABBITMQ_DIST_PORT": str(self._peer_port.number),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "config"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory),
            "RABBITMQ_LOGS": "-",
        }
        self._names = Process(
            "Erlang's name server",
            [str(binaries / "epmd"), "-address", "127.0.0.1", "-port", str(self._names_port.number)],
            log=directory / "epmd.log",
            environ=environ,
        )
        command = [str(binaries / "erlexec"), "-boot", "start_sasl", "-W", "w", "-noshell", "-noinput"]
        command += ["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
        command += ["-kernel", "prevent_overlapping_partitions", "false"]
        command += ["-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false", "-s", "rabbit", "boot"]
        self._process = Process("RabbitMQ", command, log=directory / "rabbitmq.log", environ=environ)
        settings = [f"default_pass = {PASSWORD}"]
        settings += [f"listeners.tcp.1 = 127.0.0.1:{self._port.number}", "log.console.level = warning"]
        if certificate is not None:
            chain, key = certificate
            settings += [f"listeners.ssl.1 = 127.0.0.1:{self._tls_port.number}", "ssl_options.verify = verify_none"]
            settings += [f"ssl_options.certfile = {chain}", f"ssl_options.keyfile = {key}"]
        (directory / "rabbitmq.conf").write_text("".join(f"{line}\n" for line in settings))
        (directory / "plugins").write_text("[].")

    @property
    def url(self) -> str:
        """``amqp://user:password@host:port/%2F``: the one user, who may do everything in the one virtual host."""
        return f"amqp://guest:{quote(PASSWORD)}@127.0.0.1:{self._port.number}/%2F"

    @property
    def tls_url(self) -> str:
        """The same over TLS, where there is a certificate; it must name ``localhost``."""
        return f"amqps://guest:{quote(PASSWORD)}@localhost:{self._tls_port.number}/%2F"

    @property
    def log(self) -> Path:
        """The file with what it says."""
        return self._process.log

    @property
    def running(self) -> bool:
        """Tell whether its process lives (paused is alive)."""
        return self._process.running

    def start(self) -> None:
        """Start, and return when it answers clients. Nothing if it is running."""
        if not self._names.running:
            self._names.start()
            self._names.wait_ready(self._names_port.listening, timeout=_START_TIMEOUT)
        if not self._process.running:
            self._process.start()
            self._process.wait_ready(self._serves, timeout=_START_TIMEOUT)

    def stop(self) -> None:
        """SIGTERM: an orderly end. Transient messages are gone with any end."""
        self._process.stop(timeout=60.0)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._process.resume()

    def close(self) -> None:
        """Kill what runs and give the ports back; the directory is left to its owner."""
        with ExitStack() as rest:
            for port in (self._port, self._tls_port, self._peer_port, self._names_port):
                rest.callback(port.close)
            rest.callback(self._names.kill)
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serves(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port.number), timeout=5.0) as probe:
                probe.sendall(_GREETING)
                return bool(probe.recv(1))
        except OSError:
            return False
