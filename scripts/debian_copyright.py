"""The file `copyright` of a package with Python packages inside, in Debian's form (DEP 5).

Each bundled package has a paragraph with its version, its copyright and its licence, and the
texts that its wheel has stand in full below. A wheel without any is refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.bundled_packages import OURS, metadata, normal

_HEAD = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: OpenIMDS

Files: *
Copyright: The OpenIMDS authors
License: Apache-2.0
"""
_TEXTS = re.compile(r"(licen[cs]e|copying|notice)", re.IGNORECASE)
_HOLDER = re.compile(r"^\W*(copyright\b.*\d{4}.*|copyright \(c\).*)$", re.IGNORECASE)
_NAMES = {
    "MIT License": "MIT",
    "License :: OSI Approved :: MIT License": "MIT",
    # Jinja2, whose text has three clauses.
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
}
"""Names of SPDX for older spellings in wheels."""


class Library(NamedTuple):
    """A library in the compiled part of a package, without a text of its licence."""

    name: str
    copyright: str
    license: str
    text: str


_MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this
software and associated documentation files (the "Software"), to deal in the Software
without restriction, including without limitation the rights to use, copy, modify,
merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR
PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT
OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR
OTHER DEALINGS IN THE SOFTWARE."""
_APACHE = "On Debian systems the text is in /usr/share/common-licenses/Apache-2.0."
LIBRARIES = {
    "cryptography": Library("OpenSSL", "The OpenSSL Project Authors", "Apache-2.0", _APACHE),
    "cffi": Library("libffi", "1996-2026 Anthony Green, Red Hat, Inc and others", "MIT", _MIT),
    "pyyaml": Library("libyaml", "2006-2016 Kirill Simonov; 2017-2020 Ingy döt Net", "MIT", _MIT),
}


def copyright_file(site: Path, place: str) -> str:
    """Return the text for the packages in a folder, which is `place` in the package.

    Raises:
        ValueError: a package names no licence, or its wheel holds no text of it.
    """
    folders = {normal(metadata(path)["Name"]): path for path in site.glob("*.dist-info")}
    paragraphs = [_HEAD]
    for name, folder in sorted(folders.items()):
        if name != OURS:
            paragraphs += _paragraphs(name, folder, place)
    return "\n".join(paragraphs)


def _paragraphs(name: str, folder: Path, place: str) -> Iterator[str]:
    version, known = metadata(folder)["Version"], license_name(folder)
    texts = _texts(folder)
    if not known or not texts:
        raise ValueError(f"{name} {version}: the wheel names no licence, or has no text of it")
    lines = [line.strip() for text in texts for line in text.splitlines()]
    holders = sorted({line for line in lines if _HOLDER.match(line)})
    yield "\n".join(
        (
            "Files:",
            *(f" {place}/{top}" for top in _files(folder)),
            "Copyright:",
            *(f" {line}" for line in holders or ["see the text below"]),
            f"License: {known}",
            f"Comment: {metadata(folder)['Name']} {version}, unmodified, from its wheel.",
            *(_indented(text) for text in texts),
            "",
        )
    )
    if library := LIBRARIES.get(name):
        yield (
            f"Files: {place}/*.so\nCopyright: {library.copyright}\nLicense: {library.license}\n"
            f"Comment: {library.name} is inside the compiled part of {name}.\n"
            f"{_indented(library.text)}\n"
        )


def license_name(folder: Path) -> str:
    """Return the licence that the metadata of a distribution names, or nothing."""
    fields = metadata(folder)
    classifiers = fields.get_all("Classifier") or []
    spellings = (
        fields["License-Expression"],
        fields["License"],
        *(one for one in classifiers if one.startswith("License ::")),
    )
    found = next((one for one in spellings if one and "\n" not in one), "")
    return _NAMES.get(found, found)


def _texts(folder: Path) -> list[str]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path.read_text("utf-8") for path in paths if _TEXTS.search(path.name)]


def _files(folder: Path) -> list[str]:
    """Return patterns for the files of a distribution: its folders, and files beside them."""
    rows = [row.partition(",")[0] for row in (folder / "RECORD").read_text().splitlines()]
    tops = {row.partition("/")[0] + ("/*" if "/" in row else "") for row in rows}
    return sorted(top.replace(" ", "?") for top in tops if top != "__pycache__/*")


def _indented(text: str) -> str:
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.splitlines())
