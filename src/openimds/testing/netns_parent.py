"""The parent side of `real_address`: runs one test in a child with a private network.

The child collects that one test with the options of this run, as a worker of pytest-xdist would,
and runs all of it: the fixtures of every scope, the test, the teardown. Here the item only waits in
its setup for the child; each of its reports is replaced by the one that the child made.
"""

import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from openimds.linux.platform import IS_LINUX
from openimds.linux.private_netns import NEEDS_LINUX, no_proxy_variables
from openimds.testing.marks import mapped_hosts
from openimds.testing.netns_child import (
    IN_CHILD,
    MEMORY,
    RERUNS,
    ChildReport,
    ChildRun,
    is_plain,
)

_CHILD = (
    "import sys; sys.path[:] = {path!r}\n"
    "from openimds.testing.netns_child import main; main({order!r})"
)
_ALLOWED = "allow_hosts"
_ADDRESS = "169.254.169.254"
_CHILD_OPTIONS: dict[str, Any] = {
    # Options that xdist changes for a worker.
    "dist": "no",
    "distload": False,
    "looponfail": False,
    "maxprocesses": None,
    "numprocesses": None,
    "tx": [],
    "usepdb": False,
    # The test is selected already.
    "deselect": None,
    "failedfirst": False,
    "keyword": "",
    "lf": False,
    "markexpr": "",
    "newfirst": False,
    "stepwise": False,
    # The parent writes reports and coverage.
    "no_cov": True,
    "xmlpath": None,
}
_LONGEST_OUTPUT = 4000
_numbers = count(1)

_reports = pytest.StashKey[dict[str, pytest.TestReport]]()
_refusals = pytest.StashKey[dict[bool, str]]()
"""The reasons why there is no private network, without mapped hosts and with them."""


def run_in_child(item: pytest.Item, *, is_required: bool) -> None:
    """Make an item run in a child and take its reports from there."""
    phases = {
        "setup": lambda: _run(item, is_required=is_required),
        "runtest": _nothing,
        "teardown": _nothing,
    }
    # The phases of an item are methods; instance attributes override those of any class.
    vars(item).update(phases)


def _nothing() -> None:
    """Skip a phase that the child has run."""


def report_of(item: pytest.Item, when: str) -> pytest.TestReport | None:
    """Return the child's report of a phase, or None for a test that ran here."""
    return item.stash.get(_reports, {}).get(when)


def _run(item: pytest.Item, *, is_required: bool) -> None:
    """Run an item in a child and keep its reports.

    Raises:
        Skipped: a private network is not possible here.
        Failed: it is not possible but required, or the child crashed.
    """
    __tracebackhide__ = True
    item.stash[_reports] = {}
    hosts = mapped_hosts(item)
    refusals = item.config.stash.setdefault(_refusals, {})
    refusal = refusals.get(bool(hosts), "" if IS_LINUX else NEEDS_LINUX)
    if not refusal:
        result = _result(item, hosts)
        refusal = refusals[bool(hosts)] = result.refusal
        item.stash[_reports] = _read(item, result)
    if refusal and is_required:
        pytest.fail(refusal, pytrace=False)
    if refusal:
        pytest.skip(refusal)


def _read(item: pytest.Item, result: ChildReport) -> dict[str, pytest.TestReport]:
    reports = {}
    for data in result.reports:
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
        report.nodeid = item.nodeid
        reports[report.when] = report
    for pickled in result.warnings:
        with suppress(ImportError, AttributeError):  # A class that only the child has.
            warning = pickle.loads(pickled)  # noqa: S301 - our own child wrote it
            item.ihook.pytest_warning_recorded.call_historic(kwargs=warning)
    if not result.refusal and "teardown" not in reports:
        __tracebackhide__ = True
        output = result.output.strip()[-_LONGEST_OUTPUT:] or "no output"
        pytest.fail(
            f"the run in the private network ended with {result.code}: {output}", pytrace=False
        )
    return reports


def _result(item: pytest.Item, hosts: dict[str, str]) -> ChildReport:
    """Run the child and return its results; an interrupt ends the child, too."""
    with TemporaryDirectory(prefix="imds-", dir=_run_folder(item.config)) as name:
        folder = Path(name)
        order, output = folder / "order", folder / "output"
        order.write_bytes(pickle.dumps(_order(item, folder, hosts)))
        command = [sys.executable, "-c", _CHILD.format(path=sys.path, order=str(order))]
        is_uncaptured = item.config.getoption("capture") == "no"
        with output.open("wb") as file:
            child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
                command,
                cwd=item.config.invocation_params.dir,
                env={**os.environ, **no_proxy_variables(os.environ, hosts)},
                stdin=subprocess.DEVNULL,
                stdout=None if is_uncaptured else file,
                stderr=None if is_uncaptured else file,
                start_new_session=True,
            )
            try:
                code = child.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        return ChildReport.read(folder, code, output.read_text("utf-8", "replace"))


def _order(item: pytest.Item, folder: Path, hosts: dict[str, str]) -> ChildRun:
    config = item.config
    name = item.nodeid.partition("::")[2]
    memory = _memory_folder(folder) if hosts else ""
    options = {key: value for key, value in vars(config.option).items() if is_plain(value)}
    options |= _CHILD_OPTIONS | {
        IN_CHILD: True,
        MEMORY: memory,
        "basetemp": str(_basetemp(config, folder)),
        "inifilename": str(config.inipath or os.devnull),
        "plugins": ["no:terminal"],
        "rootdir": str(config.rootpath),
    }
    if isinstance(options.get(_ALLOWED), str):  # pytest-socket's; the mark adds its hosts.
        options[_ALLOWED] = ",".join([options[_ALLOWED], _ADDRESS, *sorted({*hosts.values()})])
    worker = getattr(config, "workerinput", None)
    node = f"{item.path}::{name}" if name else str(item.path)
    # As arguments, because the option `plugins` is read after the early plugins are loaded.
    names = list(config.option.plugins)
    if config.pluginmanager.hasplugin(RERUNS):
        names.append(f"no:{RERUNS}")
    plugins = [word for name in names for word in ("-p", name)]
    return ChildRun(options, [*plugins, node], worker, str(folder), hosts, memory)


def _memory_folder(folder: Path) -> str:
    """Make the folder over which the child mounts one in memory; return its path."""
    memory = folder / "memory"
    memory.mkdir()
    return str(memory)


def _basetemp(config: pytest.Config, folder: Path) -> Path:
    """Return a folder for tmp_path, beside those of this run."""
    return (_run_folder(config) or folder) / f"real-address-{next(_numbers)}"


def _run_folder(config: pytest.Config) -> Path | None:
    """Return the temporary folder of this run, if it has one.

    pytest removes it some runs later, with the files that a killed run leaves there.
    """
    factory = getattr(config, "_tmp_path_factory", None)
    return factory.getbasetemp() if factory else None
