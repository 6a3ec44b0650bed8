"""The certificates that an operator's request to revoke means, and the refusals of others."""

from collections.abc import Container, Sequence

from openimds.credentials.pki.certificate_info import list_name
from openimds.credentials.pki.issuers import Issuers
from openimds.credentials.pki.revocation import Revocation
from openimds.credentials.pki.revocation_register import RegisterEntry, serial_of
from openimds.errors import ConfigError

_HOST = "host:"


def revocation_targets(
    target: str,
    leaves: Sequence[str],
    issuers: Issuers,
    revocation: Revocation,
    now_s: float,
) -> list[RegisterEntry]:
    """Return the certificates to revoke, each in good standing and of a present issuer.

    Args:
        target: `leaf` (all leaves in use), `intermediate`, `host:NAME` (the leaves whose keys are
            on a host), or a serial number in hexadecimal.
        leaves: the serial numbers of the leaves in use.
        issuers: those whose keys are here.
        revocation: the register.
        now_s: the time by the server's clock.

    Raises:
        ConfigError: the target is unknown, revoked already, or of an issuer without a key here.
    """
    signers = issuers.list_issuers()
    names = {list_name(one.certificate) for one in (*signers.lists_of_leaves, *signers.of_cas)}
    entries = _found(target, leaves, issuers, revocation, names, now_s)
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


def _found(  # noqa: PLR0913, PLR0917 - as above, and the names of the issuers
    target: str,
    leaves: Sequence[str],
    issuers: Issuers,
    revocation: Revocation,
    names: Container[str],
    now_s: float,
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
        of_hosts = _of_hosts(revocation, "", names, now_s)
        serials = [*leaves, *of_hosts] or revocation.good_leaves(issuer)
    elif target.startswith(_HOST):
        # Without a name it means no host: the prefix is the name of none.
        serials = _of_hosts(revocation, target.removeprefix(_HOST) or _HOST, names, now_s)
    else:
        digits = target.replace(":", "").upper()
        serials = [f"0{digits}" if len(digits) % 2 else digits]
    found = [cas.get(serial) or revocation.find(serial) for serial in serials]
    entries = [entry for entry in found if entry]
    if not entries:
        expected = "leaf, intermediate, host:NAME, or a serial number"
        raise _unknown(target, "no such certificate", expected)
    return entries


def _of_hosts(revocation: Revocation, host: str, names: Container[str], now_s: float) -> list[str]:
    """Return the serial numbers of hosts' leaves below the issuers of these names."""
    entries = revocation.leaves_of_hosts(now_s, host)
    return [entry.serial for entry in entries if entry.issuer in names]


def _unknown(target: str, seen: str, expected: str) -> ConfigError:
    hint = "Type openimds attest status for the serial numbers"
    return ConfigError(f'target "{target}"', seen, expected, hint)
