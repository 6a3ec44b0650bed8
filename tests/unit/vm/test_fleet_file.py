"""A fleet file in three formats, and the VMs that it makes."""

import pytest

from openimds.vm.decode import decode
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.names import has_old_parts
from openimds.vm.types import Fleet, Identities, Reach, Vm

IDENTITY = (
    "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/lab/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/app"
)
SUBSCRIPTION = "8d10da13-8125-4ba9-a717-bf7490507b3d"
RULE = {
    "frontendIpAddress": "20.1.2.3",
    "protocol": "tcp",
    "frontendPort": 80,
    "backendPort": 8080,
    "privateIpAddress": "10.0.0.4",
}

AS_YAML = f"""\
cloud: AzurePublicCloud
defaults: {{compute: {{location: westeurope, subscriptionId: {SUBSCRIPTION},
                     resourceGroupName: lab}}}}
vms:
  web-1:
    compute: {{vmSize: Standard_D2s_v5, location: westeurope, zone: "1",
              tags: {{env: prod, team: web}}}}
    network: {{interface: [{{ipv4: {{ipAddress:
      [{{privateIpAddress: 10.0.0.4, publicIpAddress: 20.1.2.3}}]}}}}]}}
    identities: {{system: true, user: [{IDENTITY}]}}
    availabilitySet: as-1
    loadBalancer: {{inboundRules: [{{frontendIpAddress: 20.1.2.3, protocol: tcp, frontendPort: 80,
                                   backendPort: 8080, privateIpAddress: 10.0.0.4}}]}}
    attested: {{sku: server, plan: {{name: basic}}}}
    classic: false
    reach: {{address: [10.0.0.4], listen: ["127.0.0.1:9001", "netns:web-1"]}}
"""
AS_TOML = f"""\
cloud = "AzurePublicCloud"
[defaults.compute]
location = "westeurope"
subscriptionId = "{SUBSCRIPTION}"
resourceGroupName = "lab"
[vms.web-1]
availabilitySet = "as-1"
classic = false
[vms.web-1.compute]
vmSize = "Standard_D2s_v5"
location = "westeurope"
zone = "1"
tags = {{ env = "prod", team = "web" }}
[[vms.web-1.network.interface]]
ipv4 = {{ ipAddress = [{{ privateIpAddress = "10.0.0.4", publicIpAddress = "20.1.2.3" }}] }}
[vms.web-1.identities]
system = true
user = ["{IDENTITY}"]
[[vms.web-1.loadBalancer.inboundRules]]
frontendIpAddress = "20.1.2.3"
protocol = "tcp"
frontendPort = 80
backendPort = 8080
privateIpAddress = "10.0.0.4"
[vms.web-1.attested]
sku = "server"
plan = {{ name = "basic" }}
[vms.web-1.reach]
address = ["10.0.0.4"]
listen = ["127.0.0.1:9001", "netns:web-1"]
"""
AS_JSON = f"""\
{{"cloud": "AzurePublicCloud",
 "defaults": {{"compute": {{"location": "westeurope", "subscriptionId": "{SUBSCRIPTION}",
                          "resourceGroupName": "lab"}}}},
 "vms": {{"web-1": {{
   "compute": {{"vmSize": "Standard_D2s_v5", "location": "westeurope", "zone": "1",
               "tags": {{"env": "prod", "team": "web"}}}},
   "network": {{"interface": [{{"ipv4": {{"ipAddress": [
     {{"privateIpAddress": "10.0.0.4", "publicIpAddress": "20.1.2.3"}}]}}}}]}},
   "identities": {{"system": true, "user": ["{IDENTITY}"]}},
   "availabilitySet": "as-1",
   "loadBalancer": {{"inboundRules": [{{"frontendIpAddress": "20.1.2.3", "protocol": "tcp",
     "frontendPort": 80, "backendPort": 8080, "privateIpAddress": "10.0.0.4"}}]}},
   "attested": {{"sku": "server", "plan": {{"name": "basic"}}}},
   "classic": false,
   "reach": {{"address": ["10.0.0.4"], "listen": ["127.0.0.1:9001", "netns:web-1"]}}}}}}}}
"""
WEB_1 = Vm(
    name="web-1",
    cloud="AzurePublicCloud",
    document={
        "compute": {
            "location": "westeurope",
            "subscriptionId": SUBSCRIPTION,
            "resourceGroupName": "lab",
            "vmSize": "Standard_D2s_v5",
            "zone": "1",
            "tags": "env:prod;team:web",
            "tagsList": [{"name": "env", "value": "prod"}, {"name": "team", "value": "web"}],
        },
        "network": {
            "interface": [
                {
                    "ipv4": {
                        "ipAddress": [
                            {"privateIpAddress": "10.0.0.4", "publicIpAddress": "20.1.2.3"}
                        ]
                    }
                }
            ]
        },
    },
    identities=Identities(system=True, user=(IDENTITY,)),
    availability_set="as-1",
    load_balancer={"inboundRules": [RULE]},
    attested={"sku": "server", "plan": {"name": "basic"}},
    classic=False,
    reach=Reach(address=("10.0.0.4",), listen=("127.0.0.1:9001", "netns:web-1")),
)


@pytest.mark.parametrize(
    "text,name",
    [
        (AS_YAML, "fleet.yaml"),
        (AS_YAML, "fleet.yml"),
        (AS_YAML, "fleet"),
        (AS_TOML, "fleet.toml"),
        (AS_JSON, "fleet.json"),
        (AS_JSON, "fleet"),
    ],
    ids=["yaml", "yml", "yaml by guess", "toml", "json", "json by guess"],
)
def test_the_same_fleet_is_written_in_three_formats(text: str, name: str) -> None:
    assert parse_fleet(decode(text.encode(), name)) == Fleet({"web-1": WEB_1})


@pytest.mark.parametrize("value", [None, {}])
def test_a_vm_needs_nothing_but_its_name(value: object) -> None:
    assert parse_fleet({"vms": {"web-1": value}}) == Fleet({"web-1": Vm("web-1")})


@pytest.mark.parametrize(
    "name",
    ["compute", "network", "extended", "identities", "loadBalancer", "attested", "reach"],
)
def test_a_null_part_has_its_defaults(name: str) -> None:
    parsed = parse_vm("web-1", {name: None})
    assert parsed.identities == Identities()
    assert parsed.reach == Reach()
    assert not parsed.load_balancer
    assert not parsed.attested
    assert not any(parsed.document.values())


def test_vms_stay_in_the_order_of_the_file() -> None:
    assert list(parse_fleet({"vms": {"b": {}, "a": {}, "c": {}}}).vms) == ["b", "a", "c"]


def test_compute_may_have_another_name_than_the_key() -> None:
    parsed = parse_fleet({"vms": {"web-1": {"compute": {"name": "front"}}}}).vms["web-1"]
    assert parsed.name == "web-1"
    assert parsed.document == {"compute": {"name": "front"}}


@pytest.mark.parametrize("name", ["a", "web_1", "_web", "10", "web-1.lab", "x" * 128])
def test_new_name_is_a_word_of_128_characters(name: str) -> None:
    assert parse_vm(name, {}).name == name


@pytest.mark.parametrize("name", [" ", "..", "a ", "web 1", "wéb", "%2e", "x" * 256])
def test_stored_name_may_be_any_printable_string(name: str) -> None:
    assert parse_vm(name, {}, is_stored=True).name == name
    assert has_old_parts(name, ())


@pytest.mark.parametrize(
    "cloud",
    ["AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud", "AzureGermanCloud"],
)
def test_a_fleet_is_in_one_cloud(cloud: str) -> None:
    fleet = parse_fleet({"cloud": cloud, "vms": {"a": {}, "b": {}}})
    assert [one.cloud for one in fleet.vms.values()] == [cloud, cloud]


def test_a_vm_may_be_in_another_cloud_than_its_fleet() -> None:
    fleet = parse_fleet(
        {
            "cloud": "AzureChinaCloud",
            "defaults": {"cloud": "AzureGermanCloud"},
            "vms": {"a": {}, "b": {"cloud": "AzureUSGovernmentCloud"}},
        }
    )
    clouds = {name: one.cloud for name, one in fleet.vms.items()}
    assert clouds == {"a": "AzureGermanCloud", "b": "AzureUSGovernmentCloud"}


def test_a_fleet_without_a_cloud_is_in_the_public_one() -> None:
    assert parse_fleet({"vms": {"a": {}}}).vms["a"].cloud == "AzurePublicCloud"


def test_the_load_balancer_may_be_a_captured_body() -> None:
    bare: dict[str, object] = {"publicIpAddresses": [], "inboundRules": [RULE], "outboundRules": []}
    assert parse_vm("a", {"loadBalancer": {"loadbalancer": bare}}).load_balancer == bare
    assert parse_vm("a", {"loadBalancer": bare}).load_balancer == bare


def test_every_part_of_the_load_balancer_has_its_members() -> None:
    ends = {"frontendIpAddress": "20.1.2.3", "privateIpAddress": "10.0.0.4"}
    balancer: dict[str, object] = {
        "publicIpAddresses": [ends],
        "inboundRules": [RULE, {}],
        "outboundRules": [ends],
    }
    assert parse_vm("a", {"loadBalancer": balancer}).load_balancer == balancer


def test_the_signed_document_can_be_overridden() -> None:
    attested: dict[str, object] = {
        "licenseType": "Windows_Server",
        "plan": {"name": "a", "product": "b", "publisher": "c"},
        "sku": "server",
        "subscriptionId": SUBSCRIPTION,
        "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
    }
    assert parse_vm("a", {"attested": attested}).attested == attested


@pytest.mark.parametrize(
    "value,expected",
    [
        ({}, Reach(address=None, listen=())),
        ({"address": []}, Reach(address=(), listen=())),
        ({"address": ["10.0.0.4", "fd00::4"]}, Reach(address=("10.0.0.4", "fd00::4"))),
        ({"listen": ["unix:/run/web-1.sock"]}, Reach(listen=("unix:/run/web-1.sock",))),
        ({"interface": "tap-web-1"}, Reach(interface="tap-web-1")),
        ({"interface": "t", "mac": "000D3A123456"}, Reach(interface="t", mac="000D3A123456")),
    ],
)
def test_an_empty_address_list_differs_from_none(value: object, expected: Reach) -> None:
    assert parse_vm("a", {"reach": value}).reach == expected


@pytest.mark.parametrize(
    "value,expected",
    [
        ({"system": True}, Identities(system=True)),
        ({"system": False, "user": []}, Identities()),
        ({"user": [IDENTITY, "/S"]}, Identities(user=(IDENTITY, "/S"))),
    ],
)
def test_identities_are_parsed(value: object, expected: Identities) -> None:
    assert parse_vm("a", {"identities": value}, is_stored=True).identities == expected


def test_parsing_does_not_change_the_value() -> None:
    value = {"compute": {"tags": {"a": "b"}}, "loadBalancer": {"loadbalancer": {}}}
    parse_vm("a", value)
    assert value == {"compute": {"tags": {"a": "b"}}, "loadBalancer": {"loadbalancer": {}}}


def test_vms_share_by_a_merge_key_and_a_date_is_text() -> None:
    text = b"""
    vms:
      a: &a {compute: {version: 2025-01-01, tags: {until: 2026-12-31}}}
      b: {<<: *a, classic: true}
    """
    vms = parse_fleet(decode(text, "fleet.yaml")).vms
    listed = [{"name": "until", "value": "2026-12-31"}]
    compute = {"version": "2025-01-01", "tags": "until:2026-12-31", "tagsList": listed}
    assert vms["a"] == Vm("a", document={"compute": compute})
    assert vms["b"] == Vm("b", document={"compute": compute}, classic=True)
