"""One test at 169.254.169.254: run in a child whose network is its own, told by its reports.

The child collects that one test with the options of this run, as a worker of pytest-xdist would,
and runs all of it: the fixtures of every scope, the test, what comes after. Here the item stands in
for it: its setup waits for the child, and each of its reports is the one that the child made.
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

from openimds.linux.private_netns import no_proxy_variables
from openimds.testing.netns_child import INSIDE, ChildReport, ChildRun, is_plain

_CHILD = (
    "import sys; sys.path[:] = {path!r}\n"
    "from openimds.testing.netns_child import main; main({order!r})"
)
_ALLOWED = "allow_hosts"
_ADDRESS = "169.254.169.254"
_ALONE: dict[str, Any] = {
    # What xdist changes for a worker.
    "dist": "no",
    "distload": False,
    "looponfail": False,
    "maxprocesses": None,
    "numprocesses": None,
    "tx": [],
    "usepdb": False,
    # The test was chosen already.
    "deselect": None,
    "failedfirst": False,
    "keyword": "",
    "lf": False,
    "markexpr": "",
    "newfirst": False,
    "stepwise": False,
    # Reports and covers are written here, not there.
    "no_cov": True,
    "xmlpath": None,
}
_LONGEST_WORDS = 4000
_numbers = count(1)

_reports = pytest.StashKey[dict[str, pytest.TestReport]]()
_refusal = pytest.StashKey[str]()


def stand_in(item: pytest.Item, *, is_required: bool) -> None:
    """Have an item take its reports from a child instead of running here."""
    instead = {
        "setup": lambda: _run(item, is_required=is_required),
        "runtest": _rest,
        "teardown": _rest,
    }
    # What an item does in a phase is a method; these hide those of its class, whichever that is.
    vars(item).update(instead)


def _rest() -> None:
    """Do nothing: the child has done it."""


def report_of(item: pytest.Item, when: str) -> pytest.TestReport | None:
    """Return what the child reported of a phase, or None for a test that ran here."""
    return item.stash.get(_reports, {}).get(when)


def _run(item: pytest.Item, *, is_required: bool) -> None:
    """Run an item in a child and keep its reports.

    Raises:
        Skipped: there can be no private network here.
        Failed: there has to be one, or the child came to nothing.
    """
    __tracebackhide__ = True
    item.stash[_reports] = {}
    refused = item.config.stash.get(_refusal, "")
    if not refused:
        said = _said(item)
        refused = item.config.stash[_refusal] = said.refusal
        item.stash[_reports] = _read(item, said)
    if refused and is_required:
        pytest.fail(refused, pytrace=False)
    if refused:
        pytest.skip(refused)


def _read(item: pytest.Item, said: ChildReport) -> dict[str, pytest.TestReport]:
    found = {}
    for told in said.reports:
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=told)
        report.nodeid = item.nodeid
        found[report.when] = report
    for data in said.warnings:
        with suppress(ImportError, AttributeError):  # Of a class that only the child has.
            warning = pickle.loads(data)  # noqa: S301 - our own child wrote it
            item.ihook.pytest_warning_recorded.call_historic(kwargs=warning)
    if not said.refusal and "teardown" not in found:
        __tracebackhide__ = True
        words = said.words.strip()[-_LONGEST_WORDS:] or "without a word"
        pytest.fail(
            f"the run in the private network ended with {said.code}: {words}", pytrace=False
        )
    return found


def _said(item: pytest.Item) -> ChildReport:
    """Run the child, and return what it said; if we are interrupted it ends with us."""
    with TemporaryDirectory(prefix="imds-", dir=_kept(item.config)) as name:
        folder = Path(name)
        order, words = folder / "order", folder / "words"
        order.write_bytes(pickle.dumps(_order(item, folder)))
        command = [sys.executable, "-c", _CHILD.format(path=sys.path, order=str(order))]
        shows = item.config.getoption("capture") == "no"
        with words.open("wb") as file:
            child = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
                command,
                cwd=item.config.invocation_params.dir,
                env={**os.environ, **no_proxy_variables(os.environ)},
                stdin=subprocess.DEVNULL,
                stdout=None if shows else file,
                stderr=None if shows else file,
                start_new_session=True,
            )
            try:
                code = child.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        return ChildReport.read(folder, code, words.read_text("utf-8", "replace"))


def _order(item: pytest.Item, folder: Path) -> ChildRun:
    config = item.config
    name = item.nodeid.partition("::")[2]
    options = {key: one for key, one in vars(config.option).items() if is_plain(one)}
    options |= _ALONE | {
        INSIDE: True,
        "basetemp": str(_basetemp(config, folder)),
        "inifilename": str(config.inipath or os.devnull),
        "plugins": ["no:terminal"],
        "rootdir": str(config.rootpath),
    }
    if isinstance(options.get(_ALLOWED), str):  # pytest-socket's; the mark names one more host.
        options[_ALLOWED] += f",{_ADDRESS}"
    worker = getattr(config, "workerinput", None)
    node = f"{item.path}::{name}" if name else str(item.path)
    # As arguments: what an option says of plugins comes too late for those that are loaded early.
    plugins = [word for name in config.option.plugins for word in ("-p", name)]
    return ChildRun(options, [*plugins, node], worker, str(folder))


def _basetemp(config: pytest.Config, folder: Path) -> Path:
    """Return a folder for tmp_path: beside those of this run, where people look for them."""
    return (_kept(config) or folder) / f"real-address-{next(_numbers)}"


def _kept(config: pytest.Config) -> Path | None:
    """Return the folder of this run, which pytest clears some runs later, if it keeps one.

    What a run that is killed leaves there goes away; elsewhere it would stay for good.
    """
    factory = getattr(config, "_tmp_path_factory", None)
    return factory.getbasetemp() if factory else None
