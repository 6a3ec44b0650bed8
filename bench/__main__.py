"""`python -m bench`: measure, print, compare with the budgets."""

import argparse
import sys

from bench import (
    changes,
    commands,
    connections,
    edits,
    events,
    faults,
    first_answer,
    flat,
    fleet,
    floods,
    host_floods,
    minting,
    operators,
    page,
    protocol,
    scale,
    signing,
    sockets,
    storm,
)
from bench.budgets import judge
from bench.figures import Bench, Plan, Table
from bench.machine import describe, find
from bench.report import PAGE, RESULTS, Results, keep, kept, text, write_page

_BENCHES: dict[str, Bench] = {
    "protocol": protocol.measure,
    "faults": faults.measure,
    "first_answer": first_answer.measure,
    "flat": flat.measure,
    "sockets": sockets.measure,
    "storm": storm.measure,
    "scale": scale.measure,
    "floods": floods.measure,
    "host_floods": host_floods.measure,
    "connections": connections.measure,
    "operators": operators.measure,
    "page": page.measure,
    "changes": changes.measure,
    "commands": commands.measure,
    "edits": edits.measure,
    "events": events.measure,
    "signing": signing.measure,
    "minting": minting.measure,
    "fleet": fleet.measure,
}
_TOOLS = {"sockets": ("nginx", "wrk"), "signing": ("openssl",)}


def main() -> None:
    """Run the chosen benches; keep a full run."""
    arguments = _arguments()
    if arguments.write_docs:
        write_page(kept())
        print(f"wrote docs/know/{PAGE.name} from bench/results/{RESULTS.name}")
        return
    names = [name for name in _BENCHES if not arguments.only or name in arguments.only]
    missing = [tool for name in names for tool in _TOOLS.get(name, ()) if not find(tool)]
    if missing:
        sys.exit(f"bench needs {' and '.join(missing)}. Type: make bench")
    tables: dict[str, Table] = {}
    for name in names:
        tables |= _BENCHES[name](Plan(is_quick=arguments.quick))
    verdicts = judge(tables)
    print(text(tables, verdicts))
    if arguments.keep and arguments.only and not arguments.quick:
        tables = kept().tables | tables
        verdicts = judge(tables)
    if arguments.quick or (arguments.only and not arguments.keep):
        print("\nA quick or partial run; it is not kept.")
    else:
        keep(Results(describe(), tables, verdicts))
        print(f"\nKept as bench/results/{RESULTS.name}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description="Measure OpenIMDS against its budgets.")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(_BENCHES),
        metavar="NAME",
        help="run this one only (may be repeated): " + ", ".join(_BENCHES),
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="with --only: replace the kept tables of these benches",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few short rounds, to see that everything works"
    )
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="measure nothing; write docs/know/performance.md from the last full run",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
