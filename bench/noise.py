"""A VM that exceeds its limit: `python -m bench.noise HOST PORT SOURCE PER_SECOND SECONDS`.

It is a process of its own, so that the measuring one is not disturbed, and prints its counts in the
format of wrk.
"""

import sys
import time

from bench.http_client import http_client
from bench.servers import Address
from bench.targets import INSTANCE, METADATA, request

_OK = 200


def make(address: Address, source: str, per_s: int, seconds: float) -> tuple[int, int]:
    """Send requests for some seconds; return the number of responses, and of refusals."""
    chunk = request(INSTANCE, *METADATA)
    responses = refused = 0
    start = time.perf_counter()
    with http_client(address, source) as client:
        while (passed := time.perf_counter() - start) < seconds:
            if responses >= passed * per_s:
                time.sleep(1 / per_s)
                continue
            status, _ = client.send(chunk)
            responses += 1
            refused += status != _OK
    return responses, refused


def main() -> None:
    """Read the arguments, make noise, print the counts."""
    host, port, source, per_s, seconds = sys.argv[1:]
    responses, refused = make(Address(host, int(port)), source, int(per_s), float(seconds))
    print(f"{responses} requests in {float(seconds):.2f}s\nNon-2xx or 3xx responses: {refused}")


if __name__ == "__main__":
    main()
