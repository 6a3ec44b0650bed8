"""The settings of a test, and the messages for mistakes in them."""

import pytest

from tests.plugin.project import Project

MISTAKES = """
import pytest

@pytest.mark.imds(rate_limits=True)
def test_unknown(imds): pass

@pytest.mark.imds(listen="127.0.0.1:80")
def test_decided(imds): pass

@pytest.mark.imds("fleet.yaml")
def test_positional(imds): pass

@pytest.mark.imds(general_per_s="many")
def test_unreadable(imds): pass

@pytest.mark.imds(fleet="fleet.yaml", vm="web-2")
def test_missing_vm(imds): pass

@pytest.mark.imds(fleet={"vms": {"a": {"compute": {"vmsize": "x"}}}})
def test_unfit(imds): pass

@pytest.mark.imds(fleet="nowhere.yaml")
def test_no_file(imds): pass

@pytest.mark.imds(fleet="fleet.yaml", document={"compute": {}, "network": {}})
def test_both(imds): pass

@pytest.mark.imds(attest_key="key.pem")
def test_half(imds): pass

@pytest.mark.imds(pki_names="azure")
def test_azures_hosts(imds): pass
"""
MESSAGES = (
    '@pytest.mark.imds: saw unknown name "rate_limits"*Did you mean "rate_limit"?*',
    "@pytest.mark.imds: saw listen=, expected nothing: the session's tests share one port*",
    "@pytest.mark.imds: saw 'fleet.yaml', expected names with values. Write fleet={...}*",
    '@pytest.mark.imds: general_per_s: saw "many", expected a whole number of at least 1',
    '@pytest.mark.imds: vm: saw "web-2", which is no VM of the fleet*Did you mean "web-1"?*',
    'vms.a.compute: saw unknown key "vmsize"*Did you mean "vmSize"?*',
    "*nowhere.yaml: saw no such file or directory, expected a file that can be read",
    "@pytest.mark.imds: saw both fleet and document*",
    "attest_key: saw no attest_certificates beside it, expected both or neither*",
    '@pytest.mark.imds: pki_names: saw "azure", expected a test marked real_address, where *',
)
LIMITED = """
import httpx2
import pytest

def statuses(imds, many):
    asked = {"params": {"api-version": "2021-02-01"}, "headers": {"Metadata": "true"}}
    with httpx2.Client() as client:
        got = [client.get(imds.url + "/metadata/instance", **asked) for _ in range(many)]
    return [one.status_code for one in got]

def test_no_limits_unless_asked(imds):
    assert statuses(imds, 30) == [200] * 30

@pytest.mark.imds(rate_limit=True)
class TestLimited:
    def test_limits_of_azure(self, imds):
        assert 429 in statuses(imds, 12)

    @pytest.mark.imds(general_per_s=1, general_burst=2)
    def test_limits_of_a_mark(self, imds):
        assert statuses(imds, 3)[:3] == [200, 200, 429]
"""
FROM_INI = """
import pytest

def test_from_ini(imds):
    assert [*imds.vms] == ["web-1", "db-1"]
    assert not imds._server.clock.is_virtual

@pytest.mark.imds(fleet={"vms": {"only": {}}}, virtual_clock=True)
def test_mark_wins_over_the_ini_file(imds):
    assert [*imds.vms] == ["only"]
    assert imds._server.clock.is_virtual

@pytest.mark.imds(state="kept")
def test_path_is_relative_to_the_file_of_the_test(imds, request):
    assert (request.path.parent / "kept" / "fleet.db").exists()
"""
LISTENERS = """
from pathlib import Path
import httpx2
import pytest

seen = []

@pytest.mark.imds(admin="127.0.0.1:0", public="127.0.0.1:0")
def test_every_listener_is_open(imds):
    token = Path(imds.token_file).read_text().strip()
    with httpx2.Client(headers={"Authorization": f"Bearer {token}"}) as client:
        (only,) = client.get(f"{imds.admin_url}/v1/vms").json()["items"]
        assert only["name"] == "vm-1"
        assert client.get(f"{imds.public_url}/pki/bundle.pem").text == imds.trust
    assert not (Path.home() / ".local").exists()
    seen.append(imds.token_file)

def test_nothing_is_left():
    assert seen and not Path(seen[0]).parent.exists()
"""


def test_mistake_is_reported_in_one_sentence(project: Project) -> None:
    project.take()
    project.write("test_mistakes.py", MISTAKES)
    ran = project.run("-p", "no:randomly")
    ran.assert_outcomes(errors=len(MESSAGES))
    ran.stdout.fnmatch_lines([*MESSAGES])
    assert "Traceback" not in ran.stdout.str()
    assert "marks.py" not in ran.stdout.str()


def test_rate_limits_are_off_unless_marked(project: Project) -> None:
    project.write("test_limits.py", LIMITED)
    project.run().assert_outcomes(passed=3)


def test_ini_options_are_defaults_of_all_tests(project: Project) -> None:
    project.take()
    project.configure("imds_fleet = fleet.yaml", "imds_virtual_clock = false")
    project.write("test_ini.py", FROM_INI)
    project.run().assert_outcomes(passed=3)


def test_admin_and_public_listeners_are_opened_by_a_mark(project: Project) -> None:
    project.write("test_listeners.py", LISTENERS)
    project.run("-p", "no:randomly").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "line, message",
    [
        ("imds_general_per_s = many", '*pytest.ini, imds_...: general_per_s: saw "many"*'),
        ("imds_fleets = fleet.yaml", "*Unknown config option: imds_fleets*"),
    ],
)
def test_bad_ini_option_is_reported_with_its_file(
    project: Project, line: str, message: str
) -> None:
    project.configure(line)
    project.write("test_it.py", "def test_it(imds): pass\n")
    ran = project.run()
    assert ran.ret != 0
    both = ran.stdout.str() + ran.stderr.str()
    pytest.LineMatcher(both.splitlines()).fnmatch_lines([message])
