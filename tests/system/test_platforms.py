"""The commands and the plugin where Python lacks what Windows or macOS lack.

`lacking/sitecustomize.py` takes the names away; it is no other system. mypy checks the
names of the real ones (`scripts/check_platforms.py`).
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scripts import check_platforms
from scripts.generate_docs import ROOT
from tests.support.log_lines import sentences
from tests.support.waiting import until

SYSTEMS = check_platforms.PLATFORMS
HEADERS = {"Metadata": "true"}
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
HELP = """
import click
from openimds.cli import main as entry
from openimds.cli.main import COMMANDS, command

def walk(words, group):
    yield words
    for name in group.list_commands(None) if isinstance(group, click.Group) else ():
        yield from walk([*words, name], group.get_command(None, name))

for words in walk([], command):
    try:
        command.main([*words, "--help"], prog_name="openimds")
    except SystemExit as end:
        assert end.code == 0, words
    print("shown:", *words)
"""
IMPORTS = """
import pkgutil, sys, traceback
import openimds

LINUX_ONLY = {linux_only!r}
for found in pkgutil.walk_packages(openimds.__path__, "openimds."):
    path = "src/" + found.name.replace(".", "/")
    if found.name == "openimds.__main__" or any(path.startswith(one) for one in LINUX_ONLY):
        continue
    __import__(found.name)
print("all imported")
"""
SUITE = """
import urllib.request
import pytest
import sys

def answer(imds, target="/metadata/instance/compute/name?api-version=2021-02-01&format=text"):
    asked = urllib.request.Request(imds.url + target, headers={"Metadata": "true"})
    return urllib.request.urlopen(asked).read().decode()

@pytest.mark.parametrize("number", range(3))
def test_server_is_new_for_each_test(imds, number):
    assert answer(imds) == "vm-1"
    imds.vm.patch({"compute": {"name": "changed"}})
    imds.clock.advance(60)
    imds.faults.play("service-update")
    imds.events.schedule("Reboot")
    assert [*imds.vms] == ["vm-1"]

def test_token(imds, imds_session):
    for one in (imds, imds_session):
        assert "access_token" in answer(one, "TOKEN")

def test_embedded():
    from openimds.testing import serve
    with serve(admin="127.0.0.1:0", public="127.0.0.1:0") as imds:
        assert answer(imds) == "vm-1"

@pytest.mark.real_address
def test_at_the_real_address(imds): raise AssertionError("it must not run")
"""

pytestmark = pytest.mark.system


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    """Return the name of a system, as Python names it."""
    return str(request.param)


def variables(system: str, home: Path) -> dict[str, str]:
    """Return the environment of a process on another system."""
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "USER": "ann",
        "PRETENDED_SYSTEM": system,
        "PYTHONPATH": str(Path(__file__).parent / "lacking"),
    }


def run(system: str, home: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run Python on another system; no output has a traceback."""
    ran = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=home,
        env={**variables(system, home), **more},
        timeout=100,
        check=False,
    )
    assert "Traceback" not in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    return ran


def command(system: str, home: Path, *words: str, **more: str) -> tuple[int, str]:
    """Run a command on another system; return its exit code and output."""
    ran = run(system, home, "-m", "openimds", *words, **more)
    return ran.returncode, ran.stdout + ran.stderr


@contextmanager
def serving(system: str, home: Path, *words: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Serve on another system until the block ends."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "openimds", "serve", *words),
            *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--public", "127.0.0.1:0"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home,
        env=variables(system, home),
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def test_every_command_shows_its_help(system: str, tmp_path: Path) -> None:
    ran = run(system, tmp_path, "-c", HELP)
    assert ran.returncode == 0, ran.stderr
    shown = [line for line in ran.stdout.splitlines() if line.startswith("shown:")]
    assert {"shown: serve", "shown: exec", "shown: host up", "shown: vm list"} <= {*shown}


def test_every_other_module_can_be_imported(system: str, tmp_path: Path) -> None:
    only = [path.removesuffix(".py").removesuffix("/") for path in check_platforms.LINUX_ONLY]
    ran = run(system, tmp_path, "-c", IMPORTS.format(linux_only=only))
    assert ran.stdout == "all imported\n", ran.stderr


def test_exec_names_what_to_use_instead(system: str, tmp_path: Path) -> None:
    code, output = command(system, tmp_path, "exec", "--", "true")
    assert code == 1
    assert output == (
        "openimds: openimds exec needs a Linux kernel: elsewhere start openimds serve and set the "
        "variables that openimds env prints, or use the container image or a Linux VM\n"
    )


@pytest.mark.parametrize("words", [("host", "up"), ("host", "down"), ("host", "status")])
def test_host_needs_linux(system: str, words: tuple[str, ...], tmp_path: Path) -> None:
    code, output = command(system, tmp_path, *words)
    assert code == 1
    assert output.startswith("openimds: openimds host needs a Linux kernel: ")


def test_server_answers_requests_and_commands(system: str, tmp_path: Path) -> None:
    with serving(system, tmp_path, "--state", "lab") as (process, ready):
        instance = f"{ready['imds']}/metadata/instance?api-version=2021-02-01"
        assert httpx2.get(instance, headers=HEADERS).json()["compute"]["name"] == "vm-1"
        token = httpx2.get(ready["imds"] + TOKEN, headers=HEADERS).json()
        assert token["token_type"] == "Bearer"
        assert httpx2.get(f"{ready['public']}/pki/bundle.pem").status_code == 200
        found = {"OPENIMDS_ADMIN": ready["admin"], "OPENIMDS_TOKEN_FILE": ready["token_file"]}
        code, output = command(system, tmp_path, "vm", "list", **found)
        assert code == 0
        assert "vm-1" in output
        code, output = command(system, tmp_path, "doctor", "--json", **found)
        assert code == 0, output
        code, output = command(system, tmp_path, "serve", "--state", "lab")
        assert code == 1
        assert f"in use by the process with pid {process.pid}; stop it first" in output
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert sentences(process.stderr.read()) == ""


def test_termination_ends_the_server_well(system: str, tmp_path: Path) -> None:
    with serving(system, tmp_path) as (process, _):
        process.terminate()
        assert process.wait(20) == 0
        assert sentences(process.stderr.read()) == ""


def test_edit_of_the_fleet_file_is_served(system: str, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("vms: {a: {}}")
    with serving(system, tmp_path, "--fleet", "fleet.yaml") as (process, ready):
        fleet.write_text("vms: {b: {}}")
        until(lambda: "2 changes applied" in process.stderr.readline())
        leaf = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
        assert httpx2.get(ready["imds"] + leaf, headers=HEADERS).text == "b"


@pytest.mark.parametrize(
    "system, words, message",
    [
        ("darwin", ("--listen", "netns:web"), "HOST:PORT: only Linux has network namespaces"),
        ("win32", ("--listen", "netns:web"), "HOST:PORT: only Linux has network namespaces"),
        ("win32", ("--listen", "unix:/tmp/a.sock"), "this system has no unix sockets"),
        ("win32", ("--event-hook", "notify.sh"), "expected a URL: this system does not end"),
    ],
)
def test_missing_part_of_the_system_is_one_sentence(
    system: str, words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    code, output = command(system, tmp_path, "serve", "--admin", "none", *words)
    assert code == 2
    assert message in output
    assert len(output.splitlines()) == 1


def test_capture_writes_its_file(system: str, tmp_path: Path) -> None:
    with serving(system, tmp_path, "--no-rate-limit") as (_, ready):
        words = ("--output", "real.json", "--url", ready["imds"], "--per-s", "1000")
        code, output = command(system, tmp_path, "capture", *words)
    assert code == 0, output
    assert (tmp_path / "real.json").exists()


def test_plugin_serves_tests(system: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE.replace("TOKEN", TOKEN))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings =\n  error\n  ignore:Module already imported\n"
    )
    plugins = ("randomly", "xdist", "schemathesis", "hypothesispytest", "cacheprovider", "cov")
    words = [word for name in plugins for word in ("-p", f"no:{name}")]
    ran = run(system, tmp_path, "-m", "pytest", "-rs", *words)
    assert "5 passed, 1 skipped" in ran.stdout, ran.stdout
    assert "network namespaces are unavailable: only Linux has them" in ran.stdout


def test_names_of_the_system_are_checked_by_mypy(system: str, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="make test-lowest installs no mypy")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import os\nos.memfd_create('a')\n")
    (found,) = check_platforms.errors(system, str(wrong))
    assert 'has no attribute "memfd_create"' in found
    assert Path(ROOT, "scripts/check_platforms.py").name in Path(ROOT, "Makefile").read_text()


def test_simulation_takes_names_away(system: str, tmp_path: Path) -> None:
    script = "import os, sys; print(sys.platform, hasattr(os, 'memfd_create'), hasattr(os, 'fork'))"
    has_fork = system == "darwin"
    assert run(system, tmp_path, "-c", script).stdout == f"{system} False {has_fork}\n"
    assert hasattr(socket, "AF_UNIX")
