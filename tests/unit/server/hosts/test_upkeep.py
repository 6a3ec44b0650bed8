"""The work of a leading control beside requests."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.hosts.joining import AdmissionRequest, admit_host
from openimds.credentials.hosts.register import HostRegister
from openimds.credentials.keys.files import KeyFileError
from openimds.events.clock import Clock
from openimds.protocol.pending import AccessToken
from openimds.server.clock_watch import ClockWatch
from openimds.server.hosts import upkeep
from openimds.server.hosts.upkeep import Upkeep
from openimds.vm.identities import principals
from openimds.vm.types import Vm
from tests.unit.credentials.tokens.cache_setup import PENDING
from tests.unit.server.hosts.real_hosts import RealControl

DAY_S = 86_400
START_S = 1_900_000_000.0


class Setting:
    """A control whose wall clock the test sets; its steady clock stands still."""

    def __init__(self, control: RealControl) -> None:
        self.control, self.now_s = control, START_S
        control.host.clock = Clock(lambda: self.now_s)
        control.link.clock = control.host.clock
        control.host.clock_watch = ClockWatch(lambda: self.now_s, lambda: 0.0)
        self.upkeep = Upkeep(
            control.host,
            control.link,
            control.mint,
            control.hosts,
            control.port,
            control.messages.append,
        )

    async def mint(self) -> None:
        """Let the VM on a host ask for a token."""
        vm: Vm = self.control.link.fleet_index.by_name["web"].vm
        pending = replace(PENDING, vm="web", cloud=vm.cloud, identity=principals(vm)[0])
        made = await self.control.mint.mint("a", pending, self.now_s)
        assert isinstance(made, AccessToken)

    def asked(self, now_s: float) -> int:
        return len(self.control.mint.asked("web", now_s))


def with_setting(folder: Path, work: Callable[[Setting], Awaitable[None]]) -> list[str]:
    messages: list[str] = []

    async def whole() -> None:
        control = RealControl(folder)
        try:
            await control.load()
            await control.put("web", host="a", identities={"system": True})
            await work(Setting(control))
            messages.extend(control.messages)
        finally:
            await control.close()

    asyncio.run(whole())
    return messages


def test_clock_set_back_shortens_the_memory_of_tokens(tmp_path: Path) -> None:
    async def work(setting: Setting) -> None:
        await setting.mint()
        setting.now_s -= 1000
        await setting.upkeep.look()
        assert setting.asked(START_S - 1000 + DAY_S) == 1
        assert setting.asked(START_S - 999 + DAY_S) == 0

    messages = with_setting(tmp_path, work)
    assert any("the wall clock was set back by 1000 s" in message for message in messages)


def test_clock_that_runs_on_forgets_no_token(tmp_path: Path) -> None:
    async def work(setting: Setting) -> None:
        await setting.mint()
        setting.now_s += 60
        await setting.upkeep.look()
        assert setting.asked(START_S + DAY_S) == 1
        assert setting.asked(START_S + DAY_S + 1) == 0

    with_setting(tmp_path, work)


def test_renewals_are_once_an_hour_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(setting: Setting) -> None:
        reports: list[str | Exception] = ["renewed", KeyFileError("no room"), ""]
        kept: list[float] = []

        def keep_up(_now_s: float) -> str:
            report = reports.pop(0)
            if isinstance(report, Exception):
                raise report
            return report

        host, ca = setting.control.host, setting.control.hosts.ca
        monkeypatch.setattr(ca, "keep_up", keep_up)
        monkeypatch.setattr(host.credentials, "keep_up", kept.append)
        await setting.upkeep.look()
        await setting.upkeep.look()
        assert (len(kept), len(reports)) == (1, 2)
        monkeypatch.setattr(upkeep, "KEEP_UP_S", 0.0)
        for _ in reports.copy():
            setting.upkeep._due_s = 0.0
            await setting.upkeep.look()
        assert (len(kept), len(reports)) == (3, 0)

    assert with_setting(tmp_path, work)[-2:] == ["renewed", "no room"]


def test_nodes_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    async def work(setting: Setting) -> None:
        control = setting.control
        csr = HostIdentity.open(tmp_path / "a").request()
        now_s = control.now_s()
        request = AdmissionRequest("a", "openimds/openimds-host", csr)
        await control.hosts._store(admit_host(HostRegister(), control.ca, request, now_s).register)
        await setting.upkeep.look()
        assert [*control.hosts.register.hosts] == ["a"]
        control.ahead_s, setting.upkeep._due_s = 8 * DAY_S, 0.0
        control.failing.fails = {"write_events"}
        await setting.upkeep.look()
        assert [*control.hosts.register.hosts] == ["a"]
        control.failing.fails, setting.upkeep._due_s = set(), 0.0
        await setting.upkeep.look()
        assert control.hosts.register.hosts == {}

    with_setting(tmp_path, work)


def test_upkeep_looks_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_S", 0.0)

    async def work(setting: Setting) -> None:
        looked, done = list[Any](), asyncio.Event()

        async def look() -> None:
            looked.append(None)
            if len(looked) == 3:
                done.set()

        monkeypatch.setattr(setting.upkeep, "look", look)
        task = asyncio.create_task(setting.upkeep.run())
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_setting(tmp_path, work)
