"""Steps of mkdocs that `scripts/build_site.py` adds.

The switch of languages stays on the page, the words of Chinese search are cut quietly, and a long
name in a table may break behind a dot, a slash or an underscore.
"""

import importlib
import logging
import os
import re
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, pass_context
from jinja2.runtime import Context

_CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_CODE = re.compile(r"(?<=<code>)[^<]*(?=</code>)")
_JOINT = re.compile(r"(?<=\w[._/])(?=\w)")


class _Page(Protocol):
    url: str


class _FromItsPage(str):
    """A link that is relative to its page already."""

    __slots__ = ()


def on_config(config: dict[str, Any]) -> None:
    """Keep the cache of Chinese words below the build."""
    jieba = importlib.import_module("jieba")  # It is in the site's environment alone.
    jieba.setLogLevel(logging.WARNING)
    jieba.dt.tmp_dir = str(Path(config["config_file_path"]).parent)


def on_page_content(html: str, **_: object) -> str:
    """Let names in the cells of tables break at their joints."""
    return _CELL.sub(lambda cell: _CODE.sub(lambda code: breakable(code[0]), cell[0]), html)


def breakable(code: str) -> str:
    """Return a name of at least two parts with a chance to break between them."""
    return _JOINT.sub("<wbr>", code)


def on_env(env: Environment, **_: object) -> Environment:
    """Leave links that are relative to their page as they are."""
    usual = env.filters["url"]

    @pass_context
    def url(context: Context, link: str) -> str:
        return link if isinstance(link, _FromItsPage) else str(usual(context, link))

    env.filters["url"] = url
    return env


def on_page_context(context: object, *, page: _Page, config: dict[str, Any], nav: object) -> None:
    """Lead the switch to this page in the other language: each language has every page."""
    del context, nav
    extra = config["extra"]
    here = f"/{extra['folder']}{page.url}"
    for one in extra["alternate"]:
        way = os.path.relpath(f"/{one['folder']}{page.url}", here)
        one["link"] = _FromItsPage(f"{way}/")
