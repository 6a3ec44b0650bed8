"""The results of the tests, by client."""

from collections import defaultdict

import pytest

from tests.clients.roster import CLIENTS, Client

PASSED, FAILED, NOT_RUN = "passed", "FAILED", "not run"


class Tally:
    """A pytest plugin that counts the outcomes of tests by client.

    The property `version` of a test gives the version of a client, where its row cannot know it.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, list[str]] = defaultdict(list)
        self._reasons: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._spent_s: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a step of a test."""
        properties = [(name, str(value)) for name, value in report.user_properties]
        for key in [value for name, value in properties if name == "client"]:
            self._spent_s[key] += report.duration
            if report.failed or report.skipped or report.when == "call":
                self._outcomes[key].append(report.outcome)
            if report.skipped and isinstance(report.longrepr, tuple):
                reason = str(report.longrepr[2]).removeprefix("Skipped: ")
                self._reasons[key] = reason.removeprefix(f"{key}: ")
            for version in [value for name, value in properties if name == "version"]:
                self._versions[key] = version

    def result(self, client: Client) -> tuple[str, str]:
        """Return the result of a client, and its reason or its proof."""
        outcomes, reason = self._outcomes[client.key], self._reasons.get(client.key, "")
        if "failed" in outcomes:
            return FAILED, f"{outcomes.count('failed')} of {len(outcomes)} tests"
        if "passed" not in outcomes:
            return NOT_RUN, reason or "no test of it was chosen"
        left_out = outcomes.count("skipped")
        return PASSED, client.proves + (f" (but {left_out} tests: {reason})" if left_out else "")

    def untested(self) -> list[str]:
        """Return the clients without any test."""
        return [client.key for client in CLIENTS if not self._outcomes[client.key]]

    def table(self) -> str:
        """Return the table of all clients."""
        head = ("CLIENT", "VERSION", "LANGUAGE", "TESTS", "SECONDS", "RESULT", "PROOF")
        rows = [
            (
                client.name,
                self._versions.get(client.key, client.version),
                client.language,
                str(len(self._outcomes[client.key])),
                f"{self._spent_s[client.key]:.1f}",
                *self.result(client),
            )
            for client in CLIENTS
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        )
