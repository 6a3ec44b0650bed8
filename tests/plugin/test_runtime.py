"""README's pytest section in an empty folder, with the packages of the extra `test` alone."""

import re
import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.generate_docs import ROOT
from tests.docs.story import blocks

SECTION = re.compile(r"^## In pytest$.*?(?=^## )", re.MULTILINE | re.DOTALL)


def closure(text: str, seen: dict[str, Distribution] | None = None) -> dict[str, Distribution]:
    """Return the installed packages that a requirement needs, by name."""
    seen = {} if seen is None else seen
    wanted = Requirement(text)
    found = distribution(wanted.name)
    is_new = found.name not in seen
    seen[found.name] = found
    for line in found.requires or ():
        needed = Requirement(line)
        extras = wanted.extras or {""}
        is_needed = any(
            needed.marker is None or needed.marker.evaluate({"extra": extra}) for extra in extras
        )
        if is_needed and (is_new or wanted.extras):
            closure(line.partition(";")[0], seen)
    return seen


@pytest.fixture
def python(tmp_path: Path) -> str:
    """Return the Python of an environment with those packages and no other."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    names = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=names))
    for found in closure("openimds[test]").values():
        for file in found.files or ():
            top = file.parts[0]
            here = Path(str(found.locate_file(top)))
            if top not in {"..", "__pycache__"} and not (site / top).exists() and here.exists():
                (site / top).symlink_to(here)
    return str(folder / "bin" / "python")


def test_section_of_the_readme_works_in_an_empty_folder(python: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    section = SECTION.search((ROOT / "README.md").read_text())
    assert section
    page.write_text(section[0])
    test, command, printed = blocks(page)
    folder = tmp_path / "empty"
    folder.mkdir()
    head, _, text = test.text.partition("\n")
    name = head.removeprefix("# ")
    (folder / name).write_text(text)
    assert command.text == f"pytest -q {name}\n"
    ran = subprocess.run(
        [python, "-m", *command.text.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    pattern = ".*".join(map(re.escape, printed.text.strip().split("…")))
    assert re.fullmatch(pattern, ran.stdout.strip(), re.DOTALL), ran.stdout + ran.stderr


def test_extra_has_no_package_of_development(python: str) -> None:
    script = "import openimds.testing; openimds.testing.serve().close(); import hypothesis"
    ran = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'hypothesis'"
