"""The page of certificates and keys: days left, rotation, revocation, and the rehearsal."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from openimds.admin.handlers.certificates import PARTS
from openimds.admin.page.form_fields import body_of_form, form_fields
from openimds.admin.page.page_row import FormRow, OperationCall, PageCall, PageRow
from openimds.admin.page.rendering import page_url
from openimds.facts.generations import GENERATIONS
from openimds.facts.revocation import REASONS
from openimds.protocol.generation_walk import WALK

SOON_DAYS = 30
"""A certificate with fewer days left is marked."""
MOST_LEAVES = 100
"""The most leaves on the page."""
_TRUST, _WALK, _DAY_S = "/trust", "/trust/rehearsal", 86400


async def trust_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page."""
    now_s = _seconds((await call.read("get_clock"))["now"])
    certificates = (await call.read("list_certificates"))["items"]
    revocation = await call.read("show_revocation")
    leaves = [one for one in revocation["certificates"] if one["isLeaf"]]
    revoked = {one["serial"]: one for one in revocation["certificates"] if one.get("revokedAt")}
    typed = call.typed if call.form == _WALK else {}
    return {
        "certificates": [_with_days(one, now_s) for one in certificates],
        "leaves": [_with_days(one, now_s) for one in leaves[:MOST_LEAVES]],
        "other_leaves": max(len(leaves) - MOST_LEAVES, 0),
        "revoked": list(revoked.values())[:MOST_LEAVES],
        "lists": revocation["lists"],
        "lacks": revocation["lacks"],
        "keys": (await call.read("list_keys"))["items"],
        "rehearsal": await call.read("show_rehearsal"),
        "walk_fields": form_fields(WALK, typed),
        "parts": PARTS,
        "generations": tuple(GENERATIONS),
        "reasons": REASONS,
    }


def _with_days(certificate: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    days = int((_seconds(certificate["notAfter"]) - now_s) // _DAY_S)
    standing = "bad" if days < 0 else "warn" if days < SOON_DAYS else "good"
    return {**certificate, "days": days, "standing": standing}


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _rotate(_: PageCall, typed: dict[str, str]) -> OperationCall:
    return OperationCall(operation="rotate_certificate", query=_filled(typed, "part", "generation"))


def _revoke(_: PageCall, typed: dict[str, str]) -> OperationCall:
    return OperationCall(operation="revoke_certificate", query=_filled(typed, "target", "reason"))


def _rehearse(_: PageCall, typed: dict[str, str]) -> OperationCall:
    return OperationCall(operation="begin_rehearsal", body=body_of_form(WALK, typed))


def _filled(typed: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: typed[name].strip() for name in names if typed.get(name, "").strip()}


def _back(*_: object) -> str:
    return page_url(_TRUST)


PAGES: tuple[PageRow, ...] = (
    PageRow(path=_TRUST, title="Trust", template="trust.html", values=trust_values),
)
FORMS: tuple[FormRow, ...] = (
    FormRow(
        path=f"{_TRUST}/rotate",
        page=_TRUST,
        call=_rotate,
        notice=lambda _, typed, __: f"The {typed.get('part', '')} is replaced.",
        then=_back,
    ),
    FormRow(
        path=f"{_TRUST}/revoke",
        page=_TRUST,
        call=_revoke,
        notice=lambda _, typed, __: f"{typed.get('target', '')} is revoked.",
        then=_back,
    ),
    FormRow(
        path=f"{_TRUST}/keys",
        page=_TRUST,
        call=lambda _, __: OperationCall(operation="rotate_key"),
        notice=lambda *_: "Tokens are signed by a new key from now on.",
        then=_back,
    ),
    FormRow(
        path=_WALK,
        page=_TRUST,
        call=_rehearse,
        notice=lambda *_: "The rehearsal has begun.",
        then=_back,
    ),
    FormRow(
        path=f"{_WALK}/end",
        page=_TRUST,
        call=lambda _, __: OperationCall(operation="end_rehearsal"),
        notice=lambda *_: "The rehearsal has ended; the certificates stay.",
        then=_back,
    ),
)
