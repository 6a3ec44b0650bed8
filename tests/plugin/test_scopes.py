"""The fixtures of module and session scope."""

import pytest

from openimds.linux.private_netns import why_unavailable
from tests.plugin.project import Project

SHARED = """
import pytest
import urllib.request

pytestmark = pytest.mark.imds(fleet={"vms": {"web-1": {}}})

def name(imds):
    target = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    asked = urllib.request.Request(imds.url + target, headers={"Metadata": "true"})
    return urllib.request.urlopen(asked).read().decode()

def test_change_of_a_module(imds_module):
    assert name(imds_module) == "web-1"
    imds_module.vm.patch({"compute": {"name": "changed"}})

def test_change_is_seen_by_the_next_test(imds_module, imds, imds_session):
    assert [name(one) for one in (imds_module, imds, imds_session)] == ["changed", "web-1", "vm-1"]
    assert len({one.url for one in (imds_module, imds, imds_session)}) == 3
    imds_session.vm.patch({"compute": {"name": "changed"}})

def test_reset_begins_anew_at_the_same_url(imds_module):
    before, admin = imds_module.url, imds_module.admin_url
    imds_module.reset()
    assert name(imds_module) == "web-1"
    assert imds_module.url == before
    assert len(imds_module.requests) == 1
"""
LATER = """
from test_1_shared import name

def test_module_has_another_server_and_the_session_the_same(imds_module, imds_session, seen):
    assert name(imds_module) == "vm-1"
    assert name(imds_session) == "changed"

def test_url_of_a_module_is_that_of_all(imds_module, imds_session, seen):
    assert len(seen) == 1
"""
CONFTEST = """
import pytest

URLS = set()

@pytest.fixture
def seen(imds_module):
    URLS.add(imds_module.url)
    return URLS
"""
FAILS = """
import urllib.request
import pytest

def ask(imds):
    asked = urllib.request.Request(imds.url + "/metadata/versions", headers={"Metadata": "true"})
    return urllib.request.urlopen(asked).status

def test_1(imds_session):
    assert ask(imds_session) == 200

def test_2(imds_session):
    assert ask(imds_session) == 404
"""
APPLIED = """
import os
import pytest

@pytest.fixture(scope="session", autouse=True)
def variables(imds_session):
    with imds_session.env.applied():
        yield

def test_variables_are_set(imds_session):
    assert os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] == imds_session.url
"""
TWO_AT_ONE_ADDRESS = """
import pytest

@pytest.mark.real_address
def test_one(imds_module):
    assert imds_module.url == "http://169.254.169.254"

@pytest.mark.real_address
def test_two(imds_module, imds): pass
"""


def test_server_of_a_module_or_session_is_shared(project: Project) -> None:
    project.write("conftest.py", CONFTEST)
    project.write("test_1_shared.py", SHARED)
    project.write("test_2_later.py", LATER)
    ran = project.run("-p", "no:randomly", "--import-mode=prepend")
    ran.assert_outcomes(passed=5)


def test_failure_shows_the_requests_of_its_own_test(project: Project) -> None:
    project.write("test_it.py", FAILS)
    ran = project.run("-p", "no:randomly")
    ran.assert_outcomes(passed=1, failed=1)
    requests = [line for line in ran.outlines if "GET /metadata/versions" in line]
    assert [line.split()[0] for line in requests] == ["#2"]


def test_variables_of_a_session_are_set_by_a_fixture(project: Project) -> None:
    project.write("test_it.py", APPLIED)
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "value, fixture", [("true", "imds"), ("1", "imds"), ("imds_session", "imds_session")]
)
def test_ini_option_names_the_server_of_the_variables(
    project: Project, value: str, fixture: str
) -> None:
    project.configure(f"imds_env = {value}")
    project.write("test_it.py", APPLIED_AT_IMPORT.replace("FIXTURE", fixture))
    project.run().assert_outcomes(passed=1)


APPLIED_AT_IMPORT = """
import os
HOST = os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
def test_it(FIXTURE):
    assert HOST == FIXTURE.url
"""


@pytest.mark.parametrize("value", ["", "false", "off"])
def test_ini_option_switched_off_sets_nothing(project: Project, value: str) -> None:
    project.configure(f"imds_env = {value}")
    project.write(
        "test_it.py",
        "import os\ndef test_it(): assert 'AZURE_POD_IDENTITY_AUTHORITY_HOST' not in os.environ\n",
    )
    project.run().assert_outcomes(passed=1)


def test_ini_option_with_another_word_is_refused(project: Project) -> None:
    project.configure("imds_env = imds_package")
    ran = project.run()
    both = [*ran.outlines, *ran.errlines]
    pytest.LineMatcher(both).fnmatch_lines(
        ['*imds_env: saw "imds_package", expected one of true, false, imds, imds_module,*']
    )


@pytest.mark.system
@pytest.mark.netns
def test_real_address_belongs_to_one_fixture(project: Project) -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    project.write("test_it.py", TWO_AT_ONE_ADDRESS)
    ran = project.run()
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines(
        ["*169.254.169.254 is that of the fixture imds_module*leave out imds*"]
    )
