"""The jobs of the page on CI consist of commands that its executed blocks have."""

import yaml

from scripts.generate_docs import ROOT
from tests.docs.story import blocks

PAGE = ROOT / "docs/use/ci.md"
ELSEWHERE = ("pip install ", "sudo sysctl ")
"""Commands that change a runner, and are not run here."""


def test_every_line_of_a_job_is_executed() -> None:
    documents = [yaml.safe_load(block.text) for block in blocks(PAGE) if block.kind == "yaml"]
    github, gitlab = [document for document in documents if "vms" not in document]
    steps = [step["run"] for step in github["jobs"]["test"]["steps"] if "run" in step]
    lines = [line for line in (*steps, *gitlab["test"]["script"]) if not line.startswith(ELSEWHERE)]
    executed = [
        line for block in blocks(PAGE) if block.kind == "sh" for line in block.text.splitlines()
    ]
    assert len(lines) == 1 + 4
    assert [line for line in lines if line not in executed] == []
