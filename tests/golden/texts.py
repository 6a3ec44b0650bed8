"""The cases of format=text, and those with the names of the preview version."""

from dataclasses import replace

from tests.golden.additions import NEWEST, PREVIEW
from tests.golden.case import INSTANCE, V2021, V_NEWEST, Case, Reply, ask, text
from tests.golden.document import Json, at, compact, leaf, listing


def text_cases(documents: dict[str, Json]) -> list[Case]:
    """All cases of this file."""
    return [
        *preview_parts(documents[PREVIEW]),
        *listings(documents),
        *leaves(documents[NEWEST]),
    ]


def preview_parts(old: Json) -> list[Case]:
    """Routes with the names of 2017-03-01."""
    version = "api-version=2017-03-01"
    ipv4 = f"{INSTANCE}/network/interface/0/ipv4"
    servers = compact([{"ipaddress": "10.0.0.10"}])
    return [
        *ask(
            "C.4 [O], D.5",
            text("20.1.2.3"),
            {
                "preview-publicip": f"{ipv4}/ipaddress/0/publicip?{version}&format=text",
            },
        ),
        *ask(
            "C.4 [O], D.2",
            text("ipaddress/\nsubnet/"),
            {
                "preview-ipv4-text": f"{ipv4}?{version}&format=text",
            },
        ),
        *ask(
            "C.4 [O], D.5",
            Reply(200, servers),
            {
                "preview-dnsservers": f"{ipv4}/subnet/0/dnsservers?{version}",
            },
        ),
        *ask(
            "C.4 [O], D.3",
            text(leaf(old, "network", "interface", 1, "mac")),
            {
                "preview-mac": f"{INSTANCE}/network/interface/1/mac?{version}&format=text",
            },
        ),
    ]


def listings(documents: dict[str, Json]) -> list[Case]:
    """Non-leaves with format=text."""
    plain = f"{V2021}&format=text"
    newest = f"{V_NEWEST}&format=text"
    old_compute = (
        "location\nname\noffer\nosType\nplatformFaultDomain\nplatformUpdateDomain\n"
        "publisher\nsku\nversion\nvmId\nvmSize"
    )
    interface = f"{INSTANCE}/network/interface"
    return [
        *ask(
            "D.2 [O] S22, 2017",
            text("instance/"),
            {
                "list-root": "/metadata?api-version=2017-03-01&format=text",
            },
        ),
        *ask(
            "D.2 [O]",
            text("compute/\nnetwork/"),
            {
                "list-instance-2017": f"{INSTANCE}?api-version=2017-04-02&format=text",
                "list-instance-2021": f"{INSTANCE}?{plain}",
            },
        ),
        *ask(
            "D.2 [O]",
            text(old_compute),
            {
                "list-compute-2017": f"{INSTANCE}/compute?api-version=2017-04-02&format=text",
            },
        ),
        *ask(
            "D.2, C.1",
            text(listing(at(documents["2021-02-01"], "compute"))),
            {
                "list-compute-2021": f"{INSTANCE}/compute?{plain}",
            },
        ),
        *ask(
            "D.2, C.1, K",
            text(listing(at(documents[NEWEST], "compute"))),
            {
                "list-compute-newest": f"{INSTANCE}/compute?{newest}",
            },
        ),
        *ask(
            "D.2 [I]",
            text("name\nproduct\npublisher"),
            {
                "list-plan": f"{INSTANCE}/compute/plan?{plain}",
            },
        ),
        *ask(
            "D.2 [I]",
            text("dataDisks/\nimageReference/\nosDisk/\nresourceDisk/"),
            {
                "list-storage-profile": f"{INSTANCE}/compute/storageProfile?{plain}",
            },
        ),
        *ask(
            "D.2 [O*] S18",
            text("0/\n1/"),
            {
                "list-interfaces": f"{interface}?{plain}",
                "list-interfaces-slash": f"{interface}/?{plain}",
                "list-addresses": f"{interface}/0/ipv4/ipAddress?{plain}",
                "list-tags": f"{INSTANCE}/compute/tagsList?{plain}",
            },
        ),
        *ask(
            "D.2",
            text("name\nvalue"),
            {
                "list-tag": f"{INSTANCE}/compute/tagsList/0?{plain}",
            },
        ),
        *ask(
            "D.2",
            text("ipv4/\nipv6/\nmacAddress"),
            {
                "list-interface-2021": f"{interface}/0?{plain}",
            },
        ),
        *ask(
            "D.2, K",
            text(listing(at(documents[NEWEST], "network", "interface", 0))),
            {
                "list-interface-newest": f"{interface}/0?{newest}",
            },
        ),
        *ask(
            "D.2 empty array [I]",
            text(""),
            {
                "list-empty-array": f"{interface}/1/ipv6/ipAddress?{plain}",
            },
        ),
    ]


def leaves(head: Json) -> list[Case]:
    """Leaves with format=text: the raw value, no quotes, no newline."""
    asked = f"{V_NEWEST}&format=text"
    empty = replace(text(""), has_headers={"Content-Length": "0"})
    routes: list[tuple[str | int, ...]] = [
        ("compute", "location"),
        ("compute", "vmId"),
        ("compute", "tags"),
        ("compute", "tagsList", 1, "name"),
        ("compute", "userData"),
        ("compute", "storageProfile", "osDisk", "managedDisk", "id"),
        ("network", "interface", 0, "macAddress"),
        ("network", "interface", 0, "ipv4", "ipAddress", 0, "publicIpAddress"),
        ("network", "interface", 0, "ipv6", "ipAddress", 0, "privateIpAddress"),
    ]
    cases = []
    for route in routes:
        path = "/".join(str(step) for step in route)
        target = {f"leaf-{path.replace('/', '-')}": f"{INSTANCE}/{path}?{asked}"}
        cases += ask("D.3 [O], D.5 [D]", text(leaf(head, *route)), target)
    key = leaf(head, "compute", "publicKeys", 0, "keyData")
    return [
        *cases,
        *ask(
            "D.3 JSON escapes are not applied [I]",
            text(key),
            {
                "leaf-raw-line-break": f"{INSTANCE}/compute/publicKeys/0/keyData?{asked}",
            },
        ),
        *ask(
            "D.3 empty string [O]",
            empty,
            {
                "leaf-empty": f"{INSTANCE}/compute/licenseType?{asked}",
                "leaf-empty-custom-data": f"{INSTANCE}/compute/customData?{asked}",
                "leaf-empty-nested": f"{INSTANCE}/compute/hostGroup/id?{asked}",
            },
        ),
    ]
