"""Checks across settings: combinations that cannot work, and those the operator should know.

A single value is checked where it is read, by the row of its setting.
"""

from contextlib import suppress
from ipaddress import ip_address

from openimds.errors import ConfigError
from openimds.settings import Settings

_LARGEST_BURST = 10_000
NO_LOOP = (
    "loop has no effect: the data plane has its own. Remove --loop, OPENIMDS_LOOP or loop from "
    "openimds.toml; the setting is gone with 1.0"
)


def check(settings: Settings) -> None:
    """Check that settings go together.

    Raises:
        ConfigError: two settings exclude each other, or one lacks another.
    """
    check_source(settings)
    _check_bursts(settings)
    _check_external_ca(settings)
    _check_issuer(settings)
    _check_entra(settings)


def check_pki_names(settings: Settings, *, is_in_sandbox: bool, is_online: bool = False) -> None:
    """Check that Microsoft's hosts are written only into certificates that a sandbox keeps.

    Raises:
        ConfigError: it is no sandbox, it reaches other hosts, or keys or a root are elsewhere.
    """
    if settings.pki_names == "own":
        return
    where, own = '"azure" ', "Write --pki-names own"
    if not is_in_sandbox:
        raise ConfigError(
            "pki_names",
            f"{where}outside a sandbox",
            "openimds exec, or a test marked real_address: there these hosts are this server's",
            f"{own}, or openimds exec --pki-names azure -- COMMAND",
        )
    for is_refused, seen, expected, remedy in (
        (is_online, "with --net host", "a sandbox that reaches no other host", "leave out --net"),
        (settings.state, "with a state directory", "keys in memory alone", "leave out --state"),
        (
            settings.attest_key,
            "with an external CA",
            "a root that ends with the command",
            "leave out --attest-key and --attest-certificates",
        ),
    ):
        if is_refused:
            raise ConfigError("pki_names", where + seen, expected, f"{own}, or {remedy}")


def check_source(settings: Settings) -> None:
    """Check that VMs come from one file at most.

    Raises:
        ConfigError: both a fleet file and a document are set.
    """
    if settings.fleet and settings.document:
        seen = f"both {settings.fleet} and {settings.document}"
        raise ConfigError("--document", seen, "a fleet or a document, not both")


def notices(settings: Settings) -> list[str]:
    """Return messages about settings that work, but perhaps not as intended."""
    public = settings.public
    found = [] if settings.loop == "auto" else [NO_LOOP]
    with suppress(ValueError):
        host = public.rpartition(":")[0].strip("[]")
        if ip_address(host).is_unspecified and not settings.public_url:
            found.append(
                f"certificates and discovery documents name http://{public}, which guests cannot "
                "reach. Set --public-url to the URL by which guests reach this machine"
            )
    return found


def _check_bursts(settings: Settings) -> None:
    limits = {
        "general_burst": settings.general_burst or settings.general_per_s,
        "identity_burst": settings.identity_burst or settings.identity_per_s,
    }
    for name, burst in limits.items():
        if burst > _LARGEST_BURST:
            raise ConfigError(
                name,
                str(burst),
                f"at most {_LARGEST_BURST}: each VM stores the times of so many requests",
                "Write --no-rate-limit, or a smaller burst",
            )


def _check_external_ca(settings: Settings) -> None:
    _check_external_revocation(settings)
    if bool(settings.attest_key) == bool(settings.attest_certificates):
        return
    present, absent = "attest_key", "attest_certificates"
    if not settings.attest_key:
        present, absent = absent, present
    raise ConfigError(present, f"no {absent} beside it", "both or neither", f"Set {absent}")


def _check_external_revocation(settings: Settings) -> None:
    name = "attest_crl" if settings.attest_crl else "attest_ocsp"
    if not (settings.attest_crl or settings.attest_ocsp):
        return
    if not (settings.attest_key or settings.state):
        raise ConfigError(
            name,
            "neither attest_key nor state beside it",
            "a CA whose key is elsewhere",
            "Set attest_key and attest_certificates",
        )
    if settings.public == "none" and not settings.public_url:
        raise ConfigError(
            name, "no public address", "a listener that serves it", "Write --public HOST:PORT"
        )


def _has_no_public_url(settings: Settings) -> bool:
    """Tell whether tokens name an issuer that is published nowhere."""
    return settings.issuer == "public" and settings.public == "none" and not settings.public_url


def _check_issuer(settings: Settings) -> None:
    if _has_no_public_url(settings) and not settings.entra:
        raise ConfigError(
            "issuer",
            '"public" without a public address',
            "a listener, or a URL",
            "Write --public HOST:PORT, --public-url URL, or --issuer URL",
        )


def _check_entra(settings: Settings) -> None:
    if settings.entra and settings.virtual_clock:
        raise ConfigError(
            "entra",
            f'"{settings.entra}" with a virtual clock',
            "the system clock: Entra's tokens live by it",
            "Leave out --virtual-clock, or --entra",
        )
    is_unpublished = _has_no_public_url(settings)
    if settings.entra == "federation" and (settings.issuer in {"azure", ""} or is_unpublished):
        without = " without a public address" if is_unpublished else ""
        raise ConfigError(
            "entra",
            f'"federation" with the issuer {settings.issuer}{without}',
            "an issuer whose discovery document and keys Entra can fetch by https",
            "Write --issuer public --public-url https://..., or --issuer https://...",
        )
