"""The measured processes: `openimds serve`, nginx and Go's net/http, on loopback."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench.machine import find

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_S = 10.0
_STDERR = "stderr"
_LOOPBACK = "127.0.0.1"
RIVALS = Path(__file__).parent / "rivals"
"""The parts of the bench that are not in Python."""

# The response of OpenIMDS as far as nginx can: its Server and Connection headers are its own. The
# request id is fixed, which saves nginx the work of making one.
_NGINX = """\
daemon off;
master_process off;
worker_processes 1;
error_log stderr error;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server_tokens off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  default_type "application/json; charset=utf-8";
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port} backlog=4096{options};
    location = /metadata/instance {{
      add_header x-ms-request-id 5b1f6d3a-9c52-4e7d-8a3e-0f6c2b7d9e41;
      return 200 '{body}';
    }}
  }}
}}
"""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class Server:
    """A process that this module started."""

    def __init__(
        self,
        process: subprocess.Popen[str],
        address: Address,
        ready_s: float,
        ready: dict[str, Any] | None = None,
    ) -> None:
        """Hold a process, the seconds until it was ready, and its ready line."""
        self.address, self.ready_s, self.ready = address, ready_s, ready or {}
        self._process = process

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes so far, user and system."""
        ticks = 0
        for pid in self.pids():
            # The second field is the name in parentheses, which may hold anything. The last two are
            # those of children that have ended (proc_pid_stat(5)).
            fields = _proc(pid, "stat").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / _TICKS_PER_S

    def memory_mb(self) -> float:
        """Return the resident memory of its processes; a shared page counts once (PSS)."""
        return self._sum_mb("smaps_rollup", "Pss")

    def peak_mb(self) -> float:
        """Return the sum of the peaks of resident memory of its processes (`VmHWM`)."""
        return self._sum_mb("status", "VmHWM")

    def _sum_mb(self, file: str, field: str) -> float:
        sizes = (re.search(rf"{field}:\s+(\d+) kB", _proc(pid, file)) for pid in self.pids())
        return sum(int(size[1]) * 1024 / 1e6 for size in sizes if size)

    def open_files(self) -> int:
        """Return the number of its open file descriptors."""
        return sum(len(list((Path("/proc") / str(pid) / "fd").iterdir())) for pid in self.pids())

    def pids(self) -> list[int]:
        """Return the process and all its descendants."""
        pids = [self._process.pid]
        for pid in pids:
            tasks = (Path("/proc") / str(pid) / "task").iterdir()
            pids += [int(child) for task in tasks for child in _words(task / "children")]
        return pids


def _proc(pid: int, name: str) -> str:
    return (Path("/proc") / str(pid) / name).read_text("utf-8")


def _words(file: Path) -> list[str]:
    """Return the words of a file of a thread, which may end at any time."""
    try:
        return file.read_text("utf-8").split()
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextmanager
def openimds(
    *arguments: str, core: int | None = None, before: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Run `openimds serve` with more arguments, on one core if one is named.

    `before` is a prefix of the command.

    Raises:
        RuntimeError: it ended before it was ready.
    """
    listen = ("--listen", f"{_LOOPBACK}:0", "--admin", "none")
    command = (*before, sys.executable, "-m", "openimds", "serve", *listen, *arguments)
    start = time.perf_counter()
    with TemporaryDirectory() as home, running(command, core, home) as process:
        ready = read_ready(process, Path(home))
        ready_s = time.perf_counter() - start
        host, _, port = ready["imds"].rpartition("//")[2].rpartition(":")
        yield Server(process, Address(host, int(port)), ready_s, ready)


def read_ready(process: "subprocess.Popen[str]", home: Path) -> dict[str, Any]:
    """Return the ready line of an `openimds` with its stderr below `home`.

    Raises:
        RuntimeError: it ended before it was ready.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        reason = (home / _STDERR).read_text("utf-8")
        raise RuntimeError(f"not ready: {process.args!r}: {reason}")
    ready: dict[str, Any] = json.loads(line)
    return ready


@contextmanager
def nginx(body: str, folder: Path, core: int, *, is_deferred: bool = False) -> Iterator[Server]:
    """Run an nginx of one process that serves a body at /metadata/instance.

    With `is_deferred` the kernel shows it a connection when the request has come (tcp(7),
    TCP_DEFER_ACCEPT).
    """
    address = Address(_LOOPBACK, free_port())
    home = folder / f"nginx-{address.port}"
    home.mkdir()
    config = home / "nginx.conf"
    options = " deferred" if is_deferred else ""
    text = _NGINX.format(
        folder=home, host=address.host, port=address.port, options=options, body=body
    )
    config.write_text(text, "utf-8")
    command = (find("nginx"), "-e", "stderr", "-p", str(home), "-c", str(config))
    with running(command, core, str(home)) as process:
        yield Server(process, address, _accepting_s(process, address))


@contextmanager
def net_http(body: str, folder: Path, core: int) -> Iterator[Server]:
    """Run a server of Go's net/http, on one thread, that serves a body at /metadata/instance.

    It is built without the network, from the standard library alone.
    """
    program, file = folder / "net_http", folder / "body.json"
    file.write_text(body, "utf-8")
    offline = {"GO111MODULE": "off", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    build = (find("go"), "build", "-o", str(program), str(RIVALS / "net_http.go"))
    subprocess.run(build, env={**os.environ, **offline}, check=True)
    address = Address(_LOOPBACK, free_port())
    command = (str(program), f"{address.host}:{address.port}", str(file))
    with running(command, core, str(folder), GOMAXPROCS="1") as process:
        yield Server(process, address, _accepting_s(process, address))


def _accepting_s(process: subprocess.Popen[str], address: Address) -> float:
    """Wait for a server and return the seconds of the wait.

    Raises:
        RuntimeError: it ended, or it does not accept in time.
    """
    start = time.perf_counter()
    while not _accepts(address):
        if process.poll() is not None or time.perf_counter() - start > _STOP_S:
            raise RuntimeError(f"not started: {process.args!r}")
        time.sleep(0.02)
    return time.perf_counter() - start


@contextmanager
def running(
    command: tuple[str, ...], core: int | None, home: str, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a process whose default state folder and stderr are below `home`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENIMDS_")}
    environment |= {"XDG_STATE_HOME": home, **variables}
    with (Path(home) / _STDERR).open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with closing(socket.socket()) as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _accepts(address: Address) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(address) == 0
