import pytest

from openimds.facts.document import FIELDS
from openimds.facts.versions import GENERAL
from openimds.protocol.document import is_alive, project, shape
from openimds.vm.defaults import complete
from openimds.vm.types import Vm

VERSIONS = [row.name for row in GENERAL]
DOCUMENT = complete(Vm("web-1"))


@pytest.mark.parametrize("version", VERSIONS)
def test_members_stand_in_order_at_every_level(version: str) -> None:
    def check(node: object) -> None:
        if isinstance(node, dict):
            assert list(node) == sorted(node)
            for member in node.values():
                check(member)
        elif isinstance(node, list):
            for element in node:
                check(element)

    check(project(DOCUMENT, shape(version)))


def test_a_classic_vm_has_its_network_only() -> None:
    assert list(project(DOCUMENT, shape("2021-02-01", is_classic=True))) == ["network"]


def test_extended_is_there_when_asked_for_and_known() -> None:
    plain = project(DOCUMENT, shape("2021-08-01"))
    more = project(DOCUMENT, shape("2021-08-01", is_extended=True))
    older = project(DOCUMENT, shape("2021-05-01", is_extended=True))
    assert list(plain) == ["compute", "network"]
    assert more == {
        **plain,
        "extended": {"compute": {"hasCustomData": False, "ppsType": "None"}},
    }
    assert list(older) == ["compute", "network"]


def test_a_field_lives_from_its_first_version_to_before_its_end() -> None:
    (row,) = [row for row in FIELDS if row.until]
    assert is_alive(row, "2017-03-01")
    assert not is_alive(row, row.until)


def test_cutting_takes_nothing_from_the_document() -> None:
    before = repr(DOCUMENT)
    project(DOCUMENT, shape("2017-03-01"))["network"]["interface"].clear()  # type: ignore[index]
    assert repr(DOCUMENT) == before
