"""Certificates for the tests: an authority that lives as long as the test, and what it signs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import trustme


class Authority:
    """Signs certificates for this machine's names, and writes PEM files."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self.path = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.path)

    @property
    def pem(self) -> bytes:
        return self.path.read_bytes()

    def sign(self, certificate: Path, key: Path, not_after: datetime | None = None) -> None:
        """A new certificate and its key, each in place of what there was, as renewals do it."""
        signed = self._authority.issue_cert("localhost", "127.0.0.1", not_after=not_after)
        chain = b"".join(blob.bytes() for blob in signed.cert_chain_pems)
        for path, content in ((certificate, chain), (key, signed.private_key_pem.bytes())):
            partial = path.with_suffix(".part")
            partial.write_bytes(content)
            partial.replace(path)

    def sign_new(self, name: str) -> tuple[Path, Path]:
        """The files of a new certificate and its key."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        self.sign(certificate, key)
        return certificate, key
