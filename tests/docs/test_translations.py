"""Each translated page follows its original, and says which state of it was translated."""

# ruff: noqa: RUF001 - Chinese has commas and colons of its own.

from pathlib import Path

import pytest

from scripts import generate_docs, translations
from scripts.generate_docs import ROOT, WRITTEN, with_labels

NOT_YET: set[str] = set()
"""Pages that are being translated; a translation that exists is judged all the same."""
ORIGINALS = {
    name
    for path in (
        ROOT / "README.md",
        ROOT / "docs" / "README.md",
        *(ROOT / "docs" / "learn").rglob("*.md"),
        *(ROOT / "docs" / "use").rglob("*.md"),
    )
    if WRITTEN not in path.read_text("utf-8")
    for name in [path.relative_to(ROOT).as_posix()]
}
"""README, index, tutorials and how-to pages; a generated page changes with its rows."""

ENGLISH = """# Faults

Type `fault set`:

```sh
openimds fault list
```

## One fault

| a | b |
|---|---|
| [fleet](fleet.md#the-tags) | 1 |

- one
- two [below](#one-fault)
"""
CHINESE = """# 故障

键入 `fault set`：

```sh
openimds fault list
```

## 一个故障

| 甲 | 乙 |
|---|---|
| [机群](fleet.md#标签-tags) | 1 |

- 一
- 二 [见下](#一个故障)
"""
PAGE = "docs/zh-CN/use/faults.md"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with two translated pages."""
    for name, text in {
        "docs/use/faults.md": ENGLISH,
        "docs/use/fleet.md": "# Fleet\n\n## The `tags`\n",
        PAGE: CHINESE,
        "docs/zh-CN/use/fleet.md": "# 机群\n\n## 标签 `tags`\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    for name in translations.translations(tmp_path):
        translations.stamp(name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", translations.translations())
def test_translated_page_follows_its_original(name: str) -> None:
    found = [*translations.differences(name, is_whole=not NOT_YET)]
    assert found == [], "\n".join(found)


def test_each_page_has_a_translation() -> None:
    expected = {translations.translation_of(name) for name in ORIGINALS - NOT_YET}
    lacking = expected - {*translations.translations()}
    assert lacking == set(), "translate each, or name it in NOT_YET until it is"


def test_page_that_follows_has_no_difference(root: Path) -> None:
    assert [*translations.differences(PAGE, root)] == []
    assert translations.main([], root) == 0


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("fault list", "fault show", "code block 1 differs"),
        ("```sh", "```text", "code block 1 differs"),
        ("## 一个", "### 一个", "has headings of levels [1, 3], the original [1, 2]"),
        ("- 一\n", "", "#一个故障 has 1 list items, #one-fault 2"),
        ("|---|---|\n", "|---|---|\n| 一 | 二 |\n", "#一个故障 has 3 table rows, #one-fault 2"),
        ("`fault set`", "fault set", "lacks the code `fault set`"),
        ("#标签-tags", "", "lacks a link to docs/use/fleet.md#the-tags"),
        (
            "#标签-tags",
            "#the-tags",
            "leads to no heading: docs/zh-CN/use/fleet.md has #机群, #标签",
        ),
        ("(fleet.md", "(flet.md", "flet.md#标签-tags leads to no file"),
        ("fleet.md#标签-tags", "../../use/fleet.md#the-tags", "leads to English"),
        ("- 一\n", "- 一 [x](https://example.org)\n", "a link more than the original: https"),
        ("docs/use/faults.md", "docs/use/x.md", "its first line has to be: <!-- sha256 of docs/"),
    ],
)
def test_difference_is_named(root: Path, old: str, new: str, expected: str) -> None:
    text = (root / PAGE).read_text("utf-8")
    assert old in text
    (root / PAGE).write_text(text.replace(old, new, 1), "utf-8")
    assert [one for one in translations.differences(PAGE, root) if expected in one]
    assert translations.main([], root) == 1


def test_changed_original_is_named_until_it_is_stamped(root: Path) -> None:
    changed = ENGLISH.replace("Type", "Then type")
    (root / "docs/use/faults.md").write_text(changed, "utf-8")
    (found,) = translations.differences(PAGE, root)
    assert found.startswith("docs/use/faults.md changed since it was translated")
    assert f"`python scripts/translations.py --stamp {PAGE}`" in found
    assert found.endswith(translations.first_line("docs/use/faults.md", changed))
    assert translations.main(["--stamp", str(root / PAGE)], root) == 0
    assert [*translations.differences(PAGE, root)] == []


def test_page_without_original_is_named(root: Path) -> None:
    (root / "docs/use/faults.md").unlink()
    (found,) = translations.differences(PAGE, root)
    assert found == "docs/use/faults.md, which it translates, does not exist"


def test_link_to_english_is_led_to_the_translation(root: Path) -> None:
    text = (root / PAGE).read_text("utf-8")
    english = text.replace("(fleet.md#标签-tags", "(../../use/fleet.md#the-tags")
    (root / PAGE).write_text(english, "utf-8")
    assert [*translations.differences(PAGE, root, is_whole=False)] == []
    assert translations.main(["--link"], root) == 0
    assert (root / PAGE).read_text("utf-8") == text


LEADS_TO_ONE_MORE = "docs/zh-CN/use/fleet.md has headings of levels [1, 2, 2], the original [1, 2]"


def test_link_to_a_heading_that_the_original_lacks_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = root / "docs/zh-CN/use/fleet.md"
    fleet.write_text(f"{fleet.read_text('utf-8')}\n## 再者\n", "utf-8")
    text = (root / PAGE).read_text("utf-8")
    (root / PAGE).write_text(text.replace("#标签-tags", "#再者"), "utf-8")
    (found,) = translations.differences(PAGE, root)
    assert found == f"links to headings of docs/use/fleet.md, but {LEADS_TO_ONE_MORE}"
    assert translations.main([], root) == 1
    assert "docs/zh-CN/use/fleet.md: has headings of levels [1, 2, 2]" in capsys.readouterr().out


def test_link_within_a_page_of_more_headings_is_named(root: Path) -> None:
    text = (root / PAGE).read_text("utf-8")
    (root / PAGE).write_text(f"{text.replace('#一个故障', '#再者')}\n## 再者\n", "utf-8")
    (found,) = translations.differences(PAGE, root)
    assert found == "has headings of levels [1, 2, 2], the original [1, 2]"


@pytest.mark.parametrize(
    "english, expected",
    [
        ("# Fleet\n\n## The `tags`\n\n## More\n", "differ in headings, so #the-tags has no fellow"),
        ("# Fleet\n\n## The tag\n", "docs/use/fleet.md has no heading #the-tags"),
    ],
)
def test_link_that_cannot_be_led_to_the_translation_is_named(
    root: Path, english: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (root / PAGE).read_text("utf-8").replace("(fleet.md#标签", "(../../use/fleet.md#the")
    (root / PAGE).write_text(text, "utf-8")
    (root / "docs/use/fleet.md").write_text(english, "utf-8")
    assert translations.main(["--link"], root) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{PAGE}: not linked: ")
    assert expected in out
    assert (root / PAGE).read_text("utf-8") == text


def test_stamp_of_another_page_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert translations.main(["--stamp", str(root / "docs/use/faults.md")], root) == 2
    assert "is no translated page" in capsys.readouterr().out
    assert translations.main(["--help"], root) == 2


@pytest.mark.parametrize(
    "translated, written, expected",
    [
        ("| 甲 | 乙 |\n| 一 | 1 |", "| a | b |\n| one | 2 |", "| 甲 | 乙 |\n| 一 | 2 |"),
        ("| 甲 | 乙 |\n| 一 |  |", "| a | b |\n| one | 2 |", "| 甲 | 乙 |\n| 一 | 2 |"),
    ],
)
def test_table_that_is_written_anew_keeps_its_labels(
    translated: str, written: str, expected: str
) -> None:
    assert with_labels(translated, written) == expected


def test_table_in_a_translation_is_written_by_make_docs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_docs, "ROOT", root)
    monkeypatch.setitem(generate_docs.BLOCKS, "counts", lambda: "| a | b |\n| one | 2 |")
    old, new = (
        f"# Faults\n\n<!-- begin:counts -->\n| a | b |\n| one | {number} |\n<!-- end -->\n"
        for number in (1, 2)
    )
    (root / "docs/use/faults.md").write_text(old, "utf-8")
    (root / PAGE).write_text(
        "# 故障\n\n<!-- begin:counts -->\n| 甲 | 乙 |\n| 一 | 1 |\n<!-- end -->\n", "utf-8"
    )
    translations.stamp(PAGE, root)
    text = generate_docs.translation("docs/use/faults.md", new)
    assert "| 一 | 2 |" in text
    assert text.startswith(translations.first_line("docs/use/faults.md", new))
    (root / "docs/use/faults.md").write_text(old.replace("Faults", "All faults"), "utf-8")
    stale = generate_docs.translation("docs/use/faults.md", new)
    assert stale.startswith(translations.first_line("docs/use/faults.md", old))


def test_table_with_a_new_row_waits_for_its_translation(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_docs, "ROOT", root)
    monkeypatch.setitem(
        generate_docs.BLOCKS, "counts", lambda: "| a | b |\n| one | 2 |\n| new | 1 |"
    )
    block = "<!-- begin:counts -->\n| 甲 | 乙 |\n| 一 | 1 |\n<!-- end -->\n"
    (root / PAGE).write_text(block, "utf-8")
    translations.stamp(PAGE, root)
    old = (root / PAGE).read_text("utf-8")
    assert generate_docs.translation("docs/use/faults.md", ENGLISH) == old


@pytest.mark.parametrize(
    "heading, anchor",
    [
        ("Azure's addresses", "azures-addresses"),
        ("The `tags`, of a VM", "the-tags-of-a-vm"),
        ("Roles, groups & claims", "roles-groups--claims"),
        ("令牌（token）：有效期", "令牌token有效期"),
        ("在 macOS 上", "在-macos-上"),
    ],
)
def test_anchor_is_that_of_github(heading: str, anchor: str) -> None:
    assert translations.page(f"# {heading}\n").sections[1].anchor == anchor


def test_links_between_english_pages_lead_to_headings() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        name = path.relative_to(ROOT).as_posix()
        for link in translations.page(path.read_text("utf-8")).links:
            translations.target_of(link, name)
