"""A control and two hosts that follow it."""

import asyncio
import socket
import time
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import jwt
import pytest
from msgspec.structs import replace

from openimds.credentials.pki.verify import verify
from openimds.errors import Error
from openimds.facts.events import EventStatus
from openimds.protocol.attested_document import pending_document
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.pending import (
    AccessToken,
    Approved,
    Failed,
    PendingApproval,
    PendingDocument,
    PendingToken,
    Signature,
)
from openimds.protocol.request import parse_query
from openimds.server.hosts import follower, port
from openimds.server.hosts.follower import Answer
from openimds.server.hosts.messages import AskTrust, Hello, Join, JoinedHost, Make, PutVms, Renew
from openimds.server.hosts.port import MOST_PER_HOST
from openimds.server.seam.channel import Channel, ChannelClosedError
from openimds.server.seam.messages import Approve
from openimds.vm.defaults import text_at
from openimds.vm.identities import principals
from tests.unit.server.hosts.fleet import ControlSide, HostSide, until, with_fleet

SET = {"availabilitySet": "as-1", "compute": {"subscriptionId": "s", "resourceGroupName": "g"}}


def on(host: str, address: str, **more: Any) -> dict[str, Any]:
    return {"host": host, "reach": {"address": [address]}, **more}


def test_host_has_its_own_vms_alone() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.put("db", **on("b", "10.0.0.1"))
        await control.put("none", reach={"address": ["10.0.0.1"]})
        await control.settle()
        assert (a.name_at("10.0.0.1"), b.name_at("10.0.0.1")) == ("web", "db")
        assert {*a.host.fleet_index.by_name} == {"web"}
        assert {*b.host.fleet_index.by_name} == {"db"}

    with_fleet(work)


def test_lonely_vm_of_a_host_does_not_answer_every_caller() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", host="a")
        await control.settle()
        assert a.name_at("10.99.99.99") == "404"

    with_fleet(work)


def test_changes_and_removals_reach_the_host() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        service = control.control.fleet_service
        await control.put("web", **on("a", "10.0.0.1"))
        await service.patch("web", {"reach": {"address": ["10.0.0.2"]}}, "test")
        await control.settle()
        assert (a.name_at("10.0.0.1"), a.name_at("10.0.0.2")) == ("404", "web")
        await service.remove("web", "test")
        await control.settle()
        assert a.name_at("10.0.0.2") == "404"
        assert not a.host.fleet_index.by_name

    with_fleet(work)


def test_moving_vm_is_on_both_hosts_until_the_move_ends() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        service = control.control.fleet_service
        await control.put("web", **on("a", "10.0.0.1"))
        await service.patch("web", {"nextHost": "b"}, "test")
        await control.settle()
        assert (a.name_at("10.0.0.1"), b.name_at("10.0.0.1")) == ("web", "web")
        await service.patch("web", {"host": "b", "nextHost": None}, "test")
        await control.settle()
        assert (a.name_at("10.0.0.1"), b.name_at("10.0.0.1")) == ("404", "web")

    with_fleet(work)


def test_events_reach_the_hosts_with_members_of_their_scope() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1", **SET))
        await control.put("db", **on("b", "10.0.0.2", **SET))
        await control.put("other", **on("b", "10.0.0.3"))
        await control.declare("web")
        await control.settle()
        for host, address in ((a, "10.0.0.1"), (b, "10.0.0.2")):
            (event,) = host.events_at(address)["Events"]
            assert event["Resources"] == ["web"]
        assert b.events_at("10.0.0.3")["Events"] == []
        await control.declare("other")
        await control.settle()
        assert len(b.events_at("10.0.0.3")["Events"]) == 1
        assert a.follower._end._follower._scopes.keys() == {"set:s/g/as-1"}

    with_fleet(work)


def test_events_come_with_a_vm_and_go_with_it() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        service = control.control.fleet_service
        await control.put("web", **on("a", "10.0.0.1"))
        await control.declare("web")
        await service.patch("web", {"host": "b"}, "test")
        await control.settle()
        assert len(b.events_at("10.0.0.1")["Events"]) == 1
        assert not a.follower._end._follower._scopes

    with_fleet(work)


def test_approval_of_a_guest_is_stored_by_control() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.declare("web")
        events = control.control.events_service
        (event,) = events.events()
        need = PendingApproval("web", "vm:web", (event.event_id,))
        assert await a.host.pending.events.approve(need) == Approved()
        started = events.get(event.event_id)
        assert started is not None
        assert started.status is EventStatus.STARTED

    with_fleet(work)


@pytest.mark.parametrize("scope", ["vm:web", "vm:db"])
def test_host_approves_for_its_own_vms_and_scopes_alone(scope: str) -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.put("db", **on("b", "10.0.0.2"))
        await control.declare("web")
        (event,) = control.control.events_service.events()
        thief, vm = (b, "web") if scope == "vm:web" else (b, "db")
        need = PendingApproval(vm, "vm:web", (event.event_id,))
        with pytest.raises(Error, match=r"not placed on the host b|not in the scope"):
            await thief.follower.ask(Approve(need))
        assert control.control.events_service.get(event.event_id) == event
        refused = await thief.host.pending.events.approve(need)
        assert refused == Failed("unavailable")

    with_fleet(work)


def test_host_serves_on_without_control_and_catches_up() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.put("gone", **on("a", "10.0.0.2"))
        await control.settle()
        make, control.port.make_session = control.port.make_session, None
        for session in [*control.sessions.values()]:
            session.channel.close()
        await until(lambda: not control.sessions)
        service = control.control.fleet_service
        await service.patch("web", {"host": "b"}, "test")
        await service.remove("gone", "test")
        await control.put("new", **on("a", "10.0.0.3"))
        assert a.name_at("10.0.0.1") == "web"
        with pytest.raises(ChannelClosedError, match="control is away"):
            await a.follower.ask(Approve(PendingApproval("web", "vm:web", ())))
        control.port.make_session = make
        await until(lambda: len(control.sessions) == 2)
        await control.settle()
        assert [a.name_at(f"10.0.0.{n}") for n in (1, 2, 3)] == ["404", "404", "new"]
        assert b.name_at("10.0.0.1") == "web"
        assert any("guests are served on" in line for line in a.messages)
        assert any("is followed again" in line for line in a.messages)

    with_fleet(work)


def test_host_finds_control_after_thousands_of_attempts() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        attempts = 0
        connect = a.follower._connect

        async def refused(*_: Any) -> Any:
            nonlocal attempts
            attempts += 1
            raise ConnectionRefusedError(111, "Connection refused")

        a.follower._connect = refused
        control.sessions["a"].channel.close()
        await until(lambda: attempts > 3000)
        a.follower._connect = connect
        await until(lambda: a.follower.state.connections == 2)

    with_fleet(work)


def test_host_that_shows_all_gets_no_vm_again() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        for number in range(30):
            await control.put(f"vm-{number}", **on("a", f"10.0.1.{number}"))
        await control.settle()
        control.sessions["a"].channel.close()
        await until(lambda: a.follower.state.connections == 2 and "a" in control.sessions)
        await control.settle()
        assert control.sessions["a"].sent_vms == 0
        assert len(a.host.fleet_index.by_name) == 30

    with_fleet(work)


def test_removal_of_many_is_confirmed_in_the_store() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        for number in range(30):
            await control.put(f"vm-{number}", **on("a", f"10.0.1.{number}"))
        await control.settle()
        # A control that has lost its memory of VMs which the store still has.
        for number in range(20):
            control.link._change(f"vm-{number}", (), "")
        control.sessions["a"].channel.close()
        await until(lambda: any("nothing is removed" in line for line in control.messages))
        assert len(a.host.fleet_index.by_name) >= 10
        a.follower._is_comparing = True
        with pytest.raises(Error, match="would be removed unconfirmed"):
            await a.follower._put(PutVms((), frozenset(a.host.fleet_index.by_name)))

    with_fleet(work)


def test_host_renews_its_own_certificate() -> None:
    async def work(_control: ControlSide, a: HostSide, _b: HostSide) -> None:
        assert await a.follower.ask(Renew(b"csr")) == JoinedHost(b"renewed a", b"csr")

    with_fleet(work)


def test_revoked_host_is_cut_off_and_refused() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.settle()
        control.authority.revoked.add("a")
        control.port.check_certificates()
        await until(lambda: "a" not in control.sessions)
        await until(lambda: any("the host a is revoked" in line for line in control.messages))
        assert a.name_at("10.0.0.1") == "web"  # It serves on what it has.

    with_fleet(work)


def test_second_connection_of_a_host_ends_the_first() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        first = control.sessions["a"]
        twin = HostSide("a", {"control": control})
        twin.follow()
        await until(lambda: control.sessions.get("a") not in {None, first})
        assert first.channel.is_closed
        await twin.close()

    with_fleet(work)


def test_faults_reach_their_hosts_with_their_own_vms() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.put("db", **on("b", "10.0.0.2"))
        faults = control.control.faults
        await faults.set({"effect": "status", "vms": ["web"], "status": 503})
        await control.settle()
        assert a.name_at("10.0.0.1") == "503"
        assert not b.host.injector.running
        await faults.clear()
        await control.settle()
        assert a.name_at("10.0.0.1") == "web"

    with_fleet(work)


def test_vm_of_another_release_keeps_its_old_state() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.settle()
        (vm,) = [control.link.vm_on("a", "web")]
        assert vm is not None
        refused = await a.follower.answer(PutVms((replace(vm, packed=b"\x81\xa4kind\x07"),)))
        assert "cannot read it" in refused["web"]
        assert a.follower.state.refused == refused
        assert (a.follower.vm_count, a.follower.silent_s() < 60) == (1, True)
        assert a.name_at("10.0.0.1") == "web"
        await control.put("web", **on("a", "10.0.0.2"))
        await control.settle()
        assert a.follower.state.refused == {}

    with_fleet(work)


def test_closed_listener_stops_no_other_vm() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.put("far", host="a", reach={"listen": ["192.0.2.1:9"]})
        await control.settle()
        assert "192.0.2.1" in control.sessions["a"].refused["far"]
        assert a.name_at("10.0.0.1") == "web"

    with_fleet(work)


def test_caller_without_certificate_can_only_join() -> None:
    async def work(control: ControlSide, _a: HostSide, _b: HostSide) -> None:
        stranger = HostSide("", {"control": control})
        channel = await stranger._connect("control", stranger.follower.answer)

        reading = asyncio.create_task(channel.run())
        assert (await channel.call(AskTrust())).roots == b"roots"
        joined = await channel.call(Join("c", b"secret", b"csr"))
        assert joined == JoinedHost(b"certificate of csecret", b"csr")
        for message in (Hello((1,), "1", "", 0, b""), Renew(b"")):
            with pytest.raises(Error, match="a message that this release does not know"):
                await channel.call(message)
        channel.close()
        await reading
        await stranger.close()

    with_fleet(work)


def pending_token(control: ControlSide, name: str) -> PendingToken:
    vm = control.link.fleet_index.by_name[name].vm
    (identity,) = principals(vm)
    region = text_at(vm, "compute.location")
    return PendingToken(name, vm.cloud, identity, "https://vault.azure.net", region=region)


def test_token_of_a_guest_is_signed_by_control() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1", identities={"system": True}))
        await control.settle()
        need, provider = pending_token(control, "web"), a.host.dispatcher.provider
        token = await provider.make(need, time.time())
        assert isinstance(token, AccessToken)
        (key,) = control.host.credentials.key_infos(time.time())
        assert jwt.get_unverified_header(token.text)["kid"] == key.kid
        assert provider.cached(need, time.time()) == token
        assert not a.host.credentials._keyring  # The host has made no key.

    with_fleet(work)


def test_host_gets_no_token_for_a_vm_of_another() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1", identities={"system": True}))
        await control.settle()
        need = pending_token(control, "web")
        assert isinstance(await b.follower.ask(Make(need)), Failed)
        assert isinstance(await a.follower.ask(Make(need)), AccessToken)

    with_fleet(work)


def test_document_of_a_guest_is_signed_below_the_root_of_control() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.settle()
        vm = control.link.fleet_index.by_name["web"].vm
        target = b"/metadata/attested/document?api-version=2021-02-01"
        need = pending_document(parse_query("GET", target, has_metadata_header=True), vm)
        assert isinstance(need, PendingDocument)
        signature = await a.host.dispatcher.provider.make(need, time.time())
        assert isinstance(signature, Signature)
        now_s = time.time()
        bundle = control.host.credentials.ca.bundle(now_s)
        report = verify(signature.text, trust=bundle, nonce=None, at_s=now_s)
        assert report.holds, report

    with_fleet(work)


def test_moving_vm_has_its_token_ahead_and_its_secret() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1", identities={"system": True}))
        await control.settle()
        need = pending_token(control, "web")
        await a.host.dispatcher.provider.make(need, time.time())
        await control.control.fleet_service.patch("web", {"nextHost": "b"}, "test")
        await control.settle()
        await until(lambda: b.host.dispatcher.provider.cached(need, time.time()) is not None)
        secret = control.host.caller_secrets.of("web")
        assert [one.host.caller_secrets.of("web") for one in (a, b)] == [secret, secret]

    with_fleet(work)


def test_moving_guest_sees_its_events_as_soon_as_itself() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.declare("web")
        await control.settle()
        seen: list[int] = []
        put = b.follower._put

        async def look(message: PutVms) -> dict[str, str]:
            refused = await put(message)
            seen.append(len(b.events_at("10.0.0.1")["Events"]))
            return refused

        with patch.object(b.follower, "_put", look):
            await control.control.fleet_service.patch("web", {"nextHost": "b"}, "test")
            await control.settle()
        assert seen == [1]
        assert len(a.events_at("10.0.0.1")["Events"]) == 1

    with_fleet(work)


def test_requests_for_events_count_on_all_hosts_of_a_scope() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1", **SET))
        await control.put("db", **on("b", "10.0.0.2", **SET))
        await control.put("other", **on("b", "10.0.0.3"))
        await control.settle()
        first, second = ScopeActivity(), ScopeActivity()
        a.events._activity, b.events._activity = first, second
        first.asks("set:s/g/as-1", 1000.0)
        first.asks("vm:other", 1000.0)  # No VM of this host: control takes no word on it.
        a.follower.note_activity()
        await until(lambda: second.of("set:s/g/as-1") is not None)
        assert second.asks("set:s/g/as-1", 1300.0)
        assert control.link.activity.of("vm:other") is None
        await control.control.fleet_service.remove("web", "test")
        await control.control.fleet_service.remove("db", "test")
        control.link.prune(frozenset())
        assert control.link.activity.of("set:s/g/as-1") is None

    with_fleet(work)


def test_refused_listener_is_opened_once_it_is_free() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            place = f"127.0.0.1:{taken.getsockname()[1]}"
            await control.put("web", host="a", reach={"listen": [place]})
            await control.settle()
            assert "web" in control.sessions["a"].refused
            control.sessions["a"].channel.close()
            await until(lambda: a.follower.state.connections == 2 and "a" in control.sessions)
            await until(lambda: "web" in control.sessions["a"].refused)
            assert not control.sessions["a"].shows("web")
        control.sessions["a"].mark_faults()  # The next message to the host.
        await until(lambda: not control.sessions["a"].refused)
        assert control.sessions["a"].shows("web")

    with_fleet(work)


def test_token_of_a_vm_that_changed_meanwhile_is_forgotten() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", "10.0.0.1"))
        await control.settle()
        forgotten: list[frozenset[str]] = []
        with patch.object(type(a.host), "forget_tokens", lambda _, names: forgotten.append(names)):
            make, control.port.make_session = control.port.make_session, None
            control.sessions["a"].channel.close()
            await until(lambda: "a" not in control.sessions)
            await control.control.fleet_service.patch("web", {"kind": "cloud-shell"}, "test")
            control.port.make_session = make
            await until(lambda: "a" in control.sessions)
            await control.settle()
        assert {"web"} in forgotten

    with_fleet(work)


def test_control_whose_lease_is_stale_is_left_for_another() -> None:
    async def whole() -> None:
        old, new = ControlSide(), ControlSide()
        controls = {"old": old}
        host = HostSide("a", {"old": old, "new": new})
        host.controls = controls
        try:
            for control in (old, new):
                await control.load()
            await new.put("web", **on("a", "10.0.0.1"))
            host.follow()
            await until(lambda: "a" in old.sessions)
            host.follower.state.store_age_s = 11.0
            assert not await host.follower._is_another_there("old")
            controls["new"] = new
            assert await host.follower._is_another_there("old")
            old.sessions["a"].channel.abort()
            await until(lambda: "web" in host.host.fleet_index.by_name)
        finally:
            await host.close()
            await old.close()
            await new.close()

    asyncio.run(whole())


def test_internal_error_ends_no_search_for_control() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        errors: list[Exception] = [RuntimeError("broken"), UnicodeError("name")]
        connect = a.follower._connect

        async def fail(address: str, answer: Answer) -> Channel:
            if errors:
                raise errors.pop()
            return await connect(address, answer)

        a.follower._connect = fail
        control.sessions["a"].channel.close()
        await until(lambda: a.follower.state.connections == 2)
        assert any("internal error: RuntimeError('broken')" in line for line in a.messages)

    with_fleet(work)


def test_one_host_takes_few_connections() -> None:
    async def work(control: ControlSide, _a: HostSide, b: HostSide) -> None:
        thief = HostSide("a", {"control": control})
        channels = [await thief._connect("control", thief.follower.answer) for _ in range(9)]
        await until(lambda: control.port._counts["a"] == MOST_PER_HOST)
        await control.put("db", **on("b", "10.0.0.1"))
        await control.settle()
        assert b.name_at("10.0.0.1") == "db"
        for channel in channels:
            channel.abort()
        await thief.close()

    with_fleet(work)


def test_host_that_sends_no_hello_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "UNPROVEN_S", 0.01)

    async def work(control: ControlSide, _a: HostSide, _b: HostSide) -> None:
        silent = HostSide("c", {"control": control})
        channel = await silent._connect("control", silent.follower.answer)
        await channel.run()
        assert "a" in control.sessions, "those with a session stay"
        await silent.close()

    with_fleet(work)


def test_next_host_lacks_a_vm_until_its_rules_bind_it() -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", host="a", reach={"interface": "tap-web", "address": ["10.0.0.1"]})
        await control.settle()
        local = b.follower.local_vms
        local.bound = lambda: "another state"
        await control.control.fleet_service.patch("web", {"nextHost": "b"}, "test")
        await control.settle()
        session = control.sessions["b"]
        assert not session.shows("web")
        assert "host follow" in session.refused["web"]
        b.follower.note_bound()
        assert not session.shows("web")
        local.note_bound(local.changes)
        b.follower.note_bound()
        await until(lambda: session.shows("web"))
        assert control.sessions["a"].shows("web")

    with_fleet(work)


def test_hello_after_its_time_registers_no_session() -> None:
    async def work(control: ControlSide, _a: HostSide, _b: HostSide) -> None:
        connection = port.HostConnection(control.port, "c", b"c")
        with suppress(TimeoutError):
            async with asyncio.timeout(0) as connection.patience:
                try:
                    await asyncio.Event().wait()
                finally:
                    with pytest.raises(Error, match="of the host c came too late"):
                        await connection.answer(Hello((1,), "1", "", 0, b""))
        assert "c" not in control.sessions

    with_fleet(work)


def test_stale_control_that_is_met_again_is_kept_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "STALE_S", 0.0)
    monkeypatch.setattr(follower, "RETURN_S", 2.0)
    now_s, age_s, number = 0.0, 0.0, 0

    async def whole() -> None:
        nonlocal now_s, age_s
        control = ControlSide(age_s=lambda: age_s)
        host = HostSide("a", {"one": control, "same": control}, steady=lambda: now_s)

        async def connections(count: int) -> None:
            nonlocal number
            state = host.follower.state
            await until(lambda: state.connections == count and "a" in control.sessions)
            for _ in range(5):  # Each change passes with the age of the lease.
                await control.settle()
                number += 1
                await control.put("web", **on("a", f"10.0.1.{number}"))
            await control.settle()
            assert state.connections == count

        try:
            await control.load()
            host.follow()
            await connections(1)
            age_s = 11.0
            await control.put("db", **on("a", "10.0.0.2"))
            await connections(2)
            now_s += 2.5
            await connections(3)
            now_s += 2.5
            await connections(3)
            now_s += 2.5
            await connections(4)
            age_s = 0.0
            await connections(4)
            age_s = 11.0
            await control.put("db", **on("a", "10.0.0.3"))
            await connections(5)
            control.epoch = 2
            control.sessions["a"].channel.abort()
            await connections(7)
        finally:
            await host.close()
            await control.close()
        reason = "has not renewed its lease for 11 s); guests are served on"
        assert sum(line.endswith(reason) for line in host.messages) == 5

    asyncio.run(whole())


def test_end_of_a_connection_is_noticed_during_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "STALE_S", 0.0)

    async def whole() -> None:
        control, looked = ControlSide(age_s=lambda: 11.0), asyncio.Event()
        host = HostSide("a", {"one": control, "same": control})

        async def look(*_: object) -> bool:
            looked.set()
            return await asyncio.Future[bool]()

        monkeypatch.setattr(host.follower, "_is_another_there", look)
        try:
            await control.load()
            host.follow()
            await asyncio.wait_for(looked.wait(), 10)
            control.sessions["a"].channel.abort()
            await until(lambda: host.follower.state.connections == 2)
            assert any("has closed the connection" in line for line in host.messages)
        finally:
            await host.close()
            await control.close()

    asyncio.run(whole())
