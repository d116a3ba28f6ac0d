"""Certificates are checked before gRPC gets them, and taken up anew once they can be used."""

from __future__ import annotations

import dataclasses
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import CertificateBuilder, Name, NameAttribute
from cryptography.x509.oid import NameOID

from server.tls import CertificateError, Identity, Renewal, make_credentials
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def identity(authority: Authority) -> Identity:
    return Identity(*authority.sign_new("server"), authority.path)


def test_good_files_become_credentials(identity: Identity) -> None:
    assert make_credentials(identity) is not None


def refuse(identity: Identity) -> str:
    with pytest.raises(CertificateError) as caught:
        identity.read()
    return str(caught.value)


def test_a_file_that_is_missing_is_named(identity: Identity, tmp_path: Path) -> None:
    missing = tmp_path / "none"
    for name in ("certificate", "key", "authorities"):
        assert refuse(dataclasses.replace(identity, **{name: missing})) == f"{missing} can't be read: No such file or directory"


def test_a_key_of_another_certificate(authority: Authority, identity: Identity) -> None:
    _, other = authority.sign_new("other")
    told = refuse(Identity(identity.certificate, other))
    assert told == f"{identity.certificate} and {other} can't be used together: KEY_VALUES_MISMATCH"


def test_what_is_no_certificate(identity: Identity, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    reason = f"{rubbish} holds no certificate: NO_CERTIFICATE_OR_CRL_FOUND"
    assert refuse(Identity(rubbish, identity.key)) == refuse(Identity(identity.certificate, identity.key, rubbish)) == reason
    assert refuse(Identity(identity.certificate, rubbish)).startswith(f"{rubbish} holds no private key: ")


def test_an_encrypted_key_is_refused_and_nobody_is_asked(identity: Identity) -> None:
    key = load_pem_private_key(identity.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    identity.key.write_bytes(locked)
    assert refuse(identity) == f"{identity.key} is encrypted: a server that starts by itself can't be asked for a password"


def test_a_certificate_that_every_caller_would_refuse(
    authority: Authority, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    identity.read()
    assert caplog.messages == []
    authority.sign(identity.certificate, identity.key, not_after=datetime(2021, 1, 1, tzinfo=UTC))
    identity.read()
    assert caplog.messages == [f"callers will refuse {identity.certificate}: certificate has expired"]


def test_a_key_on_a_curve_that_callers_do_not_know(
    identity: Identity, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = generate_private_key(SECP256K1())
    name = Name([NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = CertificateBuilder(name, name, key.public_key(), 1, datetime(2020, 1, 1), datetime(2120, 1, 1))
    certificate, private = tmp_path / "odd.pem", tmp_path / "odd.key"
    certificate.write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Identity(certificate, private).read()
    assert caplog.messages == [f"callers will refuse {certificate}: NO_SHARED_CIPHER"]


def test_nothing_new_is_none(identity: Identity) -> None:
    renewal = Renewal(identity)
    assert renewal() is None


def test_a_new_certificate_is_taken_up_once(authority: Authority, identity: Identity, caplog: pytest.LogCaptureFixture) -> None:
    renewal = Renewal(identity)
    authority.sign(identity.certificate, identity.key)
    with caplog.at_level(logging.INFO):
        assert renewal() is not None
    assert caplog.messages == [f"certificate renewed from {identity.certificate}"]
    assert renewal() is None


def test_half_a_renewal_changes_nothing(authority: Authority, identity: Identity, caplog: pytest.LogCaptureFixture) -> None:
    renewal = Renewal(identity)
    certificate, key = authority.sign_new("next")
    certificate.replace(identity.certificate)
    assert renewal() is None
    reason = f"{identity.certificate} and {identity.key} can't be used together: KEY_VALUES_MISMATCH"
    assert caplog.messages == [f"the certificate stays as it was: {reason}"]
    key.replace(identity.key)
    assert renewal() is not None


def test_a_file_that_is_gone_for_a_moment_changes_nothing(identity: Identity, caplog: pytest.LogCaptureFixture) -> None:
    renewal = Renewal(identity)
    held = identity.key.rename(identity.key.with_suffix(".held"))
    assert renewal() is None
    assert "can't be read" in caplog.text
    held.rename(identity.key)
    assert renewal() is not None
