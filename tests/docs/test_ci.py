"""The jobs of the page on CI consist of commands that its executed blocks have."""

import yaml

from scripts.generate_docs import ROOT
from tests.docs.story import blocks

PAGE = ROOT / "docs/use/ci.md"
ELSEWHERE = ("pip install ", "sudo sysctl ")
"""Commands that change a runner, and are not run here."""


def test_every_line_of_a_job_is_executed() -> None:
    documents = [yaml.safe_load(block.text) for block in blocks(PAGE) if block.kind == "yaml"]
    jobs = [one["jobs"]["test"] for one in documents if "jobs" in one]
    steps = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    scripts = [line for one in documents if "test" in one for line in one["test"]["script"]]
    lines = [line for line in (*steps, *scripts) if not line.startswith(ELSEWHERE)]
    executed = [
        line for block in blocks(PAGE) if block.kind == "sh" for line in block.text.splitlines()
    ]
    assert len(lines) == 1 + 1 + 4 + 1
    assert [line for line in lines if line not in executed] == []


def test_files_that_the_jobs_name_exist() -> None:
    text = PAGE.read_text("utf-8")
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert "uses: ./openimds/packaging/ci " in text
    assert (ROOT / "packaging/ci/action.yml").is_file()
    assert "local: openimds/packaging/ci/openimds.gitlab-ci.yml" in text
    template = yaml.safe_load((ROOT / "packaging/ci/openimds.gitlab-ci.yml").read_text("utf-8"))
    assert [*template] == [".openimds"]
    assert [hook["id"] for hook in hooks] == ["openimds-fleet"]
