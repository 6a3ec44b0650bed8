"""The progress of a host: its last answer, and its oldest unshown change.

Control keeps this for each host across connections, so that a host that is away is judged as well.
Before its first comparison a host may lack anything: that counts as a change at the connection, and
for hosts with VMs at the moment when control began to lead.
"""

import time


class HostProgress:
    """The progress of one host, by the steady clock."""

    def __init__(self, answered_s: float) -> None:
        """Begin with nothing to show; `answered_s` is the time of the last answer, if any."""
        self.answered_s = answered_s
        self._marked_s: float | None = None
        """The time of the oldest change that is not being sent."""
        self._sending_s: float | None = None
        """That of the oldest one that is being sent, or was when the connection ended."""

    def mark(self) -> None:
        """Note a change that the host has to show."""
        if self._marked_s is None:
            self._marked_s = time.monotonic()

    def begin(self) -> None:
        """Note that all changes so far are being sent."""
        if self._sending_s is None:
            self._sending_s = self._marked_s
        self._marked_s = None

    def end(self) -> None:
        """Note that the host shows what was being sent."""
        self._sending_s = None

    def answered(self) -> None:
        """Note an answer of the host."""
        self.answered_s = time.monotonic()

    def silent_s(self) -> float:
        """Return the time since the last answer."""
        return time.monotonic() - self.answered_s

    def unshown_age_s(self) -> float:
        """Return the age of the oldest unshown change, or 0."""
        oldest_s = self._marked_s if self._sending_s is None else self._sending_s
        return 0.0 if oldest_s is None else time.monotonic() - oldest_s
