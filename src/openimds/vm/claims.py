"""The claims that a VM's author gives to an identity: roles, groups and others.

Their sizes are bounded, and so is each token.
"""

from typing import Any

import msgspec.json

from openimds.errors import ConfigError
from openimds.facts.clouds import CLOUDS
from openimds.facts.tokens import (
    CLAIM_NAMES,
    CLAIM_SOURCES,
    GROUPS,
    GROUPS_ENDPOINT,
    GROUPS_SOURCE,
    MOST_GROUPS_IN_TOKEN,
    PROTOCOL_CLAIMS,
    ROLES,
)
from openimds.parameters import LARGEST, check_encodable, describe, path_of
from openimds.vm.types import IdentityDetail, Vm

MOST_ROLES = 200
LONGEST_ROLE = 250
MOST_GROUPS = 1000
"""The most groups of an identity; beyond 200 a token has only their source."""
LONGEST_GROUP = 256
MOST_CLAIMS = 50
LONGEST_CLAIM_NAME = 128
DEEPEST_CLAIM = 8
"""The most levels of lists and mappings in a claim."""
MOST_CLAIMS_BYTES = 16384
"""The size of an identity's own claims as JSON."""

_OF_THEIR_OWN = {
    ROLES: "Write roles beside claims",
    GROUPS: "Write groups beside claims",
    CLAIM_NAMES: f"Write more than {MOST_GROUPS_IN_TOKEN} groups beside claims",
    CLAIM_SOURCES: f"Write more than {MOST_GROUPS_IN_TOKEN} groups beside claims",
}
_encode = msgspec.json.Encoder(order="sorted").encode


def own_claims(detail: IdentityDetail, principal_id: str, cloud: str) -> bytes:
    """Return the own claims of an identity as JSON, empty without any.

    More than 200 groups are in the overage form: the claims name the address that lists them.
    """
    claims: dict[str, Any] = dict(detail.claims)
    if detail.roles:
        claims[ROLES] = detail.roles
    if len(detail.groups) > MOST_GROUPS_IN_TOKEN:
        endpoint = GROUPS_ENDPOINT.format(graph=CLOUDS[cloud].graph, principal=principal_id)
        claims[CLAIM_NAMES] = {GROUPS: GROUPS_SOURCE}
        claims[CLAIM_SOURCES] = {GROUPS_SOURCE: {"endpoint": endpoint}}
    elif detail.groups:
        claims[GROUPS] = detail.groups
    return _encode(claims) if claims else b""


def claims_in_token(own: bytes, *, is_unsafe: bool) -> dict[str, Any]:
    """Return the own claims of an identity that its tokens have.

    Without the setting `unsafe_claims` a VM that was stored under it loses those of the protocol.
    """
    claims: dict[str, Any] = msgspec.json.decode(own) if own else {}
    if is_unsafe:
        return claims
    return {name: value for name, value in claims.items() if name not in PROTOCOL_CLAIMS}


def check_own_claims(detail: dict[str, Any], where: str, *, is_local: bool) -> None:
    """Check the own claims in the plain value of an identity's details.

    Without `is_local` its tokens come from Entra, which alone decides their claims.

    Raises:
        ConfigError: too many, too long or too large ones, or a malformed claim.
    """
    roles, groups, claims = (detail.get(key, ()) for key in (ROLES, GROUPS, "claims"))
    for key, member in ((ROLES, roles), (GROUPS, groups), ("claims", claims)):
        if member and not is_local:
            seen, hint = f"{key} beside source entra", "Leave it out, or write source: local"
            raise ConfigError(path_of(where, key), seen, "nothing: Entra decides", hint)
    _check_texts(roles, path_of(where, ROLES), MOST_ROLES, LONGEST_ROLE)
    _check_texts(groups, path_of(where, GROUPS), MOST_GROUPS, LONGEST_GROUP)
    _check_claims(claims or {}, path_of(where, "claims"))
    in_token = groups if len(groups) <= MOST_GROUPS_IN_TOKEN else ()
    size = len(_encode((roles, in_token, claims)))
    if size > MOST_CLAIMS_BYTES:
        seen = f"roles, groups and claims of {size} bytes"
        raise ConfigError(where, seen, f"at most {MOST_CLAIMS_BYTES} bytes as JSON")


def refuse_protocol_claims(vm: Vm) -> None:
    """Check that a VM gives no identity a claim that only Entra itself makes.

    Raises:
        ConfigError: it does, so that the setting `unsafe_claims` is needed.
    """
    for name, detail in vm.identities.details.items():
        for claim in detail.claims:
            if claim in PROTOCOL_CLAIMS:
                where = f"vms.{vm.name}.identities.details.{name}.claims"
                seen = f'the claim "{claim}", which Entra never takes from an administrator'
                hint = "Start the server with --unsafe-claims to send it all the same"
                raise ConfigError(where, seen, "roles, groups, xms_az_rid or claims of yours", hint)


def _check_texts(texts: Any, where: str, most: int, longest: int) -> None:  # noqa: ANN401 - validated
    if len(texts) > most:
        raise ConfigError(where, f"a list of {len(texts)}", f"at most {most} strings")
    for place, text in enumerate(texts):
        if not 0 < len(text) <= longest or not text.isprintable():
            expected = f"a printable string of 1 to {longest} characters"
            raise ConfigError(f"{where}[{place}]", describe(text), expected)


def _check_claims(claims: dict[str, Any], where: str) -> None:
    if len(claims) > MOST_CLAIMS:
        raise ConfigError(where, f"{len(claims)} claims", f"at most {MOST_CLAIMS}")
    for name, value in claims.items():
        if not 0 < len(name) <= LONGEST_CLAIM_NAME or not name.isprintable():
            expected = f"a printable name of 1 to {LONGEST_CLAIM_NAME} characters"
            raise ConfigError(where, f"the name {describe(name)}", expected)
        if name in _OF_THEIR_OWN:
            seen = f'the claim "{name}"'
            raise ConfigError(where, seen, "claims other than groups", _OF_THEIR_OWN[name])
        _check_value(value, path_of(where, name), DEEPEST_CLAIM)


def _check_value(value: object, where: str, levels: int) -> None:
    """Check that a value is JSON that every reader of a token takes.

    Raises:
        ConfigError: null, a number beyond 2^53, text that UTF-8 cannot carry, or too many levels.
    """
    match value:
        case bool():
            return
        case str():
            check_encodable(value, where)
        case int() | float():
            if not abs(value) <= LARGEST:  # NaN, too.
                raise ConfigError(where, describe(value), f"a number of up to {LARGEST}")
        case list() | dict():
            if not levels:
                seen = f"more than {DEEPEST_CLAIM} levels"
                raise ConfigError(where, seen, f"at most {DEEPEST_CLAIM} levels of lists")
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                if isinstance(value, dict) and not isinstance(key, str):
                    raise ConfigError(where, f"the key {describe(key)}", "a string as key")
                _check_value(item, f"{where}.{key}", levels - 1)
        case _:
            hint = 'Leave the claim out; "forge:missing-claim" takes one away'
            raise ConfigError(where, describe(value), "a JSON value other than null", hint)
