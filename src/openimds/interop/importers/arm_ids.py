"""Resource ids as functions of ARM's expressions make them."""

from typing import Any

from openimds.interop.importers.arm_arguments import as_text, text_of


def resource_id_parts(arguments: list[Any]) -> tuple[list[str], str]:
    """Return the arguments before the type of `resourceId()`, and the part behind /providers/.

    Raises:
        ValueError: the names do not fit the type.
    """
    words = [text_of(argument) for argument in arguments]
    at = next((i for i, word in enumerate(words) if "/" in word), len(words) - 1)
    # Azure takes a type with a slash at its end.
    kind, names = words[at].rstrip("/"), words[at + 1 :]
    if kind.count("/") != len(names) or not names:
        raise ValueError
    return words[:at], inner_id(kind, names)


def inner_id(kind: str, names: list[str]) -> str:
    """Return the end of a resource id: `N/a/x/b/y` for type `N/a/b`, names x, y."""
    provider, *types = kind.split("/")
    pairs = zip(types, names, strict=False)
    return "/".join([provider, *(part for pair in pairs for part in pair)])


def extension_id(arguments: list[Any]) -> object:
    """Return the id of an extension, below the id of its owner."""
    owner, *rest = arguments
    _, inner = resource_id_parts(rest)
    return f"{as_text(owner)}/providers/{inner}"


def tenant_id(arguments: list[Any]) -> object:
    """Return the id of a resource of the tenant."""
    _, inner = resource_id_parts(arguments)
    return f"/providers/{inner}"
