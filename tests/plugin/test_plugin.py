"""The plugin in other projects: their suites, run by a pytest of their own."""

import subprocess
import sys

import pytest

from openimds.pytest_plugin import _FIXED
from openimds.testing.marks import FIXED
from tests.plugin.project import Project
from tests.system.machine import PRIVATE, why_unavailable

LOADED = """
import sys
import openimds.pytest_plugin
print(*sorted(name for name in sys.modules if name.startswith("openimds")))
"""
UNCHANGED = """
import gc, os, resource, signal, threading
import pytest

def facts():
    umask = os.umask(0)
    os.umask(umask)
    return {
        "frozen": gc.get_freeze_count(), "collects": gc.isenabled(), "umask": umask,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "signals": {number: signal.getsignal(number) for number in (2, 15)},
        "environment": dict(os.environ) | {"PYTEST_CURRENT_TEST": ""},
    }

BEFORE = facts()

def test_process_state_is_unchanged(imds):
    assert facts() == BEFORE
    assert threading.current_thread() is threading.main_thread()

@pytest.fixture(scope="session", autouse=True)
def threads():
    yield
    assert [one.name for one in threading.enumerate() if not one.daemon] == ["MainThread"]
"""
AWAITED = """
import asyncio, json
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_on_its_own_loop(imds):
    for name in ("web-1", "web-2"):
        imds.vm.patch({"compute": {"name": name}})
        reader, writer = await asyncio.open_connection(*imds.url.removeprefix("http://").split(":"))
        target = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
        head = f"GET {target} HTTP/1.0\\r\\nHost: localhost\\r\\nMetadata: true"
        writer.write(f"{head}\\r\\n\\r\\n".encode())
        assert (await reader.read()).endswith(name.encode())
        writer.close()
        await writer.wait_closed()
"""
LEFT_OPEN = """
import errno, socket
HALF = b"GET /metadata/versions HTTP/1.1\\r\\nHost: localhost\\r\\n"
connections = []

def connect(imds):
    host, port = imds.url.removeprefix("http://").split(":")
    connections.append(socket.create_connection((host, int(port))))
    return connections[-1]

def test_client_stops_in_the_middle_of_a_request(imds):
    one = connect(imds)
    one.sendall(HALF + b"Metadata: true\\r\\n\\r\\n" + HALF)
    assert one.recv(4096)

def test_old_connection_is_closed_and_a_new_one_works(imds):
    assert connections[0].recv(4096).startswith(b"HTTP/1.1 408 ")
    assert connections[0].recv(4096) == b""
    assert len(imds.requests) == 0
    assert connect(imds).send(HALF)

def test_port_refuses_between_tests():
    address = connections[1].getpeername()
    for one in connections:
        one.close()
    with socket.socket() as one:
        assert one.connect_ex(address) == errno.ECONNREFUSED
"""


def test_suites_of_every_noun_pass_in_any_order(project: Project) -> None:
    ran = project.run(*project.take("vms.py", "events.py", "faults.py", "isolation.py"))
    ran.assert_outcomes(passed=34)
    assert not ran.stderr.str()


def test_xdist_workers_have_servers_of_their_own(project: Project) -> None:
    ran = project.run("-n", "2", *project.take("vms.py", "events.py", "isolation.py"))
    ran.assert_outcomes(passed=25)


def test_client_of_azure_gets_tokens(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_unavailable(prefix=PRIVATE):
        pytest.skip(reason)
    (suite,) = project.take("tokens.py")
    # A client that went to 169.254.169.254 after all would get no answer: nothing routes there.
    room = (*PRIVATE, "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
    ran = project.pytester.run(*room, sys.executable, "-m", "pytest", "-rA", suite)
    ran.assert_outcomes(passed=5)


def test_process_state_is_unchanged_after_the_tests(project: Project) -> None:
    project.write("test_unchanged.py", UNCHANGED)
    project.run().assert_outcomes(passed=1)


def test_fixture_works_in_async_tests(project: Project) -> None:
    project.write("test_awaited.py", AWAITED)
    project.run().assert_outcomes(passed=1)


def test_connection_does_not_outlive_its_test(project: Project) -> None:
    project.write("test_open.py", LEFT_OPEN)
    project.run("-p", "no:randomly").assert_outcomes(passed=3)


@pytest.mark.parametrize(
    "lines, pin",
    [
        (["imds_env = true"], "ManagedIdentityCredential"),
        (["imds_env = true", "imds_chain_pin = false"], "none"),
    ],
)
def test_ini_options_set_variables_for_the_session(
    project: Project, lines: list[str], pin: str
) -> None:
    project.configure(*lines)
    project.write(
        "conftest.py",
        """
import os

HOST = os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
PIN = os.environ.get("AZURE_TOKEN_CREDENTIALS", "none")
""",
    )
    test = f"""
import conftest

def test_it(imds, imds_env):
    assert conftest.HOST == imds.url
    assert conftest.PIN == imds_env.get("AZURE_TOKEN_CREDENTIALS", "none") == "{pin}"
"""
    project.write("test_it.py", test)
    project.run("--import-mode=prepend").assert_outcomes(passed=1)


def test_failure_report_shows_requests_and_messages(project: Project) -> None:
    test = """
        import urllib.request

        def test_it(imds):
            imds.vms["web-2"].put({"reach": {"address": ["127.0.0.2"]}})
            imds.vm.patch({"reach": {"address": ["127.0.0.9"]}})
            urllib.request.urlopen(imds.url + "/metadata/versions")
    """
    project.pytester.makepyfile(test)
    ran = project.run()
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*Captured imds call*",
            "unknown caller 127.0.0.1: no VM has this address*",
            "requests:",
            "  #1 +0.000 s 127.0.0.1: GET /metadata/versions 404 unknown_caller",
        ]
    )


def test_disabled_sockets_are_reported_with_the_remedy(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\naddopts = --disable-socket -p no:schemathesis\n")
    project.write("test_it.py", "def test_it(imds): pass\n")
    ran = project.run()
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(
        ["pytest-socket forbids this test every socket*--allow-hosts=127.0.0.1*"]
    )


def test_plugin_imports_no_other_module_at_start() -> None:
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["openimds", "openimds.pytest_plugin"]


def test_fixed_settings_have_no_ini_option() -> None:
    assert {*_FIXED} == FIXED.keys()


def test_plugin_exports_two_classes_for_annotations() -> None:
    from openimds import pytest_plugin
    from openimds.testing.imds import Imds

    assert pytest_plugin.Imds is Imds
    with pytest.raises(AttributeError, match="no attribute 'Azure'"):
        pytest_plugin.Azure  # noqa: B018 - it is the looking that is tested
