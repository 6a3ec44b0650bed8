"""The files for other projects' CI, executed as a runner executes them."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.package.resolutions import ROOT
from tests.system.process import clean_environment

CI = ROOT / "packaging" / "ci"
FLEET = "vms: {ci-1: {compute: {location: westeurope}, identities: {system: true}}}\n"
MISSPELLED = "vms: {ci-1: {compute: {vmsize: Standard_B2s}}}\n"
FREE = "--listen 127.0.0.1:0 --admin 127.0.0.1:0"
ASKS = f"""
{Path(sys.executable).as_posix()} -c '
import os, urllib.request
url = os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
path = "/metadata/instance/compute/location?api-version=2021-02-01&format=text"
asked = urllib.request.Request(url + path, headers={{"Metadata": "true"}})
print(urllib.request.urlopen(asked, timeout=10).read().decode())
'
openimds vm list --json
"""
"""A step of a project: a client with a variable for its address, and a command."""
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")


class Runner:
    """A runner of jobs: a folder, and the environment that steps hand on."""

    def __init__(self, folder: Path, versions: Path, fleet: str) -> None:
        self.folder = folder
        (folder / "fleet.yaml").write_text(fleet)
        given = {"PIP_CONSTRAINT": str(versions), "XDG_STATE_HOME": str(folder / "state")}
        self.environment = clean_environment(given)

    def run(self, script: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the script of a step in a shell."""
        return subprocess.run(
            [*SHELL, script],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=200,
            check=False,
        )


class Workflow(Runner):
    """A runner of GitHub Actions, as far as the steps of the action need one."""

    def __init__(self, folder: Path, versions: Path, fleet: str) -> None:
        super().__init__(folder, versions, fleet)
        self.files = {name: folder / name for name in ("GITHUB_ENV", "GITHUB_PATH")}
        self.outputs: dict[str, str] = {}

    def use(self, action: dict[str, Any], inputs: dict[str, str]) -> "list[str]":
        """Run the steps of a composite action; return the errors of a failed one."""
        for step in action["runs"]["steps"]:
            if step.get("if") == "inputs.fleet != ''" and not inputs.get("fleet"):
                continue
            output = self.folder / "GITHUB_OUTPUT"
            for file in (output, *self.files.values()):
                file.write_text("")
            given = {
                name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs.get(m[1], ""), value)
                for name, value in step.get("env", {}).items()
            }
            given |= {name: str(file) for name, file in self.files.items()}
            given |= {"GITHUB_OUTPUT": str(output), "RUNNER_TEMP": str(self.folder)}
            ran = self.run(step["run"], GITHUB_ACTION_PATH=str(CI), **given)
            if ran.returncode:
                return ran.stderr.splitlines()
            self.environment |= _pairs(self.files["GITHUB_ENV"])
            added = self.files["GITHUB_PATH"].read_text().split()
            self.environment["PATH"] = ":".join((*added, self.environment["PATH"]))
            self.outputs |= _pairs(output)
        return []


def _pairs(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def kill(pid: str) -> None:
    with suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGTERM)


def test_action_serves_the_steps_after_it(tmp_path: Path, versions: Path) -> None:
    action = yaml.safe_load((CI / "action.yml").read_text())
    assert {name: row["default"] for name, row in action["inputs"].items()} == {
        "fleet": "",
        "arguments": "",
    }
    workflow = Workflow(tmp_path, versions, FLEET)
    errors = workflow.use(action, {"fleet": "fleet.yaml", "arguments": FREE})
    assert errors == []
    try:
        ran = workflow.run(ASKS)
        assert (ran.returncode, ran.stderr) == (0, "")
        region, vms = ran.stdout.splitlines()
        assert region == "westeurope"
        assert '"name":"ci-1"' in vms
        for name, row in action["outputs"].items():
            assert row["value"] == f"${{{{ steps.serve.outputs.{name} }}}}"
            assert workflow.outputs[name].startswith("http://127.0.0.1:")
    finally:
        kill(workflow.outputs["pid"])


def test_action_names_the_mistake_of_a_fleet_file(tmp_path: Path, versions: Path) -> None:
    action = yaml.safe_load((CI / "action.yml").read_text())
    workflow = Workflow(tmp_path, versions, MISSPELLED)
    (line,) = workflow.use(action, {"fleet": "fleet.yaml"})
    assert 'fleet.yaml: vms.ci-1.compute: saw unknown key "vmsize"' in line


def test_gitlab_job_runs_beside_a_server(tmp_path: Path, versions: Path) -> None:
    template = yaml.safe_load((CI / "openimds.gitlab-ci.yml").read_text())[".openimds"]
    runner = Runner(tmp_path, versions, FLEET)
    (tmp_path / "openimds").symlink_to(ROOT)
    given = {**template["variables"], "IMDS_ARGUMENTS": FREE}
    # GitLab runs both in one shell, and the script after them in another.
    ran = runner.run("\n".join((*template["before_script"], ASKS)), **given)
    try:
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.splitlines()[-2] == "westeurope"
    finally:
        after = runner.run("\n".join(template["after_script"]), **given)
    assert after.returncode == 0, after.stderr


def test_hook_refuses_a_bad_file_before_a_commit(tmp_path: Path, versions: Path) -> None:
    runner = Runner(tmp_path, versions, FLEET)
    here = Path(sys.executable).parent
    made = runner.run(
        f"{sys.executable} -m venv hooks && hooks/bin/pip install --quiet pre-commit==4.6.1\n"
        "git init --quiet . && git add fleet.yaml"
    )
    assert made.returncode == 0, made.stderr
    hook = f"hooks/bin/pre-commit try-repo {ROOT} openimds-fleet --files fleet.yaml"
    given = {"PATH": f"{here}:{os.environ['PATH']}", "PRE_COMMIT_HOME": str(tmp_path / "cache")}
    passed = runner.run(hook, **given)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    (tmp_path / "fleet.yaml").write_text(MISSPELLED)
    refused = runner.run(f"git add fleet.yaml; {hook}", **given)
    assert refused.returncode == 1
    assert 'fleet.yaml: vms.ci-1.compute: saw unknown key "vmsize"' in refused.stdout
