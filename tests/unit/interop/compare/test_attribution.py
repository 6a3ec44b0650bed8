"""Attribution of differences to facts."""

import pytest

from openimds.facts.facts import FACTS, Fact, fact
from openimds.interop.capture.plan import QUESTIONS
from openimds.interop.compare.attribution import about
from openimds.interop.compare.difference import AnswerDifference, DifferenceKind
from openimds.interop.transcript.location import locate
from scripts.generate_docs import fidelity_page

V = "api-version=2021-02-01"
INSTANCE, BALANCER = f"/metadata/instance?{V}", f"/metadata/loadbalancer?{V}"
ATTESTED, EVENTS = f"/metadata/attested/document?{V}", f"/metadata/scheduledevents?{V}"
QUESTION = fact("Endpoints", "/metadata/instance")


def name_of(
    kind: DifferenceKind,
    target: str = INSTANCE,
    steps: tuple[str | int, ...] = (),
    subject: str = "",
    version: str = "",
) -> str | None:
    found = AnswerDifference(kind, subject, "a", "b", steps)
    fact = about(found, locate(target), version, QUESTION)
    assert fact is None or fact in FACTS[fact.kind]
    return f"{fact.kind}: {fact.name}" if fact else None


ASKED = "Endpoints: /metadata/instance"
HEADERS = "Order of headers: general: Content-Type, Server, x-ms-request-id, Date, Content-Length"


@pytest.mark.parametrize(
    "kind",
    [DifferenceKind.ANSWER, DifferenceKind.STATUS, DifferenceKind.BODY, DifferenceKind.SPACING],
)
def test_difference_without_a_row_is_about_the_question(kind: DifferenceKind) -> None:
    assert name_of(kind) == ASKED


def test_status_at_one_version_is_about_the_version() -> None:
    assert (
        name_of(DifferenceKind.STATUS, version="2021-02-01") == "General api-versions: 2021-02-01"
    )
    assert name_of(DifferenceKind.STATUS, version="2099-01-01") is None
    assert name_of(DifferenceKind.STATUS, ATTESTED, version="2021-02-01") == ASKED
    assert name_of(DifferenceKind.STATUS, EVENTS, version="2020-07-01") == (
        "Api-versions of scheduled events: 2020-07-01"
    )


def test_missing_version_is_about_that_version() -> None:
    assert (
        name_of(DifferenceKind.API_VERSION, subject="2025-11-11")
        == "General api-versions: 2025-11-11"
    )
    assert name_of(DifferenceKind.API_VERSION, subject="2099-01-01") is None


def test_header_is_about_the_order_or_the_question() -> None:
    assert name_of(DifferenceKind.HEADER_ORDER) == HEADERS
    assert name_of(DifferenceKind.HEADER, subject="content-type") == HEADERS
    assert name_of(DifferenceKind.HEADER, subject="Allow") == ASKED


@pytest.mark.parametrize(
    "kind",
    [DifferenceKind.FIELD, DifferenceKind.TYPE, DifferenceKind.VALUE, DifferenceKind.MEMBER_ORDER],
)
@pytest.mark.parametrize(
    "target,steps,name",
    [
        (INSTANCE, ("compute", "physicalZone"), "Fields: compute.physicalZone, since 2024-03-15"),
        (INSTANCE, ("compute", "plan"), "Fields: compute.plan.name, since 2018-04-02"),
        (
            INSTANCE,
            ("network", "interface", 0, "mac"),
            "Fields: network.interface[].macAddress, since 2017-03-01",
        ),
        (
            INSTANCE,
            ("network", "interface"),
            "Fields: network.interface[].interfaceCompartmentID, since 2025-07-24",
        ),
        (INSTANCE, ("compute", "brandNew"), None),
        (INSTANCE, (), ASKED),
        (
            f"/metadata?{V}",
            ("instance", "compute", "vmId"),
            "Fields: compute.vmId, since 2017-03-01",
        ),
        (f"/metadata?{V}", ("instance",), ASKED),
        (f"/metadata?{V}", ("attested",), ASKED),
        (
            BALANCER,
            ("loadbalancer", "outboundRules", 0, "privateIpAddress"),
            "Load balancer: outboundRules: frontendIpAddress, privateIpAddress",
        ),
        (BALANCER, ("loadbalancer", "brandNew"), None),
        (BALANCER, ("loadbalancer",), ASKED),
        (ATTESTED, ("signed", "plan", "name"), "Attested documents: plan, since 2018-10-01"),
        (ATTESTED, ("signed", "brandNew"), None),
        (ATTESTED, ("signed",), ASKED),
        (ATTESTED, ("encoding",), ASKED),
        (
            EVENTS,
            ("Events", 0, "EventSource"),
            "Scheduled events: member EventSource, since 2019-08-01",
        ),
        (EVENTS, ("Events", 0), ASKED),
        ("/metadata/nothing", ("a",), ASKED),
    ],
)
def test_value_of_a_document_is_about_its_row(
    kind: DifferenceKind, target: str, steps: tuple[str | int, ...], name: str | None
) -> None:
    assert name_of(kind, target, steps) == name


@pytest.mark.parametrize("row", QUESTIONS, ids=lambda row: row.key)
def test_fact_of_a_question_is_on_the_fidelity_page(row: object) -> None:
    fact = getattr(row, "about", None)
    assert isinstance(fact, Fact)
    assert fact.name.replace("|", "\\|") in fidelity_page()
