"""The way of a host to control, over real TLS on loopback."""

import asyncio
import re
import shutil
import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec.structs import replace

from openimds import __version__
from openimds.credentials.hosts import host_certificates
from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.handshake import (
    first_contact_context,
    present,
    server_context,
    trust,
)
from openimds.credentials.hosts.host_certificates import (
    HostTrustError,
    certify_host,
    new_host_key,
)
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.hosts.register import KEY, MAX_CERTIFICATES, HostRegisterError
from openimds.credentials.keys.holders import Holder
from openimds.errors import ConfigError, Error
from openimds.fleet.store.port import EventBatch, StoreError
from openimds.server.hosts import connecting
from openimds.server.hosts.connecting import connect, control_address, join
from openimds.server.hosts.messages import (
    AskTrust,
    Hello,
    Renew,
    ToFleetHost,
    Wait,
    Welcome,
)
from openimds.server.hosts.port import WAITING
from openimds.server.seam.channel import Channel
from openimds.server.seam.messages import Ping
from tests.unit.server.hosts.fleet import until
from tests.unit.server.hosts.real_hosts import RealControl, takes_all, with_control

HELLO = Hello((1,), __version__, "", 0, b"")


@pytest.mark.parametrize(
    "text, address",
    [
        ("control-1:8172", ("control-1", 8172)),
        ("control-1", ("control-1", 8172)),
        ("[fd00::1]", ("fd00::1", 8172)),
        ("[fd00::1]:9", ("fd00::1", 9)),
    ],
)
def test_address_of_control_is_read(text: str, address: tuple[str, int]) -> None:
    assert control_address(text) == address


@pytest.mark.parametrize("text", ["", ":1", "a:0", "a:65536", "a:x", "https://a:1", "a\n:1", "a:²"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--control"):
        control_address(text)


# The join.


def test_host_joins_where_the_fingerprint_fits(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined("a")
        (live,) = control.hosts.register.hosts["a"].certificates
        assert (identity.name, identity.serial) == ("a", live.serial)
        assert control.failing.value("hosts") == control.hosts.register.to_bytes()
        talk = await control.connected(identity)
        assert await talk.ask(HELLO) == Welcome(1, "store-1", "a", 1)
        await talk.close()

    with_control(tmp_path, work)


def test_wrong_fingerprint_gets_no_secret(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        token = replace(await control.token(), fingerprint="0" * 64)
        before, identity = control.hosts.register, HostIdentity.open(tmp_path / "a")
        with pytest.raises(HostTrustError, match="not the one that made the join token"):
            await join(control.address, token, identity)
        assert control.hosts.register is before
        assert not identity.name

    with_control(tmp_path, work)


def test_used_join_token_takes_no_other_host(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        token = await control.token()
        first, thief = (HostIdentity.open(tmp_path / name) for name in ("a", "thief"))
        await join(control.address, token, first)
        with pytest.raises(
            Error, match=r'join token of host "a" was used at .* by another machine'
        ):
            await join(control.address, token, thief)
        assert control.hosts.register.hosts["a"].reuses == 1
        talk = await control.connected(first)
        assert isinstance(await talk.ask(HELLO), Welcome)
        await talk.close()

    with_control(tmp_path, work)


def test_lost_answer_to_a_join_is_asked_for_again(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        token, identity = await control.token(), HostIdentity.open(tmp_path / "a")
        with pytest.raises(HostTrustError, match="set the clock"):
            await join(control.address, token, identity, lambda: time.time() + 30 * 86400)
        lost = control.hosts.register.hosts["a"].certificates
        await join(control.address, token, identity)
        (live,) = control.hosts.register.hosts["a"].certificates
        assert live not in lost
        assert identity.serial == live.serial

    with_control(tmp_path, work)


def test_ended_join_token_takes_no_host(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        token = await control.token()
        control.ahead_s = 900
        with pytest.raises(Error, match="ended at"):
            await join(control.address, token, HostIdentity.open(tmp_path / "a"))

    with_control(tmp_path, work)


def test_join_counts_only_once_it_is_stored(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        token, identity = await control.token(), HostIdentity.open(tmp_path / "a")
        control.failing.fails = {"write_events"}
        with pytest.raises(Error, match="the disk is full"):
            await join(control.address, token, identity)
        assert control.hosts.register.hosts["a"].state == "invited"
        control.failing.fails = set()
        await join(control.address, token, identity)
        assert control.hosts.register.hosts["a"].joined_s

    with_control(tmp_path, work)


# The other end is not control.


def test_control_of_another_authority_is_refused(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined()
        await control.port.close()
        await control.open(HostsCa.open(None, time.time()).server_context(time.time()))
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(control.address, identity.context(), takes_all)

    with_control(tmp_path, work)


def test_host_cannot_pose_as_control(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined()
        await control.port.close()
        await control.open(posing(control.ca, "evil"))
        with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
            await connect(control.address, identity.context(), takes_all)

    with_control(tmp_path, work)


def test_server_certificate_without_the_uri_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_certificates, "ExtendedKeyUsageOID", ServerPurpose)

    async def work(control: RealControl) -> None:
        identity = await control.joined()
        await control.port.close()
        await control.open(posing(control.ca, "evil"))
        with pytest.raises(HostTrustError, match='certificate for "openimds:host:evil"'):
            await connect(control.address, identity.context(), takes_all)

    with_control(tmp_path, work)


class ServerPurpose:
    """Certificates of hosts are fit for a server."""

    SERVER_AUTH = CLIENT_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


def posing(ca: HostsCa, name: str) -> ssl.SSLContext:
    """Return the context of a server with the certificate of a host."""
    key, context = new_host_key(), server_context()
    made = certify_host(name, key.public_key(), ca._root, time.time())
    present(context, Holder(key, x509.load_der_x509_certificate(made.der)))
    trust(context, ca.roots(time.time()))
    return context


def test_closed_port_is_an_error_of_the_system(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined()
        await control.port.close()
        with pytest.raises(OSError, match="Connect call failed"):
            await connect(control.address, identity.context(), takes_all)

    with_control(tmp_path, work)


def test_silent_port_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_S", 0.01)

    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(TimeoutError, match=r"no connection within 0\.01 s"):
                await connect(address, first_contact_context(), takes_all)

    asyncio.run(work())


def test_control_that_answers_no_join_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_S", 0.01)

    async def work() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            channel = Channel(*await asyncio.open_connection(sock=ours), ToFleetHost, takes_all)
            with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
                await connecting._ask(channel, AskTrust())

    asyncio.run(work())


def test_host_that_joins_answers_nothing() -> None:
    with pytest.raises(Error, match="has not joined"):
        asyncio.run(connecting._refuse(Ping()))


# A host that has joined.


def test_port_lets_a_host_wait_while_control_loads(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined()
        control.port.make_session = None
        talk = await control.connected(identity)
        assert await talk.ask(HELLO) == Wait(WAITING)
        await talk.close()

    with_control(tmp_path, work)


def test_revoked_host_is_cut_off_and_comes_not_again(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined()
        talk = await control.connected(identity)
        await talk.ask(HELLO)
        await control.administration.revoke("a")
        await asyncio.wait({talk.reading})
        await talk.close()
        await assert_refused(control, identity, 'host "a" was revoked at')
        await until(lambda: not control.sessions)

    with_control(tmp_path, work)


async def assert_refused(control: RealControl, identity: HostIdentity, reason: str) -> None:
    """Connect with a certificate that counts no longer: the host gets the reason alone."""
    talk = await control.connected(identity)
    with pytest.raises(Error, match=reason):
        await talk.ask(HELLO)
    await talk.close()
    assert re.search(f"a host is refused: .*{reason}", control.messages[-1])


def test_ended_certificate_is_cut_off_and_refused(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined()
        talk = await control.connected(identity)
        await talk.ask(HELLO)
        control.port.check_certificates()
        assert control.sessions.keys() == {"a"}
        control.ahead_s = 8 * 86400
        control.port.check_certificates()
        await asyncio.wait({talk.reading})
        await talk.close()
        await assert_refused(control, identity, "ended at")

    with_control(tmp_path, work)


def test_stolen_certificate_ends_when_its_host_joins_anew(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.joined()
        shutil.copytree(tmp_path / "a", tmp_path / "stolen")
        stolen = HostIdentity.open(tmp_path / "stolen")
        talk = await control.connected(stolen)
        assert isinstance(await talk.ask(HELLO), Welcome)
        await control.joined()
        control.port.check_certificates()
        await asyncio.wait({talk.reading})
        await talk.close()
        await assert_refused(control, stolen, "was replaced")

    with_control(tmp_path, work)


def test_certificate_of_control_is_of_no_host(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.joined()
        holder = control.ca.server_certificate(time.time())
        der = holder.certificate.public_bytes(Encoding.DER)
        with pytest.raises(Error, match="of no host"):
            control.hosts.host_of(der)

    with_control(tmp_path, work)


def test_host_renews_at_half_life_over_its_connection(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        identity = await control.joined()
        before = identity.serial
        talk = await control.connected(identity)
        with pytest.raises(Error, match="is renewed from"):
            await talk.ask(Renew(identity.request()))
        control.ahead_s = 4 * 86400
        made = await talk.ask(Renew(identity.request()))
        identity.accept("a", made.certificate, made.roots, control.now_s())
        serials = [one.serial for one in control.hosts.register.hosts["a"].certificates]
        assert serials == [before, identity.serial]
        assert len(serials) < MAX_CERTIFICATES
        with pytest.raises(Error, match="cannot be read"):
            await talk.ask(Renew(b"no request"))
        await talk.close()

    with_control(tmp_path, work)


def test_register_survives_control(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.joined("a")
        await control.token("b")
        before = control.hosts.register
        control.ahead_s = 100 * 86400
        await control.hosts.load()
        assert before.hosts.keys() == {"a", "b"}
        assert {*control.hosts.register.hosts} == {"a"}
        control.ahead_s = 0
        await control.hosts.load()
        assert control.hosts.register == before

    with_control(tmp_path, work)


def test_register_that_cannot_be_read_or_stored_stays(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.token()
        before = control.hosts.register
        control.failing.fails = {"write_events", "value"}
        with pytest.raises(StoreError):
            await control.token("b")
        with pytest.raises(StoreError):
            await control.hosts.load()
        assert control.hosts.register is before

    with_control(tmp_path, work)


def test_damaged_register_is_no_empty_one(tmp_path: Path) -> None:
    async def work(control: RealControl) -> None:
        await control.token()
        control.failing.write_events(EventBatch(values={KEY: b"["}))
        with pytest.raises(HostRegisterError, match="damaged"):
            await control.hosts.load()
        assert control.hosts.register.hosts.keys() == {"a"}

    with_control(tmp_path, work)


def test_closed_port_ends_its_connections_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(control: RealControl) -> None:
        talk = await control.connected(await control.joined())
        await talk.ask(HELLO)
        await control.port.close()
        await asyncio.wait({talk.reading})
        await talk.close()
        assert not control.sessions

    with_control(tmp_path, work)
    assert not caplog.records
