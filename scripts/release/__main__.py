"""`python -m scripts.release build [KEY]`, or `check`, for this checkout."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from scripts.release.chart import pack
from scripts.release.check import Checkout, findings
from scripts.release.dependencies import runtime_packages
from scripts.release.files import SUMS, bill_of_materials, provenance, sign, sums_of

ROOT = Path(__file__).resolve().parents[2]


def build(checkout: Checkout, key: str) -> None:
    """Build the files of a release; sign their digests if there is a key."""
    checkout.dist.mkdir(exist_ok=True)
    hatch = [sys.executable, "-m", "hatchling", "build", "--directory", str(checkout.dist)]
    subprocess.run(hatch, cwd=checkout.root, check=True, stdout=subprocess.DEVNULL)
    packages = runtime_packages(checkout.root / "requirements.lock")
    committed_s = int(checkout.git("log", "-1", "--format=%ct"))
    pack(checkout.root / "packaging" / "kubernetes" / "chart", checkout.built[2], committed_s)
    created = datetime.fromtimestamp(committed_s, UTC).isoformat()
    bill = bill_of_materials(checkout.built[0], checkout.version, packages, created)
    checkout.bill.write_text(json.dumps(bill, indent=1) + "\n")
    commit = checkout.git("rev-parse", "HEAD")
    statement = provenance(checkout.built, commit, checkout.git("remote", "get-url", "origin"))
    checkout.statement.write_text(json.dumps(statement, indent=1) + "\n")
    sums = checkout.dist / SUMS
    sums.write_text(sums_of([*checkout.built, checkout.bill, checkout.statement]))
    if key:
        sign(sums, Path(key))
    print(f"{checkout.dist.name}/ has the files of {checkout.version}")


def check(checkout: Checkout) -> int:
    """Print what a release lacks; return 1 if there is anything."""
    lacking = [*findings(checkout)]
    for finding in lacking:
        print(finding, file=sys.stderr)
    print(f"{checkout.version}: {f'{len(lacking)} things are open' if lacking else 'ready'}")
    return 1 if lacking else 0


def main(words: list[str]) -> int:
    """Return the exit code of a command."""
    checkout = Checkout(ROOT, ROOT / "dist")
    if words[:1] == ["build"]:
        build(checkout, words[1] if words[1:] else "")
        return 0
    return check(checkout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
