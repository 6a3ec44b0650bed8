"""An error names the place, the value, the expectation and the remedy."""

import errno
import os
import pickle

import pytest

from openimds.errors import ConfigError, Error, shortage


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


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_error_without_a_descriptor_is_a_shortage(code: int) -> None:
    error = OSError(code, os.strerror(code))
    assert shortage(error) is error


def test_shortage_is_found_behind_the_errors_for_the_operator() -> None:
    lack = OSError(errno.EMFILE, "Too many open files")

    def read() -> None:
        try:
            raise lack
        except OSError:
            raise ConfigError("a.yaml", "too many open files", "a file") from None

    def read_folder() -> None:
        try:
            read()
        except ConfigError as error:
            raise error.inside("fleet") from None

    with pytest.raises(ConfigError) as caught:
        read_folder()
    assert shortage(caught.value) is lack


def test_shared_library_without_a_descriptor_is_a_shortage() -> None:
    text = "libz.so.1: cannot open shared object file: Too many open files"
    found = shortage(ImportError(text))
    assert found is not None
    assert (found.errno, found.strerror) == (errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    "error",
    [
        None,
        OSError(errno.ENOENT, "No such file or directory"),
        ImportError("No module named uvicorn"),
        ConfigError("vms", "nothing", "a mapping"),
    ],
)
def test_other_error_is_no_shortage(error: BaseException | None) -> None:
    assert shortage(error) is None


def test_refused_thread_is_a_shortage_of_no_other_kind() -> None:
    found = shortage(RuntimeError("can't start new thread"))
    assert found
    assert found.errno == errno.EAGAIN
    assert shortage(RuntimeError("cannot schedule new futures after shutdown")) is None
