"""The certificates that an operator's request to revoke means, and the refusals of others."""

from collections.abc import Sequence

from openimds.credentials.pki.certificate_info import list_name
from openimds.credentials.pki.issuers import Issuers
from openimds.credentials.pki.revocation import Revocation
from openimds.credentials.pki.revocation_register import RegisterEntry, serial_of
from openimds.errors import ConfigError


def revocation_targets(
    target: str, leaves: Sequence[str], issuers: Issuers, revocation: Revocation
) -> list[RegisterEntry]:
    """Return the certificates to revoke, each in good standing and of a present issuer.

    Args:
        target: `leaf` (all leaves in use), `intermediate`, or a serial number in hexadecimal.
        leaves: the serial numbers of the leaves in use.
        issuers: those whose keys are here.
        revocation: the register.

    Raises:
        ConfigError: the target is unknown, revoked already, or of an issuer without a key here.
    """
    entries = _found(target, leaves, issuers, revocation)
    signers = issuers.list_issuers()
    names = {list_name(one.certificate) for one in (*signers.lists_of_leaves, *signers.of_cas)}
    tier = issuers.chain.tier and serial_of(issuers.chain.tier.certificate)
    for entry in entries:
        if entry.serial == tier:
            seen = "the tier in use, which only openimds attest rotate root replaces"
            raise _unknown(entry.serial, seen, "a leaf or an intermediate")
        if entry.revoked_s is not None:
            seen = "a certificate that is revoked already"
            raise _unknown(entry.serial, seen, "one in good standing")
        if entry.issuer not in names:
            seen = f"a certificate of {entry.issuer}, whose key is not here"
            raise _unknown(entry.serial, seen, "a certificate of a present issuer")
    return entries


def _found(
    target: str, leaves: Sequence[str], issuers: Issuers, revocation: Revocation
) -> list[RegisterEntry]:
    if not issuers.location.public_url:
        raise ConfigError(
            f'target "{target}"',
            "certificates without addresses of lists",
            "a public URL",
            "Set --public and --public-url, so that verifiers can learn of a revocation",
        )
    cas = {entry.serial: entry for entry in revocation.ca_entries(issuers.list_issuers())}
    issuer = issuers.chain.issuer.certificate
    if target == "intermediate":
        serials = [serial_of(issuer)]
        if serials[0] not in cas:
            seen = "an intermediate whose issuer's key is not here"
            raise _unknown(target, seen, "the key of tier or root in the folder of the CA")
    elif target == "leaf":
        serials = [*leaves] or revocation.good_leaves(issuer)
    else:
        digits = target.replace(":", "").upper()
        serials = [f"0{digits}" if len(digits) % 2 else digits]
    found = [cas.get(serial) or revocation.find(serial) for serial in serials]
    entries = [entry for entry in found if entry]
    if not entries:
        raise _unknown(target, "no such certificate", "leaf, intermediate, or a serial number")
    return entries


def _unknown(target: str, seen: str, expected: str) -> ConfigError:
    hint = "Type openimds attest status for the serial numbers"
    return ConfigError(f'target "{target}"', seen, expected, hint)
