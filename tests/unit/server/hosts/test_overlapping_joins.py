"""A host asks for one certificate at a time: all requests share a next key."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from openimds.credentials.hosts.identity import HostIdentity
from openimds.errors import Error
from openimds.server.hosts import host_run
from openimds.server.seam.messages import SeamMessage
from tests.support.replayed_kubernetes import ReplayedKubernetes
from tests.unit.server.hosts.fleet import until
from tests.unit.server.hosts.real_hosts import RealControl
from tests.unit.server.hosts.test_joining_by_account import Pod, with_cluster


def test_join_renewal_and_further_join_do_not_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    request, accept = HostIdentity.request, HostIdentity.accept

    def noted_request(identity: HostIdentity) -> bytes:
        steps.append("request")
        return request(identity)

    def noted_accept(
        identity: HostIdentity, name: str, certificate: bytes, roots: bytes, now_s: float
    ) -> None:
        accept(identity, name, certificate, roots, now_s)
        steps.append("accept")

    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        host = pod.host([])
        try:
            await host.start()
            monkeypatch.setattr(HostIdentity, "request", noted_request)
            monkeypatch.setattr(HostIdentity, "accept", noted_accept)
            api.hold.clear()
            works: list[asyncio.Task[Any]] = [asyncio.create_task(host._attempt_to_join(pod.files))]
            await until(lambda: len(api.asked) == 2)
            works += [
                asyncio.create_task(host._certify()),
                asyncio.create_task(host._attempt_to_join(pod.files)),
            ]
            await asyncio.sleep(0)  # Both have begun, and wait for the first.
            api.hold.set()
            assert await asyncio.gather(*works) == ["", None, ""]
            assert steps == ["request", "accept"]
            assert len(api.asked) == 2
        finally:
            api.hold.set()
            await host.stop()

    with_cluster(tmp_path, work)


def test_renewal_without_an_answer_lets_the_next_one_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_run, "ANSWER_S", 0.01)

    async def never(_: SeamMessage) -> None:
        await asyncio.Event().wait()

    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        host = pod.host([])
        try:
            await host.start()
            monkeypatch.setattr(host.follower, "ask", never)
            with pytest.raises(Error, match=r"control gives no answer within 0\.01 s"):
                await host._certify()
            assert await host._attempt_to_join(pod.files) == ""
        finally:
            await host.stop()

    with_cluster(tmp_path, work)
