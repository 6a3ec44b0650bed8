"""The hosts as operators see and change them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from openimds import __version__
from openimds.admin.metrics import METRICS_OF_HOSTS, Samples
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.keys.files import new_key
from openimds.credentials.pki.leaf_requests import LeafReply, LeafRequest
from openimds.errors import ConfigError, Error
from openimds.server.hosts.connecting import join
from openimds.server.hosts.digests import digest_of_all
from openimds.server.hosts.messages import Certify, Hello, PutVms, Shown
from openimds.server.seam.messages import SeamMessage
from tests.unit.server.hosts.fleet import until
from tests.unit.server.hosts.real_hosts import RealControl, with_control

HELLO = Hello((1,), __version__, "", 0, digest_of_all({}))


def test_hosts_are_listed_with_and_without_a_connection(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.put("web", host="placed", nextHost="a")
        await control.token("invited")
        talk = await control.connected(await control.joined("a"))
        await talk.ask(HELLO)
        await until(lambda: control.sessions["a"].is_settled)
        a, invited, placed = control.administration.standings()
        assert (a.name, a.state, a.vms, a.release) == ("a", "joined", 1, __version__)
        assert (a.is_connected, a.is_settled) == (True, True)
        assert a.revision == control.control.fleet_service.revision
        assert a.silent_s is not None
        assert (a.unshown_vms, a.unshown_scopes, a.unshown_age_s) == (0, 0, 0.0)
        assert (invited.unshown_vms, invited.unshown_scopes, invited.silent_s) == (None, None, None)
        assert (placed.unshown_age_s > 0, invited.unshown_age_s) == (True, 0.0)
        assert (a.sent_vms, invited.sent_vms) == (1, None)
        assert a.certificate_ends_s == control.hosts.register.hosts["a"].certificates[0].ends_s
        assert (invited.name, invited.state, invited.vms) == ("invited", "invited", 0)
        assert (invited.is_connected, invited.is_settled, invited.revision) == (False, False, None)
        assert invited.certificate_ends_s is None
        assert (placed.name, placed.state, placed.vms) == ("placed", "unknown", 1)
        assert placed.invited_s is None
        await talk.close()

    with_control(tmp_path, work)


def test_placement_lacks_hosts_without_the_newest_state(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        taken = asyncio.Event()

        async def answer(message: SeamMessage) -> Any:
            if isinstance(message, PutVms):
                await taken.wait()
                return {"bad": "no"} if any(vm.name == "bad" for vm in message.puts) else {}
            return {} if message.result is not None else None

        lacking = control.administration.lacking
        await control.put("web", host="a", nextHost="b")
        assert lacking("web") == ["a", "b"]
        talk = await control.connected(await control.joined("a"), answer)
        await talk.ask(HELLO)
        assert lacking("web") == ["a", "b"]
        taken.set()
        await until(lambda: lacking("web") == ["b"])
        await control.put("bad", host="a")
        await control.settle()
        assert lacking("bad") == ["a"]
        assert control.administration.standings()[0].refused == {"bad": "no"}
        assert lacking("absent") == []
        await talk.close()

    with_control(tmp_path, work)


def test_role_enrol_invites_no_host_with_vms(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.put("web", host="a")
        with pytest.raises(ConfigError, match="a host with VMs"):
            await control.administration.invite("a", is_admin=False)
        assert await control.administration.invite("b", is_admin=False)

    with_control(tmp_path, work)


def test_unknown_host_is_not_revoked(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.token("host-1")
        with pytest.raises(ConfigError, match='Did you mean "host-1"'):
            await control.administration.revoke("host-2")

    with_control(tmp_path, work)


def of(samples: Any, host: str) -> dict[str, Any]:
    """Return the values of a host's series by their metrics."""
    start = "openimds_host_"
    return {
        name.removeprefix(start): values[host]
        for name, values in samples.items()
        if name.startswith(start) and host in values
    }


def test_each_host_that_joined_has_metrics(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        def samples() -> dict[str, Samples]:
            return control.administration.samples()

        await control.put("web", host="a")
        await control.put("typo", host="b-1")
        await control.put("nowhere")
        await control.token("invited")
        await control.joined("away")
        talk = await control.connected(await control.joined("a"))
        found = of(samples(), "a")
        assert (found["connected"], "revision" in found, "vms_unshown" in found) == (
            0,
            False,
            False,
        )
        assert found["unshown_age_seconds"] > 0
        await talk.ask(HELLO)
        await until(lambda: control.sessions["a"].is_settled)
        assert samples().keys() == METRICS_OF_HOSTS
        found = of(samples(), "a")
        certificate = control.hosts.register.hosts["a"].certificates[0]
        assert 0 <= found.pop("silent_seconds") < 30
        assert found == {
            "connected": True,
            "vms": 1,
            "vms_refused": 0,
            "vms_unshown": 0,
            "scopes_unshown": 0,
            "unshown_age_seconds": 0,
            "revision": control.control.fleet_service.revision,
            "certificate_expiry_timestamp_seconds": certificate.ends_s,
            "leaf_failure": False,
            "join_token_reuses": 0,
        }
        assert {*of(samples(), "away")} == {
            *("connected", "vms", "unshown_age_seconds", "silent_seconds"),
            *("certificate_expiry_timestamp_seconds", "join_token_reuses"),
        }
        assert of(samples(), "invited") == of(samples(), "b-1") == {}
        assert samples()["openimds_hosts"] == {"invited": 1, "joined": 2, "revoked": 0}
        assert samples()["openimds_vms_without_host"] == 2
        assert samples()["openimds_control_epoch"] == 7
        assert samples()["openimds_control_lease_age_seconds"] == 0.5
        await talk.close()

    with_control(tmp_path, work)


def test_unshown_changes_age_until_the_host_shows_them(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        may_answer, shown = asyncio.Event(), asyncio.Event()
        may_answer.set()

        async def answer(message: SeamMessage) -> Any:
            await may_answer.wait()
            if isinstance(message, Shown):
                shown.set()
            return {} if message.result is not None else None

        def found() -> tuple[int, int, bool]:
            values = of(control.administration.samples(), "a")
            unshown = values["vms_unshown"], values["scopes_unshown"]
            return *unshown, values["unshown_age_seconds"] > 0

        identity = await control.joined("a")
        talk = await control.connected(identity, answer)
        await talk.ask(HELLO)
        await shown.wait()
        may_answer.clear()
        await control.put("web", host="a")
        assert found() == (1, 0, True)
        await control.declare("web")
        assert found() == (1, 1, True)
        await control.put("db", host="a")
        assert found() == (2, 1, True)
        may_answer.set()
        await until(lambda: control.sessions["a"].is_settled)
        assert found() == (0, 0, False)
        await talk.close()
        await until(lambda: not control.sessions)
        away = control.administration.standings()[0]
        assert (away.unshown_age_s, away.unshown_vms) == (0.0, None), "nothing changed meanwhile"
        await control.declare("web")
        assert control.administration.standings()[0].unshown_age_s > 0
        talk = await control.connected(identity)
        await talk.ask(HELLO)
        await until(lambda: control.sessions["a"].is_settled)
        await control.control.fleet_service.remove("web", "test")
        await control.control.fleet_service.remove("db", "test")
        await control.settle()
        await talk.close()
        await until(lambda: not control.sessions)
        await control.put("web", host="a")
        assert control.administration.standings()[0].unshown_age_s > 0

    with_control(tmp_path, work)


def test_progress_of_hosts_that_are_gone_is_forgotten(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.put("web", host="a")
        await control.put("db", host="b")
        await control.put("web", host="c")
        control.link.prune(frozenset({"b"}))
        assert {*control.link._progress} == {"b", "c"}
        assert control.link.progress("a").unshown_age_s() == 0

    with_control(tmp_path, work)


def test_refused_leaves_and_spent_tokens_are_shown(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        def shown() -> tuple[str, int]:
            (host,) = control.administration.standings()
            return host.leaf_failure, host.join_token_reuses

        token = await control.token("a")
        identity = HostIdentity.open(tmp_path / "a")
        await join(control.address, token, identity)
        with pytest.raises(Error, match="by another machine"):
            await join(control.address, token, HostIdentity.open(tmp_path / "thief"))
        talk = await control.connected(identity)
        await talk.ask(HELLO)
        assert shown() == ("", 1)
        with pytest.raises(Error, match="a key that cannot be read"):
            await talk.ask(Certify(LeafRequest(b"no key", ())))
        assert shown()[0].startswith("host a: a request for leaves has a key that cannot be read")
        assert of(control.administration.samples(), "a")["leaf_failure"] is True
        assert of(control.administration.samples(), "a")["join_token_reuses"] == 1
        key = new_key().public_key()
        octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert await talk.ask(Certify(LeafRequest(octets, ()))) == LeafReply()
        assert shown()[0] == ""
        await talk.close()

    with_control(tmp_path, work)
