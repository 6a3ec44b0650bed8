"""The site of the documents is whole, strict, and loads nothing from elsewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from openimds.admin.operations import OPERATIONS
from openimds.cli.main import COMMANDS
from scripts import build_site
from tests.package.resolutions import ROOT

HTML = ROOT / "build" / "site" / "html"


@pytest.fixture(scope="module")
def site(index: None) -> Path:
    ran = subprocess.run(
        ["make", "--no-print-directory", "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "build/site/html\n"
    return HTML


def words_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", " ", page.read_text("utf-8"))


def test_every_page_is_on_the_site_and_in_its_search(site: Path) -> None:
    found = (site / "search" / "search_index.json").read_text("utf-8")
    places = [*build_site.places().values(), build_site.COMMANDS, build_site.OPERATIONS_PAGE]
    for place in places:
        folder = place.removesuffix("index.md").removesuffix("README.md").removesuffix(".md")
        assert (site / folder / "index.html").is_file(), place
        assert f'"location":"{folder}{"/" if folder and not folder.endswith("/") else ""}"' in found


def test_every_guide_is_in_the_navigation() -> None:
    sections = [*build_site.navigation(build_site.places())]
    listed = [page for section in sections for pages in section.values() for page in pages]
    assert [*(name for section in sections for name in section)][:2] == [
        "Tutorials",
        "How-to guides",
    ]
    assert len(listed) == len({*listed})
    guides = {
        place for place in build_site.places().values() if place.startswith(("use/", "know/"))
    }
    assert guides - {*listed} == set()


def test_pages_of_the_reference_have_every_row(site: Path) -> None:
    commands = words_of(site / "know" / "commands" / "index.html")
    assert [row.name for row in COMMANDS if f"openimds {row.name}" not in commands] == []
    operations = words_of(site / "know" / "rest" / "index.html")
    missing = [row.name for row in OPERATIONS if f"{row.method} {row.path}" not in operations]
    assert missing == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert [*build_site.from_elsewhere(site)] == []


def test_load_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p><img alt="x" src="https://example.org/x.png"></p>')
    (tmp_path / "b.html").write_text('<a href="https://example.org">x</a><img src="x.png">')
    (found,) = build_site.from_elsewhere(tmp_path)
    assert found.startswith("a.html: loads <img")


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("README.md", "[a](docs/use/fleet.md#tags)", "[a](use/fleet.md#tags)"),
        ("docs/use/ci.md", "[a](../../README.md)", "[a](../index.md)"),
        ("docs/use/ci.md", "[a](fleet.md)", "[a](fleet.md)"),
        ("docs/why/design.md", "[a](decisions)", "[a](decisions/README.md)"),
        ("README.md", "![a](docs/picture.svg)", "![a](picture.svg)"),
        ("README.md", "[the rows](src/openimds/facts)", "the rows"),
        ("README.md", "[a](https://example.org/x)", "[a](https://example.org/x)"),
        ("README.md", "[a](#limits)", "[a](#limits)"),
        ("README.md", "```md\n[a](docs/use/fleet.md)\n```", "```md\n[a](docs/use/fleet.md)\n```"),
    ],
)
def test_link_is_rewritten_for_the_site(name: str, text: str, expected: str) -> None:
    assert build_site.rewritten(text, name, build_site.places()) == expected
