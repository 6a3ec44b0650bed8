"""libvirt's domains: what `virsh dumpxml` prints."""

import pytest

from openimds.interop.importers import ImportedVm, parse_text, read
from openimds.interop.importers.domain_xml import DEEPEST, MOST_ELEMENTS
from tests.unit.interop.importers.documents import document
from tests.unit.vm.refused import Refused, refused

DOMAIN = """<?xml version="1.0"?>
<!-- printed by virsh -->
<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web-1</name>
  <uuid>7B10D7AF-b932-4c66-b2c3-3996152ec465</uuid>
  <memory unit='KiB'>2097152</memory>
  <devices>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:04'/>
      <source bridge='br0'/>
      <target dev='tap-web-1'/>
      <model type='virtio'/>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:00:00:05'/>
      <source network='default'/>
    </interface>
  </devices>
</domain>
"""
EXPECTED = "a <domain>, as virsh dumpxml prints it"


def _only(text: str) -> ImportedVm:
    (one,) = read(parse_text(text))
    return one


def test_domain_becomes_a_vm() -> None:
    one = _only(DOMAIN)
    assert one.name == "web-1"
    assert one.definition["reach"] == {"interface": "tap-web-1", "mac": "52:54:00:00:00:04"}
    seen = document(one)
    assert seen["compute"]["vmId"] == "7b10d7af-b932-4c66-b2c3-3996152ec465"
    macs = [nic["macAddress"] for nic in seen["network"]["interface"]]
    assert macs == ["525400000004", "525400000005"]


def test_elements_without_a_place_are_unmapped() -> None:
    card = "domain[0].devices.interface"
    assert _only(DOMAIN).unmapped == (
        "domain[0].memory",
        f"{card}[0].type",
        f"{card}[0].source",
        f"{card}[0].model",
        f"{card}[1].type",
        f"{card}[1].source",
    )


def test_domain_without_a_tap_has_its_bridge() -> None:
    one = _only(DOMAIN.replace("<target dev='tap-web-1'/>", ""))
    assert one.definition["reach"] == {"interface": "br0", "mac": "52:54:00:00:00:04"}


def test_domain_without_tap_and_bridge_has_no_reach() -> None:
    card = "<interface type='user'/>"
    one = _only(f"<domain><name>a</name><devices>{card}</devices></domain>")
    assert one.definition == {"network": {"interface": [{}]}}


@pytest.mark.parametrize("inner", ["", "<devices/>", "<devices><interface/></devices>"])
def test_domain_may_lack_its_interfaces(inner: str) -> None:
    assert _only(f"<domain><name>a</name>{inner}</domain>").definition == {}


def test_domains_of_one_file_are_all_read() -> None:
    two = "<domains><domain><name>a</name></domain><domain><name>b</name></domain></domains>"
    assert [one.name for one in read(parse_text(two))] == ["a", "b"]
    snapshot = "<domainsnapshot><domain type='kvm'><name>a</name></domain></domainsnapshot>"
    assert _only(snapshot).name == "a"


def test_domains_after_each_other_are_all_read() -> None:
    two = DOMAIN + DOMAIN.replace("web-1", "web-2")
    assert [one.name for one in read(parse_text(two))] == ["web-1", "web-2"]
    assert refused(parse_text, DOMAIN + "<domain>").seen.startswith("XML that is broken at line")
    assert refused(parse_text, DOMAIN + FILE).seen.startswith("XML that is broken at line")


def test_masked_uuid_and_long_tap_could_not_be_read() -> None:
    text = DOMAIN.replace("7B10", "xxxx").replace("tap-web-1", "a-tap-of-sixteen")
    assert _only(text).unread == (
        ("domain[0].uuid", "", "it is not a GUID"),
        (
            "domain[0].devices.interface[0].target.dev",
            "",
            "no name of an interface that a fleet file may have",
        ),
    )


def test_empty_uuid_is_ignored() -> None:
    assert _only("<domain><name>a</name><uuid/></domain>").definition == {}


def test_domain_without_a_name_is_refused() -> None:
    parsed = parse_text("<domain><uuid>x</uuid></domain>")
    assert refused(read, parsed)[:2] == ("domain[0]", "a VM without a name")


@pytest.mark.parametrize("mac", ["", "52:54"])
def test_wrong_hardware_address_is_refused(mac: str) -> None:
    parsed = parse_text(DOMAIN.replace("52:54:00:00:00:04", mac))
    assert refused(read, parsed)[0] == "domain[0].devices.interface[0].mac.address"


ENTITY = """<!DOCTYPE d [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><domain><name>&b;</name></domain>"""
FILE = """<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><domain><name>&a;</name></domain>"""


@pytest.mark.parametrize("text", [ENTITY, FILE, '<!DOCTYPE d SYSTEM "d.dtd"><domain/>'])
def test_document_type_is_refused(text: str) -> None:
    assert refused(parse_text, text) == Refused("top level", "XML with a document type", EXPECTED)


REFUSED = {
    "<domain>": "XML that is broken at line 1, column 9",
    "<": "XML that is broken at line 1, column 1",
    "<html>x</html>": "XML with the root <html>",
    "<domain/>": "XML with the root <domain>",
    "<x><domain/></x>": "XML with the root <x>",
    "<\ud800>": "XML that is broken at line 1, column 2",
}


@pytest.mark.parametrize("text", REFUSED)
def test_other_xml_is_refused_with_its_root(text: str) -> None:
    assert refused(parse_text, text) == Refused("top level", REFUSED[text], EXPECTED)


def test_number_and_depth_of_elements_are_bounded() -> None:
    deep = "<a>" * (DEEPEST + 1)
    assert refused(parse_text, deep).seen.startswith(f"XML of more than {MOST_ELEMENTS} elements")
    many = "<domain>" + "<a/>" * MOST_ELEMENTS
    assert refused(parse_text, many).seen.startswith(f"XML of more than {MOST_ELEMENTS} elements")
