"""Certificates are checked before gRPC gets them, and taken up anew once they can be used."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

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
    assert refuse(Identity(rubbish, identity.key)).startswith(f"{rubbish} and {identity.key} can't be used together: ")
    assert refuse(Identity(identity.certificate, identity.key, rubbish)).startswith(f"{rubbish} holds no certificate: ")


def test_an_encrypted_key_is_refused_and_nobody_is_asked(identity: Identity) -> None:
    key = load_pem_private_key(identity.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    identity.key.write_bytes(locked)
    assert refuse(identity) == "the private key is encrypted: a server that starts by itself can't be asked for a password"


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
