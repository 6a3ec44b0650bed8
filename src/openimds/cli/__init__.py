"""The `openimds` command: parse, call, print. Nothing is decided here."""

from openimds.cli.main import main

__all__ = ["main"]
