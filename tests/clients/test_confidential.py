"""Verifiers of confidential VMs accept certificates and quotes when they are given our roots."""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest

from openimds.facts.confidential import AMD_PRODUCTS
from tests.clients.kits import KITS
from tests.clients.private_server import REAL, PrivateServer, private_server

pytestmark = [pytest.mark.system, pytest.mark.netns]

AT = "http://169.254.169.254"
NOT_OF_AMD = "VCEK could not be verified by any trusted roots"
UNSIGNED = "report signature verification error"
"""The verifier's words about a report that no processor signed; all before it has passed."""


def of_size(size: str) -> dict[str, Any]:
    return {"compute": {"vmSize": size}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    folder = tmp_path_factory.mktemp("confidential")
    fleet = {"vms": {"web-1": of_size("Standard_DC4as_v5")}}
    with private_server(fleet, "--no-rate-limit", at=REAL, cwd=folder) as server:
        yield server
        assert server.stop() == (0, "")


def root(server: PrivateServer, maker: str, name: str) -> str:
    """Return the root with this common name, as the command prints it."""
    items = server.openimds("attest", "ca", "--of", maker)["items"]
    (pem,) = [one["pem"] for one in items if f"CN={name}" in one["subject"]]
    return str(pem)


@pytest.mark.client("Go go-sev-guest")
@pytest.mark.parametrize(
    "line, size", [("Milan", "Standard_DC4as_v5"), ("Genoa", "Standard_EC4as_v6")]
)
def test_go_sev_guest_trusts_a_processor_by_its_root_alone(
    served: PrivateServer, line: str, size: str
) -> None:
    served.put("web-1", of_size(size))
    url = f"{AT}/metadata/THIM/amd/certification"
    case = {"url": url, "root": root(served, "amd", f"ARK-{line}"), "line": line}
    more = {**case, "url": f"{url}?platformId={'ab' * 64}&tcbVersion=0102000000000304"}
    ran = served.run([str(KITS["Go"].place / "snpcerts")], [case, more])
    assert ran.moved == {"requests endorsement 200": 2}
    first, chosen = ran.results
    product = AMD_PRODUCTS[line.lower()]
    assert (first["tcb"], first["tcbm"]) == (product.tcb, f"{product.tcb:016X}")
    assert (chosen["tcb"], chosen["chip"]) == (0x0102_0000_0000_0304, "ab" * 64)
    for result in ran.results:
        assert UNSIGNED in result["own"]
        assert NOT_OF_AMD in result["amd"]
        assert result["name"] == product.stepping


@pytest.mark.client("Go go-tdx-guest")
def test_go_tdx_guest_trusts_a_quote_by_its_root_alone(served: PrivateServer) -> None:
    served.put("web-1", of_size("Standard_DC4es_v5"))
    cases = [
        {"url": f"{AT}/acc/tdquote", "root": root(served, "intel", "Intel SGX Root CA"), "seed": 7}
    ]
    ran = served.run([str(KITS["Go"].place / "tdxquote")], cases)
    assert ran.moved == {"requests quote 200": 1}
    (result,) = ran.results
    assert (result["version"], result["own"]) == (4, "")
    assert b64decode(result["report_data"]) == b"\x07" * 64
    assert "certificate signed by unknown authority" in result["rootless"]
