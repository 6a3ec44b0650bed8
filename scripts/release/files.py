"""The files beside a wheel: bill of materials, provenance, digests, and their signature.

Equal commits give equal files, except the signature of a key that signs with chance. The signature
is one of OpenSSH (`ssh-keygen -Y`), whose keys maintainers have, and whose program is everywhere.
"""

import json
import re
import subprocess
import uuid
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from scripts.release.dependencies import Package

SUMS = "SHA256SUMS"
SIGNATURE = f"{SUMS}.sig"
NAMESPACE = "openimds-release"
"""The purpose of the signature: one of another purpose is none of a release."""
IDENTITY = "release"
"""The name of the signer in the file of allowed signers."""
_BUILD_TYPE = "https://slsa.dev/provenance/v1"
_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/]*@")


def bill_of_materials(
    wheel: Path, version: str, packages: Iterable[Package], created: str
) -> dict[str, Any]:
    """Return the bill of a wheel and the packages that it needs, in CycloneDX 1.5."""
    components = [
        {
            "type": "library",
            "bom-ref": _purl(package.name, package.version),
            "name": package.name,
            "version": package.version,
            "licenses": [{"expression": package.licence}],
            "purl": _purl(package.name, package.version),
        }
        for package in packages
    ]
    own = _purl("openimds", version)
    text = json.dumps([own, components])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "openimds",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "purl": own,
                "hashes": [{"alg": "SHA-256", "content": digest_of(wheel)}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": own, "dependsOn": [component["bom-ref"] for component in components]}
        ],
    }


def provenance(subjects: Iterable[Path], commit: str, source: str) -> dict[str, Any]:
    """Return the statement of the files' source, as in-toto and SLSA have it.

    It is the word of the one who signs it: the build ran on that machine, not on a service. The
    user and password of the source's URL are left out.
    """
    source = _USER.sub(r"\1", source)
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": path.name, "digest": {"sha256": digest_of(path)}} for path in sorted(subjects)
        ],
        "predicateType": _BUILD_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": "make release",
                "externalParameters": {"source": source},
                "resolvedDependencies": [{"uri": source, "digest": {"gitCommit": commit}}],
            },
            "runDetails": {"builder": {"id": "a maintainer's machine"}},
        },
    }


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return sha256(path.read_bytes()).hexdigest()


def sums_of(paths: Iterable[Path]) -> str:
    """Return the digests of files as `sha256sum --check` reads them."""
    return "".join(f"{digest_of(path)}  {path.name}\n" for path in sorted(paths))


def sign(sums: Path, key: Path) -> Path:
    """Sign the digests by an SSH key, and return the path of the signature.

    Raises:
        CalledProcessError: the key cannot be used.
    """
    signature = sums.with_name(SIGNATURE)
    signature.unlink(missing_ok=True)
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(sums)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return signature


def is_signed(sums: Path, signers: Path) -> bool:
    """Tell whether one of the allowed signers signed the digests."""
    signature = sums.with_name(SIGNATURE)
    if not signature.exists() or not signers.exists():
        return False
    words = ["ssh-keygen", "-q", "-Y", "verify", "-f", str(signers), "-I", IDENTITY]
    words += ["-n", NAMESPACE, "-s", str(signature)]
    checked = subprocess.run(words, input=sums.read_bytes(), capture_output=True, check=False)
    return checked.returncode == 0


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"
