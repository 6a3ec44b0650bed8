"""The hosts' own authority, which certifies control and hosts below its root.

The folder `hosts` of the state folder has `ca.pem`, the root with its key, and `old.pem`, the
replaced roots without keys and the certificates by which each root vouches for its successor. A
replacement writes `old.pem` first, so that an interrupted one leaves the former root in use.
"""

import ssl
import threading
from pathlib import Path

from cryptography import x509

from openimds.credentials.hosts.handshake import fingerprint_of, present, server_context, trust
from openimds.credentials.hosts.host_certificates import (
    HostCertificate,
    HostKey,
    certify_control,
    certify_host,
    cross_sign,
    half_life_s,
    is_ended,
    make_root,
    new_host_key,
)
from openimds.credentials.keys.files import KeyFileError, plain_reason, read_file, write_file
from openimds.credentials.keys.holders import Holder, open_holder, write_holder
from openimds.credentials.pki.certificate_info import common_name, is_root, pem

HOSTS = "hosts"
"""The folder of the state directory that holds the hosts' authority."""
RENEW_S = 731 * 86_400
"""The last seconds of a root, in which it is renewed; the overlap of both."""
MAX_OLD = 8
"""The most replaced roots and certificates of successors; the oldest are dropped."""
_ROOT, _OLD = "ca", "old.pem"
_REMEDY = "remove its folder: every host then has to join again (openimds control host add NAME)"


class HostsCa:
    """The root of hosts, and control's certificate; for use from any thread."""

    def __init__(
        self, folder: Path | None, root: Holder, old: tuple[x509.Certificate, ...]
    ) -> None:
        """Take an opened root and the replaced certificates; see `open`."""
        self._folder, self._root, self._old = folder, root, old
        self._control: Holder | None = None
        self._context = server_context()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path | None, now_s: float) -> "HostsCa":
        """Open the authority of a state folder; make a missing one.

        Without a folder it ends with the process.

        Raises:
            KeyFileError: a file cannot be read or written, or is damaged.
        """
        own = folder / HOSTS if folder else None
        root = open_holder(own, _ROOT, lambda: make_root(now_s), _REMEDY)
        return cls(own, root, _read_old(own / _OLD, root.certificate) if own else ())

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the root's certificate, 64 hexadecimal digits, for join tokens."""
        return fingerprint_of(self._root.certificate)

    def fingerprints(self, now_s: float) -> tuple[str, ...]:
        """Return the fingerprints of the trusted roots: the current one, then replaced ones."""
        with self._lock:
            return tuple(map(fingerprint_of, self._roots(now_s)))

    def roots(self, now_s: float) -> bytes:
        """Return the trusted roots as PEM: the current one, then replaced ones until they end."""
        with self._lock:
            return pem(self._roots(now_s))

    def sign(self, name: str, key: HostKey, now_s: float) -> HostCertificate:
        """Return a certificate of seven days for a host.

        Args:
            name: the host's name, which has the form of a VM's.
            key: the key of its request, from `key_in_request`.
            now_s: real time in seconds since 1970.

        Raises:
            HostTrustError: the name has another form.
        """
        return certify_host(name, key, self._root, now_s)

    def server_certificate(self, now_s: float) -> Holder:
        """Return the key and certificate of control, both in memory; renew them at half-life.

        `above` has what a host needs that knows only a replaced root.
        """
        with self._lock:
            return self._server_certificate(now_s)

    def server_context(self, now_s: float) -> ssl.SSLContext:
        """Return the TLS context of control's port for hosts, always the same object.

        Each call brings it up to date, so that a listener made with it goes on. After a handshake
        the caller asks the register about the peer's name and serial number.
        """
        with self._lock:
            self._server_certificate(now_s)
            trust(self._context, pem(self._roots(now_s)))
            return self._context

    def keep_up(self, now_s: float) -> str:
        """Renew the root if it ends soon, and the certificate of control; report the former.

        Call it once an hour. Returns a sentence for the operator, or an empty string.

        Raises:
            KeyFileError: the new root cannot be written; the former one stays in use.
        """
        report = ""
        root = self._root.certificate
        if root.not_valid_after_utc.timestamp() - now_s < RENEW_S:
            self.rotate(now_s)
            report = (
                f"the root of hosts {common_name(root)} was renewed by "
                f"{common_name(self._root.certificate)}; hosts accept both until "
                f"{root.not_valid_after_utc:%F %T} UTC"
            )
        self.server_context(now_s)
        return report

    def rotate(self, now_s: float) -> None:
        """Replace the root; the former one stays trusted until it ends, and vouches for it.

        Raises:
            KeyFileError: a file cannot be written; the former root stays in use.
        """
        with self._lock:
            before, root = self._root, make_root(now_s)
            replaced = [*self._old, before.certificate]
            if not is_ended(before.certificate, now_s):
                replaced.append(cross_sign(root.certificate, before, now_s))
            old = tuple(one for one in replaced if not is_ended(one, now_s))[-MAX_OLD:]
            if self._folder:
                write_file(self._folder / _OLD, pem([*old]))
                write_holder(self._folder / f"{_ROOT}.pem", root)
            self._root, self._old, self._control = root, old, None

    def _server_certificate(self, now_s: float) -> Holder:
        control = self._control
        if control is None or _is_due(control.certificate, now_s):
            key = new_host_key()
            above = (one for one in reversed(self._old) if not is_root(one))
            control = self._control = Holder(
                key, certify_control(key.public_key(), self._root, now_s), tuple(above)
            )
            present(self._context, control)
        return control

    def _roots(self, now_s: float) -> list[x509.Certificate]:
        old = (one for one in reversed(self._old) if is_root(one) and not is_ended(one, now_s))
        return [self._root.certificate, *old]


def _is_due(certificate: x509.Certificate, now_s: float) -> bool:
    """Tell whether a certificate is past its half-life, or not yet valid.

    The latter is one from before the clock was set back.
    """
    begins_s = certificate.not_valid_before_utc.timestamp()
    due_s = half_life_s(begins_s, certificate.not_valid_after_utc.timestamp())
    return not begins_s <= now_s < due_s


def _read_old(path: Path, root: x509.Certificate) -> tuple[x509.Certificate, ...]:
    """Read the replaced certificates; leave out those of an interrupted replacement."""
    try:
        text, _ = read_file(path)
        found = x509.load_pem_x509_certificates(text) if text else []
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise KeyFileError(
            f"{path}: saw {plain_reason(error)}, expected certificates in PEM. Restore the file "
            "from a backup, or remove it: hosts that joined below a replaced root have to join "
            "again"
        ) from None
    keys = [one.public_key() for one in (root, *filter(is_root, found))]
    return tuple(one for one in found if one != root and one.public_key() in keys)
