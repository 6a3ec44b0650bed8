"""The service-account token of a host's pod, and the meaning of its review.

The API server checks the signature, the end, and that the pod of a token is still there; this
module judges its answer. The node's name is in it since Kubernetes 1.30 (KEP 4193, the gate
`ServiceAccountTokenPodNodeInfo`), before that in the pod alone. A pod's node never changes, and the
token ends with its pod, so both name the node on which the caller runs.
"""

import re
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.parameters import describe

AUDIENCE = "openimds"
"""The audience of the token, so that it opens nothing but the way to a certificate."""
MAX_TOKEN_CHARACTERS = 16_384
"""The longest token; those of the API server have about 1,200."""
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_SHOWN = 200
"""The characters of a reason of the API that are repeated."""
_USER = "system:serviceaccount:"
_EXTRA = "authentication.kubernetes.io/"
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ACCOUNT = re.compile(rf"(?P<namespace>{_LABEL})/(?P<name>{_LABEL}(\.{_LABEL})*)")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_NOT_ACCEPTED = "this service-account token is not accepted; the log of control has the reason"


class ServiceAccount(Struct, frozen=True):
    """A service account of a namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return it as the options of control have it."""
        return f"{self.namespace}/{self.name}"


class BoundPod(Struct, frozen=True):
    """The pod of a reviewed token.

    `node` is empty where the API server does not name it.
    """

    account: ServiceAccount
    name: str
    uid: str
    node: str = ""

    @property
    def path(self) -> str:
        """The path of the pod in the API."""
        return f"/api/v1/namespaces/{self.account.namespace}/pods/{self.name}"

    def __str__(self) -> str:
        """Return namespace and name."""
        return f"{self.account.namespace}/{self.name}"


class TokenRefusal(Struct, frozen=True):
    """The reason why a token lets no host join, for control's log.

    `public` is the sentence for the caller: one without a proved identity learns only that.
    """

    reason: str
    public: str = _NOT_ACCEPTED


class _User(Struct, frozen=True):
    username: str = ""
    extra: dict[str, tuple[str, ...]] | None = None


class _Status(Struct, frozen=True):
    authenticated: bool = False
    error: str = ""
    audiences: tuple[str, ...] | None = None
    user: _User = _User()


class _TokenReview(Struct, frozen=True):
    kind: str
    status: _Status


class _Metadata(Struct, frozen=True):
    uid: str


class _PodSpec(Struct, frozen=True, rename="camel"):
    node_name: str = ""
    service_account_name: str = ""


class _Pod(Struct, frozen=True):
    kind: str
    metadata: _Metadata
    spec: _PodSpec


def named_account(text: str, where: str = "--join-service-account") -> ServiceAccount:
    """Return the account in a text, as in `openimds/openimds-host`.

    Raises:
        ConfigError: it has another form.
    """
    found = _ACCOUNT.fullmatch(text)
    if found is None:
        hint = "It is the service account of the pods that run openimds host run"
        raise ConfigError(where, describe(text), "NAMESPACE/NAME", hint)
    return ServiceAccount(found["namespace"], found["name"])


def form_refusal(token: str) -> TokenRefusal | None:
    """Return the refusal of a text that is no token, which costs the API nothing."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        reason = f"a token of {len(token)} characters, expected at most {MAX_TOKEN_CHARACTERS}"
        return TokenRefusal(reason)
    if not _JWT.fullmatch(token):
        return TokenRefusal("no token of a service account: it has not the form of a JWT")
    return None


def review_of(token: str) -> dict[str, Any]:
    """Return the body of a request for a review."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [AUDIENCE]},
    }


def judge_review(
    answer: object, accounts: Collection[ServiceAccount], token: str
) -> BoundPod | TokenRefusal:
    """Return the pod of a token that the API server has reviewed.

    Args:
        answer: the decoded body of the answer.
        accounts: the accounts whose pods may join.
        token: the token, which is in no reason.

    Raises:
        ValidationError: the answer is no review.
    """
    review = msgspec.convert(answer, _TokenReview)
    if review.kind != "TokenReview":
        raise msgspec.ValidationError(f"a {review.kind!a}, expected a TokenReview")
    status = review.status
    if not status.authenticated:
        reason = status.error.replace(token, "***")[:_SHOWN]
        return TokenRefusal(f"the Kubernetes API does not know it ({reason or 'no reason'})")
    if AUDIENCE not in (status.audiences or ()):
        # An API server that knows no audiences returns none: its answer proves nothing.
        named = ", ".join(status.audiences or ())[:_SHOWN] or "none"
        return TokenRefusal(f'it is for the audiences {named}, expected "{AUDIENCE}"')
    user = status.user.username
    account = next((one for one in accounts if user == f"{_USER}{one.namespace}:{one.name}"), None)
    if account is None:
        known = ", ".join(sorted(map(str, accounts)))
        return TokenRefusal(f"it is of {describe(user)}, expected the service account {known}")
    pod, uid, node = (
        _one(status.user.extra, name) for name in ("pod-name", "pod-uid", "node-name")
    )
    if not pod or not uid or not _is_segment(pod):
        return TokenRefusal(
            f"it is of {account}, but bound to no pod: expected the token of a projected volume"
        )
    return BoundPod(account, pod, uid, node)


def judge_pod(answer: object, pod: BoundPod) -> BoundPod | TokenRefusal:
    """Return the pod with its node, from its object in the API.

    Raises:
        ValidationError: the answer is no pod.
    """
    found = msgspec.convert(answer, _Pod)
    if found.kind != "Pod":
        raise msgspec.ValidationError(f"a {found.kind!a}, expected a Pod")
    if found.metadata.uid != pod.uid:
        return TokenRefusal(f"the pod {pod} was replaced: its token has ended")
    if found.spec.service_account_name != pod.account.name:
        return TokenRefusal(f"the pod {pod} is of another service account")
    if not found.spec.node_name:
        return TokenRefusal(f"the pod {pod} is on no node")
    return BoundPod(pod.account, pod.name, pod.uid, found.spec.node_name)


def name_refusal(pod: BoundPod, name: str) -> TokenRefusal | None:
    """Return the refusal of a host that asks for another name than its node's."""
    if name == pod.node:
        return None
    reason = (
        f"the pod {pod} runs on the node {describe(pod.node)}, and asks to join as "
        f"{describe(name)}: set --name of openimds host run to spec.nodeName of the pod"
    )
    return TokenRefusal(reason, reason)


def _one(extra: dict[str, tuple[str, ...]] | None, name: str) -> str:
    """Return the only value of an extra of the user, or ""."""
    values = (extra or {}).get(f"{_EXTRA}{name}", ())
    return values[0] if len(values) == 1 else ""


def _is_segment(name: str) -> bool:
    """Tell whether a name is a pod's, which is one segment of a path."""
    return re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", name) is not None
