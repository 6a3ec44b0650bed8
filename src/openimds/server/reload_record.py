"""The record of a fleet file's edits: a bad one shows in the metrics."""

from collections import Counter

from msgspec import Struct, field


class ReloadRecord(Struct):
    """The outcome of the last edit; times in seconds since 1970.

    `is_served` tells that the newest text is served. `outcomes` counts the edits that were applied,
    and those that were refused.
    """

    is_served: bool
    served_s: float
    """0 until a text of the file is served."""
    refused_s: float | None = None
    outcomes: Counter[str] = field(default_factory=lambda: Counter(applied=0, refused=0))

    def note_served(self, now_s: float, *, is_edit: bool) -> None:
        """Note that the text is served: an applied edit, or one that was taken back."""
        self.is_served, self.served_s = True, now_s
        self.outcomes["applied"] += is_edit

    def note_refused(self, now_s: float, *, is_retry: bool) -> None:
        """Note that an edit is not served; a retry of it is no further edit."""
        self.is_served, self.refused_s = False, now_s
        self.outcomes["refused"] += not is_retry

    def samples(self) -> dict[str, float | dict[str, float]]:
        """Return the values by the name of a metric."""
        name = "openimds_fleet_file_last_reload"
        samples: dict[str, float | dict[str, float]] = {
            f"{name}_successful": float(self.is_served),
            f"{name}_success_timestamp_seconds": self.served_s,
            "openimds_fleet_file_reloads": {**self.outcomes},
        }
        if self.refused_s is not None:
            samples[f"{name}_failure_timestamp_seconds"] = self.refused_s
        return samples
