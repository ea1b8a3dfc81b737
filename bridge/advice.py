"""What to do about an error of librdkafka's that only its text tells apart: who refuses whom, and which key to look at."""

from __future__ import annotations

import re

from bridge.errors import BridgeError, Refused, Unreachable


def authentication(text: str) -> BridgeError:
    """We could not log in: the broker, or who gives out tokens, refuses us (Refused) or gives none (Unreachable)."""
    if "OAUTHBEARER token" in text:
        if re.search("connect to|resolve|timed out|timeout", text, re.IGNORECASE):
            mend = "check kafka: sasl.oauthbearer.token.endpoint.url and that it runs"
            return Unreachable(text, where="kafka", mend=mend)
        mend = "check sasl.oauthbearer.client.id, .client.secret and .token.endpoint.url under kafka"
        return Refused(text, where="kafka", mend=mend)
    if "mechanism handshake failed" in text:
        return Refused(text, where="kafka", mend="set kafka: sasl.mechanism to one that the broker takes")
    if re.search("invalid username|invalid credentials", text, re.IGNORECASE):
        return Refused(text, where="kafka", mend="check sasl.username and sasl.password under kafka")
    return Refused(text, where="kafka", mend="check security.protocol and the sasl.* properties under kafka")


def tls(text: str) -> BridgeError:
    """TLS failed: the broker does not take our certificate (Refused), or we don't take the broker's (Unreachable)."""
    if "SSL alert" in text:
        return Refused(
            f"the broker refused our TLS certificate: {text}",
            where="kafka",
            mend="check ssl.certificate.location and ssl.key.location under kafka: in date, and of a CA that it knows",
        )
    if "verify failed" in text:
        return Unreachable(
            f"the broker's certificate is not trusted (unknown CA, expired, or made for another host): {text}",
            where="kafka",
            mend="check kafka: ssl.ca.location, and the certificate's names and dates",
        )
    return Unreachable(f"TLS failed: {text}", where="kafka", mend="check kafka: security.protocol against the port")


def connection(text: str) -> str:
    """What to do where no broker is reached."""
    if "resolve" in text.lower():
        return "check the host names in kafka: bootstrap.servers"
    if "security.protocol" in text or "ApiVersion" in text:
        return "check kafka: security.protocol against the port"
    return "check kafka: bootstrap.servers and that the broker runs"
