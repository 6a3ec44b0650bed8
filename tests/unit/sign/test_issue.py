"""Tokens: made once, kept as long as they live, fetched once for all who wait."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar

import jwt
import pytest
from msgspec.structs import replace

from openimds.core.need import Failed, NeedsToken, Token
from openimds.core.token import Terms
from openimds.model.identities import FORGERIES, Principal
from openimds.sign import issue
from openimds.sign.issue import RETRY_S, Elsewhere, Tokens
from openimds.sign.keyfile import KeyFileError
from openimds.sign.keyring import Keyring
from openimds.sign.workshop import Workshop

T = TypeVar("T")
NOW_S = 1_709_809_597.5
"""When the recorded token (S29) was made: not_before 1709809297, expires_on 1709895997."""
EXPIRES_S = 1_709_895_997
TOO_LONG_S = 30
APP = Principal("app-client", "app-object", "tenant", "/app", "/vm")
NEED = NeedsToken("web-1", "AzurePublicCloud", APP, "https://vault.azure.net")
REAL = replace(NEED, identity=replace(APP, source="entra"))


@pytest.fixture(scope="module")
def ring() -> Keyring:
    made = Keyring()
    made.signer(NOW_S)
    return made


class Directory:
    """Answers with a token an hour long for each fetch, when it is let; counts the fetches."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.fetches = 0
        self.open = asyncio.Event()
        self.fails: Failed | Exception | None = None
        if is_open:
            self.open.set()

    async def token(self, need: NeedsToken, now_s: float) -> Token | Failed:
        self.fetches += 1
        number = self.fetches
        await self.open.wait()
        if isinstance(self.fails, Exception):
            raise self.fails
        if self.fails:
            return self.fails
        return Token(f"real-{number}", int(now_s) - 300, int(now_s) + 3600, 3600)


class Shop:
    """Tokens with everything around them."""

    def __init__(self, ring: Keyring, elsewhere: Elsewhere | None = None, **more: Any) -> None:
        self.workshop = more.pop("workshop", None) or Workshop()
        self.tokens = Tokens(lambda: ring, self.workshop, Terms(86_400), elsewhere, **more)

    async def text(self, need: NeedsToken, now_s: float = NOW_S) -> str:
        """Ask as the data plane does: what is held, else a new one."""
        got = self.tokens.held(need, now_s) or await self.tokens.make(need, now_s)
        assert isinstance(got, Token), got
        return got.text


def at_work(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_token_has_the_times_of_the_recorded_one(ring: Keyring) -> None:
    async def work() -> None:
        got = await Shop(ring).tokens.make(NEED, NOW_S)
        assert isinstance(got, Token)
        assert got == Token(got.text, 1_709_809_297, EXPIRES_S, 86_400)
        said = jwt.decode(got.text, options={"verify_signature": False})
        assert (said["nbf"], said["exp"], said["aud"]) == (1_709_809_297, EXPIRES_S, NEED.resource)

    at_work(work)


def test_a_token_is_kept_until_it_expires(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        assert shop.tokens.held(NEED, NOW_S) is None
        first = await shop.text(NEED)
        assert await shop.text(NEED, EXPIRES_S - 0.1) == first
        assert shop.tokens.held(NEED, EXPIRES_S) is None
        assert await shop.text(NEED, EXPIRES_S) != first
        assert len(shop.tokens) == 1

    at_work(work)


@pytest.mark.parametrize(
    "other",
    [
        replace(NEED, vm="web-2"),
        replace(NEED, resource="https://vault.azure.net/"),
        replace(NEED, identity=replace(APP, client_id="another")),
        *(replace(NEED, identity=replace(APP, source=f"forge:{name}")) for name in FORGERIES),
        REAL,
    ],
)
def test_a_token_is_for_one_vm_identity_source_and_resource(
    ring: Keyring, other: NeedsToken
) -> None:
    async def work() -> None:
        shop = Shop(ring, Directory())
        mine, theirs = await shop.text(NEED), await shop.text(other)
        assert mine != theirs
        # Neither is in the other's place, and whoever turns back finds the old one.
        assert (await shop.text(NEED, NOW_S + 9), await shop.text(other, NOW_S + 9)) == (
            mine,
            theirs,
        )

    at_work(work)


def test_who_bypasses_the_cache_gets_a_new_token_and_so_do_those_after(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        fresh = replace(NEED, is_fresh=True)
        old = await shop.text(NEED)
        new = await shop.text(fresh, NOW_S + 1)
        assert new != old
        assert await shop.text(NEED, NOW_S + 2) == new

    at_work(work)


def test_no_more_tokens_are_kept_than_was_said(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring, most=2)
        needs = [replace(NEED, vm=name) for name in "abc"]
        for need in needs:
            await shop.text(need)
        assert len(shop.tokens) == 2
        assert [bool(shop.tokens.held(need, NOW_S)) for need in needs] == [False, True, True]
        # One that was made again is not the oldest any more.
        await shop.text(replace(needs[1], is_fresh=True), NOW_S + 1)
        await shop.text(needs[0], NOW_S + 1)
        assert [bool(shop.tokens.held(need, NOW_S)) for need in needs] == [True, True, False]

    at_work(work)


def test_all_who_wait_for_one_token_share_one_signature(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        texts = await asyncio.gather(*(shop.text(NEED) for _ in range(8)))
        assert len({*texts}) == 1
        assert (shop.workshop.done, shop.workshop.shared) == (1, 7)

    at_work(work)


def test_a_workshop_that_is_busy_makes_429(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring, workshop=Workshop(threads=1, most_waiting=0))
        gate = threading.Event()
        busy = asyncio.ensure_future(shop.workshop.do("other", lambda: gate.wait(TOO_LONG_S)))
        await turns()
        assert await shop.tokens.make(NEED, NOW_S) == Failed("throttled")
        gate.set()
        assert await busy
        assert await shop.text(NEED)

    at_work(work)


def test_a_key_that_cannot_be_written_is_told_and_no_token_kept(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: float) -> None:
        raise KeyFileError("the disk is full")

    async def work() -> None:
        shop = Shop(ring)
        monkeypatch.setattr(ring, "signer", fail)
        with pytest.raises(KeyFileError, match="the disk is full"):
            await shop.tokens.make(NEED, NOW_S)
        assert len(shop.tokens) == 0

    at_work(work)


def test_without_a_directory_real_tokens_are_azures_500(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        assert await shop.tokens.make(REAL, NOW_S) == Failed("server_error")
        assert len(shop.tokens) == 0

    at_work(work)


def test_all_who_wait_share_one_fetch_and_one_who_leaves_does_not_end_it(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        first, *others = [asyncio.ensure_future(shop.text(REAL)) for _ in range(4)]
        await turns()
        first.cancel()
        await turns()
        assert first.cancelled()
        directory.open.set()
        assert [await one for one in others] == ["real-1"] * 3
        assert directory.fetches == 1
        assert await shop.text(REAL, NOW_S + 9) == "real-1"

    at_work(work)


def test_a_fetch_goes_on_when_everybody_has_left(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        only = asyncio.ensure_future(shop.text(REAL))
        await turns()
        only.cancel()
        await turns()
        directory.open.set()
        await turns()
        held = shop.tokens.held(REAL, NOW_S)
        assert held is not None
        assert held.text == "real-1"

    at_work(work)


def test_a_failed_fetch_is_not_kept(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        directory.fails = Failed("entra_refused", {"error": "x", "description": "y"})
        assert await shop.tokens.make(REAL, NOW_S) == directory.fails
        assert shop.tokens.held(REAL, NOW_S) is None
        directory.fails = None
        assert await shop.text(REAL) == "real-2"

    at_work(work)


def test_a_fetch_that_breaks_breaks_for_who_waits_and_the_next_is_whole(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        directory.fails = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await shop.tokens.make(REAL, NOW_S)
        directory.fails = None
        assert await shop.text(REAL) == "real-2"

    at_work(work)


def test_a_real_token_is_fetched_again_when_half_its_life_is_over(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        made_s = int(NOW_S)
        assert await shop.text(REAL, made_s) == "real-1"
        assert await shop.text(REAL, made_s + 1799) == "real-1"
        await turns()
        assert directory.fetches == 1
        directory.open.clear()
        # Nobody waits for the next one: the old one is good for half an hour.
        for _ in range(3):
            assert await shop.text(REAL, made_s + 1800) == "real-1"
            await turns()
        assert directory.fetches == 2
        directory.open.set()
        await turns()
        assert await shop.text(REAL, made_s + 1801) == "real-2"
        # It lives 3600 s from 1800 on, so half of it is over at 3600.
        assert await shop.text(REAL, made_s + 3599) == "real-2"
        await turns()
        assert directory.fetches == 2

    at_work(work)


@pytest.mark.parametrize("fault", [Failed("server_error"), ZeroDivisionError()])
def test_a_fetch_ahead_of_time_that_fails_is_tried_again_but_not_with_every_request(
    ring: Keyring, fault: Failed | Exception
) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        lost: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
        made_s = int(NOW_S)
        await shop.text(REAL, made_s)
        directory.fails = fault
        for later_s in (1800, 1801, 1800 + RETRY_S - 1):
            assert await shop.text(REAL, made_s + later_s) == "real-1"
            await turns()
            assert directory.fetches == 2
        await shop.text(REAL, made_s + 1800 + RETRY_S)
        await turns()
        assert directory.fetches == 3
        gc.collect()
        assert lost == []

    at_work(work)


def test_only_so_many_fetches_are_under_way(ring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issue, "_MOST_FETCHES", 2)

    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        needs = [replace(REAL, vm=name) for name in "abc"]
        waiting = [asyncio.ensure_future(shop.tokens.make(need, NOW_S)) for need in needs]
        await turns()
        assert directory.fetches == 2
        assert await waiting[2] == Failed("throttled")
        directory.open.set()
        assert [isinstance(await one, Token) for one in waiting[:2]] == [True, True]
        assert await shop.text(needs[2])

    at_work(work)


def test_a_real_token_can_be_wanted_fresh(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring, Directory())
        assert await shop.text(REAL) == "real-1"
        assert await shop.text(replace(REAL, is_fresh=True), NOW_S + 1) == "real-2"
        assert await shop.text(REAL, NOW_S + 2) == "real-2"

    at_work(work)


def test_what_is_forgotten_is_made_again_and_the_rest_is_kept(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        needs = [replace(NEED, vm=name) for name in "abc"]
        old = [await shop.text(need) for need in needs]
        shop.tokens.forget({"a", "c", "nobody"})
        new = [await shop.text(need, NOW_S + 5) for need in needs]
        assert [was == now for was, now in zip(old, new, strict=True)] == [False, True, False]

    at_work(work)


@pytest.mark.parametrize("need", [NEED, REAL])
def test_what_is_being_made_when_it_is_to_be_forgotten_is_not_kept(
    ring: Keyring, need: NeedsToken
) -> None:
    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        gate = threading.Event()
        before = asyncio.ensure_future(shop.workshop.do("before", lambda: gate.wait(TOO_LONG_S)))
        waiting = asyncio.ensure_future(shop.tokens.make(need, NOW_S))
        await turns()
        shop.tokens.forget({"web-1"})
        gate.set()
        directory.open.set()
        assert isinstance(await waiting, Token)
        assert await before
        assert shop.tokens.held(need, NOW_S) is None

    at_work(work)


def test_a_vm_that_asks_for_many_pushes_out_its_own_only(ring: Keyring) -> None:
    async def play() -> None:
        tokens = Tokens(lambda: ring, Workshop(), Terms(86400))
        quiet = replace(NEED, vm="quiet")
        await tokens.make(quiet, NOW_S)
        wishes = [replace(NEED, resource=f"https://{n}") for n in range(issue.MOST_PER_VM + 3)]
        for wish in wishes:
            await tokens.make(wish, NOW_S)
        assert len(tokens) == issue.MOST_PER_VM + 1
        assert tokens.held(quiet, NOW_S) is not None
        assert [tokens.held(one, NOW_S) is None for one in wishes[:4]] == [True, True, True, False]
        tokens.forget({"web-1"})
        assert len(tokens) == 1

    asyncio.run(play())


def test_an_identity_that_has_become_another_one_gets_a_token_of_its_own(ring: Keyring) -> None:
    async def play() -> None:
        tokens = Tokens(lambda: ring, Workshop(), Terms(86400))
        await tokens.make(NEED, NOW_S)
        for changed in (
            replace(NEED, identity=replace(APP, tenant_id="other")),
            replace(NEED, identity=replace(APP, object_id="other")),
            replace(NEED, identity=replace(APP, carrier="/other")),
            replace(NEED, cloud="AzureChinaCloud"),
        ):
            assert tokens.held(changed, NOW_S) is None
        assert tokens.held(NEED, NOW_S) is not None

    asyncio.run(play())


def test_a_token_from_the_future_is_not_given(ring: Keyring) -> None:
    async def play() -> None:
        tokens = Tokens(lambda: ring, Workshop(), Terms(86400))
        made = await tokens.make(NEED, NOW_S)
        assert isinstance(made, Token)
        assert tokens.held(NEED, made.not_before_s) is made
        assert tokens.held(NEED, made.not_before_s - 1) is None

    asyncio.run(play())


def test_a_token_that_a_service_refused_is_made_anew(ring: Keyring) -> None:
    async def play() -> None:
        tokens = Tokens(lambda: ring, Workshop(), Terms(86400))
        made = await tokens.make(NEED, NOW_S)
        assert isinstance(made, Token)
        hashed = sha256(made.text.encode()).hexdigest()
        assert tokens.held(replace(NEED, outdated=hashed), NOW_S) is None
        assert tokens.held(replace(NEED, outdated="0" * 64), NOW_S) is made

    asyncio.run(play())


def test_a_change_of_one_vm_does_not_keep_anothers_token_from_being_kept(ring: Keyring) -> None:
    async def play() -> None:
        tokens = Tokens(lambda: ring, Workshop(), Terms(86400))
        making = asyncio.create_task(tokens.make(NEED, NOW_S))
        await asyncio.sleep(0)
        tokens.forget({"other"})
        await making
        assert tokens.held(NEED, NOW_S) is not None

    asyncio.run(play())
