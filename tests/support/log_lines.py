"""Lines of the operators' log, as tests of other things compare them."""

import json
from typing import Any

QUIET = ("debug", "info")
"""Levels of lines that tell of the usual run of a server."""


def records(text: str) -> list[dict[str, Any]]:
    """Return the lines of a log in JSON."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def sentence(line: str) -> str:
    """Return a line as a command prints its sentence; nothing for a quiet one."""
    if not line.startswith('{"time"'):
        return line
    record = json.loads(line)
    return "" if record["level"] in QUIET else f"openimds: {record['message']}.\n"


def sentences(text: str) -> str:
    """Return all lines as sentences."""
    return "".join(map(sentence, text.splitlines(keepends=True)))
