"""The reference of the public names of Python, from their docstrings and signatures."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from msgspec import Struct

import openimds
from openimds import pytest_plugin, testing
from openimds.settings import SETTINGS

WRITTEN = "<!-- Written by `make docs` from docstrings and signatures. Change those. -->"
STABILITY = """\
The names on this page are public, and so are the members and parameters that it lists. Until 1.0 a
public name is removed or changes its meaning only in a new minor version (0.x); the version before
it accepts both forms, and [the changelog](../../CHANGELOG.md) names the change. From 1.0 on that
takes a new major version. A new member or an optional parameter may come with any version. All
other modules are internal: they may change at any time.

A type checker finds the types of all of them (`py.typed`). Import the names from where they are
listed; the place of their code is internal."""
PLUGIN = """\
pytest loads it by itself; [In pytest](../use/pytest.md) shows it in use. `Imds` and `Environment`
can be imported from it, for annotations."""
_INTERNAL = {"ActiveFault.count", "ActiveFault.is_on"}
_PACKAGE = "openimds"
_SECTIONS = ("Args:", "Raises:")
_PREFIX = re.compile(r"(?:[a-z_]\w*\.)+(?=[A-Za-z])")
_MANAGERS = {
    ("-> Iterator[", "-> ContextManager["): inspect.isgeneratorfunction,
    ("-> AsyncIterator[", "-> AsyncContextManager["): inspect.isasyncgenfunction,
}
_DUNDERS = {
    "__getitem__": "[{0}]",
    "__setitem__": "[{0}] = {1}",
    "__delitem__": "del [{0}]",
    "__contains__": "{0} in ...",
    "__iter__": "iter()",
    "__len__": "len()",
}


class Docstring(Struct, frozen=True):
    """The parts of a docstring: its paragraphs, and the lines of its sections by name."""

    paragraphs: list[str]
    args: dict[str, str]
    raises: dict[str, str]


def docstring(text: str) -> Docstring:
    """Parse a docstring of Google's form."""
    paragraphs: list[str] = []
    sections: dict[str, dict[str, str]] = {name: {} for name in _SECTIONS}
    for block in inspect.cleandoc(text).split("\n\n"):
        head, _, rest = block.partition("\n")
        if head in sections:
            sections[head] = _entries(textwrap.dedent(rest))
        else:
            paragraphs.append(_text(block))
    return Docstring(paragraphs, sections["Args:"], sections["Raises:"])


def _text(block: str) -> str:
    """Return a paragraph in one line, with reStructuredText's marks as Markdown's."""
    return " ".join(block.replace("``", "`").replace("::", ":").split())


def _entries(text: str) -> dict[str, str]:
    """Return the entries of a section by name; their lines may go on, indented."""
    entries: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            name, _, line = line.partition(":")  # noqa: PLW2901 - the rest of the line
        entries[name] = f"{entries.get(name, '')} {line.strip()}".strip()
    return entries


def signature(name: str, function: Any) -> str:  # noqa: ANN401 - any callable
    """Return the call of a function with its parameters and its result."""
    written = inspect.signature(function)
    parameters = [
        _without_quotes(parameter)
        for key, parameter in written.parameters.items()
        if key not in {"self", "cls"}
    ]
    if name in _DUNDERS:
        return _DUNDERS[name].format(*(parameter.name for parameter in parameters))
    # Of the parts of the text, only types have dots and names.
    returned = _PREFIX.sub("", str(inspect.Signature(return_annotation=_type(written))))[2:]
    returned = returned.replace("'", "").removesuffix(" -> None")
    for kind, is_kind in _MANAGERS.items():
        if is_kind(inspect.unwrap(function)):
            returned = returned.replace(*kind)
    listed = str(inspect.Signature(parameters)).replace("/, ", "").replace("HasName", "ServedVm")
    awaiting = "await " if inspect.iscoroutinefunction(function) else ""
    return f"{awaiting}{name}{_PREFIX.sub('', listed)}{returned}"


def _type(written: inspect.Signature) -> Any:  # noqa: ANN401 - a type, or its text
    return written.return_annotation


class _Type:
    """A type that is written without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _without_quotes(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter whose type is not quoted, though its default may be."""
    kind = parameter.annotation
    return parameter.replace(annotation=_Type(kind)) if isinstance(kind, str) else parameter


@cache
def _attributes(cls: type) -> dict[str, str]:
    """Return the texts below the annotated attributes of a class, by name."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body  # type: ignore[attr-defined] # a class has one
    texts = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            type_text = _PREFIX.sub("", ast.unparse(node.annotation))
            texts[node.target.id] = f"`{type_text}`" + (
                f": {_text(str(after.value.value))}" if is_text else ""
            )
    return texts


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public members of a class and its bases, in their order."""
    bases = [base for base in reversed(cls.__mro__) if base.__module__.startswith(_PACKAGE)]
    seen: dict[str, Any] = {}
    for base in bases:
        seen |= {name: value for name, value in vars(base).items() if not _is_private(name)}
    yield from seen.items()


def _is_private(name: str) -> bool:
    return name.startswith("_") and name not in _DUNDERS


def _described(head: str, text: str) -> list[str]:
    """Return the lines of one member or function in a list."""
    parts = docstring(text)
    lines = [f"- `{head}`: {' '.join(parts.paragraphs)}"]
    lines += [f"  - `{name}`: {about}" for name, about in parts.args.items()]
    lines += [f"  - raises `{name}`: {about}" for name, about in parts.raises.items()]
    return lines


def class_section(name: str, cls: type, depth: str = "###") -> str:
    """Return the section of a class."""
    texts = {
        key: text
        for base in reversed(cls.__mro__)
        if base.__module__.startswith(_PACKAGE)
        for key, text in _attributes(base).items()
    }
    lines = [f"- `{key}`: {text}" for key, text in texts.items() if not key.startswith("_")]
    for key, member in _members(cls):
        if isinstance(member, property):
            lines += _described(key, member.__doc__ or "")
        elif inspect.isfunction(member) and f"{name}.{key}" not in _INTERNAL:
            lines += _described(signature(key, member), member.__doc__ or "")
    about = "\n\n".join(docstring(cls.__doc__ or "").paragraphs)
    return "\n\n".join(part for part in (f"{depth} `{name}`", about, "\n".join(lines)) if part)


def function_section(name: str, function: Any) -> str:  # noqa: ANN401 - any callable
    """Return the section of a function."""
    parts = docstring(function.__doc__ or "")
    lines = [f"- `{key}`: {about}" for key, about in parts.args.items()]
    lines += [f"- raises `{key}`: {about}" for key, about in parts.raises.items()]
    call = signature(name, function)
    head = [f"### `{name}`", f"```python\n{call}\n```", *parts.paragraphs]
    return "\n\n".join([*head, "\n".join(lines)])


def _module_sections(module: ModuleType) -> Iterator[str]:
    """Yield the sections of the functions, then of the classes of a module."""
    values = {name: getattr(module, name) for name in module.__all__}
    for name, value in values.items():
        if inspect.isfunction(value):
            yield function_section(name, value)
    for name, value in values.items():
        if inspect.isclass(value):
            yield class_section(name, value)


def _fixtures() -> str:
    """Return a table of the plugin's fixtures, marks and ini options."""
    lines = []
    fixed = pytest_plugin._FIXED  # noqa: SLF001 - one list for both
    settings = ", ".join(f"`{row.name}`" for row in SETTINGS if row.name not in fixed)
    for name in ("imds", "imds_module", "imds_session", "imds_env"):
        about = " ".join(docstring(getattr(pytest_plugin, name).__doc__).paragraphs)
        lines.append(f"- fixture `{name}`: {about}")
    lines += [
        "- mark `imds(fleet=..., document=..., vm=..., **settings)`: the settings of the server.",
        "- mark `real_address`: the test runs in a private network, at http://169.254.169.254.",
        f"- ini options `imds_env`, `imds_real_address`, and `imds_` with a setting: {settings}.",
    ]
    return "\n".join(lines)


def api_page() -> str:
    """Return the page of the public names."""
    return "\n\n".join(
        [
            "# Python API",
            WRITTEN,
            STABILITY,
            "## `openimds`",
            "- `__version__`: the version of the package.\n- `testing`: the module below.",
            *(class_section(name, getattr(openimds, name)) for name in ("Error", "ConfigError")),
            "## `openimds.testing`",
            "[In Python, with any test runner](../use/python.md) shows them in use.",
            *_module_sections(testing),
            "## `openimds.pytest_plugin`",
            PLUGIN,
            _fixtures(),
            "",
        ]
    )
