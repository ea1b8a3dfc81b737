"""Certificates for tests: an authority of the test's own, and what it signs, good or not. Valid for hours at most."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HOUR: Final = timedelta(hours=1)
#: Names of this machine that a server's certificate holds unless told otherwise.
HERE: Final = ("127.0.0.1", "localhost")


class Pair(NamedTuple):
    """PEM files of a certificate and its key, and `both` in one file, as Kafka's keystores want it."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """A certificate authority; `ca` is the PEM file that trusts it. folder: for all files; made."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        """Make its key and certificate."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), began=-_HOUR, ends=24 * _HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, names: tuple[str, ...] = HERE, expired: bool = False) -> Pair:
        """Sign a certificate for servers and clients. name: its subject, and that of the files. names: hosts and addresses.

        expired: since half an hour.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        began, ends = (-2 * _HOUR, -_HOUR / 2) if expired else (-_HOUR, 12 * _HOUR)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_name(name), self._name, key.public_key(), began=began, ends=ends)
            .add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
            .add_extension(usage, critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pair = Pair(*(self._folder / f"{name}.{suffix}" for suffix in ("crt", "key", "pem")))
        pem = certificate.public_bytes(Encoding.PEM) + self.ca.read_bytes()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pair.certificate.write_bytes(pem)
        pair.key.write_bytes(private)
        pair.both.write_bytes(private + pem)
        return pair


#: Of an authority: it signs certificates and nothing else.
_KEY_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, began: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + began)
        .not_valid_after(now + ends)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
