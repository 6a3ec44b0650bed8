"""A VM that asks too often: `python -m bench.noise HOST PORT SOURCE PER_SECOND SECONDS`.

It is a process of its own, so that the one that measures has nothing to do with it. It counts what
it got, in the words of wrk.
"""

import sys
import time

from bench.asking import line
from bench.servers import Address
from bench.stage import INSTANCE, METADATA, request

_OK = 200


def make(address: Address, source: str, per_s: int, seconds: float) -> tuple[int, int]:
    """Ask for so long and return the number of answers, and of the refusals among them."""
    chunk = request(INSTANCE, *METADATA)
    answers = refused = 0
    start = time.perf_counter()
    with line(address, source) as one:
        while (passed := time.perf_counter() - start) < seconds:
            if answers >= passed * per_s:
                time.sleep(1 / per_s)
                continue
            status, _ = one.ask(chunk)
            answers += 1
            refused += status != _OK
    return answers, refused


def main() -> None:
    """Read the arguments, make noise, print the counts."""
    host, port, source, per_s, seconds = sys.argv[1:]
    answers, refused = make(Address(host, int(port)), source, int(per_s), float(seconds))
    print(f"{answers} requests in {float(seconds):.2f}s\nNon-2xx or 3xx responses: {refused}")


if __name__ == "__main__":
    main()
