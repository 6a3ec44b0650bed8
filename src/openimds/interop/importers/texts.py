"""Texts of other tools: XML, configurations, and sources with their hints."""

import re

from openimds.interop.importers import domain_xml, proxmox

_SOURCES = (
    (
        re.compile(r"^\s*(targetScope|param|resource|module|@\w+\()\s*[\w'(]", re.MULTILINE),
        re.compile(r"^\s*resource\s+\w+\s+'", re.MULTILINE),
        "It looks like Bicep: import the output of az bicep build",
    ),
    (
        re.compile(r'^\s*(resource|data|provider|module)\s+"', re.MULTILINE),
        re.compile(r"\{"),
        "It looks like Terraform's language: import the output of terraform show -json",
    ),
)
_TEXT_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_BEGINNING = 100_000
"""Characters that are looked at for a hint."""
_ZIP = b"PK\x03\x04"


def parse_text(text: str) -> object | None:
    """Return the plain value of a text: libvirt's XML, or a configuration of Proxmox.

    None means another text.

    Raises:
        ConfigError: it is XML and cannot be read.
    """
    return domain_xml.parse(text) if text.lstrip().startswith("<") else proxmox.parse(text)


def without_comments(text: str) -> str:
    """Return JSON without comments, and with the ends of lines in its texts escaped.

    Azure takes both in templates.
    """

    def plain(match: re.Match[str]) -> str:
        part = match[0]
        return part.replace("\r", "").replace("\n", "\\n") if part.startswith('"') else " "

    return _TEXT_OR_COMMENT.sub(plain, text)


def source_hint(data: bytes) -> str:
    """Return the remedy for the source of a readable file, or nothing."""
    if data.startswith(_ZIP):
        return "It is a zip; for a plan of Terraform import the output of terraform show -json FILE"
    text = data[:_BEGINNING].decode("utf-8", "replace")
    for first, second, hint in _SOURCES:
        if first.search(text) and second.search(text):
            return hint
    return ""
