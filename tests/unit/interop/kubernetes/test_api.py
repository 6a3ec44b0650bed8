"""The client of the Kubernetes API, against a replayed one with TLS on loopback.

The shapes of answers are those of Kubernetes' API conventions: `Status` for a failure, one JSON
object a line for a watch, `410 Expired` as a status and as an event of the type ERROR.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.interop.kubernetes import api as api_module
from openimds.interop.kubernetes.api import (
    ApiStatusError,
    ApiUnreachableError,
    KubernetesApi,
    WatchEvent,
)
from tests.support.certificates import TestCa
from tests.support.replayed_api import (
    ReplayedAnswer,
    ReplayedApi,
    ReplayedRequest,
    failure,
    line_of,
)

POD: dict[str, Any] = {"kind": "Pod", "metadata": {"name": "web", "resourceVersion": "10245"}}
EXPIRED = failure(410, "Expired", "too old resource version: 1 (10245)")
Start = Callable[..., ReplayedApi]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start replayed APIs that give these answers, one after the other, the last for ever."""
    with ExitStack() as stack:

        def begin(*answers: ReplayedAnswer) -> ReplayedApi:
            left = [*answers]

            def answer(_: ReplayedRequest) -> ReplayedAnswer:
                return left.pop(0) if len(left) > 1 else left[0]

            return stack.enter_context(ReplayedApi(tmp_path, answer).running())

        yield begin


def client(api: ReplayedApi) -> KubernetesApi:
    return KubernetesApi(api.url, str(api.ca.path), str(api.token_file))


def test_get_sends_the_token_and_returns_the_value(start: Start) -> None:
    api = start(ReplayedAnswer({"kind": "PodList", "items": [POD]}))
    value = client(api).get("/api/v1/pods", {"labelSelector": "a=b,c", "limit": 500})
    assert value["items"] == [POD]
    query = {"labelSelector": "a=b,c", "limit": "500"}
    assert api.requests == [ReplayedRequest("GET", "/api/v1/pods", query, "token-1")]


def test_post_sends_the_body_and_returns_the_value(start: Start) -> None:
    # A TokenReview answers 201 Created with the whole object.
    api = start(ReplayedAnswer({"status": {"authenticated": True}}, status=201))
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    review = {"apiVersion": "authentication.k8s.io/v1", "spec": {"token": "é"}}
    assert client(api).post(path, review) == {"status": {"authenticated": True}}
    assert api.requests == [ReplayedRequest("POST", path, {}, "token-1", review)]


def test_path_of_the_url_stands_before_that_of_calls(start: Start) -> None:
    api = start(ReplayedAnswer({}))
    url = f"{api.url}/k8s/clusters/c-1/"
    KubernetesApi(url, str(api.ca.path), str(api.token_file)).get("/version")
    assert api.requests[0].path == "/k8s/clusters/c-1/version"


def test_failure_has_status_reason_and_message(start: Start) -> None:
    message = 'pods is forbidden: User "x" cannot list resource "pods"'
    api = start(ReplayedAnswer(failure(403, "Forbidden", message), status=403))
    with pytest.raises(ApiStatusError) as caught:
        client(api).get("/api/v1/pods", {"limit": 1})
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    assert caught.value.message == message
    text = f"GET /api/v1/pods: the Kubernetes API answers 403 Forbidden: {message}"
    assert str(caught.value) == text


def test_failure_without_a_status_object_keeps_its_text(start: Start) -> None:
    parts = [b"upstream\nis away"]
    api = start(ReplayedAnswer(status=503, parts=parts, headers={"Retry-After": "7"}))
    with pytest.raises(ApiStatusError, match="503: upstream is away") as caught:
        client(api).get("/version")
    assert (caught.value.reason, caught.value.retry_after_s) == ("", 7)


def test_redirect_is_an_error_and_not_followed(start: Start) -> None:
    api = start(ReplayedAnswer({}, status=302, headers={"Location": "/elsewhere"}))
    with pytest.raises(ApiStatusError, match="302"):
        client(api).get("/version")
    assert [request.path for request in api.requests] == ["/version"]


def test_rotated_token_is_used_from_the_next_call(start: Start) -> None:
    api = start(ReplayedAnswer({}))
    client(api).get("/version")
    api.token_file.write_text("token-2\n")
    client(api).get("/version")
    assert [request.token for request in api.requests] == ["token-1", "token-2"]


def test_401_with_a_rotated_token_is_asked_once_more(tmp_path: Path) -> None:
    def answer(request: ReplayedRequest) -> ReplayedAnswer:
        if request.token == "token-2":
            return ReplayedAnswer({"kind": "PodList"})
        api.token_file.write_text("token-2")
        return ReplayedAnswer(failure(401, "Unauthorized", "Unauthorized"), status=401)

    api = ReplayedApi(tmp_path, answer)
    with api.running():
        assert client(api).get("/api/v1/pods") == {"kind": "PodList"}
    assert [request.token for request in api.requests] == ["token-1", "token-2"]


def test_401_with_the_same_token_is_an_error_at_once(start: Start) -> None:
    api = start(ReplayedAnswer(failure(401, "Unauthorized", "Unauthorized"), status=401))
    with pytest.raises(ApiStatusError, match="401 Unauthorized"):
        client(api).get("/api/v1/pods")
    assert len(api.requests) == 1


@pytest.mark.parametrize("token", [b"", b"\n", b"a\nb", "é".encode()])
def test_unusable_token_is_refused_before_the_request(start: Start, token: bytes) -> None:
    api = start(ReplayedAnswer({}))
    api.token_file.write_bytes(token)
    with pytest.raises(ConfigError, match=r"token for the Kubernetes API: saw .*token"):
        client(api).get("/version")
    assert not api.requests


def test_certificate_of_another_ca_is_refused(start: Start, tmp_path: Path) -> None:
    api = start(ReplayedAnswer({}))
    other = TestCa(tmp_path, "Other CA")
    with pytest.raises(ApiUnreachableError, match="its certificate is refused"):
        KubernetesApi(api.url, str(other.path), str(api.token_file)).get("/version")
    assert not api.requests


def test_ca_that_is_no_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.crt"
    with pytest.raises(ConfigError, match=r"CA of the Kubernetes API: saw .*ca\.crt"):
        KubernetesApi("https://127.0.0.1:1", str(missing)).get("/version")


def test_api_that_is_away_is_named_with_the_reason(start: Start, tmp_path: Path) -> None:
    def never(_: ReplayedRequest) -> ReplayedAnswer:
        raise AssertionError

    with ReplayedApi(tmp_path, never).running() as api:
        pass  # Its port is closed from here on.
    with pytest.raises(ApiUnreachableError, match=rf"at {api.url} gives no answer \("):
        client(api).get("/version")


@pytest.mark.parametrize("parts", [[b"{"], [b"\xff"], [b"[" * 100_000], [b""]])
def test_answer_that_is_no_json_is_an_error(start: Start, parts: list[bytes]) -> None:
    api = start(ReplayedAnswer(parts=[part for part in parts if part]))
    with pytest.raises(ApiUnreachableError, match="the answer to GET is not JSON"):
        client(api).get("/version")


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "90"}], ids=["chunked", "by length"])
def test_answer_that_is_cut_is_an_error(start: Start, headers: dict[str, str]) -> None:
    api = start(ReplayedAnswer(parts=[b'{"items": []}'], is_cut=True, headers=headers))
    with pytest.raises(ApiUnreachableError, match="gives no answer"):
        client(api).get("/version")


def test_answer_beyond_the_bound_is_an_error(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "ANSWER_BYTES", 100)
    api = start(ReplayedAnswer("x" * 98), ReplayedAnswer("x" * 99))
    assert client(api).get("/version") == "x" * 98
    with pytest.raises(ApiUnreachableError, match="an answer has more than 100 bytes"):
        client(api).get("/version")


def test_answer_slower_than_the_bound_is_an_error(start: Start) -> None:
    def parts() -> Iterator[bytes]:
        for part in (b'"a', b'b"'):
            clock[0] += 20
            yield part

    clock = [0.0]
    api = start(ReplayedAnswer(parts=parts()))
    slow = KubernetesApi(api.url, str(api.ca.path), now=lambda: clock[0])
    with pytest.raises(ApiUnreachableError, match="timed out"):
        slow.get("/version")


def test_silent_api_is_given_up(tmp_path: Path) -> None:
    def answer(_: ReplayedRequest) -> ReplayedAnswer:
        os.read(silent, 1)
        return ReplayedAnswer({})

    silent, end = os.pipe()
    with ReplayedApi(tmp_path, answer).running() as api:
        hasty = KubernetesApi(api.url, str(api.ca.path), timeout_s=0.1)
        with pytest.raises(ApiUnreachableError, match="timed out"):
            hasty.get("/version")
    os.close(end)  # Ends the read above.


def test_watch_yields_events_and_ends_with_the_api(start: Start) -> None:
    mark = {"kind": "Pod", "metadata": {"resourceVersion": "12746"}}
    text = line_of("ADDED", POD) + line_of("BOOKMARK", mark)
    api = start(ReplayedAnswer(parts=[text[:30], text[30:]]))
    events = client(api).watch("/api/v1/pods", {"resourceVersion": "10245"}, lasting_s=120)
    assert [*events] == [WatchEvent("ADDED", POD), WatchEvent("BOOKMARK", mark)]
    assert api.requests[0].query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "120",
        "resourceVersion": "10245",
    }


def test_watch_yields_an_event_while_the_stream_is_open(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield line_of("ADDED", POD)
        os.read(held, 1)

    held, end = os.pipe()
    with ReplayedApi(tmp_path, lambda _: ReplayedAnswer(parts=parts())).running() as api:
        events = client(api).watch("/api/v1/pods")
        assert next(events) == WatchEvent("ADDED", POD)
        os.close(end)
        assert [*events] == []


def test_watch_that_the_api_does_not_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts() -> Iterator[bytes]:
        yield line_of("ADDED", POD)
        os.read(held, 1)

    monkeypatch.setattr(api_module, "WATCH_SLACK_S", -9.9)
    held, end = os.pipe()
    with ReplayedApi(tmp_path, lambda _: ReplayedAnswer(parts=parts())).running() as api:
        events = client(api).watch("/api/v1/pods", lasting_s=10)
        assert next(events).type == "ADDED"
        with pytest.raises(ApiUnreachableError, match="timed out"):
            next(events)
    os.close(end)


def test_410_is_raised_as_status_and_as_event(start: Start) -> None:
    event = ReplayedAnswer(parts=[line_of("ADDED", POD), line_of("ERROR", EXPIRED)])
    api = start(ReplayedAnswer(EXPIRED, status=410), event)
    for before in ([], [WatchEvent("ADDED", POD)]):
        events: list[WatchEvent] = []
        with pytest.raises(ApiStatusError) as caught:
            events.extend(client(api).watch("/api/v1/pods", {"resourceVersion": "1"}))
        assert events == before
        assert (caught.value.status, caught.value.reason) == (410, "Expired")


@pytest.mark.parametrize("is_within", [True, False])
def test_watch_that_breaks_is_an_error_after_its_events(start: Start, is_within: bool) -> None:
    rest = line_of("DELETED", POD)[:20] if is_within else b""
    parts = [line_of("ADDED", POD), *([rest] if rest else [])]
    events = client(start(ReplayedAnswer(parts=parts, is_cut=True))).watch("/api/v1/pods")
    assert next(events).type == "ADDED"
    with pytest.raises(ApiUnreachableError, match="gives no answer"):
        next(events)


def test_watch_that_ends_within_a_line_is_an_error(start: Start) -> None:
    api = start(ReplayedAnswer(parts=[line_of("ADDED", POD)[:-5]]))
    with pytest.raises(ApiUnreachableError, match="the watch ended within a line"):
        next(client(api).watch("/api/v1/pods"))


@pytest.mark.parametrize("line", [b"{\n", b'"ADDED"\n', b'{"type": "ADDED"}\n', b"\xff\n"])
def test_line_that_is_no_event_is_an_error(start: Start, line: bytes) -> None:
    api = start(ReplayedAnswer(parts=[line]))
    with pytest.raises(ApiUnreachableError, match="a line of the watch is no event in JSON"):
        next(client(api).watch("/api/v1/pods"))


def test_line_beyond_the_bound_ends_the_watch(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of("ADDED", POD)
    monkeypatch.setattr(api_module, "LINE_BYTES", len(line) - 1)
    longer = line_of("ADDED", POD | {"more": 1})
    events = client(start(ReplayedAnswer(parts=[line, longer]))).watch("/api/v1/pods")
    assert next(events) == WatchEvent("ADDED", POD)
    with pytest.raises(ApiUnreachableError, match="a line of the watch has more than"):
        next(events)


def test_pod_finds_the_api_by_its_service_account(start: Start, tmp_path: Path) -> None:
    api = start(ReplayedAnswer({"major": "1"}))
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    for name, file in (("ca.crt", api.ca.path), ("token", api.token_file)):
        with pytest.raises(ConfigError, match=f"{name}: saw no file"):
            KubernetesApi.from_pod(environ, folder)
        (folder / name).write_bytes(file.read_bytes())
    assert KubernetesApi.from_pod(environ, folder).get("/version") == {"major": "1"}
    assert api.requests[0].token == "token-1"


def test_pod_of_an_ipv6_cluster_has_a_url_in_brackets(tmp_path: Path) -> None:
    for name in ("ca.crt", "token"):
        (tmp_path / name).touch()
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert KubernetesApi.from_pod(environ, tmp_path).url == "https://[fd00::1]:443"


@pytest.mark.parametrize("missing", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
def test_process_outside_of_a_pod_learns_the_variable(tmp_path: Path, missing: str) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigError, match=f"{missing}: saw nothing"):
        KubernetesApi.from_pod(environ | {missing: ""}, tmp_path)


@pytest.mark.parametrize("url", ["", "https://", "ftp://a", "https://a:x", "https://[", "http://a"])
def test_url_that_would_not_keep_the_token_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=f'URL of the Kubernetes API: saw "{re_of(url)}"'):
        KubernetesApi(url, token_file="token")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.1.2.3:8001",
        "http://api:8001",
        "http://[2001:db8::1]:8001",
        "http://127.0.0.1.example:8001",
        "http://localhost.example:8001",
        "https://a..b:443",
        f"https://{'a' * 64}.example",
        "https://a b",
        "https://a\x7fb",
        "https://a/b c",
        "https://a/ü",
    ],
)
def test_url_that_is_unfit_or_all_could_read_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="URL of the Kubernetes API") as refused:
        KubernetesApi(url)
    assert refused.value.expected == "https://HOST:PORT or http://127.0.0.1:PORT"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8001", "http://127.8.0.1", "http://[::1]:8001", "http://localhost:8001/a"],
)
def test_http_is_for_a_proxy_on_this_machine(url: str) -> None:
    assert KubernetesApi(url).url == url


@pytest.mark.parametrize("userinfo", ["user:secret", "secret", "a:/@secret", "a@b:secret"])
def test_password_in_the_url_is_refused_and_not_repeated(userinfo: str) -> None:
    with pytest.raises(ConfigError) as refused:
        KubernetesApi(f"https://{userinfo}@api:443")
    assert refused.value.seen == '"https://***@api:443"'
    with pytest.raises(ConfigError) as refused:
        KubernetesApi(f"{userinfo}@api:443")
    assert refused.value.seen == '"***@api:443"'


def test_failure_of_a_post_repeats_nothing_of_the_request(start: Start) -> None:
    token = "header.payload.signature"
    api = start(ReplayedAnswer(status=502, parts=[b"x" * 190 + token.encode()]))
    with pytest.raises(ApiStatusError) as caught:
        client(api).post("/apis/authentication.k8s.io/v1/tokenreviews", {"token": token})
    assert caught.value.message == "214 bytes that are no Status object"


def re_of(text: str) -> str:
    return text.replace("[", r"\[")


def test_bounds_are_above_the_largest_objects() -> None:
    # etcd's --max-request-bytes is 1.5 MiB by default, and so is the largest object.
    assert api_module.LINE_BYTES > 1.5 * 2**20
    assert len(json.dumps(POD)) < api_module.ANSWER_BYTES
