"""What the page on CI lets a runner do, its own snippets do: those were executed."""

import yaml

from scripts.generate_docs import ROOT
from tests.docs.story import blocks

PAGE = ROOT / "docs/use/ci.md"
ELSEWHERE = ("pip install ", "sudo sysctl ")
"""What is done to a runner, and not here."""


def test_every_line_of_a_job_is_one_that_was_executed() -> None:
    told = [yaml.safe_load(one.text) for one in blocks(PAGE) if one.kind == "yaml"]
    github, gitlab = [one for one in told if "vms" not in one]
    steps = [step["run"] for step in github["jobs"]["test"]["steps"] if "run" in step]
    lines = [line for line in (*steps, *gitlab["test"]["script"]) if not line.startswith(ELSEWHERE)]
    executed = [line for one in blocks(PAGE) if one.kind == "sh" for line in one.text.splitlines()]
    assert len(lines) == 1 + 4
    assert [line for line in lines if line not in executed] == []
