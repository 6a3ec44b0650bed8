"""Write the generated pages and blocks of the documents from the rows: `make docs`.

Whole pages are written anew; in the README only the text between a pair of markers. A test fails
when a page differs from the output of this script.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from openimds.admin.metrics import CONTROL_LEADS, METRICS
from openimds.credentials.hosts.register import MAX_HOSTS
from openimds.dataplane.busiest import MOST_COUNTED
from openimds.facts.clients import (
    CHAIN_PINS,
    CLIENT_FAULTS,
    LIBRARIES,
    RUN_ON,
    VERIFIERS,
    ClientLibrary,
)
from openimds.facts.corrections import CORRECTIONS
from openimds.facts.document import FIELDS, OLD_NAMES
from openimds.facts.evidence import SOURCES, Evidence, Mark
from openimds.facts.facts import FACTS
from openimds.facts.fields import Derived, Field
from openimds.facts.lint import RULES
from openimds.interop.capture.plan import QUESTIONS
from openimds.interop.capture.question import GENERAL, OF_EVENTS, OPTIONS
from openimds.log.event import Level
from openimds.log.events import LOG_EVENTS
from openimds.settings import SETTINGS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # It may be run as a file.

from scripts.api_page import api_page  # noqa: E402 - see above
from scripts.bounds import BOUNDS, value_of  # noqa: E402 - see above
from scripts.monitoring import alerts, dashboard  # noqa: E402 - see above
from scripts.translations import first_line, translation_of  # noqa: E402 - see above

EACH = {"": "", GENERAL: "at each api-version", OF_EVENTS: "at each api-version of events"}
OPTIONAL = {
    key: f"with {row.flag}" + (", the default" if row.default else "")
    for key, row in OPTIONS.items()
}
FILLED = (
    "README.md",
    "docs/know/compat.md",
    "docs/know/promises.md",
    "docs/use/monitoring.md",
)
"""Pages written by people, with generated blocks."""
TABLES = ("README.md",)
"""Those of them whose blocks are tables, and which have a translation."""
_TIME = "the release of the time when Python 3.11 appeared; no older one is looked for"
WHY_NO_OLDER = {
    "azure-identity": "the first whose ClientAssertionCredential takes options",
    "click": "the line of the time when Python 3.11 appeared",
    "cryptography": "the first with `x509.verification`, and with times that have a zone",
    "httptools": "the first whose parser refuses octets above 127 in a target",
    "jinja2": _TIME,
    "msgspec": "the first with `order` in `json.encode`",
    "prometheus-client": _TIME,
    "psycopg[binary]": "the first of its line with wheels; no older line is looked for",
    "pyjwt": "the first with `sort_headers`: Entra's header has an order of its own",
    "pytest": "the oldest that the plugin is for",
    "pyyaml": "the first with wheels for Python 3.11",
    "requests": "the first for Python 3.11; only examples use it",
    "rich": _TIME,
    "sse-starlette": "the first that several event loops of a process can use",
    "starlette": "the first that adds no second charset to a media type",
    "uvicorn": "the first whose embedded server can leave the signals alone",
}
WRITTEN = "<!-- Written by `make docs` from the rows in src/openimds. Change the rows. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Return text escaped for a cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    """Return text as code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def why(evidence: Evidence) -> str:
    """Return the sources and the note of evidence."""
    return "; ".join(part for part in (" ".join(evidence.sources), evidence.note) if part)


def default_of(row: Field) -> str:
    """Return a field's default, described or as its value."""
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
        (
            code(row.path),
            row.since,
            default_of(row),
            code(row.sample),
            row.redaction,
            row.evidence.mark,
        )
        for row in FIELDS
    ]
    old = [(code(row.path), f"before {row.before}", code(row.name)) for row in OLD_NAMES]
    return "\n\n".join(
        [
            "# Every field of the instance document",
            WRITTEN,
            (
                "`since` is the first api-version that has the field; `[]` is each element of an "
                "array. The default is the value of a VM that does not set the field. A field that "
                "an api-version has is always present; one that does not apply is empty. "
                "`openimds capture --redact` keeps a value or writes a placeholder of its kind."
            ),
            table(("field", "since", "default", "for example", "when redacted", "evidence"), rows),
            "## Ended, and earlier names",
            "\n".join(f"- {code(row.path)} ended with {row.until}." for row in FIELDS if row.until),
            table(("node", "when", "earlier name"), old),
            "",
        ]
    )


def counts() -> str:
    """Return the number of facts by kind and mark."""
    rows = []
    for kind, facts in FACTS.items():
        marks = [fact.evidence.mark for fact in facts]
        rows.append((kind, *(str(marks.count(mark) or "") for mark in Mark)))
    total = [fact.evidence.mark for facts in FACTS.values() for fact in facts]
    rows.append(("**all**", *(f"**{total.count(mark)}**" for mark in Mark)))
    return table(("facts", *Mark), rows)


def fidelity_page() -> str:
    """Return the page of all facts with their evidence."""
    parts = [
        "# How faithful we are",
        WRITTEN,
        (
            "The server rests on facts about Azure, and each fact is a row with evidence. "
            "**observed**: a recording has it. **client**: shipping clients rely on it. "
            "**documented**: a document of Microsoft has it, no recording does. **inferred**: "
            "concluded from other sources. **chosen**: assumed without evidence, until a recording "
            "replaces it. The keys of sources, such as S2, are explained at the end. If you have "
            "an Azure VM, a recording that settles an inferred or chosen row is the most valuable "
            "contribution: `openimds capture` makes it, and `openimds compare` names the rows that "
            "it settles."
        ),
        counts(),
    ]
    for kind, facts in FACTS.items():
        rows = [(code(fact.name), fact.evidence.mark, why(fact.evidence)) for fact in facts]
        parts += [f"## {kind}", table(("fact", "evidence", "sources and notes"), rows)]
    found = [
        (str(row.number), row.fact, row.verdict, row.answer, row.evidence.mark, why(row.evidence))
        for row in CORRECTIONS
    ]
    head = ("number", "finding", "here", "the server's answer", "evidence", "sources and notes")
    parts += [
        "## Corrections of 2026-11-29",
        (
            "Findings that contradict or add to earlier sources. Where one is about a response, "
            "the rows above follow it."
        ),
        table(head, found),
    ]
    parts += ["## Sources", table(("key", "source"), SOURCES.items()), ""]
    return "\n\n".join(parts)


def questions_page() -> str:
    """Return the page of the requests of a capture, and of other open questions."""
    rows = [
        (
            code(row.key),
            code(str(row.request)),
            row.why,
            " ".join(part for part in (EACH[row.each], OPTIONAL.get(row.option, "")) if part),
            code(f"{row.about.kind}: {row.about.name}"),
            row.about.evidence.mark,
        )
        for row in QUESTIONS
    ]
    still_open = [
        (str(row.number), row.question, row.nearest, row.answer)
        for row in CORRECTIONS
        if row.question
    ]
    return "\n\n".join(
        [
            "# What a capture asks",
            WRITTEN,
            (
                "The requests of [`openimds capture`](../use/capture.md), sent one by one in this "
                "order. `{version}` is each requested api-version, `{newest}` the newest one that "
                "the server lists. No request is for a token or for another path below "
                "`/metadata/identity`, and none approves an event. A response settles the fact, a "
                "row of [the fidelity page](fidelity.md)."
            ),
            table(("question", "request", "why", "when", "fact", "evidence"), rows),
            "## What is open beside it",
            (
                "Findings of the [corrections](fidelity.md#corrections-of-2026-11-29) that leave "
                "a part of Azure's behaviour open. A recording of the thing would answer each; "
                "the nearest fact is the closest that is known."
            ),
            table(("number", "question", "nearest fact", "the server's answer"), still_open),
            "",
        ]
    )


def settings_page() -> str:
    """Return the page of all settings."""
    rows = [
        (
            code(row.flag if row.metavar else f"{row.flag} / --no-{row.flag[2:]}"),
            code(row.variable),
            code(row.name),
            code(row.default_text),
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
            table(("flag", "environment", "file", "default", "meaning"), rows),
            "",
        ]
    )


def strict_page() -> str:
    """Return the page of the lint rules."""
    rows = [
        (
            code(row.key),
            row.verdict,
            row.says,
            row.detection,
            f"{row.evidence.mark}: {why(row.evidence)}",
        )
        for row in RULES
    ]
    return "\n\n".join(
        [
            "# What a client may do wrong",
            WRITTEN,
            (
                "The rules of `openimds requests --report` and of `GET /v1/requests/report`. Each "
                "is checked for one VM at a time, on its [recorded](../use/requests.md) requests. "
                "The marks and the keys of the sources are those of "
                "[the fidelity page](fidelity.md)."
            ),
            table(
                ("rule", "verdict", "Azure's behaviour or advice", "detection", "evidence"), rows
            ),
            "",
        ]
    )


def metrics_page() -> str:
    """Return the page of all metrics."""
    rows = [
        (
            code(row.exposed_name),
            row.kind,
            row.unit,
            ", ".join(code(label) for label in row.labels),
            f"{row.help} {row.remedy}".strip(),
        )
        for row in METRICS.values()
    ]
    return "\n\n".join(
        [
            "# Metrics",
            WRITTEN,
            (
                "`GET /metrics` on the admin port answers them in Prometheus' text format, or in "
                "that of OpenMetrics if `Accept` asks for it, on loopback without a token. "
                "`--metrics HOST:PORT` is a listener for them alone, without a token, also of a "
                "host of a fleet. [Monitoring](../use/monitoring.md) has alerts, a dashboard and a "
                "scrape configuration."
            ),
            (
                "Values are read at each scrape. A metric with labels has a series for each "
                "combination that was counted, and none before the first. The metrics of the "
                "event hook are there with `--event-hook` alone, those of the fleet file with "
                "`--fleet`, those of `feed` on a host of a fleet. Those with "
                f"the label `host` have a series for each of up to {MAX_HOSTS:,} hosts that have "
                f"joined, on the control that leads; those with the label `vm` for the "
                f"{MOST_COUNTED} busiest VMs. A control that stands by answers "
                f"`{CONTROL_LEADS}` alone, without a token."
            ),
            (
                "A restart of control sets its counters to 0, one of the host those of guests; "
                "Prometheus' `rate` and `increase` take that into account."
            ),
            table(("metric", "kind", "unit", "labels", "help"), rows),
            "",
        ]
    )


def library_of(key: str) -> str:
    """Return the language and the name of a library."""
    row = LIBRARIES[key]
    return f"{row.language}: {row.name}"


def tries_of(row: ClientLibrary) -> str:
    """Return the requests of a failing call by status."""
    return "; ".join(
        f"{', '.join(map(str, tries.statuses))}: "
        + (f"{tries.requests} requests in {tries.seconds} s" if tries.seconds else "1 request")
        for tries in row.tries
    )


WAYS = """\
1. **By variable**: `eval "$(openimds env)"`. It sets the host of IMDS, and the pin of the default
   chain (below). `eval "$(openimds env --unset)"` takes every variable back.
2. **By App Service**: `eval "$(openimds env --for app-service --vm NAME)"` gives tokens to every
   library here, Go and Rust included, by the protocol of another host of Azure. The answers have
   fewer members, and each VM has a secret.
3. **By address**: [`openimds exec`](laptop.md), [`@pytest.mark.real_address`](pytest.md), a
   container network or a [host](host.md) put the server at 169.254.169.254. Every client works
   there, and readers of the instance document work nowhere else."""


def clients_page() -> str:
    """Return the page of client libraries."""
    libraries = [
        (
            f"{row.language}: {row.name}",
            row.newest,
            row.variable or "no",
            row.app_service or "no",
            row.azure_ml or "no",
            "yes",
            RUN_ON if row.is_run else row.evidence.note,
        )
        for row in LIBRARIES.values()
    ]
    manners = [
        (f"{row.language}: {row.name}", row.probe, tries_of(row) or "not measured")
        for row in LIBRARIES.values()
    ]
    pins = [
        (
            library_of(row.library),
            row.refused or "unknown",
            code(row.error),
            row.known,
            row.unprobed,
            row.seen or "none",
            why(row.evidence),
        )
        for row in CHAIN_PINS
    ]
    faults = [
        (library_of(row.library), row.versions, row.symptom, row.remedy, why(row.evidence))
        for row in CLIENT_FAULTS
    ]
    return "\n\n".join(
        [
            "# Point clients at the server",
            WRITTEN,
            (
                "A client library finds IMDS by an address or by environment variables, and "
                "libraries and their versions differ in the variables that they read. Take the "
                "first of these ways that your client knows:"
            ),
            WAYS,
            (
                "Where clients reach the server by another address, such as a published port or "
                "the name of a container, add `--url http://HOST:PORT` to any of these commands. "
                "`openimds identity token VM --resource URI` prints a token without a client."
            ),
            "## Libraries",
            (
                "The version is the newest that was run. The other columns name the oldest version "
                "that was seen to find the server that way; versions between were not all run. "
                "[All tested clients](../../tests/clients/README.md) include readers of the "
                "instance document, agents and verifiers."
            ),
            table(
                (
                    "library",
                    "version",
                    "by variable",
                    "by App Service",
                    "by Azure ML",
                    "by address",
                    "seen",
                ),
                libraries,
            ),
            "## The pin of the default chain",
            (
                "`AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential` reduces "
                "`DefaultAzureCredential` to managed identity, so that no other credential of the "
                "machine gets in its way. .NET needs it: its chain looks for IMDS at "
                "169.254.169.254 only, unless it is pinned. Versions of some months of 2025 know "
                "the values `dev` and `prod` only and refuse this one; for them type "
                "`openimds env --no-chain-pin`, or in pytest set `imds_chain_pin = false`. Older "
                "versions ignore it. `openimds exec` sets no pin."
            ),
            table(
                (
                    "library",
                    "versions that refuse it",
                    "with",
                    "known since",
                    "no probe since",
                    "versions run",
                    "sources",
                ),
                pins,
            ),
            "## Probes and retries",
            (
                "Azure advises to retry 404, 429 and 5xx with increasing waits, and 410 for 70 "
                "seconds. These are the requests of one call at default settings while every "
                "answer has the status, and the seconds until the call fails; "
                "[`openimds fault`](faults.md) injects such answers. The probe is sent by the "
                "default chain at the real address; with the host variable only .NET sends one."
            ),
            table(("library", "probe", "requests until it gives up"), manners),
            "## Known faults of their own",
            table(("library", "versions", "symptom", "way around", "sources"), faults),
            "## Verifiers of attested documents",
            (
                "[The certificates](attested.md) hang under a root of your own, and name lists of "
                "revoked certificates and an OCSP responder where the server has a public URL. "
                "With the root, each of the verifiers that were run accepts a document at its "
                "default settings, unless its row says otherwise. After `openimds attest revoke "
                "leaf` those that look revocation up refuse the documents of before. A check for "
                "the purpose clientAuth fails, as on Azure since 2026."
            ),
            table(
                ("verifier", "looks revocation up", "needs", "seen", "sources"),
                [
                    (
                        row.name,
                        row.looks_up,
                        row.advice,
                        RUN_ON if row.is_run else row.seen,
                        why(row.evidence),
                    )
                    for row in VERIFIERS
                ],
            ),
            (
                "The keys of the sources are explained on "
                "[the fidelity page](../know/fidelity.md#sources)."
            ),
            "",
        ]
    )


def floors() -> str:
    """Return the oldest version of each requirement, with the reason for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = [(text, "") for text in project["dependencies"]]
    texts += [(text, f"`[{extra}]`") for extra in extras for text in extras[extra]]
    rows = []
    for text, extra in texts:
        name, _, version = text.partition(";")[0].partition(">=")
        rows.append((name, version, extra, WHY_NO_OLDER[name]))
    return table(("package", "oldest", "extra", "why no older one"), rows)


def bounds() -> str:
    """Return a table of the bounds of each part of the service."""
    head = ("bounded", "most", "constant", "beyond it", "test")
    parts = []
    for title, rows in BOUNDS.items():
        cells = (
            (
                row.holds,
                f"{value_of(row.constant):,}" if row.constant else "1",
                code(row.constant.replace(":", ".")),
                row.beyond,
                code(row.test),
            )
            for row in rows
        )
        parts.append(f"### {title}\n\n{table(head, cells)}")
    return "\n\n".join(parts)


BLOCKS = {"alerts": alerts, "bounds": bounds, "counts": counts, "floors": floors}


def log_page() -> str:
    """Return the page of all events of the operators' log."""
    rows = [
        (
            code(row.name),
            row.level.title,
            ", ".join(map(code, row.fields)),
            str(row.per_minute or ""),
            row.about,
        )
        for row in LOG_EVENTS
    ]
    levels = [(level.title, str(level.priority), code(f"<{level.priority}>")) for level in Level]
    return "\n\n".join(
        [
            "# Every event of the log",
            WRITTEN,
            (
                "Each line of the log on stderr is one event. It has `time` (UTC; not in systemd's "
                "journal, which has its own), `level`, `event` (the name), `message` (a sentence), "
                "and the fields of its row that it knows. A line has at most 4,096 bytes: of a "
                "longer one the last fields are left out, and `cut` is true. Of an event with a "
                "number below *a minute*, further lines are counted and not written: `log.omitted` "
                "has the count. `server.library` has a level of its own for each record. How to "
                "read and keep the log: [read the log](../use/log.md)."
            ),
            table(("event", "level", "fields", "a minute", "when"), rows),
            "## Levels",
            (
                "`--log-level` is the least level that is written. Lines to systemd's journal "
                "begin with their priority."
            ),
            table(("level", "priority of syslog", "prefix in the journal"), levels),
            "",
        ]
    )


PAGES = {
    "docs/know/api.md": api_page,
    "docs/know/fields.md": fields_page,
    "docs/know/fidelity.md": fidelity_page,
    "docs/know/log.md": log_page,
    "docs/know/metrics.md": metrics_page,
    "docs/know/questions.md": questions_page,
    "docs/know/strict.md": strict_page,
    "docs/use/clients.md": clients_page,
    "docs/use/settings.md": settings_page,
    "packaging/monitoring/dashboard.json": dashboard,
}


_BLOCK = re.compile(r"(<!-- begin:(\w+) -->)(.*?)(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return a page with the blocks between its markers written anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[4]}", text)


def pages() -> dict[Path, str]:
    """Return every generated or filled file, with its text."""
    whole = {ROOT / name: page() for name, page in PAGES.items()}
    partly = {ROOT / name: filled((ROOT / name).read_text("utf-8")) for name in FILLED}
    translated = {
        ROOT / translation_of(name): translation(name, partly[ROOT / name])
        for name in TABLES
        if (ROOT / translation_of(name)).exists()
    }
    return {**whole, **partly, **translated}


def translation(name: str, text: str) -> str:
    """Return the translation of a page whose tables are written anew, as in this text.

    Its digest follows if it was that of the page before: nobody has to read numbers again.
    """
    path = ROOT / translation_of(name)
    old = path.read_text("utf-8")
    line, _, rest = old.partition("\n")
    try:
        rest = _BLOCK.sub(
            lambda found: (
                f"{found[1]}\n{with_labels(found[3].strip(), BLOCKS[found[2]]())}\n{found[4]}"
            ),
            rest,
        )
    except ValueError:
        return old
    if line == first_line(name, (ROOT / name).read_text("utf-8")):
        line = first_line(name, text)
    return f"{line}\n{rest}"


def with_labels(translated: str, written: str) -> str:
    """Return a table that was written anew, with the labels of its translation.

    The labels are its first row and its first column. Raise `ValueError` if the tables have
    different rows, for a person has to translate them then.
    """
    mine, new = translated.splitlines(), written.splitlines()
    rows = [
        f"| {label.split(' | ')[0].removeprefix('| ')} | {line.partition(' | ')[2]}"
        for label, line in zip(mine[1:], new[1:], strict=True)
    ]
    return "\n".join([mine[0], *rows])


def main() -> None:
    """Write the pages that differ."""
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
