"""Write what the documents say about rows, from the rows: `make docs`.

Whole pages are written anew; in the README only what stands between a pair of markers. A test
fails when a page is not what this script would write.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from openimds.settings import SETTINGS
from openimds.spec import attested, balancer, events, protocols, tokens
from openimds.spec.clouds import CLOUDS
from openimds.spec.document import FIELDS, OLD_NAMES
from openimds.spec.endpoints import (
    CATEGORIES,
    ENCODED_QUERY,
    ENDPOINTS,
    GATES,
    GATES_EVIDENCE,
    LETTER_CASE,
    TRAILING_SLASH,
    UNKNOWN_PARAMETERS,
)
from openimds.spec.evidence import SOURCES, Evidence, Mark
from openimds.spec.fields import Derived, Field
from openimds.spec.headers import HEADER_ORDERS
from openimds.spec.limits import LIMITS
from openimds.spec.refusals import PROBLEMS
from openimds.spec.versions import GENERAL, SCHEDULED_EVENTS

ROOT = Path(__file__).parents[1]
WRITTEN = "<!-- Written by `make docs` from the rows in src/openimds. Change the rows. -->"
RULES = {
    "order of the checks: " + ", ".join(GATES): GATES_EVIDENCE,
    "letter case of paths, routes and parameter names does not matter": LETTER_CASE,
    "the whole target is decoded before it is split at ?": ENCODED_QUERY,
    "a trailing slash is accepted": TRAILING_SLASH,
    "parameters that nobody knows are ignored": UNKNOWN_PARAMETERS,
}
TOKENS = {
    f"a token lives {tokens.LIFE_S} seconds": tokens.LIFE_EVIDENCE,
    "selectors exclude each other": tokens.EXCLUSIVE_EVIDENCE,
    "the hosts of mTLS that MSI v2 names": protocols.MTLS_EVIDENCE,
    "the folder of Arc's challenges": protocols.ARC_FOLDER_EVIDENCE,
}
ATTESTED = {
    f"a document lives {attested.LIFE_S} seconds": attested.LIFE_EVIDENCE,
    "the nonce of a request without one": attested.STAMP_EVIDENCE,
    f"a nonce has up to {attested.LONGEST_NONCE} characters": attested.NONCE_EVIDENCE,
    f"without a nonce it is given again for {attested.KEPT_S} seconds": attested.KEPT_EVIDENCE,
    "a classic VM's document": attested.CLASSIC_EVIDENCE,
}
EVENTS = {
    "event sources": events.EVENT_SOURCES_EVIDENCE,
    "the resource type": events.RESOURCE_TYPE_EVIDENCE,
    f"the Metadata header is wanted from {events.HEADER_SINCE} on": events.HEADER_SINCE_EVIDENCE,
    f"DocumentIncarnation begins at {events.FIRST_INCARNATION}": events.FIRST_INCARNATION_EVIDENCE,
    "who has to approve": events.NEEDS_EVIDENCE,
    "approving an id that is unknown": events.UNKNOWN_ID_EVIDENCE,
    "activation by the first request": events.ACTIVATION.evidence,
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Return text that cannot end its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    """Return text as code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def why(evidence: Evidence) -> str:
    """Return sources and remark of a row."""
    return "; ".join(part for part in (" ".join(evidence.sources), evidence.note) if part)


def default_of(row: Field) -> str:
    """Return a field's default in words or as its value."""
    if isinstance(row.default, Derived):
        return row.default.value
    return (
        "empty"
        if row.default == ""
        else code(str(row.default).lower() if row.kind == "boolean" else str(row.default))
    )


def fields_page() -> str:
    """Return the page of all fields."""
    rows = [
        (code(row.path), row.since, default_of(row), code(row.sample), row.evidence.mark)
        for row in FIELDS
    ]
    old = [(code(row.path), f"before {row.before}", code(row.name)) for row in OLD_NAMES]
    return "\n\n".join(
        [
            "# Every field of the instance document",
            WRITTEN,
            (
                "`since` is the first api-version that has the field; `[]` is each element of an "
                "array. The default is what a VM has of which nothing is said. A field that an "
                "api-version knows is always there; one that does not apply is empty."
            ),
            table(("field", "since", "default", "for example", "evidence"), rows),
            "## Ended, and earlier names",
            "\n".join(f"- {code(row.path)} ended with {row.until}." for row in FIELDS if row.until),
            table(("node", "when", "was called"), old),
            "",
        ]
    )


def evidence_rows() -> dict[str, list[tuple[str, Evidence]]]:
    """Return every row that has evidence, by the kind of fact."""
    return {
        "General api-versions": [(row.name, row.evidence) for row in GENERAL],
        "Api-versions of scheduled events": [(row.name, row.evidence) for row in SCHEDULED_EVENTS],
        "Endpoints": [(row.path, row.evidence) for row in ENDPOINTS],
        "Categories": [(f"{row.key}: {row.prefix}", row.evidence) for row in CATEGORIES],
        "Parameters": [
            (f"{row.path}: {one.name}", one.evidence) for row in ENDPOINTS for one in row.parameters
        ],
        "Limits": [
            (
                f"{row.key}: {row.per_s} a second, {row.concurrent or 'any number'} at once",
                row.evidence,
            )
            for row in LIMITS.values()
        ],
        "Order of headers": [
            (f"{row.family}: {', '.join(row.names)}", row.evidence)
            for row in HEADER_ORDERS.values()
        ],
        "Rules of requests": list(RULES.items()),
        "Refusals": [
            (f"{row.category or 'general'}, {row.status}: {row.body.strip()}", row.evidence)
            for row in PROBLEMS
        ],
        "Clouds": [(row.name, row.evidence) for row in CLOUDS.values()],
        "Token answers": [
            *((f"member {row.name}", row.evidence) for row in tokens.MEMBERS),
            *((f"claim {row.name}", row.evidence) for row in tokens.CLAIMS),
            *TOKENS.items(),
        ],
        "Other identity protocols": [
            *(
                (f"{row.endpoint} {row.version}".strip(), row.evidence)
                for row in protocols.DIALECTS
            ),
            *((f"variables of {row.key}", row.evidence) for row in protocols.WAYS.values()),
        ],
        "Attested documents": [
            *((f"{row.name}, since {row.since}", row.evidence) for row in attested.MEMBERS),
            *ATTESTED.items(),
        ],
        "Load balancer": [
            (f"{row.name}: {', '.join(row.members)}", row.evidence) for row in balancer.LISTS
        ],
        "Scheduled events": [
            *((f"type {row.name}, since {row.since}", row.evidence) for row in events.TYPES),
            *((f"occasion {row.name}", row.evidence) for row in events.OCCASIONS),
            *((f"member {row.name}, since {row.since}", row.evidence) for row in events.MEMBERS),
            *(
                (f"step {row.before} by {row.trigger}: {row.after}", row.evidence)
                for row in events.STEPS
            ),
            *EVENTS.items(),
        ],
        "Fields": [(f"{row.path}, since {row.since}", row.evidence) for row in FIELDS],
        "Earlier names": [(f"{row.path}: {row.name}", row.evidence) for row in OLD_NAMES],
    }


def counts() -> str:
    """Return how many facts of each kind have evidence of each mark."""
    rows = []
    for kind, facts in evidence_rows().items():
        marks = [evidence.mark for _, evidence in facts]
        rows.append((kind, *(str(marks.count(mark) or "") for mark in Mark)))
    total = [evidence.mark for facts in evidence_rows().values() for _, evidence in facts]
    rows.append(("**all**", *(f"**{total.count(mark)}**" for mark in Mark)))
    return table(("facts", *Mark), rows)


def fidelity_page() -> str:
    """Return the page that says how faithful we are, row by row."""
    parts = [
        "# How faithful we are",
        WRITTEN,
        (
            "Every fact that the server goes by is a row with evidence. **observed**: a recording "
            "shows it. **client**: shipping clients rely on it. **documented**: Microsoft says so "
            "and nobody recorded it. **inferred**: concluded. **chosen**: nobody knows; it is our "
            "choice until a recording replaces it. Keys such as S2 are explained at the end. If "
            "you have an Azure VM, a recording that settles an inferred or chosen row is the most "
            "valuable thing you can send."
        ),
        counts(),
    ]
    for kind, facts in evidence_rows().items():
        rows = [(code(name), evidence.mark, why(evidence)) for name, evidence in facts]
        parts += [f"## {kind}", table(("fact", "evidence", "from"), rows)]
    parts += ["## Sources", table(("key", "what"), SOURCES.items()), ""]
    return "\n\n".join(parts)


def settings_page() -> str:
    """Return the page of all settings."""
    rows = [
        (
            code(row.flag if row.metavar else f"{row.flag} / --no-{row.flag[2:]}"),
            code(row.variable),
            code(row.name),
            code(str(row.default).lower() if isinstance(row.default, bool) else str(row.default)),
            row.help,
        )
        for row in SETTINGS
    ]
    return "\n\n".join(
        [
            "# Settings",
            WRITTEN,
            (
                "A value comes from the flag, else from the environment, else from "
                "`openimds.toml` in the folder where the command runs (or the file that "
                "`OPENIMDS_CONFIG` names), else it is the default."
            ),
            table(("flag", "environment", "file", "default", "what it does"), rows),
            "",
        ]
    )


BLOCKS = {"counts": counts}
PAGES = {
    "docs/know/fields.md": fields_page,
    "docs/know/fidelity.md": fidelity_page,
    "docs/use/settings.md": settings_page,
}


def filled(text: str) -> str:
    """Return a page with the blocks between its markers written anew."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}\n{BLOCKS[match[2]]()}\n{match[3]}"

    return re.sub(r"(<!-- begin:(\w+) -->).*?(<!-- end -->)", block, text, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Return every file that is written or filled here, with its text."""
    readme = ROOT / "README.md"
    made = {ROOT / name: page() for name, page in PAGES.items()}
    return {**made, readme: filled(readme.read_text("utf-8"))}


def main() -> None:
    """Write the pages that differ."""
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
