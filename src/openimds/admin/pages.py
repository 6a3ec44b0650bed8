"""Lists by pages: `{"items", "next"}`, the cursor, and the query parameters of both."""

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec.json
from msgspec import Struct
from starlette.requests import Request

from openimds.admin.operation import QueryParameter
from openimds.admin.problem import bad_query
from openimds.errors import ConfigError
from openimds.parameters import Parameter

MOST_NUMBER = 10**15 - 1
"""The highest revision or number that a query may name."""
LIMIT = QueryParameter(
    Parameter(
        "limit",
        int,
        "The most items of a page; it ends earlier at 1 MiB.",
        100,
        minimum=1,
        maximum=1000,
    ),
    10,
)
CURSOR = QueryParameter(Parameter("cursor", str, "The `next` of the page before.", ""))
_NUMBER = QueryParameter(
    Parameter("cursor", int, CURSOR.row.help, 0, minimum=0, maximum=MOST_NUMBER)
)

T = TypeVar("T")
K = TypeVar("K")


PART = 20
"""Items that are read from the store at once: a body may have a megabyte."""
MAX_PAGE_BYTES = 1 << 20
"""The octets of the items of a page, beyond its first one."""


def fitting(sizes: Iterable[int]) -> int:
    """Return how many of the first items make one page, at least one."""
    total, count = 0, 0
    for size in sizes:
        total += size
        if count and total > MAX_PAGE_BYTES:
            break
        count += 1
    return max(count, 1)


def read_page(
    read: Callable[[K, int], list[T]],
    start: K,
    limit: int,
    place: Callable[[T], K],
    size: Callable[[T], int],
) -> list[T]:
    """Read the items of a page in parts, and one item more than its limit.

    It ends not far beyond the octets of a page. `read` returns so many items after a place, `place`
    is that of an item, `size` its octets.
    """
    found: list[T] = []
    octets = 0
    while len(found) <= limit and octets <= MAX_PAGE_BYTES:
        after = place(found[-1]) if found else start
        part = read(after, min(PART, limit + 1 - len(found)))
        if not part:
            break
        found += part
        octets += sum(map(size, part))
    return found


class Page(Struct, Generic[T], frozen=True):
    """A page of a list; `next` is the cursor of the next page, or null."""

    items: Sequence[T]
    next: str | None


class NamedItem(Protocol):
    """An item of a list in the order of its names."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


N = TypeVar("N", bound=NamedItem)


def named_page(request: Request, items: Callable[[], Iterable[N]]) -> tuple[list[N], str | None]:
    """Return the items of a request's page, and the cursor of the next one.

    `items` returns all, in the order of their names, once the request is known to fit.

    Raises:
        ProblemError: 400, a limit or a cursor that does not fit.
    """
    limit, after = LIMIT.read(request), decode_cursor(request, str, "")
    left = [item for item in items() if item.name > after]
    shown = left[:limit]
    return shown, encode_cursor(shown[-1].name) if len(left) > limit else None


def number_cursor(request: Request) -> int:
    """Return the number after which a page of numbered items begins.

    Raises:
        ProblemError: 400, not a number.
    """
    number: int = _NUMBER.read(request)
    return number


def encode_cursor(place: object) -> str:
    """Return the cursor of a place in a list, a JSON value."""
    return urlsafe_b64encode(msgspec.json.encode(place)).decode()


def decode_cursor(request: Request, place_type: Any, start: T) -> T:  # noqa: ANN401 - a type form
    """Return the place in a list where the page of a request begins.

    Raises:
        ProblemError: 400, not a cursor of this list.
    """
    cursor = CURSOR.read(request)
    if not cursor:
        return start
    try:
        body = b64decode(cursor.encode("ascii"), b"-_", validate=True)
        place: T = msgspec.json.decode(body, type=place_type)
    except (ValueError, msgspec.DecodeError):
        raise bad_query(
            ConfigError("cursor", f'"{cursor}"', 'the "next" of the page before')
        ) from None
    return place
