"""The child process of `real_address`: enters a private network and runs one test there."""

import pickle
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from openimds.linux.private_netns import NamespaceError, enter
from openimds.linux.syscalls import end_with_parent

IN_CHILD = "imds_in_child"
"""The pytest option that marks the child; it has no flag on the command line."""
MEMORY = "imds_memory"
"""The option with the folder in memory, of a child with Azure's hosts."""
RERUNS = "rerunfailures"
"""The name of the plugin pytest-rerunfailures."""
_FILE = "report"
_REFUSAL, _REPORT, _WARNING, _OUTPUT = "refusal", "report", "warning", "output"


class ChildRun(Struct):
    """The order to the child: pytest's options and arguments, and xdist's worker input.

    `hosts` maps names to addresses of its network; then the folder `memory` is in memory.
    """

    options: dict[str, Any]
    arguments: list[str]
    worker: dict[str, Any] | None
    folder: str
    hosts: dict[str, str]
    memory: str


class ChildReport(Struct):
    """The results of the child.

    Attributes:
        refusal: why there is no private network, empty if there is one.
        reports: pytest's reports, serialized.
        warnings: pickled warnings.
        output: its output beside the reports.
        code: its exit code.
    """

    refusal: str
    reports: list[dict[str, Any]]
    warnings: list[bytes]
    output: str
    code: int

    @classmethod
    def read(cls, folder: Path, code: int, output: str) -> "ChildReport":
        """Return the results that the child wrote until it ended."""
        result = cls("", [], [], output, code)
        path = folder / _FILE
        if not path.exists():
            return result
        with path.open("rb") as file:
            while True:
                try:
                    kind, value = pickle.load(file)  # noqa: S301 - our own child wrote it
                except (EOFError, pickle.UnpicklingError):  # The end, or a message cut short.
                    return result
                if kind == _REFUSAL:
                    result.refusal = value
                elif kind == _REPORT:
                    result.reports.append(value)
                elif kind == _WARNING:
                    result.warnings.append(value)
                else:
                    result.output += value


class ReportWriter:
    """A plugin that writes reports to a file, for the parent to read."""

    def __init__(self, folder: Path) -> None:
        """Write into a folder that the parent has made."""
        self._path = folder / _FILE
        self.config: pytest.Config | None = None

    def write(self, kind: str, value: object) -> None:
        """Append one message; any process has to be able to unpickle its value."""
        data = pickle.dumps((kind, value))
        with self._path.open("ab") as file:
            file.write(data)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the report of a phase of the test."""
        assert self.config is not None  # It is set before anything runs.
        report.user_properties = [
            (name, value if is_plain(value) else repr(value))
            for name, value in report.user_properties
        ]
        hook = self.config.hook
        self.write(_REPORT, hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write the error of a module that cannot be collected."""
        if report.failed:
            self.write(_OUTPUT, f"{report.longreprtext}\n")

    def pytest_internalerror(self, excrepr: object) -> None:
        """Write an internal error of pytest or of a plugin."""
        self.write(_OUTPUT, f"{excrepr}\n")

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        """Write a warning of the test; the parent records those of the collection itself."""
        if when != "runtest":
            return
        warning_message.source = None  # It may be any object.
        arguments = {
            "warning_message": warning_message,
            "when": when,
            "nodeid": nodeid,
            "location": location,
        }
        # A class that is in no module cannot be pickled.
        with suppress(pickle.PicklingError, AttributeError, TypeError):
            self.write(_WARNING, pickle.dumps(arguments))


class WithoutReruns:
    """A plugin in the place of pytest-rerunfailures, whose worker calls its controller by TCP.

    The parent runs a failed test again, in another child. Settings and mark stay known.
    """

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        """Add the options of that plugin."""
        import_module(f"pytest_{RERUNS}").pytest_addoption(parser)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Add the mark of that plugin."""
        config.addinivalue_line("markers", "flaky: a mark of pytest-rerunfailures")


def is_plain(value: object) -> bool:
    """Tell whether a value means the same in another process."""
    if isinstance(value, dict):
        return all(map(is_plain, (*value, *value.values())))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | bytes | int | float | bool | Path)


def main(path: str) -> None:
    """Run the order in a file, and exit with pytest's exit code."""
    order: ChildRun = pickle.loads(Path(path).read_bytes())  # noqa: S301 - our parent wrote it
    writer = ReportWriter(Path(order.folder))
    try:
        enter(order.hosts, order.memory)
    except NamespaceError as error:
        writer.write(_REFUSAL, str(error))
        return
    end_with_parent(signal.SIGKILL)  # After entering, which resets it.
    # pytest imports a plugin's modules by itself, and warns if they are loaded already.
    for name in [name for name in sys.modules if name.partition(".")[0] == "openimds"]:
        del sys.modules[name]
    config = pytest.Config.fromdictargs(order.options, order.arguments)
    if order.worker is not None:
        # Fixtures of xdist name databases and the like after the worker that the child acts for.
        vars(config).update(workerinput=order.worker, workeroutput={})
    writer.config = config
    config.pluginmanager.register(writer, "imds-report-writer")
    if f"no:{RERUNS}" in order.arguments:
        config.pluginmanager.register(WithoutReruns(), "imds-without-reruns")
    sys.exit(config.hook.pytest_cmdline_main(config=config))
