"""A rehearsal: the walk of an authority's intermediate through the generations of Azure.

Each due step replaces the intermediate. During its overlap the regions that have not moved keep the
previous issuer and their leaves. Every step is written, so that a restart goes on with it; a step
that was taken and could not be written is written before the next one, since a restart looks for
one step alone.
"""

from pathlib import Path
from typing import Literal, Protocol

from msgspec import structs

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.certificate_info import common_name
from openimds.credentials.pki.certificates import Issuer
from openimds.credentials.pki.issuers import Issuers
from openimds.credentials.pki.leaves import Leaves
from openimds.credentials.pki.renewal import RETRY_S, Report
from openimds.credentials.pki.walk_file import read_walk, write_walk
from openimds.facts.generations import STEPS
from openimds.protocol.generation_walk import GenerationWalk

REHEARSAL = "rehearsal"


class Rehearsing(Protocol):
    """The part of an authority that a rehearsal uses."""

    report: Report

    def rotate(self, part: Literal["intermediate"], now_s: float, generation: str) -> None:
        """Replace the intermediate by one of a generation."""

    def end_overlap(self, now_s: float) -> None:
        """Drop the previous issuer, and sign its lists for the last time."""


class Rehearsal:
    """The rehearsal of one authority, if one is under way or completed.

    The lock of the issuers is the caller's matter.
    """

    def __init__(
        self, authority: Rehearsing, issuers: Issuers, leaves: Leaves, folder: Path | None
    ) -> None:
        """Go on with the walk of a folder, if there is one.

        Raises:
            KeyFileError: its file cannot be read.
        """
        self._authority, self._issuers, self._leaves = authority, issuers, leaves
        self._folder = folder
        self._failed_s: float | None = None
        self._is_unwritten = False
        self.walk = read_walk(folder)

    def begin(self, walk: GenerationWalk) -> None:
        """Go on from the first generation of a walk, at which the authority already is.

        Raises:
            KeyFileError: the walk cannot be written.
        """
        try:
            write_walk(self._folder, walk)
        except KeyFileError as error:
            raise KeyFileError(
                f"{error}; the rehearsal has not begun, and the intermediate is of "
                f"{walk.generation}: begin it again when there is room"
            ) from None
        self.walk, self._failed_s, self._is_unwritten = walk, None, False

    def end(self) -> None:
        """Take no further step.

        Raises:
            KeyFileError: the file of the walk cannot be removed.
        """
        write_walk(self._folder, None)
        self.walk, self._is_unwritten = None, False

    def advance(self, now_s: float) -> None:
        """Take the due steps; try a failed one again in an hour."""
        walk, failed_s = self.walk, self._failed_s
        if walk is None or (failed_s is not None and 0 <= now_s - failed_s < RETRY_S):
            return
        self._failed_s = None
        try:
            if self._is_unwritten:
                self._write(walk)
            while walk.done < walk.due(now_s):
                walk = self._step(structs.replace(walk, done=walk.done + 1), now_s)
        except KeyFileError as error:
            self._failed_s = now_s
            at = (self.walk or walk).generation
            cause = "a step that cannot be written" if self._is_unwritten else "the step before"
            self._authority.report("", REHEARSAL, f"a rehearsal is stuck at {at}, {cause}: {error}")
            return
        if self._issuers.previous and now_s >= walk.overlap_ends_s(walk.done - 1):
            self._authority.end_overlap(now_s)

    def is_at(self, generation: str) -> bool:
        """Tell whether the issuer in use is of a generation."""
        return self._issuers.generation_of(self._issuers.chain.issuer).key == generation

    def previous_of(self, region: str, now_s: float) -> Issuer | None:
        """Return the previous issuer if the leaves of a region still come from it."""
        previous, walk = self._issuers.previous, self.walk
        return previous if previous and walk and not walk.has_moved(region, now_s) else None

    def _step(self, walk: GenerationWalk, now_s: float) -> GenerationWalk:
        """Go to the next generation; the regions that have not moved keep issuer and leaf.

        Raises:
            KeyFileError: as `rotate`, or the step is taken and cannot be written.
        """
        if not self.is_at(walk.generation):  # Else it was taken, and could not be written.
            previous, leaves = self._issuers.chain.issuer, {**self._leaves.cached}
            self._authority.rotate("intermediate", now_s, walk.generation)
            self._issuers.previous = previous
            self._leaves.restore(leaves)
            name, row = common_name(self._issuers.chain.issuer.certificate), STEPS[walk.generation]
            sentence = f"rehearsal: {name} issues leaves of {walk.generation} ({row.change})"
            self._authority.report("intermediate", REHEARSAL, sentence)
        self.walk = walk
        self._write(walk)
        return walk

    def _write(self, walk: GenerationWalk) -> None:
        self._is_unwritten = True
        write_walk(self._folder, walk)
        self._is_unwritten = False
