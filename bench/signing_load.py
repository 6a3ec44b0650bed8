"""VMs that need new signatures all the time.

Usage: python -m bench.signing_load HOST PORT tokens|documents|guests SECONDS

A process of its own, as `noise` is, with less priority than the measuring one. With `tokens` and
`documents`, each VM requests again as soon as it has a response; together they keep the queue of
the signing thread filled. With `guests`, each VM stays within the limits that Azure documents, and
each request is for a token that no cache has. The counts are printed in the format of wrk.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count

from bench.fleets import address
from bench.servers import Address
from bench.targets import ATTESTED, METADATA, TOKEN, request
from openimds.facts.limits import LIMITS

TARGETS = {
    "tokens": TOKEN + "&bypass_cache=true",
    "documents": ATTESTED + "&nonce={}",
}
"""The targets by kind; each nonce is new."""
MINTERS = 32
"""The number of VMs, each with one connection: the worker signs equal requests once."""
GUESTS = 150
"""The number of VMs within their limits."""
GUEST_LOAD = "guests"
"""The kind of the VMs within their limits."""
NEW_TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fr{}.test"
"""The target of a token for a resource; each number is a new resource."""
_IDENTITY = LIMITS["identity"]
_NICENESS = 10
_OK = b"HTTP/1.1 200 "
_LENGTH = b"\r\nContent-Length: "


_Exchange = Callable[[str], Awaitable[None]]
"""Requests a target over one connection and counts the response."""


async def mint(server: Address, target: str, seconds: float) -> list[bool]:
    """Send requests for some seconds and tell of each response whether it was good."""
    numbers, results = count(), list[bool]()
    end_s = time.perf_counter() + seconds

    async def send(exchange: _Exchange) -> None:
        while time.perf_counter() < end_s:
            await exchange(target.format(next(numbers)))

    await asyncio.gather(*(_connected(server, n, results, send) for n in range(MINTERS)))
    return results


async def stay_within_limits(server: Address, seconds: float) -> list[bool]:
    """As `mint`, from VMs that request new tokens as often as Azure allows.

    Each has as many connections as it may have pending requests, and starts its requests in equal
    intervals while one of them is free.
    """
    # Other numbers than those of an earlier run, whose tokens are cached.
    numbers, results = count(time.time_ns()), list[bool]()
    begin_s = time.perf_counter()
    next_s = [begin_s + n / GUESTS / _IDENTITY.per_s for n in range(GUESTS)]

    async def guest(number: int) -> None:
        async def send(exchange: _Exchange) -> None:
            while (slot_s := max(next_s[number], time.perf_counter())) < begin_s + seconds:
                next_s[number] = slot_s + 1 / _IDENTITY.per_s
                await asyncio.sleep(slot_s - time.perf_counter())
                await exchange(NEW_TOKEN.format(next(numbers)))

        connections = range(_IDENTITY.concurrent)
        await asyncio.gather(*(_connected(server, number, results, send) for _ in connections))

    await asyncio.gather(*map(guest, range(GUESTS)))
    return results


async def _connected(
    server: Address,
    number: int,
    results: list[bool],
    send: Callable[[_Exchange], Awaitable[None]],
) -> None:
    """Connect as a VM and let `send` use the connection."""
    reader, writer = await asyncio.open_connection(*server, local_addr=(address(number), 0))

    async def exchange(target: str) -> None:
        writer.write(request(target, *METADATA))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.partition(_LENGTH)[2].partition(b"\r\n")[0]))
        results.append(head.startswith(_OK))

    await send(exchange)
    writer.close()
    await writer.wait_closed()


def main() -> None:
    """Read the arguments, send requests, print the counts."""
    host, port, kind, seconds = sys.argv[1:]
    os.nice(_NICENESS)
    server, start = Address(host, int(port)), time.perf_counter()
    if kind == GUEST_LOAD:
        results = asyncio.run(stay_within_limits(server, float(seconds)))
    else:
        results = asyncio.run(mint(server, TARGETS[kind], float(seconds)))
    passed = time.perf_counter() - start
    print(f"{len(results)} requests in {passed:.2f}s")
    print(f"Non-2xx or 3xx responses: {results.count(False)}")


if __name__ == "__main__":
    main()
