"""Docker Compose's page, taken apart: who answers whom, and who cannot forge whom."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.kits import ROOT
from tests.containers.engine import IMAGE, podman
from tests.containers.guest import build_guest
from tests.docs.story import script

PAGE = ROOT / "docs" / "use" / "docker-compose.md"
READ = """
import sys, urllib.error, urllib.request
url = "http://169.254.169.254" + sys.argv[1]
request = urllib.request.Request(url, headers={"Metadata": "true"})
try:
    print(urllib.request.urlopen(request, timeout=5).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


def compose(folder: Path, *arguments: str) -> str:
    """Run docker-compose in the folder of the page's files."""
    ran = subprocess.run(
        ["docker-compose", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project of the page, up and answering."""
    build_guest()
    folder = tmp_path_factory.mktemp("compose") / "lab"
    folder.mkdir()
    script(PAGE, folder)
    folder.chmod(0o755)
    compose(folder, "up", "--detach")
    for service in ("web", "worker"):
        wait = f"until docker-compose logs {service} | grep -q token; do sleep 0.2; done"
        subprocess.run(["sh", "-c", wait], cwd=folder, check=True, timeout=60)
    yield folder
    compose(folder, "down", "--volumes", "--timeout", "1")


@pytest.mark.parametrize("service, name", [("web", "web-1"), ("worker", "worker-1")])
def test_each_guest_gets_its_own_document(project: Path, service: str, name: str) -> None:
    assert compose(project, "exec", "-T", service, "python3", "-c", READ, NAME) == name


def test_application_has_no_variable_of_ours_or_azure(project: Path) -> None:
    variables = compose(project, "exec", "-T", "web", "env").splitlines()
    names = {line.partition("=")[0] for line in variables if line.partition("=")[2]}
    assert not [name for name in names if name.startswith(("AZURE", "IDENTITY", "MSI", "OPENIMDS"))]


def test_container_that_is_no_vm_gets_404(project: Path) -> None:
    network = f"--network={project.name}_metadata"
    read = ("--entrypoint=python3", IMAGE, "-c", READ, NAME)
    printed = podman("run", "--rm", network, "--ip=169.254.169.99", "--user=9", *read)
    assert printed == '404 {"error":"Not found"}'
    log = compose(project, "logs", "imds")
    assert "unknown caller 169.254.169.99: no VM has this address" in log


def test_guest_cannot_reach_the_admin_api(project: Path) -> None:
    connect = "import socket; print(socket.socket().connect_ex(('169.254.169.254', 8170)))"
    refused = compose(project, "exec", "-T", "web", "python3", "-c", connect)
    assert os.strerror(int(refused)) == "Connection refused"


def test_guest_cannot_open_a_raw_socket(project: Path) -> None:
    try_raw = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"
    ran = subprocess.run(
        ["docker-compose", "exec", "-T", "--user=0", "web", "python3", "-c", try_raw],
        cwd=project,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=30,
    )
    assert ran.returncode
    assert "Operation not permitted" in ran.stdout + ran.stderr


def test_edit_of_the_fleet_file_is_seen_by_its_guest(project: Path) -> None:
    path = project / "fleet.yaml"
    path.write_text(path.read_text().replace("role: web", "role: edge"))
    tags = NAME.replace("/name?", "/tags?")
    read = ("exec", "-T", "web", "python3", "-c", READ, tags)
    for _ in range(50):
        if compose(project, *read) == "role:edge":
            return
    assert compose(project, *read) == "role:edge"


def test_page_keeps_the_machine_out_of_the_network() -> None:
    text = PAGE.read_text("utf-8")
    assert "internal: true" in text
    assert 'com.docker.network.bridge.inhibit_ipv4: "true"' in text
