"""The cases with a success in JSON, or without a body."""

from dataclasses import replace

from tests.golden.additions import NEWEST
from tests.golden.bodies import HEAD_REFUSED
from tests.golden.case import INSTANCE, METADATA, V2021, V_NEWEST, Case, Reply, ask, text
from tests.golden.document import Json, at, compact, leaf

# No recording of any answer has one of these (I).
NEVER_SEEN = ("Transfer-Encoding", "Cache-Control", "ETag", "Connection")


def json_cases(documents: dict[str, Json]) -> list[Case]:
    """All cases of this file."""
    head = documents[NEWEST]
    return [
        *whole_documents(documents),
        *parts(head),
        *spellings(head),
        *encodings(head),
        *heads(),
        *other_endpoints(documents),
    ]


def document(version: str) -> Reply:
    """The whole instance document of a version."""
    return Reply(200, body_of=f"instance/{version}.json")


def whole_documents(documents: dict[str, Json]) -> list[Case]:
    """The instance document of every version, and in the ways that clients ask for it."""
    cases = []
    for version in documents:
        target = {f"instance-{version}": f"{INSTANCE}?api-version={version}"}
        cases += ask("B.3, C, A.0 JSON bytes", document(version), target)
    doc = documents["2021-02-01"]
    framed = replace(
        document("2021-02-01"),
        has_headers={
            "Content-Length": str(len(compact(doc).encode())),
            "Date": None,
            "Server": None,
            "x-ms-request-id": None,
        },
        lacks_headers=NEVER_SEEN,
    )
    extended = Reply(
        200, json_has={"extended": {"compute": {"hasCustomData": False, "ppsType": "None"}}}
    )
    chatty = METADATA | {
        "Accept": "text/html",
        "Content-Type": "application/json",
        "User-Agent": "python-requests/2.31.0",
        "x-ms-client-request-id": "8f4c3f0e-6f0e-4c3c-9d7a-0a1b2c3d4e5f",
        "x-ms-return-client-request-id": "true",
    }
    return [
        *cases,
        *ask("I, recorded headers [O]", framed, {"instance-headers": f"{INSTANCE}?{V2021}"}),
        *ask(
            "A.2 format, A.0 unknown query names [O*]",
            document("2021-02-01"),
            {
                "instance-format-json": f"{INSTANCE}?{V2021}&format=json",
                "instance-format-first": f"{INSTANCE}?format=json&{V2021}",
                "instance-unknown-name": f"{INSTANCE}?{V2021}&colour=blue",
            },
        ),
        *ask(
            "A.0 request headers from clients [O]",
            document("2021-02-01"),
            {"instance-client-headers": f"{INSTANCE}?{V2021}"},
            headers=chatty,
        ),
        *ask(
            "A.9 extended=true [O]",
            extended,
            {
                "instance-extended-2021-08-01": f"{INSTANCE}?api-version=2021-08-01&extended=true",
                "instance-extended-newest": f"{INSTANCE}?{V_NEWEST}&extended=true",
            },
        ),
    ]


def parts(head: Json) -> list[Case]:
    """Sub-documents in JSON: the value alone, without its name."""
    cases = []
    routes: list[tuple[str | int, ...]] = [
        ("compute",),
        ("network",),
        ("compute", "plan"),
        ("compute", "publicKeys"),
        ("compute", "tagsList"),
        ("compute", "tagsList", 1),
        ("compute", "storageProfile", "dataDisks", 1),
        ("network", "interface"),
        ("network", "interface", 0),
        ("network", "interface", 1, "ipv6", "ipAddress"),
        ("network", "interface", 0, "ipv4", "ipAddressBlock", 0),
    ]
    for route in routes:
        path = "/".join(str(step) for step in route)
        target = {f"part-{path.replace('/', '-')}": f"{INSTANCE}/{path}?{V_NEWEST}"}
        cases += ask("D.5 routes", Reply(200, compact(at(head, *route))), target)
    return cases


def spellings(head: Json) -> list[Case]:
    """Letter case and slashes that the service ignores."""
    vm_id = text(leaf(head, "compute", "vmId"))
    network = Reply(200, compact(at(head, "network")))
    whole = document(NEWEST)
    cases = []
    for value in ("TRUE", "True", "true"):
        target = {f"header-value-{value}": f"{INSTANCE}?{V_NEWEST}"}
        cases += ask("A.0 mandatory header [O*]", whole, target, headers={"metadata": value})
    return [
        *cases,
        *ask(
            "A.0 mandatory header, M 1",
            whole,
            {"header-name": f"{INSTANCE}?{V_NEWEST}"},
            headers={"MetaData": "True"},
        ),
        *ask(
            "A.0 path case, query names [I]",
            vm_id,
            {"case-of-leaf": (f"/Metadata/INSTANCE/Compute/VMID?API-VERSION={NEWEST}&Format=text")},
        ),
        *ask(
            "A.0 path case [I], D.5 keys stay canonical",
            network,
            {
                "case-of-part": f"/METADATA/instance/NETWORK?{V_NEWEST}",
            },
        ),
        *ask(
            "A.0 path case [I] S22",
            text("10.0.0.4"),
            {
                "case-of-old-name": (
                    f"{INSTANCE}/network/interface/0/ipv4/ipaddress/0/privateIpAddress"
                    f"?{V_NEWEST}&format=text"
                )
            },
        ),
        *ask("A.0 trailing slash [O*]", whole, {"slash-instance": f"{INSTANCE}/?{V_NEWEST}"}),
        *ask("A.0 trailing slash [O*]", network, {"slash-part": f"{INSTANCE}/network/?{V_NEWEST}"}),
        *ask(
            "M 8",
            vm_id,
            {
                "slash-leaf": f"{INSTANCE}/compute/vmId/?{V_NEWEST}&format=text",
            },
        ),
    ]


def encodings(head: Json) -> list[Case]:
    """Targets that are decoded as a whole before they are split, and the absolute form."""
    whole = document(NEWEST)
    name = text(leaf(head, "compute", "name"))
    return [
        *ask(
            "A.0 percent-encoding [O]",
            whole,
            {
                "encoded-question-mark": f"{INSTANCE}%3F{V_NEWEST}",
                "encoded-question-mark-lower": f"{INSTANCE}%3f{V_NEWEST}",
                "encoded-letter": f"/metadata/inst%61nce?{V_NEWEST}",
            },
        ),
        *ask(
            "A.0 percent-encoding, the whole target [O]",
            text("compute/\nnetwork/"),
            {
                "encoded-query": f"{INSTANCE}%3Fapi-version%3D{NEWEST}%26format%3Dtext",
            },
        ),
        *ask(
            "A.0 percent-encoding [D]",
            name,
            {
                "encoded-slash": f"/metadata%2Finstance/compute%2Fname?{V_NEWEST}&format=text",
            },
        ),
        *ask(
            "A.0 address; RFC 9112 3.2.2",
            whole,
            {
                "absolute-form": f"http://169.254.169.254{INSTANCE}?{V_NEWEST}",
            },
        ),
        *ask(
            "A.0 address; RFC 9112 3.2.2",
            name,
            {
                "absolute-form-leaf": f"http://169.254.169.254{INSTANCE}/compute/name?{V_NEWEST}&format=text",
            },
        ),
    ]


def heads() -> list[Case]:
    """HEAD, which the front answers: the same for every path."""
    return ask(
        "N3, chosen: as without the header, N1 [O] S40",
        HEAD_REFUSED,
        {
            "head-instance": f"{INSTANCE}?{V2021}",
            "head-leaf": f"{INSTANCE}/compute/location?{V2021}&format=text",
            "head-balancer": f"/metadata/loadbalancer?{V2021}",
            "head-unknown": "/nothing",
        },
        method="HEAD",
    )


def other_endpoints(documents: dict[str, Json]) -> list[Case]:
    """The other categories, for a VM without identity, load balancer or event."""
    versions = Reply(200, compact({"apiVersions": list(documents)}))
    attested = Reply(200, json_has={"encoding": "pkcs7"})
    events = Reply(200, json_has={"Events": []})
    return [
        *ask("A.3 [D], B.1", versions, {"versions": "/metadata/versions"}),
        *ask(
            "A.3 other parameters are ignored [O*] S21",
            versions,
            {
                "versions-format": "/metadata/versions?format=json",
                "versions-version": f"/metadata/versions?{V2021}",
                "versions-unknown-version": "/metadata/versions?api-version=1999-12-31&colour=blue",
            },
        ),
        *ask(
            "E.1 [O]",
            attested,
            {
                "attested": "/metadata/attested/document?api-version=2018-10-01",
                "attested-nonce": f"/metadata/attested/document?{V2021}&nonce=1234567890",
            },
        ),
        *ask(
            "G.1, G.2 [D]",
            events,
            {
                "events-2020": "/metadata/scheduledevents?api-version=2020-07-01",
                "events-2017": "/metadata/scheduledevents?api-version=2017-08-01",
            },
        ),
    ]
