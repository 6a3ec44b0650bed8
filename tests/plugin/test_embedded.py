"""A server inside this process, without pytest's fixtures."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

import openimds
from openimds.errors import ConfigError
from openimds.testing import (
    AsyncImds,
    EventStateError,
    Imds,
    ServerClosedError,
    aserve,
    serve,
)

HEADERS = {"Metadata": "true"}
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
WITHOUT_PYTEST = """
import sys
from openimds.testing import serve
with serve() as imds:
    imds.vm.patch({"compute": {"name": "web-1"}})
    imds.clock.advance(60)
    imds.events.schedule("Reboot")
    imds.faults.play("throttled")
    imds.requests.assert_clean()
    with imds.env.applied():
        pass
    print(imds.vm.document()["compute"]["name"], *{"pytest", "_pytest"} & sys.modules.keys())
"""
FORKED = """
import os, sys
from openimds.testing import serve
imds = serve()
if os.fork() == 0:
    try:
        imds.vm.patch({})
    except Exception as error:
        print(error, flush=True)
    imds.close()
    with serve() as other:
        other.vm.patch({})
        print("another one serves", flush=True)
    os._exit(0)
os.wait()
imds.vm.patch({})
imds.close()
print("the parent's still answers")
"""


@pytest.fixture
def server() -> Iterator[Imds]:
    with serve() as imds:
        yield imds


def text(imds: Imds | AsyncImds, target: str = NAME) -> str:
    return httpx2.get(imds.url + target, headers=HEADERS).text


def test_package_has_the_public_names() -> None:
    assert openimds.testing.serve is serve
    assert [*openimds.testing._MODULES] == openimds.testing.__all__
    assert openimds.ConfigError is ConfigError
    assert issubclass(openimds.ConfigError, openimds.Error)
    for module in (openimds, openimds.testing):
        assert [*module.__all__] == sorted(module.__all__)
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert {*module.__all__} <= {*dir(module)}
        with pytest.raises(AttributeError, match="has no attribute 'Azure'"):
            module.Azure  # noqa: B018 - it is the looking that is tested


def test_server_answers_until_its_block_ends() -> None:
    threads = threading.active_count()
    with serve() as imds:
        assert text(imds) == "vm-1"
        assert text(imds, TOKEN).startswith('{"access_token":"ey')
        imds.requests.assert_clean()
    with pytest.raises(httpx2.ConnectError, match="refused"):
        text(imds)
    assert threading.active_count() == threads
    assert [record.status for record in imds.requests] == [200, 200]
    with pytest.raises(ServerClosedError, match="the server is closed"):
        imds.vm.patch({})
    imds.close()


def test_fleet_may_be_a_path_or_a_value(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("vms: {web-1: {}, web-2: {}}")
    value: dict[str, object] = {"vms": {"web-1": {}, "web-2": {}}}
    for fleet in (path, str(path), value):
        with serve(fleet, vm="web-2") as imds:
            assert [*imds.vms] == ["web-1", "web-2"]
            assert text(imds) == "web-2"
    with serve(document={"compute": {"name": "captured"}}) as imds:
        assert text(imds) == "captured"


def test_settings_are_those_of_serve(tmp_path: Path) -> None:
    with serve(admin="127.0.0.1:0", public="127.0.0.1:0", general_per_s=1, rate_limit=True) as imds:
        assert imds.token_file
        assert imds.admin_url
        token = Path(imds.token_file).read_text().strip()
        listed = httpx2.get(
            f"{imds.admin_url}/v1/vms", headers={"Authorization": f"Bearer {token}"}
        )
        assert listed.json()["items"][0]["name"] == "vm-1"
        assert httpx2.get(f"{imds.public_url}/pki/bundle.pem").text == imds.trust
        assert "429" in {
            str(httpx2.get(imds.url + NAME, headers=HEADERS).status_code) for _ in "12"
        }
    assert not Path(imds.token_file).exists()


def test_listen_names_the_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        at = "{}:{}".format(*free.getsockname())
    with serve(listen=at) as imds:
        assert imds.url == f"http://{at}"
        with pytest.raises(ConfigError, match=rf"listen: saw {at} \(.*in use\), expected an addr"):
            serve(listen=at)
    with serve(listen=at) as imds:
        assert text(imds) == "vm-1"


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rate_limits": True}, 'serve: saw unknown name "rate_limits". Did you mean "rate_limit"'),
        ({"loop": "uvloop"}, "serve: saw loop=, expected nothing: the server runs on"),
        ({"listen": "unix:/run/a"}, 'serve: listen: saw "unix:/run/a", expected one HOST:PORT'),
        ({"fleet": {}}, "vms: saw nothing (null), expected a mapping of VM names to VMs"),
        ({"fleet": {"vms": {"a": {}}}, "vm": "b"}, 'serve: vm: saw "b", which is no VM'),
        ({"fleet": {}, "document": {}}, "serve: saw both fleet and document"),
        ({"general_per_s": 0}, "serve: general_per_s: saw the number 0"),
    ],
)
def test_mistake_is_an_error_and_leaves_no_thread(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        serve(**settings)  # type: ignore[arg-type] # wrong on purpose
    assert message in str(caught.value)
    assert "imds" not in [thread.name for thread in threading.enumerate()]


def test_environment_and_files_of_settings_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENIMDS_FLEET", "nowhere.yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openimds.toml").write_text('document = "nowhere.json"')
    with serve() as imds:
        assert text(imds) == "vm-1"


def test_lost_store_gives_no_caller_a_token(tmp_path: Path) -> None:
    for _ in range(2):
        with serve(state=tmp_path) as imds:
            assert "access_token" in text(imds, TOKEN)
    for file in tmp_path.glob("fleet.db*"):  # Its marker, too, as in a folder of 0.1.0.
        file.unlink()
    with serve(state=tmp_path) as imds:
        assert "Identity not found" in text(imds, TOKEN)


def test_variables_are_set_until_the_block_ends(
    server: Imds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://elsewhere")
    before = dict(os.environ)
    with server.env.applied() as variables:
        assert dict(server.env).items() <= os.environ.items()
        assert variables == dict(server.env)
        assert "IDENTITY_ENDPOINT" not in os.environ
        with server.env.applied("app-service"):
            assert os.environ["IDENTITY_ENDPOINT"] == f"{server.url}/msi/token"
    assert dict(os.environ) == before
    with pytest.raises(ConfigError, match=r"Write openimds\.testing\.serve\(arc_folder=\.\.\.\)"):
        server.env.of("arc")


def test_reset_begins_anew_at_the_same_url(server: Imds) -> None:
    text(server)
    server.vm.patch({"compute": {"name": "other"}})
    server.events.schedule("Reboot")
    server.clock.advance(3600)
    server.faults.play("throttled")
    server.vms["web-2"] = {}
    assert text(server, "/metadata/versions").startswith("{ ")
    server.reset()
    assert text(server) == "vm-1"
    assert [*server.vms] == ["vm-1"]
    assert len(server.faults) == len(server.events) == 0
    assert len(server.requests) == 1
    assert abs(server.clock.now_s - time.time()) < 600


def test_calls_of_many_threads_are_all_made(server: Imds) -> None:
    server.clock.rate = 0
    began_s = server.clock.now_s

    def work(number: int) -> str:
        name = f"vm-{number + 2}"
        server.vms[name] = {"reach": {"address": [f"127.0.1.{number + 1}"]}}
        server.clock.advance(1)
        server.faults.set(effect="delay", delay_s=0.001, vms=[name])
        len(server.requests)
        return text(server)

    with ThreadPoolExecutor(8) as pool:
        assert {*pool.map(work, range(40))} == {"vm-1"}
    assert len(server.vms) == 41
    assert len(server.faults) == 40
    assert len(server.requests) == 40
    assert server.clock.now_s == began_s + 40


def test_pytest_is_not_imported() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTEST], capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("web-1\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_process_gets_an_error_instead_of_hanging() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout.splitlines() == [
        "the server runs in the parent process; start one after the fork",
        "another one serves",
        "the parent's still answers",
    ], ran.stderr


def test_calls_can_be_awaited() -> None:
    async def run() -> None:
        async with aserve({"vms": {"web-1": {"identities": {"system": True}}}}) as imds:
            assert repr(imds) == f"<imds {imds.url} web-1>"
            await imds.vm.patch({"compute": {"name": "first"}})
            await imds.vms.put("web-2", {"reach": {"address": ["127.0.0.2"]}})
            assert [*imds.vms] == ["web-1", "web-2"]
            assert imds.vms["web-2"].url == imds.url
            assert (await imds.vm.definition())["compute"] == {"name": "first"}
            assert imds.vm.document()["compute"]["name"] == "first"
            await imds.vms["web-2"].remove()
            await imds.clock.set_rate(0)
            began_s = imds.clock.now_s
            event = await imds.events.schedule("Reboot", imds.vm, in_s=600)
            await imds.clock.advance(601)
            await imds.events.wait(event, "started")
            assert imds.clock.now_s == began_s + 601
            assert imds.clock.rate == 0
            assert [one.status for one in imds.events] == ["Started"]
            (fault,) = await imds.faults.set(effect="status", status=410)
            assert await imds.faults.clear(fault.key) == 1
            async with httpx2.AsyncClient(headers=HEADERS) as client:
                assert (await client.get(imds.url + NAME)).text == "first"
            imds.requests.assert_clean()
            assert len((await imds.jwks())["keys"]) == 1
            assert "BEGIN CERTIFICATE" in await imds.trust()
            with imds.env.applied():
                assert os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] == imds.url
            await imds.reset()
            assert [*imds.vms] == ["web-1"]
            assert imds.admin_url is imds.token_file is imds.public_url is None
        with pytest.raises(ServerClosedError):
            await imds.vm.patch({})

    asyncio.run(run())


def test_awaited_call_does_not_block_the_loop() -> None:
    async def run() -> None:
        async with aserve() as imds:
            event = await imds.events.schedule("Reboot", in_s=600)
            waiting = asyncio.create_task(imds.events.wait(event, timeout_s=60))
            done = False
            while not done:  # The wait began, and this loop goes on.
                await asyncio.sleep(0)
                done = bool(imds._imds._server.fleet_service.feeds.readers)
            await imds.events.approve(event)
            await waiting

    asyncio.run(run())


def test_awaited_wait_can_be_cancelled() -> None:
    async def run() -> None:
        async with aserve() as imds:
            event = await imds.events.schedule("Reboot", in_s=600)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(imds.events.wait(event, timeout_s=600), 0.05)
            with pytest.raises(EventStateError, match="is not approved after 0 s"):
                await imds.events.wait(event, timeout_s=0)

    began_s = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began_s < 60


def test_cancelled_start_leaves_no_server() -> None:
    async def run() -> None:
        started = asyncio.create_task(aserve().__aenter__())
        await asyncio.sleep(0)
        started.cancel()
        with pytest.raises(asyncio.CancelledError):
            await started

    asyncio.run(run())
    assert "imds" not in [thread.name for thread in threading.enumerate()]


def test_both_faces_are_one_server(server: Imds) -> None:
    both = AsyncImds(server)
    asyncio.run(both.vm.patch({"compute": {"name": "other"}}))
    assert server.vm.definition["compute"] == {"name": "other"}
    assert both.requests is server.requests
    asyncio.run(both.close())
    with pytest.raises(ServerClosedError):
        server.vm.patch({})


def name_at(imds: Imds, source: str) -> str:
    """Return the name that a caller at an address gets, or its status without one."""
    with httpx2.Client(transport=httpx2.HTTPTransport(local_address=source)) as client:
        answer = client.get(imds.url + NAME, headers=HEADERS)
    return answer.text if answer.status_code == 200 else str(answer.status_code)


def test_only_vm_with_a_reach_answers_it_and_the_test() -> None:
    with serve({"vms": {"only": {"reach": {"address": ["127.0.0.31"]}}}}) as imds:
        sources = ("127.0.0.1", "127.0.0.31", "127.0.0.32")
        assert [name_at(imds, source) for source in sources] == ["only", "only", "404"]


def test_only_vm_without_a_reach_answers_every_caller() -> None:
    with serve() as imds:
        assert imds.vm.definition == {"identities": {"system": True}}
        assert [name_at(imds, source) for source in ("127.0.0.1", "127.0.0.32")] == ["vm-1", "vm-1"]
        imds.vms["web-2"] = {"reach": {"address": ["127.0.0.31"]}}
        sources = ("127.0.0.1", "127.0.0.31", "127.0.0.32")
        assert [name_at(imds, source) for source in sources] == ["vm-1", "web-2", "404"]
