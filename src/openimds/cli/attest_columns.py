"""The tables of `openimds attest`."""

from typing import Any

from openimds.cli.table import Cell, Column, member

_VERDICTS = {True: "yes", False: "NO", None: "-"}
_STYLE = {True: "green", False: "bold red", None: "yellow"}


def _yes(is_so: object) -> str:
    return "yes" if is_so else "-"


def _standing(one: dict[str, Any]) -> Cell:
    if not one.get("revokedAt"):
        return "good", "green"
    reason = f", {one['reason']}" if one.get("reason") else ""
    return f"revoked {one['revokedAt']}{reason}", "bold red"


CERTIFICATES = (
    member("SUBJECT", "subject"),
    Column("KIND", lambda one: "root" if one["isRoot"] else "-"),
    Column("IN USE", lambda one: _yes(one["inUse"])),
    member("ENDS", "notAfter"),
)

HARDWARE = (
    member("SUBJECT", "subject"),
    Column("KIND", lambda one: "root" if one["isRoot"] else "-"),
    member("ENDS", "notAfter"),
)

STANDINGS = (
    member("SERIAL", "serial"),
    Column("KIND", lambda one: "leaf" if one["isLeaf"] else "CA"),
    Column("SUBJECT", lambda one: one["subject"], wrap="words"),
    Column("IN USE", lambda one: _yes(one["inUse"])),
    Column("STANDING", _standing, wrap="words"),
)

LISTS = (
    member("NAME", "name"),
    member("FROM", "thisUpdate"),
    member("UNTIL", "nextUpdate"),
    member("REVOKED", "revoked"),
)

CHECKS = (
    Column("CHECK", lambda check: check.name),
    Column("HOLDS", lambda check: (_VERDICTS[check.holds], _STYLE[check.holds])),
    Column("DETAIL", lambda check: check.detail, wrap="words"),
)
