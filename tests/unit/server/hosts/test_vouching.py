"""Reviews of tokens by a replayed API over TLS: bounds and failures."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openimds.credentials.hosts.service_accounts import ServiceAccount
from openimds.errors import Error
from openimds.interop.kubernetes import KubernetesApi
from openimds.server.hosts import vouching
from openimds.server.hosts.vouching import (
    AWAY,
    BUSY,
    CALM_S,
    FREE_FAILURES,
    LONGEST_WAIT_S,
    MOST_COUNTED,
    MOST_REFUSED,
    MOST_REVIEWS,
    MOST_SOURCES,
    MOST_WAITING,
    SPARE_S,
    Vouching,
)
from tests.support.replayed_api import ReplayedAnswer
from tests.support.replayed_kubernetes import (
    REVIEWS,
    ReplayedKubernetes,
    pod_token,
    refused,
    text,
)

ACCOUNT = ServiceAccount("openimds", "openimds-host")
NOT_ACCEPTED = "this service-account token is not accepted"
WAITS = "tokens of this address were refused: the next one is reviewed within a minute"
UNKNOWN = {"kind": "TokenReview", "status": {"user": {}, "error": "unknown"}}


class Clock:
    """A monotonic clock that a test sets."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """An authority that asks a replayed API, its clock and its messages."""

    def __init__(self, api: ReplayedKubernetes) -> None:
        self.api, self.clock, self.messages = api, Clock(), list[str]()
        folder = api.folder
        client = KubernetesApi(
            api.url,
            str(folder / "ca.crt"),
            str(folder / "token"),
            timeout_s=20,
            answer_bytes=vouching.ANSWER_BYTES,
        )
        self.vouching = Vouching(client, {ACCOUNT}, self.messages.append, self.clock)

    async def ask(self, name: str, token: str, source: str = "192.0.2.1") -> str:
        return await self.vouching.account_of(name, token, source)


def with_bench(folder: Path, work: Callable[[Bench], Awaitable[None]]) -> Bench:
    with ReplayedKubernetes(folder) as api:
        bench = Bench(api)

        async def whole() -> None:
            async with asyncio.timeout(60):
                await work(bench)

        try:
            asyncio.run(whole())
        finally:
            api.hold.set()
            bench.vouching.close()
    return bench


def test_pod_of_the_account_gets_the_name_of_its_node(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.api.add("host-x", "node-1")
        assert await bench.ask("node-1", pod_token("host-x")) == "openimds/openimds-host"

    bench = with_bench(tmp_path, work)
    assert bench.api.asked == [("POST", REVIEWS)]
    assert bench.messages == []


def test_older_api_is_asked_for_the_pod(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        pod = bench.api.add("host-x", "node-1")
        pod.names_node = False
        assert await bench.ask("node-1", pod_token("host-x")) == "openimds/openimds-host"
        with pytest.raises(Error, match='node the string "node-1", and asks to join as the str'):
            await bench.ask("node-2", pod_token("host-x"))

    bench = with_bench(tmp_path, work)
    pod = ("GET", "/api/v1/namespaces/openimds/pods/host-x")
    assert bench.api.asked == [("POST", REVIEWS), pod, ("POST", REVIEWS), pod]


def test_pod_that_is_gone_or_replaced_is_refused(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        pod = bench.api.add("host-x", "node-1")
        pod.names_node = False
        bench.api.objects[pod.path] = {**pod.object(), "metadata": {"uid": "another"}}
        with pytest.raises(Error, match=NOT_ACCEPTED):
            await bench.ask("node-1", pod_token("host-x"))
        del bench.api.objects[pod.path]
        review = ReplayedAnswer(pod.review(), 201)
        bench.api.failures = [review, refused(404, "NotFound", 'pods "host-x" not found')]
        with pytest.raises(Error, match=NOT_ACCEPTED):
            await bench.ask("node-1", pod_token("host-x"))

    bench = with_bench(tmp_path, work)
    replaced, gone = bench.messages
    assert "the pod openimds/host-x was replaced" in replaced
    assert "the pod openimds/host-x is gone" in gone


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"audiences": ["https://kubernetes.default.svc"]}, 'kubernetes.default.svc, expected "op'),
        ({"audiences": []}, "for the audiences none"),
        ({"account": "default"}, "expected the service account openimds/openimds-host"),
        ({"namespace": "default"}, "expected the service account openimds/openimds-host"),
        ({"error": "[invalid bearer token, Token has expired]"}, "Token has expired"),
        ({"uid": ""}, "bound to no pod"),
    ],
)
def test_refusal_is_in_the_log_without_the_token(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    async def work(bench: Bench) -> None:
        pod = bench.api.add("host-x", "node-1")
        for name, value in change.items():
            setattr(pod, name, value)
        with pytest.raises(Error, match=NOT_ACCEPTED) as refused:
            await bench.ask("node-1", pod_token("host-x"))
        assert reason not in str(refused.value)

    bench = with_bench(tmp_path, work)
    (message,) = bench.messages
    assert reason in message
    assert "'node-1' at 192.0.2.1" in message
    assert pod_token("host-x") not in message


@pytest.mark.parametrize(
    "failure, reason",
    [
        (refused(401, "Unauthorized", "Unauthorized"), "401 Unauthorized"),
        (
            refused(403, "Forbidden", "tokenreviews.authentication.k8s.io is forbidden"),
            "403 Forbidden: tokenreviews.authentication.k8s.io is forbidden",
        ),
        (refused(500, "InternalError", "etcdserver: request timed out"), "500 InternalError"),
        (text(b"<html>", 503), "503"),
        (text(b"<html>", 201), "is not JSON"),
        (ReplayedAnswer({"kind": "Status"}, 201), "of another form"),
        (text(b"[]", 200), "of another form"),
        (text(b" " * (vouching.ANSWER_BYTES + 1), 201), "more than 1,048,576 bytes"),
    ],
    ids=["401", "403", "500", "html-503", "html", "no-review", "no-object", "huge"],
)
def test_failing_api_lets_nobody_in_and_blames_nobody(
    tmp_path: Path, failure: ReplayedAnswer, reason: str
) -> None:
    async def work(bench: Bench) -> None:
        bench.api.add("host-x", "node-1")
        for _ in range(2 * FREE_FAILURES):
            bench.api.failures = [failure]
            with pytest.raises(Error, match=AWAY):
                await bench.ask("node-1", pod_token("host-x"))
        assert await bench.ask("node-1", pod_token("host-x"))

    bench = with_bench(tmp_path, work)
    away, again = bench.messages
    assert away.startswith("hosts cannot join by service-account tokens: ")
    assert reason in away
    assert again == "the Kubernetes API reviews tokens again"


def test_no_part_of_a_token_is_in_the_log(tmp_path: Path) -> None:
    token = pod_token("host-x")

    async def work(bench: Bench) -> None:
        bench.api.failures = [text(b"x" * 190 + token.encode(), 502)]
        with pytest.raises(Error, match=AWAY):
            await bench.ask("node-1", token)

    (message,) = with_bench(tmp_path, work).messages
    assert "502" in message
    assert token[:10] not in message


def test_api_that_is_down_is_away(tmp_path: Path) -> None:
    with ReplayedKubernetes(tmp_path) as api:
        bench = Bench(api)
    try:
        with pytest.raises(Error, match=AWAY):
            asyncio.run(bench.ask("node-1", pod_token("host-x")))
    finally:
        bench.vouching.close()
    assert "gives no answer (connection refused)" in bench.messages[0]


def test_slow_api_is_away_after_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouching, "REVIEW_S", 0.05)

    async def work(bench: Bench) -> None:
        bench.api.hold.clear()
        with pytest.raises(Error, match=AWAY):
            await bench.ask("node-1", pod_token("host-x"))

    bench = with_bench(tmp_path, work)
    assert "no answer within 0.05 s" in bench.messages[0]


class HeldApi:
    """An API in this process that answers when it may, and counts calls."""

    def __init__(self, review: dict[str, Any]) -> None:
        self.review, self.may_answer = review, threading.Event()
        self.under_way, self.most, self.count = 0, 0, 0
        self._lock = threading.Lock()

    def get(self, path: str) -> Any:
        raise AssertionError("not called")

    def post(self, path: str, body: object) -> Any:
        with self._lock:
            self.under_way, self.count = self.under_way + 1, self.count + 1
            self.most = max(self.most, self.under_way)
        assert self.may_answer.wait(30)
        with self._lock:
            self.under_way -= 1
        return self.review


def test_reviews_under_way_and_waiting_are_bounded() -> None:
    api = HeldApi(UNKNOWN)

    async def whole() -> list[str]:
        bound = Vouching(api, {ACCOUNT}, lambda _: None, Clock())
        asks = [
            asyncio.create_task(bound.account_of("n", pod_token("x"), f"192.0.2.{number}"))
            for number in range(MOST_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Error, match=BUSY):
            await bound.account_of("n", pod_token("x"), "192.0.2.254")
        api.may_answer.set()
        refusals = await asyncio.gather(*asks, return_exceptions=True)
        bound.close()
        return [str(refusal) for refusal in refusals]

    refusals = asyncio.run(whole())
    assert len(refusals) == MOST_WAITING == 64
    assert all(refusal.startswith(NOT_ACCEPTED) for refusal in refusals)
    assert api.most <= MOST_REVIEWS == 4
    assert api.count == MOST_WAITING


@pytest.mark.parametrize("are_equal", [True, False])
def test_many_wrong_tokens_at_once_cost_few_reviews(are_equal: bool) -> None:
    api = HeldApi(UNKNOWN)
    api.may_answer.set()
    tokens = [pod_token("x" if are_equal else f"x{number}") for number in range(MOST_WAITING)]

    async def whole() -> list[str]:
        bound = Vouching(api, {ACCOUNT}, lambda _: None, Clock())
        asks = [bound.account_of("n", token, "192.0.2.1") for token in tokens]
        refusals = await asyncio.gather(*asks, return_exceptions=True)
        bound.close()
        return [str(refusal) for refusal in refusals]

    refusals = asyncio.run(whole())
    assert api.count <= FREE_FAILURES + MOST_REVIEWS
    assert sum(WAITS in refusal for refusal in refusals) >= 50


def test_refused_tokens_of_an_address_wait_longer_and_longer(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        waits = []
        for _ in range(FREE_FAILURES + 8):
            with pytest.raises(Error, match=NOT_ACCEPTED):
                await bench.ask("node-1", pod_token("forged"))
            wait_s = 0.0
            while True:
                try:
                    bench.vouching._check_wait("192.0.2.1", pod_token("forged"))
                    break
                except Error:
                    wait_s += 1
                    bench.clock.now_s += 1
            waits.append(wait_s)
        assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, LONGEST_WAIT_S, LONGEST_WAIT_S]
        bench.api.add("host-x", "node-1")
        assert await bench.ask("node-1", pod_token("host-x"))
        # A host that has joined begins anew.
        with pytest.raises(Error, match=NOT_ACCEPTED):
            await bench.ask("node-1", pod_token("forged"))
        assert await bench.ask("node-1", pod_token("host-x"))

    bench = with_bench(tmp_path, work)
    assert len(bench.messages) == 1  # The same reason is not repeated.


async def refuse(bench: Bench, count: int = FREE_FAILURES + 1, first: int = 0) -> None:
    """Let reviews refuse further tokens of an address."""
    for number in range(first, first + count):
        with pytest.raises(Error, match=NOT_ACCEPTED):
            await bench.ask("node-1", pod_token(f"forged-{number}"))


def test_one_address_makes_no_other_wait(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.api.add("host-x", "node-1")
        await refuse(bench)
        asked = len(bench.api.asked)
        with pytest.raises(Error, match=WAITS):
            await bench.ask("node-1", pod_token("forged-0"))
        assert len(bench.api.asked) == asked
        assert await bench.ask("node-1", pod_token("host-x"), "192.0.2.2")

    with_bench(tmp_path, work)


def test_good_token_passes_while_its_address_waits(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.api.add("host-x", "node-1")
        await refuse(bench, FREE_FAILURES + 1)
        bench.clock.now_s += SPARE_S
        assert await bench.ask("node-1", pod_token("host-x"))

    with_bench(tmp_path, work)


def test_new_tokens_of_a_waiting_address_have_a_small_rate(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await refuse(bench)
        for first in range(100, 110):
            bench.clock.now_s += SPARE_S
            await refuse(bench, 1, first)
            asked = len(bench.api.asked)
            with pytest.raises(Error, match=WAITS):
                await bench.ask("node-1", pod_token(f"forged-{first + 50}"))
            assert len(bench.api.asked) == asked
        bench.clock.now_s += SPARE_S
        bench.api.add("host-x", "node-1")
        assert await bench.ask("node-1", pod_token("host-x"))

    with_bench(tmp_path, work)


def test_texts_that_are_no_tokens_make_no_token_wait(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.api.add("host-x", "node-1")
        for number in range(FREE_FAILURES + 1):
            with pytest.raises(Error, match=NOT_ACCEPTED):
                await bench.ask(f"n-{number}", "garbage")
        with pytest.raises(Error, match=WAITS):  # The log has few of them.
            await bench.ask("n", "garbage")
        assert await bench.ask("node-1", pod_token("host-x"))

    bench = with_bench(tmp_path, work)
    assert len(bench.messages) == FREE_FAILURES + 1
    assert bench.api.asked == [("POST", REVIEWS)]


def test_count_of_an_address_falls_while_it_is_calm(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        for number in range(3 * MOST_COUNTED):
            bench.clock.now_s += SPARE_S
            await refuse(bench, 1, number)
        (known,) = bench.vouching._failures.values()
        assert known.count == MOST_COUNTED
        bench.clock.now_s += LONGEST_WAIT_S + MOST_COUNTED * CALM_S
        await refuse(bench, FREE_FAILURES, 100)
        with pytest.raises(Error, match=NOT_ACCEPTED):
            await bench.ask("node-1", pod_token("forged-0"))  # It was refused before.
        with pytest.raises(Error, match=WAITS):
            await bench.ask("node-1", pod_token("forged-0"))

    with_bench(tmp_path, work)


def test_place_that_does_not_come_is_no_silence_of_the_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vouching, "REVIEW_S", 0.05)
    api, messages = HeldApi(UNKNOWN), list[str]()

    async def whole() -> None:
        bound = Vouching(api, {ACCOUNT}, messages.append, Clock())
        for _ in range(MOST_REVIEWS):
            await bound._places.acquire()
        with pytest.raises(Error, match=BUSY):
            await bound.account_of("n", pod_token("x"), "192.0.2.1")
        api.may_answer.set()
        for _ in range(MOST_REVIEWS):
            bound._places.release()
        monkeypatch.undo()
        with pytest.raises(Error, match=NOT_ACCEPTED):
            await bound.account_of("n", pod_token("x"), "192.0.2.1")
        bound.close()

    asyncio.run(whole())
    assert messages[0] == (
        "hosts cannot join by service-account tokens: 4 reviews are under way, and a token "
        "waited 0.05 s"
    )
    assert messages[1] == "the Kubernetes API reviews tokens again"


def test_addresses_and_refused_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouching, "MOST_REFUSED", 16)
    api = HeldApi(UNKNOWN)
    api.may_answer.set()
    bound = Vouching(api, {ACCOUNT}, lambda _: None, Clock())

    async def whole() -> None:
        for number in range(MOST_SOURCES + 10):
            token = pod_token(f"x-{number}") if number < 32 else "no token"
            with pytest.raises(Error, match=NOT_ACCEPTED):
                await bound.account_of("n", token, f"source-{number}")

    asyncio.run(whole())
    bound.close()
    assert len(bound._failures) == MOST_SOURCES == 1024
    assert "source-9" not in bound._failures
    assert "source-10" in bound._failures
    assert len(bound._refused) == 16
    assert MOST_REFUSED == 4096
    assert api.count == 32
