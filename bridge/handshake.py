"""Why a broker can't be talked to, found out by one more connection: librdkafka has one text for faults that differ."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

from bridge.errors import Unreachable

#: Seconds for a connection and its handshake.
TIMEOUT: Final = 5.0


def untrusted(
    text: str, *, ca: str | None = None, ca_pem: str | None = None, timeout: float = TIMEOUT
) -> Unreachable | None:
    """Why a broker's certificate is not trusted: librdkafka has one text for an unknown CA, a wrong name and a wrong date.

    text: librdkafka's own, which names host and port. ca, ca_pem: file or text to verify with; neither: the system's.
    Makes one TLS connection. None where it finds no fault.
    """
    broker = re.search(r"(?:ssl|sasl_ssl)://(\[[^]]+]|[^:/]+):(\d+)", text)
    if broker is None:
        return None
    host, port = broker[1].strip("[]"), int(broker[2])
    try:
        context = ssl.create_default_context(cafile=ca, cadata=None if ca else ca_pem)
        with (
            socket.create_connection((host, port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message.rstrip(".")
    except OSError:
        return None
    if "expired" in reason or "not yet valid" in reason:
        return Unreachable(f"the certificate of {host}:{port} is out of date: {reason}", where="kafka", mend="renew it")
    if "mismatch" in reason or "not valid for" in reason:
        return Unreachable(
            f"the certificate of {host}:{port} is for another host: {reason}",
            where="kafka",
            mend="use a name that the certificate holds in kafka: bootstrap.servers and in the broker's listeners",
        )
    return Unreachable(
        f"the certificate of {host}:{port} comes from an unknown CA: {reason}",
        where="kafka",
        mend="set kafka: ssl.ca.location to the file with its CA",
    )


def mismatch(servers: str, protocol: str, *, timeout: float = TIMEOUT) -> Unreachable | None:
    """Whether a broker that takes connections and does not answer speaks something else than we do.

    servers: ``bootstrap.servers``. protocol: ``security.protocol``. Asks the first server that takes a connection; None
    where none does, or it does not answer at all.
    """
    ours = protocol.lower().endswith("ssl")
    for server in servers.split(","):
        place = re.fullmatch(r"\s*(?:\w+://)?(?:\[([^]]+)]|([^:]+)):(\d+)\s*", server)
        speaks = None if place is None else _speaks_tls(place[1] or place[2], int(place[3]), timeout)
        if place is None or speaks is None:
            continue
        at = f"{place[1] or place[2]}:{place[3]}"
        if speaks and not ours:
            text, mend = f"{at} speaks TLS, which kafka: security.protocol {protocol} does not", "SSL or SASL_SSL"
        elif ours and not speaks:
            text, mend = (
                f"{at} does not speak TLS, as kafka: security.protocol {protocol} does",
                "SASL_PLAINTEXT or PLAINTEXT",
            )
        else:
            # What it speaks above TLS, or without it, can't be told: a broker closes the connection of who is wrong.
            sasl = protocol.lower().startswith("sasl")
            text = f"{at} takes connections, and gives no answer to kafka: security.protocol {protocol}"
            other = ("SSL" if ours else "PLAINTEXT") if sasl else ("SASL_SSL" if ours else "SASL_PLAINTEXT")
            return Unreachable(text, where="kafka", mend=f"see whether it wants {other}, and whether it is a broker")
        return Unreachable(text, where="kafka", mend=f"set it to {mend}, or use the port of another listener")
    return None


def _speaks_tls(host: str, port: int, timeout: float) -> bool | None:
    """Whether a server shakes hands; None: no connection, or no answer in time."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and no answer is believed
    try:
        with socket.create_connection((host, port), timeout=timeout) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=host):
                    return True
            except TimeoutError:
                return None
            except OSError:
                return False
    except OSError:
        return None
