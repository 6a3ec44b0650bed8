"""Tests that run at 169.254.169.254, each in a network of its own that ends with it."""

import pytest

from openimds.linux.namespace import why_not
from tests.plugin.project import Project

MANY = """
import pytest

@pytest.mark.real_address
@pytest.mark.parametrize("number", range(2))
def test_at_the_real_address(imds, number, worker_id):
    assert imds.url == "http://169.254.169.254"
    assert worker_id.startswith("gw")
"""
pytestmark = [pytest.mark.netns, pytest.mark.system]


@pytest.fixture(autouse=True)
def _can_be_private() -> None:
    if reason := why_not():
        pytest.skip(reason)


def test_whatever_happens_there_is_reported_here(project: Project) -> None:
    ran = project.run("-p", "no:randomly", *project.take("real.py"))
    ran.assert_outcomes(passed=7, failed=1, errors=2, skipped=1, xfailed=1, warnings=1)
    lines = ran.stdout
    lines.fnmatch_lines(["*LookupError: no such thing"])
    lines.fnmatch_lines(
        ["the run in the private network ended with -6: Fatal Python error: Aborted"]
    )
    lines.fnmatch_lines(
        [
            ">       assert got.status_code == 200, *the reason*",
            "*Captured imds call*",
            "  #1 +0.000 s vm-1: GET /metadata/instance 400 version_missing",
            "*Captured stdout call*",
            "said on the way",
        ]
    )
    lines.fnmatch_lines(["*UserWarning: heard outside"])
    lines.fnmatch_lines(["*for a reason of its own*"])


def test_workers_of_xdist_send_their_tests_too(project: Project) -> None:
    project.write("test_many.py", MANY)
    project.run("-n", "2").assert_outcomes(passed=2)
