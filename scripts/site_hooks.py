"""Steps of mkdocs that `scripts/build_site.py` adds.

The switch of languages stays on the page, the words of Chinese search are cut quietly, and a long
name in a table may break behind a dot, a slash or an underscore.
"""

import importlib
import logging
import re
from pathlib import Path
from typing import Any, Protocol

_CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_CODE = re.compile(r"(?<=<code>)[^<]*(?=</code>)")
_JOINT = re.compile(r"(?<=\w[._/])(?=\w)")
_folders: dict[str, str] = {}


class _Page(Protocol):
    url: str


def on_config(config: dict[str, Any]) -> None:
    """Keep the folder of each language, and the cache of words below the build."""
    _folders.update({one["lang"]: one["link"] for one in config["extra"]["alternate"]})
    jieba = importlib.import_module("jieba")  # It is in the site's environment alone.
    jieba.setLogLevel(logging.WARNING)
    jieba.dt.tmp_dir = str(Path(config["config_file_path"]).parent)


def on_page_content(html: str, **_: object) -> str:
    """Let names in the cells of tables break at their joints."""
    return _CELL.sub(lambda cell: _CODE.sub(lambda code: breakable(code[0]), cell[0]), html)


def breakable(code: str) -> str:
    """Return a name of at least two parts with a chance to break between them."""
    return _JOINT.sub("<wbr>", code)


def on_page_context(context: object, *, page: _Page, config: dict[str, Any], nav: object) -> None:
    """Lead the switch to this page in the other language: each language has every page."""
    del context, nav
    for one in config["extra"]["alternate"]:
        one["link"] = f"{_folders[one['lang']]}{page.url}"
