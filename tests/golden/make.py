"""Write the golden files from the tables in `additions` and the cases: `make goldens`.

The tables share nothing with the product: the files are a second opinion, so neither may ever be
derived from the other.

    python -m tests.golden.make            write head.json, instance/*.json and cases.json
    python -m tests.golden.make --check    write nothing, exit 1 if a file differs
"""

import json
import sys
from pathlib import Path

from tests.golden.absences import absence_cases
from tests.golden.additions import ADDED, PREVIEW, PREVIEW_NAMES, REMOVED
from tests.golden.answers import json_cases
from tests.golden.case import as_rows
from tests.golden.document import Json, compact, drop, merge, rename
from tests.golden.refusals import refusal_cases
from tests.golden.texts import text_cases

HERE = Path(__file__).resolve().parent


def head() -> Json:
    """The VM with every field that any version has."""
    document: Json = {}
    for added in ADDED.values():
        document = merge(document, added)
    return document


def documents() -> dict[str, Json]:
    """The instance document of every version, oldest first."""
    by_version: dict[str, Json] = {}
    document: Json = {}
    for version, added in ADDED.items():
        document = merge(document, added)
        if version in REMOVED:
            document = drop(document, REMOVED[version])
        by_version[version] = document
    by_version[PREVIEW] = rename(by_version[PREVIEW], PREVIEW_NAMES)
    return by_version


def files() -> dict[Path, str]:
    """The text of every generated file."""
    by_version = documents()
    cases = [
        *json_cases(by_version),
        *text_cases(by_version),
        *refusal_cases(),
        *absence_cases(by_version),
    ]
    return {
        HERE / "head.json": _indented(head()),
        HERE / "cases.json": _indented(as_rows(cases)),
        **{
            HERE / "instance" / f"{version}.json": compact(document)
            for version, document in by_version.items()
        },
    }


def _indented(value: object) -> str:
    # Members of a document are sorted, as in its bytes; members of a case are not.
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=isinstance(value, dict))
    return f"{text}\n"


def existing() -> set[Path]:
    """The generated files that are there now."""
    singles = (HERE / "head.json", HERE / "cases.json")
    return {path for path in [*(HERE / "instance").glob("*"), *singles] if path.exists()}


def main() -> None:
    """Write the files, or compare them with the existing ones."""
    texts = files()
    if sys.argv[1:] == ["--check"]:
        stale = [
            path
            for path in texts.keys() | existing()
            if path not in texts or not path.exists() or path.read_bytes() != texts[path].encode()
        ]
        if stale:
            sys.exit("run make goldens: " + " ".join(sorted(path.name for path in stale)))
        return
    for path in existing() - texts.keys():
        path.unlink()
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())


if __name__ == "__main__":
    main()
