"""What differs between a published document and ours, as paths with `[]` for every element."""

from collections.abc import Iterator

from openimds.protocol.document import tree_at
from openimds.vm.defaults import complete
from openimds.vm.from_capture import parse_capture
from tests.swagger.files import Json


def served(body: Json, version: str) -> Json:
    """Return the document that a server of a captured body gives at a version."""
    captured = parse_capture(body, "a-name-of-ours")
    assert captured.set_aside == ()
    return complete(captured.vm, tree_at(version))


def changed(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths at which a value of `before` is not in `after`, or is another one."""
    match before, after:
        case dict(), dict():
            for key, one in before.items():
                below = f"{path}.{key}".lstrip(".")
                if key in after:
                    yield from changed(one, after[key], below)
                else:
                    yield below
        case list(), list() if len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                yield from changed(one, other, f"{path}[]")
        case _:
            if before != after:
                yield path


def added(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths of the outermost members that only `after` has."""
    match before, after:
        case dict(), dict():
            for key, one in after.items():
                below = f"{path}.{key}".lstrip(".")
                if key in before:
                    yield from added(before[key], one, below)
                else:
                    yield below
        case list(), list():
            for one, other in zip(before, after, strict=False):
                yield from added(one, other, f"{path}[]")
