"""The cases of absent paths, routes, fields, formats, identities and load balancers."""

from tests.golden.bodies import (
    BAD_REQUEST,
    IS_LEAF,
    NO_BALANCER,
    NO_BALANCER_VERSION,
    NO_HEADER,
    NO_IDENTITY,
    NO_IDENTITY_HEADER,
    NO_IDENTITY_PATH,
    NO_RESOURCE,
    NO_SUCH_FORMAT,
    NOT_FOUND,
    as_text,
)
from tests.golden.case import INSTANCE, V2021, Case, Reply, ask
from tests.golden.document import Json

TOKEN = "/metadata/identity/oauth2/token"
IDENTITY = "api-version=2018-02-01"
VAULT = "resource=https%3A%2F%2Fvault.azure.net"


def absence_cases(documents: dict[str, Json]) -> list[Case]:
    """All cases of this file."""
    return [
        *unknown_paths(),
        *unknown_routes(),
        *newer_fields(documents),
        *formats(),
        *identity(),
        *other_endpoints(),
        *beside_metadata(),
    ]


def beside_metadata() -> list[Case]:
    """Paths of a few clients: pools of VMs, the draft of MSI v2, confidential VMs."""
    return [
        *ask(
            "A.9 reprovisiondata, 404 for as long as the VM is parked [O] S12",
            NOT_FOUND,
            {"parked": "/metadata/reprovisiondata?api-version=2019-06-01"},
        ),
        *ask(
            "A.9 the older draft of MSI v2, without the header [O] S10",
            NO_IDENTITY_HEADER,
            {"credential-probe": "/metadata/identity/credential?cred-api-version=1.0"},
            method="POST",
            headers={},
        ),
        *ask(
            "N16, the header [D]",
            NO_HEADER,
            {"no-header-certification": "/metadata/THIM/amd/certification"},
            headers={},
        ),
        *ask(
            "N18, not offered",
            NOT_FOUND,
            {
                "sgx": "/metadata/THIM/sgx/certification/v3/pckcert?api-version=2021-07-22-preview",
                "endorsement": "/metadata/THIM/endorsement/manticore/names",
            },
        ),
    ]


def unknown_paths() -> list[Case]:
    """Paths that no category has, among them those of other clouds."""
    return [
        *ask(
            "A.0 unknown element, D.5 [I]",
            NOT_FOUND,
            {
                "unknown-category": f"/metadata/nothing?{V2021}",
                "unknown-below-attested": f"/metadata/attested/document/signature?{V2021}",
                "unknown-below-versions": "/metadata/versions/0",
                "unknown-below-events": "/metadata/scheduledevents/Events?api-version=2020-07-01",
                "unknown-attested-identity": f"/metadata/attested/identity?{V2021}",
            },
        ),
        *ask(
            "A.0 dot segments, status [O], body as for an unknown element [I]",
            NOT_FOUND,
            {
                "dot": f"/metadata/./instance?{V2021}",
                "dots": f"/metadata/nothing/../instance?{V2021}",
                "dots-in-route": f"{INSTANCE}/compute/../network?{V2021}",
                "dots-out-and-in": f"{INSTANCE}/../instance?{V2021}",
            },
        ),
        *ask(
            "A.0 dot segments [O], body not recorded",
            Reply(404),
            {"dots-token": f"/metadata/./identity/../identity/oauth2/token?{IDENTITY}&{VAULT}"},
        ),
        *ask(
            "M 9; N30: header before all else",
            NO_HEADER,
            {
                "foreign-root": "/",
                "foreign-latest": "/latest/meta-data",
                "foreign-latest-slash": "/latest/meta-data/",
                "foreign-droplet": "/metadata/v1.json",
                "foreign-v1": "/v1.json",
                "foreign-opc": "/opc/v2/instance/",
                "foreign-openstack": "/openstack/latest/meta_data.json",
            },
            headers={},
        ),
        *ask(
            "A.0 unknown element",
            NOT_FOUND,
            {"foreign-with-header": "/latest/meta-data/"},
        ),
        *ask(
            "M 9; N30: header before all else",
            NO_HEADER,
            {"foreign-google": "/computeMetadata/v1/instance/?recursive=true"},
            headers={"Metadata-Flavor": "Google"},
        ),
        *ask(
            "M 9; N30: header before all else",
            NO_HEADER,
            {"foreign-token": "/latest/api/token"},
            method="PUT",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "21600"},
        ),
    ]


def unknown_routes() -> list[Case]:
    """Routes below instance to no element."""
    interface = f"{INSTANCE}/network/interface"
    return [
        *ask(
            "A.0 unknown element, D.5 [D]",
            NOT_FOUND,
            {
                "route-top": f"{INSTANCE}/nothing?{V2021}",
                "route-key": f"{INSTANCE}/compute/nothing?{V2021}",
                "route-deep": f"{INSTANCE}/compute/storageProfile/osDisk/nothing?{V2021}",
                "route-category": f"{INSTANCE}/attested?{V2021}",
            },
        ),
        *ask(
            "A.0 unknown element [O] S22",
            as_text(NOT_FOUND),
            {"route-key-text": f"{INSTANCE}/compute/nothing?{V2021}&format=text"},
        ),
        *ask(
            "D.5 [I]",
            NOT_FOUND,
            {
                "route-index-high": f"{interface}/2?{V2021}",
                "route-index-negative": f"{interface}/-1?{V2021}",
                "route-index-word": f"{interface}/eth0?{V2021}",
                "route-index-fraction": f"{interface}/0.5?{V2021}",
                "route-index-of-object": f"{INSTANCE}/compute/0?{V2021}",
                "route-index-of-empty": f"{interface}/1/ipv6/ipAddress/0?{V2021}",
                "route-through-leaf": f"{INSTANCE}/compute/vmId/value?{V2021}",
            },
        ),
        *ask(
            "D.5 [I], M 8",
            as_text(NOT_FOUND),
            {
                "route-index-high-text": f"{INSTANCE}/compute/tagsList/2/name?{V2021}&format=text",
                "route-index-negative-text": f"{interface}/-1?{V2021}&format=text",
            },
        ),
    ]


def newer_fields(documents: dict[str, Json]) -> list[Case]:
    """Fields that the requested version lacks and another one has: 404."""
    osdisk = "compute/storageProfile/osDisk"
    subnet = "network/interface/0/ipv4/subnet/0"
    rows = {  # route: a version next to the one that changed it (B.3, C.4)
        "compute/tags": "2017-04-02",
        "compute/zone": "2017-10-01",
        "compute/publicKeys": "2018-02-01",
        "compute/storageProfile": "2019-04-30",
        "compute/tagsList": "2019-06-01",
        f"{osdisk}/diffDiskSettings": "2019-06-04",
        "compute/userData": "2020-12-01",
        "compute/storageProfile/resourceDisk": "2021-01-01",
        f"{osdisk}/encryptionSettings/keyEncryptionKey": "2021-10-01",
        "compute/physicalZone": "2023-11-15",
        "compute/isVmInStandbyPool": "2023-07-01",
        "compute/interconnectGroupId": "2025-07-24",
        "network/interface/0/interfaceCompartmentID": "2025-04-07",
        "network/interface/0/ipv4/ipAddressBlock": "2024-07-17",
        f"{subnet}/dnsservers": "2017-04-02",
        "network/interface/0/mac": "2017-04-02",
        "network/interface/0/macAddress": "2017-03-01",
    }
    cases = []
    for route, version in rows.items():
        if version not in documents:
            raise ValueError(f"no such version: {version}")
        name = f"version-{version}-lacks-{route.rsplit('/', 1)[-1]}"
        cases += ask(
            "D.5 [I], B.3, C.4", NOT_FOUND, {name: f"{INSTANCE}/{route}?api-version={version}"}
        )
    return [
        *cases,
        *ask(
            "D.5 [I], B.3",
            as_text(NOT_FOUND),
            {
                "version-2020-12-01-lacks-userData-text": (
                    f"{INSTANCE}/compute/userData?api-version=2020-12-01&format=text"
                )
            },
        ),
    ]


def formats() -> list[Case]:
    """A leaf in JSON, and formats that do not exist."""
    return [
        *ask(
            "D.4 [D], [O] S30; N8 [O] S45",
            IS_LEAF,
            {
                "json-leaf": f"{INSTANCE}/compute/vmId?{V2021}",
                "json-leaf-format": f"{INSTANCE}/compute/vmId?{V2021}&format=json",
                "json-leaf-slash": f"{INSTANCE}/compute/vmId/?{V2021}",
                "json-leaf-empty": f"{INSTANCE}/compute/customData?{V2021}",
                "json-leaf-of-tag": f"{INSTANCE}/compute/tagsList/1/name?{V2021}",
                "json-leaf-of-address": (
                    f"{INSTANCE}/network/interface/0/ipv4/ipAddress/0/privateIpAddress?{V2021}"
                ),
            },
        ),
        *ask(
            "D.6, K",
            NO_SUCH_FORMAT,
            {
                "format-xml": f"{INSTANCE}?{V2021}&format=xml",
                "format-yaml-part": f"{INSTANCE}/compute?{V2021}&format=yaml",
            },
        ),
    ]


def identity() -> list[Case]:
    """A VM without identities."""
    return [
        *ask(
            "F.3 [O] S29, M 2",
            NO_IDENTITY_HEADER,
            {"token-no-header": f"{TOKEN}?{IDENTITY}&{VAULT}", "token-probe": TOKEN},
            headers={},
        ),
        *ask("F.3 [O] S30", NO_RESOURCE, {"token-no-resource": f"{TOKEN}?{IDENTITY}"}),
        *ask(
            "F.3 [O] S29, M 7",
            NO_IDENTITY,
            {
                "token": f"{TOKEN}?{IDENTITY}&{VAULT}",
                "token-2019": f"{TOKEN}?{VAULT}&api-version=2019-08-01",
                "token-raw-resource": f"{TOKEN}?{IDENTITY}&resource=https://vault.azure.net",
                "token-client": (
                    f"{TOKEN}?{IDENTITY}&{VAULT}&client_id=0d46c104-a85f-49e2-9c96-ae58c6fa927b"
                ),
            },
        ),
        *ask("A.6, K", NO_IDENTITY, {"identity-info": f"/metadata/identity/info?{IDENTITY}"}),
        *ask(
            "A.0 recorded bodies [O] S25, K",
            NO_IDENTITY_PATH,
            {
                "identity-root": "/metadata/identity?api-version=2021-12-13",
                "identity-unknown": "/metadata/identity/nothing?api-version=2021-12-13",
            },
        ),
    ]


def other_endpoints() -> list[Case]:
    """Scheduled events and the load balancer."""
    balancer = "/metadata/loadbalancer"
    return [
        *ask(
            "A.0 recorded bodies, B.2 [O] S25; padding K",
            NOT_FOUND,
            {"events-general-version": "/metadata/scheduledevents?api-version=2021-12-13"},
        ),
        *ask(
            "H [O] S25",
            NO_BALANCER,
            {
                "balancer": f"{balancer}?api-version=2020-10-01",
                "balancer-2021": f"{balancer}?api-version=2021-12-13",
                "balancer-format": f"{balancer}?format=json&api-version=2021-05-01",
            },
        ),
        *ask("H [D], words of 2021 [I]", NO_BALANCER_VERSION, {"balancer-no-version": balancer}),
        *ask(
            "H [D], which of the 400 texts is unknown",
            BAD_REQUEST,
            {"balancer-unknown-version": f"{balancer}?api-version=2999-12-31"},
        ),
    ]
