"""Each recipe of docs/use/languages.md, run by the test runner of its language."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.kits import ROOT, Kit
from tests.clients.recipes import GO, JAVA, JAVASCRIPT, PAGE, RUST
from tests.system.process import clean_environment, free_port

pytestmark = pytest.mark.system


def played(kit: Kit, home: Path, *command: str | Path, **environment: str) -> str:
    """Run a recipe in its kit's folder; return the output of its runner."""
    if reason := kit.why_not():
        pytest.skip(reason)
    commands = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=kit.place,
        env=clean_environment({"PATH": commands, "XDG_STATE_HOME": str(home), **environment}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_go_recipe_gets_a_token(tmp_path: Path) -> None:
    output = played(GO, tmp_path, "./token.test", "-test.v")
    assert "--- PASS: TestTheSDKGetsAToken" in output


def test_java_recipe_gets_a_token(tmp_path: Path) -> None:
    jars = sorted((JAVA.place / "lib").glob("*.jar"))
    console = next((jar for jar in jars if "console" in jar.name), Path())
    others = ":".join(str(jar) for jar in jars if jar != console)
    run = ("java", "-jar", console, "execute", "--select-class=TokenTest")
    url = f"http://127.0.0.1:{free_port()}"
    found = ("-cp", f"classes:{others}")
    output = played(JAVA, tmp_path, *run, *found, AZURE_POD_IDENTITY_AUTHORITY_HOST=url)
    assert re.search(r"1 tests successful", output)


def test_vitest_recipe_gets_a_token(tmp_path: Path) -> None:
    output = played(JAVASCRIPT, tmp_path, "node_modules/.bin/vitest", "run", NO_COLOR="1")
    assert re.search(r"Tests +1 passed", output)


def test_jest_recipe_gets_a_token(tmp_path: Path) -> None:
    output = played(JAVASCRIPT, tmp_path, "node_modules/.bin/jest")
    assert re.search(r"Tests: +1 passed", output)


def test_rust_recipe_gets_a_token(tmp_path: Path) -> None:
    cargo = ("cargo", "test", "--offline", "--quiet")
    output = played(RUST, tmp_path, *cargo, CARGO_TARGET_DIR=str(RUST.place / "target"))
    assert "1 passed" in output


def test_page_names_the_versions_of_its_recipes() -> None:
    folder = ROOT / "tests" / "clients" / "recipes"
    manifests = {
        "Go": ("go/go.mod", r"azidentity v([\d.]+)"),
        "Java": ("java/pom.xml", r"<artifactId>azure-identity</artifactId>\s*<version>([\d.]+)<"),
        "JavaScript": ("js/package.json", r'"@azure/identity": "([\d.]+)"'),
        "Rust": ("rust/Cargo.toml", r'azure_identity = "=([\d.]+)"'),
    }
    text = PAGE.read_text("utf-8")
    for language, (name, pattern) in manifests.items():
        found = re.search(pattern, (folder / name).read_text())
        assert found
        assert re.search(rf"\| {language} \| [\w@/-]+ {re.escape(found[1])} \|", text)
