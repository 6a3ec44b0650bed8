"""Pictures can be read in light and in dark, and name rooms that exist."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from openimds.facts.refusals import REFUSALS
from scripts.generate_docs import ROOT
from tests.system.browser.screenshots import SHOTS

PICTURES = sorted((ROOT / "docs").rglob("*.svg"))
SCREENSHOTS = sorted((ROOT / "docs").rglob("*.png"))
MOST_BYTES = 150_000
SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: Path, kind: str) -> list[str]:
    """Return the texts of a picture that have a class."""
    found = ET.parse(picture).iter(f"{SVG}text")
    return [one.text or "" for one in found if kind in one.get("class", "").split()]


@pytest.mark.parametrize("name", ["docs/why/request.svg", "docs/why/roles.svg"])
def test_picture_of_the_design_names_rooms(name: str) -> None:
    assert texts(ROOT / name, "room")


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_room_in_a_picture_exists(picture: Path) -> None:
    package = ROOT / "src" / "openimds"
    rooms = texts(picture, "room")
    assert [room for room in rooms if not (package / room).exists()] == []


def test_picture_of_a_request_has_statuses_of_the_rows() -> None:
    shown = {
        int(one) for text in texts(ROOT / "docs/why/request.svg", "status") for one in text.split()
    }
    rows = {row.status for row in REFUSALS}
    assert shown - rows == set()
    assert {400, 403, 404, 405, 429} <= shown


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_picture_stands_alone_in_light_and_dark(picture: Path) -> None:
    text = picture.read_text("utf-8")
    assert "@media (prefers-color-scheme: dark)" in text
    assert re.search(r"<title>[^<]{20,}</title>", text)
    assert re.findall(r"""(?:href|src)="(?!#)|url\((?!#)|@import|@font-face""", text) == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_text_of_a_picture_is_inside(picture: Path) -> None:
    root = ET.parse(picture).getroot()
    width = float(root.attrib["viewBox"].split()[2])
    for one in root.iter(f"{SVG}text"):
        # Half the size of the font for a letter is more than the mean, and less than the widest.
        length = len(one.text or "") * 7.2
        start = (
            float(one.attrib["x"])
            - {"middle": 0.5, "end": 1.0}.get(one.get("text-anchor", ""), 0.0) * length
        )
        assert start >= 0, one.text
        assert start + length <= width, one.text


def test_every_picture_is_shown_with_its_meaning() -> None:
    shown = set()
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for text, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text("utf-8")):
            # A sentence in Chinese has about half as many characters.
            least = 10 if "zh-CN" in str(page.relative_to(ROOT)) else 20
            assert len(text) >= least, f"{page.name}: {path} needs a text of its content"
            shown.add((page.parent / path).resolve())
    assert {one.resolve() for one in (*PICTURES, *SCREENSHOTS)} <= shown


def test_screenshots_are_small() -> None:
    assert {one.name for one in SCREENSHOTS} == {f"{shot.name}.png" for shot in SHOTS}
    large = [one.name for one in SCREENSHOTS if one.stat().st_size > MOST_BYTES]
    assert large == [], "take them smaller"
