"""The running image: its user, its privileges, its state, its listeners and its end."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.containers.engine import (
    IMAGE,
    NAME_URL,
    Container,
    attempt,
    get,
    inspect,
    podman,
    running,
    wait_until_ready,
)

PUBLISH = "--publish=127.0.0.1::8169"
HARDENED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
VOLUME = "/var/lib/openimds"
READ_ADMIN = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
print(urllib.request.urlopen(request, timeout=5).read().decode())
"""


@pytest.fixture
def volume() -> Iterator[str]:
    name = podman("volume", "create")
    yield name
    podman("volume", "rm", "--force", name)


@pytest.fixture
def network() -> Iterator[str]:
    name = podman("network", "create", "lab")
    yield name
    podman("network", "rm", "--force", name)


def capabilities(container: Container) -> dict[str, int]:
    """Return the capability sets of the server by their names in /proc."""
    rows = container.run("cat", "/proc/1/status").splitlines()
    sets = dict(row.split(":\t") for row in rows if row.startswith("Cap"))
    return {name: int(value, 16) for name, value in sets.items()}


def test_hardened_container_answers_and_is_healthy(volume: str) -> None:
    with running(PUBLISH, *HARDENED, f"--volume={volume}:{VOLUME}") as container:
        assert get(container.published() + NAME_URL) == (200, "vm-1")
        assert set(capabilities(container).values()) == {0}
        assert container.run("id", "-u") == "10001"
        assert attempt("healthcheck", "run", container.name).code == 0
        with pytest.raises(Exception, match="Read-only file system"):
            container.run("touch", "/etc/openimds/x")


def test_two_lines_and_its_log_are_all_that_a_start_prints() -> None:
    # An engine may allow fewer open files than the default asks for, which is a notice of its own.
    with running("--env=OPENIMDS_MAX_CONNECTIONS=100") as container:
        wait_until_ready(container)
        lines = container.logs().splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith('{"time"')]
    assert events[0] == "server.starting"
    assert {*events} <= {"server.starting", "server.ready"}
    notice, ready = (line for line in lines if not line.startswith('{"time"'))
    assert notice.startswith(f"openimds: no volume holds {VOLUME}/state: this container forgets ")
    assert notice.endswith(f"run it with --volume openimds:{VOLUME}.")
    assert json.loads(ready)["imds"] == "http://0.0.0.0:8169"


def test_only_the_data_plane_leaves_loopback() -> None:
    with running() as container:
        ready = wait_until_ready(container)
        assert (ready["admin"], ready["public"]) == (
            "http://127.0.0.1:8170",
            "http://127.0.0.1:8171",
        )
        rows = container.run("cat", "/proc/1/net/tcp").splitlines()[1:]
    listening = {row.split()[1] for row in rows if row.split()[3] == "0A"}
    assert listening == {"00000000:1FE9", "0100007F:1FEA", "0100007F:1FEB"}


def test_published_port_refuses_web_pages() -> None:
    with running(PUBLISH) as container:
        url = container.published() + NAME_URL
        assert get(url, Host="rebound.example")[0] == 403
        assert get(url, Origin="http://rebound.example")[0] == 403
        assert [get(url, Host=host)[0] for host in ("localhost", "imds", "127.0.0.1")] == [200] * 3


def test_name_with_a_dot_is_listed_for_the_published_port() -> None:
    with running(PUBLISH, "--env=OPENIMDS_LISTEN_HOSTS=imds.lab") as container:
        url = container.published() + NAME_URL
        assert [get(url, Host=host)[0] for host in ("imds.lab", "other.lab")] == [200, 403]


def test_port_80_needs_one_capability_and_gets_no_other() -> None:
    port_80 = ("--env=OPENIMDS_LISTEN=0.0.0.0:80", "--publish=127.0.0.1::80")
    with running(*port_80, "--cap-drop=ALL", "--cap-add=NET_BIND_SERVICE") as container:
        assert get(container.published(80) + NAME_URL) == (200, "vm-1")
        assert capabilities(container)["CapEff"] == 1 << 10
        assert attempt("healthcheck", "run", container.name).code == 0


def test_port_80_needs_no_capability_with_the_sysctl() -> None:
    sysctl = "--sysctl=net.ipv4.ip_unprivileged_port_start=0"
    with running("--env=OPENIMDS_LISTEN=0.0.0.0:80", sysctl, "--cap-drop=ALL") as container:
        assert set(capabilities(container).values()) == {0}


def test_sigterm_ends_within_a_second(volume: str) -> None:
    with running(PUBLISH, f"--volume={volume}:{VOLUME}") as container:
        assert get(container.published() + NAME_URL)[0] == 200
        code, seconds = container.stop()
    assert code == 0
    assert seconds <= 1


def test_sigterm_ends_a_waiting_connection_too() -> None:
    with running(PUBLISH) as container:
        url = container.published() + "/metadata/versions"
        request = urllib.request.Request(url, headers={"Metadata": "true"})
        with urllib.request.urlopen(request, timeout=5):
            assert container.stop()[0] == 0


def test_state_outlives_the_container(volume: str) -> None:
    place = f"--volume={volume}:{VOLUME}"
    patch = '{"compute": {"tags": {"kept": "yes"}}}'
    with running(place) as container:
        container.run("sh", "-c", f"echo '{patch}' > /tmp/p && openimds vm patch vm-1 /tmp/p")
        token = container.run("cat", f"{VOLUME}/state/admin-token")
        assert "forgets" not in container.logs()
    with running(place, PUBLISH) as container:
        tags = NAME_URL.replace("/name?", "/tags?")
        assert get(container.published() + tags) == (200, "kept:yes")
        assert container.run("cat", f"{VOLUME}/state/admin-token") == token


def test_state_outlives_a_sudden_end(volume: str) -> None:
    place = f"--volume={volume}:{VOLUME}"
    with running(place) as container:
        container.run("openimds", "identity", "assign", "vm-1", "--system")
        podman("kill", "--signal=KILL", container.name)
    with running(place) as container:
        (row,) = json.loads(container.run("openimds", "identity", "list", "--json"))
        assert row["kind"] == "system"


@pytest.mark.parametrize("user", ["1000650000:0", "4711:0", "0:0"])
def test_any_user_of_group_0_gets_a_folder_of_its_own(volume: str, user: str) -> None:
    place = f"--volume={volume}:{VOLUME}"
    with running(PUBLISH, *HARDENED, place, f"--user={user}") as container:
        assert get(container.published() + NAME_URL) == (200, "vm-1")
        assert container.run("stat", "-c", "%u:%g %a", f"{VOLUME}/state") == f"{user} 700"
        assert attempt("healthcheck", "run", container.name).code == 0


def test_memory_can_hold_the_state() -> None:
    memory = f"--tmpfs={VOLUME}:mode=1777"
    with running(PUBLISH, *HARDENED, memory) as container:
        assert get(container.published() + NAME_URL) == (200, "vm-1")
        assert f"{VOLUME}/state is in memory: this container forgets" in container.logs()


def test_admin_answers_another_container_by_name(network: str) -> None:
    admin = ("serve", "--admin", "0.0.0.0:8170", "--admin-hosts", "imds")
    alias = f"--network={network}:alias=imds"
    with running(alias, command=admin) as server, running(f"--network={network}") as other:
        token = server.run("cat", f"{VOLUME}/state/admin-token")
        read = ("python3", "-c", READ_ADMIN)
        body = json.loads(other.run(*read, "http://imds:8170/v1/vms", token))
        assert [vm["name"] for vm in body["items"]] == ["vm-1"]
        with pytest.raises(Exception, match="401"):
            other.run(*read, "http://imds:8170/v1/vms", "wrong")
        address = inspect(server.name)["NetworkSettings"]["Networks"][network]["IPAddress"]
        with pytest.raises(Exception, match="421"):
            other.run(*read, f"http://{address}:8170/v1/vms", token)
        assert attempt("healthcheck", "run", server.name).code == 0


def test_options_alone_are_those_of_serve() -> None:
    with running(PUBLISH, command=("--record", "5")) as container:
        assert get(container.published() + NAME_URL)[0] == 200
        assert NAME_URL.partition("?")[0] in container.run("openimds", "requests")


def test_other_commands_run_without_a_server() -> None:
    assert podman("run", "--rm", IMAGE, "--help").startswith("Usage: openimds [OPTIONS] COMMAND")
    assert podman("run", "--rm", IMAGE, "serve", "--help").startswith("Usage: openimds serve")
    assert podman("run", "--rm", IMAGE, "env").startswith(
        "export AZURE_POD_IDENTITY_AUTHORITY_HOST="
    )


def test_health_turns_red_when_the_server_hangs() -> None:
    with running() as container:
        assert attempt("healthcheck", "run", container.name).code == 0
        os.kill(inspect(container.name)["State"]["Pid"], signal.SIGSTOP)
        assert attempt("healthcheck", "run", container.name).code == 1
        os.kill(inspect(container.name)["State"]["Pid"], signal.SIGCONT)
        assert attempt("healthcheck", "run", container.name).code == 0


@pytest.mark.parametrize("option", ["--admin=none", "--listen=0.0.0.0:8200"])
def test_health_follows_the_command_line(option: str) -> None:
    with running(command=("serve", option)) as container:
        assert attempt("healthcheck", "run", container.name).code == 0


def test_health_is_red_without_a_server() -> None:
    name = podman("run", "--detach", "--entrypoint=sleep", IMAGE, "60")
    try:
        outcome = attempt("healthcheck", "run", name)
        assert outcome.code == 1
    finally:
        attempt("rm", "--force", "--time=0", name)


def test_first_answer_and_memory_are_reported(
    volume: str, record_property: Callable[[str, object], None]
) -> None:
    """Print the figures; nothing is asserted by time."""
    begun = time.monotonic()
    with running(PUBLISH, f"--volume={volume}:{VOLUME}") as container:
        url = container.published() + NAME_URL
        assert get(url)[0] == 200
        record_property("first_answer_s", round(time.monotonic() - begun, 2))
        rows = dict(
            row.split(":", 1) for row in container.run("cat", "/proc/1/status").splitlines()
        )
        record_property("memory_kib", int(rows["VmRSS"].split()[0]))
        record_property("image_bytes", inspect(IMAGE)["Size"])
