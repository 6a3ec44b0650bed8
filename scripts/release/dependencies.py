"""The packages that a wheel needs to run: locked versions, and licences."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PERMITTED = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0", "MPL-2.0"}
)
"""The licences whose conditions NOTICE, or the package itself, fulfils."""
OF_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_WORD = re.compile(r"[A-Za-z0-9.+-]+")


class Package(NamedTuple):
    """A needed package: its version in the lock, its licence, its digests."""

    name: str
    version: str
    licence: str
    digests: tuple[str, ...]

    @property
    def is_permitted(self) -> bool:
        """Whether each licence of its expression is permitted, or one of alternatives."""
        return any(
            all(word in PERMITTED for word in _WORD.findall(part) if word != "AND")
            for part in self.licence.split(" OR ")
            if part.strip(" ()")
        )


def runtime_packages(lock: Path, name: str = "openimds") -> list[Package]:
    """Return the packages that an installed package needs, without extras, by name.

    Raises:
        KeyError: the lock lacks one of them.
    """
    pins = read_lock(lock)
    packages = []
    for one in sorted(_closure(name)):
        version, digests = pins[one]
        packages.append(Package(one, version, licence_of(distribution(one)), digests))
    return packages


def read_lock(lock: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the version and the SHA-256 digests of each package of a lock file."""
    text = lock.read_text("utf-8")
    starts = [*_PIN.finditer(text)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return {
        canonicalize_name(start[1]): (start[2], tuple(_HASH.findall(text, start.end(), end)))
        for start, end in zip(starts, ends, strict=True)
    }


def licence_of(package: Distribution) -> str:
    """Return the SPDX expression of a package's licence, or "" if it names none."""
    metadata = package.metadata
    for expression in metadata.get_all("License-Expression") or ():
        return str(expression)
    for classifier in metadata.get_all("Classifier") or ():
        if known := OF_CLASSIFIERS.get(classifier):
            return known
    return next(map(str, metadata.get_all("License") or ()), "")


def _closure(name: str) -> set[str]:
    """Return the names of all packages below a package, as they are installed here."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for needed in _needs(distribution(waiting.pop()).requires or ()):
            if needed not in found:
                found.add(needed)
                waiting.append(needed)
    return found


def _needs(requirements: Iterable[str]) -> Iterator[str]:
    for text in requirements:
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)
