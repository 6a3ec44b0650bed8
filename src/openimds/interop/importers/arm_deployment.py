"""The functions of a template that ask for its deployment.

Subscription, group and location come from the flags of an import. A hash of Azure's has a stand-in,
and another state of the deployment is refused.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from msgspec import Struct

from openimds.interop.importers.arm_arguments import text_of
from openimds.interop.importers.arm_ids import resource_id_parts
from openimds.interop.importers.arm_parser import Call, Node
from openimds.interop.importers.unread import UNKNOWN, StandIn, Unread, UnreadError

_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_UNIQUE_LENGTH = 13
_DEPLOYED = "only the deployment knows it"


class Deployment(Struct, frozen=True):
    """The place of a deployment, which no template knows; empty is unknown."""

    subscription: str = ""
    resource_group: str = ""
    location: str = ""


class DeployedScope(Protocol):
    """The part of a template's scope that these functions need."""

    @property
    def deployment(self) -> Deployment:
        """The place of the deployment."""

    @property
    def outputs(self) -> Mapping[str, Callable[[], object]]:
        """The outputs of nested deployments, by name in lower case."""

    def evaluate(self, node: Node) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value of an expression."""


TemplateFunction: TypeAlias = Callable[[DeployedScope, Call], object]


def resource_id(scope: DeployedScope, node: Call) -> object:
    """Return the id of a resource of a group."""
    before, inner = _id_parts(scope, node)
    name = before.pop() if before else scope.deployment.resource_group or UNKNOWN
    return f"{_subscription_id(scope, before)}/resourceGroups/{name}/providers/{inner}"


def subscription_resource_id(scope: DeployedScope, node: Call) -> object:
    """Return the id of a resource of a subscription."""
    before, inner = _id_parts(scope, node)
    return f"{_subscription_id(scope, before)}/providers/{inner}"


def _id_parts(scope: DeployedScope, node: Call) -> tuple[list[str], str]:
    arguments = [scope.evaluate(argument) for argument in node.arguments]
    try:
        return resource_id_parts(arguments)
    except (ValueError, LookupError, TypeError):
        raise UnreadError(f"arguments that {node.spelling}() does not take") from None


def _subscription_id(scope: DeployedScope, before: list[str]) -> str:
    return f"/subscriptions/{before[0] if before else scope.deployment.subscription or UNKNOWN}"


def group(scope: DeployedScope, _: Call) -> object:
    """Return `resourceGroup()`."""
    name = scope.deployment.resource_group
    return {
        "id": f"{_subscription_id(scope, [])}/resourceGroups/{name or UNKNOWN}",
        "name": name or Unread("resourceGroup().name needs --resource-group"),
        "location": _location(scope, "resourceGroup"),
        "tags": Unread(_DEPLOYED),
    }


def subscription(scope: DeployedScope, _: Call) -> object:
    """Return `subscription()`."""
    known = scope.deployment.subscription
    return {
        "id": _subscription_id(scope, []),
        "subscriptionId": known or Unread("subscription() needs --subscription"),
        "tenantId": Unread(_DEPLOYED),
        "displayName": Unread(_DEPLOYED),
    }


def deployment_object(scope: DeployedScope, _: Call) -> object:
    """Return `deployment()`."""
    return {"name": Unread(_DEPLOYED), "location": _location(scope, "deployment")}


def _location(scope: DeployedScope, function: str) -> object:
    return scope.deployment.location or Unread(f"{function}().location needs --location")


def unique(scope: DeployedScope, node: Call) -> object:
    """Return a stand-in of 13 characters: Azure's hash is not published."""
    digest = _digest(scope, node)
    return StandIn("".join(_DIGITS[octet % 32] for octet in digest[:_UNIQUE_LENGTH]))


def guid(scope: DeployedScope, node: Call) -> object:
    """Return a stand-in: Azure's hash is not published."""
    return StandIn(UUID(bytes=_digest(scope, node)[:16]))


def _digest(scope: DeployedScope, node: Call) -> bytes:
    texts = []
    for argument in node.arguments:
        try:
            texts.append(text_of(scope.evaluate(argument)))
        except UnreadError:  # A stand-in does not need the value, only the same one each time.
            texts.append(repr(argument))
    return sha256("\0".join(texts).encode(errors="surrogatepass")).digest()


def reference(scope: DeployedScope, node: Call) -> object:
    """Return the outputs of a nested deployment; other states are not in a template."""
    name = scope.evaluate(node.arguments[0]) if node.arguments else ""
    outputs = scope.outputs.get(str(name).lower().rpartition("/")[2])
    if outputs is None:
        raise UnreadError("reference(): " + _DEPLOYED)
    return {"outputs": outputs()}


def deployed(_: DeployedScope, node: Call) -> object:
    """Refuse a function whose result is not in a template."""
    raise UnreadError(f"{node.spelling}(): {_DEPLOYED}")


FUNCTIONS: dict[str, TemplateFunction] = {
    "resourceid": resource_id,
    "subscriptionresourceid": subscription_resource_id,
    "resourcegroup": group,
    "subscription": subscription,
    "deployment": deployment_object,
    "uniquestring": unique,
    "guid": guid,
    "reference": reference,
    **dict.fromkeys(
        ("deployer", "environment", "managementgroup", "newguid", "tenant", "utcnow", "providers"),
        deployed,
    ),
}
"""The functions by their names in lower case."""
