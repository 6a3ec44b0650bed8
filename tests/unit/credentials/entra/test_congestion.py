"""Entra that hangs, fails or throttles: no tenant waits for another, no failure is repeated."""

import asyncio
import threading
from itertools import product

import pytest
import requests
from msgspec.structs import replace

from openimds.credentials.entra.bulkheads import MOST_PER_TENANT, MOST_PER_VM, THREADS
from openimds.credentials.entra.client import FAILURE_S, QUIET_S
from openimds.credentials.entra.errors import MAX_PAUSE_S
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from tests.unit.credentials.entra.directory import (
    IDENTITY,
    NOW_S,
    PENDING,
    TENANT,
    TOO_LONG_S,
    EntraSetup,
    run_async,
)

THROTTLED, ERROR = Failed("throttled"), Failed("server_error")
OTHER_TENANT = "99999999-0000-4000-8000-000000000000"
HANGING = [f"{number:08}-0000-4000-8000-000000000000" for number in range(8)]


def of_tenant(tenant: str, vm: str = "web-1", resource: str = "r") -> PendingToken:
    identity = replace(IDENTITY, tenant_id=tenant)
    return replace(PENDING, vm=vm, identity=identity, resource=f"https://{resource}")


def ask(setup: EntraSetup, pending: PendingToken) -> "asyncio.Task[AccessToken | Failed]":
    return asyncio.ensure_future(setup.entra.token(pending, NOW_S))


async def until_running(setup: EntraSetup, count: int) -> None:
    """Return once as many requests have reached the directory."""
    await asyncio.to_thread(setup.directory.wait_for, count)


async def ask_until_token(setup: EntraSetup, pending: PendingToken) -> None:
    """Ask again and again, and return once a token comes."""
    async with asyncio.timeout(TOO_LONG_S):
        while not isinstance(await setup.entra.token(pending, NOW_S), AccessToken):
            await asyncio.to_thread(setup.directory.wait_for, 0)


def test_eight_hanging_tenants_do_not_delay_a_ninth() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            event = threading.Event()
            setup.directory.hanging = dict.fromkeys(HANGING, event)
            stuck = [
                ask(setup, of_tenant(tenant, f"vm-{number}"))
                for tenant, number in product(HANGING, range(10))
            ]
            await until_running(setup, THREADS - 4)
            # Nothing lets the eight go before the ninth has its token.
            async with asyncio.timeout(TOO_LONG_S):
                assert isinstance(await setup.entra.token(PENDING, NOW_S), AccessToken)
            assert not any(task.done() for task in stuck)
            event.set()
            results = await asyncio.gather(*stuck)
        assert all(isinstance(result, AccessToken) for result in results)
        assert setup.directory.most_running <= THREADS

    run_async(scenario)


def test_tenant_holds_a_bounded_number_of_threads() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.hanging[TENANT] = threading.Event()
            tasks = [ask(setup, of_tenant(TENANT, f"vm-{number}")) for number in range(20)]
            await until_running(setup, MOST_PER_TENANT)
            setup.directory.hanging[TENANT].set()
            results = await asyncio.gather(*tasks)
        assert all(isinstance(result, AccessToken) for result in results)
        assert setup.directory.most_running == MOST_PER_TENANT

    run_async(scenario)


@pytest.mark.parametrize("method", ["az", "service-principal"])
def test_one_credential_for_all_is_one_tenant(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, TENANT)

    async def scenario() -> None:
        async with EntraSetup(method) as setup:
            event, running = threading.Event(), threading.Semaphore(0)

            def fetch(*_: object) -> Failed:
                running.release()
                assert event.wait(TOO_LONG_S)
                return ERROR

            monkeypatch.setattr(setup.entra, "_fetch", fetch)
            tasks = [
                ask(setup, of_tenant(tenant, resource=r)) for tenant, r in product(HANGING, "ab")
            ]
            for _ in range(MOST_PER_TENANT):
                await asyncio.to_thread(running.acquire)
            assert not running.acquire(blocking=False)
            event.set()
            await asyncio.gather(*tasks)

    run_async(scenario)


def test_vm_beyond_its_bound_of_waiting_fetches_is_throttled() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.hanging[TENANT] = threading.Event()
            count = MOST_PER_TENANT + MOST_PER_VM
            tasks = [ask(setup, of_tenant(TENANT, resource=str(n))) for n in range(count + 1)]
            await until_running(setup, MOST_PER_TENANT)
            assert await tasks[-1] == THROTTLED
            quiet = ask(setup, of_tenant(TENANT, "quiet"))
            setup.directory.hanging[TENANT].set()
            assert isinstance(await quiet, AccessToken)
            assert [isinstance(await task, AccessToken) for task in tasks[:-1]] == [True] * count

    run_async(scenario)


def network_fails() -> None:
    raise requests.exceptions.ConnectionError("name or service not known")


def refuses() -> dict[str, str]:
    return {"error": "unauthorized_client", "error_description": "AADSTS700016: no"}


@pytest.mark.parametrize(
    "status, body, expected",
    [
        (503, {}, ERROR),
        (500, {}, ERROR),
        (429, {}, THROTTLED),
        (0, {}, ERROR),
        (
            400,
            refuses(),
            Failed(
                "entra_refused", {"error": "unauthorized_client", "description": "AADSTS700016: no"}
            ),
        ),
    ],
)
def test_35_asks_of_a_failing_entra_are_one_fetch(
    status: int, body: object, expected: Failed
) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.status, setup.directory.body = status, body
            if not status:
                setup.directory.before_answer = network_fails
            assert await setup.entra.token(PENDING, NOW_S) == expected
            requested = len(setup.directory.requests)
            reported = len(setup.reports)
            for _ in range(34):
                assert await setup.entra.token(PENDING, NOW_S) == expected
            setup.steady_s = FAILURE_S - 0.1
            assert await setup.entra.token(PENDING, NOW_S) == expected
            assert (len(setup.directory.requests), len(setup.reports)) == (requested, reported)
            setup.steady_s = FAILURE_S
            assert await setup.entra.token(PENDING, NOW_S) == expected
            assert len(setup.directory.requests) == 2 * requested

    run_async(scenario)


@pytest.mark.parametrize(
    "other",
    [
        replace(PENDING, resource="https://other"),
        replace(PENDING, identity=replace(IDENTITY, client_id=OTHER_TENANT)),
        replace(PENDING, identity=replace(IDENTITY, object_id=OTHER_TENANT)),
        of_tenant(OTHER_TENANT, resource="vault.azure.net"),
        replace(PENDING, cloud="AzureChinaCloud"),
    ],
)
def test_failure_belongs_to_a_tenant_identity_and_resource(other: PendingToken) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.turn(500)
            assert await setup.entra.token(PENDING, NOW_S) == ERROR
            setup.directory.turn(200)
            assert isinstance(await setup.entra.token(other, NOW_S), AccessToken)
            # The same identity on another VM is the same request to Entra.
            assert await setup.entra.token(replace(PENDING, vm="web-2"), NOW_S) == ERROR

    run_async(scenario)


def test_timed_out_fetch_is_remembered_as_a_failure() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation", timeout_s=0.01) as setup:
            setup.directory.hanging[TENANT] = threading.Event()
            assert await setup.entra.token(PENDING, NOW_S) == ERROR
            assert await setup.entra.token(PENDING, NOW_S) == ERROR
            setup.directory.hanging[TENANT].set()
        assert len(setup.reports) == 1
        assert len(setup.directory.requests) <= 2  # One fetch asks for the endpoints first.

    run_async(scenario)


def test_late_token_ends_the_memory_of_the_time_out() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation", timeout_s=0.01) as setup:
            setup.directory.hanging[TENANT] = threading.Event()
            assert await setup.entra.token(PENDING, NOW_S) == ERROR
            setup.directory.hanging[TENANT].set()
            await ask_until_token(setup, PENDING)
        assert len(setup.reports) == 1

    run_async(scenario)


def test_late_failure_of_a_timed_out_fetch_is_not_reported() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation", timeout_s=0.01) as setup:
            setup.directory.turn(500)
            setup.directory.hanging[TENANT] = threading.Event()
            assert await setup.entra.token(PENDING, NOW_S) == ERROR
            setup.directory.hanging.pop(TENANT).set()
            # The tenant's only thread is free again when the late failure has been noted.
            other = of_tenant(TENANT, resource="another")
            while await setup.entra.token(other, NOW_S) == THROTTLED:
                pass
            setup.steady_s = QUIET_S
            while await setup.entra.token(PENDING, NOW_S) == THROTTLED:
                pass
        # Those of `other` and of the last request, and no third.
        first, last = setup.reports
        assert first.endswith("no answer within 0.01 s")
        assert last.endswith("(1 earlier failures not shown)")

    run_async(scenario)


def test_tenant_that_failed_gets_one_thread_until_it_answers() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.turn(500)
            assert await setup.entra.token(PENDING, NOW_S) == ERROR
            setup.directory.turn(200)
            setup.directory.hanging[TENANT] = threading.Event()
            tasks = [ask(setup, of_tenant(TENANT, f"vm-{n}", str(n))) for n in range(4)]
            await until_running(setup, 1)
            assert setup.directory.running == 1
            setup.directory.hanging.pop(TENANT).set()
            assert all(isinstance(result, AccessToken) for result in await asyncio.gather(*tasks))
            # Now it has its usual share again.
            setup.directory.hanging[TENANT] = threading.Event()
            tasks = [ask(setup, of_tenant(TENANT, f"vm-{n}", str(n))) for n in range(4)]
            await until_running(setup, 4)
            setup.directory.hanging[TENANT].set()
            await asyncio.gather(*tasks)

    run_async(scenario)


def test_fetch_that_never_began_in_time_is_throttled() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation", timeout_s=0.01) as setup:
            setup.directory.hanging[TENANT] = threading.Event()
            results = await asyncio.gather(
                *(
                    setup.entra.token(of_tenant(TENANT, f"vm-{n}", str(n)), NOW_S)
                    for n in range(MOST_PER_TENANT + 3)
                )
            )
            assert results == [ERROR] * MOST_PER_TENANT + [THROTTLED] * 3
            # It is not remembered as a failure of Entra.
            setup.directory.hanging[TENANT].set()
            last = of_tenant(TENANT, "vm-0", str(MOST_PER_TENANT))
            await ask_until_token(setup, last)

    run_async(scenario)


@pytest.mark.parametrize("status, expected", [(429, THROTTLED), (503, ERROR)])
@pytest.mark.parametrize(
    "header, pause_s",
    [
        ({"Retry-After": "30"}, 30),
        (
            {
                "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30,
        ),
        ({"Retry-After": "86400"}, MAX_PAUSE_S),
    ],
)
def test_retry_after_pauses_the_tenant(
    status: int, expected: Failed, header: dict[str, str], pause_s: float
) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.turn(status, header)
            assert await setup.entra.token(PENDING, NOW_S) == expected
            setup.directory.turn(200)
            setup.steady_s = pause_s - 0.1
            neighbour = of_tenant(TENANT, "web-2", "another")
            assert await setup.entra.token(neighbour, NOW_S) == expected
            assert len(setup.directory.posts) == 1
            assert isinstance(await setup.entra.token(of_tenant(OTHER_TENANT), NOW_S), AccessToken)
            setup.steady_s = pause_s
            assert isinstance(await setup.entra.token(neighbour, NOW_S), AccessToken)
            assert len(setup.directory.posts) == 3

    run_async(scenario)


@pytest.mark.parametrize("status, header", [(500, "30"), (429, "soon"), (429, "0")])
def test_other_responses_do_not_pause_the_tenant(status: int, header: str) -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.turn(status, {"Retry-After": header})
            assert isinstance(await setup.entra.token(PENDING, NOW_S), Failed)
            setup.directory.turn(200)
            assert isinstance(
                await setup.entra.token(of_tenant(TENANT, "web-2", "another"), NOW_S), AccessToken
            )

    run_async(scenario)


def test_waiting_fetches_of_a_paused_tenant_are_not_made() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.turn(429, {"Retry-After": "30"})
            setup.directory.hanging[TENANT] = threading.Event()
            tasks = [ask(setup, of_tenant(TENANT, f"vm-{number}")) for number in range(40)]
            await until_running(setup, MOST_PER_TENANT)
            setup.directory.hanging[TENANT].set()
            assert await asyncio.gather(*tasks) == [THROTTLED] * 40
            assert len(setup.directory.posts) <= MOST_PER_TENANT

    run_async(scenario)


def test_cancelled_and_withdrawn_fetches_leave_the_queue() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.hanging[TENANT] = threading.Event()
            running = [ask(setup, of_tenant(TENANT, f"vm-{n}")) for n in range(MOST_PER_TENANT)]
            await until_running(setup, MOST_PER_TENANT)
            waiting = [of_tenant(TENANT, name) for name in ("leaver", "withdrawn", "stayer")]
            tasks = [ask(setup, pending) for pending in waiting]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
            assert setup.entra.withdraw(waiting[1])
            assert await tasks[1] == THROTTLED
            assert not setup.entra.withdraw(waiting[1])
            assert not setup.entra.withdraw(of_tenant(TENANT, "vm-0"))
            setup.directory.hanging[TENANT].set()
            assert isinstance(await tasks[2], AccessToken)
            await asyncio.gather(*running)
            assert tasks[0].cancelled()
        assert len(setup.directory.posts) == MOST_PER_TENANT + 1

    run_async(scenario)


def test_close_answers_waiting_fetches_and_begins_none() -> None:
    async def scenario() -> None:
        async with EntraSetup("federation") as setup:
            setup.directory.hanging[TENANT] = threading.Event()
            tasks = [ask(setup, of_tenant(TENANT, f"vm-{n}")) for n in range(MOST_PER_TENANT + 2)]
            await until_running(setup, MOST_PER_TENANT)
            setup.entra.close()
            assert await tasks[-1] == THROTTLED
            setup.directory.hanging[TENANT].set()
            results = await asyncio.gather(*tasks)
        assert [isinstance(result, AccessToken) for result in results] == (
            [True] * MOST_PER_TENANT + [False] * 2
        )

    run_async(scenario)
