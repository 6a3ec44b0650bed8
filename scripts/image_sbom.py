"""The bill of materials of the image, in CycloneDX 1.5."""

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from scripts.build_steps import epoch, version
from scripts.bundled_packages import metadata, normal

Component = dict[str, Any]


def _debian_packages(root: Path) -> list[dict[str, str]]:
    """Return the fields of each installed Debian package."""
    texts = (root / "var/lib/dpkg/status").read_text("utf-8").strip().split("\n\n")
    packages = [dict(HeaderParser().parsestr(text)) for text in texts]
    return [package for package in packages if package["Status"].endswith(" installed")]


def make_sbom(root: Path, packages: str) -> dict[str, Any]:
    """Return the bill of materials of a root folder in CycloneDX 1.5."""
    components = sorted(
        (*_debian_components(root), *_python_components(root / packages)),
        key=lambda row: row["bom-ref"],
    )
    identity = hashlib.sha256(json.dumps(components).encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "urn:uuid:"
        + "-".join(re.findall(r"(.{8})(.{4})(.{4})(.{4})(.{12})", identity)[0]),
        "version": 1,
        "metadata": {
            "timestamp": created(),
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": "openimds",
                "version": version(),
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": components,
    }


def _debian_components(root: Path) -> Iterable[Component]:
    release = dict(
        line.split("=", 1)
        for line in (root / "etc/os-release").read_text().splitlines()
        if "=" in line
    )
    distribution = f"debian-{release['VERSION_ID'].strip(chr(34))}"
    for package in _debian_packages(root):
        name, version = package["Package"], package["Version"]
        where = f"arch={package['Architecture']}&distro={distribution}"
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?{where}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _python_components(place: Path) -> Iterable[Component]:
    for folder in place.glob("*.dist-info"):
        fields = metadata(folder)
        name, version = normal(fields["Name"]), fields["Version"]
        purl = f"pkg:pypi/{name}@{version}"
        row = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        if expression := fields["License-Expression"]:
            row["licenses"] = [{"expression": expression}]
        yield row


def created() -> str:
    """Return the time of the build as RFC 3339 writes it."""
    return datetime.fromtimestamp(epoch(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
