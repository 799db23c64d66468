"""Files with content credentials, signed with certificates that are made here."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
ACTIONS = [{"action": "c2pa.created", "digitalSourceType": SOURCE}, {"action": "c2pa.edited"}]


@dataclass(frozen=True)
class Signer:
    """A certificate, its key, and the root that issued it."""

    certificate: bytes  # PEM
    key: bytes
    root: bytes

    def sign(
        self, clip: Path, signed: Path, actions: Sequence[dict[str, Any]] = ACTIONS, remote: str = ""
    ) -> None:
        """Write the clip with a manifest in it, or one that is said to lie at the address ``remote``."""
        chain = self.certificate + self.root
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, self.key, None)
        data = {"actions": actions}
        manifest = {
            "claim_generator_info": [{"name": "tests", "version": "1"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": data}],
        }
        target = io.BytesIO()
        opened = c2pa.Signer.from_info(info), c2pa.Builder(manifest), clip.open("rb")
        with opened[0] as signer, opened[1] as builder, opened[2] as source:
            if remote:
                builder.set_no_embed()
                builder.set_remote_url(remote)
            builder.sign(signer, "video/mp4", source, target)
        signed.write_bytes(target.getvalue())


def make_signer(name: str = "Test Camera") -> Signer:
    """Somebody of that name, with a root of their own."""
    now = datetime.datetime.now(datetime.UTC)

    def certify(common: str, issuer: tuple[x509.Certificate, Any] | None) -> tuple[x509.Certificate, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Works"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ])  # fmt: skip
        signing = issuer[1] if issuer else key
        root = issuer is None
        usage = x509.KeyUsage(True, False, False, False, False, root, root, False, False)
        builder = (
            x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False)
        )
        if not root:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(signing, hashes.SHA256()), key

    def write(certificate: x509.Certificate) -> bytes:
        return certificate.public_bytes(serialization.Encoding.PEM)

    root = certify(f"{name} Root", None)
    leaf, key = certify(name, root)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return Signer(
        write(leaf), key.private_bytes(encoding, form, serialization.NoEncryption()), write(root[0])
    )
