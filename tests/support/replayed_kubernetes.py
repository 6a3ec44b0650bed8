"""A Kubernetes API that replays reviews of tokens, pods and ConfigMaps.

The review is that of the page "Managing Service Accounts" of Kubernetes' documentation. A ConfigMap
is stored, and merged as by RFC 7396.
"""

import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.replayed_api import (
    ReplayedAnswer,
    ReplayedApi,
    ReplayedRequest,
    failure,
)

OF_CONTROL = "token-1"
"""The token by which control asks."""
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
EXTRA = "authentication.kubernetes.io/"


def pod_token(name: str) -> str:
    """Return a text in the form of a pod's token."""
    return f"eyJhbGciOiJSUzI1NiJ9.{name}.c2lnbmF0dXJl"


class ReplayedPod:
    """A pod, and the answer to a review of its token."""

    def __init__(self, name: str, node: str, account: str = "openimds/openimds-host") -> None:
        self.name, self.node = name, node
        self.namespace, _, self.account = account.partition("/")
        self.uid = f"uid-of-{name}"
        self.audiences, self.names_node = ["openimds"], True
        self.error = ""

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def review(self) -> dict[str, Any]:
        """Return the object that an API server answers."""
        if self.error:
            status: dict[str, Any] = {"user": {}, "error": self.error}
        else:
            extra = {f"{EXTRA}pod-name": [self.name], f"{EXTRA}pod-uid": [self.uid]}
            if self.names_node:
                extra[f"{EXTRA}node-name"] = [self.node]
            user = {
                "username": f"system:serviceaccount:{self.namespace}:{self.account}",
                "uid": "f8b4161b-2e2b-11e9-86b7-2afc33b31a7e",
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": extra,
            }
            status = {"authenticated": True, "user": user, "audiences": self.audiences}
        return {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"creationTimestamp": None},
            "spec": {"token": pod_token(self.name), "audiences": ["openimds"]},
            "status": status,
        }

    def object(self) -> dict[str, Any]:
        """Return the pod."""
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": self.name, "namespace": self.namespace, "uid": self.uid},
            "spec": {"nodeName": self.node, "serviceAccountName": self.account, "containers": []},
        }


class ReplayedKubernetes:
    """The API server; a context manager."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder = folder / "kubernetes"
        """As a pod has it: `token` and `ca.crt`."""
        self.folder.mkdir()
        self._api = ReplayedApi(self.folder, self._answer, address)
        self._api.ca.path.rename(self.folder / "ca.crt")
        self.url, self.port = self._api.url, self._api.port
        self.pods: dict[str, ReplayedPod] = {}
        """The pods by their tokens."""
        self.objects: dict[str, dict[str, Any]] = {}
        """The stored objects by path; one in the place of a pod is another of its name."""
        self.failures: list[ReplayedAnswer] = []
        """The next answers, in place of those below."""
        self.hold = threading.Event()
        """No answer is sent before it is set."""
        self.hold.set()
        self._running = ExitStack()

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The method and the path of each request."""
        return [(request.method, request.path) for request in self._api.requests]

    def add(self, name: str, node: str, **more: Any) -> ReplayedPod:
        """Add a pod on a node."""
        pod = self.pods[pod_token(name)] = ReplayedPod(name, node, **more)
        return pod

    def __enter__(self) -> Self:
        self._running.enter_context(self._api.running())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hold.set()
        self._running.close()

    def _answer(self, request: ReplayedRequest) -> ReplayedAnswer:
        self.hold.wait(30)
        if self.failures:
            return self.failures.pop(0)
        if request.token != OF_CONTROL:
            return refused(401, "Unauthorized", "Unauthorized")
        kinds = {"PATCH": "application/merge-patch+json", "POST": "application/json"}
        if request.content_type != kinds.get(request.method, ""):
            return refused(415, "UnsupportedMediaType", f"the body is {request.content_type}")
        if request.path == REVIEWS:
            return self._reviewed(request.body["spec"])
        if request.method == "POST":
            return self._made(request.path, request.body)
        return self._read(request)

    def _reviewed(self, spec: dict[str, Any]) -> ReplayedAnswer:
        if spec["audiences"] != ["openimds"]:
            return refused(400, "BadRequest", "the audiences of the test are others")
        unknown = ReplayedPod("unknown", "")
        unknown.error = "[invalid bearer token, token lookup failed]"
        return ReplayedAnswer(self.pods.get(spec["token"], unknown).review(), 201)

    def _made(self, path: str, body: dict[str, Any]) -> ReplayedAnswer:
        created = f"{path}/{body['metadata']['name']}"
        if created in self.objects:
            return refused(409, "AlreadyExists", f"{created} already exists")
        self.objects[created] = body
        return ReplayedAnswer(body, 201)

    def _read(self, request: ReplayedRequest) -> ReplayedAnswer:
        path = request.path
        found = {pod.path: pod.object() for pod in self.pods.values()} | self.objects
        if path not in found:
            return refused(404, "NotFound", f"{path} not found")
        if request.method == "PATCH":
            data = {**found[path].get("data", {}), **request.body["data"]}
            found[path] = self.objects[path] = {**found[path], "data": data}
        return ReplayedAnswer(found[path])


def refused(code: int, reason: str, message: str) -> ReplayedAnswer:
    """Return the answer to a request that fails."""
    return ReplayedAnswer(failure(code, reason, message), code)


def text(body: bytes, status: int = 200) -> ReplayedAnswer:
    """Return an answer with a body that may be no JSON."""
    return ReplayedAnswer(None, status, parts=[body])
