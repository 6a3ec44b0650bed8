"""VMs that want something new signed all the time: `python -m bench.mint HOST PORT WHAT SECONDS`.

It is a process of its own, as `noise` is, and gives way to the one that listens. Each VM asks again
as soon as it has its answer; together they keep the signing thread's queue filled. What they got is
counted in the words of wrk.
"""

import asyncio
import os
import sys
import time
from itertools import count

from bench.fleets import address
from bench.servers import Address
from bench.stage import ATTESTED, METADATA, TOKEN, request

TARGETS = {
    "tokens": TOKEN + "&bypass_cache=true",
    "documents": ATTESTED + "&nonce={}",
}
"""What is asked for; a nonce is another one each time."""
MINTERS = 32
"""VMs that ask, each over one connection: what one VM asks for twice at once is signed once."""
_NICENESS = 10
_OK = b"HTTP/1.1 200 "
_LENGTH = b"\r\nContent-Length: "


async def mint(server: Address, target: str, seconds: float) -> list[bool]:
    """Ask for so long and return of every answer whether it was a good one."""
    numbers, said = count(), list[bool]()
    end_s = time.perf_counter() + seconds

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection(*server, local_addr=(address(number), 0))
        while time.perf_counter() < end_s:
            writer.write(request(target.format(next(numbers)), *METADATA))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(_LENGTH)[2].partition(b"\r\n")[0]))
            said.append(head.startswith(_OK))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*map(ask, range(MINTERS)))
    return said


def main() -> None:
    """Read the arguments, mint, print the counts."""
    host, port, what, seconds = sys.argv[1:]
    os.nice(_NICENESS)
    start = time.perf_counter()
    said = asyncio.run(mint(Address(host, int(port)), TARGETS[what], float(seconds)))
    passed = time.perf_counter() - start
    print(f"{len(said)} requests in {passed:.2f}s\nNon-2xx or 3xx responses: {said.count(False)}")


if __name__ == "__main__":
    main()
