"""Paths that only a few clients request: reprovisiondata, the draft of MSI v2, absent ones."""

import pytest

from openimds.facts.endpoints import ABSENT_PATHS
from openimds.facts.versions import catalog
from openimds.protocol.handle import Subject, handle
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm

XML = '<?xml version="1.0" encoding="utf-8"?>\n<Environment>ä</Environment>\n'
DATA = "/metadata/reprovisiondata?api-version=2019-06-01"
CREDENTIAL = "/metadata/identity/credential?cred-api-version=1.0"


def ask(
    target: str, vm: Vm | None = None, method: str = "GET", *, has_header: bool = True
) -> Response | Refusal:
    query = parse_query(method, target.encode(), has_metadata_header=has_header, body=b".")
    outcome = handle(query, Subject(vm or parse_vm("one", {}), catalog()), 0)
    assert isinstance(outcome, Response | Refusal)
    return outcome


def test_vm_in_a_pool_gets_404() -> None:
    waiting = ask(DATA)
    assert (waiting.status, waiting.body) == (404, b'{ "error": "Not found" }')


def test_vm_that_leaves_its_pool_gets_the_xml_to_the_byte() -> None:
    given = ask(DATA, parse_vm("one", {"reprovisionData": XML}))
    assert (given.status, given.body) == (200, XML.encode())
    assert given.media == "text/xml; charset=utf-8"


def test_reprovisiondata_without_a_version_is_a_400() -> None:
    refused = ask("/metadata/reprovisiondata")
    assert isinstance(refused, Refusal)
    assert refused.row.key == "version_missing"


def test_probe_for_the_draft_of_msi_v2_gets_the_recorded_400() -> None:
    probed = ask(CREDENTIAL, method="POST", has_header=False)
    assert (probed.status, probed.body) == (
        400,
        b'{"error":"invalid_request","error_description":"Required metadata header not specified"}',
    )
    assert probed.media == "application/json; charset=utf-8"


def test_draft_of_msi_v2_itself_is_a_404() -> None:
    refused = ask(CREDENTIAL, method="POST")
    assert (refused.status, refused.body) == (404, b'{"error":"Not Found"}')


@pytest.mark.parametrize(
    "path",
    [
        *(row.path for row in ABSENT_PATHS),
        "/metadata/THIM/sgx/certification/v3/pckcert",
        "/metadata/THIM/sgx/certification/v4/pckcert",
        "/metadata/THIM/endorsement/manticore/names",
    ],
)
def test_path_that_is_not_offered_is_a_404(path: str) -> None:
    assert ask(f"{path}?api-version=2021-07-22-preview").status == 404
    assert ask(path, has_header=False).status == 400
