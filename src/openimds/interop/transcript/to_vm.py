"""The VM of a transcript, of one recorded body, or of another tool's dump."""

from collections.abc import Iterator
from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.versions import GENERAL, NEWEST
from openimds.interop.transcript.dumps import DumpedDocument, dumped_document
from openimds.interop.transcript.exchange import RecordedResponse
from openimds.interop.transcript.file import Transcript, looks_like_transcript, read
from openimds.interop.transcript.location import ATTESTED, BALANCER, INSTANCE, VERSIONS, locate
from openimds.vm.from_capture import parse_capture
from openimds.vm.types import Vm

_OK = 200
_SIGNED = ("licenseType", "plan", "sku", "subscriptionId", "vmId")
"""Members of a signed document that are about the VM, not about the document."""


class CapturedVm(Struct, frozen=True):
    """A VM, the paths of its document without a row, and remarks for the operator.

    `hidden` has the paths of values that the dump of another tool hides.
    """

    vm: Vm
    set_aside: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """Messages for the operator: each path that is not served, then the remarks."""
        ignored = (
            f"{path} is in no api-version known here and is not served" for path in self.set_aside
        )
        hidden = (f"{path} is hidden in the file and has its default" for path in self.hidden)
        return (*ignored, *hidden, *self.remarks)


def captured_vm(value: object, name: str) -> CapturedVm:
    """Return the VM of a transcript, body or dump; `name` is its default name.

    The values are those of the newest document, with the load balancer's, and with those values of
    the signed document that differ.

    Raises:
        ConfigError: it is none, or a transcript without an instance document.
    """
    if dump := dumped_document(value):
        return _dumped(dump, name)
    if not looks_like_transcript(value):
        found = parse_capture(value, name)
        return CapturedVm(found.vm, found.set_aside)
    transcript = read(value)
    documents = sorted(_documents(transcript), key=lambda pair: (pair[0], "extended" in pair[1]))
    if not documents:
        raise ConfigError(
            "exchanges",
            "no document of /metadata/instance",
            "one at least, answered with status 200",
            "Capture again, on the VM itself",
        )
    version, body = documents[-1]
    others = {"loadBalancer": _balancer(transcript), "attested": _attested(transcript, body)}
    try:
        found = parse_capture(body, name, {key: value for key, value in others.items() if value})
    except ConfigError as error:
        raise error.inside(f"the document at {version}") from None
    return CapturedVm(found.vm, found.set_aside, tuple(_remarks(transcript)))


def _dumped(dump: DumpedDocument, name: str) -> CapturedVm:
    try:
        found = parse_capture(dump.body, name)
    except ConfigError as error:
        raise error.inside(dump.path) from None
    if dump.path:
        paths = [f"{dump.path}.{path}" for path in found.set_aside]
    else:
        paths = [path.removeprefix("compute.") for path in found.set_aside]
    return CapturedVm(found.vm, tuple(paths), hidden=dump.hidden)


def has_document(transcript: Transcript) -> bool:
    """Tell whether a transcript holds an instance document."""
    return any(_documents(transcript))


def _documents(transcript: Transcript) -> Iterator[tuple[str, dict[str, Any]]]:
    for version, body in _bodies(transcript, INSTANCE):
        if {"compute", "network"} & {name.lower() for name in body}:
            yield version, body


def _responses(transcript: Transcript, document: str) -> Iterator[tuple[str, RecordedResponse]]:
    """Yield the versions and the good answers of requests for a whole document."""
    for exchange in transcript.exchanges:
        where, response = locate(exchange.request.target), exchange.answer
        is_whole = where.document == document and not where.steps and not where.is_text
        is_get = exchange.request.method == "GET"
        if is_whole and is_get and response and response.status == _OK:
            yield where.version, response


def _bodies(transcript: Transcript, document: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for version, response in _responses(transcript, document):
        if body := _mapping(response.octets):
            yield version, body


def _mapping(text: bytes) -> dict[str, Any]:
    """Return a JSON object; empty if the text is anything else."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _balancer(transcript: Transcript) -> object:
    """Return the newest load balancer document, None if there is none."""
    bodies = sorted(_bodies(transcript, BALANCER), key=lambda pair: pair[0])
    return bodies[-1][1].get("loadbalancer") if bodies else None


def _attested(transcript: Transcript, body: dict[str, Any]) -> dict[str, object]:
    """Return the members of the newest signed document that differ from the instance document."""
    responses = _responses(transcript, ATTESTED)
    signed = [(version, response.signed) for version, response in responses if response.signed]
    if not signed:
        return {}
    payload = _mapping(max(signed)[1].encode())
    compute = body.get("compute")
    unsigned = compute if isinstance(compute, dict) else {}
    return {
        key: payload[key] for key in _SIGNED if key in payload and payload[key] != unsigned.get(key)
    }


def _remarks(transcript: Transcript) -> Iterator[str]:
    if transcript.is_redacted:
        yield "its ids, names, keys and addresses are placeholders"
    known = {row.name for row in GENERAL}
    for _, body in _bodies(transcript, VERSIONS):
        items = body.get("apiVersions")
        texts = [item for item in items if isinstance(item, str)] if isinstance(items, list) else []
        versions = sorted(known.intersection(texts))
        if versions and versions[-1] < NEWEST:
            newest = versions[-1]
            yield f"its region knew no later api-version: --newest-version {newest} is like it"
            return
