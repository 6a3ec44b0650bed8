"""The tree of a fleet file: the instance document, and the keys beside it."""

from functools import cache

from openimds.facts.clouds import CLOUDS
from openimds.facts.faults import BAD_DOCUMENTS
from openimds.facts.fields import FieldKind
from openimds.facts.kinds import KINDS
from openimds.vm.identities import SOURCES
from openimds.vm.schema_tree import Group, Leaf, Many, Named, Node, Plain, newest_tree

_CLOUD = Leaf(
    "cloud",
    choices=tuple(CLOUDS),
    hints={
        "AzureCloud": "That is az's name of it: write AzurePublicCloud",
        "AzureUSGovernment": "That is az's name of it: write AzureUSGovernmentCloud",
    },
)


def _texts(*names: str) -> dict[str, Node]:
    return {name: Leaf(name) for name in names}


_ADDRESSES = _texts("frontendIpAddress", "privateIpAddress")
_RULE: dict[str, Node] = {
    **_ADDRESSES,
    "protocol": Leaf("protocol"),
    "frontendPort": Leaf("frontendPort", FieldKind.NUMBER),
    "backendPort": Leaf("backendPort", FieldKind.NUMBER),
}
_LOAD_BALANCER = Group(
    "loadBalancer",
    {
        "publicIpAddresses": Many("publicIpAddresses", Group("", _ADDRESSES)),
        "inboundRules": Many("inboundRules", Group("", _RULE)),
        "outboundRules": Many("outboundRules", Group("", _ADDRESSES)),
    },
    wrapper="loadbalancer",
)
_ATTESTED = Group(
    "attested",
    {
        **_texts("licenseType", "sku", "subscriptionId", "vmId"),
        "scenario": Leaf("scenario", choices=BAD_DOCUMENTS),
        "plan": Group("plan", _texts("name", "product", "publisher")),
    },
)


_SOURCE = Leaf("source", choices=SOURCES)
_IDENTITIES = Group(
    "identities",
    {
        "system": Leaf("system", FieldKind.BOOLEAN),
        "user": Many("user", Leaf("user")),
        "tenantId": Leaf("tenantId"),
        "source": _SOURCE,
        "details": Named(
            "details",
            Group(
                "",
                {
                    **_texts("clientId", "principalId"),
                    "source": _SOURCE,
                    "roles": Many("roles", Leaf("roles")),
                    "groups": Many("groups", Leaf("groups")),
                    "claims": Named("claims", Plain("claims")),
                },
            ),
        ),
    },
)


@cache
def vm_tree() -> Group:
    """Return the keys of one VM: the members of its document, and those beside them."""
    return Group(
        "",
        {
            **newest_tree().members,
            "cloud": _CLOUD,
            "identities": _IDENTITIES,
            "availabilitySet": Leaf("availabilitySet"),
            "loadBalancer": _LOAD_BALANCER,
            "attested": _ATTESTED,
            "classic": Leaf("classic", FieldKind.BOOLEAN),
            "variedNetwork": Leaf("variedNetwork", FieldKind.BOOLEAN),
            "kind": Leaf("kind", choices=tuple(KINDS)),
            "reprovisionData": Leaf("reprovisionData"),
            **_texts("host", "nextHost"),
            "reach": Group(
                "reach",
                {
                    "address": Many("address", Leaf("address")),
                    "listen": Many("listen", Leaf("listen")),
                    **_texts("interface", "mac"),
                },
            ),
        },
    )


@cache
def fleet_tree() -> Group:
    """Return the top-level keys of a fleet file; `fleet_file` validates their values."""
    return Group(
        "",
        {
            "cloud": _CLOUD,
            "defaults": Named("defaults", Leaf("")),
            "vms": Named("vms", Leaf("")),
            "events": Many("events", Leaf("")),
            "faults": Many("faults", Leaf("")),
        },
    )
