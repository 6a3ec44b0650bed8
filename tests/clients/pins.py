"""The pinned versions of clients, from the manifests by which they are fetched."""

import json
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def pypi(name: str, lock: str = "requirements-clients.lock") -> str:
    """Return the version of a package of Python."""
    return _match(rf"^{re.escape(name)}==(\S+)", ROOT / lock)


def npm(name: str) -> str:
    """Return the version of a package of JavaScript."""
    manifest = json.loads((HERE / "js" / "package.json").read_text())
    return str(manifest["dependencies"][name])


def go(module: str) -> str:
    """Return the version of a module of Go."""
    return _match(rf"^\s*{re.escape(module)} v(\S+)$", HERE / "go" / "go.mod")


def crate(name: str) -> str:
    """Return the version of a crate of Rust."""
    manifest = tomllib.loads((HERE / "rust" / "Cargo.toml").read_text())
    return str(manifest["dependencies"][name]).removeprefix("=")


def maven(artifact: str) -> str:
    """Return the version of an artifact of Java."""
    pom = ET.parse(HERE / "java" / "pom.xml").getroot()
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    (version,) = pom.iterfind(f"m:dependencies/m:dependency[m:artifactId='{artifact}']", space)
    return str(version.findtext("m:version", "", space))


def debian(package: str, kit: str) -> str:
    """Return the upstream version of a package of Debian."""
    return _match(rf"^{re.escape(package)}=(?:\d+:)?([^*\s]+)\*$", HERE / "debian" / kit)


def _match(pattern: str, path: Path) -> str:
    match = re.search(pattern, path.read_text(), re.MULTILINE)
    assert match, f"{path.name} has no {pattern}"
    return match[1]
