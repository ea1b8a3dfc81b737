"""A broker as production has it: TLS, SASL in three mechanisms, client certificates, and rights that are checked.

One node, several listeners, so that one start serves a module's tests. The plain listener is for whoever sets it up: it
may do all. Everybody else may do nothing before `grant`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.certificates import Authority
from tests.servers.kafka import KafkaCluster

#: The user of SCRAM, of a client certificate, and of tokens.
USER: Final = "feedbridge"
#: Users of PLAIN, all with the same password.
USERS: Final = (USER, "deployer", "auditor", "operator", "reader", "lacking")
PASSWORD: Final = "XqZjWvKy-pass"
CLIENT_SECRET: Final = "XqZjWvKy-client"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_OAUTH: Final = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
_VALIDATOR: Final = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
_AUDIENCE: Final = "kafka"


class SecuredKafka:
    """See the module.

    Listeners, all with TLS: ``SASL`` (SCRAM, PLAIN, OAUTHBEARER), ``MTLS`` (client certificates); ``EXPIRED`` and
    ``ELSEWHERE`` are as ``SASL``, with a certificate that is out of date, or of another host. `authority` signs all of
    them; `stranger` is an authority that nobody trusts. folder: must be new or empty.
    """

    def __init__(self, folder: Path) -> None:
        """Make certificates and the token server; nothing runs before `start`."""
        self.authority = Authority(folder / "certificates")
        self.stranger = Authority(folder / "stranger", "another CA")
        self.tokens = TokenServer(folder)
        certificates = {
            "SASL": self.authority.issue("broker"),
            "MTLS": self.authority.issue("broker-mtls"),
            "EXPIRED": self.authority.issue("broker-expired", expired=True),
            "ELSEWHERE": self.authority.issue("broker-elsewhere", names=("elsewhere.example",)),
        }
        properties = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
            "inter.broker.listener.name": "PLAINTEXT",
        }
        users = " ".join(f'user_{each}="{PASSWORD}"' for each in USERS)
        for name, pair in certificates.items():
            of = f"listener.name.{name.lower()}"
            properties |= {
                f"{of}.ssl.keystore.type": "PEM",
                f"{of}.ssl.keystore.location": str(pair.both),
                f"{of}.ssl.truststore.type": "PEM",
                f"{of}.ssl.truststore.location": str(self.authority.ca),
                f"{of}.ssl.client.auth": "required" if name == "MTLS" else "none",
            }
            if name != "MTLS":
                oauth = f"{of}.oauthbearer.sasl"
                properties |= {
                    f"{of}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN,OAUTHBEARER",
                    f"{of}.scram-sha-512.sasl.jaas.config": f"{_SCRAM};",
                    f"{of}.plain.sasl.jaas.config": f"{_PLAIN} {users};",
                    f"{oauth}.jaas.config": f"{_OAUTH};",
                    f"{oauth}.server.callback.handler.class": _VALIDATOR,
                    f"{oauth}.oauthbearer.jwks.endpoint.url": self.tokens.jwks.as_uri(),
                    f"{oauth}.oauthbearer.expected.audience": _AUDIENCE,
                }
        self.cluster = KafkaCluster(
            folder / "kafka",
            properties=properties,
            listeners={name: "SSL" if name == "MTLS" else "SASL_SSL" for name in certificates},
            options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.tokens.jwks.as_uri()}"],
            quick=True,
        )

    def start(self) -> None:
        """Start broker and token server, and make the user of SCRAM."""
        self.tokens.start()
        self.cluster.start()
        self._admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap, "log_level": 0})
        self.change_password(PASSWORD)

    def change_password(self, password: str) -> None:
        """Give the user of SCRAM another password; connections that are open stay."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        upsertion = UserScramCredentialUpsertion(USER, credential, password.encode())
        for answer in self._admin.alter_user_scram_credentials([upsertion]).values():
            answer.result(timeout=20)

    def grant(self, rights: Iterable[AclBinding]) -> None:
        """Add rights."""
        for answer in self._admin.create_acls(list(rights)).values():
            answer.result(timeout=20)

    def revoke(self, right: AclBinding) -> None:
        """Take back one right."""
        (answer,) = self._admin.delete_acls([_filter(right)]).values()
        assert len(answer.result(timeout=20)) == 1

    def properties(
        self, mechanism: str = "SCRAM-SHA-512", *, listener: str = "SASL", user: str = USER, **more: Any
    ) -> dict[str, Any]:
        """What a client of that mechanism (or ``MTLS``) writes under ``kafka:``.

        user: others than `USER` have PLAIN only. more: further properties, with ``_`` for ``.``.
        """
        found: dict[str, Any] = {"ssl.ca.location": str(self.authority.ca)}
        if mechanism == "MTLS":
            pair = self.authority.issue(USER)
            found |= {
                "bootstrap.servers": self.cluster.listener("MTLS"),
                "security.protocol": "SSL",
                "ssl.certificate.location": str(pair.certificate),
                "ssl.key.location": str(pair.key),
            }
        else:
            found |= {
                "bootstrap.servers": self.cluster.listener(listener),
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": mechanism,
            }
        if mechanism == "OAUTHBEARER":
            found |= {
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": self.tokens.url,
                "sasl.oauthbearer.client.id": USER,
                "sasl.oauthbearer.client.secret": CLIENT_SECRET,
            }
        elif mechanism != "MTLS":
            found |= {"sasl.username": user, "sasl.password": PASSWORD}
        return found | {name.replace("_", "."): value for name, value in more.items()}

    def __enter__(self) -> Self:
        """Start all."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all."""
        self.close()

    def close(self) -> None:
        """End broker and token server."""
        self.tokens.close()
        self.cluster.close()


def bindings(rows: Iterable[Mapping[str, Any]], user: str = USER) -> list[AclBinding]:
    """Rights of a user, one operation each. rows: as `feedbridge topics acls --json` prints them."""
    return [
        AclBinding(
            _KINDS[row["resource"]],
            row["name"] or "kafka-cluster",
            _PATTERNS[row["pattern"]],
            f"User:{user}",
            "*",
            AclOperation[re.sub(r"(?<!^)([A-Z])", r"_\1", operation).upper()],
            AclPermissionType.ALLOW,
        )
        for row in rows
        for operation in row["operations"]
    ]


_KINDS: Final = {
    "topic": ResourceType.TOPIC,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
}
_PATTERNS: Final = {"literal": ResourcePatternType.LITERAL, "prefixed": ResourcePatternType.PREFIXED}


def _filter(right: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        right.restype,
        right.name,
        right.resource_pattern_type,
        right.principal,
        right.host,
        right.operation,
        right.permission_type,
    )


class TokenServer:
    """An OpenID provider, as far as a client with id and secret needs one: a token endpoint, in a thread of its own.

    jwks: the file with its public key, for the broker.
    """

    def __init__(self, folder: Path) -> None:
        """Make the key; nothing listens before `start`."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": _number(numbers.n), "e": _number(numbers.e)}
        self.jwks = folder.resolve() / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [key]}))
        self.url = ""
        #: How often a token was given out.
        self.given = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tokens", daemon=True)

    def start(self) -> None:
        """Serve; `url` is set then."""
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """End the server."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        if given != basic(USER, CLIENT_SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        self.given += 1
        now = int(time.time())
        claims = {"sub": USER, "aud": _AUDIENCE, "iss": "tests", "iat": now, "exp": now + 600, "scope": "kafka"}
        return web.json_response({"access_token": self._sign(claims), "token_type": "bearer", "expires_in": 600})

    def _sign(self, claims: dict[str, Any]) -> str:
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        signed = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        return f"{signed}.{_base64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def basic(user: str, password: str) -> str:
    """The header ``Authorization`` of a user with a password."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
