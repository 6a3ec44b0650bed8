"""The site of the documents is whole, strict, and loads nothing from elsewhere."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from openimds.admin.operations import OPERATIONS
from openimds.cli.main import COMMANDS
from scripts import build_site, site_hooks
from scripts.build_site import CHINESE, ENGLISH, LANGUAGES, Language
from scripts.translations import original_of, translations
from tests.package.resolutions import ROOT
from tests.system.browser.kit import NARROW, OVERFLOWING, WIDE, chromium

pytestmark = pytest.mark.timeout(900)
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def words_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", " ", page.read_text("utf-8"))


def folder_of(place: str) -> str:
    """Return the folder of a page on the site."""
    return re.sub(r"(index|README)?\.md$", "", place).rstrip("/")


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda one: one.code)
def test_every_page_is_on_the_site_and_in_its_search(site: Path, language: Language) -> None:
    html = site / language.folder
    found = (html / "search" / "search_index.json").read_text("utf-8")
    pages = [*build_site.places(language).values()]
    for place in (*pages, build_site.COMMANDS, build_site.OPERATIONS_PAGE):
        folder = folder_of(place)
        assert (html / folder / "index.html").is_file(), place
        assert f'"location":"{folder}{"/" if folder else ""}"' in found


def test_each_translation_stands_in_the_place_of_its_original(site: Path) -> None:
    chinese, english = build_site.places(CHINESE), build_site.places(ENGLISH)
    for name, place in chinese.items():
        assert english[original_of(name)] == place
        text = (site / CHINESE.folder / folder_of(place) / "index.html").read_text("utf-8")
        assert '<html lang="zh"' in text
        assert (CHINESE.untranslated in text) == (name not in translations()), name
    assert {*chinese} >= {*translations()}
    assert not {*english} & {*translations()}


def test_switch_of_languages_stays_on_the_page(site: Path) -> None:
    pages = [folder_of(place) for place in build_site.places().values()]
    for folder in pages:
        for here, there, hreflang in (
            (site, site / CHINESE.folder, "zh-CN"),
            (site / CHINESE.folder, site, "en"),
        ):
            text = (here / folder / "index.html").read_text("utf-8")
            (link,) = re.findall(
                rf'<a href="?([^" ]+)"? hreflang="?{hreflang}"? class="?md-select__link', text
            )
            assert (here / folder / link).resolve() == (there / folder).resolve()


def test_chinese_words_are_found_by_search(site: Path) -> None:
    found = json.loads((site / CHINESE.folder / "search" / "search_index.json").read_text("utf-8"))
    assert found["config"]["lang"] == ["zh", "en"]
    texts = "".join(entry["text"] for entry in found["docs"])
    assert "\u200b虚拟\u200b" in texts or "\u200b虚拟机\u200b" in texts


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda one: one.code)
def test_every_guide_is_in_the_navigation(language: Language) -> None:
    sections = [*build_site.navigation(language)]
    listed = [page for section in sections for pages in section.values() for page in pages]
    assert len(sections) == 4
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


def test_site_has_the_schema_that_the_command_prints(site: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "openimds", "fleet", "schema"], capture_output=True, check=True
    )
    for language in LANGUAGES:
        schema = (site / language.folder / build_site.SCHEMA).read_bytes()
        assert schema.strip() == printed.stdout.strip()


def pages_of(site: Path) -> list[Path]:
    """Return every page of both languages."""
    found = sorted(site.rglob("index.html"))
    assert len(found) >= 2 * len(build_site.places())
    return found


def test_no_page_is_wider_than_its_window(site: Path, browser: Browser) -> None:
    page = browser.new_page()
    wide = []
    for path in pages_of(site):
        page.goto(path.as_uri(), wait_until="domcontentloaded")
        for width in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": 900})
            if found := page.evaluate(OVERFLOWING):
                wide.append(f"{path.relative_to(site)} at {width}: {found}")
    page.close()
    assert wide == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert [*build_site.from_elsewhere(site)] == []


def test_name_in_a_table_breaks_behind_its_joints() -> None:
    cell = "<td><code>openimds_host_vms</code></td>"
    text = f"<p><code>a_b</code></p>{cell}"
    broken = "<td><code>openimds_<wbr>host_<wbr>vms</code></td>"
    assert site_hooks.on_page_content(text) == f"<p><code>a_b</code></p>{broken}"
    assert site_hooks.breakable("/metadata/instance.x") == "/metadata/<wbr>instance.<wbr>x"


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
        ("README.md", "[a](README.zh-CN.md)", '<a href="zh-CN/">a</a>'),
        ("docs/use/ci.md", "[a](../zh-CN/use/ci.md)", '<a href="../../zh-CN/use/ci/">a</a>'),
        ("README.md", "[a](#limits)", "[a](#limits)"),
        ("README.md", "```md\n[a](docs/use/fleet.md)\n```", "```md\n[a](docs/use/fleet.md)\n```"),
    ],
)
def test_link_is_rewritten_for_the_site(name: str, text: str, expected: str) -> None:
    assert build_site.rewritten(text, name) == expected
