"""Certificates for tests: an authority of their own, and what it issues."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def new_key(kind: str = "ec") -> PrivateKey:
    """A private key: ``ec`` (P-256), ``p521``, ``rsa`` (2048 bits), ``ed25519``, or ``weak`` (RSA of 1024 bits)."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in ("ec", "p521"):
        return ec.generate_private_key(ec.SECP256R1() if kind == "ec" else ec.SECP521R1())
    return rsa.generate_private_key(65537, {"rsa": 2048, "weak": 1024}[kind])


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS #8, encrypted if there is a passphrase."""
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@dataclass
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey
    #: The authority between it and the root, if there is one.
    between: bytes = b""

    @property
    def pem(self) -> bytes:
        """The certificate, and that between it and the root."""
        return self.certificate.public_bytes(serialization.Encoding.PEM) + self.between

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def write(self, directory: Path, stem: str = "server") -> tuple[str, str]:
        """Writes ``STEM.crt`` and ``STEM.key``; their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = directory / f"{stem}.crt", directory / f"{stem}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(key_pem(self.key))
        return str(certificate), str(key)


class Authority:
    """Issues certificates. With ``parent`` it is an intermediate one."""

    def __init__(self, name: str = "podtest authority", parent: "Authority | None" = None) -> None:
        self.key = new_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.parent = parent
        signer, issuer = (parent.key, parent.name) if parent else (self.key, self.name)
        self.certificate = (
            _builder(self.name, issuer, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer, _digest(signer))
        )

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, name: str = "localhost", *, key: str = "ec", client: bool = False, organisation: str = ""
    ) -> Issued:
        """A certificate for a server that is called ``name``, localhost or 127.0.0.1; or for a client."""
        private = new_key(key)
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if organisation:
            parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = _builder(x509.Name(parts), self.name, private).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if not client:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, _digest(self.key))
        return Issued(certificate, private, self.pem if self.parent else b"")

    def trusting(self, client: Issued | None = None, directory: Path | None = None) -> ssl.SSLContext:
        """What a client that trusts this authority goes by; it shows ``client``, whose files need a directory."""
        root = self
        while root.parent is not None:
            root = root.parent
        context = ssl.create_default_context(cadata=root.pem.decode())
        if client is not None:
            assert directory is not None
            context.load_cert_chain(*client.write(directory, "client"))
        return context


def _digest(key: PrivateKey) -> hashes.HashAlgorithm | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )
