"""The load balancer's document and its refusals."""

import json
from typing import Any

import pytest

from openimds.facts.versions import catalog
from openimds.protocol.handle import Subject, handle
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.vm.fleet_file import parse_vm

TARGET = "/metadata/loadbalancer?api-version=2020-10-01"
NIC = {"interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.1.0.4"}]}}]}
DOCUMENTED = (
    '{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"51.0.0.1","privateIpAddress":'
    '"10.1.0.4"}],"inboundRules":[{"frontendIpAddress":"50.0.0.1","protocol":"tcp","frontendPort":'
    '80,"backendPort":443,"privateIpAddress":"10.1.0.4"}],"outboundRules":[{"frontendIpAddress":'
    '"50.0.0.1","privateIpAddress":"10.1.0.4"}]}}'
)
"""The sample of the document (S7), compact."""


def ask(balancer: Any, more: str = "", **keys: Any) -> Response | Refusal:
    one = parse_vm("web-1", {"loadBalancer": balancer, **keys} if balancer is not None else keys)
    asked = parse_query("GET", (TARGET + more).encode(), has_metadata_header=True)
    got = handle(asked, Subject(one, catalog()), 0)
    assert isinstance(got, Response | Refusal)
    return got


def test_the_documented_sample_comes_out_to_the_byte() -> None:
    body = json.loads(DOCUMENTED)
    assert ask(body).body.decode() == DOCUMENTED
    assert ask(body["loadbalancer"]).body.decode() == DOCUMENTED


def test_the_private_address_is_by_default_the_vms_own() -> None:
    balancer = {"outboundRules": [{"frontendIpAddress": "50.0.0.1"}]}
    (row,) = json.loads(ask(balancer, network=NIC).body)["loadbalancer"]["outboundRules"]
    assert row == {"frontendIpAddress": "50.0.0.1", "privateIpAddress": "10.1.0.4"}
    (row,) = json.loads(ask(balancer).body)["loadbalancer"]["outboundRules"]
    assert row["privateIpAddress"].startswith("10.")


def test_ipv6_addresses_stand_in_brackets_once() -> None:
    balancer = {
        "publicIpAddresses": [{"frontendIpAddress": "fd00::1", "privateIpAddress": "[fd00::2]"}]
    }
    (row,) = json.loads(ask(balancer).body)["loadbalancer"]["publicIpAddresses"]
    assert row == {"frontendIpAddress": "[fd00::1]", "privateIpAddress": "[fd00::2]"}


def test_an_empty_load_balancer_has_empty_lists() -> None:
    assert json.loads(ask({}).body) == {
        "loadbalancer": {"publicIpAddresses": [], "inboundRules": [], "outboundRules": []}
    }


def test_a_vm_without_load_balancer_has_the_recorded_404() -> None:
    got = ask(None)
    assert got.status == 404
    assert got.body.decode() == (
        '{"error":"No load balancer metadata is found. Please check if your VM is using any '
        'non-basic SKU load balancer and retry later."}'
    )


@pytest.mark.parametrize(
    "more, status", [("&format=json", 200), ("&FORMAT=json", 200), ("&x=1", 400)]
)
def test_an_unknown_parameter_is_unexpected(more: str, status: int) -> None:
    got = ask({}, more)
    assert got.status == status
    if isinstance(got, Refusal):
        assert got.row.key == "unexpected_request"
