"""The attested document: what is signed, not how."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec.json

from openimds.facts.attested import CACHE_S, ENCODING, LIFE_S, LONGEST_NONCE, MEMBERS
from openimds.facts.clouds import CLOUDS
from openimds.protocol.pending import PendingDocument, Signature
from openimds.protocol.request import Query
from openimds.vm.types import Vm

_NONCE = re.compile(f"[A-Za-z0-9_-]{{1,{LONGEST_NONCE}}}")


def need(query: Query, vm: Vm, document: dict[str, Any]) -> PendingDocument | str:
    """Return what has to be signed for a request, or the key of a refusal."""
    nonce = query.parameters.get("nonce", "")
    if nonce and not _NONCE.fullmatch(nonce):
        return "nonce_unfit"
    compute, said = document["compute"], vm.attested or {}
    plan = said.get("plan")
    facts = {
        "licenseType": said.get("licenseType", compute["licenseType"]),
        "plan": {**compute["plan"], **(plan if isinstance(plan, dict) else {})},
        "sku": said.get("sku", compute["sku"]),
        "subscriptionId": said.get("subscriptionId", compute["subscriptionId"]),
        "vmId": said.get("vmId", compute["vmId"]),
    }
    version = query.parameters["api-version"]
    names = [
        row.name for row in MEMBERS if row.since <= version and (row.is_classic or not vm.classic)
    ]
    return PendingDocument(
        vm=vm.name,
        version=version,
        nonce=nonce,
        domain=CLOUDS[vm.cloud].domain,
        region=compute["location"],
        members=tuple(names),
        facts=facts,
        scenario=str(said.get("scenario", "")),
    )


def payload(wanted: PendingDocument, now_s: float) -> dict[str, Any]:
    """Return what is signed now; `to_bytes` writes it."""
    created_s = int(now_s)
    ends_s = created_s + LIFE_S
    known = {
        **wanted.facts,
        "nonce": wanted.nonce or nonce_of(ends_s),
        "timeStamp": {"createdOn": stamp(created_s), "expiresOn": stamp(ends_s)},
    }
    return {name: known[name] for name in wanted.members}


def to_bytes(said: dict[str, Any]) -> bytes:
    """Return a payload as it is signed: compact JSON, members sorted as the rows are."""
    return msgspec.json.encode(said)


def nonce_of(ends_s: float) -> str:
    """Return the nonce of a document that was asked for without one, by the time of its end."""
    return f"{datetime.fromtimestamp(ends_s, UTC):%Y%m%d-%H%M%S}"


def stamp(at_s: float) -> str:
    """Return a time as the payload writes it."""
    return f"{datetime.fromtimestamp(at_s, UTC):%m/%d/%y %H:%M:%S} -0000"


def body(signature: Signature) -> bytes:
    """Return the body of the answer."""
    return msgspec.json.encode({"encoding": ENCODING, "signature": signature.text})


def kept_until(now_s: float) -> float:
    """Return until when a document without a nonce that is made now is given again."""
    return now_s + CACHE_S
