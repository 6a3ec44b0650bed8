"""Work that needs no server: `python -m bench.busy`.

It takes what the measuring process leaves of their core, as an operator and a control process do.
Waits beside it are those of the machine; beside operators, what is more is the server's.
"""

from bench.loads import Counts, ready, report, start_late

_OCTETS = 1_000_000


def main() -> None:
    """Copy octets until the input ends."""
    start_late()
    counts, octets, wanted = Counts(), b"x" * _OCTETS, ready()
    while wanted.is_alive():
        octets.replace(b"x", b"yy")
        counts.sent += 1
    counts.seconds = 1.0
    report(counts)


if __name__ == "__main__":
    main()
