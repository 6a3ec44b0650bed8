"""The known deviations of served documents from the official swagger, one row each.

A test checks every row against the files: a row that no longer applies fails. `evidence` is a
section of `imds-wire.md`.
"""

from typing import NamedTuple


class Deviation(NamedTuple):
    """A deviation at `path` in the versions from `first` to `last`, both included."""

    path: str
    first: str
    last: str
    why: str
    evidence: str

    def is_about(self, version: str) -> bool:
        """Tell whether a version is in the range."""
        return self.first <= version <= self.last


NOT_IN_SWAGGER = (
    Deviation(
        "compute.customData",
        "2019-06-01",
        "2023-07-01",
        "the swagger omits it, every recorded response since has it",
        "C.1 customData (S15, S18), J.7",
    ),
    Deviation(
        "compute.tagsList",
        "2019-08-15",
        "2019-11-01",
        "the swagger omits it in two versions, a recording of 2019-08-15 has it",
        "C.1 tagsList (S18), J.7",
    ),
)
"""Fields of the rows that the `Instance` definition of a version lacks."""

NOT_IN_EXAMPLE = (
    Deviation(
        "network",
        "2018-02-01",
        "2023-07-01",
        "no example has it, every definition does",
        "C.5, swagger-only slips",
    ),
    Deviation(
        "compute.provider",
        "2018-10-01",
        "2019-03-11",
        "the definition has it, the example omits it",
        "C.5 (S15, S18)",
    ),
    Deviation(
        "compute.provider",
        "2019-06-01",
        "2019-11-01",
        "the definition has it, the example omits it",
        "C.5 (S15, S18)",
    ),
    Deviation(
        "compute.host",
        "2021-11-15",
        "2023-07-01",
        "host and hostGroup are always present, an example has only the one that is not empty",
        "C.1 host.id (S26), J.16",
    ),
)
"""Fields of a definition that its example of GetInstanceMetadata lacks."""

NOT_IN_SAMPLE = (
    Deviation(
        "compute.customData",
        "2019-02-01",
        "2020-10-01",
        "real documents of these versions have it",
        "C.5 (S15, S18)",
    ),
    Deviation(
        "compute.provider",
        "2018-10-01",
        "2020-10-01",
        "real documents of these versions have it",
        "C.5 (S15, S18)",
    ),
    Deviation(
        "compute.tagsList",
        "2019-06-04",
        "2020-10-01",
        "real documents of these versions have it",
        "C.5 (S15, S18)",
    ),
)
"""Fields of the served document that the samples in the text, of 2020-09-01, lack."""

TOO_EARLY_IN_SAMPLE = (
    Deviation(
        "compute.osProfile.disablePasswordAuthentication",
        "2020-09-01",
        "2020-09-01",
        "it came with 2020-10-01",
        "C.5, B.3",
    ),
)
"""Fields of the samples that the served document of that version lacks."""
