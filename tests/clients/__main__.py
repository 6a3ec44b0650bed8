"""`make clients`: get and run every client that this machine can, print the results."""

import sys

import pytest

from tests.clients.kits import KITS, make
from tests.clients.recipes import RECIPES
from tests.clients.tally import Tally


def main(arguments: list[str]) -> int:
    """Return the exit code of the command: 0 if no client failed."""
    make([*KITS.values(), *RECIPES])
    tally = Tally()
    code = pytest.main(["tests/clients", "-q", "-rfE", *arguments], plugins=[tally])
    print(f"\n{tally.table()}")  # noqa: T201 - the purpose of the command
    if not arguments and tally.untested():
        sys.exit(f"There is no test of {' or '.join(tally.untested())}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
