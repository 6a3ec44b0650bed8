"""Each recipe of docs/use/testcontainers.md, run by the test runner of its language."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.clients.kits import ROOT, Kit
from tests.containers.engine import podman
from tests.containers.kits import GO, JAVA, JAVASCRIPT, PAGE, PYTHON, RUST

FIXED = "http://127.0.0.1:8169"


def played(kit: Kit, *command: str | Path, **environment: str) -> str:
    """Run a recipe in its kit's folder; return the output of its runner."""
    if reason := kit.why_not():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=kit.place,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stdout
    assert podman("ps", "--all", "--quiet", "--filter=ancestor=localhost/openimds") == ""
    return ran.stdout


def test_python_recipe_gets_a_token() -> None:
    own = ("-q", "-o", "addopts=", "-p", "no:openimds", "-p", "no:cacheprovider", "--rootdir=.")
    site = str(PYTHON.place / "site")
    output = played(PYTHON, sys.executable, "-m", "pytest", *own, "test_token.py", PYTHONPATH=site)
    assert "1 passed" in output


def test_javascript_recipe_gets_a_token() -> None:
    output = played(JAVASCRIPT, "node", "--test", "token.test.mjs")
    assert re.search(r"^. pass 1$", output, re.MULTILINE)


def test_java_recipe_gets_a_token() -> None:
    jars = sorted((JAVA.place / "lib").glob("*.jar"))
    (console,) = (jar for jar in jars if jar.name.startswith("junit-platform-console"))
    others = ":".join(str(jar) for jar in jars if jar != console)
    run = (
        "java",
        "-jar",
        console,
        "execute",
        "--select-class=TokenTest",
        "-cp",
        f"classes:{others}",
    )
    output = played(JAVA, *run, AZURE_POD_IDENTITY_AUTHORITY_HOST=FIXED)
    assert re.search(r"1 tests successful", output)


def test_go_recipe_gets_a_token() -> None:
    output = played(GO, "./token.test", "-test.v")
    assert "--- PASS: TestTheSDKGetsAToken" in output


def test_rust_recipe_gets_a_token() -> None:
    run = ("cargo", "test", "--offline", "--test=token")
    output = played(RUST, *run, CARGO_TARGET_DIR=str(RUST.place / "target"))
    assert "test the_sdk_gets_a_token ... ok" in output


def test_page_names_the_versions_that_ran() -> None:
    text = PAGE.read_text("utf-8")
    files = {
        "Python": ("requirements-containers.lock", r"^testcontainers==([\d.]+)"),
        "JavaScript": ("tests/containers/js/package.json", r'"testcontainers": "([\d.]+)"'),
        "Java": (
            "tests/containers/java/pom.xml",
            r"<artifactId>testcontainers</artifactId>\s*<version>([1-9][\d.]+)<",
        ),
        "Go": ("tests/containers/go/go.mod", r"testcontainers-go v([\d.]+)"),
        "Rust": ("tests/containers/rust/Cargo.toml", r'^testcontainers .*"=([\d.]+)"'),
    }
    for language, (name, pattern) in files.items():
        found = re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)
        assert found
        assert f"| {language} | {found[1]} |" in text


def test_page_names_the_rust_that_its_recipe_needs() -> None:
    manifest = tomllib.loads((ROOT / "tests/containers/rust/Cargo.toml").read_text())
    assert f"needs Rust {manifest['package']['rust-version']}," in PAGE.read_text("utf-8")
