"""The renewal of the chain's own certificates by their age, before they end.

A root is renewed early: the old one certifies the new one, and both are in the trust bundle until
the old one ends, so that verifiers have two years to take the new bundle.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

from openimds.credentials.pki.certificate_info import common_name, is_root
from openimds.credentials.pki.chain import Chain

AGE = "age"
ROOT_DAYS = 731
"""The last days of a root, in which it is renewed; the overlap of both."""
INTERMEDIATE_DAYS = 366
_EXTERNAL_DAYS = 30
"""The last days of an operator's certificate, in which its end is announced."""


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


def _days(count: int) -> timedelta:
    return timedelta(days=count)
