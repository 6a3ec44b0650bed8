"""The tokens of a host's guests after a restart of the host."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from openimds.credentials.keys.files import new_key
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from openimds.server.hosts.host_credentials import FleetCredentials
from openimds.server.hosts.messages import Make
from openimds.server.seam.messages import SeamMessage
from openimds.vm.fleet_file import parse_vm
from openimds.vm.identities import principals
from tests.unit.credentials.tokens.cache_setup import NOW_S

VM = parse_vm("web", {"identities": {"system": True}})
PENDING = PendingToken("web", VM.cloud, principals(VM)[0], "https://vault.azure.net")
FORGED = replace(PENDING, identity=replace(PENDING.identity, source="forge:expired"))
DIGESTS = {"web": b"12345678"}
DAY_S = 86_400


class HostProcess:
    """The credentials of a host process; control answers the first alone."""

    def __init__(self, folder: Path, *, is_first: bool = False) -> None:
        self.messages: list[str] = []
        self.made = 0
        self.credentials = FleetCredentials(
            folder,
            "",
            self.messages.append,
            make_key=new_key,
            steady=time.monotonic,
            life_clock=None,
        )
        if is_first:
            self.credentials.ask = self.make

    async def make(self, message: SeamMessage) -> Any:
        assert isinstance(message, Make)
        self.made += 1
        return AccessToken(f"token-{self.made}", int(NOW_S) - 300, int(NOW_S) + DAY_S, DAY_S)

    def place(self, now_s: float = NOW_S, digest: bytes = DIGESTS["web"]) -> None:
        self.credentials.put([VM], {}, [], now_s, {"web": digest})

    async def token(self, pending: PendingToken = PENDING, now_s: float = NOW_S) -> str:
        """Return the text of a token, or the key of a refusal."""
        provider = self.credentials.provider
        found: Any = provider.cached(pending, now_s) or await provider.make(pending, now_s)
        return found.key if isinstance(found, Failed) else str(found.text)


Work = Callable[[HostProcess, HostProcess], Awaitable[None]]


def with_restart(folder: Path, work: Work) -> None:
    """Do work with a host that had tokens and ended, and its next process."""

    async def whole() -> None:
        first = HostProcess(folder, is_first=True)
        first.place()
        assert [await first.token(), await first.token(FORGED)] == ["token-1", "token-2"]
        await first.credentials.keep()
        first.credentials.provider.close()
        second = HostProcess(folder)
        await work(first, second)
        second.credentials.provider.close()

    asyncio.run(whole())


def test_tokens_survive_a_restart_without_control(tmp_path: Path) -> None:
    async def work(_first: HostProcess, second: HostProcess) -> None:
        now_s = NOW_S + DAY_S - 1
        second.place(now_s)
        assert await second.token(now_s=now_s) == "token-1"
        assert await second.token(FORGED, now_s) == "server_error", "made anew by control alone"
        assert second.credentials.provider.tokens.asked("web", now_s) == [PENDING]
        assert await second.token(now_s=NOW_S + DAY_S) == "server_error", "it has expired"

    with_restart(tmp_path, work)


@pytest.mark.parametrize("after_s", [-10, DAY_S])
def test_token_outside_its_life_is_not_adopted(tmp_path: Path, after_s: float) -> None:
    async def work(_first: HostProcess, second: HostProcess) -> None:
        second.place(NOW_S + after_s)
        assert await second.token(now_s=NOW_S + after_s) == "server_error"
        await second.credentials.keep()
        assert [*(tmp_path / "tokens").iterdir()] == []

    with_restart(tmp_path, work)


def test_tokens_of_a_vm_that_changed_are_not_adopted(tmp_path: Path) -> None:
    async def work(_first: HostProcess, second: HostProcess) -> None:
        second.place(digest=b"87654321")
        assert await second.token() == "server_error"

    with_restart(tmp_path, work)


def test_tokens_of_a_vm_that_left_are_not_adopted(tmp_path: Path) -> None:
    async def work(first: HostProcess, second: HostProcess) -> None:
        second.credentials.settle()
        await second.credentials.keep()
        assert await second.token() == "server_error"
        first.credentials.ask = first.make
        assert [*(tmp_path / "tokens").iterdir()] == []
        await first.token(replace(PENDING, resource="https://storage.azure.com"))
        first.credentials.leave({"web"})
        await first.credentials.keep()
        assert [*(tmp_path / "tokens").iterdir()] == []

    with_restart(tmp_path, work)


def test_newer_token_is_not_replaced_by_a_kept_one(tmp_path: Path) -> None:
    async def work(first: HostProcess, second: HostProcess) -> None:
        second.credentials.ask = first.make
        assert await second.token() == "token-3"
        second.place()
        assert await second.token() == "token-3"

    with_restart(tmp_path, work)


def test_token_that_nobody_asked_for_in_a_day_is_dropped(tmp_path: Path) -> None:
    async def work(_first: HostProcess, second: HostProcess) -> None:
        tokens = second.credentials.provider.tokens
        (kept,) = second.credentials._kept.place("web", DIGESTS["web"])
        tokens.adopt([replace(kept, asked_s=NOW_S - DAY_S - 1)], NOW_S)
        assert tokens.asked("web", NOW_S) == []
        assert await second.token() == "server_error"

    with_restart(tmp_path, work)
