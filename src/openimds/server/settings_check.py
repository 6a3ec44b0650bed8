"""Checks across settings: combinations that cannot work, and those the operator should know.

A single value is checked where it is read, by the row of its setting.
"""

import shlex
import shutil
from contextlib import suppress
from ipaddress import ip_address

from openimds.errors import ConfigError
from openimds.settings import Settings

_LARGEST_BURST = 10_000
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
"""The names that an admin API always answers to, as `admin.host_rule` has them."""
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
    _check_admin_tls(settings)
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
    found += _missing_hook(settings.event_hook)
    found += admin_notices(settings)
    with suppress(ValueError):
        host = public.rpartition(":")[0].strip("[]")
        if ip_address(host).is_unspecified and not settings.public_url:
            found.append(
                f"certificates and discovery documents name http://{public}, which guests cannot "
                "reach. Set --public-url to the URL by which guests reach this machine"
            )
    return found


def admin_notices(settings: Settings) -> list[str]:
    """Return a message on an admin API beyond loopback: names, lack of TLS."""
    host = settings.admin.rpartition(":")[0].strip("[]").lower()
    names = [*LOOPBACK_NAMES, *settings.admin_hosts]
    try:
        address = ip_address(host)
    except ValueError:
        names += [host]
    else:
        names += [] if address.is_unspecified else [host]
        host = "" if address.is_loopback else host
    if host in {"", "localhost"}:
        return []
    known = ", ".join(dict.fromkeys(names))
    notice = f"the admin API at {settings.admin} answers to the names {known}; add others by "
    notice += "--admin-hosts NAME"
    if settings.admin_cert:
        return [notice]
    lack = "It speaks http there: a token can be read on its way"
    return [f"{notice}. {lack}. Give it --admin-cert and --admin-key"]


def _missing_hook(hook: str) -> list[str]:
    """Return a message if the program of a hook does not exist yet."""
    if not hook or hook.startswith(("http://", "https://")):
        return []
    try:
        program = next(iter(shlex.split(hook)), "")
    except ValueError:  # It is refused elsewhere.
        return []
    if program and shutil.which(program) is None:
        sentence = f'the event hook waits: there is no program "{program}" that this user may run'
        return [f"{sentence}. Install it, or give --event-hook its full path"]
    return []


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


def _check_admin_tls(settings: Settings) -> None:
    _check_pair(settings, "admin_key", "admin_cert")
    if settings.admin_client_ca and not settings.admin_cert:
        raise ConfigError(
            "admin_client_ca",
            f"{settings.admin_client_ca} without admin_cert",
            "a certificate of the server: only https has client certificates",
            "Set admin_cert and admin_key",
        )


def _check_external_ca(settings: Settings) -> None:
    _check_external_revocation(settings)
    _check_pair(settings, "attest_key", "attest_certificates")


def _check_pair(settings: Settings, present: str, absent: str) -> None:
    """Check that two settings are both set, or neither of them.

    Raises:
        ConfigError: one is set alone.
    """
    if bool(getattr(settings, present)) == bool(getattr(settings, absent)):
        return
    if not getattr(settings, present):
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
