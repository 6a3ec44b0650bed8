"""An error names the place, the value, the expectation and the remedy."""

import pickle

import pytest

from openimds.errors import ConfigError, Error


def test_text_is_one_line() -> None:
    error = ConfigError("vms.web-1.zone", "the number 1", "a string", "Put it in quotes")
    assert str(error) == ("vms.web-1.zone: saw the number 1, expected a string. Put it in quotes")


def test_suggestion_stands_before_the_expectation() -> None:
    error = ConfigError("vms.a", 'unknown key "zon"', "one of zone, tags", 'Did you mean "zone"?')
    assert str(error) == (
        'vms.a: saw unknown key "zon". Did you mean "zone"? Expected one of zone, tags'
    )


def test_text_without_a_hint_ends_with_the_expectation() -> None:
    assert str(ConfigError("vms", "nothing (null)", "a mapping")) == (
        "vms: saw nothing (null), expected a mapping"
    )


@pytest.mark.parametrize("hint", ["", "Write it"])
def test_outer_place_is_put_before_the_inner_one(hint: str) -> None:
    inner = ConfigError("vms", "nothing (null)", "a mapping", hint)
    outer = inner.inside("fleet.yaml")
    assert outer.where == "fleet.yaml: vms"
    assert (outer.seen, outer.expected, outer.hint) == (inner.seen, inner.expected, hint)
    assert inner.where == "vms"


def test_empty_outer_place_changes_nothing() -> None:
    assert str(ConfigError("vms", "nothing", "a mapping").inside("")) == (
        "vms: saw nothing, expected a mapping"
    )


def test_config_error_is_an_error_that_stops_a_command() -> None:
    error = ConfigError("vms", "nothing", "a mapping")
    assert isinstance(error, Error)
    assert isinstance(error, Exception)


def test_error_survives_pickling() -> None:
    error = ConfigError("vms", "nothing", "a mapping", "Write it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
