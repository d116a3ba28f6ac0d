"""TLS: who this server is, who may call, and new certificates without a restart.

gRPC asks before each handshake whether there is something newer. Connections that are open keep what they have.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

logger = logging.getLogger("digitserve.tls")


class CertificateError(Exception):
    """A certificate can't be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM files: the certificate with its chain, its private key, and whom callers' certificates must come from, if anybody."""

    certificate: Path
    key: Path
    authorities: Path | None = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold now.

        Raises:
            CertificateError: a file can't be read, is not PEM, or certificate and key do not belong together.
        """
        try:
            certificate, key, authorities = (None if path is None else path.read_bytes() for path in self._paths)
        except OSError as error:
            raise CertificateError(f"{error.filename} can't be read: {error.strerror}") from None
        if reason := _try_handshake(self._check(), self.certificate):
            logger.warning("callers will refuse %s: %s", self.certificate, reason)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)

    @property
    def _paths(self) -> tuple[Path, Path, Path | None]:
        return self.certificate, self.key, self.authorities

    def _check(self) -> ssl.SSLContext:
        """gRPC would take anything, and let every handshake fail."""
        for path in filter(None, (self.certificate, self.authorities)):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
            except OSError as error:
                raise CertificateError(f"{path} holds no certificate: {_name(error)}") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._refuse_password)
        except ssl.SSLError as error:
            if error.reason:
                raise CertificateError(f"{self.certificate} and {self.key} can't be used together: {error.reason}") from None
            raise CertificateError(f"{self.key} holds no private key: {_name(error)}") from None
        return context

    def _refuse_password(self) -> str:
        raise CertificateError(f"{self.key} is encrypted: a server that starts by itself can't be asked for a password")

    def stamp(self) -> tuple[object, ...]:
        """Differs once a file was written anew; a file that is gone for a moment counts as such, too."""
        found = ((path, path.stat()) for path in self._paths if path and path.is_file())
        return tuple((path, stat.st_mtime_ns, stat.st_size, stat.st_ino) for path, stat in found)


def _name(error: OSError) -> str:
    return getattr(error, "reason", None) or str(error.strerror)


def _try_handshake(context: ssl.SSLContext, certificate: Path) -> str:
    """Shakes hands with a caller who trusts this very certificate. Returns why even that one refuses it, or nothing."""
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname = False
    caller.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    caller.load_verify_locations(certificate)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = caller.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True)
    for side in sides * 2:  # hello, the certificate, and the caller's verdict on it
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return getattr(error, "verify_message", _name(error))
    return ""


class Renewal:
    """Takes up files that were written anew, once they can be used; until then, what there was goes on."""

    def __init__(self, identity: Identity) -> None:
        """Raises CertificateError."""
        self._identity = identity
        self._stamp = identity.stamp()
        self.first = identity.read()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """What is newer than the last answer, or None. gRPC calls it from a thread of its own."""
        stamp = self._identity.stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            renewed = self._identity.read()
        except CertificateError as error:
            logger.error("the certificate stays as it was: %s", error)
            return None
        logger.info("certificate renewed from %s", self._identity.certificate)
        return renewed


def make_credentials(identity: Identity) -> grpc.ServerCredentials:
    """For grpc's add_secure_port. Raises CertificateError."""
    renewal = Renewal(identity)
    return grpc.dynamic_ssl_server_credentials(
        renewal.first, renewal, require_client_authentication=identity.authorities is not None
    )
