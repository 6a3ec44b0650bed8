"""The settings of a test in pytest: its marks over pytest's ini options."""

from pathlib import Path
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.server.azure_hosts import MAPPED_HOSTS
from openimds.settings import SETTINGS, resolve
from openimds.testing.options import (
    AZURE,
    FILES,
    LOOP,
    LOOP_REASON,
    PATHS,
    VM,
    ServerOptions,
    check_names,
    server_options,
)

MARK = "imds"
MARK_TEXT = "@pytest.mark.imds"
_INI = "imds_"
_PKI_NAMES = "pki_names"

FIXED = {
    "listen": "the session's tests share one port, see imds.url; a VM may have its own in "
    "reach.listen",
    LOOP: LOOP_REASON,
}
"""Settings that the plugin decides, with the reason."""


def marked_options(
    node: pytest.Item | pytest.Collector, homes: tuple[str, ...], *, is_in_sandbox: bool = False
) -> ServerOptions:
    """Return the server options of a test, module or session.

    Args:
        node: the test, module or session.
        homes: the source addresses of this process; those that no VM names reach the VM under test.
        is_in_sandbox: as in `server_options`.

    Raises:
        ConfigError: as `server_options`, or a malformed setting in a mark or an ini option.
    """
    marked = _marked(node)
    chosen = marked.pop(VM, "")
    values = _over(_from_ini(node.config), marked)
    return server_options(values, str(chosen), homes, MARK_TEXT, is_in_sandbox=is_in_sandbox)


def mapped_hosts(item: pytest.Item) -> dict[str, str]:
    """Return the addresses of Azure's PKI hosts if a test may want them."""
    marked = [mark.kwargs.get(_PKI_NAMES) for mark in item.iter_markers(MARK)]
    return MAPPED_HOSTS if AZURE in (*marked, item.config.getini(_INI + _PKI_NAMES)) else {}


def _marked(node: pytest.Item | pytest.Collector) -> dict[str, Any]:
    """Return the values of the marks; those of the test come first, then outer ones.

    Raises:
        ConfigError: a mark with a positional argument or an unknown name.
    """
    values: dict[str, Any] = {}
    for marked, mark in reversed([*node.iter_markers_with_node(MARK)]):
        if mark.args:
            hint = 'Write fleet={...} or vm="web-1"'
            raise ConfigError(MARK_TEXT, repr(mark.args[0]), "names with values", hint)
        check_names(mark.kwargs, FIXED, MARK_TEXT)
        folder = marked.path.parent if marked.path.is_file() else marked.path
        joined = {name: _joined(name, value, folder) for name, value in mark.kwargs.items()}
        values = _over(values, joined)
    return values


def _over(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """Merge values; an inner fleet or document replaces an outer fleet or document."""
    if any(name in inner for name in FILES):
        outer = {name: value for name, value in outer.items() if name not in FILES}
    return {**outer, **inner}


def _from_ini(config: pytest.Config) -> dict[str, Any]:
    """Return the values of pytest's ini options; paths are relative to their file.

    Raises:
        ConfigError: a malformed value, with the file.
    """
    folder = config.inipath.parent if config.inipath else config.rootpath
    given = {row.name: config.getini(_INI + row.name) for row in SETTINGS if row.name not in FIXED}
    values = {
        name: _joined(name, value, folder) for name, value in given.items() if value is not None
    }
    # Resolved once by itself, so that an error names the ini file.
    resolve({}, {}, values, f"{config.inipath or 'ini options'}, {_INI}...")
    return values


def _joined(name: str, value: object, folder: Path) -> object:
    """Return a path joined to its folder, and any other value unchanged."""
    if name not in PATHS or not isinstance(value, str | Path) or not str(value):
        return value
    return str(folder / value)
