"""OpenIMDS: an open Azure Instance Metadata Service for one VM or a fleet of them.

The public names of Python are those of `__all__` here, in `openimds.testing` and in
`openimds.pytest_plugin`; docs/know/api.md describes them. Each is loaded by its first use, for a
command and pytest import this package before they know what they need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openimds.errors import ConfigError as ConfigError
    from openimds.errors import Error as Error

__version__ = "0.2.0"
__all__ = ["ConfigError", "Error", "__version__", "testing"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class or a module
    """Import and return a public name."""
    if name == "testing":
        return import_module("openimds.testing")
    if name in __all__:
        return getattr(import_module("openimds.errors"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
