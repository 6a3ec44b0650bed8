"""The certificate of the admin port: read from files, and read again when they change."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.log.events import ADMIN_CERTIFICATE, ADMIN_CERTIFICATE_TROUBLE
from openimds.private_files import mode_of, open_bits

MOST_BYTES = 1 << 20
"""The largest file of certificates or of a key."""
LOOK_S = 2.0
"""The time between two looks at the files."""
_CERTIFICATES = re.compile(
    rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"
)
_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")
_CERT, _CERT_KEY, _CLIENT_CA = "admin_cert", "admin_key", "admin_client_ca"


class TlsFiles(Struct, frozen=True):
    """The paths of the settings `admin_cert`, `admin_key` and `admin_client_ca`."""

    certificate: str
    key: str
    client_ca: str = ""


class AdminTls:
    """The TLS context of the admin port, made from files of PEM."""

    def __init__(self, files: TlsFiles, notify: Callable[[str], None]) -> None:
        """Read the files.

        Raises:
            ConfigError: a file cannot be read or used; the text names the setting and the file.
        """
        self._files, self._notify = files, notify
        self._reported = ""
        self._seen = self._digest()
        self._context = self._make()
        self.certificate = self._certificate()
        self._report_mode()

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._context

    async def follow(self) -> None:
        """Take changed files from now on."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(RuntimeError):  # Without a thread at the moment the next look will do.
                await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take changed files; report a bad pair once, and keep the context of before.

        It may block: it belongs into a thread.
        """
        try:
            seen = self._digest()
            if seen == self._seen:
                return
            context = self._make()
            if self._digest() != seen:
                return  # The files change at this moment: the next look takes them.
        except ConfigError as error:
            if str(error) != self._reported:
                self._reported = str(error)
                self._notify(
                    ADMIN_CERTIFICATE_TROUBLE.message(
                        f"{error}; the admin API goes on with the certificate from before"
                    )
                )
            return
        self._context, self._seen, self._reported = context, seen, ""
        self.certificate = self._certificate()
        self._notify(
            ADMIN_CERTIFICATE.message(
                f"the admin API uses the new certificate in {self._files.certificate}",
                file=str(self._files.certificate),
            )
        )
        self._report_mode()

    def _digest(self) -> bytes:
        """Return a digest of the contents, by which a change shows also after a rename.

        Raises:
            ConfigError: a file cannot be read.
        """
        files, digest = self._files, hashlib.sha256()
        for setting, path in (
            (_CERT, files.certificate),
            (_CERT_KEY, files.key),
            (_CLIENT_CA, files.client_ca),
        ):
            content = _read(setting, path) if path else b""
            digest.update(hashlib.sha256(content).digest())
        return digest.digest()

    def _make(self) -> ssl.SSLContext:
        """Return a context of the files.

        Raises:
            ConfigError: a file cannot be read or used.
        """
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _certificates(_CERT, files.certificate, "certificates (PEM), the server's own one first")
        if not _KEY.search(_read(_CERT_KEY, files.key)):
            seen = f"{files.key}, which has no private key"
            raise ConfigError(_CERT_KEY, seen, "the key (PEM) of the certificate in admin_cert")
        try:
            context.load_cert_chain(files.certificate, files.key, _no_password)
        except ValueError as error:
            raise ConfigError(
                _CERT_KEY, f"{files.key} ({error})", "a key without a password"
            ) from None
        except OSError as error:
            raise _unusable(files, error) from None
        if files.client_ca:
            expected = "certificates (PEM) of the CAs of clients"
            found = _certificates(_CLIENT_CA, files.client_ca, expected)
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(cadata=b"\n".join(found).decode("ascii"))
            except OSError as error:
                seen = f"{files.client_ca} ({_reason(error)})"
                raise ConfigError(_CLIENT_CA, seen, expected) from None
        return context

    def _certificate(self) -> bytes:
        """Return the server's own certificate as PEM; empty if the file has just gone."""
        with suppress(ConfigError):
            return _certificates(_CERT, self._files.certificate, "certificates (PEM)")[0]
        return b""

    def _report_mode(self) -> None:
        """Report a key that other users may read."""
        path = Path(self._files.key)
        try:
            status = path.stat()
        except OSError:
            return  # The next look reports it.
        if open_bits(status):
            self._notify(
                ADMIN_CERTIFICATE_TROUBLE.message(
                    f"admin_key: {path} has the mode {mode_of(status)}, which lets others read it. "
                    f"Type chmod go= {path}"
                )
            )


def _no_password() -> str:
    """Refuse to ask for a password at the terminal, as OpenSSL would."""
    raise ValueError("it is encrypted")


def _read(setting: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(setting, f"{path} ({reason})", "a file that can be read") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(setting, f"{path} of more than {MOST_BYTES} bytes", "a smaller file")
    return content


def _certificates(setting: str, path: str, expected: str) -> list[bytes]:
    """Return the certificates of a file as PEM.

    Raises:
        ConfigError: it cannot be read, or has none.
    """
    found: list[bytes] = _CERTIFICATES.findall(_read(setting, path))
    if not found:
        raise ConfigError(setting, f"{path}, which has no certificate", expected)
    return found


def _reason(error: OSError) -> str:
    """Return the reason of OpenSSL in plain letters."""
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()


def _unusable(files: TlsFiles, error: OSError) -> ConfigError:
    """Return the error of a pair that OpenSSL refuses."""
    reason = _reason(error)
    if reason == "key values mismatch":
        seen = f"{files.key}, which is not the key of {files.certificate}"
        return ConfigError(_CERT_KEY, seen, "the key of the first certificate in admin_cert")
    return ConfigError(
        _CERT,
        f"{files.certificate} with {files.key} ({reason})",
        "a certificate and its key (PEM) that OpenSSL accepts",
        f"Type openssl x509 -in {files.certificate} -noout -text",
    )
