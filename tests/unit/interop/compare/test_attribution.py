"""Which fact a difference is about."""

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
    said = about(found, locate(target), version, QUESTION)
    assert said is None or said in FACTS[said.kind]
    return f"{said.kind}: {said.name}" if said else None


ASKED = "Endpoints: /metadata/instance"
HEADERS = "Order of headers: general: Content-Type, Server, x-ms-request-id, Date, Content-Length"


@pytest.mark.parametrize(
    "kind",
    [DifferenceKind.ANSWER, DifferenceKind.STATUS, DifferenceKind.BODY, DifferenceKind.SPACING],
)
def test_what_has_no_place_of_its_own_is_about_the_question(kind: DifferenceKind) -> None:
    assert name_of(kind) == ASKED


def test_a_status_at_one_version_is_about_the_version() -> None:
    assert (
        name_of(DifferenceKind.STATUS, version="2021-02-01") == "General api-versions: 2021-02-01"
    )
    assert name_of(DifferenceKind.STATUS, version="2099-01-01") is None
    assert name_of(DifferenceKind.STATUS, ATTESTED, version="2021-02-01") == ASKED
    assert name_of(DifferenceKind.STATUS, EVENTS, version="2020-07-01") == (
        "Api-versions of scheduled events: 2020-07-01"
    )


def test_a_version_that_one_side_lacks_is_about_that() -> None:
    assert (
        name_of(DifferenceKind.API_VERSION, subject="2025-11-11")
        == "General api-versions: 2025-11-11"
    )
    assert name_of(DifferenceKind.API_VERSION, subject="2099-01-01") is None


def test_headers_are_about_their_order_or_the_question() -> None:
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
        (INSTANCE, ("compute", "physicalZone"), "Fields: compute.physicalZone, since 2023-11-15"),
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
def test_what_stands_in_a_document_is_about_its_row(
    kind: DifferenceKind, target: str, steps: tuple[str | int, ...], name: str | None
) -> None:
    assert name_of(kind, target, steps) == name


@pytest.mark.parametrize("row", QUESTIONS, ids=lambda row: row.key)
def test_what_a_question_settles_stands_on_the_page(row: object) -> None:
    said = getattr(row, "about", None)
    assert isinstance(said, Fact)
    assert said.name.replace("|", "\\|") in fidelity_page()
