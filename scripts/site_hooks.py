"""Steps of mkdocs that `scripts/build_site.py` adds.

The switch of languages stays on the page, and the words of Chinese search are cut quietly.
"""

import importlib
import logging
from pathlib import Path
from typing import Any, Protocol

_folders: dict[str, str] = {}


class _Page(Protocol):
    url: str


def on_config(config: dict[str, Any]) -> None:
    """Keep the folder of each language, and the cache of words below the build."""
    _folders.update({one["lang"]: one["link"] for one in config["extra"]["alternate"]})
    jieba = importlib.import_module("jieba")  # It is in the site's environment alone.
    jieba.setLogLevel(logging.WARNING)
    jieba.dt.tmp_dir = str(Path(config["config_file_path"]).parent)


def on_page_context(context: object, *, page: _Page, config: dict[str, Any], nav: object) -> None:
    """Lead the switch to this page in the other language: each language has every page."""
    del context, nav
    for one in config["extra"]["alternate"]:
        one["link"] = f"{_folders[one['lang']]}{page.url}"
