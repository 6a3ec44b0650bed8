"""The VM that was captured: in a transcript, or by a body of `/metadata/instance` alone."""

from collections.abc import Iterator
from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.versions import GENERAL, NEWEST
from openimds.interop.transcript.exchange import RecordedResponse
from openimds.interop.transcript.file import Transcript, looks, read
from openimds.interop.transcript.location import ATTESTED, BALANCER, INSTANCE, VERSIONS, locate
from openimds.vm.from_capture import parse_capture
from openimds.vm.types import Vm

_OK = 200
_SIGNED = ("licenseType", "plan", "sku", "subscriptionId", "vmId")
"""What a signed document says of a VM, beside what it says of itself."""


class CapturedVm(Struct, frozen=True):
    """A VM, the paths that no row knows, and what else there is to say of what was captured."""

    vm: Vm
    set_aside: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """Messages for the operator: each path that is not served, then the remarks."""
        ignored = (
            f"{path} is in no api-version known here and is not served" for path in self.set_aside
        )
        return (*ignored, *self.remarks)


def captured(value: object, name: str) -> CapturedVm:
    """Return the VM of a transcript or of a body; `name` is used if it has none of its own.

    The values are those of the newest document. The load balancer's come with it, and what the
    signed document says otherwise.

    Raises:
        ConfigError: it is neither, or a transcript without an instance document.
    """
    if not looks(value):
        found = parse_capture(value, name)
        return CapturedVm(found.vm, found.set_aside)
    held = read(value)
    documents = sorted(_documents(held), key=lambda one: (one[0], "extended" in one[1]))
    if not documents:
        raise ConfigError(
            "exchanges",
            "no document of /metadata/instance",
            "one at least, answered with status 200",
            "Capture again, on the VM itself",
        )
    version, body = documents[-1]
    beside = {"loadBalancer": _balancer(held), "attested": _attested(held, body)}
    try:
        found = parse_capture(body, name, {key: one for key, one in beside.items() if one})
    except ConfigError as error:
        raise error.inside(f"the document at {version}") from None
    return CapturedVm(found.vm, found.set_aside, tuple(_remarks(held)))


def has_document(held: Transcript) -> bool:
    """Tell whether there is a VM in a transcript."""
    return any(_documents(held))


def _documents(held: Transcript) -> Iterator[tuple[str, dict[str, Any]]]:
    for version, body in _bodies(held, INSTANCE):
        if {"compute", "network"} & {name.lower() for name in body}:
            yield version, body


def _answers(held: Transcript, document: str) -> Iterator[tuple[str, RecordedResponse]]:
    """Yield the good answers about a whole document, with their versions."""
    for one in held.exchanges:
        where = locate(one.request.target)
        is_whole = where.document == document and not where.steps and not where.is_text
        if is_whole and one.request.method == "GET" and one.answer and one.answer.status == _OK:
            yield where.version, one.answer


def _bodies(held: Transcript, document: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for version, said in _answers(held, document):
        if body := _mapping(said.octets):
            yield version, body


def _mapping(text: bytes) -> dict[str, Any]:
    """Return a JSON object, empty where it is none."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _balancer(held: Transcript) -> object:
    found = sorted(_bodies(held, BALANCER), key=lambda one: one[0])
    return found[-1][1].get("loadbalancer") if found else None


def _attested(held: Transcript, body: dict[str, Any]) -> dict[str, object]:
    """Return what the newest signed document says otherwise than the instance document."""
    signed = [(version, said.signed) for version, said in _answers(held, ATTESTED) if said.signed]
    if not signed:
        return {}
    said = _mapping(max(signed)[1].encode())
    compute = body.get("compute")
    known = compute if isinstance(compute, dict) else {}
    return {key: said[key] for key in _SIGNED if key in said and said[key] != known.get(key)}


def _remarks(held: Transcript) -> Iterator[str]:
    if held.is_redacted:
        yield "its ids, names, keys and addresses are stand-ins"
    known = {row.name for row in GENERAL}
    for _, body in _bodies(held, VERSIONS):
        said = body.get("apiVersions")
        texts = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
        fit = sorted(known.intersection(texts))
        if fit and fit[-1] < NEWEST:
            yield f"its region knew no later api-version: --newest-version {fit[-1]} is like it"
            return
