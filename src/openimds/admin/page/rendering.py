"""Templates, drawn whole or by one block."""

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from openimds.admin.page.wording import FILTERS

_FOLDER = Path(__file__).parent
STATIC = {
    name: ((_FOLDER / "static" / name).read_bytes(), media)
    for name, media in {
        "page.css": "text/css; charset=utf-8",
        "page.js": "text/javascript; charset=utf-8",
        "icon.svg": "image/svg+xml",
    }.items()
}
"""The static files with their media types."""


def page_url(path: str, **query: object) -> str:
    """Return the URL of a path below /ui, without empty query parameters."""
    left = {key: str(value) for key, value in query.items() if value not in {"", None}}
    return "/ui" + quote(path, safe="/") + (f"?{urlencode(left)}" if left else "")


def vm_url(name: str, part: str = "", **query: object) -> str:
    """Return the URL of a VM's page, or of a part of it."""
    return page_url(f"/vms/{name}{part}", **query)


class Templates:
    """The templates of all pages."""

    def __init__(self) -> None:
        """Load the macros; every other template is loaded at its first use."""
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(FILTERS)
        self._environment.globals.update(url=page_url, vm_url=vm_url)
        self._environment.globals["ui"] = self._environment.get_template("macros.html").module

    def draw(self, template: str, values: dict[str, Any], block: str = "") -> str:
        """Return the text of a template, or of one block in it."""
        found = self._environment.get_template(template)
        if not block:
            return found.render(values)
        return "".join(found.blocks[block](found.new_context(values)))
