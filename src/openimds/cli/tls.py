"""https to the admin API: trusted CAs, client certificate, errors with a remedy."""

import os
import ssl
from http.client import BadStatusLine, RemoteDisconnected
from pathlib import Path

from openimds.errors import ConfigError

CA_VARIABLE = "OPENIMDS_CA"
CERT_VARIABLE = "OPENIMDS_CLIENT_CERT"
KEY_VARIABLE = "OPENIMDS_CLIENT_KEY"
_WRONG_NAME = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""
_UNKNOWN_CA = frozenset({2, 18, 19, 20, 21})
"""No issuer is known: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT and its relatives."""
_TIMES = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_DEMANDS = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "BAD_CERTIFICATE")
"""Ends of alerts by which a server refuses a client without a certificate that it trusts."""


def tls_context() -> ssl.SSLContext:
    """Return the context of a client: trust and client certificate of the environment.

    Raises:
        ConfigError: a file cannot be read or used; the text names the variable and the file.
    """
    ca = os.environ.get(CA_VARIABLE) or None
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        seen, expected = f"{ca} ({_reason(error)})", "a file of CA certificates (PEM)"
        raise ConfigError(CA_VARIABLE, seen, expected) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = (os.environ.get(name) for name in (CERT_VARIABLE, KEY_VARIABLE))
    if bool(certificate) != bool(key):
        present, absent = (
            (CERT_VARIABLE, KEY_VARIABLE) if certificate else (KEY_VARIABLE, CERT_VARIABLE)
        )
        raise ConfigError(present, f"no {absent} beside it", "both or neither", f"Set {absent}")
    if certificate and key:
        for name, path in ((CERT_VARIABLE, certificate), (KEY_VARIABLE, key)):
            if not Path(path).is_file():
                raise ConfigError(name, f"{path}, which is no file", "a file (PEM)")
        try:
            context.load_cert_chain(certificate, key, _no_password)
        except (OSError, ValueError) as error:
            seen = f"{certificate} with {key} ({_reason(error)})"
            expected = "a client certificate and its key (PEM), the key without a password"
            raise ConfigError(CERT_VARIABLE, seen, expected) from None
    return context


def remedy_of(error: Exception, host: str, *, is_tls: bool) -> str:
    """Return a failure in words with its remedy, or nothing.

    `host` is that of the URL, `is_tls` whether the URL is one of https.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, host)
    is_cut = isinstance(
        error, RemoteDisconnected | ConnectionResetError | BrokenPipeError | ssl.SSLEOFError
    )
    if is_cut and is_tls:  # asyncio's TLS ends a handshake that fails without an alert.
        return (
            "the server ended the TLS connection without an answer; if it has --admin-client-ca, "
            f"set {CERT_VARIABLE} and {KEY_VARIABLE}"
        )
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if reason.endswith(_DEMANDS):
            return (
                f"the server refuses the client certificate, or its absence ({_reason(error)}); "
                f"set {CERT_VARIABLE} and {KEY_VARIABLE} to one of its --admin-client-ca"
            )
        if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
            return "the server speaks http there, not https; write http:// in OPENIMDS_ADMIN"
        return f"TLS failed ({_reason(error)}); type openimds doctor on the server"
    if is_cut or isinstance(error, BadStatusLine):
        return (
            f"{error}; start a server with openimds serve, or if it runs with --admin-cert, write "
            "https:// in OPENIMDS_ADMIN"
        )
    return ""


def _untrusted(error: ssl.SSLCertVerificationError, host: str) -> str:
    code, text = error.verify_code, error.verify_message
    if code in _WRONG_NAME:
        return (
            f"the certificate of the server is not for {host}; write a name that is in it in "
            "OPENIMDS_ADMIN, or give the server a certificate for this name"
        )
    if code in _UNKNOWN_CA:
        return (
            f"the CA of the server's certificate is not known here ({text}); set {CA_VARIABLE} to "
            "the file of this CA"
        )
    if code in _TIMES:
        return f"{text}; renew the file of the server's --admin-cert, or set the clock of this host"
    return f"the certificate of the server is refused ({text}); renew the server's --admin-cert"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()


def _no_password() -> str:
    """Refuse to ask for a password at the terminal, as OpenSSL would."""
    raise ValueError("the key is encrypted")
