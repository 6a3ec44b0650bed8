r"""Selectors of VMs: `tag=env:prod,location=westeurope,name=web-*`.

A selector is terms that all hold; a comma joins them, and `\,` is a comma inside a value. Values
are those of the VM's own document, defaults included, and its host. Names of resources, groups,
scale sets, sizes, locations and subscriptions have no letter case in Azure (S86), nor have names of
tags; values of tags have it (azure-docs, management/tag-resources.md). The name of a VM is its name
in this server, and is compared to the letter.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import partial
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.parameters import describe, nearest
from openimds.vm.defaults import text_at
from openimds.vm.tags import pairs
from openimds.vm.types import Vm

MOST_TERMS = 32
"""The most terms of a selector."""
LONGEST = 4096
"""The most characters of a selector."""
NAME, TAG = "name", "tag"
EXAMPLE = "tag=env:prod,location=westeurope"
_SPECIAL = re.compile(r"[*?\[]")
_PIECE = re.compile(r"(?:\\.|[^,\\]|\\$)*", re.DOTALL)


def _name(vm: Vm) -> tuple[str, ...]:
    return (vm.name,)


def _hosts(vm: Vm) -> tuple[str, ...]:
    """Return the hosts of a VM; one empty name if it has none."""
    return tuple(host for host in (vm.host, vm.next_host) if host) or ("",)


def _tags(vm: Vm) -> tuple[str, ...]:
    return tuple(f"{name}:{value}" for name, value in tags_of(vm))


def _at(path: str, vm: Vm) -> tuple[str, ...]:
    return (text_at(vm, path),)


def tags_of(vm: Vm) -> list[tuple[str, str]]:
    """Return the tags of a VM, names and values."""
    compute: Any = vm.document.get("compute") or {}
    return pairs(compute.get("tagsList") or compute.get("tags") or "")


class SelectorKey(Struct, frozen=True):
    """A key of selectors, with its help and an example.

    `texts` returns the texts of a VM that are compared; without `has_case`, in any letter case.
    """

    key: str
    help: str
    example: str
    texts: Callable[[Vm], tuple[str, ...]]
    has_case: bool = False


KEYS: tuple[SelectorKey, ...] = (
    SelectorKey(NAME, "its name; * ? and [a-c] are wildcards", "web-*", _name, has_case=True),
    SelectorKey(TAG, "a tag, NAME:VALUE, or NAME with any value", "env:prod", _tags),
    SelectorKey("location", "its location", "westeurope", partial(_at, "compute.location")),
    SelectorKey("size", "its size", "Standard_D2s_v5", partial(_at, "compute.vmSize")),
    SelectorKey("host", "its host, or the next one of a move", "h1", _hosts, has_case=True),
    SelectorKey("zone", "its availability zone", "1", partial(_at, "compute.zone")),
    SelectorKey(
        "resourceGroup", "its resource group", "lab", partial(_at, "compute.resourceGroupName")
    ),
    SelectorKey(
        "subscription",
        "the id of its subscription",
        "5d3b6c2a-5d1f-4c5e-9b7a-0123456789ab",
        partial(_at, "compute.subscriptionId"),
    ),
    SelectorKey("scaleSet", "its scale set", "workers", partial(_at, "compute.vmScaleSetName")),
)
"""In the order of help texts; an empty value means a VM without one."""
_BY_KEY = {row.key: row for row in KEYS}


class NamePatterns(Struct, frozen=True):
    """Names and patterns of names, of which one has to fit."""

    names: frozenset[str]
    pattern: re.Pattern[str] | None = None
    wild: tuple[str, ...] = ()
    """The texts with wildcards, which are among `names` too: 0.1.0 allowed `web[1]` as a name."""

    def settled(self, exists: Callable[[str], bool]) -> "NamePatterns":
        """Return them; a text that is the name of a VM means it alone."""
        taken = frozenset(filter(exists, self.wild))
        if not taken:
            return self
        rest = patterns_of(name for name in self.wild if name not in taken)
        return NamePatterns(self.names, rest.pattern, rest.wild)

    def fit(self, name: str) -> bool:
        """Tell whether one of them fits a name."""
        return name in self.names or bool(self.pattern and self.pattern.match(name))


class Term(Struct, frozen=True):
    """A condition on the document or the host of a VM."""

    key: str
    value: str

    def holds(self, vm: Vm) -> bool:
        """Tell whether a VM fulfils it."""
        if self.key == TAG:
            return any(_is_tag(self.value, name, value) for name, value in tags_of(vm))
        row = _BY_KEY[self.key]
        if row.has_case:
            return self.value in row.texts(vm)
        return self.value.lower() in map(str.lower, row.texts(vm))


class Selector(Struct, frozen=True):
    """A choice of VMs: the name fits all of `names`, and all terms hold.

    `text` is that of its terms; without names and terms every VM is chosen.
    """

    text: str = ""
    names: tuple[NamePatterns, ...] = ()
    terms: tuple[Term, ...] = ()

    def settled(self, exists: Callable[[str], bool]) -> "Selector":
        """Return it; a text that is the name of a VM means it alone."""
        names = tuple(patterns.settled(exists) for patterns in self.names)
        return Selector(self.text, names, self.terms)

    def fits(self, name: str) -> bool:
        """Tell whether a name fits; without terms that is all."""
        return all(patterns.fit(name) for patterns in self.names)

    def matches(self, vm: Vm) -> bool:
        """Tell whether it chooses a VM."""
        return self.fits(vm.name) and all(term.holds(vm) for term in self.terms)


def parse_selector(text: str, where: str = "select") -> Selector:
    """Return the selector that a text means; `where` names it in errors.

    Raises:
        ConfigError: an unknown or twofold key, no value, or too many terms.
    """
    if len(text) > LONGEST:
        raise ConfigError(where, f"{len(text)} characters", f"at most {LONGEST}")
    pieces = [match.group() for match in _PIECE.finditer(text) if match.group()]
    if not pieces:
        raise ConfigError(where, describe(text), _expected())
    if len(pieces) > MOST_TERMS:
        raise ConfigError(where, f"{len(pieces)} terms", f"at most {MOST_TERMS}")
    names: list[NamePatterns] = []
    terms: list[Term] = []
    for piece in pieces:
        key, value = _read(piece, where)
        if key == NAME:
            names.append(patterns_of([value]))
            continue
        if key != TAG and any(term.key == key for term in terms):
            hint = "Terms must all hold: select twice instead"
            raise ConfigError(where, f"{key} twice", "each key once, but name and tag", hint)
        terms.append(Term(key, value))
    return Selector(text, tuple(names), tuple(terms))


def read_selector(names: Iterable[str], texts: Iterable[str] = ()) -> Selector:
    """Return the selector of VMs that one of the names and all texts choose.

    Names may have wildcards.

    Raises:
        ConfigError: as `parse_selector`.
    """
    names, text = tuple(names), ",".join(texts)
    chosen = parse_selector(text) if text else Selector()
    if not names:
        return chosen
    return Selector(text, (patterns_of(names), *chosen.names), chosen.terms)


def patterns_of(names: Iterable[str]) -> NamePatterns:
    """Return names, some of them with wildcards, as one value."""
    names = tuple(names)
    wild = tuple(filter(is_pattern, names))
    pattern = re.compile("|".join(map(translate, wild))) if wild else None
    return NamePatterns(frozenset(names), pattern, wild)


def is_pattern(name: str) -> bool:
    """Tell whether a name has a wildcard."""
    return bool(_SPECIAL.search(name))


def _read(piece: str, where: str) -> tuple[str, str]:
    """Return the key and the value of a term."""
    key, equals, value = piece.partition("=")
    key, value = key.strip(), re.sub(r"\\(.)", r"\1", value.strip(), flags=re.DOTALL)
    if key not in _BY_KEY:
        longer = next((one for one in _BY_KEY if key and one.lower().startswith(key.lower())), "")
        hint = f'Did you mean "{longer}"?' if longer else nearest(key, _BY_KEY)
        raise ConfigError(where, f'unknown key "{key}"', _expected(), hint)
    if not equals or (not value and key in {NAME, TAG}):
        example = f"{key}={_BY_KEY[key].example}"
        raise ConfigError(where, f"{key} without a value", f"a value, as in {example}")
    if key not in {NAME, TAG} and "*" in value:
        seen, expected = f'a wildcard in "{key}={value}"', "a whole value"
        raise ConfigError(where, seen, expected, "Only name takes wildcards")
    return key, value


def _is_tag(wanted: str, name: str, value: str) -> bool:
    """Tell whether a tag is the wanted one: its name, or name and value.

    A name may have colons, as that of `hidden-link:`.
    """
    if wanted.lower() == name.lower():
        return True
    head, tail = wanted[: len(name)], wanted[len(name) :]
    return head.lower() == name.lower() and tail == f":{value}"


def _expected() -> str:
    return f"KEY=VALUE, joined by commas, with one of {', '.join(_BY_KEY)}"
