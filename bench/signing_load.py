"""VMs that need new signatures all the time.

Usage: python -m bench.signing_load HOST PORT tokens|documents SECONDS

A process of its own, as `noise` is, with less priority than the measuring one. Each VM requests
again as soon as it has a response; together they keep the queue of the signing thread filled. The
counts are printed in the format of wrk.
"""

import asyncio
import os
import sys
import time
from itertools import count

from bench.fleets import address
from bench.harness import ATTESTED, METADATA, TOKEN, request
from bench.servers import Address

TARGETS = {
    "tokens": TOKEN + "&bypass_cache=true",
    "documents": ATTESTED + "&nonce={}",
}
"""The targets by kind; each nonce is new."""
MINTERS = 32
"""The number of VMs, each with one connection: the worker signs equal requests once."""
_NICENESS = 10
_OK = b"HTTP/1.1 200 "
_LENGTH = b"\r\nContent-Length: "


async def mint(server: Address, target: str, seconds: float) -> list[bool]:
    """Send requests for some seconds and tell of each response whether it was good."""
    numbers, results = count(), list[bool]()
    end_s = time.perf_counter() + seconds

    async def send(number: int) -> None:
        reader, writer = await asyncio.open_connection(*server, local_addr=(address(number), 0))
        while time.perf_counter() < end_s:
            writer.write(request(target.format(next(numbers)), *METADATA))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(_LENGTH)[2].partition(b"\r\n")[0]))
            results.append(head.startswith(_OK))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*map(send, range(MINTERS)))
    return results


def main() -> None:
    """Read the arguments, mint, print the counts."""
    host, port, kind, seconds = sys.argv[1:]
    os.nice(_NICENESS)
    start = time.perf_counter()
    results = asyncio.run(mint(Address(host, int(port)), TARGETS[kind], float(seconds)))
    passed = time.perf_counter() - start
    print(f"{len(results)} requests in {passed:.2f}s")
    print(f"Non-2xx or 3xx responses: {results.count(False)}")


if __name__ == "__main__":
    main()
