"""YAML by PyYAML's safe loader, with two changes: a name stands once, and a date is text.

Dates stay text because every leaf of the document is text: `version: 2025-01-01` is a name.
"""

import yaml

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # pragma: no cover - only where PyYAML was built without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]


class _Loader(SafeLoader):
    """The safe loader, stricter."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"a key that is no scalar{_line(key)}")
        if (key.tag, key.value) in seen:
            raise ValueError(f'the name "{key.value}" twice in one mapping{_line(key)}')
        seen.add((key.tag, key.value))
    loader.flatten_mapping(node)
    build = loader.construct_object
    return {build(key, deep=True): build(value, deep=True) for key, value in node.value}


def _line(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1})"


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)


def load(text: str) -> object:
    """Return the one document in `text`.

    Raises:
        ValueError: it is not YAML, holds a tag that is not safe, or a name twice.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - the loader is a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"{error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from None
