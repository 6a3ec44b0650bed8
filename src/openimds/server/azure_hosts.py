"""Azure's PKI hosts inside sandboxes: addresses, certificate for https, roots to trust."""

import ssl
import time

from openimds.facts.attested import AZURE_PKI_HOSTS
from openimds.linux.loopback import PKI
from openimds.linux.memory_file import MemoryFile

MAPPED_HOSTS: dict[str, str] = dict.fromkeys(AZURE_PKI_HOSTS, PKI)
"""The address of each host, for the hosts file of a sandbox."""
WEB, WEB_TLS = (PKI, 80), (PKI, 443)
"""The addresses of their sockets for http and https."""


class AzureHosts:
    """A TLS context for Azure's PKI hosts; its root is in a file of roots."""

    def __init__(self, trust: MemoryFile) -> None:
        """Make root, certificate and keys; none of them is written to a disk."""
        # Imported here: other servers do not load cryptography to start.
        from openimds.credentials.pki.web_certificate import web_certificate  # noqa: PLC0415 - see above

        made = web_certificate(AZURE_PKI_HOSTS, time.time())
        self._trust, self._root = trust, made.root
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # OpenSSL reads a certificate and its key from a path only.
        file = MemoryFile("certificate")
        try:
            file.write(made.certificate + made.key)
            self.tls.load_cert_chain(file.path)
        finally:
            file.close()

    def publish(self, root: bytes) -> None:
        """Write the root of attested documents (PEM) and that of https to the file."""
        self._trust.write(root + self._root)
