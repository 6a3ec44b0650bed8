"""Tests at 169.254.169.254, each in a private network that ends with it."""

import sys
from pathlib import Path
from subprocess import DEVNULL

import pytest

from openimds.linux.private_netns import why_unavailable
from tests.plugin.project import Project
from tests.support.waiting import until
from tests.system import machine

NEVER_RUN = """
import pytest

@pytest.mark.real_address
def test_one(imds): raise AssertionError("it must not run")

test_two = test_one
"""
LONG = """
import os, time
import pytest

@pytest.mark.real_address
def test_that_takes_long():
    with open("pid", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)
"""
MANY = """
import pytest

@pytest.mark.real_address
@pytest.mark.parametrize("number", range(2))
def test_at_the_real_address(imds, number, worker_id):
    assert imds.url == "http://169.254.169.254"
    assert worker_id.startswith("gw")
"""

PROXIED = """
import urllib.request
import pytest

@pytest.mark.real_address
def test_at_the_real_address(imds):
    asked = urllib.request.Request(f"{imds.url}/metadata/versions", headers={"Metadata": "true"})
    assert urllib.request.urlopen(asked, timeout=5).status == 200
"""

ORDINARY = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
"""The prefix of a command that runs without capabilities."""
WITH_AZURES_HOSTS = """
import ssl
import urllib.request
import pytest

@pytest.mark.real_address
def test_of_a_host(imds):
    context = ssl.create_default_context(cafile=imds.trust_file)
    url = "https://www.microsoft.com/pki/bundle.pem"
    with urllib.request.urlopen(url, context=context, timeout=10) as response:
        assert response.status == 200
"""


FLAKY = """
from pathlib import Path
import pytest

pytestmark = pytest.mark.real_address

@pytest.mark.flaky(reruns=1)
def test_of_a_mark(imds):
    first = not Path("marked").exists()
    Path("marked").touch()
    assert not first

@pytest.mark.flaky(reruns=2)
def test_of_another(imds):
    first = not Path("other").exists()
    Path("other").touch()
    assert not first
"""


def has_ended(stat: Path) -> bool:
    """Tell whether a process has ended, reaped by its new parent or not."""
    try:
        return ") Z " in stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


pytestmark = [pytest.mark.netns, pytest.mark.system]


@pytest.fixture(autouse=True)
def _can_be_private() -> None:
    if reason := why_unavailable():
        pytest.skip(reason)


def test_tests_of_every_kind_run_in_children(project: Project) -> None:
    project.run("-p", "no:randomly", *project.take("real.py")).assert_outcomes(passed=7)


def test_every_outcome_in_the_child_is_reported(project: Project) -> None:
    ran = project.run("-p", "no:randomly", *project.take("outcomes.py"))
    ran.assert_outcomes(passed=1, failed=1, errors=2, skipped=1, xfailed=1, warnings=2)
    lines = ran.stdout
    lines.fnmatch_lines(["*LookupError: no such thing"])
    lines.fnmatch_lines(
        ["the run in the private network ended with -6: Fatal Python error: Aborted"]
    )
    lines.fnmatch_lines(
        [
            ">       assert status == 200, *the reason*",
            "*Captured imds call*",
            "  #1 +0.000 s vm-1: GET /metadata/instance 400 version_missing",
            "*Captured stdout call*",
            "printed by the test",
        ]
    )
    lines.fnmatch_lines(["*UserWarning: warned in the child"])
    lines.fnmatch_lines(["*for a reason of its own*"])


@pytest.mark.parametrize(
    "option, outcome", [((), {"skipped": 2}), (("-o", "imds_real_address=require"), {"errors": 2})]
)
def test_forbidden_network_is_skipped_or_fails_if_required(
    project: Project, option: tuple[str, ...], outcome: dict[str, int]
) -> None:
    if reason := machine.why_unavailable(prefix=machine.PRIVATE):
        pytest.skip(reason)
    project.write("test_two.py", NEVER_RUN)
    limit = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'
    room = ("unshare", "-Ur", "sh", "-c", limit, "sh")
    ran = project.pytester.run(*room, sys.executable, "-m", "pytest", "-rA", *option)
    ran.assert_outcomes(**outcome)
    reason = "network namespaces are unavailable: unshare: no space left on device"
    ran.stdout.fnmatch_lines([f"*{reason}; *"])


def test_malformed_ini_option_is_refused(project: Project) -> None:
    project.write("test_two.py", NEVER_RUN)
    ran = project.run("-o", "imds_real_address=always")
    both = [*ran.outlines, *ran.errlines]
    pytest.LineMatcher(both).fnmatch_lines(
        ['*imds_real_address: saw "always", expected skip or require']
    )


def test_child_ends_with_a_killed_run(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    project.write("test_long.py", LONG)
    run = project.pytester.popen([sys.executable, "-m", "pytest"], stdout=DEVNULL, stderr=DEVNULL)
    pid_file = project.pytester.path / "pid"
    until(lambda: pid_file.exists() and pid_file.read_text() != "")
    stat = Path("/proc", pid_file.read_text(), "stat")
    assert not has_ended(stat)
    run.kill()
    run.wait()
    until(lambda: has_ended(stat))
    # Remaining files lie in the folder that pytest clears some runs later.
    assert not [*tmp_path.iterdir()]


def test_proxy_of_the_machine_is_not_used(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    project.write("test_proxied.py", PROXIED)
    project.run().assert_outcomes(passed=1)


def test_xdist_workers_run_tests_in_children(project: Project) -> None:
    project.write("test_many.py", MANY)
    project.run("-n", "2").assert_outcomes(passed=2)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_failed_test_runs_again_in_another_child(project: Project, workers: str) -> None:
    project.pytester.makeini("[pytest]\nreruns_delay = 0\n")
    project.write("test_flaky.py", FLAKY)
    ran = project.run("-n", workers, "--strict-markers", "--strict-config")
    assert ran.parseoutcomes() == {"passed": 2, "rerun": 2}


def test_azures_hosts_answer_in_children_alone(project: Project) -> None:
    project.run("-p", "no:randomly", *project.take("azure_pki.py")).assert_outcomes(passed=6)


def test_children_of_an_ordinary_users_test_read_the_roots(project: Project) -> None:
    if reason := machine.why_unavailable(prefix=ORDINARY):
        pytest.skip(reason)
    names = project.take("azure_pki.py")
    ran = project.pytester.run(*ORDINARY, sys.executable, "-m", "pytest", "-rA", *names)
    ran.assert_outcomes(passed=6)


def test_azures_hosts_by_an_ini_option_answer(project: Project) -> None:
    project.configure("imds_pki_names = azure")
    project.write("test_one.py", WITH_AZURES_HOSTS)
    project.run().assert_outcomes(passed=1)


def test_azures_hosts_are_not_behind_the_machines_proxy(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    project.configure("imds_pki_names = azure")
    project.write("test_one.py", WITH_AZURES_HOSTS)
    project.run().assert_outcomes(passed=1)
