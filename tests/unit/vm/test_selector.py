"""Selectors: the terms of a text, and the VMs that they choose."""

from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.vm.fleet_file import parse_vm
from openimds.vm.selector import (
    KEYS,
    LONGEST,
    MOST_TERMS,
    is_pattern,
    parse_selector,
    patterns_of,
    read_selector,
    tags_of,
)
from openimds.vm.types import Vm

MEMBERS: dict[str, Any] = {
    "compute": {
        "location": "westEurope",
        "vmSize": "Standard_D2s_v5",
        "zone": "1",
        "resourceGroupName": "Lab",
        "subscriptionId": "5D3B6C2A-5D1F-4C5E-9B7A-0123456789AB",
        "vmScaleSetName": "Workers",
        "tags": {"Env": "prod", "hidden-link:app": "a,b", "empty": ""},
    },
    "host": "h1",
    "nextHost": "h2",
}


def vm(name: str = "web-1", **members: Any) -> Vm:
    return parse_vm(name, members)


@pytest.mark.parametrize(
    "text",
    [
        "name=web-1",
        "name=web-*",
        "name=web-?",
        "name=web-[0-3]",
        "tag=env:prod",
        "tag=ENV",
        "tag=empty:",
        "tag=hidden-link:app",
        r"tag=hidden-link:app:a\,b",
        "location=WESTEUROPE",
        "size=standard_d2S_v5",
        "host=h1",
        "host=h2",
        "zone=1",
        "resourceGroup=lab",
        "subscription=5d3b6c2a-5d1f-4c5e-9b7a-0123456789ab",
        "scaleSet=workers",
        "tag=env:prod,tag=empty,name=w*,name=*1",
        " location = westeurope , zone=1,",
    ],
)
def test_selector_matches(text: str) -> None:
    assert parse_selector(text).matches(vm(**MEMBERS))


@pytest.mark.parametrize(
    "text",
    [
        "name=WEB-1",
        "name=web",
        "name=db-*",
        "tag=env:Prod",
        "tag=en",
        "tag=env:",
        "tag=empty:x",
        "location=west",
        "size=Standard_D2s_v3",
        "host=H1",
        "host=",
        "zone=",
        "zone=2",
        "scaleSet=",
        "tag=env:prod,location=northeurope",
        "name=web-*,name=db-*",
    ],
)
def test_selector_does_not_match(text: str) -> None:
    assert not parse_selector(text).matches(vm(**MEMBERS))


def test_empty_value_means_a_vm_without_one() -> None:
    plain = vm()
    assert all(parse_selector(f"{key}=").matches(plain) for key in ("host", "zone", "scaleSet"))


def test_defaults_of_a_vm_are_compared() -> None:
    assert parse_selector("location=westeurope").matches(vm(cloud="AzurePublicCloud")) == (
        parse_selector("location=westeurope").matches(vm())
    )
    assert (
        parse_selector("location=chinanorth2,tag=a")
        .terms[0]
        .holds(vm(cloud="AzureChinaCloud", compute={"location": "ChinaNorth2"}))
    )


def test_tags_of_a_string_alone_are_read() -> None:
    assert tags_of(Vm("a", document={"compute": {"tags": "a:1;b:2"}})) == [("a", "1"), ("b", "2")]
    assert tags_of(Vm("a")) == []


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", 'select: saw the string "", expected KEY=VALUE, joined by commas'),
        (",", "expected KEY=VALUE"),
        ("loc=x", 'unknown key "loc". Did you mean "location"?'),
        ("=x", 'unknown key ""'),
        ("resourcegroup=x", 'Did you mean "resourceGroup"?'),
        ("tags=env:prod", 'Did you mean "tag"?'),
        ("web-1", 'unknown key "web-1"'),
        ("name=", "name without a value, expected a value, as in name=web-*"),
        ("tag=", "tag without a value, expected a value, as in tag=env:prod"),
        ("location", "location without a value"),
        ("location=west*", "Only name takes wildcards"),
        ("zone=1,zone=2", "zone twice"),
        (",".join(["tag=a"] * (MOST_TERMS + 1)), f"{MOST_TERMS + 1} terms, expected at most"),
        ("tag=" + "a" * LONGEST, f"expected at most {LONGEST}"),
    ],
)
def test_text_that_is_no_selector_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_selector(text)
    assert sentence in str(error.value)


def test_place_of_a_selector_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^body\.select: saw"):
        parse_selector("x=1", "body.select")


def test_names_mean_or_and_texts_mean_and() -> None:
    selector = read_selector(["web-*", "db-1"], ["zone=1", "tag=env:prod"])
    assert [selector.fits(name) for name in ("web-7", "db-1", "db-2")] == [True, True, False]
    assert selector.matches(vm(**MEMBERS))
    assert not selector.matches(vm("db-2", **MEMBERS))
    assert not selector.matches(vm())
    assert not read_selector(["web-*"], ["zone=1", "zone=2,tag=x"][:1]).matches(vm())


def test_selector_of_nothing_chooses_every_vm() -> None:
    selector = read_selector([])
    assert selector.matches(vm())
    assert not selector.text


def test_trailing_backslash_is_a_character() -> None:
    value = parse_selector("tag=a:\\").terms[0].value
    assert value == "a:\\"


def test_names_without_wildcards_need_no_pattern() -> None:
    assert patterns_of(["a", "b"]).pattern is None
    assert [is_pattern(name) for name in ("a", "a*", "a?", "[ab]")] == [False, True, True, True]


def test_name_with_wildcards_fits_its_own_text() -> None:
    patterns = patterns_of(["web[1]", "a*", "b"])
    assert [patterns.fit(name) for name in ("web[1]", "web1", "a*", "ab", "b", "c")] == [
        *(True, True, True, True, True, False)
    ]


def test_text_that_is_a_name_means_that_vm_alone() -> None:
    selector = read_selector(["web[1]", "a*"], ["name=*"])
    settled = selector.settled({"web[1]", "b"}.__contains__)
    assert [settled.fits(name) for name in ("web[1]", "web1", "ab")] == [True, False, True]
    assert selector.settled({"b"}.__contains__) == selector
    alone = patterns_of(["web[1]"]).settled({"web[1]"}.__contains__)
    assert (alone.pattern, alone.fit("web1")) == (None, False)


def test_every_key_has_help_and_an_example_that_parses() -> None:
    for row in KEYS:
        assert row.help
        parse_selector(f"{row.key}={row.example}")
        assert isinstance(row.texts(vm(**MEMBERS)), tuple)
