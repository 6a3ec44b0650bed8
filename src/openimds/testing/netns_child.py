"""The child of `real_address`: enters a network of its own and runs one test there."""

import pickle
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from msgspec import Struct

from openimds.linux.private_netns import NamespaceError, enter
from openimds.linux.syscalls import end_with_parent

INSIDE = "imds_inside"
"""The option that tells the plugin that it is inside, where no command line can say so."""
_SAID = "said"
_REFUSAL, _REPORT, _WARNING, _WORDS = "refusal", "report", "warning", "words"


class ChildRun(Struct):
    """What the child is to run: pytest's options and arguments, and what xdist told its worker."""

    options: dict[str, Any]
    arguments: list[str]
    worker: dict[str, Any] | None
    folder: str


class ChildReport(Struct):
    """What the child had to say.

    `refusal` is why there is no private network, `reports` are serialized, `warnings` pickled,
    `words` is whatever it said beside them.
    """

    refusal: str
    reports: list[dict[str, Any]]
    warnings: list[bytes]
    words: str
    code: int

    @classmethod
    def read(cls, folder: Path, code: int, words: str) -> "ChildReport":
        """Return what was said until the child ended."""
        said = cls("", [], [], words, code)
        path = folder / _SAID
        if not path.exists():
            return said
        with path.open("rb") as file:
            while True:
                try:
                    kind, one = pickle.load(file)  # noqa: S301 - our own child wrote it
                except (EOFError, pickle.UnpicklingError):  # It was cut short, and ends here.
                    return said
                if kind == _REFUSAL:
                    said.refusal = one
                elif kind == _REPORT:
                    said.reports.append(one)
                elif kind == _WARNING:
                    said.warnings.append(one)
                else:
                    said.words += one


class ReportWriter:
    """A plugin that writes down what happens, for the parent to read."""

    def __init__(self, folder: Path) -> None:
        """Write into a folder that the parent has made."""
        self._path = folder / _SAID
        self.config: pytest.Config | None = None

    def notify(self, kind: str, one: object) -> None:
        """Say one thing that any process can read."""
        data = pickle.dumps((kind, one))
        with self._path.open("ab") as file:
            file.write(data)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell of a phase of the test."""
        assert self.config is not None  # It is set before anything runs.
        report.user_properties = [
            (name, one if is_plain(one) else repr(one)) for name, one in report.user_properties
        ]
        hook = self.config.hook
        self.notify(_REPORT, hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell of a module that cannot be collected."""
        if report.failed:
            self.notify(_WORDS, f"{report.longreprtext}\n")

    def pytest_internalerror(self, excrepr: object) -> None:
        """Tell of a mistake of pytest or of a plugin."""
        self.notify(_WORDS, f"{excrepr}\n")

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        """Report a warning of the test; the parent records those of the collection itself."""
        if when != "runtest":
            return
        warning_message.source = None  # It may be any object.
        told = {
            "warning_message": warning_message,
            "when": when,
            "nodeid": nodeid,
            "location": location,
        }
        with suppress(pickle.PicklingError, AttributeError, TypeError):  # Of no class of a module.
            self.notify(_WARNING, pickle.dumps(told))


def is_plain(value: object) -> bool:
    """Tell whether a value is the same in another process."""
    if isinstance(value, dict):
        return all(map(is_plain, (*value, *value.values())))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | bytes | int | float | bool | Path)


def main(path: str) -> None:
    """Run what an order says, and end with pytest's exit code."""
    order: ChildRun = pickle.loads(Path(path).read_bytes())  # noqa: S301 - our parent wrote it
    teller = ReportWriter(Path(order.folder))
    try:
        enter()
    except NamespaceError as error:
        teller.notify(_REFUSAL, str(error))
        return
    end_with_parent(SIGKILL)  # After that: entering takes it back.
    # pytest loads a plugin's modules its own way, and says so if they are there already.
    for name in [name for name in sys.modules if name.partition(".")[0] == "openimds"]:
        del sys.modules[name]
    config = pytest.Config.fromdictargs(order.options, order.arguments)
    if order.worker is not None:
        # Fixtures of xdist name databases and the like after the worker that this one helps.
        vars(config).update(workerinput=order.worker, workeroutput={})
    teller.config = config
    config.pluginmanager.register(teller, "imds-teller")
    sys.exit(config.hook.pytest_cmdline_main(config=config))
