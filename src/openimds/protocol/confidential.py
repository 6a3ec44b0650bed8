"""The requests of confidential VMs: the endorsement of their processor, and quotes."""

from base64 import b64decode
from hashlib import sha512

import msgspec.json
from msgspec import Struct

from openimds.errors import BAD_JSON
from openimds.facts.confidential import (
    AMD_PRODUCTS,
    CACHE_CONTROL,
    CHIP_BYTES,
    REPORT_BYTES,
    SIZE,
    TCB_DIGITS,
    AmdProduct,
    Processor,
)
from openimds.protocol.pending import Endorsement, PendingEndorsement, PendingQuote, Quote
from openimds.protocol.request import Query
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

_FEATURES = {"a": Processor.AMD, "e": Processor.INTEL}
_HEX = frozenset("0123456789abcdefABCDEF")
_TO_STANDARD = str.maketrans("-_", "+/")


class _QuoteRequest(Struct):
    """The body of a request for a quote."""

    report: str


_QUOTE_REQUEST = msgspec.json.Decoder(_QuoteRequest)


def processor(vm: Vm) -> Processor | None:
    """Return the processor of a VM by its size; None: it is not confidential."""
    match = SIZE.fullmatch(text_at(vm, "compute.vmSize"))
    features = match["features"].lower() if match else ""
    return next((maker for letter, maker in _FEATURES.items() if letter in features), None)


def pending_endorsement(query: Query, vm: Vm) -> PendingEndorsement | str:
    """Return the endorsement that a query asks for, or the key of a refusal."""
    if processor(vm) is not Processor.AMD:
        return "not_found"
    given = query.parameters
    name = given.get("productname", "").lower()
    product = AMD_PRODUCTS.get(name) if name else _product(vm)
    tcb, chip = given.get("tcbversion", ""), given.get("platformid", "")
    is_fit = (not tcb or (len(tcb) == TCB_DIGITS and _HEX.issuperset(tcb))) and (
        not chip or (len(chip) == 2 * CHIP_BYTES and _HEX.issuperset(chip))
    )
    if product is None or not is_fit:
        return "collateral_unfit"
    return PendingEndorsement(
        vm.name,
        product.name,
        bytes.fromhex(chip) if chip else sha512(text_at(vm, "compute.vmId").encode()).digest(),
        # Zero is what a client sends that wants the present version (S120).
        int(tcb or "0", 16) or product.tcb,
    )


def endorsement_body(pending: PendingEndorsement, endorsement: Endorsement) -> bytes:
    """Return the body of the response with an endorsement."""
    return msgspec.json.encode(
        {
            "vcekCert": endorsement.certificate,
            "tcbm": f"{pending.tcb:0{TCB_DIGITS}X}",
            "certificateChain": endorsement.chain,
            "cacheControl": CACHE_CONTROL,
        }
    )


def pending_quote(query: Query, vm: Vm) -> PendingQuote | str:
    """Return the quote that a query asks for, or the key of a refusal."""
    if processor(vm) is not Processor.INTEL:
        return "not_found"
    try:
        text = _QUOTE_REQUEST.decode(query.body).report.translate(_TO_STANDARD).rstrip("=")
        report = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except BAD_JSON:
        # Not JSON, another shape, not base64; or nested so deeply that it is an attack.
        return "report_unfit"
    return PendingQuote(vm.name, report) if len(report) == REPORT_BYTES else "report_unfit"


def quote_body(quote: Quote) -> bytes:
    """Return the body of the response with a quote."""
    return msgspec.json.encode({"quote": quote.text})


def _product(vm: Vm) -> AmdProduct:
    """Return the line of processors of a VM's size: the newest for an unknown generation."""
    match = SIZE.fullmatch(text_at(vm, "compute.vmSize"))
    generation = (match["generation"] or "") if match else ""
    found = [row for row in AMD_PRODUCTS.values() if generation in row.generations]
    return found[0] if found else [*AMD_PRODUCTS.values()][-1]
