"""Reviews of service-account tokens, and the hosts that they let in.

`DOCUMENTED` is the review on the page "Managing Service Accounts" of Kubernetes' documentation
(Verifying and inspecting private claims), with the audience that was asked for.
"""

from typing import Any

import pytest
from msgspec import ValidationError

from openimds.credentials.hosts.service_accounts import (
    MAX_TOKEN_CHARACTERS,
    BoundPod,
    ServiceAccount,
    TokenRefusal,
    form_refusal,
    judge_pod,
    judge_review,
    name_refusal,
    named_account,
    review_of,
)
from openimds.errors import ConfigError

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
ACCOUNT = ServiceAccount("default", "my-sa")
POD_UID = "e87dbbd6-3d7e-45db-aafb-72b24627dff5"
EXTRA = "authentication.kubernetes.io/"


def documented(**status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {"creationTimestamp": None},
        "spec": {"token": TOKEN},
        "status": {
            "audiences": ["openimds"],
            "authenticated": True,
            "user": user(),
            **status,
        },
    }


def user(username: str = "system:serviceaccount:default:my-sa", **extra: Any) -> dict[str, Any]:
    documented_extra = {
        "credential-id": ["JTI=7ee52be0-9045-4653-aa5e-0da57b8dccdc"],
        "node-name": ["kind-control-plane"],
        "node-uid": ["497e9d9a-47aa-4930-b0f6-9f2fb574c8c6"],
        "pod-name": ["test-pod"],
        "pod-uid": [POD_UID],
    }
    extras = {**documented_extra, **{name.replace("_", "-"): v for name, v in extra.items()}}
    return {
        "extra": {f"{EXTRA}{name}": value for name, value in extras.items() if value is not None},
        "groups": [
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated",
        ],
        "uid": "f8b4161b-2e2b-11e9-86b7-2afc33b31a7e",
        "username": username,
    }


def pod_object(**more: Any) -> dict[str, Any]:
    spec = {"nodeName": "node-1", "serviceAccountName": "my-sa", "containers": []}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "test-pod", "namespace": "default", "uid": POD_UID},
        "spec": spec,
        **more,
    }


def judged(answer: object) -> BoundPod | TokenRefusal:
    return judge_review(answer, {ACCOUNT}, TOKEN)


def test_documented_review_names_the_pod_and_its_node() -> None:
    pod = judged(documented())
    assert pod == BoundPod(ACCOUNT, "test-pod", POD_UID, "kind-control-plane")
    assert pod.path == "/api/v1/namespaces/default/pods/test-pod"
    assert name_refusal(pod, "kind-control-plane") is None


def test_review_before_1_30_leaves_the_node_to_the_pod() -> None:
    pod = judged(documented(user=user(node_name=None, node_uid=None)))
    assert isinstance(pod, BoundPod)
    assert pod.node == ""
    assert judge_pod(pod_object(), pod) == BoundPod(ACCOUNT, "test-pod", POD_UID, "node-1")


@pytest.mark.parametrize(
    "status, reason",
    [
        (
            {"authenticated": False, "error": "[invalid bearer token, Token has expired]"},
            "does not know it ([invalid bearer token, Token has expired])",
        ),
        ({"authenticated": False, "error": f"bad {TOKEN}"}, "does not know it (bad ***)"),
        ({"authenticated": False}, "does not know it (no reason)"),
        ({"authenticated": False, "error": "x" * 5_000}, f"it ({'x' * 200})"),
        (
            {"audiences": ["https://kubernetes.default.svc.cluster.local"]},
            'it is for the audiences https://kubernetes.default.svc.cluster.local, expected "op',
        ),
        ({"audiences": []}, "it is for the audiences none"),
        ({"audiences": None}, "it is for the audiences none"),
        (
            {"user": user("system:serviceaccount:default:default")},
            'it is of the string "system:serviceaccount:default:default", expected the service acc',
        ),
        ({"user": user("system:serviceaccount:default:my-sa:x")}, "expected the service account"),
        ({"user": user("kubernetes-admin")}, "expected the service account default/my-sa"),
        ({"user": user("")}, "expected the service account default/my-sa"),
        ({"user": {"username": "system:serviceaccount:default:my-sa"}}, "bound to no pod"),
        ({"user": user(pod_name=None)}, "bound to no pod"),
        ({"user": user(pod_uid=None)}, "bound to no pod"),
        ({"user": user(pod_name=["a", "b"])}, "bound to no pod"),
        ({"user": user(pod_name=["../../../apis"])}, "bound to no pod"),
        ({"user": user(pod_name=["test-pod\n"])}, "bound to no pod"),
    ],
)
def test_review_that_proves_nothing_is_refused(status: dict[str, Any], reason: str) -> None:
    refusal = judged(documented(**status))
    assert isinstance(refusal, TokenRefusal)
    assert reason in refusal.reason
    assert TOKEN not in refusal.reason
    assert refusal.public == (
        "this service-account token is not accepted; the log of control has the reason"
    )


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "x",
        {},
        {"kind": "TokenReview"},
        {**documented(), "kind": "Status"},
        {**documented(), "status": {"authenticated": "yes"}},
    ],
)
def test_answer_that_is_no_review_proves_nothing(answer: object) -> None:
    with pytest.raises(ValidationError):
        judged(answer)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"metadata": {"uid": "another"}}, "was replaced"),
        ({"spec": {"nodeName": "node-1", "serviceAccountName": "x"}}, "another service account"),
        ({"spec": {"serviceAccountName": "my-sa"}}, "is on no node"),
    ],
)
def test_another_pod_of_that_name_is_refused(change: dict[str, Any], reason: str) -> None:
    pod = BoundPod(ACCOUNT, "test-pod", POD_UID)
    refusal = judge_pod(pod_object(**change), pod)
    assert isinstance(refusal, TokenRefusal)
    assert reason in refusal.reason
    with pytest.raises(ValidationError):
        judge_pod(pod_object(kind="Status"), pod)


def test_name_of_another_node_is_refused_with_both_names() -> None:
    refusal = name_refusal(BoundPod(ACCOUNT, "test-pod", POD_UID, "node-1"), "node-2")
    assert refusal
    assert refusal.reason == refusal.public
    assert 'runs on the node the string "node-1", and asks to join as the string "node-2"' in (
        refusal.reason
    )
    assert "spec.nodeName" in refusal.reason


def test_audience_of_the_review_is_openimds() -> None:
    assert review_of(TOKEN) == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": TOKEN, "audiences": ["openimds"]},
    }


def test_only_a_text_in_the_form_of_a_token_reaches_the_api() -> None:
    assert form_refusal(TOKEN) is None
    assert form_refusal("a." * MAX_TOKEN_CHARACTERS)
    longest = f"a.b.{'c' * (MAX_TOKEN_CHARACTERS - 4)}"
    assert form_refusal(longest) is None
    assert form_refusal(f"{longest}c")
    for text in ("", "a", "a.b", "a.b.c.d", "a.b.", "a.b.c\n", "a.b.ü", "a b.c.d"):
        refusal = form_refusal(text)
        assert refusal, text
        assert "has not the form of a JWT" in refusal.reason


def test_account_is_named_with_its_namespace() -> None:
    assert named_account("openimds/openimds-host") == ServiceAccount("openimds", "openimds-host")
    assert str(ServiceAccount("a", "b.c")) == "a/b.c"
    for text in ("openimds-host", "a/b/c", "A/b", "/b", "a/", "a/b\n", "a:b", "a/../b"):
        with pytest.raises(ConfigError, match=r"(?s)--join-service-account: saw .* NAMESPACE/NAME"):
            named_account(text)
