"""Every table of the product, with long ids, at the widths of terminals."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest

import openimds.cli
from openimds.cli.output import shown_in
from openimds.cli.table import Column, draw, text_of
from openimds.credentials.pki.verify import VerificationCheck
from openimds.interop.compare.difference import At, Difference, DifferenceKind
from openimds.linux.host.status import Guest
from tests.support.transcripts import an_answer, an_exchange

GUID = "50ea19b2-69bc-4fa3-9f7f-8063ba7229b4"
LONG = "web-1" + "-a-very-long-name" * 5
TIME = "2026-11-22T19:54:46.000Z"
RESOURCE = (
    f"/subscriptions/{GUID}/resourceGroups/{'a-resource-group' * 4}"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/application-of-the-shop"
)
SUBJECT = "CN=OpenIMDS Intermediate CA 01, O=OpenIMDS, C=US"
PROSE = f"a sentence for people that takes more than the width of a line and ends with {GUID}"
CERTIFICATE = {"subject": SUBJECT, "isRoot": True, "inUse": True, "notAfter": TIME}
AT = At("instance", "2021-02-01", an_exchange(f"/metadata{RESOURCE}", an_answer("")).request)
REQUEST = {
    "number": 123456,
    "at": TIME,
    "vm": "",
    "peer": "fd00:1234:5678:9abc:def0:1234:5678:9abc",
    "method": "DELETE",
    "target": f"/metadata{RESOURCE}?api-version=2021-02-01",
    "size": 680,
    "status": 404,
    "reason": "unknown_caller",
    "fault": "response",
}
SAMPLES: dict[str, Any] = {
    "attest_columns.CERTIFICATES": CERTIFICATE,
    "attest_columns.HARDWARE": CERTIFICATE,
    "attest_columns.STANDINGS": {
        "serial": "4f" * 20,
        "isLeaf": True,
        "subject": SUBJECT,
        "inUse": False,
        "revokedAt": TIME,
        "reason": "cessationOfOperation",
    },
    "attest_columns.LISTS": {
        "name": SUBJECT,
        "thisUpdate": TIME,
        "nextUpdate": TIME,
        "revoked": 1000,
    },
    "audit._COLUMNS": {
        "at": TIME,
        "name": LONG,
        "kind": "put",
        "who": f"api fd00:1234::1 token:{LONG}",
        "before": {"compute": {"a": 1}},
        "after": {"compute": {LONG: 2}},
        "revision": 1234567,
    },
    "changes._COLUMNS": {
        "at": TIME,
        "event": GUID.upper(),
        "trigger": "not-before",
        "number": 7,
        "origin": "api",
        "who": f"api fd00:1234::1 token:{LONG}",
        "revision": 1234567,
    },
    "event_log._COLUMNS": {
        "number": 1234567,
        "at": TIME,
        "event": GUID.upper(),
        "trigger": "not-before",
        "who": f"api fd00:1234::1 token:{LONG}",
        "before": "Scheduled",
        "after": "Started",
        "type": "Terminate",
        "vms": [LONG, GUID],
        "scope": RESOURCE,
    },
    "scenario._COLUMNS": {
        "name": LONG,
        "begun": TIME,
        "events": [{"vms": [LONG, "web-2"], "next": TIME}],
    },
    "attest_columns.CHECKS": VerificationCheck(name="revocation", holds=False, detail=PROSE),
    "compare._COLUMNS": Difference(
        DifferenceKind.HEADER_ORDER, f"compute.{LONG}", PROSE, RESOURCE, None, (AT,)
    ),
    "control._COLUMNS": {
        "name": LONG,
        "state": "invited",
        "vms": 100000,
        "revision": 1234567,
        "isConnected": True,
        "isSettled": False,
        "unshownAgeS": 86400,
        "silentS": 86400,
        "refused": {"a": "b"},
        "release": "0.2.0.dev1234",
        "certificateEndsS": 1800000000,
    },
    "doctor._COLUMNS": {
        "check": "unprivileged namespaces",
        "state": "wrong",
        "found": PROSE,
        "do": "sysctl -w kernel.unprivileged_userns_clone=1",
    },
    "event._COLUMNS": {
        "id": GUID,
        "type": "Terminate",
        "status": "Scheduled",
        "notBefore": TIME,
        "approved": False,
        "approvals": [],
        "vms": [LONG, "web-2", GUID],
        "scope": RESOURCE,
    },
    "fault._COLUMNS": {
        "id": GUID,
        "effect": "playbook-of-certificates",
        "origin": "file",
        "seen": 12345,
        "played": 12345,
        "vms": [LONG, "web-2"],
        "body": "x" * 500,
        "untilS": 70,
    },
    "fault._DESCRIPTIONS": {"effect": "corrupted-signature", "about": PROSE},
    "fleet._COLUMNS": {"file": "fleet.yaml", "error": PROSE},
    "host._COLUMNS": Guest(
        vm=LONG,
        interface="vnet1234567890",
        is_there=True,
        on="br-1234567890",
        mac="52:54:00:12:34:56",
        addresses=("10.0.0.4", "fd00:1234:5678:9abc:def0:1234:5678:9abc"),
        accepted=1234567,
        dropped=1234567,
    ),
    "identity.COLUMNS": {
        "vm": LONG,
        "kind": "system",
        "clientId": GUID,
        "principalId": GUID.upper(),
        "source": "forge:unsigned",
        "resourceId": RESOURCE,
        "forged": True,
    },
    "keys.COLUMNS": {
        "kid": "nOo3ZDrODXEK1jKWhXslHR_KXEg",
        "retired": None,
        "began": TIME,
        "publishedUntil": TIME,
    },
    "output._MEMBERS": ("resourceId", RESOURCE),
    "rehearse._COLUMNS": {
        "generation": "2026",
        "begins": TIME,
        "overlapEnds": TIME,
        "taken": True,
        "change": PROSE,
        "reports": ["S1", "S2"],
    },
    "requests._COLUMNS": REQUEST,
    "requests._REPORT": {
        "rule": "leaf_needs_text",
        "verdict": "discouraged",
        "vm": LONG,
        "times": 12345,
        "example": f"GET {RESOURCE}",
        "says": PROSE,
        "evidence": {"mark": "documented", "sources": ["S1", "S2"]},
    },
    "token._COLUMNS": {
        "name": LONG,
        "role": "operate",
        "made": TIME,
        "by": f"api 10.0.0.9 token:{LONG}",
        "expires": TIME,
        "expired": True,
        "lastUsed": TIME,
        "select": "tag=team:web",
    },
    "vm.COLUMNS": {
        "name": LONG,
        "origin": "file",
        "revision": 1234567,
        "quarantined": "a reason",
        "compute": {
            "vmSize": "Standard_NC96ads_A100_v4",
            "location": "australiasoutheast",
            "zone": "1",
        },
    },
}
"""An item with long values for each tuple of columns, by module and name."""
SHORT: dict[str, Any] = {
    "audit._COLUMNS": SAMPLES["audit._COLUMNS"]
    | {"name": "web-1", "who": "api 10.0.0.9 token:ci", "after": {"compute": {"vmSize": 2}}},
    "changes._COLUMNS": {"at": TIME, "name": "web-1", "kind": "put", "who": "api 10.0.0.9"},
    "event_log._COLUMNS": SAMPLES["event_log._COLUMNS"] | {"who": "api 10.0.0.9"},
    "scenario._COLUMNS": {
        "name": "soak",
        "begun": TIME,
        "events": [{"vms": ["web-1"], "next": TIME}],
    },
    "event._COLUMNS": SAMPLES["event._COLUMNS"] | {"vms": ["web-1"]},
    "identity.COLUMNS": SAMPLES["identity.COLUMNS"]
    | {"vm": "web-1", "source": "local", "resourceId": "/userAssignedIdentities/app"},
    "vm.COLUMNS": {
        "name": "web-1",
        "origin": "file",
        "revision": 1234567,
        "compute": {"vmSize": "Standard_D16as_v5", "location": "westeurope", "zone": "1"},
    },
    "fault._COLUMNS": SAMPLES["fault._COLUMNS"]
    | {"id": "f1", "vms": ["a"], "effect": "status", "body": "x y"},
    "requests._COLUMNS": REQUEST | {"vm": "web-1", "fault": ""},
    "token._COLUMNS": SAMPLES["token._COLUMNS"]
    | {"name": "ci", "by": "api 10.0.0.9 token:local", "expires": None, "expired": False},
}
"""Items as they usually are."""
FROM = {"event._COLUMNS": 100}
"""The width from which these are a table, where it is not 80."""


def tables() -> dict[str, tuple[Column, ...]]:
    """Return every tuple of columns in the modules of commands."""
    found = {}
    for module in iter_modules(openimds.cli.__path__):
        for name, value in vars(import_module(f"openimds.cli.{module.name}")).items():
            if isinstance(value, tuple) and value and isinstance(value[0], Column):
                found[f"{module.name}.{name}"] = value
    return found


TABLES = tables()


def test_every_table_has_a_sample() -> None:
    own = {name for name in TABLES if name in SAMPLES}
    borrowed = {name for name in TABLES if any(TABLES[name] is TABLES[one] for one in own)}
    assert borrowed == TABLES.keys(), "add an item with long ids to SAMPLES"
    assert own == SAMPLES.keys()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("form", ["table", "wide"])
@pytest.mark.parametrize("name", SAMPLES)
def test_no_id_is_cut_or_broken(name: str, form: str, width: int) -> None:
    columns = shown_in(form, TABLES[name])
    row = [column.cell(SAMPLES[name]) for column in columns]
    lines = [*draw(columns, [row, row], width)]
    for column, cell in zip(columns, row, strict=True):
        if column.wrap != "letters":
            for word in text_of(cell).split():
                assert sum(word in line for line in lines) >= 2, f"{column.head}: {word}"
    is_table = all(column.head in lines[0] for column in columns)
    if is_table:
        assert max(map(len, lines)) <= width
    else:
        # Records: each value stands behind the name of its column.
        heads = [line.split("  ")[0] for line in lines if line and line[0] != " "]
        assert heads == [column.head for column in columns] * 2
    joined = "".join("".join(lines).split())
    for column, cell in zip(columns, row, strict=True):
        if column.wrap == "letters" and not is_table:
            assert "".join(text_of(cell).split()) in joined


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("name", SHORT)
def test_usual_items_are_a_table(name: str, width: int) -> None:
    columns = shown_in("table", TABLES[name])
    lines = [*draw(columns, [[column.cell(SHORT[name]) for column in columns]], width)]
    is_table = all(column.head in lines[0] for column in columns)
    assert is_table == (width >= FROM.get(name, 80)), "\n".join(lines)
