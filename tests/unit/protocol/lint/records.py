"""Records for tests: those of a good client, but for given fields."""

from typing import Any

from msgspec import structs

from openimds.protocol.lint import Finding, Record, report

REAL = ("host", "169.254.169.254")
GOOD = (REAL, ("metadata", "true"), ("user-agent", "test/1"))
INSTANCE = "/metadata/instance?api-version=2021-02-01"
LEAF = "/metadata/instance/compute/vmId?api-version=2021-02-01&format=text"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
UTC_S = 1_795_377_286.0

_ENDPOINTS = {
    "/metadata/instance": "instance",
    "/metadata/scheduledevents": "scheduledevents",
    "/metadata/identity/oauth2/token": "token",
    "/metadata/identity/info": "identity_info",
    "/metadata/attested/document": "attested",
    "/metadata/versions": "versions",
    "/msi/token": "app_service",
}


def a_record(target: str = INSTANCE, at_s: float = 0.0, **more: Any) -> Record:
    """A successful request of vm-1, `at_s` seconds after the first one."""
    path = target.partition("?")[0].lower()
    endpoint = next((key for start, key in _ENDPOINTS.items() if path.startswith(start)), "other")
    made = Record(
        number=1,
        utc_s=UTC_S + at_s,
        now_s=1000.0 + at_s,
        vm="vm-1",
        peer="10.0.0.4",
        method="GET",
        target=target,
        headers=GOOD,
        endpoint=endpoint,
        status=200,
    )
    return structs.replace(made, **more)


def refused(reason: str, target: str = INSTANCE, at_s: float = 0.0, **more: Any) -> Record:
    """A request refused with 400, or the given status."""
    return a_record(target, at_s, **{"status": 400, "reason": reason, **more})


def failed(status: int, target: str = INSTANCE, at_s: float = 0.0) -> Record:
    """A request that failed by an injected fault."""
    return a_record(target, at_s, status=status, fault="status")


def numbered(*records: Record) -> list[Record]:
    """The records with numbers from 1 in this order."""
    return [structs.replace(one, number=number) for number, one in enumerate(records, 1)]


def found(*records: Record) -> dict[str, tuple[int, ...]]:
    """The numbers of the records that break each rule."""
    return {one.rule: one.numbers for one in report(numbered(*records))}


def only(*records: Record) -> Finding:
    """The only finding."""
    (finding,) = report(numbered(*records))
    return finding
