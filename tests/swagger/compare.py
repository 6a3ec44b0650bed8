"""The differences between a published document and a served one, as paths."""

from collections.abc import Iterator

from openimds.protocol.document import plan_at
from openimds.vm.defaults import complete
from openimds.vm.from_capture import parse_capture
from tests.swagger.files import Json


def served(body: Json, version: str) -> Json:
    """Return the document that a server of a captured body serves at a version."""
    captured = parse_capture(body, "vm-1")
    assert captured.set_aside == ()
    return complete(captured.vm, plan_at(version))


def changed(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths at which a value of `before` is absent or different in `after`.

    `[]` stands for each element of an array, here and in `added`.
    """
    match before, after:
        case dict(), dict():
            for key, value in before.items():
                below = f"{path}.{key}".lstrip(".")
                if key in after:
                    yield from changed(value, after[key], below)
                else:
                    yield below
        case list(), list() if len(before) == len(after):
            for item, other in zip(before, after, strict=True):
                yield from changed(item, other, f"{path}[]")
        case _:
            if before != after:
                yield path


def added(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths of the outermost members that only `after` has."""
    match before, after:
        case dict(), dict():
            for key, value in after.items():
                below = f"{path}.{key}".lstrip(".")
                if key in before:
                    yield from added(before[key], value, below)
                else:
                    yield below
        case list(), list():
            for item, other in zip(before, after, strict=False):
                yield from added(item, other, f"{path}[]")
