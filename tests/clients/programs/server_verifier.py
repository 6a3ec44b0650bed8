"""Verify a chain by cryptography.

Arguments: server or client, leaf, issuers, root, seconds or 0.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

purpose, *names, seconds = sys.argv[1:]
(leaf,), above, roots = (x509.load_pem_x509_certificates(Path(name).read_bytes()) for name in names)
policy = PolicyBuilder().store(Store(roots))
if int(seconds):
    policy = policy.time(datetime.fromtimestamp(int(seconds), UTC))
try:
    if purpose == "client":
        policy.build_client_verifier().verify(leaf, above)
    else:
        policy.build_server_verifier(x509.DNSName("metadata.azure.com")).verify(leaf, above)
except VerificationError as error:
    print(error)  # noqa: T201 - the verdict
else:
    print("accepted")  # noqa: T201 - the verdict
