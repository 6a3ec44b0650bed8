"""Hosts that join by their pods' service accounts, over TLS, with a replayed API."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openimds.credentials.hosts.handshake import fingerprint_of
from openimds.credentials.hosts.host_certificates import HostTrustError
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.hosts.pod_files import PodFiles
from openimds.credentials.hosts.register import HostRegister
from openimds.errors import Error
from openimds.server.hosts import host_run
from openimds.server.hosts.connecting import join_by_account
from openimds.server.hosts.host_run import FleetHost, HostRunSettings
from openimds.server.hosts.kubernetes_settings import kubernetes_settings
from openimds.server.hosts.messages import JoinByAccount, Welcome
from openimds.server.hosts.port import HostConnection, HostsPort
from openimds.server.hosts.vouching import AWAY, Vouching
from openimds.server.inherited_sockets import InheritedSockets
from openimds.settings import Settings
from tests.support.replayed_kubernetes import ReplayedKubernetes, pod_token, refused
from tests.unit.server.hosts.fleet import Authority, until
from tests.unit.server.hosts.real_hosts import RealControl, with_control
from tests.unit.server.hosts.test_connecting import HELLO


class Pod:
    """A host's pod: its name, its node and its two files."""

    def __init__(self, folder: Path, control: RealControl, name: str, node: str) -> None:
        self.node, self.folder, self.control = node, folder / name, control
        self.folder.mkdir()
        self.files = PodFiles(self.folder / "token", self.folder / "fingerprint")
        self.files.token.write_text(f"{pod_token(name)}\n")
        self.pin(*control.ca.fingerprints(time.time()))

    def pin(self, *fingerprints: str) -> None:
        self.files.fingerprints.write_text("".join(f"{one}\n" for one in fingerprints))

    async def join(self, name: str = "") -> HostIdentity:
        """Join with the identity in the pod's folder, which may be none."""
        identity = HostIdentity.open(self.folder)
        control = self.control.address
        await join_by_account(control, name or self.node, self.files.read(), identity)
        return identity

    def host(self, messages: list[str], *controls: str) -> FleetHost:
        settings = Settings(listen="127.0.0.1:0", state=str(self.folder / "state"))
        own = HostRunSettings(controls or (self.control.address,), self.node, pod=self.files)
        return FleetHost(settings, own, messages.append, InheritedSockets())


Work = Callable[[RealControl, ReplayedKubernetes], Awaitable[None]]


def with_cluster(folder: Path, work: Work) -> list[str]:
    """Do work with a control that asks a replayed API; return the messages of control."""
    messages: list[str] = []
    with ReplayedKubernetes(folder) as api:
        made = kubernetes_settings(["openimds/openimds-host"], "", api.url, api.folder)
        assert made
        vouching = Vouching(made.api, made.accounts, messages.append, time.monotonic)

        async def whole(control: RealControl) -> None:
            await work(control, api)
            messages.extend(control.messages)

        try:
            with_control(folder, whole, vouching)
        finally:
            api.hold.set()
            vouching.close()
    return messages


def test_pod_joins_as_the_host_of_its_node(tmp_path: Path) -> None:
    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        identity = await Pod(tmp_path, control, "host-x", "node-1").join()
        assert identity.name == "node-1"
        entry = control.hosts.register.hosts["node-1"]
        assert (entry.state, entry.account) == ("joined", "openimds/openimds-host")
        assert control.failing.value("hosts") == control.hosts.register.to_bytes()
        talk = await control.connected(identity)
        assert await talk.ask(HELLO) == Welcome(1, "store-1", "node-1", 1)
        await talk.close()

    messages = with_cluster(tmp_path, work)
    assert "the host node-1 has joined by the service account openimds/openimds-host" in messages[0]
    assert not any(pod_token("host-x") in message for message in messages)


def test_pod_joins_again_after_its_state_was_lost(tmp_path: Path) -> None:
    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        first = await Pod(tmp_path, control, "host-x", "node-1").join()
        api.pods.clear()
        api.add("host-y", "node-1")
        second = await Pod(tmp_path, control, "host-y", "node-1").join()
        (live,) = control.hosts.register.hosts["node-1"].certificates
        assert live.serial == second.serial != first.serial
        talk = await control.connected(first)
        with pytest.raises(Error, match="was replaced"):
            await talk.ask(HELLO)
        await talk.close()

    with_cluster(tmp_path, work)


def test_pod_takes_no_other_nodes_name(tmp_path: Path) -> None:
    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        with pytest.raises(Error, match='runs on the node the string "node-1", and asks to join'):
            await pod.join("node-2")
        assert control.hosts.register.hosts == {}

    messages = with_cluster(tmp_path, work)
    assert "'node-2' at 127.0.0.1 may not join by its service-account token" in messages[0]


def test_revoked_node_joins_once_it_is_added_again(tmp_path: Path) -> None:
    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        await pod.join()
        await control.administration.revoke("node-1")
        with pytest.raises(Error, match=r'"node-1" was revoked at .* openimds control host add'):
            await pod.join()
        await control.administration.invite("node-1", is_admin=True)
        await pod.join()
        assert control.hosts.register.hosts["node-1"].state == "joined"

    messages = with_cluster(tmp_path, work)
    assert sum("the host node-1 may not join: host" in message for message in messages) == 1


def test_revoked_node_stays_out_after_a_start_of_control(tmp_path: Path) -> None:
    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        await control.hosts.load()
        await pod.join()
        await control.administration.revoke("node-1")
        control.ahead_s = 30 * 86_400
        await control.hosts.load()
        with pytest.raises(Error, match='"node-1" was revoked at'):
            await pod.join()
        stored = HostRegister.from_bytes(control.failing.value("hosts"))
        assert stored.keeps_revoked

    with_cluster(tmp_path, work)


def test_token_goes_to_no_control_of_another_root(tmp_path: Path) -> None:
    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        pod.pin("0" * 64)
        with pytest.raises(HostTrustError, match="is another one: no root of its has a fingerp"):
            await pod.join()
        assert api.asked == []

    with_cluster(tmp_path, work)


def test_old_and_new_fingerprints_fit_after_a_rotation(tmp_path: Path) -> None:
    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        (old,) = control.ca.fingerprints(time.time())
        control.ca.rotate(time.time())
        control.ca.server_context(time.time())
        new, replaced = control.ca.fingerprints(time.time())
        assert replaced == old != new == control.ca.fingerprint
        assert new == fingerprint_of(control.ca._root.certificate)
        for pinned in ((old,), (new,), (new, old)):
            pod.pin(*pinned)
            identity = await pod.join()
            talk = await control.connected(identity)
            assert isinstance(await talk.ask(HELLO), Welcome)
            await talk.close()

    with_cluster(tmp_path, work)


def test_control_without_accounts_refuses_pods(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        pod = Pod(tmp_path, control, "host-x", "node-1")
        with pytest.raises(Error, match="start it with --join-service-account NAMESPACE/NAME"):
            await pod.join()

    with_control(tmp_path, work)


def test_caller_is_known_by_its_address() -> None:
    async def whole() -> bytes:
        connection = HostConnection(HostsPort(Authority(), {}, lambda _: None), "", b"")
        connection.source = "192.0.2.1"
        joined = await connection.answer(JoinByAccount("n", "t", b""))
        certificate: bytes = joined.certificate
        return certificate

    assert asyncio.run(whole()) == b"certificate of n by t at 192.0.2.1"


# The process of a host.


def forget_failures(control: RealControl) -> None:
    """Let no address wait for refused tokens: their waits are in real time."""
    vouching = control.hosts._vouching
    assert vouching
    vouching._failures.clear()


def test_host_waits_for_everything_and_never_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_run, "_PAUSE_S", 0.0)
    messages: list[str] = []

    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        pod = Pod(tmp_path, control, "host-x", "node-1")
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        token = pod.files.token.read_text()
        pod.files.token.unlink()
        host = pod.host(messages, nobody, control.address)
        starting = asyncio.create_task(host.start())

        async def waits_for(reason: str) -> None:
            await until(lambda: any(reason in message for message in messages))
            assert not starting.done()

        try:
            await waits_for("--join-service-account-token: saw")
            pod.files.token.write_text(token)
            await waits_for("this service-account token is not accepted")
            pod.pin("0" * 64)
            await waits_for("no root of its has a fingerprint in")
            api.failures = [refused(500, "InternalError", "etcd")] * 1000
            forget_failures(control)
            pod.pin(control.ca.fingerprint)
            await waits_for(AWAY)
            api.add("host-x", "node-1")
            api.failures.clear()
            forget_failures(control)
            await starting
            assert "this host has joined as node-1" in messages
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await host.stop()

    with_cluster(tmp_path, work)
    waits = [message for message in messages if message.startswith("this host has not joined yet")]
    assert any("connect call failed ('127.0.0.1'" in message for message in waits)
    assert not any(pod_token("host-x") in message for message in messages)


def test_host_that_has_joined_needs_no_token(tmp_path: Path) -> None:
    messages: list[str] = []

    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        for _ in range(2):
            host = pod.host(messages)
            try:
                await host.start()
            finally:
                await host.stop()
            pod.files.token.write_text("gone")
        assert len(api.asked) == 1

    with_cluster(tmp_path, work)


def test_pod_whose_certificate_is_refused_joins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A register that was restored from a backup does not know the certificate."""
    monkeypatch.setattr(host_run, "_REJOIN_S", 0.0)
    messages: list[str] = []

    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        host = pod.host(messages)
        try:
            await host.start()
            before = host._identity.serial
            control.hosts.register = HostRegister()
            control.port.check_certificates()
            await until(lambda: host._identity.serial != before)
            await until(lambda: host.follower.is_following)
            assert not host.follower.is_refused
        finally:
            await host.stop()

    with_cluster(tmp_path, work)


def test_pod_starts_although_its_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_run, "_REJOIN_S", 0.0)
    messages: list[str] = []

    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pod = Pod(tmp_path, control, "host-x", "node-1")
        identity = HostIdentity.open(pod.folder / "state")
        await join_by_account(control.address, "node-1", pod.files.read(), identity)
        control.hosts.register = HostRegister()
        host = pod.host(messages)
        try:
            await host.start()
            assert host.follower.is_following
        finally:
            await host.stop()

    with_cluster(tmp_path, work)


def test_pod_joins_again_where_control_has_lost_its_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_run, "_REJOIN_S", 0.0)
    folders, messages = (tmp_path / "first", tmp_path / "second"), list[str]()
    pods: list[Pod] = []
    for folder in folders:
        folder.mkdir()

    async def first(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        pods.append(Pod(tmp_path, control, "host-x", "node-1"))
        identity = HostIdentity.open(pods[0].folder / "state")
        proof = pods[0].files.read()
        await join_by_account(control.address, "node-1", proof, identity)

    async def second(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        host = pods[0].host(messages, control.address)
        starting = asyncio.create_task(host.start())
        try:
            await until(lambda: any("certificate verify failed" in one for one in messages))
            assert api.asked == []
            pods[0].pin(control.ca.fingerprint)
            await starting
            assert host.follower.is_following
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await host.stop()

    with_cluster(folders[0], first)
    with_cluster(folders[1], second)


def test_running_host_whose_certificate_has_ended_joins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []

    async def work(control: RealControl, api: ReplayedKubernetes) -> None:
        api.add("host-x", "node-1")
        host = Pod(tmp_path, control, "host-x", "node-1").host(messages)
        monkeypatch.setattr(host_run, "_RENEW_S", 0.0)
        try:
            await host.start()
            assert len(api.asked) == 1
            ended = [True, False]
            monkeypatch.setattr(
                type(host._identity), "has_ended", lambda *_: bool(ended) and ended.pop(0)
            )
            await until(lambda: len(api.asked) == 2)
            await until(lambda: messages.count("this host has joined as node-1") == 2)
        finally:
            await host.stop()

    with_cluster(tmp_path, work)
