"""VMs that need new signatures all the time: `python -m bench.signing_load HOST PORT MINTING`.

The minting is JSON. Each connection requests again as soon as it has a response and its pace allows
it, so the work of the signing thread never runs out.
"""

import asyncio
import sys
import time
from itertools import count
from threading import Thread
from typing import Literal

import msgspec.json
from msgspec import Struct

from bench.fleets import address
from bench.loads import Counts, ready, report, start_late
from bench.servers import Address
from bench.targets import ATTESTED, METADATA, NEW_TOKEN, RESOURCE_TOKEN, request

_TARGETS = {
    "tokens": NEW_TOKEN,
    "resources": RESOURCE_TOKEN,
    "documents": f"{ATTESTED}&nonce={{}}",
}
"""The targets by kind. Each resource and nonce is new: the worker makes equal results once."""
_OK = b"HTTP/1.1 200 "
_LENGTH = b"\r\nContent-Length: "


class Minting(Struct, frozen=True):
    """A kind of signatures, and the first VMs of a fleet, which need them.

    Each VM has some connections; `per_s` bounds the requests of each of these (0: unbounded).
    """

    kind: Literal["tokens", "resources", "documents"]
    vms: int = 32
    connections: int = 1
    per_s: float = 0.0


class Minter:
    """The connections of a minting."""

    def __init__(self, server: Address, minting: Minting) -> None:
        """Prepare to connect."""
        self.counts = Counts()
        self._server, self._minting = server, minting
        # Other numbers than those of an earlier run, whose results are cached.
        self._numbers = count(time.time_ns())

    async def run(self) -> None:
        """Connect, and request until the input ends."""
        all_numbers = range(self._minting.vms * self._minting.connections)
        streams = [
            await asyncio.open_connection(
                *self._server, local_addr=(address(number % self._minting.vms), 0)
            )
            for number in all_numbers
        ]
        lasting = ready()
        start = time.perf_counter()
        await asyncio.gather(
            *(self._mint(*streams[number], number, lasting) for number in all_numbers)
        )
        self.counts.seconds = time.perf_counter() - start

    async def _mint(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        lasting: Thread,
    ) -> None:
        pause_s = 1 / self._minting.per_s if self._minting.per_s else 0.0
        await asyncio.sleep(pause_s * number / self._minting.vms / self._minting.connections)
        while lasting.is_alive():
            start = time.perf_counter()
            target = _TARGETS[self._minting.kind].format(next(self._numbers))
            writer.write(request(target, *METADATA))
            self.counts.sent += 1
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(_LENGTH)[2].partition(b"\r\n")[0]))
            self.counts.answered += 1
            self.counts.refused += not head.startswith(_OK)
            if pause_s:
                await asyncio.sleep(max(0.0, start + pause_s - time.perf_counter()))
        writer.close()


def main() -> None:
    """Read the arguments, mint, print the counts."""
    host, port, minting = sys.argv[1:]
    start_late()
    minter = Minter(Address(host, int(port)), msgspec.json.decode(minting, type=Minting))
    asyncio.run(minter.run())
    report(minter.counts)


if __name__ == "__main__":
    main()
