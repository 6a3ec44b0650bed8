"""The renewal of the chain's own certificates by their age, before they end.

A root is renewed early: the old one certifies the new one, and both are in the trust bundle until
the old one ends, so that verifiers have two years to take the new bundle.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.certificate_info import common_name, is_root
from openimds.credentials.pki.chain import Chain

AGE = "age"
ROOT_DAYS = 731
"""The last days of a root, in which it is renewed; the overlap of both."""
INTERMEDIATE_DAYS = 366
_EXTERNAL_DAYS = 30
"""The last days of an operator's certificate, in which its end is announced."""
RETRY_S = 3600
"""The time between attempts to renew a certificate, or to take a step, in seconds."""

Report: TypeAlias = Callable[[str, str, str], None]
"""Takes an automatic replacement, or its failure: the part ("" if it failed), the cause, a
sentence."""


class Renewable(Protocol):
    """The part of an authority that a renewal uses."""

    report: Report

    @property
    def chain(self) -> Chain:
        """The chain in use."""
        ...

    def rotate(self, part: Literal["intermediate", "root"], now_s: float) -> None:
        """Replace the intermediate, or the root and all below it."""


class DueRenewal(Struct, frozen=True):
    """A part of a chain to renew: its name, and its end."""

    part: Literal["intermediate", "root"]
    name: str
    ends: datetime


def due_renewal(chain: Chain, now_s: float) -> DueRenewal | None:
    """Return the part to renew at a time, the root before the intermediate.

    A part is due only where the key is here that would certify its successor.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    root, issuer = chain.root, chain.issuer.certificate
    if root and chain.root_key_holder and root.not_valid_after_utc < now + _days(ROOT_DAYS):
        return DueRenewal("root", common_name(root), root.not_valid_after_utc)
    can_renew = chain.tier or chain.root_key_holder
    if can_renew and issuer.not_valid_after_utc < now + _days(INTERMEDIATE_DAYS):
        return DueRenewal("intermediate", common_name(issuer), issuer.not_valid_after_utc)
    return None


def ends_ahead(chain: Chain, now_s: float) -> list[str]:
    """Return sentences on certificates that end soon and cannot be renewed here."""
    now = datetime.fromtimestamp(now_s, UTC)
    if chain.root is None or chain.above:
        soon = [
            one for one in chain.lineage() if one.not_valid_after_utc < now + _days(_EXTERNAL_DAYS)
        ]
        remedy = "bring its successor by --attest-key and --attest-certificates, and restart"
    else:
        is_away = chain.root_key_holder is None
        soon = [
            one
            for one in chain.lineage()
            if is_away and is_root(one) and one.not_valid_after_utc < now + _days(ROOT_DAYS)
        ]
        remedy = "put root.key into the folder of the CA, and restart"
    return [
        f"{common_name(one) or one.subject.rfc4514_string()} ends at "
        f"{one.not_valid_after_utc:%F %T} UTC, and its key is not here: {remedy}"
        for one in soon
    ]


def renewed(due: DueRenewal, chain: Chain) -> str:
    """Return the sentence on a renewal; `chain` is the one after it."""
    new = chain.root if due.part == "root" and chain.root else chain.issuer.certificate
    until = f"{due.ends:%F %T} UTC"
    if due.part == "root":
        rest = f"both are in the trust bundle until {until}: give verifiers openimds attest ca"
    else:
        rest = f"the former one, which ends at {until}, stays published"
    return f"the {due.part} {due.name} was renewed by {common_name(new)}; {rest}"


class Renewals:
    """The renewals of one authority: when the last one failed, and the ends announced."""

    def __init__(self, authority: Renewable) -> None:
        """Renew the chain of an authority; its lock is the caller's matter."""
        self._authority = authority
        self._failed_s: float | None = None
        self._announced: set[str] = set()

    def renew(self, now_s: float) -> None:
        """Replace the authority's own root or intermediate if it ends soon; retry once an hour.

        Raises:
            KeyFileError: the replacement failed, and the current certificate has expired.
        """
        authority = self._authority
        self._announce(now_s)
        # Two at most: a new root comes with a new intermediate, and both last for years.
        while due := due_renewal(authority.chain, now_s):
            failed_s, ends_s = self._failed_s, due.ends.timestamp()
            if failed_s is not None and 0 <= now_s - failed_s < RETRY_S and now_s < ends_s:
                return
            try:
                authority.rotate(due.part, now_s)
            except KeyFileError as error:
                self._failed_s = now_s
                if due_renewal(authority.chain, now_s) and ends_s < now_s:
                    raise
                sentence = f"the {due.part} {due.name} cannot be renewed, and ends at "
                authority.report("", AGE, f"{sentence}{due.ends:%F %T} UTC: {error}")
                return
            self._failed_s = None
            authority.report(due.part, AGE, renewed(due, authority.chain))

    def _announce(self, now_s: float) -> None:
        """Report once each certificate that ends soon and cannot be renewed here."""
        for sentence in ends_ahead(self._authority.chain, now_s):
            if sentence not in self._announced:
                self._announced.add(sentence)
                self._authority.report("", AGE, sentence)


def _days(count: int) -> timedelta:
    return timedelta(days=count)
