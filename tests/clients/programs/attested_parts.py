"""Take attested documents apart, as a verifier gets them, and fetch the certificates' addresses.

Each case asks for a document (`url`), or reads the leaf of an earlier one in `folder`. It writes
`document.json`, `leaf.pem`, the issuers of the leaf (`above.pem`, from the first CA Issuers
addresses) and the lists of revoked certificates (`lists.pem`, from the first CRL addresses) there.
"""

import base64
import json
import sys
import urllib.request
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AuthorityInformationAccessOID

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def fetched(url: str, **headers: str) -> bytes:
    with _open(urllib.request.Request(url, headers=headers), timeout=30) as got:
        body: bytes = got.read()
    return body


def signer(folder: Path, url: str) -> x509.Certificate:
    """Return the signer of a new document."""
    document = fetched(url, Metadata="true")
    (folder / "document.json").write_bytes(document)
    der = base64.b64decode(json.loads(document)["signature"])
    (leaf,) = pkcs7.load_der_pkcs7_certificates(der)
    return leaf


def issuer_address(certificate: x509.Certificate) -> str:
    """Return the first CA Issuers address, or "" for a root."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return ""
    return next(
        str(item.access_location.value)
        for item in access.value
        if item.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    )


def list_address(certificate: x509.Certificate) -> str:
    """Return the first URL of the first CRL distribution point."""
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return str((points[0].full_name or [])[0].value)


def write(case: dict[str, str]) -> dict[str, str]:
    folder = Path(case["folder"])
    folder.mkdir(exist_ok=True)
    if url := case.get("url"):
        chain = [signer(folder, url)]
    else:
        chain = [x509.load_pem_x509_certificate((folder / "leaf.pem").read_bytes())]
    lists = []
    while address := issuer_address(chain[-1]):
        lists.append(x509.load_der_x509_crl(fetched(list_address(chain[-1]))))
        chain.append(x509.load_der_x509_certificate(fetched(address)))
    leaf, *above, _root = [one.public_bytes(Encoding.PEM) for one in chain]
    (folder / "leaf.pem").write_bytes(leaf)
    (folder / "above.pem").write_bytes(b"".join(above))
    (folder / "lists.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in lists))
    return {"serial": str(chain[0].serial_number)}


print(json.dumps([write(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the result
