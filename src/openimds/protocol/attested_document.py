"""The attested document: the payload that is signed; the signature is `credentials`' work."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec.json

from openimds.facts.attested import CACHE_S, ENCODING, LIFE_S, LONGEST_NONCE, MEMBERS
from openimds.facts.clouds import CLOUDS
from openimds.facts.kinds import KINDS
from openimds.protocol.pending import PendingDocument, Signature
from openimds.protocol.request import Query
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

_NONCE = re.compile(f"[A-Za-z0-9_-]{{1,{LONGEST_NONCE}}}")
_FROM_COMPUTE = ("licenseType", "sku", "subscriptionId", "vmId")
_PLAN = ("name", "product", "publisher")


def pending_document(query: Query, vm: Vm) -> PendingDocument | str:
    """Return the document to sign for a query, or the key of a refusal."""
    nonce = query.parameters.get("nonce", "")
    if nonce and not _NONCE.fullmatch(nonce):
        return "nonce_unfit"
    version = query.parameters["api-version"]
    members = [
        row.name for row in MEMBERS if row.since <= version and (row.is_classic or not vm.classic)
    ]
    return PendingDocument(
        vm=vm.name,
        version=version,
        nonce=nonce,
        domain=CLOUDS[vm.cloud].domain,
        region=text_at(vm, "compute.location"),
        members=tuple(members),
        facts=facts_of(vm),
        scenario=scenario_of(vm),
        leaf_days=KINDS[vm.kind].leaf_days,
    )


def facts_of(vm: Vm) -> dict[str, Any]:
    """Return the values of a VM's document that come from the VM."""
    overrides: Mapping[str, Any] = vm.attested or {}
    facts: dict[str, Any] = {
        name: overrides.get(name, text_at(vm, f"compute.{name}")) for name in _FROM_COMPUTE
    }
    plan = {name: text_at(vm, f"compute.plan.{name}") for name in _PLAN}
    facts["plan"] = {**plan, **overrides.get("plan", {})}
    return facts


def scenario_of(vm: Vm) -> str:
    """Return the defect that a VM's documents have on purpose, or nothing."""
    return str((vm.attested or {}).get("scenario", ""))


def payload(pending: PendingDocument, now_s: float) -> dict[str, Any]:
    """Return the payload to sign at a time, in seconds since 1970; `to_bytes` writes it."""
    created_s = int(now_s)
    expires_s = created_s + LIFE_S
    values = {
        **pending.facts,
        "nonce": pending.nonce or default_nonce(expires_s),
        "timeStamp": {"createdOn": stamp(created_s), "expiresOn": stamp(expires_s)},
    }
    return {name: values[name] for name in pending.members}


def to_bytes(payload: dict[str, Any]) -> bytes:
    """Return the bytes of a payload to sign, as compact JSON."""
    return msgspec.json.encode(payload)


def default_nonce(expires_s: float) -> str:
    """Return the nonce for a request without one, from the expiry in seconds since 1970."""
    return f"{datetime.fromtimestamp(expires_s, UTC):%Y%m%d-%H%M%S}"


def stamp(at_s: float) -> str:
    """Return a time, in seconds since 1970, as the payload writes it."""
    return f"{datetime.fromtimestamp(at_s, UTC):%m/%d/%y %H:%M:%S} -0000"


def body(signature: Signature) -> bytes:
    """Return the body of the response."""
    return msgspec.json.encode({"encoding": ENCODING, "signature": signature.text})


def cached_until_s(now_s: float) -> float:
    """Return the time until which a document without a nonce is cached."""
    return now_s + CACHE_S
