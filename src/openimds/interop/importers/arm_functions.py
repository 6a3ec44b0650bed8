"""Functions of ARM's expressions that need nothing but their arguments.

Names, arguments and results are those of Azure's reference of template functions. A function raises
`UnreadError` for arguments that Azure refuses, too; its text names no value.
"""

import base64
import json
import re
from collections.abc import Callable
from functools import reduce
from ipaddress import ip_network
from itertools import islice
from typing import Any, TypeAlias

from openimds.interop.importers.arm_arguments import as_text, as_truth, as_whole, text_of
from openimds.interop.importers.arm_ids import extension_id, tenant_id
from openimds.interop.importers.unread import UnreadError

LONGEST_TEXT = 131_072
"""Characters of a text: Azure's own limit for the value of a variable is near."""
LONGEST_RANGE = 10_000
"""Numbers of `range`: Azure's own limit."""
MOST_COMPARED = 1000
"""Items of the lists of `union` and `intersection`: each is compared with each."""

_Values: TypeAlias = list[Any]
Function: TypeAlias = Callable[[_Values], object]

_MISFITS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    StopIteration,
)
_SLOT = re.compile(r"\{\{|\}\}|\{(\d{1,2})(?::[^{}]*)?\}")


def call(name: str, arguments: _Values) -> object:
    """Return the result of a function by its name in any letter case.

    Raises:
        UnreadError: the function is unknown, or the arguments do not fit.
    """
    function = FUNCTIONS.get(name.lower())
    if function is None:
        raise UnreadError(f"the function {name}() is not read here")
    try:
        result = function(arguments)
    except _MISFITS:
        raise UnreadError(f"arguments that {name}() does not take") from None
    if isinstance(result, str):
        _check_length(len(result))
    return result


def _check_length(length: int) -> None:
    """Refuse a text before it is made.

    Raises:
        UnreadError: it would be too long.
    """
    if length > LONGEST_TEXT:
        raise UnreadError(f"a text of more than {LONGEST_TEXT} characters")


def _check_compared(lists: _Values) -> None:
    if sum(map(len, lists)) > MOST_COMPARED:
        raise UnreadError(f"lists of more than {MOST_COMPARED} items")


def _concat(arguments: _Values) -> object:
    if arguments and all(isinstance(argument, list) for argument in arguments):
        return [item for argument in arguments for item in argument]
    for argument in arguments:
        if not isinstance(argument, str | int):
            raise TypeError
    return "".join(map(text_of, arguments))


def _format(arguments: _Values) -> object:
    pattern, *values = arguments
    texts = [text_of(value) for value in values]
    slots = [match[1] for match in _SLOT.finditer(pattern) if match[1]]
    _check_length(sum(len(texts[int(slot)]) for slot in slots))

    def fill(match: re.Match[str]) -> str:
        return texts[int(match[1])] if match[1] else match[0][0]

    return _SLOT.sub(fill, pattern)


def _equals(arguments: _Values) -> object:
    one, other = arguments
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _union(arguments: _Values) -> object:
    if all(isinstance(argument, list) for argument in arguments):
        _check_compared(arguments)
        result: list[object] = []
        for item in (item for argument in arguments for item in argument):
            if item not in result:
                result.append(item)
        return result
    return reduce(_merged, arguments)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return two objects in one; objects inside them are merged, too."""
    merged = {**under, **over}
    for name in under.keys() & over.keys():
        if isinstance(under[name], dict) and isinstance(over[name], dict):
            merged[name] = _merged(under[name], over[name])
    return merged


def _intersection(arguments: _Values) -> object:
    first, *others = arguments
    if isinstance(first, list):
        _check_compared(arguments)
        return [item for item in first if all(item in other for other in others)]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _create_object(arguments: _Values) -> object:
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return {as_text(name): value for name, value in pairs}


def _range(arguments: _Values) -> object:
    start, count = map(as_whole, arguments)
    if not 0 <= count <= LONGEST_RANGE:
        raise UnreadError(f"range() of more than {LONGEST_RANGE} numbers")
    return list(range(start, start + count))


def _length(arguments: _Values) -> object:
    (value,) = arguments
    return len(value)


def _empty(arguments: _Values) -> object:
    (value,) = arguments
    return value is None or len(value) == 0


def _contains(arguments: _Values) -> object:
    container, item = arguments
    if isinstance(container, dict):
        return str(item).lower() in {name.lower() for name in container}
    return item in container if isinstance(container, list) else text_of(item) in container


def _split(arguments: _Values) -> object:
    text, marks = arguments
    pattern = "|".join(map(re.escape, [marks] if isinstance(marks, str) else marks))
    return re.split(pattern, as_text(text)) if pattern else [text]


def _join(arguments: _Values) -> object:
    items, mark = arguments
    _check_length(len(as_text(mark)) * len(items))
    return mark.join(map(text_of, items))


def _replace(arguments: _Values) -> object:
    text, old, new = map(as_text, arguments)
    _check_length(text.count(old) * len(new))
    return text.replace(old, new) if old else text


def _substring(arguments: _Values) -> object:
    text, start, *length = arguments
    end = start + length[0] if length else len(text)
    if not 0 <= start <= end <= len(as_text(text)):
        raise ValueError
    return text[start:end]


def _pad_left(arguments: _Values) -> object:
    text, width, *mark = arguments
    if as_whole(width) > LONGEST_TEXT:
        raise ValueError
    return text_of(text).rjust(width, *mark)


def _int(arguments: _Values) -> object:
    (value,) = arguments
    return int(as_text(value)) if isinstance(value, str) else as_whole(value)


def _bool(arguments: _Values) -> object:
    (value,) = arguments
    return {"true": True, "1": True, "false": False, "0": False}[text_of(value).lower()]


def _array(arguments: _Values) -> object:
    (value,) = arguments
    return value if isinstance(value, list) else [value]


def _numbers(arguments: _Values) -> list[int]:
    items = arguments[0] if len(arguments) == 1 else arguments
    return [as_whole(item) for item in items]


def _div(arguments: _Values) -> object:
    """Return a quotient without its fraction; Python rounds down, ARM towards zero."""
    one, other = map(as_whole, arguments)
    quotient = abs(one) // abs(other)
    return quotient if (one < 0) == (other < 0) else -quotient


def _mod(arguments: _Values) -> object:
    one, other = map(as_whole, arguments)
    rest = abs(one) % abs(other)
    return rest if one >= 0 else -rest


def _bounded(result: int) -> int:
    if abs(result) >= 2**63:  # ARM's numbers have 64 bits.
        raise ArithmeticError
    return result


def _two(apply: Callable[[Any, Any], object]) -> Function:
    """Return the function of exactly two values of one kind."""

    def function(arguments: _Values) -> object:
        one, other = arguments
        if isinstance(one, bool) or type(one) is not type(other) or not isinstance(one, str | int):
            raise TypeError
        return apply(one, other)

    return function


def _one(apply: Callable[[str], object]) -> Function:
    """Return the function of exactly one text."""

    def function(arguments: _Values) -> object:
        (value,) = arguments
        return apply(as_text(value))

    return function


def _starts(arguments: _Values) -> object:
    text, part = map(as_text, arguments)
    return text.lower().startswith(part.lower())


def _ends(arguments: _Values) -> object:
    text, part = map(as_text, arguments)
    return text.lower().endswith(part.lower())


def _first(arguments: _Values) -> object:
    (value,) = arguments
    return value[0] if value else _nothing_of(value)


def _last(arguments: _Values) -> object:
    (value,) = arguments
    return value[-1] if value else _nothing_of(value)


def _nothing_of(value: object) -> object:
    return "" if isinstance(value, str) else None


def _take(arguments: _Values) -> object:
    value, count = arguments
    return value[: max(as_whole(count), 0)]


def _skip(arguments: _Values) -> object:
    value, count = arguments
    return value[max(as_whole(count), 0) :]


def _coalesce(arguments: _Values) -> object:
    return next((value for value in arguments if value is not None), None)


def _items(arguments: _Values) -> object:
    (value,) = arguments
    return [{"key": name, "value": value[name]} for name in sorted(value)]


def _flatten(arguments: _Values) -> object:
    (value,) = arguments
    return [item for part in value for item in part]


def _merge(arguments: _Values) -> object:
    (parts,) = arguments
    return {name: value for part in parts for name, value in part.items()}


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _subnet(arguments: _Values) -> object:
    """Return the nth subnet of a range: `cidrSubnet('10.0.0.0/16', 24, 3)`."""
    text, length, number = arguments
    subnets = ip_network(as_text(text)).subnets(new_prefix=as_whole(length))
    found = next(islice(subnets, _subnet_number(number), None))
    return str(found)


def _subnet_number(number: object) -> int:
    if not 0 <= as_whole(number) < LONGEST_RANGE:
        raise ValueError
    return as_whole(number)


def _host(arguments: _Values) -> object:
    """Return the nth address of a range: `cidrHost('10.0.0.0/24', 3)` is 10.0.0.4."""
    text, number = arguments
    return str(ip_network(as_text(text))[as_whole(number) + 1])


FUNCTIONS: dict[str, Function] = {
    "add": lambda values: _bounded(_two(lambda a, b: as_whole(a) + b)(values)),  # type: ignore[arg-type]
    "array": _array,
    "base64": _one(lambda text: base64.b64encode(text.encode()).decode()),
    "base64tostring": _one(_decoded),
    "bool": _bool,
    "cidrhost": _host,
    "cidrsubnet": _subnet,
    "coalesce": _coalesce,
    "concat": _concat,
    "contains": _contains,
    "createarray": list,
    "createobject": _create_object,
    "div": _div,
    "empty": _empty,
    "endswith": _ends,
    "equals": _equals,
    "extensionresourceid": extension_id,
    "first": _first,
    "flatten": _flatten,
    "format": _format,
    "greater": _two(lambda a, b: a > b),
    "greaterorequals": _two(lambda a, b: a >= b),
    "indexof": _two(lambda a, b: a.lower().find(b.lower())),
    "int": _int,
    "intersection": _intersection,
    "items": _items,
    "join": _join,
    "json": _one(json.loads),
    "last": _last,
    "length": _length,
    "less": _two(lambda a, b: a < b),
    "lessorequals": _two(lambda a, b: a <= b),
    "max": lambda values: max(_numbers(values)),
    "min": lambda values: min(_numbers(values)),
    "mod": _mod,
    "mul": lambda values: _bounded(_two(lambda a, b: as_whole(a) * b)(values)),  # type: ignore[arg-type]
    "not": lambda values: not as_truth(*values),
    "objectkeys": lambda values: sorted(*values),
    "padleft": _pad_left,
    "range": _range,
    "replace": _replace,
    "shallowmerge": _merge,
    "skip": _skip,
    "split": _split,
    "startswith": _starts,
    "string": lambda values: text_of(*values),
    "sub": lambda values: _bounded(_two(lambda a, b: as_whole(a) - b)(values)),  # type: ignore[arg-type]
    "substring": _substring,
    "take": _take,
    "tenantresourceid": tenant_id,
    "tolower": _one(str.lower),
    "toupper": _one(str.upper),
    "trim": _one(str.strip),
    "union": _union,
}
"""Functions by their names in lower case."""
